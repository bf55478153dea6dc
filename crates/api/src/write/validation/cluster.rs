//! Nodes, quotas, limits and API services.

use crate::resources::{
    CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, REPLICATION_CONTROLLERS, RESOURCE_QUOTAS, SECRETS,
    SERVICES,
};
use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, quantity};
use crate::{FieldError, Quantity, names};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const LIMIT_TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// A Node.
pub fn node(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        // Upstream's path.
        taints(errors, &Field { path: "metadata.taints".into(), ..spec.child("taints") });
        let cidrs = spec.child("podCIDRs");
        let one = spec.child("podCIDR");
        let first = Field { path: "spec.podCIDRs[0]".into(), ..one };
        let all: Vec<Field<'_>> = match first.is_empty() {
            true => cidrs.items().collect(),
            false => std::iter::once(first).chain(cidrs.items().skip(1)).collect(),
        };
        for cidr in all {
            errors.all_invalid(&cidr, names::cidr(cidr.text()));
        }
        for name in ["capacity", "allocatable"] {
            for (_, amount) in root.descend(&["status", name]).members() {
                parts::non_negative_quantity(errors, &amount);
            }
        }
    })
}

fn taints(errors: &mut Errors, list: &Field<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for taint in list.items() {
        let (key, value, effect) =
            (taint.child("key"), taint.child("value"), taint.child("effect"));
        parts::label_name(errors, &key);
        errors.all_invalid(&value, names::label_value(value.text()));
        errors.one_of(&effect, &EFFECTS);
        let pair = (key.text(), effect.text());
        if !pair.1.is_empty() && seen.contains(&pair) {
            errors.duplicate(&taint);
            continue;
        }
        seen.push(pair);
    }
}

/// A change of a Node: addresses and provider are given once.
pub fn node_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = |object| Field::root(object).child("spec");
        let (new, old) = (spec(new), spec(old));
        let ranges = |spec: &Field<'_>| -> Vec<String> {
            let one = spec.child("podCIDR").text().to_string();
            let many = spec.child("podCIDRs");
            let rest = many.items().map(|cidr| cidr.text().to_string());
            match (one.is_empty(), many.len()) {
                (false, _) => std::iter::once(one).chain(rest.skip(1)).collect(),
                _ => rest.collect(),
            }
        };
        let had = ranges(&old);
        if !had.is_empty() && had != ranges(&new) {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&new.child("podCIDRs"), why);
        }
        let (id, before) = (new.child("providerID"), old.child("providerID"));
        if !before.is_empty() && id.text() != before.text() {
            let why = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&id, why);
        }
    })
}

/// A ResourceQuota.
pub fn resource_quota(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        let selector = spec.child("scopeSelector");
        quota_scopes(errors, &spec.child("scopes"));
        for expression in selector.child("matchExpressions").items() {
            // Upstream's path names the list, not the entry.
            let place = Field { path: "spec.scopeSelector.matchExpressions".into(), ..expression };
            scope_expression(errors, &place);
        }
        for name in ["hard", "used"] {
            for (resource, amount) in root.descend(&["status", name]).members() {
                counted(errors, resource, &amount);
            }
        }
        for (resource, amount) in spec.child("hard").members() {
            counted(errors, resource, &amount);
        }
    })
}

fn quota_scopes(errors: &mut Errors, scopes: &Field<'_>) {
    let texts: Vec<&str> = scopes.items().map(|scope| scope.text()).collect();
    for scope in scopes.items() {
        if !SCOPES.contains(&scope.text()) {
            let place = Field { path: scopes.path.clone(), ..scopes.clone() };
            errors.invalid(&place, "unsupported scope");
        }
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| texts.contains(scope)) {
            errors.invalid(scopes, "conflicting scopes");
        }
    }
}

