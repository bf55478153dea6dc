//! The row of the one table: what the server must know of a kind to serve it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::FieldError;
use crate::kinds::computed::Computed;
use crate::kinds::custom::conversion::Conversion;
use crate::kinds::custom::reading::Reading;
use crate::kinds::rules::Rules;
use crate::print::Column;
use crate::schema::{Schema, Type, presence};

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
    /// All of them, in the order of discovery.
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];

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

/// A part of an object, or something that can be done with it, under a path of its own. There are
/// no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subresource {
    /// The conditions of a CertificateSigningRequest.
    Approval,
    /// The streams of a container that runs.
    Attach,
    /// A pod gets its node.
    Binding,
    /// Containers to look into a pod with.
    EphemeralContainers,
    /// A deletion that asks the disruption budgets.
    Eviction,
    /// A program beside a container.
    Exec,
    /// The finalizers in a namespace's spec.
    Finalize,
    /// What a container wrote.
    Log,
    /// Connections to a pod's ports.
    PortForward,
    /// HTTP to what the object stands for.
    Proxy,
    /// The resources of a pod's containers.
    Resize,
    /// The number of replicas.
    Scale,
    /// What was observed.
    Status,
    /// A token of a service account.
    Token,
}

impl Subresource {
    /// Whether a request for it is answered with a connection to something that runs: upstream's
    /// `CONNECT`, whatever the method.
    pub fn connects(self) -> bool {
        matches!(self, Self::Attach | Self::Exec | Self::PortForward | Self::Proxy)
    }

    /// All of them, by name.
    pub const ALL: &'static [Self] = &[
        Self::Approval,
        Self::Attach,
        Self::Binding,
        Self::EphemeralContainers,
        Self::Eviction,
        Self::Exec,
        Self::Finalize,
        Self::Log,
        Self::PortForward,
        Self::Proxy,
        Self::Resize,
        Self::Scale,
        Self::Status,
        Self::Token,
    ];

    /// As written in paths, discovery and RBAC rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Attach => "attach",
            Self::Binding => "binding",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Eviction => "eviction",
            Self::Exec => "exec",
            Self::Finalize => "finalize",
            Self::Log => "log",
            Self::PortForward => "portforward",
            Self::Proxy => "proxy",
            Self::Resize => "resize",
            Self::Scale => "scale",
            Self::Status => "status",
            Self::Token => "token",
        }
    }

    /// The one called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for Subresource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `apps/v1`, or `v1` in the group without a name.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `example.com/v1, Kind=Boat`, as upstream's `GroupVersionKind` shows itself.
pub fn type_of(object: &Value) -> String {
    let said = |field: &str| object[field].as_str().unwrap_or_default();
    let (version, kind) = (said("apiVersion"), said("kind"));
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={kind}")
}

/// A subresource that a kind has, as discovery shows it: `pods/log`, `statefulsets/scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubresourceRow {
    /// Which.
    pub name: Subresource,
    /// Group, version and kind of its body when they are not the parent's.
    pub body: Option<(Text, Text, Text)>,
    /// What it answers to.
    pub verbs: Cow<'static, [Verb]>,
}

/// Where an object has what its Scale shows: JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The number that is wanted.
    pub replicas: Text,
    /// The number that is there.
    pub observed: Text,
    /// The selector of what is counted: a string, or a selector as workloads have it.
    pub selector: Option<Text>,
}

impl ScalePaths {
    /// Those of every kind that is compiled in.
    pub const DEFAULT: Self = Self {
        replicas: Text::Borrowed("/spec/replicas"),
        observed: Text::Borrowed("/status/replicas"),
        selector: Some(Text::Borrowed("/spec/selector")),
    };
}

/// Where the objects of a row are. Discovery, OpenAPI, rights, tables and printing do not ask.
///
/// Objects that another server has (an aggregated API) are not served, so that there is no variant
/// for them.
#[derive(Clone, Debug)]
pub enum Objects {
    /// Writes keep them; in a form that is not the row's own where versions of a kind share one.
    Stored(Option<Form>),
    /// They are made anew whenever somebody reads them.
    Computed(Computed),
    /// There are none: what is created is a question, or something done, and not kept.
    Answered,
}

