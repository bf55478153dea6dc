//! What users do with Deployments, ReplicaSets, ReplicationControllers and DaemonSets alone.

use coracle_api::resources::{
    DAEMON_SETS, DEPLOYMENTS, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
};
use coracle_server::Api;
use serde_json::{Value, json};

use super::templates::template;
use super::{Users, any};
use crate::random::Random;

/// The label of nodes that some DaemonSets choose by.
const DISK: &str = "disk";

impl Users {
    pub(super) fn create_deployment(&mut self, api: &Api, random: &mut Random) {
        let (name, image) = self.name_and_image(random);
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": 1 + random.below(5),
                "paused": random.one_in(12),
                "strategy": strategy(random),
                "revisionHistoryLimit": *random.pick(&[0, 1, 10]),
                "minReadySeconds": *random.pick(&[0, 0, 0, 4]),
                "progressDeadlineSeconds": *random.pick(&[600, 600, 30, 2_147_483_647]),
                "selector": {"matchLabels": {"app": name}},
                "template": template(name, &image, random),
            },
        });
        self.create(api, DEPLOYMENTS, &deployment);
    }

    pub(super) fn pause(&mut self, api: &Api, random: &mut Random) {
        let Some(deployment) = any(api, DEPLOYMENTS, random) else { return };
        let paused = deployment.value()["spec"]["paused"] != true;
        self.patch(api, &deployment, "", &json!({"spec": {"paused": paused}}));
    }

    pub(super) fn set_strategy(&mut self, api: &Api, random: &mut Random) {
        let Some(deployment) = any(api, DEPLOYMENTS, random) else { return };
        let strategy = strategy(random);
        self.patch(api, &deployment, "", &json!({"spec": {"strategy": strategy}}));
    }

    /// A ReplicaSet of a Deployment, behind its back.
    pub(super) fn scale_set(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, REPLICA_SETS, random) else { return };
        self.patch(api, &set, "scale", &json!({"spec": {"replicas": random.below(4)}}));
    }

    pub(super) fn create_replica_set(&mut self, api: &Api, random: &mut Random) {
        let (name, image) = self.name_and_image(random);
        let spec = json!({
            "replicas": 1 + random.below(4),
            "minReadySeconds": *random.pick(&[0, 0, 0, 4]),
            "template": template(name, &image, random),
        });
        let (resource, mut set) = match random.one_in(3) {
            true => (
                REPLICATION_CONTROLLERS,
                json!({"apiVersion": "v1", "kind": "ReplicationController", "spec": spec}),
            ),
            false => {
                (REPLICA_SETS, json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": spec}))
            }
        };
        if resource == REPLICA_SETS {
            set["spec"]["selector"] = json!({"matchLabels": {"app": name}});
        }
        set["metadata"] = json!({"name": name});
        self.create(api, resource, &set);
    }

    /// A pod leaves its owner, or one that stands alone is given to another.
    pub(super) fn relabel_pod(&mut self, api: &Api, random: &mut Random) {
        let Some(pod) = any(api, PODS, random) else { return };
        let app = *random.pick(&["web", "db", "nobody"]);
        self.patch(api, &pod, "", &json!({"metadata": {"labels": {"app": app}}}));
    }

    pub(super) fn create_daemon_set(&mut self, api: &Api, random: &mut Random) {
        let (name, image) = self.name_and_image(random);
        let mut template = template(name, &image, random);
        if random.one_in(3) {
            template["spec"]["nodeSelector"] = json!({DISK: "fast"});
        }
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": name},
            "spec": {
                "updateStrategy": update_strategy(random),
                "revisionHistoryLimit": *random.pick(&[0, 1, 10]),
                "minReadySeconds": *random.pick(&[0, 0, 0, 4]),
                "selector": {"matchLabels": {"app": name}},
                "template": template,
            },
        });
        self.create(api, DAEMON_SETS, &set);
    }

    pub(super) fn set_update_strategy(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, DAEMON_SETS, random) else { return };
        let strategy = update_strategy(random);
        self.patch(api, &set, "", &json!({"spec": {"updateStrategy": strategy}}));
    }

    /// A node comes to fit DaemonSets, or ceases to.
    pub(super) fn label_node(&mut self, api: &Api, random: &mut Random) {
        let Some(node) = any(api, NODES, random) else { return };
        let speed = if node.metadata().labels.contains_key(DISK) { None } else { Some("fast") };
        self.patch(api, &node, "", &json!({"metadata": {"labels": {DISK: speed}}}));
    }
}

/// `null` where a patch is to remove what is there.
fn strategy(random: &mut Random) -> Value {
    if random.one_in(5) {
        return json!({"type": "Recreate", "rollingUpdate": null});
    }
    let (surge, unavailable) = *random.pick(&[(1, 0), (0, 1), (2, 1), (1, 1), (0, 3)]);
    let rolling = match random.below(3) {
        0 => json!({"maxSurge": "25%", "maxUnavailable": "25%"}),
        1 => json!({"maxSurge": "50%", "maxUnavailable": "0%"}),
        _ => json!({"maxSurge": surge, "maxUnavailable": unavailable}),
    };
    json!({"type": "RollingUpdate", "rollingUpdate": rolling})
}

fn update_strategy(random: &mut Random) -> Value {
    let (surge, unavailable) = match random.below(4) {
        0 => return json!({"type": "OnDelete", "rollingUpdate": null}),
        1 => (json!(1), json!(0)),
        2 => (json!("50%"), json!(0)),
        _ => (json!(0), json!(1 + random.below(2))),
    };
    let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
    json!({"type": "RollingUpdate", "rollingUpdate": rolling})
}
