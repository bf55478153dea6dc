//! RuntimeClass: what the class that a pod names adds to it.

use std::sync::Arc;

use coracle_api::resources::{PODS, RUNTIME_CLASSES};
use coracle_api::{Object, Status, semantic};
use serde_json::Value;

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::{map_at, text};
use crate::pipeline::write::WriteEnv;

/// The class must be there; its overhead becomes the pod's, and where it runs is where the pod does.
pub(super) fn apply(
    attributes: &mut Attributes<'_>,
    pod: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    if !attributes.is(Operation::Create, PODS) {
        return Ok(());
    }
    let done = class_of(attributes, pod).and_then(|class| {
        let class = class.as_ref().map_or(&Value::Null, |class| class.value());
        set_overhead(pod, &class["overhead"]["podFixed"])?;
        merge_node_selector(pod, &class["scheduling"]["nodeSelector"])?;
        merge_tolerations(pod, &class["scheduling"]["tolerations"]);
        Ok(())
    });
    done.map_err(|why| attributes.forbidden(text(pod, "/metadata/name"), why))
}

fn class_of(attributes: &Attributes<'_>, pod: &Value) -> Result<Option<Arc<Object>>, String> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    let class = attributes.snapshot.find(RUNTIME_CLASSES, "", name);
    match class {
        Some(class) => Ok(Some(Arc::clone(class))),
        None => Err(format!("pod rejected: RuntimeClass {name:?} not found")),
    }
}

fn set_overhead(pod: &mut Value, overhead: &Value) -> Result<(), &'static str> {
    let own = &pod["spec"]["overhead"];
    if !own.is_null() && overhead.is_null() {
        return Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined \
                    Overhead");
    }
    if !own.is_null() && !semantic::equal(own, overhead) {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
    }
    if !overhead.is_null() {
        map_at(pod, "spec").insert("overhead".into(), overhead.clone());
    }
    Ok(())
}

fn merge_node_selector(pod: &mut Value, wanted: &Value) -> Result<(), String> {
    for (key, value) in wanted.as_object().into_iter().flatten() {
        let selector = map_at(&mut pod["spec"], "nodeSelector");
        if let Some(own) = selector.get(key).filter(|own| *own != value) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; \
                 pod.spec.nodeSelector[{key}] = {}",
                text(value, ""),
                text(own, ""),
            ));
        }
        selector.insert(key.clone(), value.clone());
    }
    Ok(())
}

fn merge_tolerations(pod: &mut Value, more: &Value) {
    let Some(more) = more.as_array() else { return };
    let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for toleration in more {
        if !all.contains(toleration) {
            all.push(toleration.clone());
        }
    }
    map_at(pod, "spec").insert("tolerations".into(), all.into());
}