/// How objects of a row are stored when that differs from how the row shows them.
#[derive(Clone, Debug)]
pub struct Form {
    /// GroupResource under which they are: `events`.
    pub resource: Text,
    /// `apiVersion` with which they are: `autoscaling/v2`.
    pub api_version: Text,
    /// From this row's form to the stored one, but for `apiVersion`.
    pub to_storage: fn(&mut Value),
    /// From the stored form to this row's, but for `apiVersion`.
    pub from_storage: fn(&mut Value),
}

impl Form {
    /// Stored under `resource` with `api_version`, and otherwise the same.
    pub fn same(resource: impl Into<Text>, api_version: impl Into<Text>) -> Self {
        Self {
            resource: resource.into(),
            api_version: api_version.into(),
            to_storage: |_| (),
            from_storage: |_| (),
        }
    }
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
    pub subresources: Cow<'static, [SubresourceRow]>,
    /// Where its objects are.
    pub objects: Objects,
    /// What a custom object is given when it is read: defaults that are younger than it is.
    pub reading: Option<Arc<Reading>>,
    /// Who brings a custom object from one version to another, when more than the version differs.
    pub conversion: Option<Arc<Conversion>>,
    /// What clients are told that still use it.
    pub deprecation: Option<Text>,
    /// Name of its definition in the schema: `io.k8s.api.apps.v1.StatefulSet`.
    pub schema: Text,
    /// The schema that has the definition, for a custom resource; else the builtin one.
    pub types: Option<Arc<Schema>>,
    /// `openAPIV3Schema` of a custom resource, as its author wrote it.
    pub definition: Option<Arc<Value>>,
    /// What its author demands of a custom resource beyond the schema.
    pub rules: Option<Arc<dyn Rules>>,
    /// Field selectors of a custom resource: label and JSON pointer.
    pub selectable: Vec<(String, String)>,
    /// What `/scale` shows of it.
    pub scale: ScalePaths,
    /// What `kubectl get` shows of it.
    pub columns: Cow<'static, [Column]>,
    /// What writing it involves beyond the generic.
    pub strategy: Strategy,
}

