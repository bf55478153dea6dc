//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::immutable;
use crate::{FieldError, names, token_secrets};

/// Bytes that the data of one object may have together.
const DATA_MAX: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// A ConfigMap, new or changed.
pub fn config_map(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let map = Field::root(object);
        let (data, binary) = (map.child("data"), map.child("binaryData"));
        let mut bytes = 0;
        for (name, value) in data.members() {
            key(errors, name, &value);
            if binary.value.get(name).is_some() {
                errors.invalid_as(&value, &name.into(), "duplicate of key present in binaryData");
            }
            bytes += value.text().len();
        }
        for (name, value) in binary.members() {
            key(errors, name, &value);
            bytes += decoded(&value).len();
        }
        if bytes > DATA_MAX {
            // The path of the whole object, as upstream writes it.
            errors.too_long("[]", DATA_MAX);
        }
    })
}

fn key(errors: &mut Errors, name: &str, field: &Field<'_>) {
    for sentence in names::config_map_key(name) {
        errors.invalid_as(field, &name.into(), &sentence);
    }
}

fn decoded(field: &Field<'_>) -> Vec<u8> {
    STANDARD.decode(field.text().replace(['\r', '\n'], "")).unwrap_or_default()
}

/// A change of a ConfigMap, on top of [`config_map`].
pub fn config_map_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| frozen(errors, new, old, &["data", "binaryData"]))
}

/// What is immutable stays so, and so do these fields.
fn frozen(errors: &mut Errors, new: &Value, old: &Value, fields: &[&str]) {
    let (new, old) = (Field::root(new), Field::root(old));
    if !old.child("immutable").is_true() {
        return;
    }
    if !new.child("immutable").is_true() {
        errors.forbidden(&new.child("immutable"), IMMUTABLE);
    }
    for field in fields {
        if new.child(field).value != old.child(field).value {
            errors.forbidden(&new.child(field), IMMUTABLE);
        }
    }
}

/// A Secret, new or changed.
pub fn secret(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let secret = Field::root(object);
        let data = secret.child("data");
        let mut bytes = 0;
        for (name, value) in data.members() {
            key(errors, name, &value);
            bytes += decoded(&value).len();
        }
        if bytes > DATA_MAX {
            errors.too_long(&data.path, DATA_MAX);
        }
        by_type(errors, &secret, &data);
    })
}

fn by_type(errors: &mut Errors, secret: &Field<'_>, data: &Field<'_>) {
    let mut demand = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !data.key(key).is_set()) {
            errors.required(&data.key(key), "");
        }
    };
    match secret.child("type").text() {
        token_secrets::TYPE => {
            let annotations = secret.descend(&["metadata", "annotations"]);
            let name = annotations.key(token_secrets::ACCOUNT_NAME);
            if name.is_empty() {
                errors.required(&name, "");
            }
        }
        "kubernetes.io/dockercfg" => docker(errors, &data.key(".dockercfg")),
        "kubernetes.io/dockerconfigjson" => docker(errors, &data.key(".dockerconfigjson")),
        "kubernetes.io/basic-auth" => {
            let keys = ["username", "password"];
            if keys.iter().all(|key| !data.key(key).is_set()) {
                demand(&keys);
            }
        }
        "kubernetes.io/ssh-auth" => {
            let key = data.key("ssh-privatekey");
            if key.is_empty() {
                errors.required(&key, "");
            }
        }
        "kubernetes.io/tls" => demand(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

fn docker(errors: &mut Errors, field: &Field<'_>) {
    if !field.is_set() {
        errors.required(field, "");
    } else if let Err(error) = serde_json::from_slice::<Value>(&decoded(field)) {
        let shown = Value::from("<secret contents redacted>");
        errors.invalid_as(field, &shown, &error.to_string());
    }
}

/// A change of a Secret, on top of [`secret`].
pub fn secret_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        immutable(errors, &Field::root(new).child("type"), &Field::root(old).child("type"));
        frozen(errors, new, old, &["data"]);
    })
}
