//! Who may do what, how much may be down, and other small kinds.

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, count_or_percentage, dns_label, dns_subdomain, immutable, label_name};
use super::scheduling;
use crate::{FieldError, names, semantic};

const GROUP: &str = "rbac.authorization.k8s.io";
/// Finalizers without a domain.
pub const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
/// The highest priority that users may give.
const PRIORITY_MAX: i64 = 1_000_000_000;
/// The PriorityClasses that every cluster has.
pub const SYSTEM_PRIORITY_CLASSES: &[&str] = &["system-cluster-critical", "system-node-critical"];

/// A Role.
pub fn role(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| rules(errors, &Field::root(object).child("rules"), true))
}

/// A ClusterRole.
pub fn cluster_role(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let role = Field::root(object);
        rules(errors, &role.child("rules"), false);
        for selector in role.descend(&["aggregationRule", "clusterRoleSelectors"]).items() {
            parts::selector(errors, &selector);
        }
    })
}

fn rules(errors: &mut Errors, list: &Field<'_>, namespaced: bool) {
    for rule in list.items() {
        let (verbs, urls) = (rule.child("verbs"), rule.child("nonResourceURLs"));
        let (groups, resources) = (rule.child("apiGroups"), rule.child("resources"));
        if verbs.is_empty() {
            errors.required(&verbs, "verbs must contain at least one value");
        }
        if !urls.is_empty() {
            if namespaced {
                errors.invalid(&urls, "namespaced rules cannot apply to non-resource URLs");
            }
            let names = rule.child("resourceNames");
            if !groups.is_empty() || !resources.is_empty() || !names.is_empty() {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&urls, detail);
            }
            continue;
        }
        if groups.is_empty() {
            errors.required(&groups, "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            errors.required(&resources, "resource rules must supply at least one resource");
        }
    }
}

/// A RoleBinding.
pub fn role_binding(object: &Value) -> Vec<FieldError> {
    binding(object, &["Role", "ClusterRole"], true)
}

/// A ClusterRoleBinding.
pub fn cluster_role_binding(object: &Value) -> Vec<FieldError> {
    binding(object, &["ClusterRole"], false)
}

fn binding(object: &Value, kinds: &[&str], namespaced: bool) -> Vec<FieldError> {
    Errors::of(|errors| {
        let binding = Field::root(object);
        let role = binding.child("roleRef");
        errors.one_of_if_set(&role.child("apiGroup"), &[GROUP]);
        let kind = role.child("kind");
        if !kinds.contains(&kind.text()) {
            errors.not_supported(&kind, kinds);
        }
        let name = role.child("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.all_invalid(&name, crate::names::path_segment(name.text(), false));
        }
        for one in binding.child("subjects").items() {
            subject(errors, &one, namespaced);
        }
    })
}

fn subject(errors: &mut Errors, subject: &Field<'_>, namespaced: bool) {
    let (name, group) = (subject.child("name"), subject.child("apiGroup"));
    errors.require_text(&name);
    match subject.child("kind").text() {
        "ServiceAccount" => {
            if !name.is_empty() {
                dns_subdomain(errors, &name);
            }
            if !group.is_empty() {
                errors.not_supported(&group, &[""]);
            }
            let namespace = subject.child("namespace");
            if !namespaced && namespace.is_empty() {
                errors.required(&namespace, "");
            }
        }
        "User" | "Group" => {
            if group.text() != GROUP {
                errors.not_supported(&group, &[GROUP]);
            }
        }
        _ => errors.not_supported(&subject.child("kind"), &["ServiceAccount", "User", "Group"]),
    }
}

/// A change of a RoleBinding or ClusterRoleBinding.
pub fn role_binding_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let role = |binding| Field::root(binding).child("roleRef");
        if !semantic::equal(role(new).value, role(old).value) {
            errors.invalid(&role(new), "cannot change roleRef");
        }
    })
}

/// Bytes that the words of an Event may have.
const EVENT_WORD_MAX: usize = 128;
/// Bytes that the sentence of an Event may have.
const EVENT_MESSAGE_MAX: usize = 1024;
/// Fields that Events of events.k8s.io only have for the core group's sake, and their names there.
const DEPRECATED: [(&str, &str); 4] = [
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("deprecatedSource", "source"),
];

/// A PodDisruptionBudget.
pub fn disruption_budget(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let (least, most) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
        if least.is_set() && most.is_set() {
            errors.invalid(&spec, "minAvailable and maxUnavailable cannot be both set");
        }
        for field in [least, most].into_iter().filter(Field::is_set) {
            count_or_percentage(errors, &field);
        }
        parts::selector(errors, &spec.child("selector"));
        errors.one_of_if_set(
            &spec.child("unhealthyPodEvictionPolicy"),
            &["AlwaysAllow", "IfHealthyBudget"],
        );
    })
}

/// A Namespace.
pub fn namespace(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let finalizers = Field::root(object).descend(&["spec", "finalizers"]);
        for finalizer in finalizers.items() {
            label_name(errors, &Field::at(finalizer.value, "spec.finalizers"));
            let name = finalizer.text();
            if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                errors.invalid(&finalizer, why);
            }
        }
    })
}

