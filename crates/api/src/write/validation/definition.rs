//! The schema, names, columns and conversion of a CustomResourceDefinition. Rules in CEL are the crate
//! `cel`'s.

use serde_json::Value;

use super::cursor::{Errors, Field};
use crate::{FieldError, custom_validation, names};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const APPROVAL: &str = "api-approved.kubernetes.io";

/// A CustomResourceDefinition, beyond what its rows need to be made.
pub fn custom_resource_definition(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        group(errors, &root);
        let versions: Vec<Field<'_>> = spec.child("versions").items().collect();
        for version in &versions {
            let name = version.child("name");
            errors.all_invalid(&name, names::dns1035_label(name.text()));
        }
        if let [only] = versions.as_slice() {
            // Of a single version upstream speaks as if it stood in the spec itself.
            let name = Field { path: "spec.version".to_string(), ..only.child("name") };
            if !name.is_empty() {
                errors.all_invalid(&name, names::dns1035_label(name.text()));
            }
            check_version(errors, &Field { path: spec.path.clone(), ..only.clone() }, "validation");
        } else {
            versions.iter().for_each(|version| check_version(errors, version, "schema"));
        }
        check_names(errors, &spec.child("names"));
        conversion(errors, &spec.child("conversion"));
        let preserve = spec.child("preserveUnknownFields");
        if preserve.is_true() {
            let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
            errors.invalid(&preserve, why);
        }
    })
}

fn group(errors: &mut Errors, root: &Field<'_>) {
    let group = root.descend(&["spec", "group"]);
    if group.is_empty() {
        return;
    }
    let wrong = names::dns1123_subdomain(group.text());
    if !wrong.is_empty() {
        errors.all_invalid(&group, wrong);
    } else if !group.text().contains('.') {
        errors.invalid(&group, "should be a domain with at least one dot");
    }
    let is_protected = ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group.text().strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let approval = root.descend(&["metadata", "annotations"]).key(APPROVAL);
    if is_protected && approval.is_empty() {
        let why = format!(
            "protected groups must have approval annotation {APPROVAL:?}, see https://github.com/kubernetes/enhancements/pull/1111"
        );
        errors.required(&approval, &why);
    }
}

fn check_version(errors: &mut Errors, version: &Field<'_>, schema: &str) {
    let root = version.child("schema").child("openAPIV3Schema");
    let place = Field { path: format!("{}.{schema}.openAPIV3Schema", version.path), ..root };
    if place.is_set() {
        let has_status = version.descend(&["subresources", "status"]).is_set();
        root_schema(errors, &place, has_status);
    }
    let scale = version.descend(&["subresources", "scale"]);
    if scale.is_set() {
        for name in ["specReplicasPath", "statusReplicasPath"] {
            json_path(errors, &scale.child(name));
        }
        let selector = scale.child("labelSelectorPath");
        if !selector.is_empty() {
            json_path(errors, &selector);
        }
    }
    for column in version.child("additionalPrinterColumns").items() {
        check_column(errors, &column);
    }
    for selectable in version.child("selectableFields").items() {
        let path = selectable.child("jsonPath");
        if path.is_empty() {
            errors.required(&path, "");
        } else if !leads_to_field(place.value, path.text()) {
            errors.invalid(&path, "is an invalid path: does not refer to a valid field");
        }
    }
}

/// Whether `.spec.color` is a scalar field of a schema.
fn leads_to_field(schema: &Value, path: &str) -> bool {
    let Some(path) = path.strip_prefix('.') else { return false };
    let mut place = Some(schema);
    for part in path.split('.') {
        place = place.and_then(|schema| schema.get("properties")).and_then(|all| all.get(part));
    }
    let ty = place.and_then(|schema| schema.get("type")).and_then(Value::as_str);
    matches!(ty, Some("string" | "integer" | "boolean"))
}

fn json_path(errors: &mut Errors, path: &Field<'_>) {
    if path.is_empty() {
        errors.required(path, "");
    } else if !path.text().starts_with('.') {
        errors.invalid(path, "must be a simple json path starting with .");
    }
}

