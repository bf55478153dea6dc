//! Documents of other API servers beside our own.
//!
//! Definitions of one name are one if they say the same; else another server's gets another name, as
//! upstream's merging does (`kube-openapi/pkg/aggregator`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::paths;
use crate::kinds::offered::{OfferedGroup, Origin, Remote};

const V2_REFERENCE: &str = "#/definitions/";

/// What others have said of the versions that they serve: group, version, and what is known.
pub(super) fn others<'a>(
    offered: &'a [OfferedGroup<'a>],
) -> impl Iterator<Item = (&'a str, &'a str, Option<&'a Remote>)> {
    offered.iter().flat_map(|group| {
        group.versions.iter().filter_map(|version| match &version.origin {
            Origin::Own(_) => None,
            Origin::Other(remote) => Some((group.name, version.name, *remote)),
        })
    })
}

/// Puts the documents of others into the index of v3, in the place of ours of those versions.
pub(super) fn index(all: &mut Map<String, Value>, offered: &[OfferedGroup<'_>]) {
    for (group, version, remote) in others(offered) {
        all.remove(paths::root(group, version).trim_start_matches('/'));
        let documents = remote.into_iter().flat_map(|remote| &remote.documents);
        all.extend(documents.map(|(path, entry)| (path.clone(), entry.clone())));
    }
}

/// Puts what others say into a v2 document, in the place of what we say of those versions.
pub(super) fn v2(document: &mut Value, offered: &[OfferedGroup<'_>]) {
    for (group, version, remote) in others(offered) {
        let prefix = format!("{}/", paths::root(group, version));
        if let Some(paths) = document["paths"].as_object_mut() {
            paths.retain(|path, _| !path.starts_with(&prefix));
        }
        if let Some(swagger) = remote.and_then(|remote| remote.swagger.as_deref()) {
            add(document, swagger.clone());
        }
    }
}

fn add(document: &mut Value, mut other: Value) {
    let mut renames: BTreeMap<String, String> = BTreeMap::new();
    let (Some(known), Some(theirs)) =
        (document["definitions"].as_object(), other["definitions"].as_object())
    else {
        return;
    };
    for (name, definition) in theirs {
        if known.get(name).is_some_and(|known| known != definition) {
            let other_names = (2_u32..).map(|n| format!("{name}_v{n}"));
            let mut free =
                other_names.filter(|name| !known.contains_key(name) && !theirs.contains_key(name));
            renames.extend(free.next().map(|free| (name.clone(), free)));
        }
    }
    rename(&mut other, &renames);
    for part in ["paths", "definitions"] {
        let Value::Object(members) = other[part].take() else { continue };
        let Some(all) = document[part].as_object_mut() else { continue };
        for (name, member) in members {
            let name = match part {
                "definitions" => renames.get(&name).cloned().unwrap_or(name),
                _ => name,
            };
            all.entry(name).or_insert(member);
        }
    }
}

/// Lets all that refers to a definition refer to it under its new name.
fn rename(part: &mut Value, renames: &BTreeMap<String, String>) {
    let mut left = vec![part];
    while let Some(part) = left.pop() {
        match part {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get_mut("$ref")
                    && let Some(name) = target.strip_prefix(V2_REFERENCE)
                    && let Some(new) = renames.get(name)
                {
                    *target = format!("{V2_REFERENCE}{new}");
                }
                left.extend(members.values_mut());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::Kinds;
    use crate::kinds::offered::offer;

    #[test]
    fn definitions_of_one_name_that_differ_get_two() {
        let refers = |name: &str| json!({"$ref": format!("{V2_REFERENCE}{name}")});
        let mut document = json!({
            "paths": {"/apis/g/v1/ours": {}, "/api/v1/pods": {}},
            "definitions": {"Same": {"type": "object"}, "Other": {"type": "string"}},
        });
        let swagger = json!({
            "paths": {"/apis/g/v1/boats": {"get": {"schema": refers("Other")}}},
            "definitions": {"Same": {"type": "object"}, "Other": {"type": "object"},
                "Boat": {"properties": {"other": refers("Other"), "same": refers("Same")}}},
        });
        let service = json!({"metadata": {"name": "v1.g"},
            "spec": {"group": "g", "version": "v1", "service": {}}});
        let url = json!({"serverRelativeURL": "/openapi/v3/apis/g/v1?hash=A"});
        let documents = [("apis/g/v1".to_owned(), url.clone())].into();
        let remote = Remote { swagger: Some(Arc::new(swagger)), documents, ..Remote::default() };
        let remotes = [("v1.g".to_owned(), Arc::new(remote))].into();
        let kinds = Kinds::default();
        let offered = offer(&kinds, [&service].into_iter(), &remotes);
        v2(&mut document, &offered);
        let names =
            |of: &str| document[of].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names("paths"), ["/api/v1/pods", "/apis/g/v1/boats"]);
        assert_eq!(names("definitions"), ["Boat", "Other", "Other_v2", "Same"]);
        let boat = &document["definitions"]["Boat"]["properties"];
        assert_eq!(*boat, json!({"other": refers("Other_v2"), "same": refers("Same")}));
        assert_eq!(document["paths"]["/apis/g/v1/boats"]["get"]["schema"], refers("Other_v2"));
        let mut all = Map::from_iter([("apis/g/v1".to_owned(), json!("ours"))]);
        index(&mut all, &offered);
        assert_eq!(all["apis/g/v1"], url);
    }
}
