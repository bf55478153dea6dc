//! Where everything must be once nothing fails any more.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::{
    CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STATEFUL_SETS,
};
use coracle_store::Snapshot;
use serde_json::Value;

use super::claims::claims_of;
use super::order::is_ready;
use crate::pod::SETTINGS;
use crate::runtime::{Runtime, Sandbox, mentions_broken_image};

/// Whether every object is where it should be; if not, the first that is not.
pub(crate) fn check(snapshot: &Snapshot, runtime: &Runtime) -> Result<(), String> {
    if let Some(wrong) = snapshot.disagreement() {
        return Err(wrong);
    }
    for object in snapshot.objects() {
        if object.metadata().is_deleting() {
            match waits_for_users(snapshot, object) {
                true => continue,
                false => return Err(format!("{} is still being deleted", object.key())),
            }
        }
        for owner in &object.metadata().owner_references {
            if !snapshot.contains_uid(&owner.uid) {
                let (kind, name) = (&owner.kind, &owner.name);
                return Err(format!("{} is owned by {kind} {name}, which is gone", object.key()));
            }
        }
    }
    for set in snapshot.list(STATEFUL_SETS, None) {
        stands(snapshot, set)?;
    }
    for pod in snapshot.list(PODS, None) {
        runs(snapshot, pod, runtime)?;
    }
    for volume in snapshot.list(PERSISTENT_VOLUMES, None) {
        let phase = volume.str_at("/status/phase");
        if phase != Some("Bound") {
            return Err(format!("{} is {phase:?}", volume.key()));
        }
    }
    let is_left = |uid: &&String| snapshot.by_uid(uid).is_none();
    let (sandboxes, links) = (runtime.sandboxes.keys(), runtime.links.keys());
    for (what, left) in [
        ("sandbox", sandboxes.clone().find(is_left)),
        ("link", links.clone().find(is_left)),
        ("mount", runtime.mounts.keys().find(is_left)),
    ] {
        if let Some(uid) = left {
            return Err(format!("the {what} of {uid} is left"));
        }
    }
    Ok(())
}

/// A claim that somebody deleted stays for as long as somebody uses it.
fn waits_for_users(snapshot: &Snapshot, object: &Object) -> bool {
    let key = object.key();
    let uses = |pod: &Arc<Object>| claims_of(pod).any(|claim| *claim == *key.name);
    *key.resource == *PERSISTENT_VOLUME_CLAIMS
        && snapshot.list(PODS, Some(&key.namespace)).any(uses)
}

/// A set has its pods, at its revisions, and says so.
fn stands(snapshot: &Snapshot, set: &Arc<Object>) -> Result<(), String> {
    let key = set.key();
    let (spec, status) = (&set.value()["spec"], &set.value()["status"]);
    let replicas = spec["replicas"].as_i64().unwrap_or(1);
    let start = spec["ordinals"]["start"].as_i64().unwrap_or(0);
    let says = |field: &str| status[field].as_i64().unwrap_or(0);
    if status["observedGeneration"].as_i64() != set.metadata().generation {
        return Err(format!("{key}: the status is of an older generation"));
    }
    for field in ["replicas", "readyReplicas", "availableReplicas"] {
        if says(field) != replicas {
            return Err(format!("{key}: {field} is {} instead of {replicas}", says(field)));
        }
    }
    let own = snapshot.dependents(&set.metadata().uid).filter(|it| *it.key().resource == *PODS);
    if own.count() as i64 != replicas {
        return Err(format!("{key} has too many pods"));
    }
    let strategy = &spec["updateStrategy"];
    let partition = strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
    let rolls = strategy["type"] != "OnDelete";
    for ordinal in start..start + replicas {
        let name = format!("{}-{ordinal}", set.metadata().name);
        let pod = snapshot.find(PODS, &set.metadata().namespace, &name);
        let pod = pod.ok_or_else(|| format!("{key}: there is no {name}"))?;
        let revision = pod.metadata().labels.get("controller-revision-hash");
        let is_new = revision.map(String::as_str) == status["updateRevision"].as_str();
        if rolls && ordinal - start >= partition && !is_new {
            return Err(format!("{key}: {name} is not updated"));
        }
    }
    if rolls && partition == 0 && status["currentRevision"] != status["updateRevision"] {
        return Err(format!("{key}: the roll-out does not end"));
    }
    Ok(())
}

/// A pod runs on claims that are bound.
fn runs(snapshot: &Snapshot, pod: &Arc<Object>, runtime: &Runtime) -> Result<(), String> {
    let key = pod.key();
    for name in claims_of(pod) {
        let claim = snapshot.find(PERSISTENT_VOLUME_CLAIMS, &key.namespace, name);
        // Nobody makes a claim again that users deleted under a pod without a set.
        if claim.is_none() && pod.metadata().controller().is_none() {
            return Ok(());
        }
        if claim.and_then(|claim| claim.str_at("/status/phase")) != Some("Bound") {
            return Err(format!("{key}: its claim {name} is not bound"));
        }
    }
    // What was left by a set that was deleted without its pods may be broken for ever.
    if pod.metadata().controller().is_none() && mentions_broken_image(pod.bytes()) {
        return Ok(());
    }
    if !is_ready(pod) {
        return Err(format!("{key} is not ready: {}", shown(&pod.value()["status"])));
    }
    let uid = &pod.metadata().uid;
    if !runtime.sandboxes.get(uid).is_some_and(Sandbox::is_running) {
        return Err(format!("{key} is Ready and does not run"));
    }
    let ip = runtime.links.get(uid).map(ToString::to_string);
    if ip.as_deref() != pod.str_at("/status/podIP") {
        return Err(format!("{key} is Ready, and on the network as {ip:?}"));
    }
    let settings = snapshot.find(CONFIG_MAPS, &key.namespace, SETTINGS);
    let settings = settings.map(|map| map.value()["data"].to_string());
    match runtime.mounts.get(uid).map(|mounts| &mounts.settings) {
        Some(found) if *found == settings => Ok(()),
        found => Err(format!("{key} sees {found:?} instead of {settings:?}")),
    }
}

fn shown(status: &Value) -> String {
    let container = &status["containerStatuses"][0]["state"];
    format!("{} {container}", status["phase"])
}
