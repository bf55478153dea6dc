//! Which templates a set has had, and which of them its pods should carry.

use std::sync::Arc;

use coracle_api::Object;
use coracle_store::Snapshot;
use serde_json::{Map, Value, json};

use super::members::Members;
use super::set::Set;
use crate::json;
use crate::plan::Write;

const RESOURCE: &str = "controllerrevisions.apps";
const HASH_LABEL: &str = "controller.kubernetes.io/hash";
/// A set's name in a revision's name is cut so that the whole fits.
const NAME_MAX: usize = 223;

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
    pub collision_count: i64,
    /// What must be written for `update` to exist and be the newest.
    pub writes: Vec<Write>,
    /// All that are stored, oldest first.
    stored: Vec<Arc<Object>>,
}

impl Revisions {
    /// Finds or makes the revision of the set's template.
    pub fn choose(snapshot: &Snapshot, set: &Set) -> Self {
        let stored = stored(snapshot, set);
        let data = data(set.template());
        let newest = stored.last().map_or(0, |revision| number(revision));
        let equal = stored.iter().rev().find(|revision| revision.value()["data"] == data);
        let mut collision_count = set.status_count("collisionCount");
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
                object_name(set, &hash)
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
    let revision = stored.iter().find(|revision| revision.metadata().name == name)?;
    let mut template = revision.value().pointer("/data/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    Some(Revision { name: name.to_owned(), template })
}

/// What a ControllerRevision records: the strategic merge patch that puts the template back.
fn data(template: &Value) -> Value {
    let mut template = template.clone();
    json::set(&mut template, &["$patch"], json!("replace"));
    json!({"spec": {"template": template}})
}

fn free_hash(snapshot: &Snapshot, set: &Set, data: &Value, collisions: &mut i64) -> String {
    loop {
        let hash = hash(data, *collisions);
        if snapshot.find(RESOURCE, &set.namespace, &object_name(set, &hash)).is_none() {
            return hash;
        }
        *collisions += 1;
    }
}

/// FNV-1 of the data and the decimal count, in letters that make no words.
fn hash(data: &Value, collisions: i64) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = format!("{data}{collisions}");
    let fnv = text
        .bytes()
        .fold(2_166_136_261_u32, |hash, byte| hash.wrapping_mul(16_777_619) ^ u32::from(byte));
    fnv.to_string().bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % 27])).collect()
}

fn object_name(set: &Set, hash: &str) -> String {
    let prefix = set.name.get(..NAME_MAX).unwrap_or(&set.name);
    format!("{prefix}-{hash}")
}

fn new_object(set: &Set, hash: &str, data: &Value, number: i64) -> Value {
    let labels = set.template()["metadata"]["labels"].as_object();
    let mut labels: Map<String, Value> = labels.cloned().unwrap_or_default();
    labels.insert(HASH_LABEL.into(), json!(hash));
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": object_name(set, hash),
            "namespace": set.namespace,
            "labels": labels,
            "annotations": set.object.metadata().annotations,
            "ownerReferences": [json::controller_reference(&set.object)],
        },
        "data": data,
        "revision": number,
    })
}
