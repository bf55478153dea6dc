//! Small things that a cluster decides for an object: taints, tolerations, priority, ingress class.

use std::sync::Arc;

use coracle_api::resources::{INGRESS_CLASSES, INGRESSES, NODES, PODS, PRIORITY_CLASSES};
use coracle_api::validation::SYSTEM_PRIORITY_CLASSES;
use coracle_api::{Object, Status};
use serde_json::{Value, json};

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::{map_at, text};
use crate::pipeline::write::WriteEnv;

/// How long pods stay on a node that has gone silent.
const TOLERATION_SECONDS: i64 = 300;

/// TaintNodesByCondition: nothing is placed on a new node before it is known to be Ready.
pub(super) fn not_ready(
    attributes: &mut Attributes<'_>,
    node: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    if !attributes.is(Operation::Create, NODES) {
        return Ok(());
    }
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let mut all = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let is_same = |one: &Value| one["key"] == taint["key"] && one["effect"] == taint["effect"];
    if !all.iter().any(is_same) {
        all.push(taint);
        map_at(node, "spec").insert("taints".into(), all.into());
    }
    Ok(())
}

/// DefaultTolerationSeconds. An update that replaces the list gets them again, or it would seem to
/// take away what was there.
pub(super) fn tolerations(
    attributes: &mut Attributes<'_>,
    pod: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    if !attributes.puts(PODS) {
        return Ok(());
    }
    let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !all.iter().any(|toleration| covers(toleration, key)) {
            all.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
    map_at(pod, "spec").insert("tolerations".into(), all.into());
    Ok(())
}

fn covers(toleration: &Value, key: &str) -> bool {
    let (its_key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
    (its_key == key || its_key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}

/// Priority: the number behind a pod's priority class. An update that does not say it keeps it.
pub(super) fn priority(
    attributes: &mut Attributes<'_>,
    pod: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    if let (true, Some(old)) = (attributes.is(Operation::Update, PODS), attributes.old) {
        keep(pod, old, "priority");
        keep(pod, old, "preemptionPolicy");
    }
    if !attributes.is(Operation::Create, PODS) {
        return Ok(());
    }
    let name = text(pod, "/spec/priorityClassName").to_owned();
    let class = class_of(attributes, &name);
    if class.is_none() && !name.is_empty() {
        let why = format!("no PriorityClass with name {name} was found");
        return Err(attributes.forbidden(text(pod, "/metadata/name"), why));
    }
    let value = class.as_ref().and_then(|class| class.value()["value"].as_i64()).unwrap_or(0);
    let policy = class.as_ref().and_then(|class| class.str_at("/preemptionPolicy"));
    let policy = policy.unwrap_or("PreemptLowerPriority").to_owned();
    if let Some(asked) = pod["spec"]["priority"].as_i64()
        && asked != value
    {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority \
             admission controller computed {value} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(text(pod, "/metadata/name"), why));
    }
    let spec = map_at(pod, "spec");
    if let Some(class) = class {
        spec.insert("priorityClassName".into(), class.metadata().name.clone().into());
    }
    spec.insert("priority".into(), value.into());
    spec.entry("preemptionPolicy").or_insert(policy.into());
    Ok(())
}

fn keep(pod: &mut Value, old: &Object, field: &str) {
    if let (true, Some(known)) = (pod["spec"][field].is_null(), old.value()["spec"].get(field)) {
        map_at(pod, "spec").insert(field.to_owned(), known.clone());
    }
}

fn class_of(attributes: &Attributes<'_>, name: &str) -> Option<Arc<Object>> {
    if !name.is_empty() {
        return attributes.snapshot.find(PRIORITY_CLASSES, "", name).cloned();
    }
    let classes = attributes.snapshot.list(PRIORITY_CLASSES, None);
    let defaults = classes.filter(|class| class.value()["globalDefault"] == true);
    defaults.min_by_key(|class| class.value()["value"].as_i64()).cloned()
}

/// At most one priority class is the default.
pub(super) fn one_default_priority(
    attributes: &mut Attributes<'_>,
    class: &Value,
) -> Result<(), Status> {
    let kind = &attributes.request.kind;
    if !kind.is(PRIORITY_CLASSES) || class["globalDefault"] != true {
        return Ok(());
    }
    match class_of(attributes, "") {
        Some(other) if other.metadata().name != text(class, "/metadata/name") => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.metadata().name
            );
            Err(attributes.forbidden(text(class, "/metadata/name"), why))
        }
        _ => Ok(()),
    }
}

/// The classes that the cluster comes with stay.
pub(super) fn keep_system_priorities(
    attributes: &mut Attributes<'_>,
    _: &Value,
) -> Result<(), Status> {
    let name = &attributes.request.name;
    if attributes.is(Operation::Delete, PRIORITY_CLASSES)
        && SYSTEM_PRIORITY_CLASSES.contains(&name.as_str())
    {
        let why = "this is a system priority class and cannot be deleted";
        return Err(attributes.forbidden(name, why));
    }
    Ok(())
}

/// DefaultIngressClass.
pub(super) fn ingress_class(
    attributes: &mut Attributes<'_>,
    ingress: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let annotated = ingress["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some();
    if !attributes.is(Operation::Create, INGRESSES)
        || annotated
        || !text(ingress, "/spec/ingressClassName").is_empty()
    {
        return Ok(());
    }
    let annotation = "ingressclass.kubernetes.io/is-default-class";
    if let Some(class) = newest_default(attributes, INGRESS_CLASSES, &[annotation]) {
        let name = class.metadata().name.clone();
        map_at(ingress, "spec").insert("ingressClassName".into(), name.into());
    }
    Ok(())
}

/// The object of `resource` that one of `annotations` marks as default; of several, the newest.
pub(super) fn newest_default<'a>(
    attributes: &Attributes<'a>,
    resource: &str,
    annotations: &[&str],
) -> Option<&'a Arc<Object>> {
    let marked = |object: &Arc<Object>| {
        let given = &object.metadata().annotations;
        annotations.iter().any(|name| given.get(*name).is_some_and(|value| value == "true"))
    };
    let classes: Vec<_> =
        attributes.snapshot.list(resource, None).filter(|class| marked(class)).collect();
    // Of equally old ones the first by name.
    classes.into_iter().rev().max_by_key(|class| class.metadata().creation_timestamp)
}
