//! What users write into templates of pods.

use coracle_api::Object;
use coracle_api::resources::CRON_JOBS;
use serde_json::{Value, json};

use crate::pod::SETTINGS;
use crate::random::Random;
use crate::runtime::Behaviour;

/// Cores that a container asks for until somebody resizes it.
pub(super) const CPU: &str = "1";

/// The label of pods that ask for more than [`CPU`] from the beginning, with how many cores.
const CORES: &str = "cores";

/// A patch that gives a workload's pods another image, and lets them ask for what they ask for.
pub(super) fn with_image(workload: &Object, image: &str) -> Value {
    let spec = &workload.value()["spec"];
    let in_job = *workload.key().resource == *CRON_JOBS;
    let template =
        if in_job { &spec["jobTemplate"]["spec"]["template"] } else { &spec["template"] };
    let cores = template["metadata"]["labels"][CORES].as_str().unwrap_or(CPU);
    let template = json!({"spec": {"containers": [container(image, cores)]}});
    match in_job {
        true => json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}),
        false => json!({"spec": {"template": template}}),
    }
}

/// How many cores a pod asked for when it was made.
pub(super) fn cores(pod: &Object) -> &str {
    pod.metadata().labels.get(CORES).map_or(CPU, String::as_str)
}

/// Lets the pods of a template ask for so many cores.
pub(super) fn ask(template: &mut Value, cores: &str) {
    template["metadata"]["labels"][CORES] = json!(cores);
    template["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cores);
}

fn container(image: &str, cores: &str) -> Value {
    let asks = json!({"requests": {"cpu": cores}});
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
            "containers": [container(image, CPU)],
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
