//! HorizontalPodAutoscalers: never more or fewer replicas than they allow, never faster than their
//! policies say, and at rest as many as the metric asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::resources::{DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS as AUTOSCALERS, PODS};
use coracle_api::{Key, Object, Timestamp, Usage};
use coracle_store::Snapshot;
use jiff::SignedDuration;
use serde_json::Value;

use super::owned::{spec, status};
use super::{Actor, Change};
use crate::runtime::Runtime;

const CONTROLLER: &str = "horizontal-pod-autoscaler";
/// What one step makes of a target at least, without policies.
const UP_LEAST: i64 = 4;
/// How far rounding may take a ratio from what it is.
const ROUNDED: f64 = 0.02;

/// What the check remembers.
#[derive(Default)]
pub(super) struct Autoscaling {
    /// When the controller decided last, by autoscaler.
    decided: BTreeMap<Key, Timestamp>,
    /// What it did, by UID of the autoscaler, since the engine started: it remembers no more.
    done: BTreeMap<String, Vec<(Timestamp, i64)>>,
    /// By UID, since when an autoscaler has its policies: what is remembered before is by others.
    ruled_since: BTreeMap<String, Timestamp>,
}

impl Autoscaling {
    /// The engine starts again.
    pub fn restarted(&mut self) {
        self.done.clear();
    }

    pub fn planned(&mut self, controller: &str, key: &Key, now: Timestamp) {
        if controller == CONTROLLER {
            self.decided.insert(key.clone(), now);
        }
    }

    pub fn check(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        changes: &[Change],
        now: Timestamp,
    ) -> Result<(), String> {
        if *actor == Actor::Controller(CONTROLLER) {
            for change in changes.iter().filter(|it| *it.key.resource == *DEPLOYMENTS) {
                self.scaled(before, change)?;
            }
        }
        for change in changes.iter().filter(|it| *it.key.resource == *AUTOSCALERS) {
            let rules = |object: &Option<Arc<Object>>| {
                object.as_ref().map(|object| object.value()["spec"]["behavior"].clone())
            };
            if let (Some(_), Some(new)) = (&change.old, &change.new)
                && rules(&change.old) != rules(&change.new)
            {
                self.ruled_since.insert(new.metadata().uid.clone(), now);
            }
        }
        Ok(())
    }

    fn scaled(&mut self, before: &Snapshot, change: &Change) -> Result<(), String> {
        let (Some(old), Some(new)) = (&change.old, &change.new) else { return Ok(()) };
        let (was, is) = (spec(old, "replicas", 1), spec(new, "replicas", 1));
        if was == is {
            return Ok(());
        }
        let all: Vec<_> = autoscalers(before, &change.key).collect();
        if all.is_empty() {
            return Err(format!("{} was scaled, and no autoscaler is for it", change.key));
        }
        let allows = |it: &&Arc<Object>| bounds(it).contains(&is);
        let Some(autoscaler) = all.iter().copied().find(allows) else {
            return Err(format!("{} was scaled to {is}, which no autoscaler allows", change.key));
        };
        let uid = autoscaler.metadata().uid.clone();
        let at = self.decided.get(autoscaler.key()).copied().unwrap_or(Timestamp::MIN);
        // Where there are several it is not known whose decision it is; back between its bounds a
        // target comes at once.
        if all.len() == 1 && bounds(autoscaler).contains(&was) {
            let done = self.done.get(&uid).map(Vec::as_slice).unwrap_or_default();
            let since = self.ruled_since.get(&uid).copied().unwrap_or(Timestamp::MIN);
            let pace = Pace { autoscaler, done, since, at, was };
            if let Some(most) = pace.reach(is > was)
                && (if is > was { is > most } else { is < most })
            {
                let why = format!("may only go from {was} to {most} yet");
                return Err(format!("{} was scaled to {is}, and {why}", change.key));
            }
        }
        if !autoscaler.value()["spec"]["behavior"].is_null() {
            self.done.entry(uid).or_default().push((at, is - was));
        }
        Ok(())
    }
}

/// The autoscalers of a Deployment.
fn autoscalers<'a>(
    snapshot: &'a Snapshot,
    target: &'a Key,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let is_for = |it: &&Arc<Object>| {
        let reference = &it.value()["spec"]["scaleTargetRef"];
        reference["kind"] == "Deployment" && reference["name"] == *target.name
    };
    snapshot.list(AUTOSCALERS, Some(&target.namespace)).filter(is_for)
}

fn bounds(autoscaler: &Object) -> std::ops::RangeInclusive<i64> {
    spec(autoscaler, "minReplicas", 1)..=spec(autoscaler, "maxReplicas", 1)
}

/// How fast a target may change.
struct Pace<'a> {
    autoscaler: &'a Object,
    /// When it was changed by how many.
    done: &'a [(Timestamp, i64)],
    since: Timestamp,
    at: Timestamp,
    was: i64,
}