impl Kind {
    /// A row with the verbs of a stored kind, a singular made from the kind, and the generic
    /// strategy.
    pub fn new(
        group: impl Into<Text>,
        version: impl Into<Text>,
        kind: impl Into<Text>,
        plural: impl Into<Text>,
        scope: Scope,
    ) -> Self {
        let kind = kind.into();
        Self {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            singular: kind.to_lowercase().into(),
            kind,
            short_names: Cow::Borrowed(&[]),
            categories: Cow::Borrowed(&[]),
            scope,
            verbs: Cow::Borrowed(Verb::ALL),
            subresources: Cow::Borrowed(&[]),
            objects: Objects::Stored(None),
            reading: None,
            conversion: None,
            deprecation: None,
            schema: Text::Borrowed(""),
            types: None,
            definition: None,
            rules: None,
            selectable: Vec::new(),
            scale: ScalePaths::DEFAULT,
            columns: Cow::Borrowed(crate::print::GENERIC),
            strategy: Strategy::DEFAULT,
        }
    }

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
        let form = self.form();
        form.map_or_else(|| self.group_resource(), |form| form.resource.to_string())
    }

    /// `apiVersion` with which the objects are stored.
    pub fn storage_api_version(&self) -> String {
        let form = self.form();
        form.map_or_else(|| self.api_version(), |form| form.api_version.to_string())
    }

    /// The form in which objects are stored, when it is not the row's own.
    fn form(&self) -> Option<&Form> {
        match &self.objects {
            Objects::Stored(form) => form.as_ref(),
            Objects::Computed(_) | Objects::Answered => None,
        }
    }

    /// Whether readers get objects as they are stored, byte for byte.
    pub fn shows_as_stored(&self) -> bool {
        self.form().is_none() && self.reading.is_none()
    }

    /// Brings an object of this row into the form in which it is stored.
    pub fn to_storage(&self, object: &mut Value) {
        let Some(form) = self.form() else { return };
        (form.to_storage)(object);
        set_api_version(object, form.api_version.to_string());
    }

    /// Brings a stored object into the form of this row.
    pub fn from_storage(&self, object: &mut Value) {
        if let Some(reading) = &self.reading {
            reading.complete(object);
        }
        let Some(form) = self.form() else { return };
        (form.from_storage)(object);
        set_api_version(object, self.api_version());
    }

    /// Whether objects of the kind are stored at all; reviews are not.
    pub fn is_stored(&self) -> bool {
        matches!(self.objects, Objects::Stored(_))
    }

    /// The schema in which [`Kind::schema`] is a name.
    pub fn types(&self) -> &Schema {
        self.types.as_deref().unwrap_or_else(|| Schema::builtin())
    }

    /// Brings an object of this row into the form in which Go writes it.
    pub fn spell(&self, object: &mut Value) {
        if let Some(ty) = self.types().type_named(&self.schema) {
            presence::spell(self.types(), ty, object);
        }
    }

    /// JSON pointer into the stored object of a field by which it can be selected.
    pub fn field_pointer(&self, label: &str) -> Option<&str> {
        match label {
            "metadata.name" => return Some("/metadata/name"),
            // Upstream's kinds that say by what they are selected leave out what they have not.
            "metadata.namespace" => {
                let has_none = !self.is_namespaced() && !self.strategy.field_labels.is_empty();
                return (!has_none).then_some("/metadata/namespace");
            }
            _ => (),
        }
        let known = self.strategy.field_labels.iter().find(|(known, _)| *known == label);
        let custom = || self.selectable.iter().find(|(known, _)| known == label);
        known.map(|(_, pointer)| *pointer).or_else(|| custom().map(|(_, p)| p.as_str()))
    }

    /// What a selectable field of a stored object reads as; an absent one as its zero value, or as
    /// the next row of its name says.
    /// `None` when the kind cannot be selected by it.
    pub fn field_text<'a>(&self, label: &str, object: &'a Value) -> Option<Cow<'a, str>> {
        let first = self.field_pointer(label)?;
        let rows = self.strategy.field_labels.iter().filter(|(known, _)| *known == label);
        let others = rows.map(|(_, pointer)| *pointer).filter(|pointer| *pointer != first);
        let text = |pointer| match object.pointer(pointer) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text).filter(|it| !it.is_empty()).map(Cow::from),
            Some(other) => Some(other.to_string().into()),
        };
        let said = std::iter::once(first).chain(others).find_map(text);
        Some(said.unwrap_or_else(|| match object.pointer(first) {
            Some(Value::String(_)) => Cow::default(),
            _ => zero_text(self, first).into(),
        }))
    }

    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Whether objects of the kind live in a namespace.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether this is a row of `resource` (`RESOURCE.GROUP`, of
    /// [`resources`](crate::kinds::resources)), in whatever version.
    #[must_use]
    pub fn is(&self, resource: &str) -> bool {
        resource.strip_prefix(&*self.plural).is_some_and(|rest| match rest.strip_prefix('.') {
            Some(group) => group == self.group,
            None => rest.is_empty() && self.group.is_empty(),
        })
    }

    /// The row of the subresource `name`, if the kind has it.
    pub fn subresource(&self, name: Subresource) -> Option<&SubresourceRow> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// Whether the schema has a boolean or a number at a pointer, and how its zero value reads.
fn zero_text(kind: &Kind, pointer: &str) -> &'static str {
    let types = kind.types();
    let mut ty = types.type_named(&kind.schema);
    for part in pointer.split('/').skip(1) {
        ty = match ty.map(|ty| types.resolve(ty)) {
            Some(Type::Object(object)) => object.field(part).map(|field| &field.ty),
            _ => None,
        };
    }
    match ty.map(|ty| types.resolve(ty)) {
        Some(Type::Boolean) => "false",
        Some(Type::Integer | Type::Integer32 | Type::Number) => "0",
        _ => "",
    }
}

