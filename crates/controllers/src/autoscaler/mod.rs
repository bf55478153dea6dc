//! HorizontalPodAutoscalers: how many replicas their targets should have.
//!
//! Every fifteen seconds each one looks at its target, at what the pods use and at what other servers
//! have measured, which is asked for then. What came out lately is remembered; a new engine begins with
//! the size that the target has.

mod floats;
mod foreign;
mod limits;
mod metrics;
mod status;
mod target;
mod usage;

use std::sync::Arc;

use coracle_api::resources::{HORIZONTAL_POD_AUTOSCALERS as AUTOSCALERS, PODS};
use coracle_api::{
    Call, Fetch, Fetched, Given, Key, Object, Selector, Subresource, Timestamp, Usage, time,
};
use coracle_store::Snapshot;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec as Spec, MetricSpec,
};

use self::limits::Wanted;
use self::metrics::Looked;
use self::status::Draft;
use self::target::Target;
use crate::memory::{Memory, Stamped};
use crate::plan::{EventType, Instead, Note, Plan, Refusal, Step, Write};
use crate::table::{Controller, itself};
use crate::workload::conditions::Condition;
use crate::workload::replica::Replica;
use crate::{Because, Context};

/// Seconds between two looks at one target.
const PERIOD: i64 = 15;
const ACTIVE: &str = "ScalingActive";

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "horizontal-pod-autoscaler",
    serial: false,
    watches: &[(AUTOSCALERS, itself)],
    decide,
};

/// What should happen to the target of the autoscaler at `key` now.
fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let found = snapshot.get(key).filter(|object| !object.metadata().is_deleting());
    let Some(object) = found else { return Plan::default() };
    let next = time::after(context.now, PERIOD);
    let due = context.memory.map_or(next, |memory| memory.due);
    if due > context.now {
        let remembers = context.memory.is_none().then(|| Memory::begun(next));
        return Plan { look_again: Some(due), remembers, ..Plan::default() };
    }
    // Validation has seen to it that it has the shape of one.
    let Ok(view) = object.view::<HorizontalPodAutoscaler>() else { return Plan::default() };
    let mut memory = context.memory.cloned().unwrap_or_else(|| Memory::begun(next));
    memory.due = next;
    let asks = None;
    let mut look = Look { snapshot, object, spec: &view.spec, now: context.now, memory, asks };
    let known = context.given.map(Known::of);
    let Some(mut plan) = look.plan(known.as_ref()) else {
        return Plan { asks: look.asks, ..Plan::default() };
    };
    plan.look_again_at(next);
    plan.remembers = Some(look.memory);
    plan
}

/// What the autoscaler in `object` scales, when that is there.
pub(crate) fn target(snapshot: &Snapshot, object: &Object) -> Option<Key> {
    let view = object.view::<HorizontalPodAutoscaler>().ok()?;
    let namespace = &object.metadata().namespace;
    let target = Target::find(snapshot, namespace, &view.spec.scale_target_ref).ok()?;
    Some(target.object.key().clone())
}

/// What the outside has said: what is used, and what other servers answered, in the order of the
/// questions.
#[derive(Default)]
struct Known {
    usage: Arc<Usage>,
    said: Vec<Result<Given, String>>,
}

impl Known {
    /// What was not answered is missing, as it then says.
    fn of(given: &Result<Given, coracle_api::Status>) -> Self {
        match given {
            Ok(Given::All(answers)) => {
                let mut said = answers.clone();
                let usage = match said.first() {
                    Some(Ok(Given::Usage(usage))) => Some(Arc::clone(usage)),
                    _ => None,
                };
                if usage.is_some() {
                    drop(said.remove(0));
                }
                Self { usage: usage.unwrap_or_default(), said }
            }
            _ => Self::default(),
        }
    }
}

/// One look at one target.
struct Look<'a> {
    snapshot: &'a Snapshot,
    object: &'a Arc<Object>,
    spec: &'a Spec,
    now: Timestamp,
    memory: Memory,
    /// What must be known first.
    asks: Option<Call>,
}

/// What is to become of a target that is there.
struct Verdict {
    replicas: i64,
    /// Why it is another number.
    reason: String,
    rescale: bool,
}

