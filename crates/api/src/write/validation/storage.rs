//! Claims, volumes and their classes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{
    self, differences, dns_subdomain, immutable, non_negative_quantity, positive_quantity, quantity,
};
use super::scheduling::node_selector;
use super::sources::{host_path, nfs};
use crate::{FieldError, semantic};

const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
/// What of a volume's specification is no source.
const VOLUME_FIELDS: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// A PersistentVolumeClaim, new or changed.
pub fn persistent_volume_claim(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| claim_spec(errors, &Field::root(object).child("spec")))
}

/// The specification of a claim, wherever it stands.
pub(super) fn claim_spec(errors: &mut Errors, spec: &Field<'_>) {
    let modes = spec.child("accessModes");
    if modes.is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    parts::selector(errors, &spec.child("selector"));
    access_modes(errors, &modes);
    let resources = spec.child("resources");
    let size = resources.child("requests").child("storage");
    let shown = Field::at(size.value, &format!("{}[storage]", resources.path));
    if size.is_set() {
        positive_quantity(errors, &shown);
    } else {
        errors.required(&shown, "");
    }
    for class in ["storageClassName", "volumeAttributesClassName"].map(|name| spec.child(name)) {
        if !class.is_empty() {
            dns_subdomain(errors, &class);
        }
    }
    errors.one_of_if_set(&spec.child("volumeMode"), &VOLUME_MODES);
    for source in ["dataSource", "dataSourceRef"].map(|name| spec.child(name)) {
        if source.is_set() {
            data_source(errors, &source);
        }
    }
}

fn access_modes(errors: &mut Errors, modes: &Field<'_>) {
    for mode in modes.items().filter(|mode| !ACCESS_MODES.contains(&mode.text())) {
        errors.not_supported(&Field::at(mode.value, &modes.path), &ACCESS_MODES);
    }
    let is_single = |mode: &Field<'_>| mode.text() == "ReadWriteOncePod";
    if modes.len() > 1 && modes.items().any(|mode| is_single(&mode)) {
        errors.forbidden(modes, "may not use ReadWriteOncePod with other access modes");
    }
}

fn data_source(errors: &mut Errors, source: &Field<'_>) {
    errors.require_text(&source.child("name"));
    let (kind, group) = (source.child("kind"), source.child("apiGroup"));
    errors.require_text(&kind);
    if !group.is_empty() {
        dns_subdomain(errors, &group);
    } else if kind.text() != "PersistentVolumeClaim" {
        errors.invalid_as(
            source,
            kind.value,
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        );
    }
}

/// A change of a PersistentVolumeClaim, on top of [`persistent_volume_claim`].
pub fn persistent_volume_claim_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (new, old) = (Field::root(new), Field::root(old));
        let bound = old.descend(&["status", "phase"]).text() == "Bound";
        let allowed = claim_with_allowed_changes(&new, &old, bound);
        let was = old.child("spec");
        if !semantic::equal(&allowed, was.value) {
            let shown = differences(was.value, &allowed);
            errors.forbidden(
                &new.child("spec"),
                format!("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{shown}"),
            );
        }
        claim_size(errors, &new, &old);
        // Upstream leaves out `spec` in this path.
        let mode = |claim| named(Field::root(claim).descend(&["spec", "volumeMode"]), "volumeMode");
        immutable(errors, &mode(new.value), &mode(old.value));
    })
}

/// The new specification with all that may change as it was.
fn claim_with_allowed_changes(new: &Field<'_>, old: &Field<'_>, bound: bool) -> Value {
    let mut allowed = new.child("spec").value.clone();
    let was = old.child("spec");
    let Value::Object(map) = &mut allowed else { return allowed };
    let mut keep = |field: &str| match was.value.get(field) {
        Some(old) => drop(map.insert(field.to_string(), old.clone())),
        None => drop(map.remove(field)),
    };
    if was.child("volumeName").is_empty() {
        keep("volumeName");
    }
    if !was.child("storageClassName").is_set() {
        keep("storageClassName");
    }
    if bound {
        keep("volumeAttributesClassName");
    }
    let size = was.descend(&["resources", "requests", "storage"]);
    if let (true, Some(place)) = (bound, allowed.pointer_mut("/resources/requests/storage")) {
        *place = size.value.clone();
    }
    allowed
}

fn claim_size(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    const SIZE: [&str; 4] = ["spec", "resources", "requests", "storage"];
    let (now, was) = (new.descend(&SIZE), old.descend(&SIZE));
    let capacity = quantity(&old.descend(&["status", "capacity", "storage"]));
    if quantity(&now) < quantity(&was) && quantity(&now) <= capacity {
        errors.forbidden(&now, "field can not be less than status.capacity");
    }
}

/// A PersistentVolume, new or changed.
pub fn persistent_volume(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let modes = spec.child("accessModes");
        errors.require_text(&modes);
        access_modes(errors, &modes);
        capacity(errors, &spec.child("capacity"));
        let policy = spec.child("persistentVolumeReclaimPolicy");
        if !policy.is_empty() {
            errors.one_of_if_set(&policy, &["Delete", "Recycle", "Retain"]);
        }
        let affinity = spec.child("nodeAffinity");
        let required = affinity.child("required");
        if affinity.is_set() && !required.is_set() {
            errors.required(&required, "must specify required node constraints");
        } else if required.is_set() {
            node_selector(errors, &required);
        }
        volume_source(errors, &spec);
        let class = spec.child("storageClassName");
        if !class.is_empty() {
            dns_subdomain(errors, &class);
        }
        errors.one_of_if_set(&spec.child("volumeMode"), &VOLUME_MODES);
    })
}

