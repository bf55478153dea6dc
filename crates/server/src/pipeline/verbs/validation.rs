//! What is checked of every object, whatever its kind, and then what its kind checks.

use coracle_api::kind::NameRule;
use coracle_api::kinds::rules::Judged;
use coracle_api::{
    FieldError, FieldErrorKind, Kind, custom_validation, names, resources, validation,
};
use serde_json::{Value, json};

use crate::pipeline::verbs::{Part, deletion, rules, text};

/// Finalizers without a domain.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", deletion::ORPHAN, deletion::FOREGROUND];
/// Groups whose strategies take any name for a finalizer, as custom resources do.
const EXTENSIONS: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "policy",
];

/// What is wrong with a new object.
pub(crate) fn of_new(kind: &Kind, value: &Value) -> Vec<FieldError> {
    let mut errors = (kind.strategy.validate)(value);
    errors.extend((kind.strategy.validate_create)(value));
    errors.extend(by_definition(kind, value));
    errors.extend(metadata(kind, value));
    let judged = rules::judged(kind, value, None, &errors);
    errors.extend(judged.errors);
    errors
}

/// What is wrong with the change of `part` from `old` to `new`, and what clients are warned of.
pub(crate) fn of_change(kind: &Kind, part: Part, new: &Value, old: &Value) -> Judged {
    let mut errors = new_finalizers(new, old);
    match part {
        Part::Status | Part::Approval => {
            errors.extend((kind.strategy.validate_status)(new, old));
        }
        Part::Whole | Part::Scale => {
            errors.extend((kind.strategy.validate)(new));
            errors.extend((kind.strategy.validate_update)(new, old));
        }
        Part::Resize => {
            errors.extend((kind.strategy.validate)(new));
            errors.extend(validation::pod_resize(new, old));
        }
        Part::EphemeralContainers => {
            errors.extend((kind.strategy.validate)(new));
            errors.extend(validation::pod_debugged(new, old));
        }
        Part::Finalize => errors.extend((kind.strategy.validate)(new)),
    }
    errors.extend(by_definition(kind, new));
    errors.extend(metadata(kind, new));
    let judged = rules::judged(kind, new, Some(old), &errors);
    errors.extend(judged.errors);
    Judged { errors, warnings: judged.warnings }
}

/// A custom resource is checked by the schema in its definition.
fn by_definition(kind: &Kind, value: &Value) -> Vec<FieldError> {
    let root = kind.definition.as_ref();
    root.map(|root| custom_validation::validate(root, value)).unwrap_or_default()
}

fn metadata(kind: &Kind, value: &Value) -> Vec<FieldError> {
    let mut errors = prefix(kind, text(value, "/metadata/generateName"));
    errors.extend(name(kind, text(value, "/metadata/name")));
    let fields = &value["metadata"];
    errors.extend(validation::labels(&fields["labels"], "metadata.labels"));
    errors.extend(validation::annotations(&fields["annotations"], "metadata.annotations"));
    errors.extend(owners(&fields["ownerReferences"]));
    errors.extend(finalizers(kind, &fields["finalizers"]));
    errors
}

/// Upstream's sentence for an object without any name.
pub(crate) fn name_required() -> FieldError {
    FieldError::required("metadata.name", "name or generateName is required")
}

fn name(kind: &Kind, name: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![name_required()];
    }
    let why = unlike_name(kind, name);
    why.into_iter().map(|why| FieldError::invalid("metadata.name", &json!(name), why)).collect()
}

/// A prefix may end in a hyphen, which a name may not.
fn prefix(kind: &Kind, prefix: &str) -> Vec<FieldError> {
    let masked = match prefix.strip_suffix('-') {
        _ if prefix.is_empty() => return Vec::new(),
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => prefix.to_owned(),
    };
    let invalid = |why| FieldError::invalid("metadata.generateName", &json!(prefix), why);
    unlike_name(kind, &masked).into_iter().map(invalid).collect()
}

/// Why `name` is none for an object of `kind`.
fn unlike_name(kind: &Kind, name: &str) -> Vec<String> {
    match kind.strategy.name {
        NameRule::DnsSubdomain => names::dns1123_subdomain(name),
        NameRule::DnsLabel => names::dns1123_label(name),
        NameRule::PathSegment => names::path_segment(name, false),
        NameRule::Address => names::canonical_address(name),
    }
}

fn owners(owners: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controllers: Vec<&str> = Vec::new();
    for owner in owners.as_array().into_iter().flatten() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{field}")).is_empty() {
                let path = format!("metadata.ownerReferences.{field}");
                let why = match field {
                    "apiVersion" => "version must not be empty",
                    "kind" => "must not be empty",
                    "name" => "must not be empty",
                    _ => "must not be empty",
                };
                errors.push(FieldError::invalid(path, &json!(""), why));
            }
        }
        if text(owner, "/apiVersion") == "v1" && text(owner, "/kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid("metadata.ownerReferences", owner, why));
        }
        if owner["controller"] == true {
            controllers.push(text(owner, "/kind"));
        }
    }
    if controllers.len() > 1 {
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for \
             {} and {}",
            controllers[0], controllers[1]
        );
        let shown: Vec<String> = owners.as_array().into_iter().flatten().map(go_owner).collect();
        errors.push(FieldError {
            field: "metadata.ownerReferences".into(),
            kind: FieldErrorKind::Invalid(format!("[{}]", shown.join(","))),
            detail: why,
        });
    }
    errors
}

/// An owner as Go writes it: in the order of its fields.
fn go_owner(owner: &Value) -> String {
    let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let there = fields.iter().filter(|field| !owner[**field].is_null());
    let members: Vec<String> =
        there.map(|field| format!("\"{field}\":{}", owner[*field])).collect();
    format!("{{{}}}", members.join(","))
}

fn finalizers(kind: &Kind, finalizers: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let all = || finalizers.as_array().into_iter().flatten().filter_map(Value::as_str);
    for (at, name) in all().enumerate() {
        let wrong = |why| FieldError::invalid("metadata.finalizers", &json!(name), why);
        errors.extend(names::qualified_name(name).into_iter().map(wrong));
        let is_known = name.contains('/') || STANDARD_FINALIZERS.contains(&name);
        let is_core = kind.types.is_none()
            && !EXTENSIONS.contains(&&*kind.group)
            && kind.group_resource() != resources::EVENTS;
        if is_core && !is_known {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            let path = format!("metadata.finalizers[{at}]");
            errors.push(FieldError::invalid(path, &json!(name), why));
        }
    }
    // Dependents cannot both stay and go first.
    if [deletion::ORPHAN, deletion::FOREGROUND].iter().all(|both| all().any(|name| name == *both)) {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid("metadata.finalizers", finalizers, why));
    }
    errors
}

/// Who is going cannot be held by anyone new.
fn new_finalizers(new: &Value, old: &Value) -> Vec<FieldError> {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return Vec::new();
    }
    let of = |value: &Value| -> Vec<String> {
        let all = value["metadata"]["finalizers"].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let before = of(old);
    let added: Vec<String> = of(new).into_iter().filter(|name| !before.contains(name)).collect();
    if added.is_empty() {
        return Vec::new();
    }
    let list: Vec<String> = added.iter().map(|name| format!("{name:?}")).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers \
         []string{{{}}}",
        list.join(", ")
    );
    vec![FieldError::forbidden("metadata.finalizers", why)]
}
