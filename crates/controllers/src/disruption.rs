//! PodDisruptionBudgets: how many pods may be evicted now.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::conditions;
use coracle_api::int_or_string::IntOrString;
use coracle_api::pods::{self, AnyPod};
use coracle_api::resources::{
    DEPLOYMENTS, POD_DISRUPTION_BUDGETS as BUDGETS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
};
use coracle_api::{Key, Object, Timestamp};
use coracle_store::{Event, Snapshot};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use crate::plan::{Note, Plan, Write};
use crate::pod_conditions::{self, DISRUPTION_TARGET};
use crate::served::Served;
use crate::table::{Controller, itself, selecting};
use crate::{Context, json};

/// How long an eviction is remembered whose pod has not gone.
const EVICTION_REMEMBERED: SignedDuration = SignedDuration::from_mins(2);

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "disruption-controller",
    serial: false,
    watches: &[
        (BUDGETS, itself),
        (PODS, budgets_of_pod),
        (STATEFUL_SETS, when_scaled),
        (REPLICA_SETS, when_scaled),
        (DEPLOYMENTS, when_scaled),
        (REPLICATION_CONTROLLERS, when_scaled),
    ],
    decide,
};

fn budgets_of_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    selecting(event, snapshot, BUDGETS)
}

fn when_scaled(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let scale = |object: &Arc<Object>| object.value()["spec"]["replicas"].clone();
    if event.old.as_ref().map(scale) == event.new.as_ref().map(scale) {
        return Vec::new();
    }
    let budgets = snapshot.list(BUDGETS, Some(&event.key.namespace));
    budgets.map(|budget| budget.key().clone()).collect()
}

/// Counts the pods of the budget at `key`.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(budget) = snapshot.get(key) else { return plan };
    let covered: Vec<_> = snapshot
        .selected(PODS, Some(&key.namespace), &budget.selector())
        .into_iter()
        .filter_map(|object| Some((object, object.view::<Pod>().ok()?)))
        .collect();
    if covered.is_empty() {
        plan.notes.push(Note::normal(budget, "NoPods", "No matching pods found"));
    }
    let (expected, desired) = match expected(snapshot, budget, &covered, &mut plan.notes) {
        Ok(counts) => counts,
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            plan.notes = vec![Note::warning(budget, "CalculateExpectedPodCountFailed", message)];
            return told_once(plan, failed(budget, &why, context.now));
        }
    };
    let evicted = evicted(budget, &covered, context.now);
    let is_healthy = |(object, pod): &&(&Arc<Object>, Arc<Pod>)| {
        pod.is_ready()
            && !pods::is_terminating(pod)
            && !evicted.contains_key(&object.metadata().name)
    };
    let healthy = count(covered.iter().filter(is_healthy).count());
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    for at in evicted.values() {
        if let Ok(end) = at.checked_add(EVICTION_REMEMBERED) {
            plan.look_again_at(end);
        }
    }
    let counts = Counts { allowed, healthy, desired, expected };
    let changed = write(budget, &counts, &evicted, context.now);
    told_once(plan, changed)
}

/// What is noted is what the write changes: at rest nothing is said again.
fn told_once(mut plan: Plan, changed: Option<Write>) -> Plan {
    if changed.is_none() {
        plan.notes.clear();
    }
    plan.write_each(changed);
    plan
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// How many pods there should be, and how many must be healthy.
fn expected(
    snapshot: &Snapshot,
    budget: &Arc<Object>,
    covered: &[(&Arc<Object>, Arc<Pod>)],
    notes: &mut Vec<Note>,
) -> Result<(i32, i32), String> {
    let spec = &budget.value()["spec"];
    let field = |name: &str| spec.get(name).and_then(IntOrString::from_json);
    if let Some(unavailable) = field("maxUnavailable") {
        let expected = scale(snapshot, budget, covered, notes)?;
        let unavailable = unavailable.scaled(expected, true).map_err(|error| error.to_string())?;
        return Ok((expected, (expected - unavailable).max(0)));
    }
    match field("minAvailable") {
        Some(IntOrString::Int(least)) => Ok((count(covered.len()), least)),
        Some(least) => {
            let expected = scale(snapshot, budget, covered, notes)?;
            let least = least.scaled(expected, true).map_err(|error| error.to_string())?;
            Ok((expected, least))
        }
        None => Ok((count(covered.len()), 0)),
    }
}

/// The replicas that the pods' controllers want, each counted once. Of pods without one nobody
/// knows how many there should be.
fn scale(
    snapshot: &Snapshot,
    budget: &Arc<Object>,
    covered: &[(&Arc<Object>, Arc<Pod>)],
    notes: &mut Vec<Note>,
) -> Result<i32, String> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    if covered.iter().any(|(object, _)| object.metadata().controller().is_none()) {
        let message = format!(
            "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. \
             As a result, the status of the PDB cannot be calculated correctly, which may result \
             in undefined behavior. To account for these pods please set \".spec.minAvailable\" \
             field of the PDB to an integer value.",
            budget.selector()
        );
        notes.push(Note::warning(budget, "UnmanagedPods", message));
    }
    for (object, _) in covered {
        let name = &object.metadata().name;
        let Some(controller) = object.metadata().controller() else { continue };
        let owner = top(snapshot, &controller.uid)
            .ok_or_else(|| format!("found no controllers for pod \"{name}\""))?;
        let replicas = replicas(snapshot, owner)?;
        scales.insert(owner.metadata().uid.clone(), i32::try_from(replicas).unwrap_or(i32::MAX));
    }
    Ok(scales.values().sum())
}

