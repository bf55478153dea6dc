//! What was acknowledged survives.

use coracle_store::Snapshot;

use super::Change;

/// Compares what was shown before a crash with what was found after it. The last write, if it
/// failed, may be there or not; everything else must be as it was.
pub(super) fn check(
    shown: &Snapshot,
    found: &Snapshot,
    uncertain: bool,
) -> Result<Vec<Change>, String> {
    let (before, after) = (shown.revision(), found.revision());
    if after < before {
        return Err(format!("acknowledged writes are lost: revision {before} became {after}"));
    }
    if after > before && !uncertain {
        return Err(format!("revision {before} became {after}, and nobody wrote anything"));
    }
    let mut changes = Vec::new();
    for object in found.objects() {
        let old = shown.get(object.key());
        let same = old.is_some_and(|old| {
            old.revision() == object.revision() && old.bytes() == object.bytes()
        });
        if same {
            continue;
        }
        if object.revision() <= before {
            return Err(format!("{} is not what was acknowledged", object.key()));
        }
        let (key, old) = (object.key().clone(), old.cloned());
        changes.push(Change { key, old, new: Some(object.clone()) });
    }
    changes.sort_by_key(|it: &Change| it.new.as_ref().map_or(0, |new| new.revision()));
    for object in shown.objects().filter(|object| found.get(object.key()).is_none()) {
        let (key, old) = (object.key().clone(), Some(object.clone()));
        changes.push(Change { key, old, new: None });
    }
    if changes.len() as u64 > after - before {
        let count = changes.len();
        return Err(format!("{count} objects differ between the revisions {before} and {after}"));
    }
    Ok(changes)
}