impl Pace<'_> {
    /// How far it may go by now; `None` when it may go anywhere, or that is not known.
    fn reach(&self, up: bool) -> Option<i64> {
        let behavior = &self.autoscaler.value()["spec"]["behavior"];
        if behavior.is_null() {
            return up.then_some((2 * self.was).max(UP_LEAST));
        }
        let rules = &behavior[if up { "scaleUp" } else { "scaleDown" }];
        let select = rules["selectPolicy"].as_str().unwrap_or("Max");
        if select == "Disabled" {
            return Some(self.was);
        }
        let policies = rules["policies"].as_array()?;
        let reaches: Option<Vec<i64>> = policies.iter().map(|it| self.by(it, up)).collect();
        // The policy that changes the most is the highest for more, and the lowest for fewer.
        let found = match (select == "Max") == up {
            true => reaches?.into_iter().max()?,
            false => reaches?.into_iter().min()?,
        };
        Some(if up { found.max(self.was) } else { found.min(self.was) })
    }

    /// How far a policy lets it go: from where it was when the policy's period began.
    fn by(&self, policy: &Value, up: bool) -> Option<i64> {
        let period = SignedDuration::from_secs(policy["periodSeconds"].as_i64()?);
        if self.since + period > self.at {
            return None;
        }
        let recent = self.done.iter().filter(|(at, _)| *at + period > self.at);
        let start = self.was - recent.map(|(_, by)| by).sum::<i64>();
        let value = policy["value"].as_i64()?;
        Some(match (policy["type"] == "Pods", up) {
            (true, true) => start + value,
            (true, false) => start - value,
            (false, true) => (start * (100 + value) + 99).div_euclid(100),
            (false, false) => start * (100 - value) / 100,
        })
    }
}

/// Whether each autoscaler has brought its target to where the metric wants it.
pub(super) fn rests(snapshot: &Snapshot, runtime: &mut Runtime) -> Result<(), String> {
    let usage = runtime.usage();
    for autoscaler in snapshot.list(AUTOSCALERS, None) {
        let (namespace, value) = (&autoscaler.metadata().namespace, autoscaler.value());
        let name = value["spec"]["scaleTargetRef"]["name"].as_str().unwrap_or_default();
        let Some(target) = snapshot.find(DEPLOYMENTS, namespace, name) else { continue };
        // Of several that are for one target none does anything.
        if autoscalers(snapshot, target.key()).count() > 1 || spec(target, "replicas", 1) == 0 {
            continue;
        }
        stands(snapshot, (autoscaler, target), &usage)?;
    }
    Ok(())
}

fn stands(
    snapshot: &Snapshot,
    (autoscaler, target): (&Arc<Object>, &Arc<Object>),
    usage: &Usage,
) -> Result<(), String> {
    let (key, has) = (autoscaler.key(), spec(target, "replicas", 1));
    if !bounds(autoscaler).contains(&has) {
        return Err(format!("{key}: {} has {has} replicas, which it does not allow", target.key()));
    }
    if status(autoscaler, "currentReplicas") != has {
        return Err(format!("{key} says {} and not {has}", autoscaler.value()["status"]));
    }
    let Some((ratio, pods)) = ratio(snapshot, (autoscaler, target), usage) else { return Ok(()) };
    let wanted = |ratio: f64| match (ratio - 1.0).abs() <= 0.1 {
        true => has,
        false => (ratio * pods as f64).ceil() as i64,
    };
    let (least, most) = (*bounds(autoscaler).start(), *bounds(autoscaler).end());
    let disabled =
        |rules: &str| autoscaler.value()["spec"]["behavior"][rules]["selectPolicy"] == "Disabled";
    let is_right = |ratio: f64| match wanted(ratio).clamp(least, most) {
        wanted if wanted > has => disabled("scaleUp"),
        wanted if wanted < has => disabled("scaleDown"),
        _ => true,
    };
    match [1.0 - ROUNDED, 1.0, 1.0 + ROUNDED].iter().any(|off| is_right(ratio * off)) {
        true => Ok(()),
        false => {
            let what = format!("has {has} replicas, and uses {ratio:.2} of what they are to use");
            Err(format!("{key}: {} {what}: {}", target.key(), autoscaler.value()["status"]))
        }
    }
}

/// How what is used compares to the target, and over how many pods; `None` where that is not known.
fn ratio(
    snapshot: &Snapshot,
    (autoscaler, target): (&Object, &Object),
    usage: &Usage,
) -> Option<(f64, usize)> {
    let app = target.value()["spec"]["selector"]["matchLabels"]["app"].as_str();
    // Also those that have worked and ended, of which nobody knows what they use.
    let is_its = |pod: &&Arc<Object>| {
        let counts = !pod.metadata().is_deleting() && pod.phase() != "Failed";
        pod.metadata().labels.get("app").map(String::as_str) == app && counts
    };
    let namespace = &target.metadata().namespace;
    let pods: Vec<_> = snapshot.list(PODS, Some(namespace)).filter(is_its).collect();
    let metric = &autoscaler.value()["spec"]["metrics"][0];
    let is_by_average = metric["resource"]["target"]["type"] == "AverageValue";
    let has_sidecar = |pod: &&Arc<Object>| pod.value()["spec"].get("initContainers").is_some();
    if metric["type"] == "Resource" && !is_by_average && pods.iter().any(has_sidecar) {
        return None;
    }
    let used = |pod: &&Arc<Object>| {
        let measured = usage.pods.get(&pod.metadata().uid)?;
        Some(measured.used.get("app")?.nanocores as f64 / 1e9)
    };
    let used: Option<Vec<f64>> = pods.iter().map(used).collect();
    let asked = |pod: &&Arc<Object>| {
        pod.str_at("/spec/containers/0/resources/requests/cpu").and_then(|it| it.parse().ok())
    };
    let asked: f64 = pods.iter().filter_map(asked).map(|cores: f64| cores).sum();
    let used: f64 = used?.iter().sum();
    let is_to_be = if is_by_average { pods.len() as f64 } else { asked } / 2.0;
    (is_to_be > 0.0).then_some((used / is_to_be, pods.len()))
}
