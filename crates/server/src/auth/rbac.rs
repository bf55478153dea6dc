//! RBAC: whether the rules of roles allow an action. Pure.

use std::fmt;
use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use coracle_store::Snapshot;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::api::rbac::v1::{RoleRef, Subject};
use serde_json::Value;

use crate::auth::Action;
use crate::pipeline::request::User;

/// That a role is bound to somebody: shown as upstream shows it in `reason` of an access review.
#[derive(Clone, Debug)]
pub struct Grant {
    binding: Arc<Object>,
    /// The place of whoever it is among the subjects.
    subject: usize,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, metadata) = (self.binding.value(), self.binding.metadata());
        let text =
            |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let (kind, name) = match metadata.namespace.as_str() {
            "" => ("ClusterRoleBinding", metadata.name.clone()),
            namespace => ("RoleBinding", format!("{}/{namespace}", metadata.name)),
        };
        let (role, subject) = (&value["roleRef"], &value["subjects"][self.subject]);
        let subject_name = match (&*text(subject, "kind"), text(subject, "namespace")) {
            ("ServiceAccount", namespace) => {
                let own = || metadata.namespace.clone();
                let namespace = if namespace.is_empty() { own() } else { namespace };
                format!("{}/{namespace}", text(subject, "name"))
            }
            _ => text(subject, "name"),
        };
        write!(
            f,
            "{kind} {name:?} of {} {:?} to {} {subject_name:?}",
            text(role, "kind"),
            text(role, "name"),
            text(subject, "kind")
        )
    }
}

/// Calls `visit` with every rule that `user` has in `namespace` (empty for cluster scope), until
/// it answers true; how they have that one.
fn any_rule(
    snapshot: &Snapshot,
    user: &User,
    namespace: &str,
    mut visit: impl FnMut(&PolicyRule, bool) -> bool,
) -> Option<Grant> {
    for object in snapshot.list(CLUSTER_ROLE_BINDINGS, None) {
        let Ok(binding) = object.view::<ClusterRoleBinding>() else { continue };
        if let Some(subject) = applies(binding.subjects.as_deref(), user, "")
            && rules(snapshot, &binding.role_ref, "").iter().any(|rule| visit(rule, true))
        {
            return Some(Grant { binding: Arc::clone(object), subject });
        }
    }
    if namespace.is_empty() {
        return None;
    }
    for object in snapshot.list(ROLE_BINDINGS, Some(namespace)) {
        let Ok(binding) = object.view::<RoleBinding>() else { continue };
        if let Some(subject) = applies(binding.subjects.as_deref(), user, namespace)
            && rules(snapshot, &binding.role_ref, namespace).iter().any(|rule| visit(rule, false))
        {
            return Some(Grant { binding: Arc::clone(object), subject });
        }
    }
    None
}

/// The first of `subjects` that `user` is.
fn applies(subjects: Option<&[Subject]>, user: &User, namespace: &str) -> Option<usize> {
    subjects.unwrap_or_default().iter().position(|subject| match subject.kind.as_str() {
        "User" => user.name == subject.name,
        "Group" => user.is_in(&subject.name),
        "ServiceAccount" => {
            let namespace = subject.namespace.as_deref().unwrap_or(namespace);
            let rest = user.name.strip_prefix("system:serviceaccount:");
            rest.and_then(|rest| rest.split_once(':')) == Some((namespace, &subject.name))
        }
        _ => false,
    })
}

fn rules(snapshot: &Snapshot, role: &RoleRef, namespace: &str) -> Vec<PolicyRule> {
    let find = |resource: &str, namespace: &str| snapshot.find(resource, namespace, &role.name);
    match role.kind.as_str() {
        "ClusterRole" => find(CLUSTER_ROLES, "").and_then(cluster_rules),
        "Role" if !namespace.is_empty() => find(ROLES, namespace).and_then(role_rules),
        _ => None,
    }
    .unwrap_or_default()
}

fn cluster_rules(role: &Arc<Object>) -> Option<Vec<PolicyRule>> {
    role.view::<ClusterRole>().ok()?.rules.clone()
}

fn role_rules(role: &Arc<Object>) -> Option<Vec<PolicyRule>> {
    role.view::<Role>().ok()?.rules.clone()
}

