//! What users do with HorizontalPodAutoscalers, and how much work they give to what these scale.

use std::collections::BTreeSet;

use coracle_api::resources::{DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS as AUTOSCALERS};
use coracle_server::Api;
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::{NAMES, Users, any};
use crate::random::Random;

/// Thousandths of a core that an application has to do at most: more than most autoscalers may bear.
const LOAD_MOST: u64 = 4000;

impl Users {
    pub(super) fn create_autoscaler(&mut self, api: &Api, random: &mut Random) {
        // Mostly each is for one that is there and has no other.
        let found = any(api, DEPLOYMENTS, random).filter(|_| !random.one_in(8));
        let target = found.map(|found| found.metadata().name.clone());
        let target = target.unwrap_or_else(|| (*random.pick(&NAMES)).to_owned());
        let name = if random.one_in(8) { *random.pick(&NAMES) } else { &*target };
        let least = 1 + random.below(2);
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "minReplicas": least,
                "maxReplicas": least + random.below(5),
                "metrics": [metric(random)],
                "behavior": behavior(random),
            },
        });
        self.create(api, AUTOSCALERS, &autoscaler);
    }

    pub(super) fn set_load(&mut self, api: &Api, random: &mut Random) {
        let found = any(api, AUTOSCALERS, random);
        let found = found.as_ref().and_then(|it| it.str_at("/spec/scaleTargetRef/name"));
        let name = found.unwrap_or(NAMES[0]);
        let load = if random.one_in(6) { 0 } else { random.below(LOAD_MOST) };
        self.machine.lock().loads.insert(name.to_owned(), load);
        self.said.push(format!("gives {name} work for {load}m"));
    }

    pub(super) fn set_bounds(&mut self, api: &Api, random: &mut Random) {
        let Some(autoscaler) = any(api, AUTOSCALERS, random) else { return };
        let least = 1 + random.below(3);
        let bounds = json!({"minReplicas": least, "maxReplicas": least + random.below(4)});
        self.patch(api, &autoscaler, "", &json!({"spec": bounds}));
    }

    pub(super) fn set_behavior(&mut self, api: &Api, random: &mut Random) {
        let Some(autoscaler) = any(api, AUTOSCALERS, random) else { return };
        // What a patch that merges is silent about would stay.
        self.patch(api, &autoscaler, "", &json!({"spec": {"behavior": null}}));
        let behavior = behavior(random);
        self.patch(api, &autoscaler, "", &json!({"spec": {"behavior": behavior}}));
    }

    pub(super) fn set_metric(&mut self, api: &Api, random: &mut Random) {
        let Some(autoscaler) = any(api, AUTOSCALERS, random) else { return };
        let metric = metric(random);
        self.patch(api, &autoscaler, "", &json!({"spec": {"metrics": [metric]}}));
    }

    /// Of several for one target all but one go: those whose bounds are apart pull at it for ever.
    pub(super) fn end_rivalry(&mut self, api: &Api, snapshot: &Snapshot) {
        let mut targets = BTreeSet::new();
        for autoscaler in snapshot.list(AUTOSCALERS, None) {
            let target = &autoscaler.value()["spec"]["scaleTargetRef"]["name"];
            if !targets.insert(target.to_string()) {
                self.delete(api, autoscaler, json!({}));
            }
        }
    }

    pub(super) fn delete_autoscaler(&mut self, api: &Api, random: &mut Random) {
        let Some(autoscaler) = any(api, AUTOSCALERS, random) else { return };
        self.delete(api, &autoscaler, json!({}));
    }
}

/// Half a core a pod, said in one of several ways. A sidecar asks for nothing: then nobody knows what
/// percentage of it is used.
fn metric(random: &mut Random) -> Value {
    let percent = json!({"type": "Utilization", "averageUtilization": 50});
    let average = json!({"type": "AverageValue", "averageValue": "500m"});
    match random.below(3) {
        0 => json!({"type": "Resource", "resource": {"name": "cpu", "target": percent}}),
        1 => json!({"type": "Resource", "resource": {"name": "cpu", "target": average}}),
        _ => json!({
            "type": "ContainerResource",
            "containerResource": {"name": "cpu", "container": "app", "target": percent},
        }),
    }
}

fn behavior(random: &mut Random) -> Value {
    if random.one_in(4) {
        return Value::Null;
    }
    // A pod that is new takes its part of the work before it is counted: without a window a target would
    // go down and up again for ever, as upstream's would.
    json!({"scaleUp": rules(&[0, 0, 30], random), "scaleDown": rules(&[60, 300], random)})
}

fn rules(windows: &[u64], random: &mut Random) -> Value {
    if random.one_in(6) {
        return Value::Null;
    }
    let policies: Vec<Value> = (0..=random.below(2)).map(|_| policy(random)).collect();
    let disabled = random.one_in(8);
    let select = if disabled { "Disabled" } else { *random.pick(&["Max", "Min"]) };
    let window = *random.pick(windows);
    json!({"policies": policies, "selectPolicy": select, "stabilizationWindowSeconds": window})
}

fn policy(random: &mut Random) -> Value {
    let (of, value) = *random.pick(&[("Pods", 1), ("Pods", 2), ("Percent", 40), ("Percent", 100)]);
    json!({"type": of, "value": value, "periodSeconds": *random.pick(&[15, 60, 180])})
}
