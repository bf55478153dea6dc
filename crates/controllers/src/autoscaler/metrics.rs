//! The metrics of an autoscaler: what each proposes, and what its status shows of it.

use coracle_api::{Fetched, Quantity, Timestamp, Usage};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscalerBehavior, MetricIdentifier, MetricSpec, MetricTarget,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::foreign;
use super::usage::{Proposal, Question, Tolerance};
use crate::plan::EventType;
use crate::workload::conditions::Condition;
use crate::workload::replica::Replica;

/// A metric may be this far from its target where nothing is said of it.
const TOLERANCE: f64 = 0.1;
const NO_CUSTOM: &str = "unable to fetch metrics from custom metrics API: no custom metrics API \
                         (custom.metrics.k8s.io) registered";

/// What the metrics are looked at with.
pub(super) struct Looked<'a> {
    pub namespace: &'a str,
    pub behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    pub pods: &'a [Replica],
    pub usage: &'a Usage,
    pub current: i64,
    pub now: Timestamp,
}

/// What came of all metrics together.
pub(super) struct Outcome {
    /// The highest proposal, and by which metric it is; or why there is none.
    pub proposal: Result<(i64, String), String>,
    /// `status.currentMetrics`
    pub shown: Vec<Value>,
    pub condition: Condition,
    /// `(type, reason, message)` of events.
    pub said: Vec<(EventType, &'static str, String)>,
}

/// A metric of which nothing is known.
struct Failed {
    reason: &'static str,
    /// In the condition, and in the event of that reason.
    why: String,
}

impl Looked<'_> {
    /// The proposals of all metrics; those that fail are passed over, unless all do or fewer pods
    /// would be the outcome.
    /// `answers` has what other servers said, where one was asked.
    pub fn all(&self, specs: &[MetricSpec], answers: &[Option<Fetched>]) -> Outcome {
        let (mut shown, mut said) = (Vec::new(), Vec::new());
        let mut best: Option<(i64, String)> = None;
        let mut failures: Vec<Failed> = Vec::new();
        for (at, spec) in specs.iter().enumerate() {
            match self.one(spec, answers.get(at).and_then(Option::as_ref)) {
                Ok((proposal, name, status)) => {
                    shown.push(status);
                    if best.as_ref().is_none_or(|(most, _)| proposal.replicas > *most) {
                        best = Some((proposal.replicas, name));
                    }
                }
                Err(failed) => {
                    shown.push(json!({"type": ""}));
                    said.push((EventType::Warning, failed.reason, failed.why.clone()));
                    failures.push(failed);
                }
            }
        }
        let would_shrink = best.as_ref().is_none_or(|(most, _)| *most < self.current);
        match (failures.first(), best) {
            (Some(first), _) if would_shrink => {
                let (bad, all) = (failures.len(), specs.len());
                let why = format!(
                    "invalid metrics ({bad} invalid out of {all}), first error is: {}",
                    first.why
                );
                let message =
                    format!("the HPA was unable to compute the replica count: {}", first.why);
                said.push((EventType::Warning, "FailedComputeMetricsReplicas", why.clone()));
                let condition = Condition::new("ScalingActive", "False", first.reason, message);
                Outcome { proposal: Err(why), shown, condition, said }
            }
            (_, best) => {
                let (replicas, name) = best.unwrap_or((self.current, String::new()));
                let message = format!(
                    "the HPA was able to successfully calculate a replica count from {name}"
                );
                let condition =
                    Condition::new("ScalingActive", "True", "ValidMetricFound", message);
                Outcome { proposal: Ok((replicas, name)), shown, condition, said }
            }
        }
    }

    /// What one metric proposes, its name in sentences, and what the status shows of it.
    fn one(
        &self,
        spec: &MetricSpec,
        said: Option<&Fetched>,
    ) -> Result<(Proposal, String, Value), Failed> {
        if let Some(metric) = &spec.resource {
            let (proposal, name) = self
                .resource(&metric.name, None, &metric.target)
                .map_err(|why| Failed { reason: "FailedGetResourceMetric", why })?;
            let current = current(&proposal);
            let status = json!({"name": metric.name, "current": current});
            return Ok((proposal, name, json!({"type": "Resource", "resource": status})));
        }
        if let Some(metric) = &spec.container_resource {
            let (proposal, name) = self
                .resource(&metric.name, Some(&metric.container), &metric.target)
                .map_err(|why| Failed { reason: "FailedGetContainerResourceMetric", why })?;
            let (container, current) = (&metric.container, current(&proposal));
            let status = json!({"name": metric.name, "container": container, "current": current});
            let status = json!({"type": "ContainerResource", "containerResource": status});
            return Ok((proposal, name, status));
        }
        self.foreign(spec, said)
    }

