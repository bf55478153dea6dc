//! `ObjectMeta`, parsed once per object version.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::null::null_as_default;

/// The part of `metadata` that the server, the garbage collector and the controllers read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Empty while `generateName` has not been resolved.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// Prefix from which the server makes `name`.
    #[serde(deserialize_with = "null_as_default")]
    pub generate_name: String,
    /// Empty for cluster scope.
    #[serde(deserialize_with = "null_as_default")]
    pub namespace: String,
    /// UUID v4.
    #[serde(deserialize_with = "null_as_default")]
    pub uid: String,
    /// Decimal store revision; empty when the client sent none.
    #[serde(deserialize_with = "null_as_default")]
    pub resource_version: String,
    /// Grows by one with every change of the spec.
    pub generation: Option<i64>,
    /// When the server created the object, in whole seconds.
    pub creation_timestamp: Option<Timestamp>,
    /// When the grace period of a deletion ends.
    pub deletion_timestamp: Option<Timestamp>,
    /// Seconds granted to a graceful deletion.
    pub deletion_grace_period_seconds: Option<i64>,
    /// What selectors match on.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// Free-form notes of clients and controllers.
    #[serde(deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// Whom the garbage collector follows.
    #[serde(deserialize_with = "null_as_default")]
    pub owner_references: Vec<OwnerReference>,
    /// Who must let go before the object can disappear.
    #[serde(deserialize_with = "null_as_default")]
    pub finalizers: Vec<String>,
}

impl Metadata {
    /// Whether a deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The reference with `controller: true`, of which there is at most one.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }
}

/// `metav1.OwnerReference`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// `group/version` of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the dependent's namespace or cluster-scoped.
    pub name: String,
    /// UID of the owner: what ownership is decided by.
    pub uid: String,
    /// Whether this owner is the managing controller.
    pub controller: Option<bool>,
    /// Whether foreground deletion of the owner waits for this object.
    pub block_owner_deletion: Option<bool>,
}