/// How many pods a controller wants, of whatever kind that has a scale.
fn replicas(snapshot: &Snapshot, owner: &Object) -> Result<i64, String> {
    let (version, kind) = (owner.str_at("/apiVersion"), owner.str_at("/kind"));
    let served = Served::find(snapshot, version.unwrap_or_default(), kind.unwrap_or_default());
    let paths = served.and_then(|kind| kind.scale_paths()).ok_or_else(|| {
        format!("{} does not implement the scale subresource", owner.key().resource)
    })?;
    Ok(owner.value().pointer(&paths.replicas).and_then(Value::as_i64).unwrap_or(0))
}

/// The controller, or the controller of a ReplicaSet.
fn top<'a>(snapshot: &'a Snapshot, uid: &str) -> Option<&'a Arc<Object>> {
    let owner = snapshot.by_uid(uid)?;
    let above = owner.metadata().controller().and_then(|above| snapshot.by_uid(&above.uid));
    Some(above.unwrap_or(owner))
}

/// Pods that are being evicted and still count as if they were gone.
fn evicted(
    budget: &Object,
    covered: &[(&Arc<Object>, Arc<Pod>)],
    now: Timestamp,
) -> BTreeMap<String, Timestamp> {
    let remembered = budget.value()["status"]["disruptedPods"].as_object();
    let pending = |name: &str, at: Timestamp| {
        let there = covered.iter().find(|(object, _)| object.metadata().name == name);
        let waits = there.is_some_and(|(object, _)| !object.metadata().is_deleting());
        waits && at.checked_add(EVICTION_REMEMBERED).is_ok_and(|end| end > now)
    };
    let parsed = remembered.into_iter().flatten().filter_map(|(name, at)| {
        let at: Timestamp = at.as_str()?.parse().ok()?;
        pending(name, at).then(|| (name.clone(), at))
    });
    parsed.collect()
}

struct Counts {
    allowed: i32,
    healthy: i32,
    desired: i32,
    expected: i32,
}

