//! Flow schemas and priority levels.

use serde_json::{Value, json};

use super::cursor::{Errors, Field};
use super::parts;
use crate::{FieldError, names};

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// A FlowSchema.
pub fn flow_schema(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        let precedence = spec.child("matchingPrecedence");
        if precedence.int() <= 0 {
            errors.invalid(&precedence, "must be a positive value");
        }
        if precedence.int() > PRECEDENCE_MAX {
            errors.invalid(&precedence, format!("must not be greater than {PRECEDENCE_MAX}"));
        }
        let name = root.descend(&["metadata", "name"]);
        if precedence.int() == 1 && name.text() != "exempt" {
            let why = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.invalid(&precedence, why);
        }
        let method = spec.child("distinguisherMethod");
        if method.is_set() {
            let kind = method.child("type");
            if !["ByNamespace", "ByUser"].contains(&kind.text()) {
                let shown = json!({"Type": kind.text()});
                errors.not_supported_as(&kind, &shown, &["ByNamespace", "ByUser"]);
            }
        }
        let level = spec.descend(&["priorityLevelConfiguration", "name"]);
        if level.is_empty() {
            errors.required(&level, "must reference a priority level");
        } else {
            parts::dns_subdomain(errors, &level);
        }
        for rule in spec.child("rules").items() {
            rule_with_subjects(errors, &rule);
        }
        conditions(errors, &root.descend(&["status", "conditions"]));
    })
}

fn conditions(errors: &mut Errors, conditions: &Field<'_>) {
    let mut seen = parts::Unique::new();
    for condition in conditions.items() {
        let kind = condition.child("type");
        seen.check(errors, &kind);
        if kind.is_empty() {
            errors.required(&kind, "must not be empty");
        }
    }
}

fn rule_with_subjects(errors: &mut Errors, rule: &Field<'_>) {
    let subjects = rule.child("subjects");
    if subjects.is_empty() {
        errors.required(&subjects, "subjects must contain at least one value");
    }
    for subject in subjects.items() {
        check_subject(errors, &subject);
    }
    let (resources, urls) = (rule.child("resourceRules"), rule.child("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.required(rule, why);
    }
    for rule in resources.items() {
        resource_rule(errors, &rule);
    }
    for rule in urls.items() {
        url_rule(errors, &rule);
    }
}

fn check_subject(errors: &mut Errors, subject: &Field<'_>) {
    const KINDS: [(&str, &str); 3] =
        [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = subject.child("kind");
    let Some((_, own)) = KINDS.into_iter().find(|(name, _)| *name == kind.text()) else {
        errors.not_supported(&kind, &KINDS.map(|(name, _)| name));
        return;
    };
    let given = subject.child(own);
    if given.is_set() {
        let name = given.child("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else if own == "serviceAccount" && name.text() != "*" {
            parts::dns_subdomain(errors, &name);
        }
        if own == "serviceAccount" {
            account_namespace(errors, &given.child("namespace"));
        }
    } else {
        errors
            .required(&given, &format!("{own} is required when subject kind is '{}'", kind.text()));
    }
    for (name, other) in KINDS.into_iter().filter(|(_, field)| *field != own) {
        let other_field = subject.child(other);
        if other_field.is_set() {
            let why = format!("{other} is forbidden when subject kind is not '{name}'");
            errors.forbidden(&other_field, why);
        }
    }
}

fn account_namespace(errors: &mut Errors, namespace: &Field<'_>) {
    if namespace.is_empty() {
        errors.required(namespace, "must specify namespace for service account");
    } else {
        parts::dns_label(errors, namespace);
    }
}

fn has_star(list: &Field<'_>) -> bool {
    list.items().any(|item| item.text() == "*")
}

/// A list that is not empty and has nothing beside a `*`.
fn star_alone(errors: &mut Errors, list: &Field<'_>, missing: &str, others: &str) {
    if list.is_empty() {
        errors.required(list, missing);
    } else if list.len() > 1 && has_star(list) {
        errors.invalid(list, format!("if '*' is present, must not specify other {others}"));
    }
}

fn check_verbs(errors: &mut Errors, verbs: &Field<'_>) {
    star_alone(errors, verbs, "verbs must contain at least one value", "verbs");
    if !has_star(verbs) && verbs.items().any(|verb| !VERBS.contains(&verb.text())) {
        errors.not_supported_as(verbs, verbs.value, &VERBS);
    }
}

fn resource_rule(errors: &mut Errors, rule: &Field<'_>) {
    check_verbs(errors, &rule.child("verbs"));
    let groups = rule.child("apiGroups");
    star_alone(errors, &groups, "resource rules must supply at least one api group", "api groups");
    let resources = rule.child("resources");
    star_alone(errors, &resources, "resource rules must supply at least one resource", "resources");
    let namespaces = rule.child("namespaces");
    if namespaces.is_empty() && rule.child("clusterScope").is_true() {
        return;
    }
    let why = "resource rules that are not cluster scoped must supply at least one namespace";
    star_alone(errors, &namespaces, why, "namespaces");
    if has_star(&namespaces) {
        return;
    }
    for namespace in namespaces.items() {
        for sentence in names::dns1123_label(namespace.text()) {
            let intro = "each member of this list must be '*' or a DNS-1123 label;";
            errors.invalid(&namespace, format!("{intro} {sentence}"));
        }
    }
}

fn url_rule(errors: &mut Errors, rule: &Field<'_>) {
    check_verbs(errors, &rule.child("verbs"));
    let urls = rule.child("nonResourceURLs");
    let missing = "nonResourceURLs must contain at least one value";
    star_alone(errors, &urls, missing, "non-resource URLs");
    if has_star(&urls) {
        return;
    }
    for url in urls.items() {
        let text = url.text();
        if text.is_empty() {
            errors.invalid(&url, "must not be empty");
        } else if text.contains(' ') {
            errors.invalid(&url, "must not contain white-space");
        } else if text == "/" || text == "/*" {
        } else if !text.starts_with('/') {
            errors.invalid(&url, "must start with slash");
        } else if text.contains("//") {
            errors.invalid(&url, "must not contain double slash");
        } else if text.trim_end_matches('*').contains('*') || text.matches('*').count() > 1 {
            errors.invalid(&url, "wildcard can only do suffix matching");
        }
    }
}

/// A PriorityLevelConfiguration.
pub fn priority_level(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        let kind = spec.child("type");
        let (limited, exempt) = (spec.child("limited"), spec.child("exempt"));
        match kind.text() {
            "Exempt" => {
                if limited.is_set() {
                    errors.forbidden(&limited, "must be nil if the type is not Limited");
                }
                if exempt.is_set() {
                    shares(errors, &exempt);
                }
            }
            "Limited" => {
                if exempt.is_set() {
                    errors.forbidden(&exempt, "must be nil if the type is Limited");
                }
                if limited.is_set() {
                    limited_level(errors, &limited);
                } else {
                    errors.required(&limited, "must not be empty when type is Limited");
                }
            }
            _ => errors.not_supported(&kind, &["Exempt", "Limited"]),
        }
        conditions(errors, &root.descend(&["status", "conditions"]));
    })
}

