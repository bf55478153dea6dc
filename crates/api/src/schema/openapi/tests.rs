use std::sync::Arc;

use super::*;
use crate::kind::Scope;
use crate::schema::Schema;

fn document(group: &str) -> Value {
    let text = v3_group_version(&Kinds::builtin(), group, "v1").unwrap().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every `$ref` in `value`.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_string));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => (),
    }
}

#[test]
fn every_reference_of_every_document_leads_somewhere() {
    let kinds = Kinds::builtin();
    for group in kinds.groups() {
        for version in &group.versions {
            let text = v3_group_version(&kinds, &group.name, &version.name).unwrap().unwrap();
            let document: Value = serde_json::from_str(&text).unwrap();
            let mut found = BTreeSet::new();
            references(&document, &mut found);
            for target in found {
                assert!(document.pointer(&target[1..]).is_some(), "{}: {target}", group.name);
            }
        }
    }
    let document: Value = serde_json::from_str(&v2(&kinds, &[]).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for target in found {
        assert!(document.pointer(&target[1..]).is_some(), "{target}");
    }
}

#[test]
fn operations_have_identifiers_of_their_own() {
    let kinds = Kinds::builtin();
    let document: Value = serde_json::from_str(&v2(&kinds, &[]).unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method != "parameters" {
                let id = operation["operationId"].as_str().unwrap();
                assert!(seen.insert(id.to_string()), "{id} twice, also in {path}");
            }
        }
    }
    for id in [
        "readCoreV1NamespacedPodLog",
        "connectCoreV1PostNamespacedPodExec",
        "listRbacAuthorizationV1ClusterRole",
    ] {
        assert!(seen.contains(id), "{id}");
    }
}

#[test]
fn kubectl_finds_that_the_server_validates_and_takes_strategic_patches() {
    let apps = document("apps");
    let path = "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}";
    let patch = &apps["paths"][path]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "StatefulSet"})
    );
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
    let content = &patch["requestBody"]["content"];
    assert!(content.get("application/strategic-merge-patch+json").is_some());
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedStatefulSet");
}

