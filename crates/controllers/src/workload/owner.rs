//! What owns pods: an object with a selector.

use std::sync::Arc;

use coracle_api::resources::NAMESPACES;
use coracle_api::{Object, Selector};
use coracle_store::Snapshot;

/// An object that controls others.
pub(crate) struct Owner {
    /// The object.
    pub object: Arc<Object>,
    /// What it selects.
    pub selector: Arc<Selector>,
}

impl Owner {
    /// The owner that `object` is.
    pub fn of(object: &Arc<Object>) -> Self {
        Self { object: Arc::clone(object), selector: object.selector() }
    }

    /// `metadata.uid`
    pub fn uid(&self) -> &str {
        &self.object.metadata().uid
    }

    /// `metadata.name`
    pub fn name(&self) -> &str {
        &self.object.metadata().name
    }

    /// `metadata.namespace`
    pub fn namespace(&self) -> &str {
        &self.object.metadata().namespace
    }

    /// Whether a deletion of it has begun.
    pub fn is_deleting(&self) -> bool {
        self.object.metadata().is_deleting()
    }

    /// Whether it may make anything: it is not being deleted, and neither is its namespace.
    pub fn may_create(&self, snapshot: &Snapshot) -> bool {
        let namespace = snapshot.find(NAMESPACES, "", self.namespace());
        !self.is_deleting() && !namespace.is_some_and(|it| it.metadata().is_deleting())
    }

    /// `metadata.generation`
    pub fn generation(&self) -> i64 {
        self.object.metadata().generation.unwrap_or_default()
    }

    /// A number of its spec.
    pub fn spec_number(&self, field: &str) -> Option<i64> {
        self.object.value()["spec"][field].as_i64()
    }

    /// Whether it is the controller of `object`.
    pub fn controls(&self, object: &Object) -> bool {
        object.metadata().controller().is_some_and(|owner| owner.uid == self.uid())
    }

    /// Whether its selector selects `object`.
    pub fn selects(&self, object: &Object) -> bool {
        self.selector.matches(&object.metadata().labels)
    }

    /// The objects of `resource` that it controls, by key.
    pub fn controlled<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        resource: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        snapshot
            .dependents(self.uid())
            .filter(move |object| *object.key().resource == *resource && self.controls(object))
    }
}
