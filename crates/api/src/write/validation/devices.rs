//! Devices: classes, claims, templates of claims, and slices that drivers publish. Selectors in CEL
//! must be there; they are not compiled.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, Unique, driver_name, immutable, quantity};
use super::scheduling;
use crate::{FieldError, names};

const SELECTORS_MAX: usize = 32;
const REQUESTS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const CONFIG_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const DEVICES_MAX: usize = 128;
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_TEXT_MAX: usize = 64;
const NAME_DOMAIN_MAX: usize = 63;
const NAME_ID_MAX: usize = 32;
const PARAMETERS_BYTES: usize = 10 * 1024;
const MODES: [&str; 2] = ["All", "ExactCount"];

/// A DeviceClass.
pub fn device_class(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        selectors(errors, &spec.child("selectors"));
        for config in spec.child("config").items() {
            configuration(errors, &config);
        }
        let name = spec.child("extendedResourceName");
        if name.is_set() {
            errors.all_invalid(&name, names::qualified_name(name.text()));
        }
    })
}

fn selectors(errors: &mut Errors, selectors: &Field<'_>) {
    if selectors.len() > SELECTORS_MAX {
        errors.too_many(selectors, SELECTORS_MAX);
    }
    for selector in selectors.items() {
        let cel = selector.child("cel");
        if !cel.is_set() {
            errors.required(&cel, "");
        } else if cel.child("expression").text().trim().is_empty() {
            let expression = cel.child("expression");
            let why = "compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
            errors.invalid_as(&expression, &expression.text().into(), why);
        }
    }
}

fn configuration(errors: &mut Errors, config: &Field<'_>) {
    let opaque = config.child("opaque");
    if !opaque.is_set() {
        errors.required(&opaque, "");
        return;
    }
    driver_name(errors, &opaque.child("driver"));
    let parameters = opaque.child("parameters");
    match parameters.value {
        Value::Null => errors.required(&parameters, ""),
        Value::Object(_) => {
            let bytes = parameters.value.to_string().len();
            if bytes > PARAMETERS_BYTES {
                errors.too_long(&parameters.path, PARAMETERS_BYTES);
            }
        }
        _ => {
            let why = "must be a valid JSON object";
            errors.invalid_as(&parameters, &"<value omitted>".into(), why);
        }
    }
}

/// A new ResourceClaim. A changed one is as it was.
pub fn resource_claim_create(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| claim_spec(errors, &Field::root(object).child("spec")))
}

/// A change of a ResourceClaim: what it asks for stays.
pub fn resource_claim_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        immutable(errors, &Field::root(new).child("spec"), &Field::root(old).child("spec"));
    })
}

/// A change of a ResourceClaim's status.
pub fn resource_claim_status(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let status = |object| Field::root(object).child("status");
        let (status, old) = (status(new), status(old));
        let (allocation, before) = (status.child("allocation"), old.child("allocation"));
        let reserved = status.child("reservedFor");
        let mut seen = BTreeSet::new();
        for consumer in reserved.items() {
            for name in ["resource", "name", "uid"] {
                errors.require_text(&consumer.child(name));
            }
            if !seen.insert(consumer.child("uid").text()) {
                errors.duplicate(&consumer.child("uid"));
            }
        }
        if !reserved.is_empty() && !allocation.is_set() {
            errors.forbidden(&reserved, "may not be specified when `allocated` is not set");
        }
        // An allocation is made and taken away whole.
        if before.is_set() && allocation.is_set() {
            immutable(errors, &allocation, &before);
        }
        if before.is_set() && !allocation.is_set() && !old.child("reservedFor").is_empty() {
            let still = !reserved.is_empty();
            if still {
                errors.forbidden(&allocation, "the claim is still reserved");
            }
        }
    })
}

/// A ResourceClaimTemplate.
pub fn resource_claim_template(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let metadata = spec.child("metadata");
        parts::check_labels(errors, &metadata.child("labels"));
        parts::check_annotations(errors, &metadata.child("annotations"));
        claim_spec(errors, &spec.child("spec"));
    })
}

/// A change of a ResourceClaimTemplate: it stays as it was.
pub fn resource_claim_template_update(new: &Value, old: &Value) -> Vec<FieldError> {
    resource_claim_update(new, old)
}

