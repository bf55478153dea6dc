//! Packs the Kubernetes API's definitions (see `scripts/fetch-schema`) for the binary.
//!
//! What is fetched is JSON Schema made from upstream's OpenAPI; what is packed is upstream's
//! OpenAPI v3 form again, one JSON map from name to definition, deflated. Descriptions and
//! extensions are kept; what the conversion added is taken away, what it lost is put back.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Map, Value, json};

const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/// Defaults that upstream's OpenAPI declares and the fetched form lacks, without those of a
/// zero value. Apply needs the protocols: they are part of the keys of lists.
const DEFAULTS: &[(&str, &[&str], &str, &str)] = &[
    ("io.k8s.api.core.v1.", &["ContainerPort", "ServicePort"], "protocol", "TCP"),
    ("io.k8s.api.core.v1.", &["AzureDiskVolumeSource"], "cachingMode", "ReadWrite"),
    ("io.k8s.api.core.v1.", &["AzureDiskVolumeSource"], "fsType", "ext4"),
    ("io.k8s.api.core.v1.", &["AzureDiskVolumeSource"], "kind", "Shared"),
    ("io.k8s.api.core.v1.", ISCSI, "iscsiInterface", "default"),
    ("io.k8s.api.core.v1.", RBD, "keyring", "/etc/ceph/keyring"),
    ("io.k8s.api.core.v1.", RBD, "pool", "rbd"),
    ("io.k8s.api.core.v1.", RBD, "user", "admin"),
    ("io.k8s.api.core.v1.", SCALE_IO, "fsType", "xfs"),
    ("io.k8s.api.core.v1.", SCALE_IO, "storageMode", "ThinProvisioned"),
    ("io.k8s.api.resource.v1.", &["DeviceToleration"], "operator", "Equal"),
];
const ISCSI: &[&str] = &["ISCSIPersistentVolumeSource", "ISCSIVolumeSource"];
const RBD: &[&str] = &["RBDPersistentVolumeSource", "RBDVolumeSource"];
const SCALE_IO: &[&str] = &["ScaleIOPersistentVolumeSource", "ScaleIOVolumeSource"];

/// Definitions of a group that is no part of upstream's API server.
const METRICS: &str = include_str!("src/schema/metrics.json");

fn main() {
    println!("cargo::rerun-if-env-changed=CORACLE_SCHEMA");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/schema/metrics.json");
    let source = source();
    println!("cargo::rerun-if-changed={}", source.display());
    if let Err(error) = pack(&source) {
        println!(
            "cargo::error=the Kubernetes schema is missing or unreadable ({}: {error}): run `make schema` \
             (scripts/fetch-schema), or name the file in CORACLE_SCHEMA",
            source.display()
        );
    }
}

/// `_definitions.json`: where CORACLE_SCHEMA says, else in the workspace's cache.
fn source() -> PathBuf {
    let cached =
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/schema/_definitions.json");
    env::var_os("CORACLE_SCHEMA").map_or_else(cached, PathBuf::from)
}

fn pack(source: &Path) -> io::Result<()> {
    let text = fs::read(source)?;
    let mut document: Value = serde_json::from_slice(&text)?;
    let Some(definitions) = document.get_mut("$defs").and_then(Value::as_object_mut) else {
        return Err(io::Error::other("no $defs in it"));
    };
    drop_unserved(definitions);
    definitions.values_mut().for_each(to_openapi);
    restore(definitions);
    definitions.extend(serde_json::from_str::<Map<String, Value>>(METRICS)?);
    let folder = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo gave no OUT_DIR"))?;
    let target = fs::File::create(Path::new(&folder).join("definitions.json.deflate"))?;
    let mut packed = DeflateEncoder::new(target, Compression::best());
    serde_json::to_writer(&mut packed, definitions)?;
    packed.finish()?.flush()
}

/// No alpha or beta version is served; their definitions go, but for those that others refer to.
fn drop_unserved(definitions: &mut Map<String, Value>) {
    let mut kept = BTreeSet::new();
    let mut wanted: Vec<String> =
        definitions.keys().filter(|name| is_served(name)).cloned().collect();
    while let Some(name) = wanted.pop() {
        if let Some(definition) = definitions.get(&name)
            && kept.insert(name)
        {
            let text = definition.to_string();
            let targets = text.split("\"#/$defs/").skip(1);
            wanted.extend(targets.filter_map(|rest| rest.split('"').next()).map(str::to_string));
        }
    }
    definitions.retain(|name, _| kept.contains(name));
}

fn is_served(name: &str) -> bool {
    !name.split('.').any(|part| part.starts_with("v1alpha") || part.starts_with("v1beta"))
}

/// Turns one schema and those inside it back from JSON Schema.
fn to_openapi(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = map.get("type") {
        let first = types.first().cloned().unwrap_or_default();
        map.insert("type".into(), first);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for (name, property) in properties {
            if let ("apiVersion" | "kind", Some(property)) =
                (name.as_str(), property.as_object_mut())
            {
                property.remove("enum");
            }
            to_openapi(property);
        }
    }
    for inner in ["items", "additionalProperties"] {
        map.get_mut(inner).into_iter().for_each(to_openapi);
    }
    wrap_reference(map);
}

/// In OpenAPI v3 a reference has no siblings: beside a description it stands in `allOf`.
fn wrap_reference(map: &mut Map<String, Value>) {
    let Some(Value::String(target)) = map.remove("$ref") else { return };
    let target = target.replace("#/$defs/", "#/components/schemas/");
    if map.is_empty() {
        map.insert("$ref".into(), target.into());
    } else {
        map.insert("allOf".into(), json!([{ "$ref": target }]));
    }
}

fn restore(definitions: &mut Map<String, Value>) {
    definitions.insert(
        INT_OR_STRING.into(),
        json!({
            "description": "IntOrString is a number or a string.",
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
        }),
    );
    definitions.insert(
        QUANTITY.into(),
        json!({
            "description": "Quantity is a number with a suffix: 1, 1500m, 64Mi, 2G, 1e3.",
            "oneOf": [{"type": "string"}, {"type": "number"}],
        }),
    );
    for (package, types, field, value) in DEFAULTS {
        for kind in *types {
            let definition = definitions.get_mut(&format!("{package}{kind}"));
            if let Some(field) =
                definition.and_then(|d| d.pointer_mut(&format!("/properties/{field}")))
            {
                field["default"] = json!(value);
            }
        }
    }
}
