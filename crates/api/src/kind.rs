//! The row of the one table: what the server must know of a kind to serve it.

use std::borrow::Cow;

use serde_json::Value;

use crate::FieldError;

/// A string of a row: static for the kinds that are compiled in, owned for custom resources.
pub type Text = Cow<'static, str>;

/// Whether objects live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// A verb of the API, as RBAC and discovery name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// Add an object.
    Create,
    /// Replace an object.
    Update,
    /// Change part of an object.
    Patch,
    /// Remove an object.
    Delete,
    /// Remove a collection.
    DeleteCollection,
}

impl Verb {
    /// As written in discovery and RBAC rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// A subresource of a kind, as discovery shows it: `pods/log`, `statefulsets/scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `log`…
    pub name: Text,
    /// Group, version and kind of its body when they are not the parent's.
    pub body: Option<(Text, Text, Text)>,
    /// What it answers to.
    pub verbs: Cow<'static, [Verb]>,
}

/// One kind that the server serves: a row of the one table.
#[derive(Clone, Debug)]
pub struct Kind {
    /// API group; empty for core.
    pub group: Text,
    /// `v1`, `v2`, `v1beta1`.
    pub version: Text,
    /// `StatefulSet`.
    pub kind: Text,
    /// `statefulsets`.
    pub plural: Text,
    /// `statefulset`.
    pub singular: Text,
    /// `sts`.
    pub short_names: Cow<'static, [Text]>,
    /// `all`.
    pub categories: Cow<'static, [Text]>,
    /// Namespaced or not.
    pub scope: Scope,
    /// What it answers to; a review answers to `create` alone and is not stored.
    pub verbs: Cow<'static, [Verb]>,
    /// In discovery's order.
    pub subresources: Cow<'static, [Subresource]>,
    /// GroupResource under which objects are stored, when it is not this row's own: two versions
    /// of one kind share one.
    pub storage: Option<Text>,
    /// Name of its definition in the schema: `io.k8s.api.apps.v1.StatefulSet`.
    pub schema: Text,
    /// What writing it involves beyond the generic.
    pub strategy: Strategy,
}

impl Kind {
    /// `statefulsets.apps`, or `pods` in the core group.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// GroupResource under which the objects are stored.
    pub fn storage_resource(&self) -> String {
        self.storage.as_ref().map_or_else(|| self.group_resource(), ToString::to_string)
    }

    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether objects of the kind live in a namespace.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// How writes of a kind differ from the generic: functions on the JSON of the object, each with a
/// default that does nothing.
///
/// The order within a write is upstream's (`registry/rest/create.go`): default → fill metadata →
/// prepare → validate → warnings → commit.
#[derive(Clone, Copy, Debug)]
pub struct Strategy {
    /// Fills what the client left out. Also applied to objects inside (pod templates).
    pub default: fn(&mut Value),
    /// Drops what clients may not set on create (status).
    pub prepare_create: fn(&mut Value),
    /// `(new, old)`: keeps what clients may not change on update (status).
    pub prepare_update: fn(&mut Value, &Value),
    /// `(new, old)`: what an update of `/status` keeps from the stored object.
    pub prepare_status: fn(&mut Value, &Value),
    /// Errors of a new object.
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// `(new, old)`: errors of a change, on top of `validate`.
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// `(new, old)`: errors of a change of `/status`.
    pub validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    /// `(new, old or null)`: sentences for the `Warning` header.
    pub warnings: fn(&Value, &Value) -> Vec<String>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`: label and JSON pointer.
    pub field_labels: &'static [(&'static str, &'static str)],
    /// Whether `metadata.generation` counts changes of the spec.
    pub has_generation: bool,
    /// Seconds of grace when the client names none; `None` deletes at once.
    pub grace_period: Option<fn(&Value) -> i64>,
    /// Whether an update without `resourceVersion` is accepted.
    pub unconditional_update: bool,
    /// Whether PUT on a missing name creates.
    pub create_on_update: bool,
    /// How `metadata.name` is checked on create.
    pub name: NameRule,
}

/// How a kind's names are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain, at most 253 characters.
    DnsSubdomain,
    /// DNS-1123 label, at most 63 characters.
    DnsLabel,
    /// DNS-1035 label (Services).
    Dns1035Label,
    /// Anything that is a path segment (RBAC).
    PathSegment,
}

impl Strategy {
    /// The generic behaviour: nothing beyond the schema.
    pub const DEFAULT: Self = Self {
        default: |_| (),
        prepare_create: |_| (),
        prepare_update: |_, _| (),
        prepare_status: |_, _| (),
        validate: |_| Vec::new(),
        validate_update: |_, _| Vec::new(),
        validate_status: |_, _| Vec::new(),
        warnings: |_, _| Vec::new(),
        field_labels: &[],
        has_generation: false,
        grace_period: None,
        unconditional_update: true,
        create_on_update: false,
        name: NameRule::DnsSubdomain,
    };
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const STATEFUL_SETS: Kind = Kind {
        group: Cow::Borrowed("apps"),
        version: Cow::Borrowed("v1"),
        kind: Cow::Borrowed("StatefulSet"),
        plural: Cow::Borrowed("statefulsets"),
        singular: Cow::Borrowed("statefulset"),
        short_names: Cow::Borrowed(&[Cow::Borrowed("sts")]),
        categories: Cow::Borrowed(&[Cow::Borrowed("all")]),
        scope: Scope::Namespaced,
        verbs: Cow::Borrowed(&[Verb::Get]),
        subresources: Cow::Borrowed(&[]),
        storage: None,
        schema: Cow::Borrowed("io.k8s.api.apps.v1.StatefulSet"),
        strategy: Strategy::DEFAULT,
    };

    #[test]
    fn a_kind_names_itself_as_kubernetes_does() {
        assert_eq!(STATEFUL_SETS.group_resource(), "statefulsets.apps");
        assert_eq!(STATEFUL_SETS.api_version(), "apps/v1");
        assert!(STATEFUL_SETS.is_namespaced());
    }
}