#[test]
fn definitions_keep_what_apply_and_explain_read() {
    let apps = document("apps");
    let schemas = &apps["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["type"], "array");
    let set = &schemas["io.k8s.api.apps.v1.StatefulSet"];
    assert_eq!(set["x-kubernetes-group-version-kind"][0]["kind"], "StatefulSet");
    assert_eq!(set["type"], "object");
    assert!(set["properties"]["kind"].get("enum").is_none());
    let spec = &set["properties"]["spec"];
    assert_eq!(spec["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.apps.v1.StatefulSetSpec");
    assert!(spec["description"].as_str().unwrap().starts_with("Spec defines"));
}

#[test]
fn the_older_form_has_references_with_siblings() {
    let document: Value = serde_json::from_str(&v2(&Kinds::builtin(), &[]).unwrap()).unwrap();
    let definitions = &document["definitions"];
    let spec = &definitions["io.k8s.api.apps.v1.StatefulSet"]["properties"]["spec"];
    assert_eq!(spec["$ref"], "#/definitions/io.k8s.api.apps.v1.StatefulSetSpec");
    assert!(spec.get("description").is_some() && spec.get("allOf").is_none());
    assert_eq!(definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["type"], "string");
}

#[test]
fn a_custom_resource_has_a_document_and_changes_its_hash() {
    let boat = |about: &str| {
        let root = json!({"type": "object", "description": about, "properties": {"spec": {"type": "object"}}});
        let mut kind = Kind::new("example.com", "v1", "Boat", "boats", Scope::Namespaced);
        kind.schema = "com.example.v1.Boat".into();
        kind.types = Some(Arc::new(Schema::of_custom_resource(&kind.schema, &root).unwrap()));
        kind.definition = Some(Arc::new(root));
        Kinds::builtin().with([kind])
    };
    let kinds = boat("floats");
    let text = v3_group_version(&kinds, "example.com", "v1").unwrap().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let schema = &document["components"]["schemas"]["com.example.v1.Boat"];
    assert_eq!(schema["description"], "floats");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["group"], "example.com");
    let path = "/apis/example.com/v1/namespaces/{namespace}/boats/{name}";
    let content = &document["paths"][path]["patch"]["requestBody"]["content"];
    assert!(content.get("application/strategic-merge-patch+json").is_none());
    assert!(document["components"]["schemas"].get(DELETE_OPTIONS).is_some());

    let url = &v3_index(&kinds, &[])["paths"]["apis/example.com/v1"]["serverRelativeURL"];
    let hash = v3_hash(&kinds, "example.com", "v1").unwrap();
    assert_eq!(*url, format!("/openapi/v3/apis/example.com/v1?hash={hash}"));
    assert_ne!(hash, v3_hash(&boat("sinks"), "example.com", "v1").unwrap());
    assert!(v3_index(&kinds, &[])["paths"].get("api/v1").is_some());
}

#[test]
fn the_older_form_says_nothing_of_what_it_has_no_words_for() {
    let document = |root: Value| {
        let mut kind = Kind::new("example.com", "v1", "Boat", "boats", Scope::Namespaced);
        kind.schema = "com.example.v1.Boat".into();
        kind.types = Some(Arc::new(Schema::of_custom_resource(&kind.schema, &root).unwrap()));
        kind.definition = Some(Arc::new(root));
        let text = v2(&Kinds::builtin().with([kind]), &[]).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        document["definitions"]["com.example.v1.Boat"].clone()
    };
    let preserves = "x-kubernetes-preserve-unknown-fields";
    let boat = document(json!({"type": "object", preserves: true, "description": "floats",
        "properties": {"spec": {"type": "object"}}}));
    let kind = json!([{"group": "example.com", "version": "v1", "kind": "Boat"}]);
    assert_eq!(boat, json!({"type": "object", "x-kubernetes-group-version-kind": kind}));
    let boat = document(json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "required": ["crew", "sail"],
        "properties": {
            "crew": {"type": "object", "nullable": true, "properties": {"n": {"type": "integer"}}},
            "sail": {"type": "object", preserves: true, "properties": {"n": {"type": "integer"}}},
            "port": {"x-kubernetes-int-or-string": true, "type": "string"},
        },
    }}}));
    let spec = &boat["properties"]["spec"];
    assert_eq!(spec["required"], json!(["sail"]));
    assert_eq!(spec["properties"]["crew"], json!({}));
    assert_eq!(spec["properties"]["sail"], json!({preserves: true}));
    assert_eq!(spec["properties"]["port"], json!({"x-kubernetes-int-or-string": true}));
}

/// The bytes of field `number` of a protobuf message, each time it stands there.
fn fields(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    fn varint(rest: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = rest[0];
            *rest = &rest[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let (mut rest, mut found) = (message, Vec::new());
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        if tag & 7 == 0 {
            varint(&mut rest);
            continue;
        }
        let length = if tag & 7 == 1 { 8 } else { varint(&mut rest) as usize };
        if tag >> 3 == number {
            found.push(rest[..length].to_vec());
        }
        rest = &rest[length..];
    }
    found
}

fn field(message: &[u8], path: &[u64]) -> Vec<u8> {
    path.iter().fold(message.to_vec(), |message, number| fields(&message, *number).remove(0))
}

#[test]
fn version_2_in_protobuf_names_what_kubectl_looks_for() {
    let document = v2_protobuf(&Kinds::builtin(), &[]).unwrap();
    assert_eq!(field(&document, &[1]), b"2.0");
    let named = |list: Vec<Vec<u8>>, name: &str| {
        list.into_iter().find(|entry| field(entry, &[1]) == name.as_bytes()).unwrap()
    };
    // The patch operation of a Scale, with its kind and its query parameters.
    let path = "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}/scale";
    let path = named(fields(&field(&document, &[8]), 2), path);
    let patch = field(&path, &[2, 8]);
    let kind = named(fields(&patch, 13), "x-kubernetes-group-version-kind");
    let kind: Value = serde_json::from_slice(&field(&kind, &[2, 2])).unwrap();
    assert_eq!(kind, json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    let query = fields(&patch, 8).into_iter().map(|one| field(&one, &[1]));
    let query: Vec<_> = query.filter(|one| !fields(one, 2).is_empty()).collect();
    assert!(query.iter().any(|one| field(one, &[2, 3, 4]) == b"fieldValidation"));
    let scale = named(fields(&field(&document, &[9]), 1), "io.k8s.api.autoscaling.v1.Scale");
    assert_eq!(field(&scale, &[2, 22, 1]), b"object");
}
