//! What another API server says of itself, read with care: it becomes part of documents that every
//! client reads, and none of them may trip over it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// `apidiscovery.k8s.io/v2.APIResourceDiscovery`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Resource {
    resource: String,
    response_kind: Option<Gvk>,
    scope: String,
    singular_resource: String,
    verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    short_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subresources: Vec<Subresource>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Subresource {
    subresource: String,
    response_kind: Option<Gvk>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accepted_types: Vec<Gvk>,
    verbs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Gvk {
    group: String,
    version: String,
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupList {
    kind: String,
    items: Vec<GroupDiscovery>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupDiscovery {
    metadata: Named,
    versions: Vec<VersionDiscovery>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VersionDiscovery {
    version: String,
    resources: Vec<Resource>,
}

/// `meta.k8s.io/v1.APIResource`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Legacy {
    name: String,
    singular_name: String,
    namespaced: bool,
    group: String,
    version: String,
    kind: String,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LegacyList {
    resources: Vec<Legacy>,
}

/// The kinds of a version in an `APIGroupDiscoveryList`; `None` when `text` is none, as older servers
/// answer something else.
pub(super) fn aggregated(text: &str, group: &str, version: &str) -> Option<Vec<Value>> {
    let list: GroupList = serde_json::from_str(text).ok()?;
    if list.kind != "APIGroupDiscoveryList" {
        return None;
    }
    let groups = list.items.into_iter().filter(|known| known.metadata.name == group);
    let versions = groups.flat_map(|group| group.versions);
    let own = versions.filter(|known| known.version == version);
    let mut resources: Vec<Resource> = own.flat_map(|version| version.resources).collect();
    for resource in &mut resources {
        // Clients of some age trip over what has no kind.
        resource.response_kind.get_or_insert_default();
        for subresource in &mut resource.subresources {
            subresource.response_kind.get_or_insert_default();
        }
    }
    Some(resources.iter().filter_map(|it| serde_json::to_value(it).ok()).collect())
}

/// The same of an `APIResourceList`.
///
/// # Errors
/// When it is none.
pub(super) fn legacy(text: &str, group: &str, version: &str) -> Result<Vec<Value>, String> {
    let list: LegacyList = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut resources: Vec<Resource> = Vec::new();
    for entry in list.resources {
        let or = |own: &str, other: &str| if own.is_empty() { other } else { own }.to_owned();
        let kind = Gvk {
            group: or(&entry.group, group),
            version: or(&entry.version, version),
            kind: entry.kind.clone(),
        };
        match entry.name.split_once('/') {
            None => resources.push(Resource {
                resource: entry.name,
                response_kind: Some(kind),
                scope: if entry.namespaced { "Namespaced" } else { "Cluster" }.to_owned(),
                singular_resource: entry.singular_name,
                verbs: entry.verbs,
                short_names: entry.short_names,
                categories: entry.categories,
                subresources: Vec::new(),
            }),
            Some((parent, name)) => {
                let (subresource, verbs) = (name.to_owned(), entry.verbs);
                let response_kind = Some(kind);
                let accepted_types = Vec::new();
                let parent = resources.iter_mut().find(|known| known.resource == parent);
                if let Some(parent) = parent {
                    let sub = Subresource { subresource, response_kind, accepted_types, verbs };
                    parent.subresources.push(sub);
                }
            }
        }
    }
    Ok(resources.iter().filter_map(|it| serde_json::to_value(it).ok()).collect())
}

/// The path under which OpenAPI v3 has a version: `apis/example.com/v1`.
pub(super) fn document(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// The entry of a version in an index of OpenAPI v3 documents.
pub(super) fn documents(text: &str, group: &str, version: &str) -> BTreeMap<String, Value> {
    let index: Value = serde_json::from_str(text).unwrap_or_default();
    let path = document(group, version);
    let url = index["paths"][&path]["serverRelativeURL"].as_str();
    // It leads to us: whatever the server calls it, it is asked for under its own path.
    let tail = url.map(|url| url.split_once('?').map_or("", |(_, query)| query));
    let entry = tail.map(|query| {
        let url = match query {
            "" => format!("/openapi/v3/{path}"),
            query => format!("/openapi/v3/{path}?{query}"),
        };
        (path.clone(), json!({"serverRelativeURL": url}))
    });
    entry.into_iter().collect()
}

/// Of an OpenAPI v2 document the paths of a version, and the definitions that they need.
pub(super) fn swagger(text: &str, group: &str, version: &str) -> Option<Value> {
    let mut whole: Value = serde_json::from_str(text).ok()?;
    let prefix = format!("/{}/", document(group, version));
    let Value::Object(paths) = whole["paths"].take() else { return None };
    let own =
        paths.into_iter().filter(|(path, item)| path.starts_with(&prefix) && item.is_object());
    let paths: Map<String, Value> = own.collect();
    let Value::Object(mut all) = whole["definitions"].take() else { return None };
    let mut wanted: Vec<String> = paths.values().flat_map(references).collect();
    let mut kept = Map::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if seen.insert(name.clone())
            && let Some(definition) = all.remove(&name).filter(Value::is_object)
        {
            wanted.extend(references(&definition));
            kept.insert(name, definition);
        }
    }
    Some(json!({"paths": paths, "definitions": kept}))
}

/// The definitions that a part of a document refers to.
fn references(part: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![part];
    while let Some(part) = left.pop() {
        match part {
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str);
                found.extend(
                    name.and_then(|it| it.strip_prefix("#/definitions/")).map(str::to_owned),
                );
                left.extend(members.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_discovery_say_the_same() {
        let new = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "items": [{"metadata": {"name": "example.com"}, "versions": [{"version": "v1",
            "resources": [{
                "resource": "boats", "scope": "Namespaced", "singularResource": "boat",
                "responseKind": {"group": "example.com", "version": "v1", "kind": "Boat"},
                "verbs": ["get", "list"], "shortNames": ["bt"], "unheard": {"of": 1},
                "subresources": [{"subresource": "status", "verbs": ["get"],
                    "responseKind": {"group": "example.com", "version": "v1", "kind": "Boat"}}],
            }]}]}]});
        let old = json!({"kind": "APIResourceList", "groupVersion": "example.com/v1", "resources": [
            {"name": "boats", "singularName": "boat", "namespaced": true, "kind": "Boat",
                "verbs": ["get", "list"], "shortNames": ["bt"]},
            {"name": "boats/status", "namespaced": true, "kind": "Boat", "verbs": ["get"]},
            {"name": "lost/status", "kind": "Lost", "verbs": ["get"]},
        ]});
        let new = aggregated(&new.to_string(), "example.com", "v1").unwrap();
        assert_eq!(new, legacy(&old.to_string(), "example.com", "v1").unwrap());
        assert_eq!(new.len(), 1);
        assert_eq!(new[0]["subresources"][0]["subresource"], "status");
        assert!(new[0].get("unheard").is_none());
        assert_eq!(aggregated(&old.to_string(), "example.com", "v1"), None);
    }

    #[test]
    fn what_would_trip_up_clients_is_not_said() {
        let odd = json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": "g"},
            "versions": [{"version": "v1", "resources": [{"resource": 7}]}]}]});
        assert_eq!(aggregated(&odd.to_string(), "g", "v1"), None);
        assert!(legacy("[1]", "g", "v1").is_err() && legacy("", "g", "v1").is_err());
        let nameless = json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": "g"},
            "versions": [{"version": "v1", "resources": [{"resource": "a"}]}]}]});
        let found = aggregated(&nameless.to_string(), "g", "v1").unwrap();
        assert_eq!(found[0]["responseKind"]["kind"], "");
        let elsewhere = json!({"paths": {"apis/g/v1": {"serverRelativeURL": "https://evil/x?hash=A"},
            "apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=B"}}});
        let found = documents(&elsewhere.to_string(), "g", "v1");
        let own = json!({"serverRelativeURL": "/openapi/v3/apis/g/v1?hash=A"});
        assert_eq!(found, BTreeMap::from([("apis/g/v1".to_owned(), own)]));
    }

    #[test]
    fn of_a_v2_document_what_the_version_needs_is_left() {
        let refers = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let text = json!({
            "paths": {
                "/apis/g/v1/boats": {"get": {"schema": refers("Boat")}},
                "/apis/apps/v1/deployments": {"get": {"schema": refers("Other")}},
                "/apis/g/v1/odd": 3,
            },
            "definitions": {
                "Boat": {"properties": {"sail": refers("Sail"), "self": refers("Boat")}},
                "Sail": {"type": "object"}, "Other": {"type": "object"}, "Odd": 1,
            },
        });
        let kept = swagger(&text.to_string(), "g", "v1").unwrap();
        let names = |of: &str| kept[of].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names("paths"), ["/apis/g/v1/boats"]);
        assert_eq!(names("definitions"), ["Boat", "Sail"]);
        assert_eq!(swagger("{}", "g", "v1"), None);
    }
}
