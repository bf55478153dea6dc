//! Nobody hands out rights that they do not have: roles and bindings are checked against the
//! rights of whoever writes them.

use coracle_api::resources::{CLUSTER_ROLES, ROLES};
use coracle_api::{Kind, Status};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use crate::auth::authorize::is_allowed;
use crate::auth::{Action, MASTERS, rbac};
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::verbs::text;

/// Refuses roles and bindings that give more than their writer has.
pub(super) fn escalate_nothing(
    attributes: &mut Attributes<'_>,
    value: &Value,
) -> Result<(), Status> {
    let request = attributes.request;
    let kind = &*request.kind;
    let trusted = request.user.is_in(MASTERS) || request.user.is_engine;
    if kind.group != "rbac.authorization.k8s.io"
        || attributes.operation == Operation::Delete
        || trusted
    {
        return Ok(());
    }
    let old = attributes.old.map(|old| old.value());
    let same = |field: &str| old.is_some_and(|old| old[field] == value[field]);
    let resource = kind.group_resource();
    let (verb, target, rules) = match &*resource {
        ROLES | CLUSTER_ROLES if same("rules") && same("aggregationRule") => return Ok(()),
        ROLES | CLUSTER_ROLES => {
            let aggregates = !value["aggregationRule"].is_null() && !same("aggregationRule");
            let rules = match aggregates {
                // Whatever will be selected: everything.
                true => vec![everything()],
                false => parse(&value["rules"]),
            };
            ("escalate", (&*resource, text(value, "/metadata/name")), rules)
        }
        _ if same("roleRef") && same("subjects") => return Ok(()),
        _ => {
            let (resource, role) = (bound(value), text(value, "/roleRef/name"));
            ("bind", (resource, role), rules_of(attributes, resource, role))
        }
    };
    if may(attributes, verb, target) {
        return Ok(());
    }
    let own = rbac::all_rules(attributes.snapshot, &request.user, &request.namespace);
    let missing: Vec<String> =
        rules.iter().filter(|rule| !rbac::cover(&own, rule)).map(shown).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(refusal(attributes, kind, value, &missing))
}

fn parse(rules: &Value) -> Vec<PolicyRule> {
    serde_json::from_value(rules.clone()).unwrap_or_default()
}

fn everything() -> PolicyRule {
    let all = || vec!["*".to_owned()];
    PolicyRule {
        verbs: all(),
        api_groups: Some(all()),
        resources: Some(all()),
        ..PolicyRule::default()
    }
}

/// What kind of role a binding binds.
fn bound(binding: &Value) -> &'static str {
    if text(binding, "/roleRef/kind") == "Role" { ROLES } else { CLUSTER_ROLES }
}

/// The rules of a role that is bound; one that is not there yet could have any.
fn rules_of(attributes: &Attributes<'_>, resource: &str, role: &str) -> Vec<PolicyRule> {
    let namespace = if resource == ROLES { attributes.request.namespace.as_str() } else { "" };
    let role = attributes.snapshot.find(resource, namespace, role);
    role.map_or_else(|| vec![everything()], |role| parse(&role.value()["rules"]))
}

fn may(attributes: &Attributes<'_>, verb: &'static str, (resource, name): (&str, &str)) -> bool {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let action = Action::Resource(ResourceRef {
        verb: verb.into(),
        group: group.into(),
        version: "v1".into(),
        namespace: attributes.request.namespace.clone(),
        resource: plural.into(),
        name: name.into(),
        ..ResourceRef::default()
    });
    is_allowed(attributes.snapshot, &attributes.request.user, &action)
}

/// A rule as Go prints it.
fn shown(rule: &PolicyRule) -> String {
    let list = |name: &str, items: &[String]| {
        let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        (!items.is_empty()).then(|| format!("{name}:[{}]", items.join(", ")))
    };
    let parts: Vec<String> = [
        ("APIGroups", rule.api_groups.as_deref()),
        ("Resources", rule.resources.as_deref()),
        ("ResourceNames", rule.resource_names.as_deref()),
        ("NonResourceURLs", rule.non_resource_urls.as_deref()),
        ("Verbs", Some(rule.verbs.as_slice())),
    ]
    .into_iter()
    .filter_map(|(name, items)| list(name, items.unwrap_or_default()))
    .collect();
    format!("{{{}}}", parts.join(", "))
}

fn refusal(attributes: &Attributes<'_>, kind: &Kind, value: &Value, missing: &[String]) -> Status {
    let user = &attributes.request.user;
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        missing.join("\n")
    );
    Status::forbidden(kind, text(value, "/metadata/name"), why)
}