fn check_column(errors: &mut Errors, column: &Field<'_>) {
    errors.require_text(&column.child("name"));
    let kind = column.child("type");
    let why = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        errors.required(&kind, &why);
    } else if !COLUMN_TYPES.contains(&kind.text()) {
        errors.invalid(&kind, why);
    }
    let path = Field { path: format!("{}.JSONPath", column.path), ..column.child("jsonPath") };
    json_path(errors, &path);
}

fn check_names(errors: &mut Errors, given: &Field<'_>) {
    for name in ["plural", "singular"] {
        let name = given.child(name);
        if !name.is_empty() {
            errors.all_invalid(&name, names::dns1035_label(name.text()));
        }
    }
    for name in ["kind", "listKind"] {
        let name = given.child(name);
        let wrong = names::dns1035_label(&name.text().to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let why = "may have mixed case, but should otherwise match:";
            errors.invalid(&name, format!("{why} {}", wrong.join(",")));
        }
    }
    let (kind, list) = (given.child("kind"), given.child("listKind"));
    if !kind.is_empty() && kind.text() == list.text() {
        errors.invalid(&list, "kind and listKind may not be the same");
    }
    for names in ["shortNames", "categories"] {
        for name in given.child(names).items() {
            errors.all_invalid(&name, names::dns1035_label(name.text()));
        }
    }
}

fn conversion(errors: &mut Errors, conversion: &Field<'_>) {
    if !conversion.is_set() {
        return;
    }
    let strategy = conversion.child("strategy");
    errors.one_of(&strategy, &["None", "Webhook"]);
    if strategy.text() != "Webhook" {
        return;
    }
    let webhook = conversion.child("webhook");
    if !webhook.child("clientConfig").is_set() {
        let path = format!("{}.webhookClientConfig", conversion.path);
        let missing = Field { path, ..webhook.child("clientConfig") };
        errors.required(&missing, "required when strategy is set to Webhook");
    }
    if webhook.child("conversionReviewVersions").is_empty() {
        let path = format!("{}.conversionReviewVersions", conversion.path);
        errors.required(&Field { path, ..webhook.child("conversionReviewVersions") }, "");
    }
}

/// The schema of whole objects.
fn root_schema(errors: &mut Errors, schema: &Field<'_>, has_status: bool) {
    let kind = schema.child("type");
    if kind.is_empty() {
        errors.required(&kind, "must not be empty at the root");
    } else if kind.text() != "object" {
        if has_status {
            let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            errors.invalid(&kind, why);
        }
        errors.invalid(&kind, "must be object at the root");
    }
    let metadata = schema.child("properties").key("metadata");
    let extra = metadata
        .child("properties")
        .members()
        .any(|(name, _)| !["name", "generateName"].contains(&name));
    if extra {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(&metadata, why);
    }
    for name in ["apiVersion", "kind"] {
        let kind = schema.child("properties").key(name).child("type");
        if !kind.is_empty() && kind.text() != "string" {
            errors.invalid(&kind, "must be string");
        }
    }
    check_schema(errors, schema);
}

/// What every part of a schema must be for its objects to have one shape.
fn check_schema(errors: &mut Errors, schema: &Field<'_>) {
    let kind = schema.child("type");
    if !kind.is_empty() && !TYPES.contains(&kind.text()) {
        errors.not_supported(&kind, &TYPES);
    }
    let (properties, items) = (schema.child("properties"), schema.child("items"));
    let others = schema.child("additionalProperties");
    if kind.text() == "array" && !items.is_set() {
        errors.required(&items, "must be specified");
    }
    if !properties.is_empty() && others.is_set() {
        errors.forbidden(&others, "additionalProperties and properties are mutual exclusive");
    }
    if schema.child("uniqueItems").is_true() {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&schema.child("uniqueItems"), why);
    }
    pattern(errors, &schema.child("pattern"));
    extensions(errors, schema);
    default(errors, schema);
    for (_, property) in properties.members() {
        typed(errors, &property, "must not be empty for specified object fields");
        check_schema(errors, &property);
    }
    if items.value.is_object() {
        typed(errors, &items, "must not be empty for specified array items");
        check_schema(errors, &items);
    }
    if others.value.is_object() {
        typed(errors, &others, "must not be empty for specified object fields");
        check_schema(errors, &others);
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        let or_number = schema.child("x-kubernetes-int-or-string").is_true();
        for part in schema.child(list).items() {
            logic(errors, &part, or_number);
        }
    }
    if schema.child("not").is_set() {
        logic(errors, &schema.child("not"), false);
    }
}

