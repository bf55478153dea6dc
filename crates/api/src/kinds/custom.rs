//! What a CustomResourceDefinition comes to: rows of the same table as every other kind.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::FieldError;
use crate::kind::{Kind, Scope, Stored, Strategy, Subresource, SubresourceRow, Text, Verb};
use crate::print::{self, Column};
use crate::schema::{MalformedSchema, Schema};

/// Keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value) -> Cow<'static, [Text]> {
    let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    items.map(|item| Text::Owned(item.to_owned())).collect()
}

/// A row for each version that `definition` serves.
///
/// # Errors
/// When the schema of a version is none.
pub fn rows(definition: &Value) -> Result<Vec<Kind>, MalformedSchema> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions
        .filter(|version| version["served"] == true)
        .map(|version| row(definition, version))
        .collect()
}

/// The version in which objects of `definition` are stored.
fn storage_version(definition: &Value) -> &str {
    let mut versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let storing = versions.find(|version| version["storage"] == true);
    storing.map_or("", |version| text(version, "/name"))
}

fn row(definition: &Value, version: &Value) -> Result<Kind, MalformedSchema> {
    let owned = |pointer: &str| text(definition, pointer).to_owned();
    let (group, name) = (owned("/spec/group"), text(version, "/name").to_owned());
    let scope = match text(definition, "/spec/scope") {
        "Cluster" => Scope::Cluster,
        _ => Scope::Namespaced,
    };
    let plural = owned("/spec/names/plural");
    let mut kind =
        Kind::new(group.clone(), name.clone(), owned("/spec/names/kind"), plural.clone(), scope);
    let names = &definition["spec"]["names"];
    if !text(names, "/singular").is_empty() {
        kind.singular = owned("/spec/names/singular").into();
    }
    kind.short_names = texts(&names["shortNames"]);
    kind.categories = texts(&names["categories"]);
    kind.subresources = subresources(&version["subresources"]).into();
    let stored = storage_version(definition);
    if stored != name {
        kind.storage = Some(Stored::same(format!("{plural}.{group}"), format!("{group}/{stored}")));
    }
    let domain: Vec<&str> = group.rsplit('.').collect();
    let schema = format!("{}.{name}.{}", domain.join("."), kind.kind);
    let root = &version["schema"]["openAPIV3Schema"];
    kind.types = Some(Arc::new(Schema::of_custom_resource(&schema, root)?));
    kind.schema = schema.into();
    kind.definition = Some(Arc::new(root.clone()));
    kind.selectable = selectable(&version["selectableFields"]);
    kind.columns = columns(&version["additionalPrinterColumns"]).into();
    kind.strategy =
        Strategy { has_generation: true, unconditional_update: false, ..Strategy::DEFAULT };
    Ok(kind)
}

fn subresources(given: &Value) -> Vec<SubresourceRow> {
    const VERBS: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
    let scale = ("autoscaling".into(), "v1".into(), "Scale".into());
    [(Subresource::Scale, Some(scale)), (Subresource::Status, None)]
        .into_iter()
        .filter(|(name, _)| given.get(name.as_str()).is_some_and(Value::is_object))
        .map(|(name, body)| SubresourceRow { name, body, verbs: VERBS.into() })
        .collect()
}

/// `.spec.color` is selected as `spec.color`.
fn selectable(fields: &Value) -> Vec<(String, String)> {
    let paths = fields.as_array().into_iter().flatten().map(|field| text(field, "/jsonPath"));
    paths
        .map(|path| {
            let label = path.trim_start_matches('.').to_owned();
            let pointer = format!("/{}", label.replace('.', "/"));
            (label, pointer)
        })
        .collect()
}

fn columns(given: &Value) -> Vec<Column> {
    let mut columns = vec![print::NAME];
    match given.as_array().map(Vec::as_slice) {
        None | Some([]) => columns.push(print::AGE),
        Some(given) => columns.extend(given.iter().map(print::custom_column)),
    }
    columns
}

