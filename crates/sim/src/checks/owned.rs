//! What checks of workloads read: whose pods there are, and how they are. Read from the objects
//! alone, beside what controllers make of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::resources::{PODS, REPLICA_SETS};
use coracle_api::{Key, Object, Timestamp};
use coracle_store::Snapshot;
use jiff::SignedDuration;
use serde_json::Value;

use super::order::is_ready;
use super::{Actor, Change};

/// By owner, how many pods were lost.
pub(super) type Losses = BTreeMap<Key, i64>;

/// Takes down pods that ceased to serve by another hand than their owner's.
pub(super) fn note_losses(
    losses: &mut Losses,
    actor: &Actor,
    before: &Snapshot,
    changes: &[Change],
) {
    let pods = changes.iter().filter(|change| *change.key.resource == *PODS);
    for (change, old) in pods.filter_map(|change| Some((change, change.old.as_ref()?))) {
        // The scheduler takes pods from whoever has less important ones.
        let is_owner = |name: &str| name != "default-scheduler";
        let taken = matches!(actor, Actor::Controller(name) if is_owner(name));
        let taken = taken && change.begins_deletion();
        let serves = |pod: &Arc<Object>| (is_active(pod), is_ready(pod));
        let is_worse = change.new.as_ref().map(serves) < Some(serves(old));
        let owner = old.metadata().controller().and_then(|owner| before.by_uid(&owner.uid));
        if let Some(owner) = owner.filter(|_| is_worse && !taken) {
            *losses.entry(owner.key().clone()).or_default() += 1;
        }
    }
}

/// The objects of a resource that the owner of this UID controls.
pub(super) fn controlled<'a>(
    snapshot: &'a Snapshot,
    uid: &'a str,
    resource: &'a str,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let is_its = move |object: &&Arc<Object>| {
        *object.key().resource == *resource
            && object.metadata().controller().is_some_and(|owner| owner.uid == uid)
    };
    snapshot.dependents(uid).filter(is_its)
}

/// Whether a pod neither has ended nor is being deleted.
pub(super) fn is_active(pod: &Object) -> bool {
    !pod.has_ended() && !pod.metadata().is_deleting()
}

/// How many active pods an owner has.
pub(super) fn active(snapshot: &Snapshot, uid: &str) -> i64 {
    controlled(snapshot, uid, PODS).filter(|pod| is_active(pod)).count() as i64
}

/// Whether an active pod has been Ready for so many seconds.
pub(super) fn is_available(pod: &Object, seconds: i64, now: Timestamp) -> bool {
    if !is_active(pod) || !is_ready(pod) {
        return false;
    }
    let conditions = pod.value()["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|it| it["type"] == "Ready");
    let since = ready.and_then(|it| it["lastTransitionTime"].as_str()?.parse::<Timestamp>().ok());
    since.is_some_and(|since| since + SignedDuration::from_secs(seconds) <= now || seconds == 0)
}

/// A number of an object's spec.
pub(super) fn spec(object: &Object, field: &str, otherwise: i64) -> i64 {
    object.value()["spec"][field].as_i64().unwrap_or(otherwise)
}

/// A count of an object's status.
pub(super) fn status(object: &Object, field: &str) -> i64 {
    object.value()["status"][field].as_i64().unwrap_or(0)
}

/// A number, or a percentage of `total`; `otherwise` when absent.
pub(super) fn share(value: &Value, total: i64, round_up: bool, otherwise: &str) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let percent = value.as_str().unwrap_or(otherwise).trim_end_matches('%');
    let hundredfold = percent.parse::<i64>().unwrap_or(0) * total;
    if round_up { (hundredfold + 99) / 100 } else { hundredfold / 100 }
}

/// The pods that a step created or began to delete, each with the UID of its controller.
pub(super) fn touched(changes: &[Change]) -> impl Iterator<Item = (&Change, &Arc<Object>, String)> {
    let pods = changes.iter().filter(|change| *change.key.resource == *PODS);
    pods.filter(|change| change.old.is_none() || change.begins_deletion()).filter_map(|change| {
        let pod = change.old.as_ref().or(change.new.as_ref())?;
        Some((change, pod, pod.metadata().controller()?.uid.clone()))
    })
}

/// The Deployment of a ReplicaSet.
pub(super) fn deployment_of<'a>(snapshot: &'a Snapshot, set: &Object) -> Option<&'a Arc<Object>> {
    let owner = set.metadata().controller().filter(|owner| owner.kind == "Deployment")?;
    snapshot.by_uid(&owner.uid)
}

/// The sum of what `number` says of each set of a Deployment.
pub(super) fn sum_of_sets(
    snapshot: &Snapshot,
    deployment: &Object,
    number: impl Fn(&Object) -> i64,
) -> i64 {
    let uid = &deployment.metadata().uid;
    controlled(snapshot, uid, REPLICA_SETS).map(|set| number(set)).sum()
}