impl Look<'_> {
    /// `None` when something must be known first.
    fn plan(&mut self, known: Option<&Known>) -> Option<Plan> {
        let mut draft = Draft::of(self.object, self.now);
        let namespace = &self.object.metadata().namespace;
        let found = Target::find(self.snapshot, namespace, &self.spec.scale_target_ref);
        let target = match found {
            Ok(target) => target,
            Err(why) => {
                let said = "the HPA controller was unable to get the target's current scale";
                draft.put(&Condition::new(
                    "AbleToScale",
                    "False",
                    "FailedGetScale",
                    format!("{said}: {why}"),
                ));
                draft.say(EventType::Warning, "FailedGetScale", why.clone());
                return Some(draft.finish(Because::only(format!("{said}: {why}"))));
            }
        };
        let said = "the HPA controller was able to get the target's current scale";
        draft.put(&Condition::new("AbleToScale", "True", "SucceededGetScale", said));
        let current = target.replicas();
        if self.memory.recommendations.is_empty() {
            self.memory.recommendations.push(Stamped { at: self.now, number: current });
        }
        let least = i64::from(self.spec.min_replicas.unwrap_or(1));
        let most = i64::from(self.spec.max_replicas);
        let at_once = |replicas, reason: &str| {
            Ok(Verdict { replicas, reason: reason.to_owned(), rescale: true })
        };
        let verdict = if current == 0 && least != 0 {
            let why = "scaling is disabled since the replica count of the target is zero";
            draft.put(&Condition::new(ACTIVE, "False", "ScalingDisabled", why));
            Ok(Verdict { replicas: 0, reason: String::new(), rescale: false })
        } else if current > most {
            at_once(most, "Current number of replicas above Spec.MaxReplicas")
        } else if current < least {
            at_once(least, "Current number of replicas below Spec.MinReplicas")
        } else {
            self.by_metrics(&target, &mut draft, known)?
        };
        draft.current(current);
        Some(match verdict {
            Err(why) => draft.finish(Because::only(why)),
            Ok(verdict) if verdict.rescale => self.rescale(&target, draft, &verdict),
            Ok(_) => {
                draft.desired(current);
                draft.rest()
            }
        })
    }

    /// What the metrics come to; `None` when something must be known first.
    fn by_metrics(
        &mut self,
        target: &Target,
        draft: &mut Draft<'_>,
        known: Option<&Known>,
    ) -> Option<Result<Verdict, String>> {
        let specs = self.spec.metrics.as_deref().unwrap_or_default();
        let pods = match self.pods(target) {
            Ok(pods) => pods,
            Err((reason, event, why)) => {
                draft.put(&Condition::new(ACTIVE, "False", reason, why.clone()));
                draft.say(EventType::Warning, event, why.clone());
                draft.say(EventType::Warning, "FailedComputeMetricsReplicas", why.clone());
                return Some(Err(why));
            }
        };
        let nothing = Known::default();
        let known = match known {
            Some(known) => known,
            None => {
                self.asks = self.questions(target, specs);
                if self.asks.is_some() {
                    return None;
                }
                &nothing
            }
        };
        let usage = &known.usage;
        let current = target.replicas();
        let looked = Looked {
            namespace: &self.object.metadata().namespace,
            behavior: self.spec.behavior.as_ref(),
            pods: &pods,
            usage,
            current,
            now: self.now,
        };
        let outcome = looked.all(specs, &self.answers(target, specs, known));
        draft.put(&outcome.condition);
        outcome.said.into_iter().for_each(|(ty, reason, why)| draft.say(ty, reason, why));
        draft.metrics(outcome.shown);
        let (proposed, name) = match outcome.proposal {
            Ok(proposal) => proposal,
            Err(why) => return Some(Err(why)),
        };
        let wanted = Wanted {
            current,
            proposed,
            least: i64::from(self.spec.min_replicas.unwrap_or(1)),
            most: i64::from(self.spec.max_replicas),
            behavior: self.spec.behavior.as_ref(),
            now: self.now,
        };
        let (replicas, conditions) = wanted.limited(&mut self.memory);
        conditions.iter().for_each(|condition| draft.put(condition));
        let reason = match proposed > current {
            true => format!("{name} above target"),
            false => "All metrics below target".to_owned(),
        };
        Some(Ok(Verdict { replicas, reason, rescale: replicas != current }))
    }

    /// What must be asked for the metrics, in their order; `None` for nothing.
    fn questions(&self, target: &Target, specs: &[MetricSpec]) -> Option<Call> {
        let is_measured =
            |spec: &MetricSpec| spec.resource.is_some() || spec.container_resource.is_some();
        let measure = specs.iter().any(is_measured).then_some(Call::Measure);
        let others = specs.iter().filter_map(|spec| self.question(target, spec));
        let calls: Vec<Call> = measure.into_iter().chain(others).collect();
        (!calls.is_empty()).then_some(Call::All(calls))
    }

    fn question(&self, target: &Target, spec: &MetricSpec) -> Option<Call> {
        let selector = target.selector().ok().flatten()?;
        let namespace = &self.object.metadata().namespace;
        foreign::question(self.snapshot, namespace, &selector, spec)
    }

    /// What others have answered to each metric's question, where there was one.
    fn answers(
        &self,
        target: &Target,
        specs: &[MetricSpec],
        known: &Known,
    ) -> Vec<Option<Fetched>> {
        let mut said = known.said.iter();
        let mut next = |spec: &MetricSpec| {
            let Call::Fetch(fetch) = self.question(target, spec)? else { return None };
            Some(match said.next() {
                Some(Ok(Given::Fetched(fetched))) => fetched.clone(),
                Some(Err(why)) => failed(&fetch, why),
                _ => failed(&fetch, "nobody here asks other servers"),
            })
        };
        specs.iter().map(&mut next).collect()
    }

    /// The pods that the target selects; or the reason of the condition, that of the event, and why
    /// they are not known.
    fn pods(&self, target: &Target) -> Result<Vec<Replica>, (&'static str, &'static str, String)> {
        let selector = match target.selector() {
            Ok(Some(selector)) => selector,
            Ok(None) => {
                let why = "the HPA target's scale is missing a selector";
                return Err(("InvalidSelector", "SelectorRequired", why.to_owned()));
            }
            Err(error) => {
                let why = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                return Err(("InvalidSelector", "InvalidSelector", why));
            }
        };
        let namespace = &self.object.metadata().namespace;
        let selected = self.snapshot.selected(PODS, Some(namespace), &selector);
        let pods: Vec<_> = selected.into_iter().filter_map(Replica::read).collect();
        let rivals = self.rivals(&pods);
        if rivals.is_empty() {
            return Ok(pods);
        }
        let names: Vec<String> =
            rivals.iter().map(|name| format!("{{{name} {namespace}}}")).collect();
        let why = format!(
            "pods by selector {selector} are controlled by multiple HPAs: [{}]",
            names.join(" ")
        );
        Err(("AmbiguousSelector", "AmbiguousSelector", why))
    }

    /// This autoscaler and those beside it that would scale the same pods, by name; nobody when
    /// there is no other.
    fn rivals(&self, pods: &[Replica]) -> Vec<String> {
        let namespace = &self.object.metadata().namespace;
        let selects =
            |other: &Selector| pods.iter().any(|pod| other.matches(&pod.object.metadata().labels));
        let scales_them = |other: &&Arc<Object>| {
            let view = other.view::<HorizontalPodAutoscaler>().ok();
            let target = view.and_then(|view| {
                Target::find(self.snapshot, namespace, &view.spec.scale_target_ref).ok()
            });
            let selector = target.and_then(|target| target.selector().ok().flatten());
            selector.is_some_and(|selector| selects(&selector))
        };
        let others = self.snapshot.list(AUTOSCALERS, Some(namespace));
        let others = others.filter(|other| other.key() != self.object.key());
        let mut names: Vec<String> =
            others.filter(scales_them).map(|other| other.metadata().name.clone()).collect();
        if !names.is_empty() {
            names.push(self.object.metadata().name.clone());
            names.sort_unstable();
        }
        names
    }

    /// Gives the target another size. If that is refused, the status says so.
    fn rescale(&self, target: &Target, mut draft: Draft<'_>, verdict: &Verdict) -> Plan {
        let Verdict { replicas, reason, .. } = verdict;
        let (current, replicas) = (target.replicas(), *replicas);
        let failed = {
            let mut failed = draft.clone();
            let said = "the HPA controller was unable to update the target scale: ";
            failed.put(&Condition::new("AbleToScale", "False", "FailedUpdateScale", said));
            failed.write()
        };
        let said = format!("the HPA controller was able to update the target scale to {replicas}");
        draft.put(&Condition::new("AbleToScale", "True", "SucceededRescale", said));
        draft.desired(replicas);
        draft.rescaled();
        let mut changed = self.memory.clone();
        let change = (current, replicas);
        limits::remember_change(&mut changed, self.spec.behavior.as_ref(), change, self.now);
        let size = format!("New size: {replicas}; reason: {reason}");
        let scale = Write::UpdateSubresourceOf {
            key: target.object.key().clone(),
            subresource: Subresource::Scale,
            body: target.with_replicas(replicas),
        };
        let refused = Note::warning(self.object, "FailedRescale", format!("{size}; error: "));
        let mut step = Step::of(scale);
        step.refusals.push(Refusal { write: 0, note: refused });
        step.remembers = Some(changed);
        let step = step.say(Note::normal(self.object, "SuccessfulRescale", size));
        let mut plan = draft.rest();
        let at = draft.place("AbleToScale");
        let told = Step {
            instead: Some(Instead {
                write: failed,
                message_at: Some(format!("/status/conditions/{at}/message")),
            }),
            ..plan.steps.pop().unwrap_or_default()
        };
        plan.steps = vec![step, told];
        // By no bounds and no pace that somebody has changed meanwhile.
        plan.rests_on.push(Arc::clone(self.object));
        plan
    }
}

/// What was not answered.
fn failed(fetch: &Fetch, why: &str) -> Fetched {
    Fetched { url: fetch.path.clone(), tag: String::new(), answer: Err(why.to_owned()) }
}

#[cfg(test)]
mod tests;