fn scope_expression(errors: &mut Errors, expression: &Field<'_>) {
    let (scope, operator) = (expression.child("scopeName"), expression.child("operator"));
    let values = expression.child("values");
    if !SCOPES.contains(&scope.text()) {
        errors.invalid_as(&scope, &scope.text().into(), "unsupported scope");
    }
    let only_exists =
        !scope.is_empty() && !["PriorityClass", "VolumeAttributesClass"].contains(&scope.text());
    if SCOPES.contains(&scope.text()) && only_exists && operator.text() != "Exists" {
        let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid_as(&operator, &operator.text().into(), why);
        return;
    }
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            let why =
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(&values, why);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why =
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.invalid(&values, why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.invalid_as(&operator, &operator.text().into(), "not a valid selector operator"),
    }
}

/// A figure of a quota: not negative, and whole where things are counted.
fn counted(errors: &mut Errors, resource: &str, amount: &Field<'_>) {
    parts::label_name(errors, &Field { value: &resource.into(), path: amount.path.clone() });
    parts::non_negative_quantity(errors, amount);
    let is_count = resource.starts_with("count/")
        || matches!(
            resource,
            PODS | SERVICES
                | REPLICATION_CONTROLLERS
                | RESOURCE_QUOTAS
                | SECRETS
                | CONFIG_MAPS
                | PERSISTENT_VOLUME_CLAIMS
                | "services.nodeports"
                | "services.loadbalancers"
        );
    if is_count && quantity(amount).milli_value() % 1000 != 0 {
        errors.invalid(amount, "must be an integer");
    }
}

/// A LimitRange.
pub fn limit_range(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let mut seen: Vec<&str> = Vec::new();
        for limit in Field::root(object).descend(&["spec", "limits"]).items() {
            let kind = limit.child("type");
            limit_type(errors, &kind);
            if seen.contains(&kind.text()) {
                errors.duplicate(&kind);
            }
            seen.push(kind.text());
            check_limit(errors, &limit, kind.text());
        }
    })
}

fn limit_type(errors: &mut Errors, kind: &Field<'_>) {
    let wrong = names::qualified_name(kind.text());
    let is_other = !kind.text().contains('/') && !LIMIT_TYPES.contains(&kind.text());
    if !wrong.is_empty() {
        errors.all_invalid(kind, wrong);
    } else if is_other {
        errors.invalid(kind, "must be a standard limit type or fully qualified");
    }
}

