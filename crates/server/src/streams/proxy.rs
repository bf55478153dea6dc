//! `pods/proxy` and `services/proxy`: HTTP requests that are handed on to a pod.
//!
//! Whoever asks is known by the time a request comes here, so what it proved itself with goes no
//! further. Redirects within the pod lead back through here, and so do links in its pages.

use coracle_api::resources::{ENDPOINTS, NODES, PODS, SERVICES};
use coracle_api::{Object, Status};
use coracle_store::Snapshot;
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::edge::response::{Body, Response, incoming};
use crate::pipeline::parse::ResourceRef;
use crate::streams::hops::{CORS_HEADERS, Kept, OWN_HEADERS, join, remove, until_stopped};
use crate::streams::kubelet;
use crate::streams::links::Links;
use crate::streams::node::Call;
use crate::streams::pods;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    pod: String,
    port: u16,
    tls: bool,
}

/// Answers `pods/proxy` and `services/proxy`; where several pods would do, `chance` chooses.
///
/// # Errors
/// 404 without the pod or Service, 400 for a name that is none, 503 when nothing answers there.
pub(crate) async fn serve(
    call: Call<'_>,
    chance: u64,
    parts: &mut Parts,
    body: Incoming,
) -> Result<Response, Status> {
    let resource = call.resource;
    if resource.resource == NODES {
        return node(call, parts).await;
    }
    let target = match resource.resource.as_str() {
        PODS => pod(call.snapshot, resource)?,
        SERVICES => service(call.snapshot, resource, chance)?,
        _ => return Err(Status::no_such_path()),
    };
    let path = parts.uri.path().to_owned();
    let (here, there) = split(&path, if resource.namespace.is_empty() { 5 } else { 7 });
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if there.is_empty() && matches!(parts.method, Method::GET | Method::HEAD) {
        return moved(&format!("{here}/{query}"));
    }
    let there = if there.is_empty() { "/" } else { there };
    let mut request = http::Request::new(body);
    request.method_mut().clone_from(&parts.method);
    *request.uri_mut() = format!("{there}{query}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| Status::bad_request(error.to_string()))?;
    let host = host(parts);
    *request.headers_mut() = forwarded(&parts.headers, &path, host.as_ref());
    let (client, kept) = (parts.extensions.remove::<OnUpgrade>(), Kept::of(parts));
    let stream = call.node.reach(&resource.namespace, &target.pod, target.port, target.tls).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let mut response = sender.send_request(request).await.map_err(unreachable)?;
    let upgraded = (response.status() == StatusCode::SWITCHING_PROTOCOLS).then_some(client);
    if let Some(client) = upgraded.flatten() {
        join(client, hyper::upgrade::on(&mut response), kept);
        return Ok(response.map(incoming));
    }
    let headers = response.headers_mut();
    remove(headers, OWN_HEADERS);
    remove(headers, CORS_HEADERS);
    if let Some(location) = headers.get_mut(header::LOCATION)
        && let Some(here) = location.to_str().ok().and_then(|it| back(it, here, host.as_ref()))
        && let Ok(here) = HeaderValue::from_str(&here)
    {
        *location = here;
    }
    let is_page = is_page(&response);
    if is_page {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let here = here.to_owned();
    Ok(response.map(|body| {
        let body = until_stopped(body, call.stopping);
        if is_page { linked(body, here, host) } else { body }
    }))
}

/// What the node serves of its own, to be read. Its name may have a scheme and a port, which are one
/// here.
async fn node(call: Call<'_>, parts: &mut Parts) -> Result<Response, Status> {
    let (_, name, _) = address(&call.resource.name, "node")?;
    let name = name.to_owned();
    if call.snapshot.find(NODES, "", &name).is_none() {
        return Err(Status::failure(404, "NotFound", format!("nodes {name:?} not found")));
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Status::no_such_path());
    }
    let path = parts.uri.path().to_owned();
    kubelet::serve(call, (&name, split(&path, 5).1), parts).await
}

/// Whether links in the body are changed: upstream changes those of HTML.
fn is_page(response: &http::Response<Incoming>) -> bool {
    let said = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = said(header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    let is_html = kind.is_some_and(|kind| kind.trim() == "text/html");
    let is_plain = said(header::CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    is_html && is_plain && response.status() != StatusCode::PARTIAL_CONTENT
}

/// A page whose links lead back through the proxy.
fn linked(body: Body, here: String, host: Option<HeaderValue>) -> Body {
    let mut links = Links::new(move |link: &str| back(link, &here, host.as_ref()));
    let frames = BodyStream::new(body).map(Some).chain(stream::once(async { None }));
    let frames = frames.filter_map(move |frame| {
        let data = match frame {
            None => Some(Ok(links.rest())),
            Some(Ok(frame)) => frame.into_data().ok().map(|data| Ok(links.push(&data))),
            Some(Err(error)) => Some(Err(error)),
        };
        std::future::ready(data.map(|data| data.map(|data| Frame::data(data.into()))))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn unreachable(error: hyper::Error) -> Status {
    unavailable(format!("error trying to reach service: {error}"))
}

fn unavailable(message: String) -> Status {
    Status::failure(503, "ServiceUnavailable", message)
}

/// `[SCHEME:]NAME[:PORT]`.
fn address<'a>(text: &'a str, what: &str) -> Result<(bool, &'a str, &'a str), Status> {
    let (scheme, name, port) = match text.split(':').collect::<Vec<_>>().as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => ("?", "", ""),
    };
    if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
        return Err(Status::bad_request(format!("invalid {what} request \"{text}\"")));
    }
    Ok((scheme == "https", name, port))
}

/// The pod, at the port that is named or its first; 80 when it has none.
fn pod(snapshot: &Snapshot, resource: &ResourceRef) -> Result<Target, Status> {
    let (tls, name, port) = address(&resource.name, "pod")?;
    let named = ResourceRef { name: name.to_owned(), ..resource.clone() };
    let pod = pods::placed(snapshot, &named)?;
    let port = match port {
        "" => first_port(pod).unwrap_or(if tls { 443 } else { 80 }),
        text => text.parse().map_err(|_| {
            Status::bad_request(format!("invalid pod request \"{}\"", resource.name))
        })?,
    };
    Ok(Target { pod: name.to_owned(), port, tls })
}

fn first_port(pod: &Object) -> Option<u16> {
    let containers = pod.value()["spec"]["containers"].as_array().into_iter().flatten();
    let mut first = containers.filter_map(|container| container.pointer("/ports/0/containerPort"));
    u16::try_from(first.next()?.as_u64()?).ok()
}

/// A ready pod of the Service, at the port of that number or name.
fn service(snapshot: &Snapshot, resource: &ResourceRef, chance: u64) -> Result<Target, Status> {
    let (tls, name, port) = address(&resource.name, "service")?;
    let namespace = &resource.namespace;
    let found = snapshot.find(SERVICES, namespace, name);
    let missing = |what: &str| {
        Status::failure(404, "NotFound", format!("{what} \"{name}\" not found")).with_details(
            |details| {
                details.name = name.to_owned();
                details.kind = what.to_owned();
            },
        )
    };
    let port = match port.parse::<u16>() {
        Err(_) => port.to_owned(),
        Ok(number) => {
            let service = found.ok_or_else(|| missing(SERVICES))?;
            let mut ports = service.value()["spec"]["ports"].as_array().into_iter().flatten();
            let same = ports.find(|port| port["port"] == number).ok_or_else(|| {
                let why = format!("no service port {number} found for service \"{name}\"");
                unavailable(why)
            })?;
            same["name"].as_str().unwrap_or_default().to_owned()
        }
    };
    let endpoints = snapshot.find(ENDPOINTS, namespace, name).ok_or_else(|| missing(ENDPOINTS))?;
    let mut ready = Vec::new();
    for subset in endpoints.value()["subsets"].as_array().into_iter().flatten() {
        let ports = subset["ports"].as_array().into_iter().flatten();
        let number = ports
            .filter(|known| known["name"].as_str().unwrap_or_default() == port)
            .find_map(|known| u16::try_from(known["port"].as_u64()?).ok());
        let Some(number) = number else { continue };
        for address in subset["addresses"].as_array().into_iter().flatten() {
            if let Some(pod) = pod_at(snapshot, namespace, address) {
                ready.push(Target { pod, port: number, tls });
            }
        }
    }
    let nth = chance.checked_rem(ready.len() as u64).and_then(|nth| usize::try_from(nth).ok());
    nth.map(|nth| ready.swap_remove(nth)).ok_or_else(|| {
        unavailable(format!("no endpoints available for service \"{}\"", resource.name))
    })
}

/// The pod whose address that is: nobody is sent anywhere else, whatever Endpoints say.
fn pod_at(snapshot: &Snapshot, namespace: &str, address: &serde_json::Value) -> Option<String> {
    let target = address.get("targetRef").filter(|target| target["kind"] == "Pod")?;
    let pod = snapshot.find(PODS, namespace, target["name"].as_str()?)?;
    let is_there = pod.str_at("/status/podIP") == address["ip"].as_str();
    is_there.then(|| pod.metadata().name.clone())
}

/// The part of `path` that has so many segments, and the rest.
fn split(path: &str, segments: usize) -> (&str, &str) {
    let mut rest = path;
    for _ in 0..segments {
        rest = rest.trim_start_matches('/');
        rest = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
    }
    path.split_at(path.len() - rest.len())
}

/// Relative links need the slash.
fn moved(location: &str) -> Result<Response, Status> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::from_str(location).map_err(Status::internal)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn host(parts: &Parts) -> Option<HeaderValue> {
    let named = parts.headers.get(header::HOST).cloned();
    let authority = || parts.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    named.or_else(authority)
}

/// The client's headers as the pod gets them.
fn forwarded(from: &HeaderMap, path: &str, host: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = from.clone();
    let upgrade = headers.get(header::UPGRADE).cloned();
    remove(&mut headers, OWN_HEADERS);
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|types| types.contains("text/html")) {
        // A page that comes compressed would keep its links.
        headers.remove(header::ACCEPT_ENCODING);
    }
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names.iter().filter(|name| name.as_str().starts_with("impersonate-")) {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    if let Ok(path) = HeaderValue::from_str(path) {
        headers.insert("x-forwarded-uri", path);
    }
    if let Some(host) = host {
        headers.insert("x-forwarded-host", host.clone());
        headers.insert(header::HOST, host.clone());
    }
    headers
}

/// A redirect of the pod, as it reads from outside; `None` when it leads elsewhere or is relative.
fn back(location: &str, here: &str, host: Option<&HeaderValue>) -> Option<String> {
    let path = match location.split_once("://") {
        Some((_, rest)) => {
            let (authority, _) = rest.split_once('/')?;
            let same = host.is_some_and(|host| host.as_bytes() == authority.as_bytes());
            rest.strip_prefix(authority).filter(|_| same)?
        }
        None => location,
    };
    let is_ours = path.starts_with('/') && !path.starts_with("//") && !path.starts_with(here);
    is_ours.then(|| format!("{here}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_scheme_and_a_port() {
        let read = |text| address(text, "service").map_err(|status| status.message);
        assert_eq!(read("web"), Ok((false, "web", "")));
        assert_eq!(read("web:http"), Ok((false, "web", "http")));
        assert_eq!(read("https:web:443"), Ok((true, "web", "443")));
        assert_eq!(read("http:web:"), Ok((false, "web", "")));
        for wrong in ["", ":80", "ftp:web:80", "a:b:c:d"] {
            assert_eq!(read(wrong), Err(format!("invalid service request \"{wrong}\"")));
        }
    }

    #[test]
    fn a_path_is_cut_behind_the_proxy_and_stays_as_it_was_written() {
        let of_pod = "/api/v1/namespaces/proxy/pods/proxy/proxy";
        assert_eq!(split(of_pod, 7), (of_pod, ""));
        let longer = format!("{of_pod}/a%2Fb//c/");
        assert_eq!(split(&longer, 7), (of_pod, "/a%2Fb//c/"));
        assert_eq!(split("/api//v1/nodes/a/proxy/x", 5), ("/api//v1/nodes/a/proxy", "/x"));
    }

    #[test]
    fn redirects_lead_back_through_the_proxy() {
        let host = HeaderValue::from_static("api:6443");
        let read = |location| back(location, "/here/proxy", Some(&host));
        assert_eq!(read("/a?b#c").as_deref(), Some("/here/proxy/a?b#c"));
        assert_eq!(read("http://api:6443/a").as_deref(), Some("/here/proxy/a"));
        for elsewhere in ["a", "http://example.com/a", "//example.com/a", "/here/proxy/a"] {
            assert_eq!(read(elsewhere), None, "{elsewhere}");
        }
    }
}
