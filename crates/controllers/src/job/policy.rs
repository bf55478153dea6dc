//! What `podFailurePolicy` says of a failed pod, and `successPolicy` of the indexes that succeeded.

use coracle_api::pods;
use k8s_openapi::api::batch::v1::{
    PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule,
};

use super::indexes::Indexes;
use super::spec::Job;
use crate::workload::replica::Replica;

/// What follows from a pod's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The job is given up.
    FailJob,
    /// The index is given up.
    FailIndex,
    /// It does not count.
    Ignore,
    /// It counts, as without a policy.
    Count,
}

/// The first rule that matches a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub action: Action,
    /// `Container C for pod NS/P failed with exit code X matching FailJob rule at index I`
    pub message: String,
}

/// The verdict on a failed pod; `None` when no rule matches.
pub(super) fn verdict(job: &Job, pod: &Replica) -> Option<Verdict> {
    let policy = job.spec()?.pod_failure_policy.as_ref()?;
    policy.rules.iter().enumerate().find_map(|(place, rule)| {
        let (action, matched) = (action(&rule.action)?, matches(job, rule, pod)?);
        let message = format!("{matched} matching {} rule at index {place}", rule.action);
        Some(Verdict { action, message })
    })
}

fn action(name: &str) -> Option<Action> {
    Some(match name {
        "FailJob" => Action::FailJob,
        "FailIndex" => Action::FailIndex,
        "Ignore" => Action::Ignore,
        "Count" => Action::Count,
        _ => return None,
    })
}

/// What of the pod a rule matches, in words.
fn matches(job: &Job, rule: &PodFailurePolicyRule, pod: &Replica) -> Option<String> {
    let name = format!("{}/{}", job.owner.namespace(), pod.name());
    if let Some(codes) = &rule.on_exit_codes {
        let (container, code) = exit_code(codes, pod)?;
        return Some(format!("Container {container} for pod {name} failed with exit code {code}"));
    }
    let pattern = rule.on_pod_conditions.iter().flatten().find(|pattern| {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        pods::condition(&pod.pod, &pattern.type_).is_some_and(|has| has.status == wanted)
    })?;
    Some(format!("Pod {name} has condition {}", pattern.type_))
}

/// The container that a rule about exit codes matches, and its code: never 0.
fn exit_code<'a>(
    rule: &PodFailurePolicyOnExitCodesRequirement,
    pod: &'a Replica,
) -> Option<(&'a str, i32)> {
    let all = pod.container_statuses().chain(pod.init_statuses());
    let ended = all.filter_map(|status| {
        let state = status.state.as_ref()?.terminated.as_ref()?;
        Some((status.name.as_str(), state.exit_code))
    });
    ended
        .filter(|(name, code)| {
            *code != 0 && rule.container_name.as_deref().is_none_or(|meant| meant == *name)
        })
        .find(|(_, code)| rule.values.contains(code) == (rule.operator == "In"))
}

/// `Matched rules at index I`, when enough indexes have succeeded.
pub(super) fn success(job: &Job, completed: &Indexes) -> Option<String> {
    let policy = job.spec()?.success_policy.as_ref()?;
    let most = job.completions.unwrap_or(0);
    let holds = |rule: &SuccessPolicyRule| {
        let count = rule.succeeded_count.map(i64::from);
        match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = Indexes::parse(text, most);
                completed.common(&wanted) >= count.unwrap_or_else(|| wanted.len())
            }
            None => count.is_some_and(|count| completed.len() >= count),
        }
    };
    let place = policy.rules.iter().position(holds)?;
    Some(format!("Matched rules at index {place}"))
}
