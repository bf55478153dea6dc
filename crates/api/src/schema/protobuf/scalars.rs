//! Messages that are no objects in JSON (times, quantities…), and which empty values mean nothing.

use base64::Engine;
use jiff::Timestamp;
use serde_json::Value;

use super::wire::{Field, Payload, Reader};
use super::{ProtobufError, malformed};

/// Fields that are pointers in upstream's types: there zero, false and the empty string are what
/// the client wrote. Elsewhere upstream's encoder writes them for an absent value.
const POINTERS: &[&str] = &[
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "allowVolumeExpansion",
    "apiGroup",
    "attachRequired",
    "automountServiceAccountToken",
    "averageUtilization",
    "backoffLimit",
    "backoffLimitPerIndex",
    "blockOwnerDeletion",
    "collisionCount",
    "completions",
    "controller",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "enableServiceLinks",
    "endPort",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "ingressClassName",
    "leaseDurationSeconds",
    "leaseTransitions",
    "maxFailedIndexes",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "podInfoOnMount",
    "priority",
    "privileged",
    "progressDeadlineSeconds",
    "readOnlyRootFilesystem",
    "replicas",
    "requiresRepublish",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxMount",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "stabilizationWindowSeconds",
    "startingDeadlineSeconds",
    "started",
    "storageCapacity",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
    "volumeAttributesClassName",
];

/// Whether `value` is what upstream's encoder writes for an absent field called `name`.
pub fn means_unset(name: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    empty && (value.is_null() || !POINTERS.contains(&name))
}

/// Bytes as JSON writes them.
pub fn base64(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

/// The JSON form of a message that has one of its own; `None` for an ordinary message.
pub fn special(message: &str, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
    let value = match message {
        "meta.v1.Time" => time(message, bytes, 0)?,
        "meta.v1.MicroTime" => time(message, bytes, 6)?,
        "meta.v1.Duration" => duration(first_integer(message, bytes)?).into(),
        "resource.Quantity" => first_text(message, bytes)?.into(),
        "intstr.IntOrString" => int_or_string(message, bytes)?,
        "runtime.RawExtension" | "meta.v1.FieldsV1" | "apiextensions.v1.Json" => {
            raw(message, bytes)?
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn time(message: &str, bytes: &[u8], digits: u8) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Reader::new(message, bytes) {
        match field? {
            Field { number: 1, payload } => seconds = payload.integer(message)?,
            Field { number: 2, payload } => nanos = payload.integer(message)?,
            Field { .. } => {}
        }
    }
    let nanos = i32::try_from(nanos).map_err(|_| malformed(message, "nanos out of range"))?;
    let nanos = if digits == 0 { 0 } else { nanos };
    let time = Timestamp::new(seconds, nanos).map_err(|_| malformed(message, "out of range"))?;
    Ok(format!("{time:.*}", usize::from(digits)).into())
}

/// As Go writes durations: `1h30m0s`, `1.5s`, `0s`.
fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let (seconds, fraction) = (total / 1_000_000_000, total % 1_000_000_000);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match fraction {
        0 => String::new(),
        fraction => format!(".{fraction:09}").trim_end_matches('0').to_string(),
    };
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}{fraction}s"),
        (0, minutes) => format!("{sign}{minutes}m{rest}{fraction}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}{fraction}s"),
    }
}

fn int_or_string(message: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in Reader::new(message, bytes) {
        match field? {
            Field { number: 1, payload } => is_text = payload.integer(message)? == 1,
            Field { number: 2, payload } => number = payload.integer(message)?,
            Field { number: 3, payload } => text = payload.text(message)?,
            Field { .. } => {}
        }
    }
    Ok(if is_text { Value::from(text) } else { Value::from(number) })
}

fn raw(message: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    match first(message, bytes)? {
        None => Ok(Value::Null),
        Some(payload) => serde_json::from_slice(payload.bytes(message)?)
            .map_err(|_| malformed(message, "embedded object is not JSON")),
    }
}

fn first_integer(message: &str, bytes: &[u8]) -> Result<i64, ProtobufError> {
    first(message, bytes)?.map_or(Ok(0), |payload| payload.integer(message))
}

fn first_text(message: &str, bytes: &[u8]) -> Result<String, ProtobufError> {
    first(message, bytes)?.map_or(Ok(String::new()), |payload| payload.text(message))
}

/// Field 1 of a message that has no other.
fn first<'a>(message: &'a str, bytes: &'a [u8]) -> Result<Option<Payload<'a>>, ProtobufError> {
    let mut found = None;
    for field in Reader::new(message, bytes) {
        if let Field { number: 1, payload } = field? {
            found = Some(payload);
        }
    }
    Ok(found)
}
