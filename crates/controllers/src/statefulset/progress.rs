//! How far a set is that is recreated: what is old, and the condition `Progressing` (KEP-3541).

use coracle_api::Timestamp;
use serde_json::Value;

use super::members::{Member, Members};
use super::revisions::Revisions;
use super::set::{Set, Strategy};
use crate::workload::conditions as list;
use crate::workload::conditions::Condition;

const PROGRESSING: &str = "Progressing";

/// The pods of older revisions of a set that is recreated.
pub(super) fn outdated<'a>(
    set: &Set,
    members: &'a Members,
    revisions: &Revisions,
) -> Vec<&'a Member> {
    let is_old = |member: &&Member| member.revision() != revisions.update.name;
    match set.strategy {
        Strategy::Recreate => members.all().filter(is_old).collect(),
        _ => Vec::new(),
    }
}

/// `status.conditions` of a set that is recreated, with how far that is; `None` for others, which
/// have none.
pub(super) fn conditions(
    set: &Set,
    members: &Members,
    revisions: &Revisions,
    now: Timestamp,
) -> Option<Vec<Value>> {
    if set.strategy != Strategy::Recreate {
        return None;
    }
    let mut all = list::of(set.object().value());
    let is_there = |ordinal| members.replicas.get(&ordinal).is_some_and(|it| !it.is_terminating());
    let told = if !outdated(set, members, revisions).is_empty() {
        Some(("RecreateInProgress", "Pods of older revisions are deleted and waited for"))
    } else if set.ordinals().all(is_there) {
        Some(("RecreateComplete", "All replicas are of the update revision"))
    } else {
        None
    };
    if let Some((reason, message)) = told {
        list::put(&mut all, &Condition::new(PROGRESSING, "True", reason, message), now);
    }
    Some(all)
}
