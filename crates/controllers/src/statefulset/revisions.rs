//! Which templates a set has had, and which of them its pods should carry.

use std::sync::Arc;

use coracle_api::{Object, revision};
use coracle_store::Snapshot;
use serde_json::Value;

use super::members::Members;
use super::set::Set;
use crate::plan::Write;
use crate::workload::revisions;

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
        let stored = revisions::stored(snapshot, &set.owner);
        let newest = revisions::newest(snapshot, &set.owner, &stored, HASH_LABEL);
        let update = Revision { name: newest.name, template: set.template().clone() };
        let current = current(set, &stored).unwrap_or_else(|| update.clone());
        Self {
            current,
            update,
            collision_count: newest.collision_count,
            writes: newest.writes,
            stored,
        }
    }

    /// Deletions of the oldest revisions that nothing names, beyond the set's limit.
    pub fn expired(&self, set: &Set, members: &Members) -> Vec<Write> {
        revisions::expired(&set.owner, &self.stored, |revision| {
            let name = &revision.metadata().name;
            *name == self.current.name
                || *name == self.update.name
                || members.all().any(|member| member.revision() == name)
        })
    }
}

fn current(set: &Set, stored: &[Arc<Object>]) -> Option<Revision> {
    let name = set.status_text("currentRevision")?;
    let found = stored.iter().find(|revision| revision.metadata().name == name)?;
    let restored = revision::restore(set.object().value(), &found.value()["data"]);
    Some(Revision { name: name.to_owned(), template: restored["spec"]["template"].clone() })
}
