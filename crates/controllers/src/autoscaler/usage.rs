//! What pods use of a resource, held against what they should: how many pods there should be.
//!
//! Amounts are in thousandths, as upstream counts them.

use std::collections::BTreeMap;

use coracle_api::pods;
use coracle_api::usage::{Amount, Measured};
use coracle_api::{Quantity, Timestamp, Usage};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::PodSpec;

use super::floats::{as_float, whole};
use crate::workload::replica::Replica;

/// How long after its start what a pod uses of the processor may be that of its start.
const INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod that was not Ready at any later time than this after its start has never been.
const FIRST_READINESS: SignedDuration = SignedDuration::from_secs(30);
/// No pod is no pod's worth of target: what nothing is known of counts as full, at least.
const FULL: i64 = 100;

/// Which amounts of which pods are looked at.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// `cpu` or `memory`.
    pub resource: &'a str,
    /// One container of each pod; all of them when `None`.
    pub container: Option<&'a str>,
    /// The pods that the target selects.
    pub pods: &'a [Replica],
    /// What was measured.
    pub usage: &'a Usage,
    /// How many replicas the target wants now.
    pub current: i64,
    /// How far from its target a metric may be.
    pub tolerance: Tolerance,
    /// The time of the decision.
    pub now: Timestamp,
}

/// How far from 1 a ratio may be in each direction before anything is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What came of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    /// How many replicas it proposes.
    pub replicas: i64,
    /// What is used in percent of what was asked for, where that is the target.
    pub utilization: Option<i64>,
    /// What a pod uses on average.
    pub average: i64,
}

/// What is used, and how it compares to the target.
struct Level {
    ratio: f64,
    utilization: Option<i64>,
    average: i64,
}

/// What a metric is held to.
enum Target {
    /// Percent of what the pods ask for, pod by pod.
    Percent(i64, BTreeMap<String, i64>),
    /// An average a pod.
    Average(i64),
}

