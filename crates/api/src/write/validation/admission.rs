//! Admission webhooks, and what they have in common with admission policies: rules about requests.

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, Unique};
use crate::{FieldError, names};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const CONDITIONS_MAX: usize = 64;
pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
pub(super) const REINVOCATION: [&str; 2] = ["IfNeeded", "Never"];

/// A ValidatingWebhookConfiguration or MutatingWebhookConfiguration.
pub fn webhook_configuration(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let mut seen = Unique::new();
        for hook in Field::root(object).child("webhooks").items() {
            webhook(errors, &hook);
            review_versions(errors, &hook.child("admissionReviewVersions"));
            let name = hook.child("name");
            if !name.is_empty() {
                seen.check(errors, &name);
            }
        }
    })
}

fn webhook(errors: &mut Errors, hook: &Field<'_>) {
    qualified_host(errors, &hook.child("name"));
    for rule in hook.child("rules").items() {
        rule_with_operations(errors, &rule);
    }
    errors.one_of_if_set(&hook.child("failurePolicy"), &FAILURE_POLICIES);
    errors.one_of_if_set(&hook.child("matchPolicy"), &MATCH_POLICIES);
    let effects = hook.child("sideEffects");
    if !effects.is_set() {
        errors.required(&effects, &format!("must specify one of {}", SIDE_EFFECTS.join(", ")));
    }
    errors.one_of_if_set(&effects, &SIDE_EFFECTS);
    let timeout = hook.child("timeoutSeconds");
    if timeout.is_set() && !(1..=30).contains(&timeout.int()) {
        errors.invalid(&timeout, "the timeout value must be between 1 and 30 seconds");
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        parts::selector(errors, &hook.child(selector));
    }
    errors.one_of_if_set(&hook.child("reinvocationPolicy"), &REINVOCATION);
    client_config(errors, &hook.child("clientConfig"));
    match_conditions(errors, &hook.child("matchConditions"));
}

/// A name of at least three segments.
fn qualified_host(errors: &mut Errors, name: &Field<'_>) {
    if name.is_empty() {
        errors.required(name, "");
        return;
    }
    let wrong = names::dns1123_subdomain(name.text());
    if !wrong.is_empty() {
        errors.all_invalid(name, wrong);
    } else if name.text().split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.invalid(name, why);
    }
}

fn review_versions(errors: &mut Errors, versions: &Field<'_>) {
    if versions.is_empty() {
        let why = format!("must specify one of {}", REVIEW_VERSIONS.join(", "));
        errors.required(versions, &why);
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for version in versions.items() {
        if seen.contains(&version.text()) {
            errors.invalid(&version, "duplicate version");
            continue;
        }
        seen.push(version.text());
        errors.all_invalid(&version, names::dns1035_label(version.text()));
    }
    if !seen.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.invalid(versions, why);
    }
}

/// Where a webhook listens: a URL or a Service.
pub(super) fn client_config(errors: &mut Errors, config: &Field<'_>) {
    let (url, service) = (config.child("url"), config.child("service"));
    match (url.is_set(), service.is_set()) {
        (true, false) => webhook_url(errors, &url),
        (false, true) => webhook_service(errors, &service),
        _ => errors.required(config, "exactly one of url or service is required"),
    }
}

