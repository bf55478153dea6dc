//! A Deployment as its decision reads it.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::int_or_string::IntOrString;
use serde_json::Value;

use crate::workload::owner::Owner;

/// A deadline that never passes.
const NO_DEADLINE: i64 = 2_147_483_647;

/// How pods come to a new template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Some at a time, with at most `max_surge` more than wanted and `max_unavailable` fewer.
    Rolling { max_surge: i64, max_unavailable: i64 },
    /// All at once, when the old ones are gone.
    Recreate,
}

/// A Deployment, read once a decision.
pub(super) struct Deployment {
    pub owner: Owner,
    pub replicas: i64,
    pub strategy: Strategy,
    pub is_paused: bool,
    pub min_ready_seconds: i64,
    /// Seconds; `None` when no progress is asked for.
    pub deadline: Option<i64>,
    /// Old sets that are kept.
    pub history_limit: usize,
}

impl Deployment {
    pub fn read(object: &Arc<Object>) -> Option<Self> {
        let owner = Owner::of(object);
        let spec = object.value().get("spec")?;
        let replicas = spec["replicas"].as_i64().unwrap_or(1).max(0);
        let history = spec["revisionHistoryLimit"].as_i64().unwrap_or(10);
        let deadline = spec["progressDeadlineSeconds"].as_i64();
        Some(Self {
            replicas,
            strategy: strategy(&spec["strategy"], replicas),
            is_paused: spec["paused"] == true,
            min_ready_seconds: spec["minReadySeconds"].as_i64().unwrap_or(0),
            deadline: deadline.filter(|seconds| *seconds != NO_DEADLINE),
            history_limit: usize::try_from(history).unwrap_or(usize::MAX),
            owner,
        })
    }

    pub fn object(&self) -> &Arc<Object> {
        &self.owner.object
    }

    /// The pod template as it is stored.
    pub fn template(&self) -> &Value {
        &self.object().value()["spec"]["template"]
    }

    /// Pods over the wanted ones.
    pub fn max_surge(&self) -> i64 {
        match self.strategy {
            Strategy::Rolling { max_surge, .. } => max_surge,
            Strategy::Recreate => 0,
        }
    }

    /// Wanted pods that may be missing.
    pub fn max_unavailable(&self) -> i64 {
        match self.strategy {
            Strategy::Rolling { max_unavailable, .. } => max_unavailable.min(self.replicas),
            Strategy::Recreate => 0,
        }
    }

    /// Pods that there may be at most.
    pub fn most(&self) -> i64 {
        self.replicas.saturating_add(self.max_surge())
    }

    /// Pods that must be available.
    pub fn least_available(&self) -> i64 {
        self.replicas.saturating_sub(self.max_unavailable())
    }

    /// A count of the stored status.
    pub fn counted(&self, field: &str) -> i64 {
        self.object().value()["status"][field].as_i64().unwrap_or(0)
    }
}

fn strategy(strategy: &Value, replicas: i64) -> Strategy {
    if strategy["type"] == "Recreate" {
        return Strategy::Recreate;
    }
    let rolling = &strategy["rollingUpdate"];
    let max_surge = share(&rolling["maxSurge"], replicas, true);
    let max_unavailable = share(&rolling["maxUnavailable"], replicas, false);
    // Validation refuses two zeros; two percentages may still round to them.
    let max_unavailable = if max_surge == 0 { max_unavailable.max(1) } else { max_unavailable };
    Strategy::Rolling { max_surge, max_unavailable }
}

/// A number, or a percentage of `replicas`; a quarter when absent.
fn share(value: &Value, replicas: i64, round_up: bool) -> i64 {
    let share = IntOrString::from_json(value).unwrap_or(IntOrString::String("25%".into()));
    let total = i32::try_from(replicas).unwrap_or(i32::MAX);
    i64::from(share.scaled(total, round_up).unwrap_or(0)).max(0)
}