/// Whether a rule allows `action` to `user`, and how they have it.
#[must_use]
pub fn allows(snapshot: &Snapshot, user: &User, action: &Action) -> Option<Grant> {
    let namespace = match action {
        Action::Resource(resource) => resource.namespace.as_str(),
        Action::Path { .. } => "",
    };
    any_rule(snapshot, user, namespace, |rule, cluster| match action {
        Action::Resource(resource) => covers(rule, resource),
        Action::Path { verb, path } => cluster && covers_path(rule, verb, path),
    })
}

/// Every rule that `user` has in `namespace`.
#[must_use]
pub fn all_rules(snapshot: &Snapshot, user: &User, namespace: &str) -> Vec<PolicyRule> {
    let mut all = Vec::new();
    any_rule(snapshot, user, namespace, |rule, _| {
        all.push(rule.clone());
        false
    });
    all
}

/// Whether `own` together allow all that `wanted` does.
#[must_use]
pub fn cover(own: &[PolicyRule], wanted: &PolicyRule) -> bool {
    let items = |list: Option<&[String]>| list.unwrap_or_default().to_vec();
    let names = match items(wanted.resource_names.as_deref()) {
        names if names.is_empty() => vec![String::new()],
        names => names,
    };
    let resources = items(wanted.resources.as_deref());
    let groups = items(wanted.api_groups.as_deref());
    let held = |verb: &String, group: &String, resource: &String, name: &String| {
        own.iter().any(|rule| {
            has(Some(&rule.verbs), verb)
                && has(rule.api_groups.as_deref(), group)
                && holds_resource(rule.resources.as_deref().unwrap_or_default(), resource)
                && holds_name(rule.resource_names.as_deref().unwrap_or_default(), name)
        })
    };
    let paths = items(wanted.non_resource_urls.as_deref());
    wanted.verbs.iter().all(|verb| {
        let on_objects = groups.iter().all(|group| {
            resources
                .iter()
                .all(|resource| names.iter().all(|name| held(verb, group, resource, name)))
        });
        on_objects && paths.iter().all(|p| own.iter().any(|rule| covers_path(rule, verb, p)))
    })
}

fn holds_resource(own: &[String], wanted: &str) -> bool {
    own.iter().any(|own| {
        own == "*"
            || own == wanted
            || own
                .strip_prefix("*/")
                .is_some_and(|sub| wanted.split_once('/').is_some_and(|(_, wanted)| wanted == sub))
    })
}

fn holds_name(own: &[String], wanted: &str) -> bool {
    own.is_empty() || own.iter().any(|own| own == wanted)
}

fn has(list: Option<&[String]>, wanted: &str) -> bool {
    list.unwrap_or_default().iter().any(|item| item == "*" || item == wanted)
}

fn covers(rule: &PolicyRule, action: &crate::pipeline::parse::ResourceRef) -> bool {
    has(Some(&rule.verbs), &action.verb)
        && has(rule.api_groups.as_deref(), &action.group)
        && covers_resource(rule.resources.as_deref().unwrap_or_default(), action)
        && rule
            .resource_names
            .as_deref()
            .is_none_or(|names| names.is_empty() || names.contains(&action.name))
}

fn covers_resource(resources: &[String], action: &crate::pipeline::parse::ResourceRef) -> bool {
    resources.iter().any(|resource| match resource.split_once('/') {
        None if resource == "*" => true,
        None => action.subresource.is_empty() && *resource == action.resource,
        Some((parent, sub)) => {
            (parent == "*" || parent == action.resource) && sub == action.subresource
        }
    })
}

