//! Users, who create, scale, change, break, fix, roll back and delete whenever they like.

use std::sync::Arc;

use coracle_api::resources::{CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS as SETS};
use coracle_api::{Object, Verb};
use coracle_server::{Api, Body};
use serde_json::{Value, json};

use crate::client::{self, Place, merge};
use crate::pod::SETTINGS;
use crate::random::Random;
use crate::runtime::{Behaviour, mentions_broken_image};

const USER: &str = "kubernetes-admin";
const NAMESPACE: &str = "default";
const NAMES: [&str; 3] = ["web", "db", "db-web"];
const PROPAGATIONS: [&str; 3] = ["Background", "Foreground", "Orphan"];

/// All users together.
#[derive(Debug, Default)]
pub(crate) struct Users {
    forceful: bool,
    /// Images so far: each change of a template is another one.
    images: Vec<String>,
    /// What they just did, for the trace.
    pub said: Vec<String>,
}

/// One thing that users do.
type Act = fn(&mut Users, &Api, &mut Random);

/// How often, out of the sum of all, and what.
const ACTS: &[(u64, Act)] = &[
    (14, Users::create),
    (18, Users::scale),
    (12, Users::change),
    (8, Users::break_it),
    (10, Users::roll_back),
    (5, Users::set_partition),
    (2, Users::set_on_delete),
    (5, Users::set_retention),
    (3, Users::move_ordinals),
    (2, Users::set_patience),
    (14, Users::delete_pod),
    (6, Users::delete_set),
    (5, Users::delete_claim),
    (8, Users::change_settings),
];

impl Users {
    /// `forceful` ones delete pods with no grace at all. With more nodes than one nothing keeps the
    /// successor from another node; that is why `kubectl delete --force` warns.
    pub fn new(forceful: bool) -> Self {
        Self { forceful, ..Self::default() }
    }

    /// Some user does something.
    pub fn act(&mut self, api: &Api, random: &mut Random) {
        let total = ACTS.iter().map(|(weight, _)| weight).sum();
        let mut ticket = random.below(total);
        for (weight, act) in ACTS {
            if ticket < *weight {
                return act(self, api, random);
            }
            ticket -= weight;
        }
    }

    fn call(&mut self, api: &Api, verb: Verb, place: &Place<'_>, body: Body, what: &str) {
        let outcome = client::call(api, USER, verb, place, body);
        let shown = outcome.as_ref().map_or_else(|error| error.message.as_str(), |_| "done");
        self.said.push(format!("{what}: {shown}"));
    }

    fn patch(&mut self, api: &Api, set: &Object, subresource: &str, patch: &Value) {
        let (namespace, name) = (&*set.key().namespace, &*set.key().name);
        let place = Place { resource: SETS, namespace, name, subresource };
        let what = format!("patches {name} {subresource} {patch}");
        self.call(api, Verb::Patch, &place, merge(patch), &what);
    }

    fn delete(&mut self, api: &Api, object: &Object, options: Value) {
        let key = object.key();
        let (resource, namespace, name) = (&*key.resource, &*key.namespace, &*key.name);
        let place = Place { resource, namespace, name, subresource: "" };
        let what = format!("deletes {key} {options}");
        self.call(api, Verb::Delete, &place, Body::Object(options), &what);
    }

    fn image(&mut self, behaviours: &[Behaviour], random: &mut Random) -> String {
        let behaviour = random.pick(behaviours).word();
        let image = format!("app:{behaviour}-{}", self.images.len() + 1);
        self.images.push(image.clone());
        image
    }

    fn create(&mut self, api: &Api, random: &mut Random) {
        let name = *random.pick(&NAMES);
        let broken = random.one_in(12);
        let image = match broken {
            true => self.image(&Behaviour::BROKEN, random),
            false => self.image(&Behaviour::SOUND, random),
        };
        let mut set = new_set(name, &image, random);
        if self.forceful && random.one_in(6) {
            set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
        }
        let place = Place { resource: SETS, namespace: NAMESPACE, name: "", subresource: "" };
        let what = format!("creates {name} {}", set["spec"]);
        self.call(api, Verb::Create, &place, Body::Object(set), &what);
    }

    fn scale(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let subresource = if random.one_in(2) { "scale" } else { "" };
        let patch = json!({"spec": {"replicas": random.below(5)}});
        self.patch(api, &set, subresource, &patch);
    }

    fn change(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let image = self.image(&Behaviour::SOUND, random);
        self.patch(api, &set, "", &with_image(&image));
    }

    fn break_it(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let image = self.image(&Behaviour::BROKEN, random);
        self.patch(api, &set, "", &with_image(&image));
    }

    fn roll_back(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let image = random.pick(&self.images).clone();
        self.patch(api, &set, "", &with_image(&image));
    }

