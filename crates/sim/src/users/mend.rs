//! What only users can put right, put right as the documentation tells them to.

use std::sync::Arc;

use coracle_api::resources::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS, STATEFUL_SETS as SETS,
};
use coracle_api::{Metadata, Object};
use coracle_server::Api;
use coracle_store::Snapshot;
use serde_json::json;

use super::Users;
use super::templates::{cores, with_image};
use super::trouble::HOLD;
use crate::random::Random;
use crate::runtime::{Behaviour, mentions_broken_image};

impl Users {
    /// Ends quotas, guards, holds, pauses and resizes; mends templates that never work and strategies that keep them;
    /// deletes pods that upstream's rules leave standing.
    pub fn mend(&mut self, api: &Api, random: &mut Random) {
        let snapshot = api.snapshot();
        for quota in snapshot.list(RESOURCE_QUOTAS, None) {
            self.delete(api, quota, json!({}));
        }
        self.end_guards(api, &snapshot);
        for held in snapshot.objects() {
            if held.metadata().finalizers.iter().any(|it| it == HOLD) {
                self.let_go(api, held);
            }
        }
        let is_big = |pod: &&Arc<Object>| {
            pod.str_at("/spec/containers/0/resources/requests/cpu")
                .is_some_and(|it| it != cores(pod))
        };
        for pod in snapshot.list(PODS, None).filter(is_big) {
            self.give(api, pod, cores(pod));
        }
        self.make_room(api, &snapshot);
        self.end_rivalry(api, &snapshot);
        self.go_on(api, &snapshot);
        self.mend_templates(api, &snapshot, random);
        self.mend_strategies(api, &snapshot);
        for job in snapshot.list(JOBS, None).filter(|job| is_broken(job) || is_endless(job)) {
            self.delete(api, job, json!({"propagationPolicy": "Background"}));
        }
        self.delete_broken_pods(api);
        self.clear_names(api, &snapshot);
    }

    /// Deletes pods that lost their set by their labels, and have the name that it waits for.
    fn clear_names(&mut self, api: &Api, snapshot: &Snapshot) {
        for set in snapshot.list(SETS, None) {
            let Metadata { name, uid, .. } = set.metadata();
            let is_in_the_way = |pod: &&Arc<Object>| {
                let Metadata { name: of_pod, labels, .. } = pod.metadata();
                let controller = pod.metadata().controller().map(|owner| &owner.uid);
                let ordinal = of_pod.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
                ordinal.is_some_and(|ordinal| ordinal.parse::<u32>().is_ok())
                    && controller != Some(uid)
                    && (controller.is_some() || labels.get("app") != Some(name))
            };
            for pod in snapshot.list(PODS, None).filter(is_in_the_way) {
                self.delete(api, pod, json!({}));
            }
        }
    }

    /// What is paused goes on, and what never ends does not start again.
    fn go_on(&mut self, api: &Api, snapshot: &Snapshot) {
        let paused = |deployment: &&Arc<Object>| deployment.value()["spec"]["paused"] == true;
        for deployment in snapshot.list(DEPLOYMENTS, None).filter(paused) {
            self.patch(api, deployment, "", &json!({"spec": {"paused": false}}));
        }
        let goes_on = |cron_job: &&Arc<Object>| cron_job.value()["spec"]["suspend"] != true;
        for cron_job in snapshot.list(CRON_JOBS, None).filter(goes_on) {
            self.patch(api, cron_job, "", &json!({"spec": {"suspend": true}}));
        }
    }

    fn mend_templates(&mut self, api: &Api, snapshot: &Snapshot, random: &mut Random) {
        for resource in [SETS, DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, DAEMON_SETS] {
            let own = |it: &&Arc<Object>| it.metadata().controller().is_none();
            let broken = |it: &&Arc<Object>| {
                let template = it.value()["spec"]["template"].to_string();
                mentions_broken_image(template.as_bytes())
            };
            for object in snapshot.list(resource, None).filter(own).filter(broken) {
                let image = self.image(&Behaviour::SOUND, random);
                self.patch(api, object, "", &with_image(object, &image));
            }
        }
    }

    fn mend_strategies(&mut self, api: &Api, snapshot: &Snapshot) {
        for set in snapshot.list(SETS, None) {
            // Those mend themselves.
            if self.recreates && set.value()["spec"]["updateStrategy"]["type"] == "Recreate" {
                continue;
            }
            // Pods and revisions, also pods that it has yet to adopt.
            let app = Some(&set.metadata().name);
            let pods =
                snapshot.list(PODS, None).filter(|it| it.metadata().labels.get("app") == app);
            let mut own = snapshot.dependents(&set.metadata().uid).chain(pods);
            if own.any(is_broken) {
                let strategy = json!({"type": "RollingUpdate", "rollingUpdate": null});
                self.patch(api, set, "", &json!({"spec": {"updateStrategy": strategy}}));
            }
        }
    }

    fn delete_broken_pods(&mut self, api: &Api) {
        let snapshot = api.snapshot();
        let is_left = |pod: &&Arc<Object>| {
            !pod.metadata().is_deleting() && (is_broken(pod) || is_kept(pod) && ends_itself(pod))
        };
        let left: Vec<_> = snapshot.list(PODS, None).filter(is_left).cloned().collect();
        for pod in &left {
            if is_kept(pod) || is_condemned(&snapshot, pod) || may_have_worked(pod) {
                self.delete(api, pod, json!({}));
            }
        }
    }
}

fn is_broken(object: &Arc<Object>) -> bool {
    mentions_broken_image(object.bytes())
}

/// Whether a job fails again and again, and its policy says that this does not count.
fn is_endless(job: &Object) -> bool {
    let ignores = job.value()["spec"]["podFailurePolicy"]["rules"][0]["action"] == "Ignore";
    let image = job.str_at("/spec/template/spec/containers/0/image").map(Behaviour::of);
    ignores && image == Some(Behaviour::Odd)
}

/// Whether its owner keeps a pod whatever its template says by now.
fn is_kept(pod: &Object) -> bool {
    let kinds = ["ReplicaSet", "ReplicationController", "DaemonSet"];
    pod.metadata().controller().is_some_and(|owner| kinds.contains(&owner.kind.as_str()))
}

/// Whether a pod that will never work may have been Ready: it lives for seconds, or for an instant in
/// which the clock jumped. What was Ready once is not deleted but by users.
fn may_have_worked(pod: &Object) -> bool {
    let image = pod.str_at("/spec/containers/0/image").map(Behaviour::of);
    matches!(image, Some(Behaviour::Crashes | Behaviour::Dies))
}

/// Whether a pod was made for a job.
fn ends_itself(pod: &Object) -> bool {
    pod.str_at("/spec/containers/0/image").map(Behaviour::of).is_some_and(Behaviour::ends_itself)
}

/// Whether a pod has a number that its set does not want.
fn is_condemned(snapshot: &Snapshot, pod: &Object) -> bool {
    let metadata = pod.metadata();
    let ordinal = metadata.name.rsplit_once('-').and_then(|(_, it)| it.parse::<i64>().ok());
    let set = metadata.controller().and_then(|owner| snapshot.by_uid(&owner.uid));
    let (Some(ordinal), Some(set)) = (ordinal, set) else { return false };
    let spec = &set.value()["spec"];
    let start = spec["ordinals"]["start"].as_i64().unwrap_or(0);
    !(start..start + spec["replicas"].as_i64().unwrap_or(1)).contains(&ordinal)
}