fn covers_path(rule: &PolicyRule, verb: &str, path: &str) -> bool {
    has(Some(&rule.verbs), verb)
        && rule.non_resource_urls.as_deref().unwrap_or_default().iter().any(|url| {
            url == path || url.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::authorize::authorize;
    use serde_json::json;

    fn snapshot(objects: &[(&str, Value)]) -> Snapshot {
        let object = |(resource, value): &(&str, Value)| {
            Object::with_resource(format!("{resource}.rbac.authorization.k8s.io"), value.clone())
        };
        Snapshot::of(objects.iter().map(|one| object(one).unwrap())).unwrap()
    }

    fn bound() -> Snapshot {
        let account = json!({"kind": "ServiceAccount", "name": "bot", "namespace": "a"});
        let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        snapshot(&[
            (
                "clusterroles",
                json!({"metadata": {"name": "look"}, "rules": [
                    {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
                    {"verbs": ["get"], "nonResourceURLs": ["/health*"]},
                ]}),
            ),
            (
                "roles",
                json!({"metadata": {"name": "one", "namespace": "a"}, "rules": [
                    {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["web"]},
                ]}),
            ),
            (
                "rolebindings",
                json!({"metadata": {"name": "x", "namespace": "a"},
                "roleRef": role("ClusterRole", "look"), "subjects": [account]}),
            ),
            (
                "rolebindings",
                json!({"metadata": {"name": "y", "namespace": "a"},
                "roleRef": role("Role", "one"), "subjects": [{"kind": "User", "name": "eve"}]}),
            ),
            (
                "clusterrolebindings",
                json!({"metadata": {"name": "z"},
                "roleRef": role("ClusterRole", "look"),
                "subjects": [{"kind": "Group", "name": "lookers"}]}),
            ),
        ])
    }

    fn user(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().map(ToString::to_string).collect();
        User { name: name.into(), groups, ..User::default() }
    }

    #[test]
    fn rules_reach_as_far_as_their_binding() {
        let snapshot = bound();
        let bot = user("system:serviceaccount:a:bot", &[]);
        let may = |user: &User, action: Action| allows(&snapshot, user, &action).is_some();
        assert!(may(&bot, Action::on("list", "a", "/pods", "")));
        assert!(may(&bot, Action::on("get", "a", "/pods/log", "x")));
        assert!(!may(&bot, Action::on("get", "a", "/pods/exec", "x")));
        assert!(!may(&bot, Action::on("list", "b", "/pods", "")));
        assert!(!may(&bot, Action::on("list", "", "/pods", "")));
        assert!(!may(&bot, Action::on("delete", "a", "/pods", "x")));
        let eve = user("eve", &[]);
        assert!(may(&eve, Action::on("delete", "a", "apps/statefulsets", "web")));
        assert!(!may(&eve, Action::on("delete", "a", "apps/statefulsets", "other")));
        let looker = user("anyone", &["lookers"]);
        assert!(may(&looker, Action::on("list", "", "/pods", "")));
        let path = |path: &str| Action::Path { verb: "get".into(), path: path.into() };
        assert!(may(&looker, path("/healthz")) && !may(&looker, path("/metrics")));
        assert!(!may(&bot, path("/healthz")));
        for (user, action, told) in [
            (
                &bot,
                Action::on("list", "a", "/pods", ""),
                "RoleBinding \"x/a\" of ClusterRole \"look\" to ServiceAccount \"bot/a\"",
            ),
            (
                &eve,
                Action::on("get", "a", "apps/statefulsets", "web"),
                "RoleBinding \"y/a\" of Role \"one\" to User \"eve\"",
            ),
            (
                &looker,
                path("/healthz"),
                "ClusterRoleBinding \"z\" of ClusterRole \"look\" to Group \"lookers\"",
            ),
        ] {
            let why = authorize(&snapshot, user, &action).unwrap().to_string();
            assert_eq!(why, format!("RBAC: allowed by {told}"));
        }
    }

    #[test]
    fn a_refusal_says_who_may_not_do_what_where() {
        let action = Action::on("delete", "a", "apps/statefulsets/scale", "web");
        let refusal = authorize(&bound(), &user("bob", &[]), &action).unwrap_err();
        assert_eq!(refusal.code, 403);
        assert_eq!(
            refusal.message,
            "statefulsets.apps \"web\" is forbidden: User \"bob\" cannot delete resource \
             \"statefulsets/scale\" in API group \"apps\" in the namespace \"a\""
        );
    }

    #[test]
    fn rules_are_covered_piece_by_piece() {
        let rule = |value: Value| serde_json::from_value::<PolicyRule>(value).unwrap();
        let pods = |verbs: &[&str]| {
            rule(json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}))
        };
        let own = [pods(&["get"]), pods(&["list"])];
        assert!(cover(&own, &pods(&["get", "list"])));
        assert!(!cover(&own, &pods(&["get", "delete"])));
        assert!(!cover(&own, &pods(&["*"])));
    }
}