impl Question<'_> {
    /// How many replicas keep the pods at `target` percent of what they ask for.
    pub fn at_percent(self, target: i64) -> Result<Proposal, String> {
        let used = self.used()?;
        let requests = self.requests()?;
        self.propose(used, &Target::Percent(target, requests))
    }

    /// How many replicas keep the pods at an average of `target`.
    pub fn at_average(self, target: i64) -> Result<Proposal, String> {
        let used = self.used()?;
        self.propose(used, &Target::Average(target))
    }

    /// How many replicas keep the pods at an average of `target` of what somebody else has measured.
    pub fn at_average_of(
        self,
        used: BTreeMap<String, i64>,
        target: i64,
    ) -> Result<Proposal, String> {
        self.propose(used, &Target::Average(target))
    }

    /// How many replicas bring what is used, of one thing for all pods, to `target`: in proportion to
    /// the pods that are ready.
    pub fn at_total(self, used: i64, target: i64) -> Result<Proposal, String> {
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let ratio = ratio(used, target);
        let is_ready = |pod: &&Replica| {
            let ready = pods::condition(&pod.pod, "Ready");
            pod.phase() == "Running" && ready.is_some_and(|ready| ready.status == "True")
        };
        let replicas = match self.tolerance.covers(ratio) {
            true => self.current,
            false => scaled(ratio, self.pods.iter().filter(is_ready).count()),
        };
        Ok(Proposal { replicas, utilization: None, average: used })
    }

    /// How many replicas share what is used, of one thing for all pods, so that each has `target`.
    pub fn at_share(self, used: i64, target: i64) -> Proposal {
        let share = as_float(used) / as_float(self.current);
        let replicas = match self.tolerance.covers(share / as_float(target)) {
            true => self.current,
            false => whole((as_float(used) / as_float(target)).ceil()),
        };
        Proposal { replicas, utilization: None, average: whole(share.ceil()) }
    }

    /// What each pod that was measured uses.
    fn used(&self) -> Result<BTreeMap<String, i64>, String> {
        let mut used = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| pod.phase() == "Running") {
            let Some(measured) = self.usage.pods.get(pod.uid()) else { continue };
            let amount = match self.container {
                None => measured.used.values().map(|amount| self.amount(*amount)).fold(0, plus),
                Some(container) => match measured.used.get(container) {
                    Some(amount) => self.amount(*amount),
                    None => {
                        let meta = pod.object.metadata();
                        return Err(self.unmeasured(&format!(
                            "failed to get container metrics: container {container} not present \
                             in metrics for pod {}/{}",
                            meta.namespace, meta.name
                        )));
                    }
                },
            };
            used.insert(pod.name().to_owned(), amount);
        }
        match used.is_empty() {
            true => Err(self.unmeasured("no metrics returned from resource metrics API")),
            false => Ok(used),
        }
    }

    fn unmeasured(&self, why: &str) -> String {
        format!("unable to get metrics for resource {}: {why}", self.resource)
    }

    fn amount(&self, amount: Amount) -> i64 {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        match self.resource {
            "cpu" => Quantity::from_nanos(signed(amount.nanocores)).milli_value(),
            _ => Quantity::from_bytes(signed(amount.bytes)).milli_value(),
        }
    }

    /// What each pod asks for.
    fn requests(&self) -> Result<BTreeMap<String, i64>, String> {
        let of = |pod: &Replica| {
            let asked = match &pod.pod.spec {
                Some(spec) => self.request(spec, pod.name())?,
                None => 0,
            };
            Ok((pod.name().to_owned(), asked))
        };
        self.pods.iter().map(of).collect()
    }

    fn request(&self, spec: &PodSpec, pod: &str) -> Result<i64, String> {
        let of_pod = spec.resources.as_ref().and_then(|all| all.requests.as_ref());
        if let Some(all) = of_pod.filter(|all| !all.is_empty()) {
            return Ok(all.get(self.resource).map_or(0, |asked| milli(&asked.0)));
        }
        let sidecars = spec.init_containers.iter().flatten().filter(|it| pods::is_sidecar(it));
        let mut sum = 0;
        for container in spec.containers.iter().chain(sidecars) {
            if self.container.is_some_and(|wanted| wanted != container.name) {
                continue;
            }
            let all = container.resources.as_ref().and_then(|all| all.requests.as_ref());
            let Some(asked) = all.and_then(|all| all.get(self.resource)) else {
                let (resource, name) = (self.resource, &container.name);
                return Err(format!(
                    "missing request for {resource} in container {name} of Pod {pod}"
                ));
            };
            sum = plus(sum, milli(&asked.0));
        }
        Ok(sum)
    }

    fn propose(
        &self,
        mut used: BTreeMap<String, i64>,
        target: &Target,
    ) -> Result<Proposal, String> {
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let groups = self.groups(&used);
        used.retain(|name, _| groups.ready.contains(name));
        if used.is_empty() {
            let why = "did not receive metrics for targeted pods (pods might be unready)";
            return Err(why.to_owned());
        }
        let level = target.level(&used)?;
        let proposed = |replicas| Proposal {
            replicas,
            utilization: level.utilization,
            average: level.average,
        };
        let unready_count = !groups.unready.is_empty() && level.ratio > 1.0;
        if groups.missing.is_empty() && !unready_count {
            return Ok(proposed(match self.tolerance.covers(level.ratio) {
                true => self.current,
                false => scaled(level.ratio, used.len()),
            }));
        }
        for name in &groups.missing {
            used.insert(name.clone(), target.assumed(name, level.ratio));
        }
        if unready_count {
            used.extend(groups.unready.iter().map(|name| (name.clone(), 0)));
        }
        let again = target.level(&used)?.ratio;
        let turns = (level.ratio < 1.0 && again > 1.0) || (level.ratio > 1.0 && again < 1.0);
        if self.tolerance.covers(again) || turns {
            return Ok(proposed(self.current));
        }
        let replicas = scaled(again, used.len());
        let is_against =
            (again < 1.0 && replicas > self.current) || (again > 1.0 && replicas < self.current);
        Ok(proposed(if is_against { self.current } else { replicas }))
    }

    fn groups(&self, used: &BTreeMap<String, i64>) -> Groups {
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.name().to_owned();
            if pods::is_terminating(&pod.pod) || pod.phase() == "Failed" {
                continue;
            }
            match used.contains_key(&name) {
                _ if pod.phase() == "Pending" => groups.unready.push(name),
                false => groups.missing.push(name),
                true if self.resource == "cpu" && self.is_unready(pod) => groups.unready.push(name),
                true => groups.ready.push(name),
            }
        }
        groups
    }

    /// Whether what the pod uses of the processor tells nothing yet: it is that of its start.
    fn is_unready(&self, pod: &Replica) -> bool {
        let status = pod.pod.status.as_ref();
        let start = status.and_then(|status| status.start_time.as_ref());
        let ready = pods::condition(&pod.pod, "Ready");
        let (Some(start), Some(ready)) = (start, ready) else { return true };
        let since = ready.last_transition_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let is_false = ready.status == "False";
        if after(start.0, INITIALIZATION) > self.now {
            let measured = self.usage.pods.get(pod.uid());
            return is_false || measured.is_some_and(|it| began(it) < since);
        }
        is_false && after(start.0, FIRST_READINESS) > since
    }
}

