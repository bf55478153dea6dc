//! A configuration laid over an object by the kind's schema, as apply merges it, whoever owns what.

use serde_json::Value;

use super::apply::list;
use super::typed::{self, Place};
use crate::schema::{Schema, Type};

/// `live`, of the type called `definition`, with all that `said` says of it.
///
/// # Errors
/// When it does not fit the schema, or says a part of what is one value as a whole.
pub fn overlay(
    schema: &Schema,
    definition: &str,
    live: &Value,
    said: &Value,
) -> Result<Value, String> {
    let place = Place::root(schema, schema.type_named(definition).unwrap_or(&Type::Any));
    let problems = typed::check(place, said);
    if !problems.is_empty() {
        let problems = list(&problems);
        return Err(format!("failed to convert patch object to typed object: {problems}"));
    }
    let atomic = typed::atomics(place, said);
    if !atomic.is_empty() {
        let atomic = atomic.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {atomic}"
        ));
    }
    Ok(typed::merge(place, live, said))
}
