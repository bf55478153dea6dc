//! Where everything must be once nothing fails any more.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS};
use coracle_store::Snapshot;
use serde_json::Value;

use super::claims::claims_of;
use super::jobs::{is_held, waits_for_successor};
use super::order::is_ready;
use super::{autoscaling, certificates, stands};
use crate::pod::SETTINGS;
use crate::runtime::{Runtime, Sandbox, mentions_broken_image};

/// Whether every object is where it should be; if not, the first that is not.
pub(crate) fn check(snapshot: &Snapshot, runtime: &mut Runtime) -> Result<(), String> {
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
    stands::check(snapshot)?;
    autoscaling::rests(snapshot, runtime)?;
    certificates::rests(snapshot, runtime.now)?;
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
    if *key.resource == *PODS && waits_for_successor(snapshot, object) {
        return true;
    }
    let uses = |pod: &Arc<Object>| claims_of(pod).any(|claim| *claim == *key.name);
    *key.resource == *PERSISTENT_VOLUME_CLAIMS
        && snapshot.list(PODS, Some(&key.namespace)).any(uses)
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
    // Nor does a task end that fails for ever, once its job is gone without it.
    let is_task = pod.value()["spec"]["restartPolicy"] == "OnFailure";
    if pod.metadata().controller().is_none() && is_task {
        return Ok(());
    }
    if pod.has_ended() && pod.value()["spec"]["restartPolicy"] != "Always" {
        return match is_held(pod) && !waits_for_successor(snapshot, pod) {
            true => Err(format!("{key} has ended and was not counted")),
            false => Ok(()),
        };
    }
    // The node took it off, and others have come in its place.
    let is_replaced_in_place = |pod: &Object| {
        let owner = pod.metadata().controller().map(|owner| owner.kind.as_str());
        matches!(owner, Some("StatefulSet" | "DaemonSet"))
    };
    if pod.has_ended() && pod.str_at("/status/reason") == Some("Evicted") {
        return match is_replaced_in_place(pod) {
            true => Err(format!("{key} was evicted and is still there")),
            false => Ok(()),
        };
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
    has_its_size(pod, runtime)?;
    let settings = snapshot.find(CONFIG_MAPS, &key.namespace, SETTINGS);
    let settings = settings.map(|map| map.value()["data"].to_string());
    match runtime.mounts.get(uid).map(|mounts| &mounts.settings) {
        Some(found) if *found == settings => Ok(()),
        found => Err(format!("{key} sees {found:?} instead of {settings:?}")),
    }
}

/// A pod has what it asks for, and its status says so.
fn has_its_size(pod: &Object, runtime: &Runtime) -> Result<(), String> {
    let (key, value) = (pod.key(), pod.value());
    let container = &value["spec"]["containers"][0];
    let (asked, told) = (&container["resources"], &value["status"]["containerStatuses"][0]);
    if told["resources"] != *asked || told["allocatedResources"] != asked["requests"] {
        return Err(format!("{key} asks for {asked} and is told to have {told}"));
    }
    let conditions = value["status"]["conditions"].as_array().into_iter().flatten();
    let is_resize = |it: &&Value| it["type"].as_str().is_some_and(|it| it.contains("Resize"));
    if let Some(condition) = conditions.into_iter().find(is_resize) {
        return Err(format!("{key} is still to be resized: {condition}"));
    }
    let Some(sandbox) = runtime.sandboxes.get(&pod.metadata().uid) else { return Ok(()) };
    let app = sandbox.containers.iter().rfind(|it| it.state.name == "app");
    let cores = asked["requests"]["cpu"].as_str().and_then(|it| it.parse::<u64>().ok());
    let shares = cores.map(|cores| cores * 1024);
    let of_others = 2 * value["spec"]["initContainers"].as_array().map_or(0, Vec::len) as u64;
    let has = (app.and_then(|it| it.resources.cpu_shares), sandbox.spec.resources.cpu_shares);
    match has == (shares, shares.map(|shares| shares + of_others)) {
        true => Ok(()),
        false => Err(format!("{key} asks for {asked} and has shares of {has:?}")),
    }
}

fn shown(status: &Value) -> String {
    let container = &status["containerStatuses"][0]["state"];
    format!("{} {container}", status["phase"])
}
