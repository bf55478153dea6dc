//! RBAC: whether the rules of roles allow an action. Pure.

use std::sync::Arc;

use coracle_api::Object;
use coracle_store::Snapshot;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::api::rbac::v1::{RoleRef, Subject};

use crate::auth::Action;
use crate::request::User;

/// Calls `visit` with every rule that `user` has in `namespace` (empty for cluster scope), until
/// it answers true; that is the answer.
fn any_rule(
    snapshot: &Snapshot,
    user: &User,
    namespace: &str,
    mut visit: impl FnMut(&PolicyRule, bool) -> bool,
) -> bool {
    for object in snapshot.list("clusterrolebindings.rbac.authorization.k8s.io", None) {
        let Ok(binding) = object.view::<ClusterRoleBinding>() else { continue };
        if applies(binding.subjects.as_deref(), user, "")
            && rules(snapshot, &binding.role_ref, "").iter().any(|rule| visit(rule, true))
        {
            return true;
        }
    }
    if namespace.is_empty() {
        return false;
    }
    for object in snapshot.list("rolebindings.rbac.authorization.k8s.io", Some(namespace)) {
        let Ok(binding) = object.view::<RoleBinding>() else { continue };
        if applies(binding.subjects.as_deref(), user, namespace)
            && rules(snapshot, &binding.role_ref, namespace).iter().any(|rule| visit(rule, false))
        {
            return true;
        }
    }
    false
}

fn applies(subjects: Option<&[Subject]>, user: &User, namespace: &str) -> bool {
    subjects.unwrap_or_default().iter().any(|subject| match subject.kind.as_str() {
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
    let find = |resource: &str, namespace: &str| {
        snapshot.find(&format!("{resource}.rbac.authorization.k8s.io"), namespace, &role.name)
    };
    match role.kind.as_str() {
        "ClusterRole" => find("clusterroles", "").and_then(cluster_rules),
        "Role" if !namespace.is_empty() => find("roles", namespace).and_then(role_rules),
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

/// Whether a rule allows `action` to `user`.
#[must_use]
pub fn allows(snapshot: &Snapshot, user: &User, action: &Action) -> bool {
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

fn has(list: Option<&[String]>, wanted: &str) -> bool {
    list.unwrap_or_default().iter().any(|item| item == "*" || item == wanted)
}

fn covers(rule: &PolicyRule, action: &crate::parse::ResourceRef) -> bool {
    has(Some(&rule.verbs), action.verb)
        && has(rule.api_groups.as_deref(), &action.group)
        && covers_resource(rule.resources.as_deref().unwrap_or_default(), action)
        && rule
            .resource_names
            .as_deref()
            .is_none_or(|names| names.is_empty() || names.contains(&action.name))
}

fn covers_resource(resources: &[String], action: &crate::parse::ResourceRef) -> bool {
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
