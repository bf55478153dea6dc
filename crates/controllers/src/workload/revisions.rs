//! ControllerRevisions: which templates a StatefulSet or DaemonSet has had.

use std::sync::Arc;

use coracle_api::resources::CONTROLLER_REVISIONS;
use coracle_api::{Object, revision};
use coracle_store::Snapshot;
use serde_json::{Map, Value, json};

use crate::json;
use crate::plan::Write;
use crate::workload::owner::Owner;

/// The revisions of an owner that are stored, oldest first.
pub(crate) fn stored(snapshot: &Snapshot, owner: &Owner) -> Vec<Arc<Object>> {
    let mut stored: Vec<_> = owner.controlled(snapshot, CONTROLLER_REVISIONS).cloned().collect();
    stored.sort_by(|a, b| {
        let age = |object: &Object| (number(object), object.metadata().creation_timestamp);
        age(a).cmp(&age(b)).then_with(|| a.metadata().name.cmp(&b.metadata().name))
    });
    stored
}

/// `revision`
pub(crate) fn number(revision: &Object) -> i64 {
    revision.value()["revision"].as_i64().unwrap_or(0)
}

/// The revision of the owner's template.
pub(crate) struct Newest {
    /// Its name.
    pub name: String,
    /// The hash in its name.
    pub hash: String,
    /// How often a hash met another template.
    pub collision_count: i32,
    /// What must be written for it to exist and be the newest.
    pub writes: Vec<Write>,
}

/// Finds or makes the revision of the owner's template. `label` is where the hash goes.
pub(crate) fn newest(
    snapshot: &Snapshot,
    owner: &Owner,
    stored: &[Arc<Object>],
    label: &str,
) -> Newest {
    let data = revision::data(owner.object.value());
    let newest = stored.last().map_or(0, |revision| number(revision));
    let collisions = owner.object.value()["status"]["collisionCount"].as_i64().unwrap_or(0);
    let mut collision_count = i32::try_from(collisions).unwrap_or(i32::MAX);
    let newest_first = || stored.iter().rev();
    let equal = newest_first()
        .find(|revision| revision.value()["data"] == data)
        .or_else(|| newest_first().find(|it| revision::same(&it.value()["data"], &data)));
    if let Some(equal) = equal {
        // A rollback: the old revision becomes the newest and keeps its name.
        let is_old = number(equal) < newest;
        let writes = is_old.then(|| {
            Write::Update(json::with(equal, &["revision"], json!(newest.saturating_add(1))))
        });
        return Newest {
            name: equal.metadata().name.clone(),
            hash: hash_of(equal, label),
            collision_count,
            writes: writes.into_iter().collect(),
        };
    }
    let hash = free_hash(snapshot, owner, &data, &mut collision_count);
    let name = revision::name(owner.name(), &hash);
    let created = new_object(owner, (&name, &hash, label), &data, newest.saturating_add(1));
    Newest { name, hash, collision_count, writes: vec![Write::Create(created)] }
}

fn hash_of(revision: &Object, label: &str) -> String {
    let metadata = revision.metadata();
    let in_name = metadata.name.rsplit('-').next().unwrap_or_default();
    metadata.labels.get(label).map_or_else(|| in_name.to_owned(), Clone::clone)
}

fn free_hash(snapshot: &Snapshot, owner: &Owner, data: &Value, collisions: &mut i32) -> String {
    loop {
        let hash = revision::hash(data, *collisions);
        let name = revision::name(owner.name(), &hash);
        if snapshot.find(CONTROLLER_REVISIONS, owner.namespace(), &name).is_none() {
            return hash;
        }
        *collisions = collisions.wrapping_add(1);
    }
}

fn new_object(
    owner: &Owner,
    (name, hash, label): (&str, &str, &str),
    data: &Value,
    number: i64,
) -> Value {
    let labels = owner.object.value()["spec"]["template"]["metadata"]["labels"].as_object();
    let mut labels: Map<String, Value> = labels.cloned().unwrap_or_default();
    labels.insert(label.into(), json!(hash));
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": owner.namespace(),
            "labels": labels,
            "annotations": owner.object.metadata().annotations,
            "ownerReferences": [json::controller_reference(&owner.object)],
        },
        "data": data,
        "revision": number,
    })
}

/// Deletions of the oldest of `stored` that nothing uses, beyond the owner's limit.
pub(crate) fn expired(
    owner: &Owner,
    stored: &[Arc<Object>],
    is_used: impl Fn(&Object) -> bool,
) -> Vec<Write> {
    let limit = owner.spec_number("revisionHistoryLimit").unwrap_or(10);
    let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
    let dead: Vec<_> = stored.iter().filter(|revision| !is_used(revision)).collect();
    let surplus = dead.len().saturating_sub(limit);
    dead.iter().take(surplus).map(|revision| Write::delete(revision)).collect()
}