fn claim_spec(errors: &mut Errors, spec: &Field<'_>) {
    let devices = spec.child("devices");
    let (requests, constraints) = (devices.child("requests"), devices.child("constraints"));
    let config = devices.child("config");
    if requests.len() > REQUESTS_MAX {
        errors.too_many(&requests, REQUESTS_MAX);
    }
    let mut seen = Unique::new();
    for request in requests.items() {
        let name = request.child("name");
        parts::dns_label(errors, &name);
        if !name.is_empty() {
            seen.check(errors, &name);
        }
        check_request(errors, &request);
    }
    let known = request_names(&requests);
    if constraints.len() > CONSTRAINTS_MAX {
        errors.too_many(&constraints, CONSTRAINTS_MAX);
    }
    for constraint in constraints.items() {
        referenced(errors, &constraint.child("requests"), &known);
        check_constraint(errors, &constraint);
    }
    if config.len() > CONFIG_MAX {
        errors.too_many(&config, CONFIG_MAX);
    }
    for entry in config.items() {
        referenced(errors, &entry.child("requests"), &known);
        configuration(errors, &entry);
    }
}

/// What constraints may name: requests, and requests with one of their alternatives.
fn request_names(requests: &Field<'_>) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for request in requests.items() {
        let name = request.child("name").text();
        known.insert(name.to_string());
        for alternative in request.child("firstAvailable").items() {
            known.insert(format!("{name}/{}", alternative.child("name").text()));
        }
    }
    known
}

fn referenced(errors: &mut Errors, list: &Field<'_>, known: &BTreeSet<String>) {
    for name in list.items() {
        for segment in name.text().split('/') {
            errors.all_invalid(&name, names::dns1123_label(segment));
        }
        if !known.contains(name.text()) {
            let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            errors.invalid(&name, why);
        }
    }
}

fn check_request(errors: &mut Errors, request: &Field<'_>) {
    let (exactly, first) = (request.child("exactly"), request.child("firstAvailable"));
    match (exactly.is_set(), !first.is_empty()) {
        (false, false) => {
            errors.required(request, "exactly one of `exactly` or `firstAvailable` is required");
        }
        (true, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(request, why);
        }
        (true, false) => device_request(errors, &exactly),
        (false, true) => {
            if first.len() > ALTERNATIVES_MAX {
                errors.too_many(&first, ALTERNATIVES_MAX);
            }
            let mut seen = Unique::new();
            for alternative in first.items() {
                parts::dns_label(errors, &alternative.child("name"));
                seen.check(errors, &alternative.child("name"));
                device_request(errors, &alternative);
            }
        }
    }
}

fn device_request(errors: &mut Errors, request: &Field<'_>) {
    let class = request.child("deviceClassName");
    if class.is_empty() {
        errors.required(&class, "");
    } else {
        parts::dns_subdomain(errors, &class);
    }
    selectors(errors, &request.child("selectors"));
    let (mode, count) = (request.child("allocationMode"), request.child("count"));
    match mode.text() {
        "All" if count.int() != 0 => {
            errors.invalid(&count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count.int() <= 0 => errors.invalid(&count, "must be greater than zero"),
        "ExactCount" => {}
        _ => errors.not_supported(&mode, &MODES),
    }
    for toleration in request.child("tolerations").items() {
        device_toleration(errors, &toleration);
    }
}

fn device_toleration(errors: &mut Errors, toleration: &Field<'_>) {
    let (key, operator) = (toleration.child("key"), toleration.child("operator"));
    if !key.is_empty() {
        parts::label_name(errors, &key);
    }
    match operator.text() {
        "Equal" => {
            let value = toleration.child("value");
            errors.all_invalid(&value, names::label_value(value.text()));
        }
        "Exists" => {
            let value = toleration.child("value");
            if !value.is_empty() {
                errors.invalid(&value, "must be empty for operator `Exists`");
            }
        }
        "" => errors.required(&operator, ""),
        _ => errors.not_supported(&operator, &["Equal", "Exists"]),
    }
    let effect = toleration.child("effect");
    if !effect.is_empty() {
        errors.one_of_if_set(&effect, &["NoExecute", "NoSchedule", "None"]);
    }
}

fn check_constraint(errors: &mut Errors, constraint: &Field<'_>) {
    let same = constraint.child("matchAttribute");
    let distinct = constraint.child("distinctAttribute");
    match (same.is_set(), distinct.is_set()) {
        (true, false) => qualified_attribute(errors, &same),
        (false, true) => qualified_attribute(errors, &distinct),
        _ => {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.required(constraint, why);
        }
    }
}

/// `DOMAIN/NAME`, with the domain.
fn qualified_attribute(errors: &mut Errors, field: &Field<'_>) {
    attribute_name(errors, field, field.text());
    if !field.text().contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(field, why);
    }
}

/// `NAME` or `DOMAIN/NAME`.
fn attribute_name(errors: &mut Errors, field: &Field<'_>, name: &str) {
    let id = match name.split_once('/') {
        Some((domain, id)) => {
            if domain.len() > NAME_DOMAIN_MAX {
                errors.too_long(&field.path, NAME_DOMAIN_MAX);
            }
            for sentence in names::dns1123_subdomain(domain) {
                errors.invalid_as(field, &domain.into(), &sentence);
            }
            id
        }
        None => name,
    };
    if id.len() > NAME_ID_MAX {
        errors.too_long(&field.path, NAME_ID_MAX);
    }
    for sentence in names::c_identifier(id) {
        errors.invalid_as(field, &id.into(), &sentence);
    }
}

/// A ResourceSlice.
pub fn resource_slice(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        driver_name(errors, &spec.child("driver"));
        pool(errors, &spec.child("pool"));
        placement(errors, &spec);
        let devices = spec.child("devices");
        if devices.len() > DEVICES_MAX {
            errors.too_many(&devices, DEVICES_MAX);
        }
        let mut seen = Unique::new();
        for device in devices.items() {
            let name = device.child("name");
            parts::dns_label(errors, &name);
            if !name.is_empty() {
                seen.check(errors, &name);
            }
            check_device(errors, &device);
        }
    })
}

