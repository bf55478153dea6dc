//! What the server says it serves: `/api`, `/apis` and below, in both forms.

use serde_json::{Value, json};

use crate::kind::{Kind, Scope, SubresourceRow, Text, Verb, api_version};
use crate::kinds::Kinds;
use crate::kinds::offered::{OfferedGroup, OfferedVersion, Origin};

/// `/api`: an `APIVersions`. `server_address` (`10.0.0.1:6443`) is where the server says it is.
#[must_use]
pub fn api_versions(offered: &[OfferedGroup<'_>], server_address: &str) -> Value {
    let core = offered.iter().filter(|group| group.name.is_empty());
    json!({
        "kind": "APIVersions",
        "versions": core.flat_map(|it| &it.versions).map(|it| it.name).collect::<Vec<_>>(),
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": server_address},
        ],
    })
}

/// `/apis`: an `APIGroupList`.
#[must_use]
pub fn api_group_list(offered: &[OfferedGroup<'_>]) -> Value {
    let groups: Vec<Value> = named_groups(offered).map(group_entry).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`: an `APIGroup`; `None` when there is no such group.
#[must_use]
pub fn api_group(offered: &[OfferedGroup<'_>], group: &str) -> Option<Value> {
    let group = named_groups(offered).find(|known| known.name == group)?;
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
pub fn aggregated(offered: &[OfferedGroup<'_>], core: bool) -> Value {
    let groups = offered.iter().filter(|group| group.name.is_empty() == core);
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups.map(aggregated_group).collect::<Vec<_>>(),
    })
}

fn named_groups<'a>(offered: &'a [OfferedGroup<'a>]) -> impl Iterator<Item = &'a OfferedGroup<'a>> {
    offered.iter().filter(|group| !group.name.is_empty())
}

fn group_entry(group: &OfferedGroup<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            json!({
                "groupVersion": api_version(group.name, version.name),
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

fn aggregated_group(group: &OfferedGroup<'_>) -> Value {
    let versions: Vec<Value> = group.versions.iter().map(aggregated_version).collect();
    // The core group has no name, and upstream then leaves it out.
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

/// What another server has not said, or not lately, is stale: clients then know that they miss some.
fn aggregated_version(version: &OfferedVersion<'_>) -> Value {
    let (resources, is_current) = match &version.origin {
        Origin::Own(own) => {
            (own.kinds.iter().map(|kind| aggregated_resource(kind)).collect(), true)
        }
        Origin::Other(Some(remote)) => (remote.resources.clone(), remote.is_current),
        Origin::Other(None) => (Vec::new(), false),
    };
    let freshness = if is_current { "Current" } else { "Stale" };
    let mut entry = json!({"version": version.name, "freshness": freshness});
    if !resources.is_empty() {
        entry["resources"] = resources.into();
    }
    entry
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
    use std::collections::BTreeMap;
    use std::sync::{Arc, LazyLock};

    use super::*;
    use crate::kinds::offered::{Remote, offer};

    static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::builtin);
    static NONE: BTreeMap<String, Arc<Remote>> = BTreeMap::new();

    fn offered() -> Vec<OfferedGroup<'static>> {
        offer(&KINDS, std::iter::empty(), &NONE)
    }

    fn entry<'a>(list: &'a Value, name: &str) -> &'a Value {
        let all = list["resources"].as_array().unwrap();
        all.iter().find(|entry| entry["name"] == name).unwrap()
    }

    #[test]
    fn the_core_group_is_under_api_and_the_others_under_apis() {
        let kinds = offered();
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
        let kinds = offered();
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
    fn what_another_server_does_not_say_is_stale() {
        let service = json!({"metadata": {"name": "v1.example.com"}, "spec": {
            "group": "example.com", "version": "v1", "service": {}}});
        let shown = |remotes: &BTreeMap<String, Arc<Remote>>| {
            let all = aggregated(&offer(&KINDS, [&service].into_iter(), remotes), false);
            let items = all["items"].as_array().unwrap();
            let found = items.iter().find(|group| group["metadata"]["name"] == "example.com");
            found.unwrap()["versions"][0].clone()
        };
        assert_eq!(shown(&NONE), json!({"version": "v1", "freshness": "Stale"}));
        let resources = vec![json!({"resource": "boats"})];
        let remote = Remote { resources: resources.clone(), is_current: true, ..Remote::default() };
        let known = BTreeMap::from([("v1.example.com".to_owned(), Arc::new(remote))]);
        let current = json!({"version": "v1", "freshness": "Current", "resources": resources});
        assert_eq!(shown(&known), current);
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
