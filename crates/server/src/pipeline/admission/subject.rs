//! A write as webhooks and policies are told of it.

use coracle_api::{Kind, Kinds, Object, Status, Subresource, scale};
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::pipeline::content;
use crate::pipeline::request::Request;
use crate::pipeline::verbs::deletion::DeleteOptions;
use crate::pipeline::verbs::text;
use coracle_api::resources::NAMESPACES;

/// A write, without what comes of it.
pub(super) struct Subject<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) request: &'a Request,
    pub(super) operation: Operation,
    pub(super) old: Option<&'a Object>,
    pub(super) deletion: Option<&'a DeleteOptions>,
    pub(super) kinds: &'a Kinds,
    /// A namespace counts as in itself.
    pub(super) namespace: String,
}

/// What is sent of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All of it.
    Whole,
    /// Its Scale.
    Scale,
    /// The body is no object of the row: options, a Binding, an Eviction.
    Own,
}

impl<'a> Subject<'a> {
    pub(super) fn of(attributes: &Attributes<'a>, object: &Value, kinds: &'a Kinds) -> Self {
        let Attributes { snapshot, request, operation, old, deletion, .. } = *attributes;
        let namespace = match request.namespace.as_str() {
            "" if request.kind.is(NAMESPACES) && request.name.is_empty() => {
                text(object, "/metadata/name")
            }
            "" if request.kind.is(NAMESPACES) => &request.name,
            namespace => namespace,
        };
        let namespace = namespace.to_owned();
        Self { snapshot, request, operation, old, deletion, kinds, namespace }
    }

    pub(super) fn operation(&self) -> &'static str {
        match self.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }

    pub(super) fn subresource(&self) -> &'static str {
        self.request.subresource.map(Subresource::as_str).unwrap_or_default()
    }

    /// Which object, when that is known already.
    pub(super) fn name<'b>(&'b self, object: &'b Value) -> &'b str {
        match self.request.name.as_str() {
            "" => text(object, "/metadata/name"),
            name => name,
        }
    }

    /// Which object, as refusals name it: one that has no name yet, by what it will begin with.
    pub(super) fn shown_name<'b>(&'b self, object: &'b Value) -> &'b str {
        match (self.name(object), text(object, "/metadata/generateName")) {
            ("", "") => "Unknown",
            ("", prefix) => prefix,
            (name, _) => name,
        }
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.request.options.dry_run || self.deletion.is_some_and(|deletion| deletion.dry_run)
    }

    /// Other rows of the same objects, of which we know how they show them.
    pub(super) fn equivalents(&self) -> Vec<&'a Kind> {
        let own = &self.request.kind;
        if !own.is_stored() || own.conversion.is_some() {
            return Vec::new();
        }
        let (stored, part) = (own.storage_resource(), self.request.subresource);
        let is_other = |row: &&'a Kind| {
            row.is_stored()
                && (&row.group, &row.version) != (&own.group, &own.version)
                && row.storage_resource() == stored
                && part.is_none_or(|part| row.subresource(part).is_some())
        };
        self.kinds.iter().map(AsRef::as_ref).filter(is_other).collect()
    }

    pub(super) fn shape(&self) -> Shape {
        if self.operation == Operation::Connect {
            return Shape::Own;
        }
        match self.request.subresource {
            Some(Subresource::Scale) => Shape::Scale,
            Some(Subresource::Binding | Subresource::Eviction | Subresource::Token) => Shape::Own,
            _ => Shape::Whole,
        }
    }

    /// Of which kind what is sent is: `metav1.GroupVersionKind`.
    pub(super) fn body_kind(&self, row: &Kind, object: &Value) -> Value {
        let part = self.request.subresource.and_then(|part| row.subresource(part));
        let (group, version, kind) = match (self.operation, part.and_then(|it| it.body.as_ref())) {
            (Operation::Connect, _) => ("", "v1", text(object, "/kind")),
            (_, Some((group, version, kind))) => (&**group, &**version, &**kind),
            (_, None) => (&*row.group, &*row.version, &*row.kind),
        };
        json!({"group": group, "version": version, "kind": kind})
    }

    /// The object in the form of `row`.
    pub(super) fn shown(&self, row: &Kind, object: &Value) -> Result<Value, Status> {
        match self.shape() {
            _ if object.is_null() => Ok(Value::Null),
            Shape::Own => Ok(object.clone()),
            Shape::Whole => Ok(converted(&self.request.kind, row, object.clone())),
            Shape::Scale => {
                let resource = self.request.kind.storage_resource();
                let object = Object::with_resource(resource, object.clone());
                Ok(scale::of(&row.scale, &object.map_err(Status::internal)?))
            }
        }
    }

    /// The object as it was, in the form of `row`.
    pub(super) fn shown_before(&self, row: &Kind) -> Result<Value, Status> {
        Ok(match (self.old, self.shape()) {
            (None, _) | (_, Shape::Own) => Value::Null,
            (Some(old), Shape::Whole) => content::readable(row, old),
            (Some(old), Shape::Scale) => scale::of(&row.scale, old),
        })
    }
}

/// `object` of one row as another row of the same objects shows it.
pub(super) fn converted(from: &Kind, to: &Kind, mut object: Value) -> Value {
    if (&from.group, &from.version) != (&to.group, &to.version) {
        from.to_storage(&mut object);
        to.from_storage(&mut object);
    }
    object
}
