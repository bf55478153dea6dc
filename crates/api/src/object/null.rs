//! `null` where something else belongs: what Go leaves empty, it writes so.

use serde::{Deserialize, Deserializer};

/// Reads `null` as what a field is that is not there, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// When it is something else than `null` and a `T`.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
