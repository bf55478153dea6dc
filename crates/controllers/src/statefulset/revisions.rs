//! Which templates a set has had, and which of them its pods should carry.

use std::sync::Arc;

use coracle_api::resources::CONTROLLER_REVISIONS as RESOURCE;
use coracle_api::{Object, revision};
use coracle_store::Snapshot;
use serde_json::{Map, Value, json};

use super::members::Members;
use super::set::Set;
use crate::json;
use crate::plan::Write;

const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// A template with its name.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    /// Name of the ControllerRevision.
    pub name: String,
    /// The pod template.
    pub template: Value,
}

/// The revisions of a set.
pub(super) struct Revisions {
    /// What pods carried before the roll-out that is going on; `update` when none is.
    pub current: Revision,
    /// What the set's template is.
    pub update: Revision,
    /// How often a hash met another template.
    pub collision_count: i32,
    /// What must be written for `update` to exist and be the newest.
    pub writes: Vec<Write>,
    /// All that are stored, oldest first.
    stored: Vec<Arc<Object>>,
}

impl Revisions {
    /// Finds or makes the revision of the set's template.
    pub fn choose(snapshot: &Snapshot, set: &Set) -> Self {
        let stored = stored(snapshot, set);
        let data = revision::data(set.object.value());
        let newest = stored.last().map_or(0, |revision| number(revision));
        let newest_first = || stored.iter().rev();
        let equal = newest_first()
            .find(|revision| revision.value()["data"] == data)
            .or_else(|| newest_first().find(|it| revision::same(&it.value()["data"], &data)));
        let collisions = set.status_count("collisionCount");
        let mut collision_count = i32::try_from(collisions).unwrap_or(i32::MAX);
        let mut writes = Vec::new();
        let name = match equal {
            Some(revision) => {
                if number(revision) < newest {
                    // A rollback: the old revision becomes the newest and keeps its name.
                    let renumbered = json::with(revision, &["revision"], json!(newest + 1));
                    writes.push(Write::Update(renumbered));
                }
                revision.metadata().name.clone()
            }
            None => {
                let hash = free_hash(snapshot, set, &data, &mut collision_count);
                writes.push(Write::Create(new_object(set, &hash, &data, newest + 1)));
                revision::name(&set.name, &hash)
            }
        };
        let update = Revision { name, template: set.template().clone() };
        let current = current(set, &stored).unwrap_or_else(|| update.clone());
        Self { current, update, collision_count, writes, stored }
    }

    /// Deletions of the oldest revisions that nothing names, beyond the set's limit.
    pub fn expired(&self, set: &Set, members: &Members) -> Vec<Write> {
        let Ok(limit) = usize::try_from(set.history_limit) else { return Vec::new() };
        let is_live = |name: &str| {
            name == self.current.name
                || name == self.update.name
                || members.all().any(|member| member.revision() == name)
        };
        let dead: Vec<_> =
            self.stored.iter().filter(|revision| !is_live(&revision.metadata().name)).collect();
        let surplus = dead.len().saturating_sub(limit);
        dead.iter().take(surplus).map(|revision| Write::delete(revision)).collect()
    }
}

fn stored(snapshot: &Snapshot, set: &Set) -> Vec<Arc<Object>> {
    let is_own = |object: &&Arc<Object>| {
        *object.key().resource == *RESOURCE
            && object.metadata().controller().is_some_and(|owner| owner.uid == set.uid())
    };
    let mut stored: Vec<_> =
        snapshot.dependents(set.uid()).filter(is_own).map(Arc::clone).collect();
    stored.sort_by(|a, b| {
        let age = |object: &Object| (number(object), object.metadata().creation_timestamp);
        age(a).cmp(&age(b)).then_with(|| a.metadata().name.cmp(&b.metadata().name))
    });
    stored
}

fn number(revision: &Object) -> i64 {
    revision.value()["revision"].as_i64().unwrap_or(0)
}

fn current(set: &Set, stored: &[Arc<Object>]) -> Option<Revision> {
    let name = set.status_text("currentRevision")?;
    let found = stored.iter().find(|revision| revision.metadata().name == name)?;
    let restored = revision::restore(set.object.value(), &found.value()["data"]);
    Some(Revision { name: name.to_owned(), template: restored["spec"]["template"].clone() })
}

fn free_hash(snapshot: &Snapshot, set: &Set, data: &Value, collisions: &mut i32) -> String {
    loop {
        let hash = revision::hash(data, *collisions);
        if snapshot.find(RESOURCE, &set.namespace, &revision::name(&set.name, &hash)).is_none() {
            return hash;
        }
        *collisions += 1;
    }
}

fn new_object(set: &Set, hash: &str, data: &Value, number: i64) -> Value {
    let labels = set.template()["metadata"]["labels"].as_object();
    let mut labels: Map<String, Value> = labels.cloned().unwrap_or_default();
    labels.insert(HASH_LABEL.into(), json!(hash));
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision::name(&set.name, hash),
            "namespace": set.namespace,
            "labels": labels,
            "annotations": set.object.metadata().annotations,
            "ownerReferences": [json::controller_reference(&set.object)],
        },
        "data": data,
        "revision": number,
    })
}
