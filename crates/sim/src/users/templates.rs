//! What users write into templates of pods.

use coracle_api::resources::CRON_JOBS;
use serde_json::{Value, json};

use crate::pod::SETTINGS;
use crate::random::Random;
use crate::runtime::Behaviour;

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
    let mut container = json!({"name": "app", "image": image});
    // A template without a probe works if its containers live; what never gets ready needs one.
    let is_odd = image.ends_with(['1', '3', '5', '7', '9']);
    let behaviour = Behaviour::of(image);
    if (!is_odd && !behaviour.ends_itself()) || behaviour == Behaviour::Never {
        let exec = json!({"exec": {"command": ["ready"]}, "periodSeconds": 10});
        container["readinessProbe"] = exec;
    }
    container
}

/// A template of pods that run for ever, with the label that selects them.
pub(super) fn template(name: &str, image: &str, random: &mut Random) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {
            "containers": [container(image)],
            "volumes": [{"name": "settings", "configMap": {"name": SETTINGS, "optional": true}}],
            "terminationGracePeriodSeconds": *random.pick(&[1, 5, 30]),
        },
    })
}

/// A template of pods that end.
pub(super) fn task(image: &str, restart_policy: &str, random: &mut Random) -> Value {
    let mut template = template("task", image, random);
    template["spec"]["restartPolicy"] = json!(restart_policy);
    template
}