/// When the measuring of what a pod uses began.
fn began<T>(measured: &Measured<T>) -> Timestamp {
    measured.at.checked_sub(measured.window).unwrap_or(Timestamp::MIN)
}

fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Names of pods; those that do not count are in none.
#[derive(Default)]
struct Groups {
    ready: Vec<String>,
    unready: Vec<String>,
    missing: Vec<String>,
}

impl Target {
    fn level(&self, used: &BTreeMap<String, i64>) -> Result<Level, String> {
        match self {
            Self::Average(target) => {
                let average = sum(used.values()).checked_div(count(used.len())).unwrap_or(0);
                let ratio = ratio(average, *target);
                Ok(Level { ratio, utilization: None, average })
            }
            Self::Percent(target, requests) => {
                let known =
                    || used.iter().filter_map(|(pod, used)| Some((used, requests.get(pod)?)));
                let asked = sum(known().map(|(_, asked)| asked));
                let total = sum(known().map(|(used, _)| used));
                let Some(percent) = total.saturating_mul(100).checked_div(asked) else {
                    return Err("no metrics returned matched known pods".to_owned());
                };
                let average = total.checked_div(count(known().count())).unwrap_or(0);
                let ratio = ratio(percent, *target);
                Ok(Level { ratio, utilization: Some(percent), average })
            }
        }
    }

    /// What a pod is taken to use of which nothing is known: what makes the change smaller.
    fn assumed(&self, pod: &str, ratio: f64) -> i64 {
        match self {
            Self::Percent(target, requests) if ratio < 1.0 => {
                let asked = requests.get(pod).copied().unwrap_or(0);
                asked.saturating_mul(FULL.max(*target)) / 100
            }
            Self::Average(target) if ratio < 1.0 => *target,
            _ => 0,
        }
    }
}

fn milli(asked: &str) -> i64 {
    Quantity::parse(asked).map_or(0, Quantity::milli_value)
}

fn plus(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

fn sum<'a>(amounts: impl Iterator<Item = &'a i64>) -> i64 {
    amounts.copied().fold(0, plus)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// `current / target`, as upstream's floats have it.
fn ratio(current: i64, target: i64) -> f64 {
    as_float(current) / as_float(target)
}

/// `ratio` times the pods, rounded up.
fn scaled(ratio: f64, pods: usize) -> i64 {
    whole((ratio * as_float(count(pods))).ceil())
}
