//! OpenAPI documents, made from the table of kinds and the definitions when somebody asks.
//!
//! Nothing here is kept: a document is up to 1.5 MB of text. Whoever serves it may compress and
//! cache it under [`v3_hash`].

mod gnostic;
mod merged;
mod parameters;
mod paths;
mod v2;
mod v3;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kind::Kind;
use crate::kinds::offered::OfferedGroup;
use crate::kinds::{Kinds, Version};
use crate::schema::{MalformedSchema, PACKED, REFERENCE, definitions};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// Media types of an answer.
const ANSWERS: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Media types of a patch. That the strategic one is missing tells `kubectl apply` to send merge
/// patches.
fn patch_types(strategic: bool) -> Vec<&'static str> {
    let general = [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ];
    let strategic = strategic.then_some("application/strategic-merge-patch+json");
    general.into_iter().chain(strategic).collect()
}

/// `/openapi/v3`: where the document of each version is, with a hash that changes with it; those of
/// other servers are among `offered`.
#[must_use]
pub fn v3_index(kinds: &Kinds, offered: &[OfferedGroup<'_>]) -> Value {
    let mut all = Map::new();
    for group in kinds.groups() {
        for version in &group.versions {
            let path = paths::root(&group.name, &version.name);
            let hash = hash(&group.name, version);
            let url = format!("/openapi/v3{path}?hash={hash}");
            all.insert(path.trim_start_matches('/').into(), json!({"serverRelativeURL": url}));
        }
    }
    merged::index(&mut all, offered);
    json!({"paths": all})
}

/// The hash of a version's document, which is its ETag too; `None` when there is no such version.
#[must_use]
pub fn v3_hash(kinds: &Kinds, group: &str, version: &str) -> Option<String> {
    kinds.version(group, version).map(|version| hash(group, version))
}

/// `/openapi/v3/api/v1` and `/openapi/v3/apis/GROUP/VERSION`, as JSON; `None` when there is no such
/// version.
///
/// # Errors
/// Never, unless the build is broken.
pub fn v3_group_version(
    kinds: &Kinds,
    group: &str,
    version: &str,
) -> Result<Option<String>, MalformedSchema> {
    let Some(version) = kinds.version(group, version) else { return Ok(None) };
    let mut names = BTreeSet::new();
    let mut text =
        r#"{"openapi":"3.0.0","info":{"title":"Kubernetes","version":"v1.37.0"},"paths":{"#
            .to_string();
    let tag = paths::tag(group, &version.name);
    let mut comma = "";
    for kind in &version.kinds {
        names.insert(kind.schema.to_string());
        for path in paths::paths(kinds, kind) {
            note_schemas(&path, &mut names);
            let item = v3::path_item(&path, &tag);
            append(&mut text, comma, &path.template, &item.to_string());
            comma = ",";
        }
    }
    text.push_str(r#"},"components":{"schemas":{"#);
    let source = definitions()?;
    comma = "";
    let library = Library::new(&source, &version.kinds)?;
    for (name, schema) in closure(&names, &library) {
        append(&mut text, comma, name, schema);
        comma = ",";
    }
    text.push_str(r#"},"securitySchemes":{"BearerToken":{"type":"apiKey","in":"header","#);
    text.push_str(r#""name":"authorization","description":"Bearer Token authentication"}}}}"#);
    Ok(Some(text))
}

/// `/openapi/v2`, as JSON, with what other servers say that are among `offered`.
///
/// # Errors
/// Never, unless the build is broken.
pub fn v2(kinds: &Kinds, offered: &[OfferedGroup<'_>]) -> Result<String, MalformedSchema> {
    let own = own_v2(kinds)?;
    if merged::others(offered).next().is_none() {
        return Ok(own);
    }
    let mut document = serde_json::from_str(&own).map_err(MalformedSchema::Parse)?;
    merged::v2(&mut document, offered);
    Ok(document.to_string())
}

fn own_v2(kinds: &Kinds) -> Result<String, MalformedSchema> {
    let mut names = BTreeSet::new();
    let mut text =
        r#"{"swagger":"2.0","info":{"title":"Kubernetes","version":"v1.37.0"},"paths":{"#
            .to_string();
    let mut comma = "";
    for kind in kinds.iter() {
        names.insert(kind.schema.to_string());
        let tag = paths::tag(&kind.group, &kind.version);
        for path in paths::paths(kinds, kind) {
            note_schemas(&path, &mut names);
            let item = v2::path_item(&path, &tag);
            append(&mut text, comma, &path.template, &item.to_string());
            comma = ",";
        }
    }
    text.push_str(r#"},"definitions":{"#);
    let source = definitions()?;
    comma = "";
    let library = Library::new(&source, kinds.iter())?;
    for (name, schema) in closure(&names, &library) {
        let mut schema = serde_json::from_str(schema).map_err(MalformedSchema::Parse)?;
        v2::definition(&mut schema);
        append(&mut text, comma, name, &schema.to_string());
        comma = ",";
    }
    text.push_str(r#"},"securityDefinitions":{"BearerToken":{"type":"apiKey","in":"header","#);
    text.push_str(r#""name":"authorization","description":"Bearer Token authentication"}},"#);
    text.push_str(r#""security":[{"BearerToken":[]}]}"#);
    Ok(text)
}

/// `/openapi/v2`, as protobuf.
///
/// # Errors
/// Never, unless the build is broken.
pub fn v2_protobuf(
    kinds: &Kinds,
    offered: &[OfferedGroup<'_>],
) -> Result<Vec<u8>, MalformedSchema> {
    let document = serde_json::from_str(&v2(kinds, offered)?).map_err(MalformedSchema::Parse)?;
    Ok(gnostic::encode(&document))
}

/// Appends a member of a JSON map, of which `key` needs no escapes.
fn append(text: &mut String, comma: &str, key: &str, value: &str) {
    // Writing to a string cannot fail.
    write!(text, "{comma}\"{key}\":{value}").unwrap_or_default();
}

fn note_schemas(path: &paths::Path, names: &mut BTreeSet<String>) {
    for operation in &path.operations {
        names.extend(paths::schemas(operation).map(str::to_string));
    }
}

/// All definitions by name: upstream's, and those of custom resources.
struct Library<'a> {
    builtin: BTreeMap<&'a str, &'a RawValue>,
    custom: BTreeMap<String, String>,
}

impl<'a> Library<'a> {
    fn new<'k, K>(
        source: &'a str,
        kinds: impl IntoIterator<Item = &'k K>,
    ) -> Result<Self, MalformedSchema>
    where
        K: AsRef<Kind> + 'k,
    {
        let builtin = serde_json::from_str(source).map_err(MalformedSchema::Parse)?;
        let custom = kinds.into_iter().flat_map(|kind| custom_definitions(kind.as_ref())).collect();
        Ok(Self { builtin, custom })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let builtin = || self.builtin.get(name).map(|schema| schema.get());
        self.custom.get(name).map(String::as_str).or_else(builtin)
    }
}

/// The named definitions and all that they refer to, by name.
fn closure<'a>(
    names: &'a BTreeSet<String>,
    library: &'a Library<'_>,
) -> BTreeMap<&'a str, &'a str> {
    let mut found = BTreeMap::new();
    let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    while let Some(name) = wanted.pop() {
        if let Some(schema) = library.get(name)
            && found.insert(name, schema).is_none()
        {
            let targets = schema.split(REFERENCE).skip(1);
            wanted.extend(targets.filter_map(|rest| rest.split('"').next()));
        }
    }
    found
}

/// The definitions of a custom resource and its list, by name; none for a builtin kind.
fn custom_definitions(kind: &Kind) -> Vec<(String, String)> {
    let Some(root) = &kind.definition else { return Vec::new() };
    let name = kind.schema.to_string();
    let list = format!("{name}List");
    let items = json!({"type": "array", "items": {"$ref": format!("{REFERENCE}{name}")}});
    let list_root = json!({
        "description": format!("{0}List is a list of {0}", kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {"items": items},
    });
    let object = whole_object(root.as_ref().clone(), kind, "", "ObjectMeta");
    vec![
        (name, object.to_string()),
        (list, whole_object(list_root, kind, "List", "ListMeta").to_string()),
    ]
}

/// A definition with `apiVersion`, `kind` and `metadata`, and the kind that it is of.
fn whole_object(mut root: Value, kind: &Kind, suffix: &str, metadata: &str) -> Value {
    let metadata = format!("{REFERENCE}io.k8s.apimachinery.pkg.apis.meta.v1.{metadata}");
    root["type"] = "object".into();
    let properties = &mut root["properties"];
    properties["apiVersion"] = json!({
        "type": "string",
        "description": "APIVersion says in which group and version this is.",
    });
    properties["kind"] = json!({"type": "string", "description": "Kind says what this is."});
    properties["metadata"] = json!({
        "description": "Standard object's metadata.",
        "allOf": [{"$ref": metadata}],
    });
    root["x-kubernetes-group-version-kind"] = json!([{
        "group": kind.group,
        "version": kind.version,
        "kind": format!("{}{suffix}", kind.kind),
    }]);
    root
}

/// A hash over all that goes into a version's document.
fn hash(group: &str, version: &Version) -> String {
    static DEFINITIONS: LazyLock<Vec<u8>> = LazyLock::new(|| Sha256::digest(PACKED).to_vec());
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(&*DEFINITIONS);
    for kind in &version.kinds {
        let names = (group, &kind.version, &kind.kind, &kind.plural, kind.scope);
        hash.update(format!("{names:?} {:?} {:?}", kind.verbs, kind.subresources));
        if let Some(definition) = &kind.definition {
            hash.update(definition.to_string());
        }
    }
    hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}"))
}

#[cfg(test)]
mod tests;
