//! The scheduler: no node is given away twice, a place that is kept for a pod is its own, only less
//! important pods make room, no more of them than must, and budgets are kept where they can be.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::Object;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{NODES, POD_DISRUPTION_BUDGETS as BUDGETS, PODS};
use coracle_store::Snapshot;

use super::owned::status;
use super::{Actor, Change};

const SCHEDULER: &str = "default-scheduler";

/// What the check remembers.
#[derive(Default)]
pub(super) struct Places {
    /// The state that the scheduler decided on, until it has written something.
    decided: Option<Snapshot>,
}

impl Places {
    pub fn planned(&mut self, controller: &str, shown: &Snapshot) {
        if controller == SCHEDULER {
            self.decided = Some(shown.clone());
        }
    }

    pub fn check(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        changes: &[Change],
        after: &Snapshot,
    ) -> Result<(), String> {
        if *actor != Actor::Controller(SCHEDULER) || changes.is_empty() {
            return Ok(());
        }
        let decided = self.decided.take();
        let (mut bound, mut victims) = (0, Vec::new());
        for change in changes.iter().filter(|it| *it.key.resource == *PODS) {
            let Some(old) = &change.old else { continue };
            if change.begins_deletion() {
                makes_room(after, old)?;
                victims.push(old);
            } else if let Some(new) = change.new.as_ref().filter(|new| node(new) != node(old)) {
                has_room(before, after, new)?;
                bound += 1;
            }
        }
        match decided.filter(|_| bound == 0 && !victims.is_empty()) {
            Some(decided) => frugal(&decided, after, &victims),
            None => Ok(()),
        }
    }
}

fn node(pod: &Object) -> Option<&str> {
    pod.str_at("/spec/nodeName")
}

/// The node that is kept free for a pod that has none.
fn nominated(pod: &Object) -> Option<&str> {
    let waits = node(pod).is_none() && !pod.metadata().is_deleting();
    pod.str_at("/status/nominatedNodeName").filter(|node| waits && !node.is_empty())
}

/// How many cores a pod asks for.
fn cores(pod: &Object) -> i64 {
    let asked = pod.str_at("/spec/containers/0/resources/requests/cpu");
    asked.and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Whether it has, or will have, another size than when it was made: then it counts for more than it
/// asks for.
fn is_resized(pod: &Object) -> bool {
    let generation = pod.metadata().generation.unwrap_or(1);
    // What it was promised, and what it has.
    let has = ["allocatedResources/cpu", "resources/requests/cpu"]
        .map(|field| pod.str_at(&format!("/status/containerStatuses/0/{field}")));
    let made = pod.metadata().labels.get("cores").map_or("1", String::as_str);
    let asked = pod.str_at("/spec/containers/0/resources/requests/cpu");
    let differs = has.into_iter().flatten().any(|has| has != made);
    asked != Some(made) || differs && generation > 1
}

fn on<'a>(snapshot: &'a Snapshot, name: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
    snapshot.list(PODS, None).filter(move |pod| node(pod) == Some(name) && !pod.has_ended())
}

/// What a node has, and what the others have of it as far as `pod` is concerned; `None` when some of
/// them are being resized.
fn room(snapshot: &Snapshot, name: &str, pod: &Object) -> Option<(i64, i64)> {
    let object = snapshot.find(NODES, "", name)?;
    let all = object.str_at("/status/allocatable/cpu").and_then(|it| it.parse().ok())?;
    if on(snapshot, name).any(|it| is_resized(it)) {
        return None;
    }
    let uid = &pod.metadata().uid;
    let is_kept = |it: &&Arc<Object>| {
        nominated(it) == Some(name) && it.priority() >= pod.priority() && it.metadata().uid != *uid
    };
    let kept = snapshot.list(PODS, None).filter(is_kept);
    let others = on(snapshot, name).filter(|it| it.metadata().uid != *uid);
    Some((all, others.chain(kept).map(|it| cores(it)).sum()))
}

/// A pod got a node: there is room for it beside those that are there, and those that the node is
/// kept free for.
fn has_room(before: &Snapshot, after: &Snapshot, pod: &Arc<Object>) -> Result<(), String> {
    let name = node(pod).unwrap_or_default();
    let Some((all, _)) = room(after, name, pod) else { return Ok(()) };
    let here: i64 = on(after, name).map(|it| cores(it)).sum();
    let is_kept = |it: &&Arc<Object>| {
        // The same turn may have found another one for it.
        let still = after.by_uid(&it.metadata().uid).and_then(|it| nominated(it)) == Some(name);
        nominated(it) == Some(name) && it.priority() >= pod.priority() && still
    };
    let kept = before.list(PODS, None).filter(is_kept).filter(|it| it.key() != pod.key());
    let kept: i64 = kept.map(|it| cores(it)).sum();
    match here + kept > all {
        true => {
            Err(format!("{} got {name}: of {all} cores {here} and {kept} are taken", pod.key()))
        }
        false => Ok(()),
    }
}

/// A pod was told to go: a more important one gets its place.
fn makes_room(after: &Snapshot, victim: &Arc<Object>) -> Result<(), String> {
    let gets = |it: &&Arc<Object>| nominated(it).is_some() && nominated(it) == node(victim);
    let most = after.list(PODS, None).filter(gets).map(AnyPod::priority).max();
    match most.is_some_and(|most| most > victim.priority()) {
        true => Ok(()),
        false => {
            let (key, priority) = (victim.key(), victim.priority());
            Err(format!("{key} of priority {priority} made room for one of {most:?}"))
        }
    }
}

