//! What users do with StatefulSets alone.

use coracle_api::resources::{PERSISTENT_VOLUME_CLAIMS, STATEFUL_SETS as SETS};
use coracle_server::Api;
use serde_json::{Value, json};

use super::templates::template;
use super::{Users, any};
use crate::random::Random;

impl Users {
    pub(super) fn create_stateful_set(&mut self, api: &Api, random: &mut Random) {
        let (name, image) = self.name_and_image(random);
        let mut set = new_set(name, &image, self.recreates, random);
        if self.forceful && random.one_in(6) {
            set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
        }
        self.create(api, SETS, &set);
    }

    pub(super) fn set_partition(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let rolling = match random.below(4) {
            0 => Value::Null,
            partition if random.one_in(3) => {
                json!({"partition": partition - 1, "maxUnavailable": 1 + random.below(3)})
            }
            // A patch that merges would leave it.
            partition => json!({"partition": partition - 1, "maxUnavailable": null}),
        };
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        self.patch(api, &set, "", &json!({"spec": {"updateStrategy": strategy}}));
    }

    pub(super) fn set_retention(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let policy = retention(random);
        let patch = json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy}});
        self.patch(api, &set, "", &patch);
    }

    pub(super) fn move_ordinals(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let patch = json!({"spec": {"ordinals": {"start": random.below(3)}}});
        self.patch(api, &set, "", &patch);
    }

    pub(super) fn delete_claim(&mut self, api: &Api, random: &mut Random) {
        let Some(claim) = any(api, PERSISTENT_VOLUME_CLAIMS, random) else { return };
        self.delete(api, &claim, json!({}));
    }
}

fn retention(random: &mut Random) -> Value {
    let mut either = || if random.one_in(2) { "Delete" } else { "Retain" };
    json!({"whenDeleted": either(), "whenScaled": either()})
}

fn new_set(name: &str, image: &str, recreates: bool, random: &mut Random) -> Value {
    let claims: Vec<_> = ["data", "log"].iter().take(random.index(3)).map(|it| claim(it)).collect();
    let policy = if random.one_in(3) { "Parallel" } else { "OrderedReady" };
    let strategy = match random.below(if recreates { 8 } else { 6 }) {
        0 => json!({"type": "OnDelete"}),
        1 => json!({"type": "RollingUpdate", "rollingUpdate": {"partition": random.below(3)}}),
        2 => json!({"type": "RollingUpdate"}),
        6.. => json!({"type": "Recreate"}),
        _ => json!({}),
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1 + random.below(4),
            "serviceName": name,
            "podManagementPolicy": policy,
            "updateStrategy": strategy,
            "persistentVolumeClaimRetentionPolicy": retention(random),
            "revisionHistoryLimit": *random.pick(&[0, 1, 10]),
            "minReadySeconds": *random.pick(&[0, 0, 0, 4]),
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, image, random),
            "volumeClaimTemplates": claims,
        },
    })
}

fn claim(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}
