//! What a CustomResourceDefinition comes to: rows of the same table as every other kind.

pub mod names;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::FieldError;
use crate::kind::{
    Kind, ScalePaths, Scope, Stored, Strategy, Subresource, SubresourceRow, Text, Verb,
};
use crate::kinds::by_maturity;
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

/// A row for each version that `definition` serves; none before its names were accepted.
///
/// # Errors
/// When the schema of a version is none.
pub fn rows(definition: &Value) -> Result<Vec<Kind>, MalformedSchema> {
    if !names::is_established(definition) {
        return Ok(Vec::new());
    }
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
    // A rename that is not accepted leaves the names that were.
    let names = match names::is_established(definition) {
        true => &definition["status"]["acceptedNames"],
        false => &definition["spec"]["names"],
    };
    let plural = owned("/spec/names/plural");
    let named = text(names, "/kind").to_owned();
    let mut kind = Kind::new(group.clone(), name.clone(), named, plural.clone(), scope);
    if !text(names, "/singular").is_empty() {
        kind.singular = text(names, "/singular").to_owned().into();
    }
    kind.short_names = texts(&names["shortNames"]);
    kind.categories = texts(&names["categories"]);
    kind.subresources = subresources(&version["subresources"]).into();
    kind.scale = scale(&version["subresources"]["scale"]);
    kind.deprecation = deprecation(definition, version).map(Text::Owned);
    let stored = storage_version(definition);
    // Objects keep the version in which they were written when another becomes that of storage.
    let is_mixed = definition["status"]["storedVersions"].as_array().is_some_and(|v| v.len() > 1);
    if stored != name || is_mixed {
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

/// `.spec.x.replicas` as `/spec/x/replicas`.
fn scale(given: &Value) -> ScalePaths {
    let path = |field: &str| text(given, field).replace('.', "/");
    let selector = Some(path("/labelSelectorPath")).filter(|path| !path.is_empty());
    ScalePaths {
        replicas: path("/specReplicasPath").into(),
        observed: path("/statusReplicasPath").into(),
        selector: selector.map(Text::Owned),
    }
}

/// What clients of a deprecated version are told: what its author says, or which to use instead.
fn deprecation(definition: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(warning) = version["deprecationWarning"].as_str() {
        return Some(warning.to_owned());
    }
    let (group, name) = (text(definition, "/spec/group"), text(version, "/name"));
    let kind = text(definition, "/spec/names/kind");
    let all = definition["spec"]["versions"].as_array().into_iter().flatten();
    let newer = all
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .map(|other| text(other, "/name"))
        .filter(|other| by_maturity(other, name) == Ordering::Less)
        .min_by(|a, b| by_maturity(a, b));
    let instead = newer.map(|newer| format!("; use {group}/{newer} {kind}")).unwrap_or_default();
    Some(format!("{group}/{name} {kind} is deprecated{instead}"))
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

/// Whether a change keeps what may not change.
pub fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let once_established = ["/spec/scope", "/spec/names/kind"];
    let always = ["/spec/group", "/spec/names/plural"];
    let established = once_established.into_iter().filter(|_| names::is_established(old));
    established
        .chain(always)
        .filter(|pointer| text(new, pointer) != text(old, pointer))
        .map(|pointer| {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            FieldError::invalid(field, &json!(text(new, pointer)), "field is immutable")
        })
        .collect()
}

/// What a new definition starts with, whatever its client says of its status.
pub fn prepare(definition: &mut Value) {
    definition["status"] = json!({"conditions": []});
    note_storage(definition);
}

/// Remembers in which versions objects may be stored, and that a definition is held until its objects
/// are gone.
pub fn note_storage(definition: &mut Value) {
    let stored = storage_version(definition).to_owned();
    let mut versions =
        definition["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    if !versions.iter().any(|version| *version == *stored) {
        versions.push(stored.into());
    }
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

    fn accepted(mut definition: Value) -> Value {
        default(&mut definition);
        prepare(&mut definition);
        names::accept(&mut definition, &names::Taken::default(), "2026-01-01T00:00:00Z");
        definition
    }

    #[test]
    fn every_served_version_is_a_row_and_all_share_one_store() {
        assert!(rows(&boats()).unwrap().is_empty(), "nothing is served before its names are");
        let rows = rows(&accepted(boats())).unwrap();
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
        let boats = accepted(boats());
        assert_eq!(boats["spec"]["names"]["listKind"], "BoatList");
        assert!(validate(&boats).is_empty());
        assert_eq!(boats["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(boats["status"]["conditions"][1]["type"], "Established");
        assert_eq!(boats["metadata"]["finalizers"], json!([CLEANUP]));
    }

    #[test]
    fn objects_of_a_former_storage_version_are_shown_in_the_row_s_own() {
        let mut boats = accepted(boats());
        boats["spec"]["versions"][0]["storage"] = false.into();
        boats["spec"]["versions"][1]["storage"] = true.into();
        note_storage(&mut boats);
        assert_eq!(boats["status"]["storedVersions"], json!(["v1", "v1beta1"]));
        let rows = rows(&boats).unwrap();
        for row in &rows {
            let mut old = json!({"apiVersion": "example.com/v1", "kind": "Boat"});
            row.from_storage(&mut old);
            assert_eq!(old["apiVersion"], row.api_version(), "{}", row.version);
            assert_eq!(row.storage_api_version(), "example.com/v1beta1");
        }
    }

    #[test]
    fn what_may_not_change_is_told() {
        let boats = accepted(boats());
        let mut changed = boats.clone();
        changed["spec"]["scope"] = "Cluster".into();
        changed["spec"]["names"]["kind"] = "Ship".into();
        let errors: Vec<_> =
            validate_update(&changed, &boats).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "spec.scope: Invalid value: \"Cluster\": field is immutable",
                "spec.names.kind: Invalid value: \"Ship\": field is immutable",
            ]
        );
        assert!(validate_update(&boats, &boats).is_empty());
    }

    #[test]
    fn clients_of_a_deprecated_version_are_told_which_to_use() {
        let mut boats = accepted(boats());
        boats["spec"]["versions"][1]["deprecated"] = true.into();
        let told = |boats: &Value| rows(boats).unwrap()[1].deprecation.clone();
        let expected = "example.com/v1beta1 Boat is deprecated; use example.com/v1 Boat";
        assert_eq!(told(&boats).as_deref(), Some(expected));
        boats["spec"]["versions"][0]["deprecated"] = true.into();
        assert_eq!(told(&boats).as_deref(), Some("example.com/v1beta1 Boat is deprecated"));
        boats["spec"]["versions"][1]["deprecationWarning"] = "sail on".into();
        assert_eq!(told(&boats).as_deref(), Some("sail on"));
    }
}
