//! The ReplicaSets of a deployment, as they are and as the plan changes them.

use std::sync::Arc;

use coracle_api::resources::REPLICA_SETS;
use coracle_api::{Object, revision};
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::spec::Deployment;
use crate::json;

/// Label of a set and its pods that tells sets of one deployment apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// Which roll-out of the deployment a set was made for.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The roll-outs that it was made for earlier.
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many pods the deployment wanted when the set last got its size.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many there could be.
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet of the deployment.
pub(super) struct Set {
    /// As it is stored; `None` when the plan makes it.
    pub stored: Option<Arc<Object>>,
    /// As the plan wants it.
    pub next: Value,
}

impl Set {
    /// A set that is stored.
    fn of(object: &Arc<Object>) -> Self {
        Self { stored: Some(Arc::clone(object)), next: object.value().clone() }
    }

    /// `metadata.name`
    pub fn name(&self) -> &str {
        self.next["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `spec.replicas` as the plan wants it.
    pub fn size(&self) -> i64 {
        self.next["spec"]["replicas"].as_i64().unwrap_or(1).max(0)
    }

    /// `spec.replicas` as it is stored.
    pub fn stored_size(&self) -> i64 {
        let stored = self.stored.as_ref().map(|object| &object.value()["spec"]["replicas"]);
        stored.map_or(0, |replicas| replicas.as_i64().unwrap_or(1))
    }

    /// A count of its status.
    pub fn counted(&self, field: &str) -> i64 {
        let stored = self.stored.as_ref().map(|object| &object.value()["status"][field]);
        stored.and_then(Value::as_i64).unwrap_or(0)
    }

    /// An annotation as the plan wants it.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.next["metadata"]["annotations"][key].as_str()
    }

    /// An annotation that is a number.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.annotation(key)?.parse().ok()
    }

    /// Whether a deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.stored.as_ref().is_some_and(|object| object.metadata().is_deleting())
    }

    /// Whether it is as it is stored.
    pub fn is_unchanged(&self) -> bool {
        self.stored.as_ref().is_some_and(|object| *object.value() == self.next)
    }

    /// Sets an annotation.
    pub fn annotate(&mut self, key: &str, value: &str) {
        json::set(&mut self.next, &["metadata", "annotations", key], json!(value));
    }

    /// Gives it a size, and notes for which wishes of the deployment that was.
    pub fn resize(&mut self, size: i64, deployment: &Deployment) {
        json::set(&mut self.next, &["spec", "replicas"], json!(size.max(0)));
        self.annotate(DESIRED, &deployment.replicas.to_string());
        self.annotate(MOST, &deployment.most().to_string());
    }

    /// Whether its pods are of the deployment's template.
    fn is_of(&self, template: &Value) -> bool {
        revision::same_template(&without_hash(&self.next["spec"]["template"]), template)
    }
}

/// A template without the label that tells sets apart.
pub(super) fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    let labels = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
    if let Some(labels) = labels {
        labels.remove(HASH_LABEL);
    }
    template
}

/// The sets that `deployment` controls, oldest first, and which of them is of its template: the
/// first, if there are several.
pub(super) fn of(snapshot: &Snapshot, deployment: &Deployment) -> (Vec<Set>, Option<usize>) {
    let mut objects: Vec<_> = deployment.owner.controlled(snapshot, REPLICA_SETS).collect();
    objects.retain(|object| deployment.owner.selects(object));
    objects.sort_by(|a, b| {
        let age = |object: &Object| object.metadata().creation_timestamp;
        age(a).cmp(&age(b)).then_with(|| a.metadata().name.cmp(&b.metadata().name))
    });
    let sets: Vec<Set> = objects.into_iter().map(Set::of).collect();
    let template = without_hash(deployment.template());
    let newest = sets.iter().position(|set| set.is_of(&template));
    (sets, newest)
}