fn shares(errors: &mut Errors, level: &Field<'_>) {
    let nominal = level.child("nominalConcurrencyShares");
    if nominal.int() < 0 {
        errors.invalid(&nominal, "must be a non-negative integer");
    }
    let lendable = level.child("lendablePercent");
    if lendable.is_set() && !(0..=100).contains(&lendable.int()) {
        errors.invalid(&lendable, names::not_between(0, 100));
    }
}

fn limited_level(errors: &mut Errors, level: &Field<'_>) {
    shares(errors, level);
    let borrowing = level.child("borrowingLimitPercent");
    if borrowing.int() < 0 {
        errors.invalid(&borrowing, "if specified, must be a non-negative integer");
    }
    let response = level.child("limitResponse");
    let (kind, queuing) = (response.child("type"), response.child("queuing"));
    match kind.text() {
        "Queue" if !queuing.is_set() => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.required(&queuing, why);
        }
        "Queue" => check_queuing(errors, &queuing),
        "Reject" if queuing.is_set() => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.forbidden(&queuing, why);
        }
        "Reject" => {}
        _ => errors.not_supported(&kind, &["Queue", "Reject"]),
    }
}

fn check_queuing(errors: &mut Errors, queuing: &Field<'_>) {
    let positive = |errors: &mut Errors, field: &Field<'_>| {
        if field.int() <= 0 {
            errors.invalid_as(field, &field.int().into(), "must be positive");
        }
    };
    positive(errors, &queuing.child("queueLengthLimit"));
    let (queues, hand) = (queuing.child("queues"), queuing.child("handSize"));
    positive(errors, &queues);
    if queues.int() > QUEUES_MAX {
        errors.invalid(&queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    positive(errors, &hand);
    if hand.int() > queues.int() {
        let why = format!("should not be greater than queues ({})", queues.int());
        errors.invalid(&hand, why);
    }
    let bits = entropy_bits(queues.int(), hand.int());
    if bits.is_some_and(|bits| bits > 60) {
        let bits = bits.unwrap_or_default();
        let why = format!(
            "required entropy bits of deckSize {} and handSize {} should not be greater than 60, is {bits}",
            queues.int(),
            hand.int()
        );
        errors.invalid(&hand, why);
    }
}

/// Bits it takes to deal a hand from so many queues; nothing for hands that cannot be dealt.
fn entropy_bits(queues: i64, hand: i64) -> Option<i64> {
    if !(1..=QUEUES_MAX).contains(&queues) || !(1..=queues).contains(&hand) {
        return None;
    }
    // Beyond this many cards the bits are above any limit: two cards of two are one bit each.
    let cards = hand.min(128);
    #[allow(clippy::cast_precision_loss, reason = "at most ten million")]
    let bits: f64 = (0..cards).map(|card| ((queues - card) as f64).log2()).sum();
    #[allow(clippy::cast_possible_truncation, reason = "at most 128 times 24")]
    Some(bits.ceil() as i64)
}
