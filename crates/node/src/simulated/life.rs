//! How long the steps of a simulated pod take, and how its containers end: what its annotations say,
//! called as kwok's `pod-general` stages call them.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;

use crate::planner::Role;

/// Both together: from the pod's coming to its node until its containers start, and are Ready.
const CREATE: &str = "pod-create.stage.kwok.x-k8s.io/delay";
const READY: &str = "pod-ready.stage.kwok.x-k8s.io/delay";
/// From its start to its end, of a container that comes to one.
const COMPLETE: &str = "pod-complete.stage.kwok.x-k8s.io/delay";
/// From the signal to the end.
const STOP: &str = "pod-delete.stage.kwok.x-k8s.io/delay";
/// Which share of the runs of its containers ends with exit code 1: 0 to 1.
const FAILURES: &str = "coracle.dev/simulated-failures";

/// The longest that any step may take: a day.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// How long steps take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Life {
    pub start: SignedDuration,
    pub stop: SignedDuration,
    complete: Option<SignedDuration>,
    failures: f64,
}

/// How a run of a container ends by itself: after how long, and with which code.
pub(super) type Ending = (SignedDuration, i32);

impl Life {
    /// What the pod's annotations say; what they say wrongly is as if it were not said.
    pub fn of(pod: &Pod) -> Self {
        let said = |name: &str| Some(pod.metadata.annotations.as_ref()?.get(name)?.trim());
        let delay = |name: &str| {
            let delay: SignedDuration = said(name)?.parse().ok()?;
            Some(delay.clamp(SignedDuration::ZERO, LONGEST))
        };
        let [create, ready] = [CREATE, READY].map(|name| delay(name).unwrap_or_default());
        let share = said(FAILURES).and_then(|text| text.parse::<f64>().ok());
        Self {
            start: create.saturating_add(ready),
            stop: delay(STOP).unwrap_or_default(),
            complete: delay(COMPLETE).or(is_of_job(pod).then_some(SignedDuration::ZERO)),
            failures: share.filter(|share| share.is_finite()).unwrap_or(0.0),
        }
    }

    /// How the run with this id ends by itself; `None` when it goes on.
    pub fn ending(&self, role: Role, id: &str) -> Option<Ending> {
        let after = self.complete.unwrap_or_default();
        if self.fails(id) {
            return Some((after, 1));
        }
        match role {
            Role::Init => Some((after, 0)),
            Role::App => Some((self.complete?, 0)),
            Role::Sidecar | Role::Ephemeral => None,
        }
    }

    /// The same for the same run, also for the next engine of this version.
    fn fails(&self, id: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let drawn = hasher.finish() % 1_000_000;
        // At most a million, of which a float has every one.
        (drawn as f64) < self.failures * 1_000_000.0
    }
}

/// Pods of Jobs are there to come to an end.
fn is_of_job(pod: &Pod) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.kind == "Job")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn life(annotations: Value, owner: &str) -> Life {
        let owner = json!({"apiVersion": "batch/v1", "kind": owner, "name": "o", "uid": "u",
                           "controller": true});
        let metadata = json!({"annotations": annotations, "ownerReferences": [owner]});
        Life::of(&serde_json::from_value(json!({"metadata": metadata})).unwrap())
    }

    #[test]
    fn a_pod_goes_on_for_ever_and_one_of_a_job_comes_to_its_end() {
        let ends = |owner, role| life(json!({}), owner).ending(role, "a");
        assert_eq!(ends("ReplicaSet", Role::App), None);
        assert_eq!(ends("ReplicaSet", Role::Init), Some((SignedDuration::ZERO, 0)));
        assert_eq!(ends("Job", Role::App), Some((SignedDuration::ZERO, 0)));
        assert_eq!(ends("Job", Role::Sidecar), None);
    }

    #[test]
    fn times_are_those_of_its_annotations() {
        let told = life(
            json!({CREATE: "1m30s", READY: "250ms", COMPLETE: "2s", STOP: "-5s"}),
            "ReplicaSet",
        );
        assert_eq!(told.start, SignedDuration::from_millis(90_250));
        assert_eq!(told.stop, SignedDuration::ZERO);
        assert_eq!(told.ending(Role::App, "a"), Some((SignedDuration::from_secs(2), 0)));
        let nonsense =
            life(json!({CREATE: "soon", READY: "999999h", FAILURES: "NaN"}), "ReplicaSet");
        assert_eq!(nonsense.start, LONGEST);
        assert_eq!(nonsense.ending(Role::App, "a"), None);
    }

    #[test]
    fn about_as_many_runs_fail_as_are_to() {
        let count = |share: &str| {
            let life = life(json!({FAILURES: share}), "ReplicaSet");
            (0..1000).filter(|n| life.ending(Role::App, &format!("run-{n}")).is_some()).count()
        };
        assert_eq!((count("0"), count("1")), (0, 1000));
        assert!((150..250).contains(&count("0.2")), "{}", count("0.2"));
    }
}
