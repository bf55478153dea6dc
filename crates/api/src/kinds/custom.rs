//! What a CustomResourceDefinition comes to: rows of the same table as every other kind.

pub mod conversion;
pub mod names;
pub mod reading;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use self::conversion::Conversion;
use self::reading::Reading;
use crate::FieldError;
use crate::kind::{
    Form, Kind, Objects, ScalePaths, Scope, Strategy, Subresource, SubresourceRow, Text, Verb,
};
use crate::kinds::by_maturity;
use crate::print::{self, Column};
use crate::schema::{MalformedSchema, Schema};

/// Keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const TERMINATING: &str = "Terminating";

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
    Ok(all_rows(definition)?
        .into_iter()
        .filter_map(|(is_served, row)| is_served.then_some(row))
        .collect())
}

/// The row in whose form objects of `definition` are stored, when it serves no such version.
///
/// # Errors
/// When the schema of a version is none.
pub fn hidden_row(definition: &Value) -> Result<Option<Kind>, MalformedSchema> {
    let stored = storage_version(definition);
    let mut rows = all_rows(definition)?.into_iter();
    Ok(rows.find(|(is_served, row)| !is_served && row.version == stored).map(|(_, row)| row))
}

/// A row for each version, and whether it is served; none before its names were accepted.
fn all_rows(definition: &Value) -> Result<Vec<(bool, Kind)>, MalformedSchema> {
    if !names::is_established(definition) {
        return Ok(Vec::new());
    }
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let row = |version: &Value| Ok((version["served"] == true, row(definition, version)?));
    let mut rows: Vec<(bool, Kind)> = versions.map(row).collect::<Result<_, _>>()?;
    let types = rows.iter().filter_map(|(_, row)| {
        Some((row.version.to_string(), Arc::clone(row.types.as_ref()?), row.schema.to_string()))
    });
    let reading = Reading::of(definition, types);
    let conversion = Conversion::of(definition).map(Arc::new);
    for (_, row) in &mut rows {
        row.reading.clone_from(&reading);
        row.conversion.clone_from(&conversion);
    }
    Ok(rows)
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
        let form = Form::same(format!("{plural}.{group}"), format!("{group}/{stored}"));
        kind.objects = Objects::Stored(Some(form));
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

/// Where objects of `definition` have their number of replicas; `None` when they have no scale.
#[must_use]
pub fn scale_paths(definition: &Value) -> Option<ScalePaths> {
    let mut versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions.find_map(|version| {
        let given = &version["subresources"]["scale"];
        (version["served"] == true && given.is_object()).then(|| scale(given))
    })
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
    if let Some(Value::Object(service)) =
        spec.pointer_mut("/conversion/webhook/clientConfig/service")
        && service.get("port").is_none_or(Value::is_null)
    {
        service.insert("port".to_owned(), 443.into());
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
    let names: BTreeSet<&str> = versions.iter().map(|version| text(version, "/name")).collect();
    if names.len() < versions.len() {
        let why = "must contain unique version names";
        errors.push(FieldError::invalid("spec.versions", &spec["versions"], why));
    }
    for (index, version) in versions.iter().enumerate() {
        let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
        let root = &version["schema"]["openAPIV3Schema"];
        if !root.is_object() {
            errors.push(FieldError::required(field, ""));
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

/// Remembers in which versions objects may be stored.
pub fn note_storage(definition: &mut Value) {
    let stored = storage_version(definition).to_owned();
    let mut versions =
        definition["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    if !versions.iter().any(|version| *version == *stored) {
        versions.push(stored.into());
    }
    definition["status"]["storedVersions"] = versions.into();
}

/// Notes that a definition is to go: it is held until its objects are gone.
pub fn note_deletion(definition: &mut Value, now: &str) {
    let mut finalizers =
        definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.contains(&json!(CLEANUP)) {
        finalizers.push(json!(CLEANUP));
    }
    definition["metadata"]["finalizers"] = finalizers.into();
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin \
                   soon";
    names::set_condition(definition, TERMINATING, true, ("InstanceDeletionPending", message), now);
}

/// `definition` with word of how far the deletion of its objects is; `None` when it says so already.
pub fn progress(definition: &Value, is_done: bool, now: &str) -> Option<Value> {
    let why = match is_done {
        false => ("InstanceDeletionInProgress", "CustomResource deletion is in progress"),
        true if !names::is_established(definition) => {
            ("NeverEstablished", "resource was never established")
        }
        true => ("InstanceDeletionCompleted", "removed all instances"),
    };
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    let mut terminating = conditions.filter(|condition| condition["type"] == TERMINATING);
    if terminating.next().is_some_and(|condition| condition["reason"] == why.0) {
        return None;
    }
    let mut told = definition.clone();
    names::set_condition(&mut told, TERMINATING, !is_done, why, now);
    Some(told)
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
    fn a_definition_is_established_at_once_and_held_once_it_is_to_go() {
        let mut boats = accepted(boats());
        assert_eq!(boats["spec"]["names"]["listKind"], "BoatList");
        assert!(validate(&boats).is_empty());
        assert_eq!(boats["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(boats["status"]["conditions"][1]["type"], "Established");
        assert!(boats["metadata"]["finalizers"].is_null());
        note_deletion(&mut boats, "2026-01-02T00:00:00Z");
        assert_eq!(boats["metadata"]["finalizers"], json!([CLEANUP]));
        assert_eq!(boats["status"]["conditions"][2]["reason"], "InstanceDeletionPending");
        let told = progress(&boats, false, "2026-01-02T00:00:00Z").unwrap();
        assert_eq!(told["status"]["conditions"][2]["reason"], "InstanceDeletionInProgress");
        assert_eq!(progress(&told, false, "2026-01-03T00:00:00Z"), None);
        let told = progress(&told, true, "2026-01-03T00:00:00Z").unwrap();
        assert_eq!(told["status"]["conditions"][2]["status"], "False");
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
    fn an_old_object_has_the_defaults_of_the_version_that_it_is_stored_in() {
        let mut boats = accepted(boats());
        for (version, color) in [(0, "red"), (1, "blue")] {
            let root = &mut boats["spec"]["versions"][version]["schema"]["openAPIV3Schema"];
            root["properties"]["spec"]["properties"]["color"] =
                json!({"type": "string", "default": color});
        }
        let rows = rows(&boats).unwrap();
        for row in &rows {
            assert!(!row.shows_as_stored());
            let mut boat = json!({"apiVersion": "example.com/v1", "kind": "Boat", "spec": {}});
            row.from_storage(&mut boat);
            assert_eq!(boat["spec"]["color"], "red", "{}", row.version);
            assert_eq!(boat["apiVersion"], row.api_version());
        }
    }

    #[test]
    fn a_storage_version_that_is_not_served_is_known_all_the_same() {
        let mut boats = accepted(boats());
        assert!(hidden_row(&boats).unwrap().is_none());
        boats["spec"]["versions"][0]["served"] = false.into();
        assert_eq!(rows(&boats).unwrap().len(), 1);
        let hidden = hidden_row(&boats).unwrap().unwrap();
        assert_eq!((&*hidden.version, &*hidden.storage_resource()), ("v1", "boats.example.com"));
        let kinds = crate::Kinds::builtin().with(rows(&boats).unwrap()).keeping([hidden]);
        assert_eq!(kinds.stored("boats.example.com").unwrap().version, "v1");
        assert!(kinds.resource("example.com", "v1", "boats").is_none());
    }

    #[test]
    fn versions_have_names_of_their_own_and_webhooks_a_port() {
        let mut boats = accepted(boats());
        boats["spec"]["versions"][1]["name"] = "v1".into();
        boats["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
            "clientConfig": {"service": {"name": "converter", "namespace": "default"}}}});
        default(&mut boats);
        let errors: Vec<_> = validate(&boats).iter().map(|error| error.detail.clone()).collect();
        assert_eq!(errors, ["must contain unique version names"]);
        let port = boats.pointer("/spec/conversion/webhook/clientConfig/service/port");
        assert_eq!(port, Some(&json!(443)));
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
