//! What is served besides objects: version, health, discovery, OpenAPI, keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::kinds::offered::{self, OfferedGroup, Remote};
use coracle_api::resources::API_SERVICES;
use coracle_api::{Status, discovery, hex, openapi};
use coracle_store::Snapshot;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Kinds;
use crate::auth::tokens::{ISSUER, Tokens};
use crate::edge::negotiate::accepted;
use crate::edge::response::{Response, full};
use crate::pipeline::parse::Query;

/// The Kubernetes release whose API this is.
pub const VERSION: &str = "v1.37.0";

const JSON: &str = "application/json";
/// What clients ask for, and what they then expect: `@` may not stand in a Content-Type.
const ASKED_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const OPEN_API_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What documents are made of.
pub(crate) struct Facts<'a> {
    pub(crate) kinds: &'a Arc<Kinds>,
    /// Where the APIServices are.
    pub(crate) snapshot: &'a Snapshot,
    /// What other API servers have said of themselves.
    pub(crate) remotes: &'a BTreeMap<String, Arc<Remote>>,
    pub(crate) tokens: &'a Tokens,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: &'a Query,
    /// Under which address the client reached us.
    pub(crate) host: Option<&'a str>,
}

impl Facts<'_> {
    /// All groups that clients may use, in their order.
    fn offered(&self) -> Vec<OfferedGroup<'_>> {
        offered(self.kinds, self.snapshot, self.remotes)
    }
}

fn offered<'a>(
    kinds: &'a Kinds,
    snapshot: &'a Snapshot,
    remotes: &'a BTreeMap<String, Arc<Remote>>,
) -> Vec<OfferedGroup<'a>> {
    let services = snapshot.list(API_SERVICES, None).map(|service| service.value());
    offered::offer(kinds, services, remotes)
}

/// The answer to GET of `path`.
///
/// # Errors
/// 404 when nothing is there.
pub(crate) async fn get(facts: &Facts<'_>, path: &str) -> Result<Response, Status> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let kinds = facts.kinds;
    if matches!(segments.as_slice(), ["api" | "apis", ..] | ["version"]) {
        check_accepted(facts, &segments)?;
    }
    match segments.as_slice() {
        ["version"] => Ok(full(200, JSON, version().to_string())),
        ["healthz" | "livez" | "readyz"] | ["healthz" | "livez" | "readyz", "ping"] => {
            Ok(health(facts, &segments))
        }
        ["healthz" | "livez" | "readyz", ..] => {
            Ok(full(404, "text/plain; charset=utf-8", "404 page not found\n"))
        }
        ["api"] | ["apis"] if wants_aggregated(facts.headers) => Ok(document(
            facts,
            AGGREGATED,
            discovery::aggregated(&facts.offered(), segments == ["api"]),
        )),
        ["api"] => {
            let address = facts.host.unwrap_or("localhost:6443");
            Ok(document(facts, JSON, discovery::api_versions(&facts.offered(), address)))
        }
        ["apis"] => Ok(document(facts, JSON, discovery::api_group_list(&facts.offered()))),
        ["api", version] => found(facts, discovery::api_resource_list(kinds, "", version)),
        ["apis", group] => found(facts, discovery::api_group(&facts.offered(), group)),
        ["apis", group, version] => {
            found(facts, discovery::api_resource_list(kinds, group, version))
        }
        ["openapi", "v2"] => open_api_v2(facts).await,
        ["openapi", "v3"] => Ok(document(facts, JSON, openapi::v3_index(kinds, &facts.offered()))),
        ["openapi", "v3", "api", version] => open_api_v3(facts, "", version).await,
        ["openapi", "v3", "apis", group, version] => open_api_v3(facts, group, version).await,
        ["openid", "v1", "jwks"] => {
            Ok(full(200, "application/jwk-set+json", facts.tokens.key_set().to_string()))
        }
        [".well-known", "openid-configuration"] => {
            Ok(full(200, JSON, openid_configuration().to_string()))
        }
        [] => Ok(full(200, JSON, root(&facts.offered()).to_string())),
        _ => Err(Status::no_such_path()),
    }
}

/// `/version`.
#[must_use]
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": format!("{VERSION}+coracle"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", go_arch()),
    })
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn health(facts: &Facts<'_>, segments: &[&str]) -> Response {
    let name = segments.first().copied().unwrap_or_default();
    if facts.query.has("verbose") && segments.len() == 1 {
        return full(200, "text/plain", format!("[+]ping ok\n[+]store ok\n{name} check passed\n"));
    }
    full(200, "text/plain", "ok".to_owned())
}