/// A PriorityClass.
pub fn priority_class(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let class = Field::root(object);
        let (name, value) = (class.descend(&["metadata", "name"]), class.child("value"));
        let is_ours = SYSTEM_PRIORITY_CLASSES.contains(&name.text());
        if !is_ours && name.text().starts_with("system-") {
            errors.forbidden(
                &name,
                "priority class names with 'system-' prefix are reserved for system use only",
            );
        }
        if !is_ours && value.int() > PRIORITY_MAX {
            errors.forbidden(
                &value,
                format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}"),
            );
        }
        errors.one_of_if_set(&class.child("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
    })
}

/// A change of a PriorityClass.
pub fn priority_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (new, old) = (Field::root(new), Field::root(old));
        if new.child("value").int() != old.child("value").int() {
            errors.forbidden(&new.child("value"), "may not be changed in an update.");
        }
        immutable(errors, &new.child("preemptionPolicy"), &old.child("preemptionPolicy"));
    })
}

/// A RuntimeClass.
pub fn runtime_class(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let class = Field::root(object);
        dns_label(errors, &class.child("handler"));
        for (_, amount) in class.descend(&["overhead", "podFixed"]).members() {
            parts::non_negative_quantity(errors, &amount);
        }
        let scheduling = class.child("scheduling");
        parts::check_labels(errors, &scheduling.child("nodeSelector"));
        scheduling::tolerations(errors, &scheduling.child("tolerations"));
    })
}

/// A change of a RuntimeClass.
pub fn runtime_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        immutable(errors, &Field::root(new).child("handler"), &Field::root(old).child("handler"));
    })
}

/// A Lease.
pub fn lease(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let duration = spec.child("leaseDurationSeconds");
        if duration.is_set() && duration.int() <= 0 {
            errors.invalid(&duration, "must be greater than 0");
        }
        errors.non_negative(&spec.child("leaseTransitions"));
    })
}

/// An Event of the core group, new or changed.
pub fn event(object: &Value) -> Vec<FieldError> {
    let event = Field::root(object);
    let fields = [event.child("involvedObject"), event.child("reportingComponent")];
    any_event(&event, fields, event.child("message"))
}

/// As [`event`], of the group events.k8s.io; where upstream uses the core group's names, so does
/// this.
pub fn named_event(object: &Value) -> Vec<FieldError> {
    let event = Field::root(object);
    let about = Field::at(event.child("regarding").value, "involvedObject");
    let message = Field::at(event.child("note").value, "message");
    any_event(&event, [about, event.child("reportingController")], message)
}

/// An Event says where its object is, or when it was and who reports what.
fn any_event(
    event: &Field<'_>,
    [about, controller]: [Field<'_>; 2],
    message: Field<'_>,
) -> Vec<FieldError> {
    Errors::of(|errors| {
        let place = about.child("namespace");
        let own = event.descend(&["metadata", "namespace"]);
        let is_timed = event.child("eventTime").is_set();
        let fits = match (is_timed, place.is_empty()) {
            (true, true) => ["default", "kube-system"].contains(&own.text()),
            (true, false) => true,
            (false, true) => own.text() == "default",
            (false, false) => place.text() == own.text(),
        };
        if !fits {
            errors.invalid_as(&place, &place.text().into(), "does not match event.namespace");
        }
        if !is_timed {
            return;
        }
        errors.require_text(&controller);
        errors.all_invalid(&controller, names::qualified_name(controller.text()));
        for field in ["reportingInstance", "action", "reason"].map(|name| event.child(name)) {
            errors.require_text(&field);
            at_most(errors, &field, EVENT_WORD_MAX);
        }
        at_most(errors, &message, EVENT_MESSAGE_MAX);
    })
}

fn at_most(errors: &mut Errors, field: &Field<'_>, max: usize) {
    if field.text().len() > max {
        errors.invalid_as(field, &"".into(), &format!("can have at most {max} characters"));
    }
}

/// A new Event of the group events.k8s.io, on top of [`named_event`].
pub fn named_event_create(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let event = Field::root(object);
        event_series(errors, &event);
        let kind = event.child("type");
        if !["Normal", "Warning"].contains(&kind.text()) {
            let why = format!("has invalid value: {}", kind.text());
            errors.invalid_as(&kind, &"".into(), &why);
        }
        for (name, core) in DEPRECATED {
            let field = event.child(name);
            if !field.is_empty() && *field.value != 0 {
                errors.invalid_as(&Field::at(field.value, core), &"".into(), "needs to be unset");
            }
        }
    })
}

/// A change of an Event of the group events.k8s.io: only its series goes on.
pub fn named_event_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (new, old) = (Field::root(new), Field::root(old));
        if new.child("series").value != old.child("series").value {
            event_series(errors, &new);
        }
        let same = ["reason", "type", "eventTime", "action", "related"].map(|name| (name, name));
        let renamed = [("regarding", "involvedObject"), ("note", "message")];
        let reported = ["reportingController", "reportingInstance"].map(|name| (name, name));
        for (name, core) in renamed.into_iter().chain(DEPRECATED).chain(same).chain(reported) {
            immutable(errors, &Field::at(new.child(name).value, core), &old.child(name));
        }
    })
}

fn event_series(errors: &mut Errors, event: &Field<'_>) {
    let series = event.child("series");
    if series.is_set() && series.child("count").int() < 2 {
        let count = Field::at(series.value, "series.count");
        errors.invalid_as(&count, &"".into(), "should be at least 2");
    }
}
