//! Sets, deployments and jobs.

use serde_json::{Value, json};

use super::cursor::{Errors, Field};
use super::parts::{self, count_or_percentage, immutable, is_zero};
use super::{pod, storage};
use crate::int_or_string::IntOrString;
use crate::{FieldError, Quantity, names, options, semantic};

const STATEFUL_SET_IMMUTABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
const STATEFUL_SET_MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// The strategy that a gate keeps.
pub(super) const RECREATE: &str = "Recreate";
/// What a strategy must be while that gate is off.
pub(super) const NO_RECREATE: &str = "must be 'RollingUpdate' or 'OnDelete'";

/// A StatefulSet, new or changed, without its template, which a change may leave as it was. Whether
/// it may be recreated depends on what it was before.
pub fn stateful_set(object: &Value) -> Vec<FieldError> {
    stateful_set_with(object, |errors, spec| {
        if spec.descend(&["updateStrategy", "type"]).text() != RECREATE {
            update_strategy(errors, spec, NO_RECREATE);
        }
    })
}

/// A StatefulSet that may be recreated.
pub fn recreatable_set(object: &Value) -> Vec<FieldError> {
    stateful_set_with(object, |errors, spec| {
        update_strategy(errors, spec, "must be 'RollingUpdate', 'OnDelete' or 'Recreate'");
    })
}

fn stateful_set_with(
    object: &Value,
    strategy: impl FnOnce(&mut Errors, &Field<'_>),
) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let policy = spec.child("podManagementPolicy");
        match policy.text() {
            "OrderedReady" | "Parallel" => {}
            "" => errors.required(&policy, ""),
            _ => errors.invalid(&policy, "must be 'OrderedReady' or 'Parallel'"),
        }
        strategy(errors, &spec);
        for when in ["whenDeleted", "whenScaled"] {
            let when = spec.child("persistentVolumeClaimRetentionPolicy").child(when);
            errors.one_of_if_set(&when, &["Retain", "Delete"]);
        }
        errors.non_negative(&spec.child("replicas"));
        errors.non_negative(&spec.child("minReadySeconds"));
        errors.non_negative(&spec.descend(&["ordinals", "start"]));
        selector_of(errors, &spec, "statefulset");
        stateful_template(errors, &spec);
    })
}

fn update_strategy(errors: &mut Errors, spec: &Field<'_>, types: &str) {
    let strategy = spec.child("updateStrategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "" => errors.required(&strategy, ""),
        "OnDelete" | RECREATE => {
            if rolling.is_set() {
                errors.invalid(&rolling, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            errors.non_negative(&rolling.child("partition"));
            let unavailable = rolling.child("maxUnavailable");
            if unavailable.is_set() {
                count_or_percentage(errors, &unavailable);
                if is_zero(&unavailable) {
                    errors.invalid(&unavailable, "cannot be 0");
                }
            }
        }
        _ => errors.invalid(&strategy, types),
    }
}

/// `spec.selector`: there, valid, and not of everything.
fn selector_of(errors: &mut Errors, spec: &Field<'_>, kind: &str) {
    let selector = spec.child("selector");
    if !selector.is_set() {
        errors.required(&selector, "");
        return;
    }
    parts::selector(errors, &selector);
    if parts::selects_everything(&selector) {
        errors.invalid(&selector, format!("empty selector is invalid for {kind}"));
    }
}

/// The template's labels must be selected, or the set would make pods for ever.
fn selects_template(errors: &mut Errors, spec: &Field<'_>) {
    let selector = spec.child("selector");
    let labels = spec.descend(&["template", "metadata", "labels"]);
    let is_empty = !selector.is_set() || parts::selects_everything(&selector);
    if !is_empty && !parts::selects(&selector, &labels) {
        errors.invalid(&labels, "`selector` does not match template `labels`");
    }
}

/// Pods of sets that keep them running.
fn always_running(errors: &mut Errors, spec: &Field<'_>, kind: &str) {
    let pod = spec.descend(&["template", "spec"]);
    let policy = pod.child("restartPolicy");
    if policy.text() != "Always" {
        errors.not_supported(&policy, &["Always"]);
    }
    let deadline = pod.child("activeDeadlineSeconds");
    if deadline.is_set() {
        errors.forbidden(&deadline, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

fn stateful_template(errors: &mut Errors, spec: &Field<'_>) {
    selects_template(errors, spec);
    let template = as_created(spec);
    pod::template(errors, &Field::at(&template, &format!("{}.template", spec.path)));
    always_running(errors, spec, "StatefulSet");
}

/// The template as the controller will use it: with a volume for each claim, and without the names
/// that it sets itself.
fn as_created(spec: &Field<'_>) -> Value {
    let mut template = spec.child("template").value.clone();
    let claims: Vec<String> = spec
        .child("volumeClaimTemplates")
        .items()
        .map(|claim| claim.descend(&["metadata", "name"]).text().to_string())
        .collect();
    if let Some(Value::Object(pod)) = template.get_mut("spec") {
        pod.remove("hostname");
        pod.remove("subdomain");
        let own = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
        let kept = own.into_iter().filter(|volume| {
            !claims.iter().any(|claim| volume.get("name").and_then(Value::as_str) == Some(claim))
        });
        let made = claims
            .iter()
            .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
        let volumes: Vec<Value> = made.chain(kept).collect();
        pod.insert("volumes".to_string(), volumes.into());
    }
    template
}

/// A new StatefulSet, on top of [`stateful_set`].
pub fn stateful_set_create(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let service = spec.child("serviceName");
        if !service.is_empty() {
            errors.all_invalid(&service, names::dns1123_label(service.text()));
        }
        for claim in spec.child("volumeClaimTemplates").items() {
            storage::claim_spec(errors, &claim.child("spec"));
        }
    })
}

/// A change of a StatefulSet, on top of [`stateful_set`].
pub fn stateful_set_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let fixed = |object: &Value| {
            let mut spec = object.get("spec").cloned().unwrap_or_default();
            if let Value::Object(fields) = &mut spec {
                fields.retain(|name, _| !STATEFUL_SET_MUTABLE.contains(&name.as_str()));
            }
            spec
        };
        let (new_spec, mut old_spec) = (fixed(new), fixed(old));
        if options::is_on(new, options::GROW_CLAIMS) {
            take_growth(&new_spec, &mut old_spec);
        }
        if !semantic::equal(&new_spec, &old_spec) {
            errors.forbidden(&Field::root(new).child("spec"), STATEFUL_SET_IMMUTABLE);
        }
    })
}

