//! DaemonSets: at most one pod on a node, one more as far as surge allows, and a roll-out that leaves
//! no more nodes without one than it may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::resources::{NODES, PODS};
use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;

use super::owned::{Losses, controlled, is_active, is_available, share, spec, touched};
use super::{Actor, Change};

const CONTROLLER: &str = "daemonset-controller";
/// Where a pod that no node has yet says which it is for.
const NODE: &str = concat!(
    "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution",
    "/nodeSelectorTerms/0/matchFields/0/values/0"
);

pub(super) fn check(
    actor: &Actor,
    before: &Snapshot,
    changes: &[Change],
    ((after, now), losses): ((&Snapshot, Timestamp), &Losses),
) -> Result<(), String> {
    if *actor != Actor::Controller(CONTROLLER) {
        return Ok(());
    }
    for (change, pod, owner) in touched(changes) {
        let Some(set) = before.by_uid(&owner) else {
            return Err(format!("{} was created for a set that is not there", change.key));
        };
        match change.begins_deletion() {
            true => {
                let lost = losses.get(set.key()).copied().unwrap_or(0);
                deleted(before, set, (pod, lost), (after, now))?;
            }
            false => created(before, set, pod, (after, now))?,
        }
    }
    Ok(())
}

/// How many active pods each node has, or will have.
fn crowds(snapshot: &Snapshot, set: &Object) -> BTreeMap<String, i64> {
    let mut crowds = BTreeMap::new();
    for pod in controlled(snapshot, &set.metadata().uid, PODS).filter(|pod| is_active(pod)) {
        *crowds.entry(node_of(pod)).or_default() += 1;
    }
    crowds
}

/// On how many nodes a pod comes up beside one that serves: what serves nobody is replaced at once.
fn surging(snapshot: &Snapshot, set: &Object, now: Timestamp) -> i64 {
    let seconds = spec(set, "minReadySeconds", 0);
    let mut nodes: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for pod in controlled(snapshot, &set.metadata().uid, PODS).filter(|pod| is_active(pod)) {
        let (serves, comes) = nodes.entry(node_of(pod)).or_default();
        *(if is_available(pod, seconds, now) { serves } else { comes }) = true;
    }
    nodes.values().filter(|(serves, comes)| *serves && *comes).count() as i64
}

fn node_of(pod: &Object) -> String {
    let node = pod.str_at("/spec/nodeName").or_else(|| pod.str_at(NODE));
    node.unwrap_or_default().to_owned()
}

fn created(
    before: &Snapshot,
    set: &Object,
    pod: &Arc<Object>,
    (after, now): (&Snapshot, Timestamp),
) -> Result<(), String> {
    // A node that has lost its labels since it decided was one of those that it counted.
    let mut counted: BTreeSet<String> = fitting(before, set).into_iter().collect();
    counted.extend(crowds(before, set).into_keys());
    let surge = share(&rolling(set)["maxSurge"], counted.len() as i64, true, "0");
    let node = node_of(pod);
    let here = crowds(after, set).get(&node).copied().unwrap_or(0);
    let most = if surge > 0 { 2 } else { 1 };
    if here > most {
        return Err(format!("{} was created: {node} has {here} of {most}", pod.key()));
    }
    let (had, has) = (surging(before, set, now), surging(after, set, now));
    if has > surge.max(had) {
        let key = set.key();
        return Err(format!("{} was created: {key} may surge on {surge} nodes", pod.key()));
    }
    Ok(())
}

/// A pod that served its node was deleted: others still serve theirs, or it has no place there.
fn deleted(
    before: &Snapshot,
    set: &Object,
    (pod, lost): (&Arc<Object>, i64),
    (after, now): (&Snapshot, Timestamp),
) -> Result<(), String> {
    let seconds = spec(set, "minReadySeconds", 0);
    let fitting = fitting(before, set);
    if !is_available(pod, seconds, now) || !fitting.contains(&node_of(pod)) {
        return Ok(());
    }
    let without = |snapshot: &Snapshot| {
        let pods = controlled(snapshot, &set.metadata().uid, PODS);
        let served: Vec<_> =
            pods.filter(|pod| is_available(pod, seconds, now)).map(|pod| node_of(pod)).collect();
        fitting.iter().filter(|node| !served.contains(node)).count() as i64
    };
    let nodes = fitting.len() as i64;
    let surge = share(&rolling(set)["maxSurge"], nodes, true, "0");
    let most = share(&rolling(set)["maxUnavailable"], nodes, true, "1");
    let most = if surge > 0 { most } else { most.max(1) };
    let (had, has) = (without(before), without(after));
    // What went since it decided, it could not know of.
    if has > had && has > most + lost {
        let key = set.key();
        return Err(format!("{} was deleted: {key} serves {has} nodes not", pod.key()));
    }
    Ok(())
}

fn rolling(set: &Object) -> &serde_json::Value {
    &set.value()["spec"]["updateStrategy"]["rollingUpdate"]
}

/// The nodes that have the labels that a set asks for.
fn fitting(snapshot: &Snapshot, set: &Object) -> Vec<String> {
    let wanted = set.value()["spec"]["template"]["spec"]["nodeSelector"].as_object();
    let wanted: Vec<_> = wanted.into_iter().flatten().collect();
    let fits = |node: &&Arc<Object>| {
        let has = &node.metadata().labels;
        wanted.iter().all(|(key, value)| has.get(*key).map(String::as_str) == value.as_str())
    };
    snapshot.list(NODES, None).filter(fits).map(|node| node.metadata().name.clone()).collect()
}