fn write(
    budget: &Object,
    counts: &Counts,
    evicted: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Option<Write> {
    let evicted: Map<_, _> =
        evicted.iter().map(|(name, at)| (name.clone(), json!(crate::rfc3339(*at)))).collect();
    let (status, reason) = match counts.allowed {
        0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    };
    let mut new = json!({
        "currentHealthy": counts.healthy,
        "desiredHealthy": counts.desired,
        "disruptionsAllowed": counts.allowed,
        "expectedPods": counts.expected,
        "observedGeneration": budget.metadata().generation.unwrap_or_default(),
        "conditions": [condition(budget, status, reason, "", now)],
    });
    if !evicted.is_empty() {
        new["disruptedPods"] = Value::Object(evicted);
    }
    let is_new = budget.value()["status"] != new;
    is_new.then(|| Write::status(json::with(budget, &["status"], new)))
}

fn failed(budget: &Object, why: &str, now: Timestamp) -> Option<Write> {
    let condition = condition(budget, "False", "SyncFailed", why, now);
    let mut status = budget.value()["status"].clone();
    json::set(&mut status, &["disruptionsAllowed"], json!(0));
    json::set(&mut status, &["conditions"], json!([condition]));
    let is_new = budget.value()["status"] != status;
    is_new.then(|| Write::status(json::with(budget, &["status"], status)))
}

fn condition(budget: &Object, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let new = json!({
        "type": "DisruptionAllowed",
        "status": status,
        "observedGeneration": budget.metadata().generation.unwrap_or_default(),
        "reason": reason,
        "message": message,
    });
    conditions::dated(conditions::all(budget.value()), new, &crate::rfc3339(now))
}

/// The row of the table for pods that were to go and did not.
pub(crate) const STALE: Controller = Controller {
    name: "stale-disruption-controller",
    serial: false,
    watches: &[(PODS, when_it_is_to_go)],
    decide: decide_pod,
};

/// The condition of a pod that was to go, for another reason than its node's, and is not going.
fn target(pod: &Object) -> Option<&Value> {
    let condition = conditions::find(pod.value(), DISRUPTION_TARGET)?;
    let is_target = condition["status"] == "True" && condition["reason"] != "TerminationByKubelet";
    (is_target && !pod.metadata().is_deleting()).then_some(condition)
}

fn when_it_is_to_go(event: &Event, _: &Snapshot) -> Vec<Key> {
    let is_target = event.new.as_ref().is_some_and(|pod| target(pod).is_some());
    if is_target { vec![event.key.clone()] } else { Vec::new() }
}

/// A pod that has not gone after two minutes is not going.
fn decide_pod(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(pod) = snapshot.get(key) else { return plan };
    let Some(condition) = target(pod) else { return plan };
    let since = condition["lastTransitionTime"].as_str().and_then(|time| time.parse().ok());
    let due = since.and_then(|since: Timestamp| since.checked_add(EVICTION_REMEMBERED).ok());
    match due.filter(|due| *due > context.now) {
        Some(due) => plan.look_again_at(due),
        None => {
            let over = json!({"type": DISRUPTION_TARGET, "status": "False"});
            plan.write(Write::status(pod_conditions::with(pod, over, context.now)));
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const CONTROLLER: &[&str] = &["disruption-controller"];

    /// Three pods of a set of four, two of them ready, under a budget.
    fn status(spec: Value) -> Value {
        let mut world = World::new();
        let set = world.create(json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 4},
        }));
        for (name, ready) in [("web-0", "True"), ("web-1", "True"), ("web-2", "False")] {
            world.create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": "default", "labels": {"app": "web"},
                    "ownerReferences": [json::controller_reference(&set)],
                },
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
            }));
        }
        let mut spec = spec;
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
        world.create(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"}, "spec": spec,
        }));
        world.settle(CONTROLLER);
        world.get(BUDGETS, "web").value()["status"].clone()
    }

    #[test]
    fn a_pod_without_a_controller_does_not_stop_the_count() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "alone", "namespace": "default", "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }));
        world.create(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}},
        }));
        world.settle(CONTROLLER);
        let status = world.get(BUDGETS, "web").value()["status"].clone();
        assert_eq!(status["conditions"][0]["reason"], "InsufficientPods");
        assert_eq!(status["currentHealthy"], 1);
        assert_eq!(status["expectedPods"], 0);
        assert_eq!(status["observedGeneration"], 1);
    }

    #[test]
    fn a_budget_counts_as_it_is_written() {
        let cases = [
            (json!({"minAvailable": 1}), 1, 1, 3),
            (json!({"minAvailable": 2}), 0, 2, 3),
            (json!({"minAvailable": "25%"}), 1, 1, 4),
            (json!({"maxUnavailable": 3}), 1, 1, 4),
            (json!({"maxUnavailable": "50%"}), 0, 2, 4),
        ];
        for (spec, allowed, desired, expected) in cases {
            let status = status(spec.clone());
            assert_eq!(status["disruptionsAllowed"], allowed, "{spec}");
            assert_eq!(status["desiredHealthy"], desired, "{spec}");
            assert_eq!(status["expectedPods"], expected, "{spec}");
            assert_eq!(status["currentHealthy"], 2, "{spec}");
        }
    }

    #[test]
    fn the_scale_of_any_kind_is_counted_and_a_job_has_none() {
        let owned = |world: &mut World, owner: Value| {
            let owner = world.create(owner);
            world.create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": "p", "namespace": "default", "labels": {"app": "web"},
                    "ownerReferences": [json::controller_reference(&owner)],
                },
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            }));
            world.create(json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
            }));
            world.settle(CONTROLLER);
            world.get(BUDGETS, "web").value()["status"].clone()
        };
        let metadata = json!({"name": "x", "namespace": "default"});
        let mut world = World::new();
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata});
        let status = owned(&mut world, job);
        let condition = &status["conditions"][0];
        assert_eq!(condition["reason"], "SyncFailed");
        assert_eq!(condition["message"], "jobs.batch does not implement the scale subresource");
        assert_eq!(status["disruptionsAllowed"], 0);

        let mut world = World::new();
        let scale = json!({"scale": {"specReplicasPath": ".spec.size"}});
        world.create(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "clusters.example.com"},
            "spec": {"group": "example.com", "names": {"kind": "Cluster"},
                "versions": [{"name": "v1", "served": true, "subresources": scale}]},
        }));
        let cluster = json!({
            "apiVersion": "example.com/v1", "kind": "Cluster", "metadata": metadata,
            "spec": {"size": 3},
        });
        let status = owned(&mut world, cluster);
        assert_eq!((&status["expectedPods"], &status["desiredHealthy"]), (&json!(3), &json!(2)));
    }

    #[test]
    fn a_pod_that_was_to_go_and_stays_is_no_target_after_two_minutes() {
        const STALE: &[&str] = &["stale-disruption-controller"];
        let mut world = World::new();
        let target = |reason: &str| {
            json!([{"type": DISRUPTION_TARGET, "status": "True", "reason": reason,
                "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        };
        for (name, reason) in [("a", "EvictionByEvictionAPI"), ("b", "TerminationByKubelet")] {
            world.create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "conditions": target(reason)},
            }));
        }
        let status = |world: &World, name: &str| {
            conditions::status(world.get(PODS, name).value(), DISRUPTION_TARGET).map(str::to_owned)
        };
        world.settle(STALE);
        world.pass(119, STALE);
        assert_eq!(status(&world, "a").as_deref(), Some("True"));
        world.pass(1, STALE);
        assert_eq!(status(&world, "a").as_deref(), Some("False"));
        assert_eq!(status(&world, "b").as_deref(), Some("True"));
    }
}
