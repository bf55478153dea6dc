//! How fast and how far: what becomes of the number that the metrics propose.

use coracle_api::{Timestamp, time};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior,
};

use super::floats::{as_float, whole};
use crate::memory::{Memory, Stamped};
use crate::workload::conditions::Condition;

/// Over which recommendations the highest is taken where nothing is said of it, in seconds.
const DOWN_WINDOW: i64 = 300;
/// Without behavior, one step makes a target at most twice as large, or of four pods.
const UP_FACTOR: i64 = 2;
const UP_LEAST: i64 = 4;

const ABLE: &str = "AbleToScale";
const LIMITED: &str = "ScalingLimited";

/// What is to be limited.
pub(super) struct Wanted<'a> {
    pub current: i64,
    pub proposed: i64,
    pub least: i64,
    pub most: i64,
    pub behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    pub now: Timestamp,
}

/// A number, and why it is not another.
struct Bounded {
    replicas: i64,
    reason: &'static str,
    message: &'static str,
}

const fn bounded(replicas: i64, reason: &'static str, message: &'static str) -> Bounded {
    Bounded { replicas, reason, message }
}

const HIGHER: &str = "recent recommendations were higher than current one, applying the highest recent recommendation";
const LOWER: &str =
    "recent recommendations were lower than current one, applying the lowest recent recommendation";
const TOO_FAST_UP: &str =
    "the desired replica count is increasing faster than the maximum scale rate";
const TOO_FAST_DOWN: &str =
    "the desired replica count is decreasing faster than the maximum scale rate";
const TOO_MANY: &str = "the desired replica count is more than the maximum replica count";
const TOO_FEW: &str = "the desired replica count is less than the minimum replica count";

