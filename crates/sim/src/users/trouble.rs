//! Users who make trouble: quotas that half fits, finalizers of nobody, status that is not true, and
//! pods that go with no grace.

use coracle_api::resources::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
};
use coracle_api::{Object, Verb};
use coracle_server::{Api, Body};
use serde_json::{Value, json};

use super::{NAMESPACE, Users, any, any_of};
use crate::cast::WORKLOADS;
use crate::client::Place;
use crate::random::Random;

/// A finalizer that nobody takes away but users.
pub(super) const HOLD: &str = "example.com/hold";

const QUOTA: &str = "few";

impl Users {
    /// A quota for few pods, or its end.
    pub(super) fn set_quota(&mut self, api: &Api, random: &mut Random) {
        if let Some(quota) = api.snapshot().find(RESOURCE_QUOTAS, NAMESPACE, QUOTA).cloned() {
            return self.delete(api, &quota, json!({}));
        }
        let quota = json!({
            "metadata": {"name": QUOTA}, "spec": {"hard": {"pods": (1 + random.below(5)).to_string()}},
        });
        self.create(api, RESOURCE_QUOTAS, &quota);
    }

    /// Something may not go, or may go again.
    pub(super) fn hold(&mut self, api: &Api, random: &mut Random) {
        let mut held = WORKLOADS.to_vec();
        held.extend([PODS, PODS, PODS]);
        let Some(object) = any_of(api, &held, random) else { return };
        match object.metadata().finalizers.iter().any(|it| it == HOLD) {
            true => self.let_go(api, &object),
            false => {
                let mut finalizers = object.metadata().finalizers.clone();
                finalizers.push(HOLD.to_owned());
                self.patch(api, &object, "", &json!({"metadata": {"finalizers": finalizers}}));
            }
        }
    }

    pub(super) fn let_go(&mut self, api: &Api, object: &Object) {
        let mut finalizers = object.metadata().finalizers.clone();
        finalizers.retain(|it| it != HOLD);
        self.patch(api, object, "", &json!({"metadata": {"finalizers": finalizers}}));
    }

    /// A status that is not true.
    pub(super) fn tell_nonsense(&mut self, api: &Api, random: &mut Random) {
        let Some(object) = any_of(api, WORKLOADS, random) else { return };
        let nonsense = nonsense(&object.key().resource, random);
        self.patch(api, &object, "status", &json!({"status": nonsense}));
    }

    /// A pod goes at once, whatever becomes of its containers: its shim may be silent.
    pub fn force(&mut self, api: &Api, uid: &str) {
        let Some(pod) = api.snapshot().by_uid(uid).cloned() else { return };
        let key = pod.key();
        let place =
            Place { resource: PODS, namespace: &key.namespace, name: &key.name, subresource: "" };
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        let what = format!("loses patience with {key}");
        self.call(api, Verb::Delete, &place, Body::Object(options), &what);
    }

    /// Somebody looks into a pod, which may be ending.
    pub(super) fn debug_pod(&mut self, api: &Api, random: &mut Random) {
        let Some(pod) = any(api, PODS, random) else { return };
        let known = pod.value()["spec"]["ephemeralContainers"].as_array().cloned();
        let mut all = known.unwrap_or_default();
        let image = *random.pick(&["app:good-2", "app:works-2", "app:flaky-2"]);
        let mut one = json!({"name": format!("look-{}", all.len()), "image": image});
        if random.one_in(2) {
            one["targetContainerName"] = json!("app");
        }
        all.push(one);
        let patch = json!({"spec": {"ephemeralContainers": all}});
        self.patch(api, &pod, "ephemeralcontainers", &patch);
    }

    /// Somebody gives a pod more or less, which the node may not have.
    pub(super) fn resize_pod(&mut self, api: &Api, random: &mut Random) {
        let Some(pod) = any(api, PODS, random) else { return };
        let cores = *random.pick(&["1", "30", "40", "60", "60", "65"]);
        self.give(api, &pod, cores);
    }

    /// Gives a pod's app so many cores.
    pub(super) fn give(&mut self, api: &Api, pod: &Object, cores: &str) {
        let mut containers = pod.value()["spec"]["containers"].clone();
        containers[0]["resources"]["requests"]["cpu"] = json!(cores);
        self.patch(api, pod, "resize", &json!({"spec": {"containers": containers}}));
    }

    pub(super) fn delete_pod(&mut self, api: &Api, random: &mut Random) {
        let Some(pod) = any(api, PODS, random) else { return };
        let options = match random.below(6) {
            0 | 1 => json!({"gracePeriodSeconds": 1 + random.below(5)}),
            2..=4 if self.forceful => json!({"gracePeriodSeconds": 0}),
            _ => json!({}),
        };
        self.delete(api, &pod, options);
    }
}

fn nonsense(resource: &str, random: &mut Random) -> Value {
    let many = 1 + random.below(9);
    match resource {
        JOBS => match random.below(3) {
            0 => json!({"active": many, "ready": many}),
            1 => json!({"uncountedTerminatedPods": {"succeeded": ["nobody"], "failed": ["no"]}}),
            _ => json!({"failed": many, "terminating": many}),
        },
        CRON_JOBS => {
            let job =
                json!({"apiVersion": "batch/v1", "kind": "Job", "name": "nobody", "uid": "no"});
            json!({"active": [job]})
        }
        DAEMON_SETS => json!({
            "currentNumberScheduled": many, "desiredNumberScheduled": many, "numberReady": many,
            "numberMisscheduled": many, "observedGeneration": many * 10,
        }),
        DEPLOYMENTS | REPLICA_SETS | REPLICATION_CONTROLLERS => json!({
            "replicas": many, "readyReplicas": many, "availableReplicas": many,
            "observedGeneration": many * 10,
        }),
        _ => json!({"replicas": many, "readyReplicas": many, "currentReplicas": many}),
    }
}
