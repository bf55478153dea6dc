//! What users do with priorities: more pods than there is room for, and budgets that guard some.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::{
    POD_DISRUPTION_BUDGETS as BUDGETS, PODS, PRIORITY_CLASSES, REPLICA_SETS,
};
use coracle_server::Api;
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::templates::{ask, template};
use super::{NAMES, Users, any};
use crate::checks::is_unschedulable;
use crate::random::Random;
use crate::runtime::Behaviour;

/// Names and values; those of the third take nobody's place.
const CLASSES: [(&str, i64, &str); 4] = [
    ("low", 10, "PreemptLowerPriority"),
    ("middle", 100, "PreemptLowerPriority"),
    ("patient", 500, "Never"),
    ("high", 1000, "PreemptLowerPriority"),
];

impl Users {
    pub(super) fn create_ranked_set(&mut self, api: &Api, random: &mut Random) {
        let (class, value, policy) = *random.pick(&CLASSES);
        if api.snapshot().find(PRIORITY_CLASSES, "", class).is_none() {
            let class = json!({
                "metadata": {"name": class}, "value": value, "preemptionPolicy": policy,
            });
            self.create_in(api, PRIORITY_CLASSES, "", &class);
        }
        let name = *random.pick(&NAMES);
        let image = self.image(&Behaviour::SOUND, random);
        let mut template = template(name, &image, random);
        let cores = *random.pick(&["8", "16", "24", "40"]);
        ask(&mut template, cores);
        template["spec"]["priorityClassName"] = json!(class);
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": format!("{name}-{class}")},
            "spec": {
                "replicas": 1 + random.below(4),
                "selector": {"matchLabels": {"app": name, "class": class}},
                "template": with_label(template, class),
            },
        });
        self.create(api, REPLICA_SETS, &set);
    }

    pub(super) fn create_budget(&mut self, api: &Api, random: &mut Random) {
        let name = *random.pick(&NAMES);
        let mut spec = budget(random);
        spec["selector"] = json!({"matchLabels": {"app": name}});
        self.create(api, BUDGETS, &json!({"metadata": {"name": name}, "spec": spec}));
    }

    pub(super) fn set_budget(&mut self, api: &Api, random: &mut Random) {
        let Some(one) = any(api, BUDGETS, random) else { return };
        self.patch(api, &one, "", &json!({"spec": budget(random)}));
    }

    pub(super) fn delete_budget(&mut self, api: &Api, random: &mut Random) {
        let Some(budget) = any(api, BUDGETS, random) else { return };
        self.delete(api, &budget, json!({}));
    }

    /// While there are pods without a place, those who ask for much want fewer pods, and what nobody
    /// owns any more goes.
    pub(super) fn make_room(&mut self, api: &Api, snapshot: &Snapshot) {
        if !snapshot.list(PODS, None).any(|pod| is_unschedulable(pod)) {
            return;
        }
        let is_ranked = |set: &&Arc<Object>| {
            let spec = &set.value()["spec"];
            !spec["template"]["spec"]["priorityClassName"].is_null() && spec["replicas"] != 0
        };
        let is_left = |pod: &&Arc<Object>| {
            let controller = pod.metadata().controller();
            controller.is_none() && !pod.value()["spec"]["priorityClassName"].is_null()
        };
        for pod in snapshot.list(PODS, None).filter(is_left) {
            self.delete(api, pod, json!({}));
        }
        for set in snapshot.list(REPLICA_SETS, None).filter(is_ranked) {
            let half = set.value()["spec"]["replicas"].as_i64().unwrap_or(0) / 2;
            self.patch(api, set, "", &json!({"spec": {"replicas": half}}));
        }
    }
}

fn with_label(mut template: Value, class: &str) -> Value {
    template["metadata"]["labels"]["class"] = json!(class);
    template
}

fn budget(random: &mut Random) -> Value {
    match random.below(3) {
        0 => json!({"minAvailable": random.below(4), "maxUnavailable": null}),
        1 => json!({"minAvailable": "50%", "maxUnavailable": null}),
        _ => json!({"minAvailable": null, "maxUnavailable": random.below(3)}),
    }
}