impl Wanted<'_> {
    /// How many replicas there shall be, and the conditions that say why. The proposal is remembered.
    pub fn limited(&self, memory: &mut Memory) -> (i64, [Condition; 2]) {
        let window = self.windows().map_or(DOWN_WINDOW, |(up, down)| up.max(down));
        let stable = self.stabilized(memory);
        memory.recommendations.retain(|past| !is_older(past, window, self.now));
        memory.recommendations.push(Stamped { at: self.now, number: self.proposed });
        let able = match stable.replicas == self.proposed {
            true => ("ReadyForNewScale", "recommended size matches current size"),
            false => (stable.reason, stable.message),
        };
        let limited = match self.behavior {
            None => self.without_behavior(stable.replicas),
            Some(behavior) => self.by_policies(behavior, stable.replicas, memory),
        };
        let is_limited = if limited.replicas == stable.replicas { "False" } else { "True" };
        let conditions = [
            Condition::new(ABLE, "True", able.0, able.1),
            Condition::new(LIMITED, is_limited, limited.reason, limited.message),
        ];
        (limited.replicas, conditions)
    }

    /// Seconds for which an increase and a decrease are held back.
    fn windows(&self) -> Option<(i64, i64)> {
        let behavior = self.behavior?;
        let window = |rules: &Option<HPAScalingRules>, unsaid: i64| {
            let said = rules.as_ref().and_then(|rules| rules.stabilization_window_seconds);
            said.map_or(unsaid, i64::from)
        };
        Some((window(&behavior.scale_up, 0), window(&behavior.scale_down, DOWN_WINDOW)))
    }

    /// What the recommendations of the window agree to.
    fn stabilized(&self, memory: &Memory) -> Bounded {
        // Upstream counts what is exactly as old as the window without behavior alone.
        let has_edge = self.behavior.is_none();
        let recent = |window: i64| {
            let young = move |past: &&Stamped| {
                let end = time::after(past.at, window);
                end > self.now || (has_edge && end == self.now)
            };
            memory.recommendations.iter().filter(young).map(|past| past.number)
        };
        let highest = |window| recent(window).fold(self.proposed, i64::max);
        match self.windows() {
            // As few changes as both windows let be: what holds an increase back makes nothing smaller.
            Some((up, down)) => {
                let lowest = recent(up).fold(self.proposed, i64::min);
                let stable = self.current.max(lowest).min(highest(down));
                match self.proposed >= self.current {
                    true => bounded(stable, "ScaleUpStabilized", LOWER),
                    false => bounded(stable, "ScaleDownStabilized", HIGHER),
                }
            }
            None => bounded(highest(DOWN_WINDOW), "ScaleDownStabilized", HIGHER),
        }
    }

    fn without_behavior(&self, wanted: i64) -> Bounded {
        let step = self.current.saturating_mul(UP_FACTOR).max(UP_LEAST);
        let (most, reason, message) = match self.most > step {
            true => (step, "ScaleUpLimit", TOO_FAST_UP),
            false => (self.most, "TooManyReplicas", TOO_MANY),
        };
        match wanted {
            _ if wanted < self.least => bounded(self.least, "TooFewReplicas", TOO_FEW),
            _ if wanted > most => bounded(most, reason, message),
            _ => within(wanted),
        }
    }

    fn by_policies(
        &self,
        behavior: &HorizontalPodAutoscalerBehavior,
        wanted: i64,
        memory: &Memory,
    ) -> Bounded {
        if wanted > self.current {
            let reach = self.reach_up(behavior.scale_up.as_ref(), memory).max(self.current);
            let (most, reason, message) = match self.most > reach {
                true => (reach, "ScaleUpLimit", TOO_FAST_UP),
                false => (self.most, "TooManyReplicas", TOO_MANY),
            };
            if wanted > most {
                return bounded(most, reason, message);
            }
        } else if wanted < self.current {
            let reach = self.reach_down(behavior.scale_down.as_ref(), memory).min(self.current);
            let (least, reason, message) = match self.least < reach {
                true => (reach, "ScaleDownLimit", TOO_FAST_DOWN),
                false => (self.least, "TooFewReplicas", TOO_FEW),
            };
            if wanted < least {
                return bounded(least, reason, message);
            }
        }
        within(wanted)
    }

    /// The most that the policies for an increase allow now.
    fn reach_up(&self, rules: Option<&HPAScalingRules>, memory: &Memory) -> i64 {
        let reach = |policy: &HPAScalingPolicy| {
            let (start, value) = (self.at_start(policy, memory), i64::from(policy.value));
            match &*policy.type_ {
                "Pods" => start.saturating_add(value),
                _ => whole((as_float(start) * (1.0 + as_float(value) / 100.0)).ceil()),
            }
        };
        let reaches = policies(rules).iter().map(reach);
        let found = match select_policy(rules) {
            "Disabled" => None,
            "Min" => reaches.min(),
            _ => reaches.max(),
        };
        found.unwrap_or(self.current)
    }

    /// The least that the policies for a decrease allow now.
    fn reach_down(&self, rules: Option<&HPAScalingRules>, memory: &Memory) -> i64 {
        let reach = |policy: &HPAScalingPolicy| {
            let (start, value) = (self.at_start(policy, memory), i64::from(policy.value));
            match &*policy.type_ {
                "Pods" => start.saturating_sub(value),
                _ => whole((as_float(start) * (1.0 - as_float(value) / 100.0)).trunc()),
            }
        };
        let reaches = policies(rules).iter().map(reach);
        let found = match select_policy(rules) {
            "Disabled" => None,
            "Min" => reaches.max(),
            _ => reaches.min(),
        };
        found.unwrap_or(self.current)
    }

    /// How many pods there were when the period of a policy began.
    fn at_start(&self, policy: &HPAScalingPolicy, memory: &Memory) -> i64 {
        let period = i64::from(policy.period_seconds);
        let changed = |changes: &[Stamped]| {
            let recent = changes.iter().filter(|past| time::after(past.at, period) > self.now);
            recent.fold(0, |sum: i64, past| sum.saturating_add(past.number))
        };
        let (added, removed) = (changed(&memory.increases), changed(&memory.decreases));
        self.current.saturating_sub(added).saturating_add(removed)
    }
}

/// Remembers that a target was given another size, for as long as a policy asks.
pub(super) fn remember_change(
    memory: &mut Memory,
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    (from, to): (i64, i64),
    now: Timestamp,
) {
    let Some(behavior) = behavior else { return };
    let rules = [behavior.scale_up.as_ref(), behavior.scale_down.as_ref()];
    let periods = rules.into_iter().flat_map(policies).map(|it| i64::from(it.period_seconds));
    let longest = periods.max().unwrap_or(0);
    for changes in [&mut memory.increases, &mut memory.decreases] {
        changes.retain(|past| !is_older(past, longest, now));
    }
    let number = to.saturating_sub(from).saturating_abs();
    let changes = if to > from { &mut memory.increases } else { &mut memory.decreases };
    changes.push(Stamped { at: now, number });
}

fn within(replicas: i64) -> Bounded {
    let message = "the desired count is within the acceptable range";
    bounded(replicas, "DesiredWithinRange", message)
}

fn policies(rules: Option<&HPAScalingRules>) -> &[HPAScalingPolicy] {
    rules.and_then(|rules| rules.policies.as_deref()).unwrap_or_default()
}

fn select_policy(rules: Option<&HPAScalingRules>) -> &str {
    rules.and_then(|rules| rules.select_policy.as_deref()).unwrap_or("Max")
}

/// Whether something happened more than `seconds` ago.
fn is_older(past: &Stamped, seconds: i64, now: Timestamp) -> bool {
    time::after(past.at, seconds) < now
}