fn set_api_version(object: &mut Value, api_version: String) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
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
    /// Errors of an object, new or changed.
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// Errors of a new object, on top of `validate`.
    pub validate_create: fn(&Value) -> Vec<FieldError>,
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
    /// Whether another annotation is a new generation too.
    pub counts_annotations: bool,
    /// Seconds of grace when the client names none; `None` deletes at once.
    pub grace_period: Option<fn(&Value) -> i64>,
    /// Whether an update without `resourceVersion` is accepted.
    pub unconditional_update: bool,
    /// Whether PUT on a missing name creates.
    pub create_on_update: bool,
    /// Whether dependents stay when a deletion does not say what becomes of them.
    pub orphans_dependents: bool,
    /// Whether a deletion is answered with the object that is gone, and not with a Status: upstream's
    /// registries differ.
    pub answers_with_object: bool,
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
    /// Anything that is a path segment (RBAC).
    PathSegment,
    /// An IP address, in its shortest form.
    Address,
}

impl Strategy {
    /// The generic behaviour: nothing beyond the schema.
    pub const DEFAULT: Self = Self {
        default: |_| (),
        prepare_create: |_| (),
        prepare_update: |_, _| (),
        prepare_status: |_, _| (),
        validate: |_| Vec::new(),
        validate_create: |_| Vec::new(),
        validate_update: |_, _| Vec::new(),
        validate_status: |_, _| Vec::new(),
        warnings: |_, _| Vec::new(),
        field_labels: &[],
        has_generation: false,
        counts_annotations: false,
        grace_period: None,
        unconditional_update: true,
        create_on_update: false,
        orphans_dependents: false,
        answers_with_object: false,
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
        objects: Objects::Stored(None),
        reading: None,
        conversion: None,
        deprecation: None,
        schema: Cow::Borrowed("io.k8s.api.apps.v1.StatefulSet"),
        types: None,
        definition: None,
        rules: None,
        selectable: Vec::new(),
        scale: ScalePaths::DEFAULT,
        columns: Cow::Borrowed(&[]),
        strategy: Strategy::DEFAULT,
    };

    #[test]
    fn an_absent_field_is_selected_by_its_zero_value() {
        let kinds = crate::Kinds::builtin();
        let text = |kind: &str, label: &str, object: Value| {
            let kind = kinds.of_object("v1", kind).unwrap();
            kind.field_text(label, &object).map(Cow::into_owned)
        };
        let empty = || Value::Object(Default::default());
        assert_eq!(text("Node", "spec.unschedulable", empty()).unwrap(), "false");
        assert_eq!(text("ReplicationController", "status.replicas", empty()).unwrap(), "0");
        assert_eq!(text("Pod", "spec.nodeName", empty()).unwrap(), "");
        let pod = serde_json::json!({"spec": {"hostNetwork": true}, "metadata": {"name": "a"}});
        assert_eq!(text("Pod", "spec.hostNetwork", pod.clone()).unwrap(), "true");
        assert_eq!(text("Pod", "metadata.name", pod.clone()).unwrap(), "a");
        assert_eq!(text("Pod", "spec.containers", pod), None);
    }

    #[test]
    fn the_source_of_an_event_is_its_component_or_its_controller() {
        let kind = crate::Kinds::builtin().of_object("v1", "Event").unwrap().clone();
        let source = |event: Value| kind.field_text("source", &event).map(Cow::into_owned);
        let event = serde_json::json!({"reportingComponent": "b", "source": {"component": ""}});
        assert_eq!(source(event.clone()).unwrap(), "b");
        let mut older = event;
        older["source"]["component"] = "a".into();
        assert_eq!(source(older).unwrap(), "a");
        assert_eq!(source(Value::Null).unwrap(), "");
    }

    #[test]
    fn a_kind_names_itself_as_kubernetes_does() {
        assert_eq!(STATEFUL_SETS.group_resource(), "statefulsets.apps");
        assert_eq!(STATEFUL_SETS.api_version(), "apps/v1");
        assert!(STATEFUL_SETS.is_namespaced());
        assert!(STATEFUL_SETS.is("statefulsets.apps"));
        for other in ["statefulsets", "statefulsets.app", "statefulsets.apps.k8s.io", "apps"] {
            assert!(!STATEFUL_SETS.is(other), "{other}");
        }
    }
}