/// Gives the claim templates of `old` the sizes of those of `new`, where these are larger.
fn take_growth(new: &Value, old: &mut Value) {
    const TEMPLATES: &str = "/volumeClaimTemplates";
    const SIZE: &str = "/spec/resources/requests/storage";
    let templates = |spec: &Value| spec.pointer(TEMPLATES).and_then(Value::as_array).cloned();
    let all = old.pointer_mut(TEMPLATES).and_then(Value::as_array_mut);
    for (old, new) in all.into_iter().flatten().zip(templates(new).unwrap_or_default()) {
        let amount = |size: &Value| Quantity::from_json(size).ok();
        if let (Some(old), Some(new)) = (old.pointer_mut(SIZE), new.pointer(SIZE))
            && amount(old).zip(amount(new)).is_some_and(|(old, new)| old < new)
        {
            *old = new.clone();
        }
    }
}

/// A change of a StatefulSet's status.
pub fn stateful_set_status(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (status, old) = (Field::root(new).child("status"), Field::root(old).child("status"));
        let replicas = status.child("replicas");
        let counts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        errors.non_negative(&replicas);
        for name in counts.iter().chain(&["observedGeneration", "collisionCount"]) {
            errors.non_negative(&status.child(name));
        }
        for count in counts.map(|name| status.child(name)) {
            if count.int() > replicas.int() {
                errors.invalid(&count, "cannot be greater than status.replicas");
            }
        }
        let (available, ready) = (status.child("availableReplicas"), status.child("readyReplicas"));
        if available.int() > ready.int() {
            errors.invalid(&available, "cannot be greater than status.readyReplicas");
        }
        let collisions = status.child("collisionCount");
        if collisions.int() < old.child("collisionCount").int() {
            errors.invalid_as(&collisions, &collisions.int().into(), "cannot be decremented");
        }
    })
}

/// A change of the status of a Deployment, ReplicaSet or ReplicationController.
pub fn replicas_status(new: &Value, _old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let status = Field::root(new).child("status");
        let replicas = status.child("replicas");
        let counts =
            ["updatedReplicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"]
                .map(|name| status.child(name));
        errors.non_negative(&replicas);
        counts.iter().for_each(|count| errors.non_negative(count));
        errors.non_negative(&status.child("observedGeneration"));
        for count in &counts {
            if count.int() > replicas.int() {
                let shown = count.int().into();
                errors.invalid_as(count, &shown, "cannot be greater than status.replicas");
            }
        }
        let [.., ready, available] = &counts;
        if available.int() > ready.int() {
            errors.invalid(available, "cannot be greater than readyReplicas");
        }
    })
}

/// Sentences for who writes a StatefulSet.
pub fn stateful_set_warnings(new: &Value, _old: &Value) -> Vec<String> {
    let limit = Field::root(new).descend(&["spec", "revisionHistoryLimit"]);
    match limit.int() {
        ..0 => vec![
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .to_string(),
        ],
        _ => Vec::new(),
    }
}