/// No pod more went than had to, and none that a budget guards where others were enough.
fn frugal(decided: &Snapshot, after: &Snapshot, victims: &[&Arc<Object>]) -> Result<(), String> {
    let nodes: BTreeSet<_> = victims.iter().filter_map(|it| node(it)).collect();
    let is_new = |it: &&Arc<Object>| {
        let was = decided.by_uid(&it.metadata().uid).and_then(|it| nominated(it));
        nominated(it).is_some_and(|node| nodes.contains(node)) && nominated(it) != was
    };
    let preemptors: Vec<_> = after.list(PODS, None).filter(is_new).collect();
    let (&[pod], Some(name), 1) = (&*preemptors, nodes.first().copied(), nodes.len()) else {
        return Ok(());
    };
    let Some((all, taken)) = room(decided, name, pod) else { return Ok(()) };
    let sizes = || victims.iter().map(|it| cores(it));
    let (gain, least) = (sizes().sum::<i64>(), sizes().min().unwrap_or(0));
    if all - taken + gain - least >= cores(pod) {
        return Err(format!("{} needs {} cores, and too many made room", pod.key(), cores(pod)));
    }
    let Some(budget) = broken(decided, victims) else { return Ok(()) };
    let names = decided.list(NODES, None).map(|it| it.metadata().name.as_str());
    for other in names {
        let Some((all, taken)) = room(decided, other, pod) else { continue };
        if all - taken + unguarded(decided, other, pod) >= cores(pod) {
            let why = format!("{other} had others that no budget guards");
            return Err(format!("{} breaks {budget}, and {why}", pod.key()));
        }
    }
    Ok(())
}

/// The budgets of a pod: they guard applications.
fn budgets<'a>(snapshot: &'a Snapshot, pod: &Object) -> impl Iterator<Item = &'a Arc<Object>> {
    let app = pod.metadata().labels.get("app").cloned();
    let guards = move |it: &&Arc<Object>| {
        app.as_deref() == it.value()["spec"]["selector"]["matchLabels"]["app"].as_str()
    };
    snapshot.list(BUDGETS, None).filter(guards)
}

/// The budget that does not allow all of these to go.
fn broken(snapshot: &Snapshot, victims: &[&Arc<Object>]) -> Option<String> {
    let all = victims.iter().flat_map(|pod| budgets(snapshot, pod));
    let is_broken = |budget: &&Arc<Object>| {
        let app = budget.value()["spec"]["selector"]["matchLabels"]["app"].as_str();
        let is_its = |it: &&&Arc<Object>| {
            it.metadata().labels.get("app").map(String::as_str) == app
                && budget.value()["status"]["disruptedPods"][&it.metadata().name].is_null()
        };
        victims.iter().filter(is_its).count() as i64 > status(budget, "disruptionsAllowed")
    };
    all.into_iter().find(is_broken).map(|budget| budget.key().to_string())
}

/// How many cores of less important pods on a node no budget guards.
fn unguarded(snapshot: &Snapshot, name: &str, pod: &Object) -> i64 {
    let less = |it: &&Arc<Object>| {
        it.priority() < pod.priority()
            && !it.metadata().is_deleting()
            && budgets(snapshot, it).next().is_none()
    };
    on(snapshot, name).filter(less).map(|it| cores(it)).sum()
}

/// Whether the scheduler has said that a pod finds no place.
pub(crate) fn is_unschedulable(pod: &Object) -> bool {
    let conditions = pod.value()["status"]["conditions"].as_array();
    let mut all = conditions.into_iter().flatten();
    let waits = node(pod).is_none() && !pod.metadata().is_deleting() && !pod.has_ended();
    waits && all.any(|it| it["type"] == "PodScheduled" && it["reason"] == "Unschedulable")
}

/// When nobody does anything, no pod waits for a place that it could have, by itself or by the going
/// of others.
pub(crate) fn none_waits_in_vain(snapshot: &Snapshot) -> Result<(), String> {
    for pod in snapshot.list(PODS, None).filter(|it| is_unschedulable(it)) {
        let patient = pod.str_at("/spec/preemptionPolicy") == Some("Never");
        for name in snapshot.list(NODES, None).map(|it| it.metadata().name.as_str()) {
            let Some((all, taken)) = room(snapshot, name, pod) else { continue };
            // Some go already.
            if on(snapshot, name).any(|it| it.metadata().is_deleting())
                || !fits(snapshot, name, pod)
            {
                continue;
            }
            let less = on(snapshot, name).filter(|it| it.priority() < pod.priority());
            let gain = if patient { 0 } else { less.map(|it| cores(it)).sum() };
            if all - taken + gain >= cores(pod) {
                return Err(format!("{} waits, and {name} could take it", pod.key()));
            }
        }
    }
    Ok(())
}

/// Whether a node is one that a pod may have.
fn fits(snapshot: &Snapshot, name: &str, pod: &Arc<Object>) -> bool {
    let spec = &pod.value()["spec"];
    let Some(node) = snapshot.find(NODES, "", name) else { return false };
    let mut wanted = spec["nodeSelector"].as_object().into_iter().flatten();
    let has = |(key, value): (&String, &serde_json::Value)| {
        node.metadata().labels.get(key).map(String::as_str) == value.as_str()
    };
    let is_bound_elsewhere = !spec["affinity"].is_null();
    let has_claims = super::claims::claims_of(pod).next().is_some();
    let is_tainted = !node.value()["spec"]["taints"].is_null();
    wanted.all(has) && !is_bound_elsewhere && !has_claims && !is_tainted
}
