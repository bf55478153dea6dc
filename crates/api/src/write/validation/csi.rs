//! What volume drivers and attachers write: drivers, nodes, capacities, attachments, attributes.

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, Unique, driver_name, immutable};
use crate::{FieldError, names};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;
const NODE_ID_MAX: usize = 256;
const FS_GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
const MODES: [&str; 2] = ["Persistent", "Ephemeral"];
/// The shortest life of a token that may be asked for, in seconds.
const TOKEN_MIN: i64 = 600;
const TOKEN_MAX: i64 = 1 << 32;

/// A CSIDriver.
pub fn csi_driver(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        for name in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
            if !spec.child(name).is_set() {
                errors.required(&spec.child(name), "");
            }
        }
        errors.one_of_if_set(&spec.child("fsGroupPolicy"), &FS_GROUP_POLICIES);
        token_requests(errors, &spec.child("tokenRequests"));
        let modes = spec.child("volumeLifecycleModes");
        for mode in modes.items() {
            if !MODES.contains(&mode.text()) {
                errors.not_supported(&Field::at(mode.value, &modes.path), &MODES);
            }
        }
    })
}

fn token_requests(errors: &mut Errors, requests: &Field<'_>) {
    let mut audiences = Vec::new();
    for request in requests.items() {
        let (audience, seconds) = (request.child("audience"), request.child("expirationSeconds"));
        if audiences.contains(&audience.text()) {
            errors.duplicate(&audience);
        }
        audiences.push(audience.text());
        if !seconds.is_set() {
            continue;
        }
        if seconds.int() < TOKEN_MIN {
            errors.invalid(&seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds.int() > TOKEN_MAX {
            errors.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

/// A change of a CSIDriver.
pub fn csi_driver_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = |object| Field::root(object).child("spec");
        let (new, old) = (spec(new), spec(old));
        // Upstream calls the field so.
        let attach = Field { path: "spec.attachedRequired".into(), ..new.child("attachRequired") };
        immutable(errors, &attach, &old.child("attachRequired"));
        let modes = "volumeLifecycleModes";
        immutable(errors, &new.child(modes), &old.child(modes));
    })
}

/// A CSINode.
pub fn csi_node(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let drivers = Field::root(object).descend(&["spec", "drivers"]);
        let mut seen = Unique::new();
        for driver in drivers.items() {
            driver_name(errors, &driver.child("name"));
            node_id(errors, &driver.child("nodeID"));
            let count = driver.descend(&["allocatable", "count"]);
            errors.non_negative(&count);
            seen.check(errors, &driver.child("name"));
            let mut keys = Vec::new();
            for key in driver.child("topologyKeys").items() {
                let place = Field { path: driver.path.clone(), ..key };
                if place.is_empty() {
                    errors.required(&place, "");
                }
                if keys.contains(&place.text()) {
                    errors.duplicate(&place);
                }
                keys.push(place.text());
                parts::label_name(errors, &place);
            }
        }
    })
}

fn node_id(errors: &mut Errors, id: &Field<'_>) {
    if id.is_empty() {
        errors.required(id, "");
    }
    if id.text().len() > NODE_ID_MAX {
        errors.invalid(id, format!("must be {NODE_ID_MAX} characters or less"));
    }
}

/// A change of a CSINode: what a driver said of itself stays, until it is taken away.
pub fn csi_node_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let drivers = |object| Field::root(object).descend(&["spec", "drivers"]);
        let (new, old) = (drivers(new), drivers(old));
        for before in old.items() {
            let is_same =
                |driver: &Field<'_>| driver.child("name").text() == before.child("name").text();
            let Some(after) = new.items().find(is_same) else { continue };
            let place = Field { path: new.path.clone(), ..after };
            // How many volumes fit may change.
            let changed = ["nodeID", "topologyKeys"].into_iter().any(|name| {
                !crate::semantic::equal(place.child(name).value, before.child(name).value)
            });
            if changed {
                errors.invalid(&place, "field is immutable");
            }
        }
    })
}

/// A CSIStorageCapacity.
pub fn csi_storage_capacity(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        parts::selector(errors, &root.child("nodeTopology"));
        parts::dns_subdomain(errors, &root.child("storageClassName"));
        for name in ["capacity", "maximumVolumeSize"] {
            parts::non_negative_quantity(errors, &root.child(name));
        }
    })
}

/// A change of a CSIStorageCapacity: only the figures may change.
pub fn csi_storage_capacity_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        for name in ["nodeTopology", "storageClassName"] {
            immutable(errors, &Field::root(new).child(name), &Field::root(old).child(name));
        }
    })
}

/// A VolumeAttachment.
pub fn volume_attachment(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        driver_name(errors, &spec.child("attacher"));
        attachment_source(errors, &spec.child("source"));
        parts::dns_subdomain(errors, &spec.child("nodeName"));
        let status = root.child("status");
        attachment_metadata(errors, &status.child("attachmentMetadata"));
        for name in ["attachError", "detachError"] {
            let message = status.child(name).child("message");
            if message.text().len() > MESSAGE_MAX {
                errors.too_long(&message.path, MESSAGE_MAX);
            }
        }
    })
}

fn attachment_source(errors: &mut Errors, source: &Field<'_>) {
    let (name, inline) = (source.child("persistentVolumeName"), source.child("inlineVolumeSpec"));
    let which = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (name.is_set(), inline.is_set()) {
        (false, false) => errors.required(source, which),
        (true, true) => errors.forbidden(source, which),
        (true, false) => {
            if name.is_empty() {
                errors.required(&name, "must specify non empty persistentVolumeName");
            }
            parts::dns_subdomain(errors, &name);
        }
        (false, true) => {}
    }
}

fn attachment_metadata(errors: &mut Errors, metadata: &Field<'_>) {
    let bytes: usize =
        metadata.members().map(|(name, value)| name.len() + value.text().len()).sum();
    if bytes > PARAMETERS_BYTES {
        errors.too_long(&metadata.path, PARAMETERS_BYTES);
    }
}

/// A change of a VolumeAttachment.
pub fn volume_attachment_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        immutable(errors, &Field::root(new).child("spec"), &Field::root(old).child("spec"));
    })
}

/// A VolumeAttributesClass.
pub fn volume_attributes_class(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let driver = root.child("driverName");
        if driver.is_empty() {
            errors.required(&driver, "");
        } else {
            let lower = Value::String(driver.text().to_lowercase());
            let lower = Field { value: &lower, path: driver.path };
            errors.all_invalid(&lower, names::qualified_name(lower.text()));
        }
        let parameters = root.child("parameters");
        if parameters.is_empty() {
            errors.required(&parameters, "must contain at least one key/value pair");
        }
        if parameters.len() > PARAMETERS_MAX {
            errors.too_long(&parameters.path, PARAMETERS_MAX);
        }
        attachment_metadata(errors, &parameters);
    })
}

/// A change of a VolumeAttributesClass: nothing of it may change.
pub fn volume_attributes_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        for name in ["driverName", "parameters"] {
            let (new, old) = (Field::root(new).child(name), Field::root(old).child(name));
            if !crate::semantic::equal(new.value, old.value) {
                errors.forbidden(&new, format!("updates to {name} are forbidden."));
            }
        }
    })
}