    fn set_partition(&mut self, api: &Api, random: &mut Random) {
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

    fn set_on_delete(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let strategy = json!({"type": "OnDelete", "rollingUpdate": null});
        self.patch(api, &set, "", &json!({"spec": {"updateStrategy": strategy}}));
    }

    fn set_retention(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let policy = retention(random);
        let patch = json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy}});
        self.patch(api, &set, "", &patch);
    }

    fn move_ordinals(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let patch = json!({"spec": {"ordinals": {"start": random.below(3)}}});
        self.patch(api, &set, "", &patch);
    }

    fn set_patience(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        self.patch(api, &set, "", &json!({"spec": {"minReadySeconds": random.below(8)}}));
    }

    fn delete_pod(&mut self, api: &Api, random: &mut Random) {
        let Some(pod) = any(api, PODS, random) else { return };
        let options = match random.below(6) {
            0 | 1 => json!({"gracePeriodSeconds": 1 + random.below(5)}),
            2 | 3 if self.forceful => json!({"gracePeriodSeconds": 0}),
            _ => json!({}),
        };
        self.delete(api, &pod, options);
    }

    fn delete_set(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any(api, SETS, random) else { return };
        let propagation = *random.pick(&PROPAGATIONS);
        self.delete(api, &set, json!({"propagationPolicy": propagation}));
    }

    fn delete_claim(&mut self, api: &Api, random: &mut Random) {
        let Some(claim) = any(api, PERSISTENT_VOLUME_CLAIMS, random) else { return };
        self.delete(api, &claim, json!({}));
    }

    /// A ConfigMap that running pods have as files.
    fn change_settings(&mut self, api: &Api, random: &mut Random) {
        let data = json!({"data": {"level": random.below(100).to_string()}});
        let resource = CONFIG_MAPS;
        let place = Place { resource, namespace: NAMESPACE, name: SETTINGS, subresource: "" };
        if api.snapshot().find(resource, NAMESPACE, SETTINGS).is_some() {
            return self.call(api, Verb::Patch, &place, merge(&data), "changes the settings");
        }
        let map = json!({"metadata": {"name": SETTINGS}, "data": data["data"]});
        let place = Place { name: "", ..place };
        self.call(api, Verb::Create, &place, Body::Object(map), "makes the settings");
    }

    /// Puts right what only users can put right, as the documentation tells them to: templates that
    /// never work, strategies that keep them, and pods that upstream's rules leave standing.
    pub fn mend(&mut self, api: &Api, random: &mut Random) {
        let snapshot = api.snapshot();
        for set in snapshot.list(SETS, None) {
            if mentions_broken_image(set.value()["spec"]["template"].to_string().as_bytes()) {
                let image = self.image(&Behaviour::SOUND, random);
                self.patch(api, set, "", &with_image(&image));
            }
            // Pods and revisions, also pods that it has yet to adopt.
            let app = Some(&set.metadata().name);
            let pods =
                snapshot.list(PODS, None).filter(|it| it.metadata().labels.get("app") == app);
            let mut own = snapshot.dependents(&set.metadata().uid).chain(pods);
            if own.any(|it| mentions_broken_image(it.bytes())) {
                let strategy = json!({"type": "RollingUpdate", "rollingUpdate": null});
                self.patch(api, set, "", &json!({"spec": {"updateStrategy": strategy}}));
            }
        }
        let is_left = |pod: &&Arc<Object>| {
            !pod.metadata().is_deleting() && mentions_broken_image(pod.bytes())
        };
        let left: Vec<_> = snapshot.list(PODS, None).filter(is_left).cloned().collect();
        for pod in left.iter().filter(|pod| is_condemned(&snapshot, pod) || may_have_worked(pod)) {
            self.delete(api, pod, json!({}));
        }
    }
}

/// Whether a pod that will never work may have been Ready: it lives for seconds. What was Ready once
/// is not deleted but by users.
fn may_have_worked(pod: &Object) -> bool {
    let image = pod.str_at("/spec/containers/0/image").map(Behaviour::of);
    image == Some(Behaviour::Crashes)
}

/// Whether a pod has a number that its set does not want.
fn is_condemned(snapshot: &coracle_store::Snapshot, pod: &Object) -> bool {
    let metadata = pod.metadata();
    let ordinal = metadata.name.rsplit_once('-').and_then(|(_, it)| it.parse::<i64>().ok());
    let set = metadata.controller().and_then(|owner| snapshot.by_uid(&owner.uid));
    let (Some(ordinal), Some(set)) = (ordinal, set) else { return false };
    let spec = &set.value()["spec"];
    let start = spec["ordinals"]["start"].as_i64().unwrap_or(0);
    !(start..start + spec["replicas"].as_i64().unwrap_or(1)).contains(&ordinal)
}

fn any(api: &Api, resource: &str, random: &mut Random) -> Option<Arc<Object>> {
    let snapshot = api.snapshot();
    let all: Vec<_> = snapshot.list(resource, None).cloned().collect();
    if all.is_empty() { None } else { Some(random.pick(&all).clone()) }
}

fn with_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [container(image)]}}}})
}

fn container(image: &str) -> Value {
    let mut container = json!({"name": "app", "image": image});
    // A template without a probe works if its containers live; what never gets ready needs one.
    let is_odd = image.ends_with(['1', '3', '5', '7', '9']);
    if !is_odd || Behaviour::of(image) == Behaviour::Never {
        let exec = json!({"exec": {"command": ["ready"]}, "periodSeconds": 10});
        container["readinessProbe"] = exec;
    }
    container
}

fn retention(random: &mut Random) -> Value {
    let mut either = || if random.one_in(2) { "Delete" } else { "Retain" };
    json!({"whenDeleted": either(), "whenScaled": either()})
}

fn new_set(name: &str, image: &str, random: &mut Random) -> Value {
    let claims: Vec<_> = ["data", "log"].iter().take(random.index(3)).map(|it| claim(it)).collect();
    let policy = if random.one_in(3) { "Parallel" } else { "OrderedReady" };
    let strategy = match random.below(6) {
        0 => json!({"type": "OnDelete"}),
        1 => json!({"type": "RollingUpdate", "rollingUpdate": {"partition": random.below(3)}}),
        2 => json!({"type": "RollingUpdate"}),
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
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [container(image)],
                    "volumes": [{
                        "name": "settings", "configMap": {"name": SETTINGS, "optional": true},
                    }],
                    "terminationGracePeriodSeconds": *random.pick(&[1, 5, 30]),
                },
            },
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
