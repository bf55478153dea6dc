//! Which server a path belongs to. Pure.

use coracle_api::kinds::offered::REGISTRATION;
use coracle_api::resources::API_SERVICES;
use coracle_api::text::urls;
use coracle_api::{OtherServer, Status, conditions};
use coracle_store::Snapshot;

/// Another server, and the path there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: OtherServer,
    /// Whether it answered when it was asked last.
    pub(crate) is_available: bool,
    /// What it is asked for, as we have understood it.
    pub(crate) path: String,
}

/// The server that has what `path` is about; `None` when we have it.
///
/// # Errors
/// 400 for a path that another server might take for a different one than that whose rights were
/// looked at: a `/` in the middle of a segment, or a segment that goes up.
pub(crate) fn of_path(snapshot: &Snapshot, path: &str) -> Result<Option<Target>, Status> {
    let segments: Vec<String> =
        path.split('/').filter(|segment| !segment.is_empty()).map(urls::decoded).collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version) = match names.as_slice() {
        ["api", version, ..] | ["openapi", "v3", "api", version] => ("", *version),
        ["apis", group, version, ..] | ["openapi", "v3", "apis", group, version] => {
            (*group, *version)
        }
        _ => return Ok(None),
    };
    let Some((server, is_available)) = registered(snapshot, group, version) else {
        return Ok(None);
    };
    if let Some(odd) = names.iter().find(|name| name.contains('/') || matches!(**name, "." | ".."))
    {
        return Err(Status::bad_request(format!("{odd:?} is no segment of a path")));
    }
    let mut written: String =
        names.iter().map(|name| format!("/{}", urls::segment(name))).collect();
    if path.ends_with('/') {
        written.push('/');
    }
    Ok(Some(Target { server, is_available, path: written }))
}

/// The server of an APIService, and whether it is available. The registry itself is always ours: who
/// registers a server for it must be able to take that back.
fn registered(snapshot: &Snapshot, group: &str, version: &str) -> Option<(OtherServer, bool)> {
    if group == REGISTRATION {
        return None;
    }
    let service = snapshot.find(API_SERVICES, "", &format!("{version}.{group}"))?;
    let server = OtherServer::of(service.value())?;
    Some((server, conditions::is_true(service.value(), "Available")))
}

#[cfg(test)]
mod tests {
    use coracle_api::{Kinds, Object};
    use coracle_store::{Expect, Write};
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(services: &[(&str, &str, Value)]) -> Snapshot {
        let kinds = Kinds::builtin();
        let write = |(group, version, service): &(&str, &str, Value)| {
            let object = json!({
                "metadata": {"name": format!("{version}.{group}")},
                "spec": {"group": group, "version": version, "service": service},
            });
            let kind = kinds.stored(API_SERVICES).unwrap();
            Write::put(Object::new(kind, object).unwrap(), Expect::Any)
        };
        let writes: Vec<Write> = services.iter().map(write).collect();
        Snapshot::default().with(&writes).unwrap()
    }

    #[test]
    fn a_path_leads_where_its_rights_were_looked_at() {
        let there = json!({"namespace": "shop", "name": "server", "port": 443});
        let snapshot = snapshot(&[
            ("example.com", "v1", there.clone()),
            ("apps", "v1", Value::Null),
            ("apiregistration.k8s.io", "v1", there),
        ]);
        let path = |path: &str| {
            of_path(&snapshot, path).map(|it| it.map(|it| it.path)).map_err(|it| it.code)
        };
        let same = |text: &str| assert_eq!(path(text), Ok(Some(text.to_owned())));
        same("/apis/example.com/v1");
        same("/apis/example.com/v1/");
        same("/apis/example.com/v1/namespaces/a/boats/b");
        same("/openapi/v3/apis/example.com/v1");
        let cleaned = Ok(Some("/apis/example.com/v1/boats/a%20b".to_owned()));
        assert_eq!(path("//apis/example%2Ecom/v1//boats/a%20b"), cleaned);
        for ours in [
            "/apis/apps/v1/deployments",
            "/apis/apiregistration.k8s.io/v1/apiservices",
            "/apis/example.com",
            "/apis/example.com/v2/boats",
            "/version",
            "/api/v1/pods",
        ] {
            assert_eq!(path(ours), Ok(None), "{ours}");
        }
        for odd in ["/namespaces/a%2Fboats/x", "/namespaces/%2e%2e/boats", "/namespaces/../boats"] {
            assert_eq!(path(&format!("/apis/example.com/v1{odd}")), Err(400), "{odd}");
        }
    }
}