fn webhook_url(errors: &mut Errors, url: &Field<'_>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.text().split_once(':').unwrap_or(("", url.text()));
    let rest = rest.strip_prefix("//");
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let refuse = |errors: &mut Errors, shown: &str, why: &str| {
        errors.invalid_as(url, &shown.into(), &format!("{why}{FORM}"));
    };
    if scheme != "https" {
        refuse(errors, scheme, "'https' is the only allowed URL scheme");
    }
    if authority.unwrap_or_default().is_empty() {
        refuse(errors, "", "host must be specified");
    }
    if let Some((user, _)) = authority.and_then(|authority| authority.split_once('@')) {
        refuse(errors, user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = url.text().split_once('#') {
        refuse(errors, fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = url.text().split('#').next().unwrap_or_default().split_once('?') {
        refuse(errors, query, "query parameters are not permitted in the URL");
    }
}

fn webhook_service(errors: &mut Errors, service: &Field<'_>) {
    // Upstream names the one field where the other is missing.
    for (missing, named) in [("namespace", "name"), ("name", "namespace")] {
        if service.child(missing).is_empty() {
            errors.required(&service.child(named), "");
        }
    }
    let port = service.child("port");
    if port.is_set() && !names::port_number(port.int()).is_empty() {
        let why = format!("port is not valid: {}", names::not_between(1, 65535));
        errors.invalid(&port, why);
    }
    let path = service.child("path");
    if path.is_set() {
        service_path(errors, &path);
    }
}

fn service_path(errors: &mut Errors, path: &Field<'_>) {
    let text = path.text();
    if !text.starts_with('/') {
        errors.invalid(path, "must start with a '/'");
    }
    let below = text.strip_prefix('/').unwrap_or(text);
    let below = below.strip_suffix('/').unwrap_or(below);
    if text == "/" {
        return;
    }
    for (index, segment) in below.split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(path, format!("segment[{index}] may not be empty"));
            continue;
        }
        for sentence in names::dns1123_subdomain(segment) {
            errors.invalid(path, format!("segment[{index}]: {sentence}"));
        }
    }
}

/// A rule about requests, with its operations.
pub(super) fn rule_with_operations(errors: &mut Errors, rule: &Field<'_>) {
    let operations = rule.child("operations");
    if operations.is_empty() {
        errors.required(&operations, "");
    }
    star_alone(errors, &operations, "operations");
    for operation in operations.items() {
        errors.one_of_if_set(&operation, &OPERATIONS);
    }
    for (name, others) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.child(name);
        if list.is_empty() {
            errors.required(&list, "");
        }
        star_alone(errors, &list, others);
    }
    for version in rule.child("apiVersions").items() {
        errors.require_text(&version);
    }
    resources(errors, &rule.child("resources"));
    errors.one_of_if_set(&rule.child("scope"), &SCOPES);
}

fn star_alone(errors: &mut Errors, list: &Field<'_>, others: &str) {
    if list.len() > 1 && list.items().any(|item| item.text() == "*") {
        errors.invalid(list, format!("if '*' is present, must not specify other {others}"));
    }
}

fn resources(errors: &mut Errors, list: &Field<'_>) {
    if list.is_empty() {
        errors.required(list, "");
    }
    let (mut whole, mut parts_of_all) = (Vec::new(), Vec::new());
    let mut last_is_plain = false;
    for entry in list.items() {
        let text = entry.text();
        if text.is_empty() {
            errors.required(&entry, "");
            continue;
        }
        let Some((resource, part)) = text.split_once('/') else {
            last_is_plain = text != "*";
            continue;
        };
        if whole.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            errors.invalid(&entry, why);
        }
        if parts_of_all.contains(&part) {
            errors.invalid(&entry, format!("if '*/{part}' is present, must not specify {text}"));
        }
        whole.extend((part == "*").then_some(resource));
        parts_of_all.extend((resource == "*").then_some(part));
    }
    let has = |wanted: &str| list.items().any(|entry| entry.text() == wanted);
    if list.len() > 1 && has("*/*") {
        errors.invalid(list, "if '*/*' is present, must not specify other resources");
    }
    if has("*") && last_is_plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(list, why);
    }
}

/// Conditions in CEL under which a hook or policy is asked.
pub(super) fn match_conditions(errors: &mut Errors, conditions: &Field<'_>) {
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(conditions, CONDITIONS_MAX);
    }
    let mut seen = Unique::new();
    for condition in conditions.items() {
        let (name, expression) = (condition.child("name"), condition.child("expression"));
        if expression.text().trim().is_empty() {
            errors.required(&expression, "");
        }
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.all_invalid(&name, names::qualified_name(name.text()));
            seen.check(errors, &name);
        }
    }
}