fn capacity(errors: &mut Errors, capacity: &Field<'_>) {
    errors.require_text(capacity);
    if !capacity.child("storage").is_set() || capacity.len() > 1 {
        let shown = Value::from(capacity.value.to_string());
        errors.not_supported(&Field::at(&shown, &capacity.path), &["storage"]);
    }
    for (_, amount) in capacity.members() {
        non_negative_quantity(errors, &amount);
        positive_quantity(errors, &amount);
    }
}

fn sources<'a>(spec: &Field<'a>) -> impl Iterator<Item = Field<'a>> {
    let spec = spec.clone();
    let names = spec.members().map(|(name, _)| name).filter(|name| !VOLUME_FIELDS.contains(name));
    names.map(move |name| spec.child(name)).filter(Field::is_set)
}

fn last_name<'a>(field: &'a Field<'_>) -> &'a str {
    field.path.rsplit('.').next().unwrap_or_default()
}

/// The field under another path.
fn named<'a>(field: Field<'a>, path: &str) -> Field<'a> {
    Field::at(field.value, path)
}

fn volume_source(errors: &mut Errors, spec: &Field<'_>) {
    for (index, source) in sources(spec).enumerate() {
        if index > 0 {
            errors.forbidden(&source, "may not specify more than 1 volume type");
            continue;
        }
        match last_name(&source) {
            "hostPath" => host_path(errors, &source),
            "nfs" => nfs(errors, &source),
            "csi" => {
                errors.require_text(&source.child("driver"));
                errors.require_text(&source.child("volumeHandle"));
            }
            "local" => local(errors, &source, spec),
            _ => {}
        }
    }
    if sources(spec).next().is_none() {
        errors.required(spec, "must specify a volume type");
    }
    let root = spec.descend(&["hostPath", "path"]).text().trim_end_matches('/').is_empty();
    let policy = spec.child("persistentVolumeReclaimPolicy");
    if spec.child("hostPath").is_set() && root && policy.text() == "Recycle" {
        errors.forbidden(&policy, "may not be 'recycle' for a hostPath mount of '/'");
    }
}

fn local(errors: &mut Errors, source: &Field<'_>, spec: &Field<'_>) {
    let path = source.child("path");
    if path.is_empty() {
        errors.required(&path, "");
    } else {
        parts::no_backsteps(errors, &path);
    }
    if !spec.descend(&["nodeAffinity", "required"]).is_set() {
        errors.required(&spec.child("nodeAffinity"), "Local volume requires node affinity");
    }
}

/// A change of a PersistentVolume, on top of [`persistent_volume`].
pub fn persistent_volume_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (new, old) = (Field::root(new).child("spec"), Field::root(old).child("spec"));
        let source = |spec: &Field<'_>| -> Value {
            sources(spec)
                .map(|field| (last_name(&field).to_string(), field.value.clone()))
                .collect()
        };
        let (now, was) = (source(&new), source(&old));
        if !semantic::equal(&now, &was) {
            let shown = differences(&was, &now);
            errors.forbidden(
                &new.child("persistentvolumesource"),
                format!("spec.persistentvolumesource is immutable after creation\n{shown}"),
            );
        }
        for name in ["volumeMode", "nodeAffinity"] {
            if name == "volumeMode" || old.child(name).is_set() {
                immutable(errors, &named(new.child(name), name), &named(old.child(name), name));
            }
        }
    })
}

/// A StorageClass, new or changed.
pub fn storage_class(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let class = Field::root(object);
        let provisioner = class.child("provisioner");
        if provisioner.is_empty() {
            errors.required(&provisioner, "");
        } else {
            let lower = provisioner.text().to_lowercase();
            errors.all_invalid(&provisioner, crate::names::qualified_name(&lower));
        }
        let parameters = class.child("parameters");
        if parameters.len() > 512 {
            errors.0.push(FieldError {
                field: "Provisioner Parameters exceeded max allowed".to_string(),
                kind: crate::FieldErrorKind::TooLong(512),
                detail: String::new(),
            });
        }
        let policy = class.child("reclaimPolicy");
        if !policy.is_empty() {
            errors.one_of_if_set(&policy, &["Delete", "Retain"]);
        }
        errors.one_of(&class.child("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
        topologies(errors, &class.child("allowedTopologies"));
    })
}

/// Where volumes may be: each term names something, and no two the same.
fn topologies(errors: &mut Errors, list: &Field<'_>) {
    let mut terms: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for term in list.items() {
        let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for expression in term.child("matchLabelExpressions").items() {
            let (key, values) = (expression.child("key"), expression.child("values"));
            if values.is_empty() {
                errors.required(&values, "");
            }
            let mut set = BTreeSet::new();
            for value in values.items() {
                if !set.insert(value.text()) {
                    errors.duplicate(&value);
                }
            }
            parts::label_name(errors, &key);
            if wanted.insert(key.text(), set).is_some() {
                errors.duplicate(&key);
            }
        }
        if wanted.is_empty() || terms.contains(&wanted) {
            errors.duplicate_as(&term.child("matchLabelExpressions").path, "");
        }
        terms.push(wanted);
    }
}

/// A change of a StorageClass, on top of [`storage_class`].
pub fn storage_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (new, old) = (Field::root(new), Field::root(old));
        for name in ["parameters", "provisioner", "reclaimPolicy"] {
            if new.child(name).value != old.child(name).value {
                errors.forbidden(&new.child(name), format!("updates to {name} are forbidden."));
            }
        }
        immutable(errors, &new.child("volumeBindingMode"), &old.child("volumeBindingMode"));
    })
}
