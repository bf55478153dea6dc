//! What users write into templates of pods.

use coracle_api::resources::CRON_JOBS;
use serde_json::{Value, json};

use crate::pod::SETTINGS;
use crate::random::Random;
use crate::runtime::Behaviour;

/// Cores that a container asks for until somebody resizes it.
pub(super) const CPU: &str = "1";

/// A patch of the template of a workload.
pub(super) fn in_template(resource: &str, template: &Value) -> Value {
    match resource {
        CRON_JOBS => json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}),
        _ => json!({"spec": {"template": template}}),
    }
}

/// A patch that gives a workload's pods another image.
pub(super) fn with_image(resource: &str, image: &str) -> Value {
    in_template(resource, &json!({"spec": {"containers": [container(image)]}}))
}

fn container(image: &str) -> Value {
    let asks = json!({"requests": {"cpu": CPU}});
    let mut container = json!({"name": "app", "image": image, "resources": asks});
    // A template without a probe works if its containers live; what never gets ready needs one.
    let is_odd = image.ends_with(['1', '3', '5', '7', '9']);
    let behaviour = Behaviour::of(image);
    if image.ends_with(['3', '4']) && !behaviour.ends_itself() {
        let policy = json!({"resourceName": "cpu", "restartPolicy": "RestartContainer"});
        container["resizePolicy"] = json!([policy]);
    }
    if (!is_odd && !behaviour.ends_itself()) || behaviour == Behaviour::Never {
        let exec = json!({"exec": {"command": ["ready"]}, "periodSeconds": 10});
        container["readinessProbe"] = exec;
    }
    container
}

/// A template of pods that run for ever, with the label that selects them.
pub(super) fn template(name: &str, image: &str, random: &mut Random) -> Value {
    let mut template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {
            "containers": [container(image)],
            "volumes": [{"name": "settings", "configMap": {"name": SETTINGS, "optional": true}}],
            "terminationGracePeriodSeconds": *random.pick(&[1, 5, 30]),
        },
    });
    let hook = json!({"exec": {"command": ["hook"]}});
    for kind in ["postStart", "preStop"] {
        if random.one_in(4) {
            template["spec"]["containers"][0]["lifecycle"][kind] = hook.clone();
        }
    }
    if random.one_in(3) {
        let image = if random.one_in(2) { "app:good-2" } else { "app:hangs-2" };
        let mut one = sidecar(image);
        if random.one_in(2) {
            one["lifecycle"]["preStop"] = hook;
        }
        template["spec"]["initContainers"] = json!([one]);
    }
    template
}

fn sidecar(image: &str) -> Value {
    json!({"name": "proxy", "image": image, "restartPolicy": "Always"})
}

/// A template of pods that end.
pub(super) fn task(image: &str, restart_policy: &str, random: &mut Random) -> Value {
    let mut template = template("task", image, random);
    template["spec"]["restartPolicy"] = json!(restart_policy);
    // One that ends again and again holds no task up.
    if random.one_in(4) {
        template["spec"]["initContainers"] = json!([sidecar("app:flaky-2")]);
    }
    template
}
