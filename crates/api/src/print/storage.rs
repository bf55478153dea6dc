//! Cells of volumes, classes, drivers and devices.

use jiff::Timestamp;
use serde_json::Value;

use super::fields::{count, is_deleting, is_true, items, or, str_at, strings, text};

/// Access modes with their short names, in the order in which they are shown.
const MODES: &[(&str, &str)] = &[
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

pub(crate) fn config_keys(map: &Value, _: Timestamp) -> Value {
    (count(map, "/data") + count(map, "/binaryData")).to_string().into()
}

pub(crate) fn phase(volume: &Value, _: Timestamp) -> Value {
    if is_deleting(volume) { "Terminating".into() } else { text(volume, "/status/phase").into() }
}

pub(crate) fn volume_modes(volume: &Value, _: Timestamp) -> Value {
    access_modes(volume, "/spec/accessModes").into()
}

/// Empty until the claim has a volume.
pub(crate) fn claim_modes(claim: &Value, _: Timestamp) -> Value {
    if str_at(claim, "/spec/volumeName").is_empty() {
        return "".into();
    }
    access_modes(claim, "/status/accessModes").into()
}

/// Empty until the claim has a volume.
pub(crate) fn claim_capacity(claim: &Value, _: Timestamp) -> Value {
    if str_at(claim, "/spec/volumeName").is_empty() {
        return "".into();
    }
    text(claim, "/status/capacity/storage").into()
}

fn access_modes(object: &Value, pointer: &str) -> String {
    let has = |mode: &str| strings(object, pointer, "").any(|known| known == mode);
    let modes = MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short);
    modes.collect::<Vec<_>>().join(",")
}

/// `NAMESPACE/NAME`, or empty.
pub(crate) fn volume_claim(volume: &Value, _: Timestamp) -> Value {
    let claim = volume.pointer("/spec/claimRef").filter(|claim| !claim.is_null());
    claim
        .map(|claim| format!("{}/{}", str_at(claim, "/namespace"), str_at(claim, "/name")))
        .unwrap_or_default()
        .into()
}

/// The storage class of a volume or claim.
pub(crate) fn class(volume: &Value, _: Timestamp) -> Value {
    let annotation = &volume["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    annotation
        .as_str()
        .map_or_else(|| text(volume, "/spec/storageClassName"), str::to_string)
        .into()
}

/// The name, marked when it is the default.
pub(crate) fn class_name(class: &Value, _: Timestamp) -> Value {
    let annotations = &class["metadata"]["annotations"];
    let is_default = ["storageclass.kubernetes.io", "storageclass.beta.kubernetes.io"]
        .iter()
        .any(|domain| annotations[format!("{domain}/is-default-class")] == "true");
    let mark = if is_default { " (default)" } else { "" };
    format!("{}{mark}", str_at(class, "/metadata/name")).into()
}

pub(crate) fn token_audiences(driver: &Value, _: Timestamp) -> Value {
    if driver.pointer("/spec/tokenRequests").is_none_or(Value::is_null) {
        return "<unset>".into();
    }
    strings(driver, "/spec/tokenRequests", "audience").collect::<Vec<_>>().join(",").into()
}

pub(crate) fn driver_modes(driver: &Value, _: Timestamp) -> Value {
    let modes: Vec<&str> = strings(driver, "/spec/volumeLifecycleModes", "").collect();
    or(modes.join(","), "<none>").into()
}

pub(crate) fn resource_claim_state(claim: &Value, _: Timestamp) -> Value {
    let allocated = claim.pointer("/status/allocation").is_some_and(|value| !value.is_null());
    let reserved = !items(claim, "/status/reservedFor").is_empty();
    let deleted = is_deleting(claim);
    let states = [
        ("deleted", deleted),
        ("pending", !allocated && !deleted),
        ("allocated", allocated),
        ("reserved", allocated && reserved),
    ];
    let holding: Vec<&str> =
        states.iter().filter(|(_, holds)| *holds).map(|(state, _)| *state).collect();
    holding.join(",").into()
}

pub(crate) fn slice_node(slice: &Value, _: Timestamp) -> Value {
    if is_true(slice, "/spec/allNodes") {
        return "<all>".into();
    }
    let selected = slice.pointer("/spec/nodeSelector").is_some_and(|value| !value.is_null());
    or(text(slice, "/spec/nodeName"), if selected { "<some>" } else { "" }).into()
}
