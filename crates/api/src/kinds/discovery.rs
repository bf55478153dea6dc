//! What the server says it serves: `/api`, `/apis` and below, in both forms.

use serde_json::{Value, json};

use crate::kind::{Kind, Scope, SubresourceRow, Text, Verb, api_version};
use crate::kinds::{Group, Kinds};

/// `/api`: an `APIVersions`. `server_address` (`10.0.0.1:6443`) is where the server says it is.
#[must_use]
pub fn api_versions(kinds: &Kinds, server_address: &str) -> Value {
    let core = kinds.group("").map(|group| group.versions.as_slice()).unwrap_or_default();
    json!({
        "kind": "APIVersions",
        "versions": core.iter().map(|version| version.name.as_ref()).collect::<Vec<_>>(),
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": server_address},
        ],
    })
}

/// `/apis`: an `APIGroupList`.
#[must_use]
pub fn api_group_list(kinds: &Kinds) -> Value {
    let groups: Vec<Value> = named_groups(kinds).map(group_entry).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`: an `APIGroup`; `None` when there is no such group.
#[must_use]
pub fn api_group(kinds: &Kinds, group: &str) -> Option<Value> {
    let group = named_groups(kinds).find(|known| known.name == group)?;
    let mut entry = group_entry(group);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

/// `/api/v1` (`group` empty) and `/apis/GROUP/VERSION`: an `APIResourceList`; `None` when there is
/// no such version.
#[must_use]
pub fn api_resource_list(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let rows = &kinds.version(group, version)?.kinds;
    let resources: Vec<Value> =
        rows.iter().flat_map(|kind| resource_entries(kinds, kind)).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": resources,
    }))
}

/// `/api` (`core`) or `/apis` in the aggregated form: an `APIGroupDiscoveryList` of
/// apidiscovery.k8s.io/v2.
#[must_use]
pub fn aggregated(kinds: &Kinds, core: bool) -> Value {
    let groups = kinds.groups().iter().filter(|group| group.name.is_empty() == core);
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups.map(aggregated_group).collect::<Vec<_>>(),
    })
}

fn named_groups(kinds: &Kinds) -> impl Iterator<Item = &Group> {
    kinds.groups().iter().filter(|group| !group.name.is_empty())
}

fn group_entry(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            json!({
                "groupVersion": api_version(&group.name, &version.name),
                "version": version.name,
            })
        })
        .collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

/// The entry of a kind and those of its subresources.
fn resource_entries(kinds: &Kinds, kind: &Kind) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.is_namespaced(),
        "kind": kind.kind,
        "verbs": verbs(&kind.verbs),
    });
    add_names(&mut own, kind);
    if let Some(stored) = kinds.stored(&kind.storage_resource()).filter(|_| kind.is_stored()) {
        own["storageVersionHash"] = storage_version_hash(stored).into();
    }
    let subresources = kind.subresources.iter().map(|sub| subresource_entry(kind, sub));
    std::iter::once(own).chain(subresources).collect()
}

fn subresource_entry(kind: &Kind, sub: &SubresourceRow) -> Value {
    let (group, version, body) = foreign_body(kind, sub);
    let mut entry = json!({
        "name": format!("{}/{}", kind.plural, sub.name),
        "singularName": "",
        "namespaced": kind.is_namespaced(),
        "kind": body,
        "verbs": verbs(&sub.verbs),
    });
    if !version.is_empty() {
        entry["group"] = group.into();
        entry["version"] = version.into();
    }
    entry
}

/// Group, version and kind of a subresource's body; group and version are empty when they are the
/// parent's.
fn foreign_body<'a>(kind: &'a Kind, sub: &'a SubresourceRow) -> (&'a str, &'a str, &'a str) {
    match &sub.body {
        None => ("", "", &kind.kind),
        Some((group, version, body)) if *group == kind.group && *version == kind.version => {
            ("", "", body)
        }
        Some((group, version, body)) => (group, version, body),
    }
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

fn add_names(entry: &mut Value, kind: &Kind) {
    let named: [(&str, &[Text]); 2] =
        [("shortNames", &kind.short_names), ("categories", &kind.categories)];
    for (field, names) in named.into_iter().filter(|(_, names)| !names.is_empty()) {
        entry[field] = json!(names);
    }
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let rows = version.kinds.iter().map(|kind| aggregated_resource(kind));
            json!({
                "version": version.name,
                "freshness": "Current",
                "resources": rows.collect::<Vec<_>>(),
            })
        })
        .collect();
    // The core group has no name, and upstream then leaves it out.
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": match kind.scope {
            Scope::Namespaced => "Namespaced",
            Scope::Cluster => "Cluster",
        },
        "singularResource": kind.singular,
        "verbs": verbs(&kind.verbs),
    });
    add_names(&mut entry, kind);
    if !kind.subresources.is_empty() {
        let subs = kind.subresources.iter().map(|sub| aggregated_subresource(kind, sub));
        entry["subresources"] = subs.collect();
    }
    entry
}

fn aggregated_subresource(kind: &Kind, sub: &SubresourceRow) -> Value {
    let (group, version, body) = match &sub.body {
        None => (&kind.group, &kind.version, &kind.kind),
        Some((group, version, body)) => (group, version, body),
    };
    json!({
        "subresource": sub.name.as_str(),
        "responseKind": {"group": group, "version": version, "kind": body},
        "verbs": verbs(&sub.verbs),
    })
}

/// Tells clients whether the stored form changed: the first bytes of a hash of it, in base64.
fn storage_version_hash(stored: &Kind) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let form = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
    let hash = sha2::Sha256::digest(form.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(list: &'a Value, name: &str) -> &'a Value {
        let all = list["resources"].as_array().unwrap();
        all.iter().find(|entry| entry["name"] == name).unwrap()
    }

    #[test]
    fn the_core_group_is_under_api_and_the_others_under_apis() {
        let kinds = Kinds::builtin();
        let core = api_versions(&kinds, "127.0.0.1:6443");
        assert_eq!(core["versions"], json!(["v1"]));
        let groups = api_group_list(&kinds);
        assert_eq!(groups["groups"][1]["name"], "apps");
        assert!(groups["groups"].as_array().unwrap().iter().all(|group| group["name"] != ""));
        assert!(api_group(&kinds, "").is_none());
        assert_eq!(
            api_group(&kinds, "autoscaling").unwrap(),
            json!({
                "kind": "APIGroup",
                "apiVersion": "v1",
                "name": "autoscaling",
                "preferredVersion": {"groupVersion": "autoscaling/v2", "version": "v2"},
                "versions": [
                    {"groupVersion": "autoscaling/v2", "version": "v2"},
                    {"groupVersion": "autoscaling/v1", "version": "v1"},
                ],
            })
        );
    }

    #[test]
    fn a_resource_list_shows_kinds_and_subresources_with_their_bodies() {
        let kinds = Kinds::builtin();
        let core = api_resource_list(&kinds, "", "v1").unwrap();
        assert_eq!(core["groupVersion"], "v1");
        // What `kubectl drain` looks for.
        assert_eq!(
            entry(&core, "pods/eviction"),
            &json!({
                "name": "pods/eviction", "singularName": "", "namespaced": true,
                "group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"],
            })
        );
        assert_eq!(entry(&core, "pods/exec")["kind"], "PodExecOptions");
        assert_eq!(entry(&core, "pods/exec")["verbs"], json!(["create", "get"]));
        assert_eq!(entry(&core, "serviceaccounts/token")["group"], "authentication.k8s.io");
        let apps = api_resource_list(&kinds, "apps", "v1").unwrap();
        assert_eq!(
            entry(&apps, "statefulsets"),
            &json!({
                "name": "statefulsets", "singularName": "statefulset", "namespaced": true,
                "kind": "StatefulSet", "shortNames": ["sts"], "categories": ["all"],
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                "storageVersionHash": "H+vl74LkKdo=",
            })
        );
        assert_eq!(entry(&apps, "statefulsets/scale")["group"], "autoscaling");
        assert!(api_resource_list(&kinds, "apps", "v2").is_none());
    }

    #[test]
    fn the_aggregated_form_nests_versions_resources_and_subresources() {
        let kinds = Kinds::builtin();
        let core = aggregated(&kinds, true);
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        assert_eq!(core["items"][0]["metadata"], json!({}));
        let rest = aggregated(&kinds, false);
        let apps = &rest["items"][1];
        assert_eq!(apps["metadata"]["name"], "apps");
        let sets = apps["versions"][0]["resources"].as_array().unwrap().last().unwrap();
        assert_eq!(sets["resource"], "statefulsets");
        assert_eq!(sets["scope"], "Namespaced");
        assert_eq!(
            sets["subresources"][0],
            json!({
                "subresource": "scale",
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                "verbs": ["get", "patch", "update"],
            })
        );
        assert_eq!(sets["responseKind"]["group"], "apps");
    }

    #[test]
    fn the_kinds_that_kubectl_get_all_shows() {
        let kinds = Kinds::builtin();
        let all = kinds.iter().filter(|kind| kind.categories.iter().any(|name| name == "all"));
        let plurals: std::collections::BTreeSet<_> = all.map(|kind| kind.plural.as_ref()).collect();
        let expected = [
            "cronjobs",
            "daemonsets",
            "deployments",
            "horizontalpodautoscalers",
            "jobs",
            "pods",
            "replicasets",
            "replicationcontrollers",
            "services",
            "statefulsets",
        ];
        assert_eq!(plurals.into_iter().collect::<Vec<_>>(), expected);
    }
}