fn check_limit(errors: &mut Errors, limit: &Field<'_>, kind: &str) {
    const FIELDS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    if kind == "Pod" {
        for name in ["default", "defaultRequest"] {
            if !limit.child(name).is_empty() {
                errors.forbidden(&limit.child(name), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    let (max, min) = (limit.child("max"), limit.child("min"));
    if kind == "PersistentVolumeClaim"
        && !max.child("storage").is_set()
        && !min.child("storage").is_set()
    {
        errors.required(
            limit,
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    let mut resources: Vec<&str> = FIELDS
        .into_iter()
        .flat_map(|name| {
            limit.child(name).members().map(|(resource, _)| resource).collect::<Vec<_>>()
        })
        .collect();
    resources.sort_unstable();
    resources.dedup();
    for resource in resources {
        let bounds = Bounds::of(limit, resource);
        bounds.check(errors);
    }
}

/// What a limit says of one resource.
struct Bounds<'a> {
    max: Field<'a>,
    min: Field<'a>,
    default: Field<'a>,
    request: Field<'a>,
    ratio: Field<'a>,
}

impl<'a> Bounds<'a> {
    fn of(limit: &Field<'a>, resource: &str) -> Self {
        let part = |name: &str| limit.child(name).key(resource);
        Self {
            max: part("max"),
            min: part("min"),
            default: part("default"),
            request: part("defaultRequest"),
            ratio: part("maxLimitRequestRatio"),
        }
    }

    /// Each pair in its order, as far as both are there.
    fn check(&self, errors: &mut Errors) {
        // The field at fault, then what is said to be above what.
        let Self { max, min, default, request, .. } = self;
        let above = |errors: &mut Errors,
                     at: &Field<'_>,
                     high: (&str, &Field<'_>),
                     low: (&str, &Field<'_>)| {
            let both = high.1.is_set() && low.1.is_set();
            if both && quantity(high.1) > quantity(low.1) {
                let why = format!(
                    "{} value {} is greater than {} value {}",
                    high.0,
                    plain(high.1),
                    low.0,
                    plain(low.1)
                );
                errors.invalid_as(at, &plain(at).into(), &why);
            }
        };
        above(errors, min, ("min", min), ("max", max));
        above(errors, request, ("min", min), ("default request", request));
        above(errors, request, ("default request", request), ("max", max));
        above(errors, request, ("default request", request), ("default limit", default));
        above(errors, default, ("min", min), ("default", default));
        let at_max = Field { value: max.value, path: default.path.clone() };
        above(errors, &at_max, ("default", default), ("max", max));
        self.check_ratio(errors);
    }

    fn check_ratio(&self, errors: &mut Errors) {
        let Self { max, min, ratio, .. } = self;
        if !ratio.is_set() {
            return;
        }
        if quantity(ratio) < Quantity::from_count(1) {
            errors.invalid_as(
                ratio,
                &plain(ratio).into(),
                &format!("ratio {} is less than 1", plain(ratio)),
            );
        }
        if !max.is_set() || !min.is_set() || quantity(min).signum() <= 0 {
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "a text shows six digits of it")]
        let most = quantity(max).milli_value() as f64 / quantity(min).milli_value() as f64;
        #[allow(clippy::cast_precision_loss, reason = "a comparison with a quotient")]
        let asked = quantity(ratio).milli_value() as f64 / 1000.0;
        if asked > most {
            let why = format!("ratio {} is greater than max/min = {most:.6}", plain(ratio));
            errors.invalid_as(ratio, &plain(ratio).into(), &why);
        }
    }
}

/// A quantity as it is written, whether as text or number.
fn plain(field: &Field<'_>) -> String {
    match field.value {
        Value::String(text) => text.clone(),
        Value::Null => "0".to_string(),
        other => other.to_string(),
    }
}

/// An APIService.
pub fn api_service(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let spec = root.child("spec");
        let (group, version) = (spec.child("group"), spec.child("version"));
        let wanted = format!("{}.{}", version.text(), group.text());
        // Upstream checks the prefix of a generated name, too.
        for name in ["generateName", "name"] {
            let given = root.descend(&["metadata", name]);
            if !given.is_empty() && given.text() != wanted {
                let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
                errors.invalid(&given, why);
            }
        }
        if !group.is_empty() {
            parts::dns_subdomain(errors, &group);
        } else if version.text() != "v1" {
            errors.required(&group, "only v1 may have an empty group and it better be legacy kube");
        }
        errors.all_invalid(&version, names::dns1035_label(version.text()));
        for (name, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let priority = spec.child(name);
            if !(1..=most).contains(&priority.int()) {
                let why = format!("must be positive and less than {most}");
                errors.invalid_as(&priority, &priority.int().into(), &why);
            }
        }
        api_service_backend(errors, &spec);
    })
}

/// A change of an APIService's status.
pub fn api_service_status(new: &Value, _: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        for condition in Field::root(new).descend(&["status", "conditions"]).items() {
            let status = condition.child("status");
            let known = ["True", "False", "Unknown"];
            if !known.contains(&status.text()) {
                errors.not_supported(&status, &known);
            }
        }
    })
}

fn api_service_backend(errors: &mut Errors, spec: &Field<'_>) {
    let service = spec.child("service");
    let (bundle, skips) = (spec.child("caBundle"), spec.child("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", bundle.text().len());
            errors.invalid_as(&bundle, &shown.into(), "local APIServices may not have a caBundle");
        }
        if skips.is_true() {
            errors.invalid(&skips, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for name in ["namespace", "name"] {
        errors.require_text(&service.child(name));
    }
    let port = service.child("port");
    if port.is_set() && !names::port_number(port.int()).is_empty() {
        let why = format!("port is not valid: {}", names::not_between(1, 65535));
        errors.invalid(&port, why);
    }
    if skips.is_true() && !bundle.is_empty() {
        errors.invalid(&skips, "may not be true if caBundle is present");
    }
}
