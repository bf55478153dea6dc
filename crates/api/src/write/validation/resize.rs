//! A change of the resources of a pod's containers, by its subresource `resize`. As upstream's
//! `ValidatePodResize` of 1.36.

use serde_json::Value;

use super::container;
use super::cursor::{Errors, Field};
use super::pod_parts::MIRROR;
use crate::defaults::initial::quality_of_service;
use crate::{FieldError, semantic};

/// The lists of containers that may be resized.
const LISTS: [&str; 2] = ["initContainers", "containers"];
/// The lists of amounts in a container's resources, with what one of them is called.
const AMOUNTS: [(&str, &str); 2] = [("requests", "request"), ("limits", "limit")];

const ONLY: &str = "only cpu and memory resources are mutable";

/// A change of the resources of a pod that runs, on top of [`super::pod`].
pub fn pod_resize(new: &Value, old: &Value) -> Vec<FieldError> {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        return vec![FieldError::forbidden("", "static pods cannot be resized")];
    }
    Errors::of(|errors| {
        let (new_spec, old_spec) = (spec(new), spec(old));
        keeps_class(errors, &new_spec, new, old);
        if !reports_resources(old) {
            errors.forbidden(&new_spec, "Pod running on node without support for resize");
        }
        let (own, before) = (new_spec.child("resources"), old_spec.child("resources"));
        if !semantic::equal(own.value, before.value) {
            let why =
                "coracle does not resize what a pod is told as a whole yet: resize its containers";
            errors.forbidden(&own, why);
        }
        if !same_containers(errors, &new_spec, &old_spec) {
            return;
        }
        for list in LISTS {
            let (new, old) = (new_spec.child(list), old_spec.child(list));
            new.items().zip(old.items()).for_each(|(new, old)| removes_nothing(errors, &new, &old));
        }
        let (new, old) = (new_spec.child("containers"), old_spec.child("containers"));
        for (new, old) in new.items().zip(old.items()) {
            container::resources(errors, &new.child("resources"));
            if !semantic::equal(&resized(new.value, old.value), old.value) {
                errors.forbidden(&new_spec, ONLY);
            }
        }
        let (new, old) = (new_spec.child("initContainers"), old_spec.child("initContainers"));
        for (new, old) in new.items().zip(old.items()) {
            container::resources(errors, &new.child("resources"));
            init_container(errors, &new, &old);
        }
    })
}

fn spec(pod: &Value) -> Field<'_> {
    Field::root(pod).child("spec")
}

fn keeps_class(errors: &mut Errors, spec: &Field<'_>, new: &Value, old: &Value) {
    let told = old["status"]["qosClass"].as_str().filter(|class| !class.is_empty());
    let (before, now) = (told.unwrap_or_else(|| quality_of_service(old)), quality_of_service(new));
    if before != now {
        errors.invalid_as(
            spec,
            &now.into(),
            "Pod QOS Class may not change as a result of resizing",
        );
    }
}

/// A node that can resize tells the resources of what runs.
fn reports_resources(pod: &Value) -> bool {
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let mut running = statuses.filter(|status| !status["state"]["running"].is_null());
    running.next().is_none_or(|status| !status["resources"].is_null())
}

