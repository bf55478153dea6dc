//! A Job as its decision reads it.

use std::sync::Arc;

use coracle_api::{Object, Timestamp};
use k8s_openapi::api::batch::v1::{Job as Typed, JobSpec};
use serde_json::Value;

use crate::workload::conditions;
use crate::workload::owner::Owner;

/// What a pod carries until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The index of a pod, as an annotation and as a label.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Whom a job is left to.
pub(crate) const MANAGER: &str = "kubernetes.io/job-controller";

/// How a job came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// Enough pods succeeded.
    Complete,
    /// It was given up.
    Failed,
}

impl Finished {
    /// The type of the condition that announces it while pods still stop.
    pub fn announcement(self) -> &'static str {
        match self {
            Self::Complete => "SuccessCriteriaMet",
            Self::Failed => "FailureTarget",
        }
    }

    /// The type of the condition that says so.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Complete => "Complete",
            Self::Failed => "Failed",
        }
    }
}

/// How the job in `object` ended, and since when; `None` while it has not.
pub(crate) fn finished(object: &Value) -> Option<(Finished, Option<Timestamp>)> {
    let all = conditions::of(object);
    [Finished::Complete, Finished::Failed].into_iter().find_map(|how| {
        let condition = conditions::find(&all, how.condition());
        let condition = condition.filter(|condition| condition["status"] == "True")?;
        let since = condition["lastTransitionTime"].as_str();
        Some((how, since.and_then(|since| since.parse().ok())))
    })
}

/// A Job, read once a decision.
pub(super) struct Job {
    pub owner: Owner,
    typed: Arc<Typed>,
    /// Pods that must succeed; `None` when one is enough to end the job.
    pub completions: Option<i64>,
    pub parallelism: i64,
    pub backoff_limit: i64,
    /// Whether each completion has an index of its own.
    pub is_indexed: bool,
    /// Failures that one index may have.
    pub limit_per_index: Option<i64>,
    pub max_failed_indexes: Option<i64>,
    pub is_suspended: bool,
    /// Whether a pod is replaced only when it has failed, not already while it ends.
    pub replaces_failed_only: bool,
    /// Seconds from the start.
    pub deadline: Option<i64>,
    /// Whether it is for this controller.
    pub is_ours: bool,
}

impl Job {
    pub fn read(object: &Arc<Object>) -> Option<Self> {
        let typed = object.view::<Typed>().ok()?;
        let spec = typed.spec.as_ref()?;
        let number = |value: Option<i32>| value.map(i64::from);
        let policy = spec.pod_replacement_policy.as_deref();
        Some(Self {
            owner: Owner::of(object),
            completions: number(spec.completions),
            parallelism: number(spec.parallelism).unwrap_or(1).max(0),
            backoff_limit: number(spec.backoff_limit).unwrap_or(6),
            is_indexed: spec.completion_mode.as_deref() == Some("Indexed"),
            limit_per_index: number(spec.backoff_limit_per_index),
            max_failed_indexes: number(spec.max_failed_indexes),
            is_suspended: spec.suspend == Some(true),
            replaces_failed_only: policy == Some("Failed") || spec.pod_failure_policy.is_some(),
            deadline: spec.active_deadline_seconds,
            is_ours: spec.managed_by.as_deref().is_none_or(|manager| manager == MANAGER),
            typed: Arc::clone(&typed),
        })
    }

    /// The typed spec.
    pub fn spec(&self) -> Option<&JobSpec> {
        self.typed.spec.as_ref()
    }

    /// Whether containers are started again in their pods.
    pub fn restarts_in_place(&self) -> bool {
        let spec = self.spec().and_then(|spec| spec.template.spec.as_ref());
        spec.and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure")
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        finished(self.owner.object.value()).is_some()
    }

    /// The end that the status announces, with its condition.
    pub fn announced(&self) -> Option<(Finished, &Value)> {
        let object = self.owner.object.value();
        [Finished::Complete, Finished::Failed].into_iter().find_map(|how| {
            let condition = coracle_api::conditions::find(object, how.announcement())?;
            (condition["status"] == "True").then_some((how, condition))
        })
    }

    /// The stored status.
    pub fn status(&self) -> &Value {
        &self.owner.object.value()["status"]
    }

    /// A count of the stored status.
    pub fn counted(&self, field: &str) -> i64 {
        self.status()[field].as_i64().unwrap_or(0).max(0)
    }

    /// `status.startTime`
    pub fn started(&self) -> Option<Timestamp> {
        self.status()["startTime"].as_str()?.parse().ok()
    }
}