/// Fills in what the author of a definition left out.
pub fn default(definition: &mut Value) {
    let kind = text(definition, "/spec/names/kind").to_owned();
    let spec = &mut definition["spec"];
    if text(spec, "/names/singular").is_empty() {
        spec["names"]["singular"] = kind.to_lowercase().into();
    }
    if text(spec, "/names/listKind").is_empty() {
        spec["names"]["listKind"] = format!("{kind}List").into();
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
}

/// What is wrong with a definition.
pub fn validate(definition: &Value) -> Vec<FieldError> {
    let spec = &definition["spec"];
    let name = text(definition, "/metadata/name");
    let wanted = format!("{}.{}", text(spec, "/names/plural"), text(spec, "/group"));
    let mut errors = Vec::new();
    if name != wanted {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &json!(name), why));
    }
    for field in ["/group", "/names/plural", "/names/kind"] {
        if text(spec, field).is_empty() {
            errors.push(FieldError::required(format!("spec{}", field.replace('/', ".")), ""));
        }
    }
    if !["Cluster", "Namespaced"].contains(&text(spec, "/scope")) {
        let scopes = &["Cluster", "Namespaced"];
        errors.push(FieldError::not_supported("spec.scope", text(spec, "/scope"), scopes));
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &json!(null), why));
    }
    for (index, version) in versions.iter().enumerate() {
        let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
        let root = &version["schema"]["openAPIV3Schema"];
        if !root.is_object() {
            errors.push(FieldError::required(field, "schemas are required"));
        } else if let Err(error) = row(definition, version) {
            errors.push(FieldError::invalid(field, &json!(null), error.to_string()));
        }
    }
    errors
}

/// The status of a definition that is served from the moment it is stored: there is nobody who
/// would have to look at it first.
pub fn accept(definition: &mut Value) {
    let since = definition["metadata"]["creationTimestamp"].clone();
    let condition = |ty: &str, reason: &str, message: &str| {
        json!({
            "type": ty,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
        })
    };
    let conditions = json!([
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]);
    let stored = storage_version(definition).to_owned();
    let mut versions =
        definition["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    if !versions.iter().any(|version| *version == *stored) {
        versions.push(stored.into());
    }
    let names = definition["spec"]["names"].clone();
    if definition["status"]["conditions"].as_array().is_none_or(Vec::is_empty) {
        definition["status"]["conditions"] = conditions;
    }
    definition["status"]["acceptedNames"] = names;
    definition["status"]["storedVersions"] = versions.into();
    let finalizers = definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let going = !definition["metadata"]["deletionTimestamp"].is_null();
    if !going && !finalizers.contains(&json!(CLEANUP)) {
        let all: Vec<Value> = finalizers.into_iter().chain([json!(CLEANUP)]).collect();
        definition["metadata"]["finalizers"] = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boats() -> Value {
        let schema = |field: &str| {
            json!({"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {field: {"type": "integer"}}},
            }}})
        };
        json!({
            "metadata": {"name": "boats.example.com", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "boats", "kind": "Boat", "shortNames": ["bt"]},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": schema("length"),
                     "subresources": {"status": {}},
                     "additionalPrinterColumns": [
                        {"name": "Length", "type": "integer", "jsonPath": ".spec.length"}]},
                    {"name": "v1beta1", "served": true, "storage": false, "schema": schema("len")},
                    {"name": "v1alpha1", "served": false, "storage": false, "schema": schema("l")},
                ],
            },
        })
    }

    #[test]
    fn every_served_version_is_a_row_and_all_share_one_store() {
        let rows = rows(&boats()).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].schema, "com.example.v1.Boat");
        assert!(rows[0].subresource(Subresource::Status).is_some());
        assert_eq!(rows[1].storage_resource(), "boats.example.com");
        assert_eq!(rows[1].storage_api_version(), "example.com/v1");
        let names: Vec<_> = rows[0].columns.iter().map(|column| column.name.as_ref()).collect();
        assert_eq!(names, ["Name", "Length"]);
        let ages: Vec<_> = rows[1].columns.iter().map(|column| column.name.as_ref()).collect();
        assert_eq!(ages, ["Name", "Age"]);
    }

    #[test]
    fn a_definition_is_established_at_once_and_held_until_its_objects_are_gone() {
        let mut boats = boats();
        default(&mut boats);
        accept(&mut boats);
        assert_eq!(boats["spec"]["names"]["listKind"], "BoatList");
        assert!(validate(&boats).is_empty());
        assert_eq!(boats["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(boats["status"]["conditions"][1]["type"], "Established");
        assert_eq!(boats["metadata"]["finalizers"], json!([CLEANUP]));
    }
}