/// Whether the containers are the same, in the same order.
fn same_containers(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) -> bool {
    let mut same = true;
    for list in ["containers", "initContainers"] {
        let (new, old) = (new.child(list), old.child(list));
        if new.len() != old.len() {
            same = false;
            errors.forbidden(&new, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (new, old) in new.items().zip(old.items()) {
            let (name, was) = (new.child("name"), old.child("name"));
            if name.text() != was.text() {
                same = false;
                errors
                    .forbidden(&name, format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
    same
}

/// What a container asks for may change, and is not forgotten.
fn removes_nothing(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    for (list, what) in AMOUNTS {
        let of = |container: &Field<'_>| container.child("resources").value.get(list).cloned();
        let (had, has) = (of(old).unwrap_or_default(), of(new).unwrap_or_default());
        let mut names = had.as_object().into_iter().flat_map(|had| had.keys());
        if names.any(|name| has.get(name).is_none_or(Value::is_null)) {
            let place = new.child("resources").child(list);
            errors.forbidden(&place, format!("resource {what}s cannot be removed"));
        }
    }
}

fn init_container(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    if !semantic::equal(&resized(new.value, old.value), old.value) {
        let why = "only cpu and memory resources for init or sidecar containers are mutable";
        errors.forbidden(new, why);
    }
    let restarts = |policy: Field<'_>| policy.child("restartPolicy").text() == "RestartContainer";
    if new.child("restartPolicy").text() != "Always"
        && !semantic::equal(new.value, old.value)
        && new.child("resizePolicy").items().any(restarts)
    {
        let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be \
                   resized";
        errors.forbidden(new, why);
    }
}

/// A container with `cpu` and `memory` as they were in `old`.
fn resized(container: &Value, old: &Value) -> Value {
    let mut container = container.clone();
    for (list, _) in AMOUNTS {
        let amounts = &old["resources"][list];
        let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
            continue;
        };
        let mut next = resources.get(list).and_then(Value::as_object).cloned().unwrap_or_default();
        for name in ["cpu", "memory"] {
            match amounts.get(name) {
                Some(amount) => next.insert(name.to_owned(), amount.clone()),
                None => next.remove(name),
            };
        }
        match next.is_empty() {
            true => resources.remove(list),
            false => resources.insert(list.to_owned(), next.into()),
        };
    }
    container
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    fn one(resources: Value) -> Value {
        pod(json!([{"name": "c", "resources": resources}]))
    }

    fn told(new: &Value, old: &Value) -> Vec<String> {
        pod_resize(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn cpu_and_memory_change_within_the_class_and_nothing_else_does() {
        let requests = |amounts: Value| one(json!({"requests": amounts}));
        let old = requests(json!({"cpu": "1", "ephemeral-storage": "1Gi"}));
        let bigger = json!({"cpu": "2", "memory": "1Gi", "ephemeral-storage": "1Gi"});
        assert_eq!(told(&requests(bigger), &old), [""; 0]);
        let disk = requests(json!({"cpu": "1", "ephemeral-storage": "2Gi"}));
        assert_eq!(told(&disk, &old), [format!("spec: Forbidden: {ONLY}")]);
        let class = told(&one(json!({})), &old);
        assert!(class[0].contains("Pod QOS Class may not change as a result of resizing"));
        let mut policy = old.clone();
        policy["spec"]["containers"][0]["resizePolicy"] =
            json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        assert_eq!(told(&policy, &old), [format!("spec: Forbidden: {ONLY}")]);
    }

    #[test]
    fn amounts_are_added_and_not_removed() {
        let old = one(json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}));
        let more = json!({"requests": {"cpu": "1", "memory": "1Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"}});
        assert_eq!(told(&one(more), &old), [""; 0]);
        let place = "spec.containers[0].resources";
        assert_eq!(
            told(&one(json!({"requests": {"memory": "1Mi"}})), &old),
            [
                format!("{place}.requests: Forbidden: resource requests cannot be removed"),
                format!("{place}.limits: Forbidden: resource limits cannot be removed"),
            ]
        );
    }

    #[test]
    fn containers_stay_who_they_are() {
        let c = |name: &str| json!({"name": name, "resources": {"requests": {"cpu": "1"}}});
        let old = pod(json!([c("a"), c("b")]));
        let why = "name: Forbidden: containers may not be renamed or reordered on resize";
        assert_eq!(
            told(&pod(json!([c("b"), c("a")])), &old),
            [format!("spec.containers[0].{why}"), format!("spec.containers[1].{why}")]
        );
        assert_eq!(
            told(&pod(json!([c("a")])), &old),
            ["spec.containers: Forbidden: containers may not be added or removed on resize"]
        );
    }

    #[test]
    fn init_containers_change_where_they_need_not_be_started_again() {
        let with = |cpu: &str, policy: Value, restart: Option<&str>| {
            let mut init = json!({"name": "i", "resizePolicy": policy,
                "resources": {"requests": {"cpu": cpu}}});
            if let Some(restart) = restart {
                init["restartPolicy"] = json!(restart);
            }
            json!({"spec": {"containers": [{"name": "c"}], "initContainers": [init]}})
        };
        let restart = || json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        let change = |policy: Value, sidecar| {
            told(&with("2", policy.clone(), sidecar), &with("1", policy, sidecar))
        };
        assert_eq!(change(json!([]), None), [""; 0]);
        assert_eq!(change(restart(), Some("Always")), [""; 0]);
        assert_eq!(
            change(restart(), None),
            [
                "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy \
                 of RestartContainer cannot be resized"
            ]
        );
    }

    #[test]
    fn what_no_node_could_act_on_is_refused() {
        let mut old = one(json!({"requests": {"cpu": "1"}}));
        let new = one(json!({"requests": {"cpu": "2"}}));
        old["status"]["containerStatuses"] = json!([{"name": "c", "state": {"running": {}}}]);
        assert_eq!(
            told(&new, &old),
            ["spec: Forbidden: Pod running on node without support for resize"]
        );
        old["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert_eq!(told(&new, &old), [": Forbidden: static pods cannot be resized"]);
        let mut whole = one(json!({"requests": {"cpu": "1"}}));
        whole["spec"]["resources"] = json!({"requests": {"cpu": "3"}});
        let mut more = whole.clone();
        more["spec"]["resources"]["requests"]["cpu"] = json!("4");
        assert!(told(&more, &whole)[0].starts_with("spec.resources: Forbidden: coracle does not"));
    }
}