fn typed(errors: &mut Errors, schema: &Field<'_>, why: &str) {
    let anything = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    if schema.child("type").is_empty() && !anything.iter().any(|name| schema.child(name).is_true())
    {
        errors.required(&schema.child("type"), why);
    }
}

fn pattern(errors: &mut Errors, pattern: &Field<'_>) {
    // Classes by property are not known here, and are valid.
    if pattern.is_empty() || pattern.text().contains("\\p") {
        return;
    }
    if let Err(error) = regex_lite::Regex::new(pattern.text()) {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.invalid(pattern, why);
    }
}

fn extensions(errors: &mut Errors, schema: &Field<'_>) {
    let preserve = schema.child("x-kubernetes-preserve-unknown-fields");
    if preserve.is_set() && !preserve.is_true() {
        errors.invalid(&preserve, "must be true or undefined");
    }
    let embedded = schema.child("x-kubernetes-embedded-resource").is_true();
    if embedded && schema.child("properties").is_empty() && !preserve.is_true() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&schema.child("properties"), why);
    }
    errors.one_of_if_set(&schema.child("x-kubernetes-map-type"), &["atomic", "granular"]);
    let list = schema.child("x-kubernetes-list-type");
    errors.one_of_if_set(&list, &["atomic", "map", "set"]);
    let keys = schema.child("x-kubernetes-list-map-keys");
    if list.text() == "map" && keys.is_empty() {
        errors.required(&keys, "must not be empty if x-kubernetes-list-type is map");
    }
    if list.text() != "map" && !keys.is_empty() {
        errors.forbidden(&keys, "must be empty if x-kubernetes-list-type is not map");
    }
}

/// A default fits its own schema, and says nothing beyond it.
fn default(errors: &mut Errors, schema: &Field<'_>) {
    let default = schema.child("default");
    if !default.is_set() {
        return;
    }
    for mut error in custom_validation::of_value(schema.value, default.value) {
        error.field = format!("{}{}", default.path, error.field);
        errors.0.push(error);
    }
    if has_unknown(schema.value, default.value) {
        errors.invalid(&default, "must not have unknown fields");
    }
}

/// Whether `value` has fields, however deep, that would be dropped from an object with `schema`.
fn has_unknown(schema: &Value, value: &Value) -> bool {
    const OF_ANY: [&str; 3] = ["apiVersion", "kind", "metadata"];
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let is_object = schema["x-kubernetes-embedded-resource"] == true;
            if is_object && OF_ANY.contains(&name.as_str()) {
                return false;
            }
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(known), _) => has_unknown(known, value),
                (None, Value::Null) => schema["x-kubernetes-preserve-unknown-fields"] != true,
                (None, others) => others.is_object() && has_unknown(others, value),
            }
        }),
        Value::Array(items) => items.iter().any(|item| has_unknown(&schema["items"], item)),
        _ => false,
    }
}

/// What stands below `allOf` and the like only narrows what stands beside it.
fn logic(errors: &mut Errors, schema: &Field<'_>, or_number: bool) {
    let either = or_number && ["integer", "string"].contains(&schema.child("type").text());
    if !either && !schema.child("type").is_empty() {
        errors.forbidden(&schema.child("type"), "must be empty to be structural");
    }
    for name in ["title", "description", "default"] {
        if !schema.child(name).is_empty() {
            errors.forbidden(&schema.child(name), "must be empty to be structural");
        }
    }
    for name in ["nullable", "x-kubernetes-preserve-unknown-fields"] {
        if schema.child(name).is_true() {
            errors.forbidden(&schema.child(name), "must be false to be structural");
        }
    }
    if schema.child("additionalProperties").is_set() {
        let why = "must be undefined to be structural";
        errors.forbidden(&schema.child("additionalProperties"), why);
    }
    for (_, property) in schema.child("properties").members() {
        logic(errors, &property, property.child("x-kubernetes-int-or-string").is_true());
    }
    if schema.child("items").value.is_object() {
        logic(errors, &schema.child("items"), false);
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        schema.child(list).items().for_each(|part| logic(errors, &part, or_number));
    }
}