fn openid_configuration() -> Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn root(offered: &[OfferedGroup<'_>]) -> Value {
    let mut paths: Vec<String> = vec!["/api".into(), "/api/v1".into(), "/apis".into()];
    for group in offered.iter().filter(|group| !group.name.is_empty()) {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|v| format!("/apis/{}/{}", group.name, v.name)));
    }
    for path in
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
    {
        paths.push(path.into());
    }
    json!({"paths": paths})
}

/// 406 when a client accepts nothing that discovery comes in.
fn check_accepted(facts: &Facts<'_>, segments: &[&str]) -> Result<(), Status> {
    let accept = facts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let types = accepted(accept.unwrap_or_default());
    let is_root = matches!(segments, ["api" | "apis"]);
    let fits = |media: &crate::edge::negotiate::MediaType| {
        let is_plain = media.param("as").is_empty();
        match media.name.as_str() {
            "*/*" => true,
            "application/json" => is_plain || (is_root && wants_aggregated(facts.headers)),
            "application/yaml" | "application/vnd.kubernetes.protobuf" => {
                is_plain && segments != ["version"]
            }
            _ => false,
        }
    };
    if types.is_empty() || types.iter().any(fits) {
        return Ok(());
    }
    let message = "only the following media types are accepted: application/json, \
                   application/yaml, application/vnd.kubernetes.protobuf";
    Err(Status::failure(406, "NotAcceptable", message))
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted(accept.unwrap_or_default()).iter().any(|media| {
        media.param("as") == "APIGroupDiscoveryList"
            && media.param("g") == "apidiscovery.k8s.io"
            && media.param("v") == "v2"
    })
}

fn found(facts: &Facts<'_>, value: Option<Value>) -> Result<Response, Status> {
    value.map(|value| document(facts, JSON, value)).ok_or_else(Status::no_such_path)
}

/// A document that clients keep until its ETag changes.
fn document(facts: &Facts<'_>, media_type: &str, value: Value) -> Response {
    let text = format!("{value}\n");
    let tag = hex(&Sha256::digest(text.as_bytes())).to_uppercase();
    tagged(facts, media_type, &tag, text.into())
}

fn tagged(facts: &Facts<'_>, media_type: &str, tag: &str, body: Bytes) -> Response {
    let tag = format!("\"{tag}\"");
    let known = facts.headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let mut response = match known {
        true => full(304, media_type, Bytes::new()),
        false => full(200, media_type, body),
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

async fn open_api_v3(facts: &Facts<'_>, group: &str, version: &str) -> Result<Response, Status> {
    let hash = openapi::v3_hash(facts.kinds, group, version).ok_or_else(Status::no_such_path)?;
    let asked = facts.query.get("hash");
    if !asked.is_empty() && asked != hash {
        return Ok(moved(group, version, &hash));
    }
    let (kinds, group, version) = (Arc::clone(facts.kinds), group.to_owned(), version.to_owned());
    let make = move || openapi::v3_group_version(&kinds, &group, &version);
    let text = tokio::task::spawn_blocking(make).await.map_err(Status::internal)?;
    let text = text.map_err(Status::internal)?.ok_or_else(Status::no_such_path)?;
    let mut response = tagged(facts, JSON, &hash, text.into());
    if !asked.is_empty() {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}

/// To the document of today.
fn moved(group: &str, version: &str, hash: &str) -> Response {
    let path = if group.is_empty() { "api".to_owned() } else { format!("apis/{group}") };
    let mut response = full(301, "text/plain", Bytes::new());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(url) = HeaderValue::from_str(&format!("/openapi/v3/{path}/{version}?hash={hash}")) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response
}

async fn open_api_v2(facts: &Facts<'_>) -> Result<Response, Status> {
    let (kinds, snapshot) = (Arc::clone(facts.kinds), facts.snapshot.clone());
    let remotes = facts.remotes.clone();
    let media_type = if wants_protobuf(facts.headers) { OPEN_API_V2_PROTOBUF } else { JSON };
    let make = move || {
        let offered = offered(&kinds, &snapshot, &remotes);
        match media_type {
            JSON => openapi::v2(&kinds, &offered).map(String::into_bytes),
            _ => openapi::v2_protobuf(&kinds, &offered),
        }
    };
    let document = tokio::task::spawn_blocking(make).await;
    let document = document.map_err(Status::internal)?.map_err(Status::internal)?;
    let tag = hex(&Sha256::digest(&document)).to_uppercase();
    Ok(tagged(facts, media_type, &tag, document.into()))
}

/// Whether the first media type that can be had of the v2 document is protobuf.
fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let protobuf = [ASKED_V2_PROTOBUF, OPEN_API_V2_PROTOBUF];
    let json = [JSON, "application/*", "*/*"];
    let accepted = accepted(accept.unwrap_or_default());
    let mut names = accepted.iter().map(|media| media.name.as_str());
    let first = names.find(|name| protobuf.contains(name) || json.contains(name));
    first.is_some_and(|name| protobuf.contains(&name))
}