    /// What is looked at with no resource in mind.
    fn question(&self) -> Question<'_> {
        Question {
            resource: "",
            container: None,
            pods: self.pods,
            usage: self.usage,
            current: self.current,
            tolerance: self.tolerance(),
            now: self.now,
        }
    }

    fn resource(
        &self,
        resource: &str,
        container: Option<&str>,
        target: &MetricTarget,
    ) -> Result<(Proposal, String), String> {
        let question = Question {
            resource,
            container,
            pods: self.pods,
            usage: self.usage,
            current: self.current,
            tolerance: self.tolerance(),
            now: self.now,
        };
        if let Some(average) = &target.average_value {
            let average = Quantity::parse(&average.0).map_or(0, Quantity::milli_value);
            let proposal = question.at_average(average);
            let proposal =
                proposal.map_err(|why| format!("failed to get {resource} usage: {why}"))?;
            return Ok((proposal, format!("{resource} resource")));
        }
        let Some(percent) = target.average_utilization else {
            let why = "invalid resource metric source: neither an average utilization target nor \
                       an average value (usage) target was set";
            return Err(why.to_owned());
        };
        let proposal = question.at_percent(percent.into());
        let proposal =
            proposal.map_err(|why| format!("failed to get {resource} utilization: {why}"))?;
        Ok((proposal, format!("{resource} resource utilization (percentage of request)")))
    }

    fn tolerance(&self) -> Tolerance {
        let of = |rules: Option<&HPAScalingRules>| {
            let said = rules.and_then(|rules| rules.tolerance.as_ref());
            let parts = said.and_then(|said| Quantity::parse(&said.0).ok());
            // Upstream reads it as a float of thousandths, too.
            parts.map_or(TOLERANCE, |parts| super::floats::as_float(parts.milli_value()) / 1000.0)
        };
        let behavior = self.behavior;
        Tolerance {
            up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
            down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
        }
    }

    /// Metrics that only another server can have.
    fn foreign(
        &self,
        spec: &MetricSpec,
        said: Option<&Fetched>,
    ) -> Result<(Proposal, String, Value), Failed> {
        let namespace = self.namespace;
        if let Some(metric) = &spec.pods {
            let name = &metric.metric.name;
            let failed = |why: String| Failed {
                reason: "FailedGetPodsMetric",
                why: format!("unable to get metric {name}: {why}"),
            };
            let values = custom(said).map_err(failed)?;
            let target = milli(metric.target.average_value.as_ref());
            let proposal =
                self.question().at_average_of(foreign::by_pod(values), target).map_err(failed)?;
            let status = json!({"metric": metric.metric, "current": current(&proposal)});
            let shown = json!({"type": "Pods", "pods": status});
            return Ok((proposal, format!("pods metric {name}"), shown));
        }
        if let Some(metric) = &spec.object {
            let (name, of) = (&metric.metric.name, &metric.described_object);
            let (kind, object) = (&of.kind, &of.name);
            let failed = |why: String| Failed {
                reason: "FailedGetObjectMetric",
                why: format!("unable to get metric {name}: {kind} on {namespace} {object}/{why}"),
            };
            let used = foreign::sum(&custom(said).map_err(failed)?);
            let (proposal, shown) = self.of_all(used, &metric.target).map_err(failed)?;
            let status = json!({"describedObject": of, "metric": metric.metric, "current": shown});
            let shown = json!({"type": "Object", "object": status});
            let said = match metric.target.average_value {
                Some(_) => of_other(&metric.metric),
                None => format!("{kind} metric {name}"),
            };
            return Ok((proposal, said, shown));
        }
        if let Some(metric) = &spec.external {
            let MetricIdentifier { name, selector } = &metric.metric;
            let failed = |why: String| Failed {
                reason: "FailedGetExternalMetric",
                why: format!(
                    "unable to get external metric {namespace}/{name}/{}: {why}",
                    shown_selector(selector.as_ref())
                ),
            };
            let missing = || {
                format!(
                    "unable to fetch metrics from external metrics API: the server could not find \
                     the requested resource (get {name}.external.metrics.k8s.io)"
                )
            };
            let values =
                said.ok_or_else(missing).and_then(|said| foreign::values(said, "external"));
            let used = foreign::sum(&values.map_err(failed)?);
            let (proposal, shown) = self.of_all(used, &metric.target).map_err(failed)?;
            let status = json!({"metric": metric.metric, "current": shown});
            let shown = json!({"type": "External", "external": status});
            return Ok((proposal, of_other(&metric.metric), shown));
        }
        let why = format!("unknown metric source type {:?}", spec.type_);
        Err(Failed { reason: "InvalidMetricSourceType", why })
    }

    /// What is proposed by a metric of something for all pods, and what the status shows of it.
    fn of_all(&self, used: i64, target: &MetricTarget) -> Result<(Proposal, Value), String> {
        if target.average_value.is_some() {
            let proposal = self.question().at_share(used, milli(target.average_value.as_ref()));
            return Ok((proposal, current(&proposal)));
        }
        let proposal = self.question().at_total(used, milli(target.value.as_ref()))?;
        Ok((proposal, json!({"value": Quantity::from_millis(used).to_string()})))
    }
}

/// What was said of a metric of pods or of an object.
fn custom(said: Option<&Fetched>) -> Result<Vec<(String, i64)>, String> {
    foreign::values(said.ok_or(NO_CUSTOM)?, "custom")
}

fn milli(target: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> i64 {
    let target = target.and_then(|target| Quantity::parse(&target.0).ok());
    target.map_or(0, Quantity::milli_value)
}

/// How events call a metric that is about no pod.
fn of_other(metric: &MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, shown_selector(metric.selector.as_ref()))
}

/// What the status shows of a proposal.
fn current(proposal: &Proposal) -> Value {
    let average = Quantity::from_millis(proposal.average).to_string();
    match proposal.utilization {
        Some(percent) => json!({"averageUtilization": percent, "averageValue": average}),
        None => json!({"averageValue": average}),
    }
}

/// A selector as Go prints it.
fn shown_selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {value},")).collect();
    let expressions = selector.match_expressions.iter().flatten();
    let expressions: String = expressions
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            let (key, operator) = (&one.key, &one.operator);
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