fn pool(errors: &mut Errors, pool: &Field<'_>) {
    let name = pool.child("name");
    if name.is_empty() {
        errors.required(&name, "");
    } else {
        if name.text().len() > 253 {
            errors.too_long(&name.path, 253);
        }
        for part in name.text().split('/') {
            errors.all_invalid(&name, names::dns1123_subdomain(part));
        }
    }
    let (count, generation) = (pool.child("resourceSliceCount"), pool.child("generation"));
    if count.int() <= 0 {
        errors.invalid_as(&count, &count.int().into(), "must be greater than zero");
    }
    if generation.int() < 0 {
        errors.invalid(&generation, "must be greater than or equal to zero");
    }
}

/// On which nodes the devices are: said in exactly one way.
fn placement(errors: &mut Errors, spec: &Field<'_>) {
    const WAYS: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut ways = 0;
    let node = spec.child("nodeName");
    if node.is_set() {
        if node.is_empty() {
            errors.invalid(&node, "must be either unset or set to a non-empty string");
        } else {
            ways += 1;
            parts::dns_subdomain(errors, &node);
        }
    }
    let selector = spec.child("nodeSelector");
    if selector.is_set() {
        ways += 1;
        scheduling::node_selector(errors, &selector);
        if selector.child("nodeSelectorTerms").len() != 1 {
            let terms = selector.child("nodeSelectorTerms");
            errors.invalid(&terms, "must have exactly one node selector term");
        }
    }
    for name in ["allNodes", "perDeviceNodeSelection"] {
        let field = spec.child(name);
        if field.is_true() {
            ways += 1;
        } else if field.is_set() && name == "perDeviceNodeSelection" {
            errors.invalid(&field, "must be either unset or set to true");
        }
    }
    match ways {
        0 => errors.required(spec, WAYS),
        1 => {}
        _ => errors.invalid(spec, format!("{WAYS}, but multiple fields are set")),
    }
}

fn check_device(errors: &mut Errors, device: &Field<'_>) {
    let (attributes, capacity) = (device.child("attributes"), device.child("capacity"));
    for (name, attribute) in attributes.members() {
        attribute_name(errors, &attribute, name);
        check_attribute(errors, &attribute);
    }
    for (name, amount) in capacity.members() {
        attribute_name(errors, &amount, name);
        let value = amount.child("value");
        if value.is_set() && quantity(&value).signum() < 0 {
            errors.invalid(&value, "must be greater than or equal to 0");
        }
    }
    if attributes.len() + capacity.len() > ATTRIBUTES_MAX {
        let why = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        );
        let count = Value::from(attributes.len() + capacity.len());
        errors.invalid_as(device, &count, &why);
    }
}

fn check_attribute(errors: &mut Errors, attribute: &Field<'_>) {
    const KINDS: [&str; 4] = ["bool", "int", "string", "version"];
    let given = KINDS.into_iter().filter(|kind| attribute.child(kind).is_set());
    if given.count() != 1 {
        errors.invalid_as(attribute, &"".into(), "exactly one value must be specified");
    }
    for kind in ["string", "version"] {
        let text = attribute.child(kind);
        if text.text().len() > ATTRIBUTE_TEXT_MAX {
            errors.too_long(&text.path, ATTRIBUTE_TEXT_MAX);
        }
    }
}

/// A change of a ResourceSlice: driver, pool and node stay.
pub fn resource_slice_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = |object| Field::root(object).child("spec");
        let (new, old) = (spec(new), spec(old));
        for names in [&["pool", "name"][..], &["driver"], &["nodeName"]] {
            immutable(errors, &new.descend(names), &old.descend(names));
        }
    })
}