/// A ControllerRevision.
pub fn controller_revision(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let revision = Field::root(object);
        let data = revision.child("data");
        if !data.is_set() {
            errors.required(&data, "data is mandatory");
        } else if !data.value.is_object() {
            errors.invalid(&data, "must be a valid JSON object");
        }
        errors.non_negative(&revision.child("revision"));
    })
}

/// A change of a ControllerRevision: its number alone.
pub fn controller_revision_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        immutable(errors, &Field::root(new).child("data"), &Field::root(old).child("data"));
    })
}

/// A Deployment.
pub fn deployment(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        errors.non_negative(&spec.child("replicas"));
        selector_of(errors, &spec, "deployment");
        selects_template(errors, &spec);
        pod::template(errors, &spec.child("template"));
        always_running(errors, &spec, "ReplicaSet");
        let strategy = spec.child("strategy");
        let rolling = strategy.child("rollingUpdate");
        match strategy.child("type").text() {
            "Recreate" if rolling.is_set() => errors
                .forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'"),
            "RollingUpdate" => rolling_update(errors, &rolling),
            "Recreate" => {}
            _ => errors.not_supported(&strategy, &["Recreate", "RollingUpdate"]),
        }
        errors.non_negative(&spec.child("minReadySeconds"));
        errors.non_negative(&spec.child("revisionHistoryLimit"));
        let deadline = spec.child("progressDeadlineSeconds");
        errors.non_negative(&deadline);
        if deadline.is_set() && deadline.int() <= spec.child("minReadySeconds").int() {
            errors.invalid(&deadline, "must be greater than minReadySeconds");
        }
    })
}

fn rolling_update(errors: &mut Errors, rolling: &Field<'_>) {
    let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
    count_or_percentage(errors, &unavailable);
    count_only(errors, &surge);
    if is_zero(&unavailable) && is_zero(&surge) {
        errors.invalid(&unavailable, "may not be 0 when `maxSurge` is 0");
    }
}

/// A number or percentage that may be more than everything.
fn count_only(errors: &mut Errors, field: &Field<'_>) {
    match IntOrString::from_json(field.value) {
        Some(IntOrString::String(text)) => errors.all_invalid(field, names::percent(&text)),
        _ => errors.non_negative(field),
    }
}

/// A ReplicaSet.
pub fn replica_set(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        errors.non_negative(&spec.child("replicas"));
        errors.non_negative(&spec.child("minReadySeconds"));
        selector_of(errors, &spec, "deployment");
        selects_template(errors, &spec);
        pod::template(errors, &spec.child("template"));
        always_running(errors, &spec, "ReplicaSet");
    })
}

/// A ReplicationController.
pub fn replication_controller(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        errors.non_negative(&spec.child("minReadySeconds"));
        let selector = spec.child("selector");
        if selector.is_empty() {
            errors.required(&selector, "");
        }
        errors.non_negative(&spec.child("replicas"));
        let template = spec.child("template");
        if !template.is_set() {
            errors.required(&template, "");
            return;
        }
        let labels = template.descend(&["metadata", "labels"]);
        if !selector.members().all(|(name, value)| labels.value.get(name) == Some(value.value)) {
            errors.invalid(&labels, "`selector` does not match template `labels`");
        }
        pod::template(errors, &template);
        always_running(errors, &spec, "ReplicationController");
    })
}

/// A DaemonSet.
pub fn daemon_set(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        selector_of(errors, &spec, "daemonset");
        selects_template(errors, &spec);
        pod::template(errors, &spec.child("template"));
        always_running(errors, &spec, "DaemonSet");
        errors.non_negative(&spec.child("minReadySeconds"));
        let strategy = spec.child("updateStrategy");
        match strategy.child("type").text() {
            "OnDelete" => {}
            "RollingUpdate" => {
                let rolling = strategy.child("rollingUpdate");
                let (unavailable, surge) =
                    (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
                count_or_percentage(errors, &unavailable);
                count_or_percentage(errors, &surge);
                match (is_zero(&unavailable), is_zero(&surge)) {
                    (false, false) => {
                        errors.invalid(&surge, "may not be set when maxUnavailable is non-zero");
                    }
                    (true, true) => errors.required(&unavailable, "cannot be 0 when maxSurge is 0"),
                    _ => {}
                }
            }
            _ => errors.not_supported(&strategy, &["RollingUpdate", "OnDelete"]),
        }
        errors.non_negative(&spec.child("revisionHistoryLimit"));
    })
}

/// A change of what selects by `spec.selector`: that stays.
pub fn selector_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let selector = |object| Field::root(object).descend(&["spec", "selector"]);
        immutable(errors, &selector(new), &selector(old));
    })
}
