//! Carrying a probe out: a command, an HTTP request, a connection, a call.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use coracle_runtime::{Containers, ExecSpec, RuntimeError};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use crate::dial::{self, Dial};
use crate::grpc;
use crate::planner::Outcome;

/// As much of a command's output as an event shows.
const OUTPUT_BYTES_MAX: u64 = 10 << 10;
/// As much of an answer as is read.
const BODY_BYTES_MAX: usize = 10 << 10;

/// Who asks.
pub(crate) const PROBES_AGENT: &str = "kube-probe/1.37";
pub(crate) const HOOKS_AGENT: &str = "kube-lifecycle/1.37";

/// What is probed.
pub(crate) struct Target {
    pub pod_uid: String,
    pub container_id: String,
    pub pod_ip: Option<Ipv4Addr>,
    pub container: Container,
    /// How to connect to it: a probe is the node's, and never reaches what only the host can.
    pub dial: Dial,
}

/// Runs `probe` once, within its timeout.
pub(crate) async fn run(runtime: &dyn Containers, target: &Target, probe: &Probe) -> Outcome {
    let seconds = probe.timeout_seconds.unwrap_or(1).max(1);
    let limit = Duration::from_secs(seconds.unsigned_abs().into());
    if let Some(exec) = &probe.exec {
        return command(runtime, target, exec.command.clone().unwrap_or_default(), limit).await;
    }
    if let Some(get) = &probe.http_get {
        return http(target, get, limit).await;
    }
    if let Some(socket) = &probe.tcp_socket {
        let Some(address) = address(target, socket.host.as_deref(), &socket.port) else {
            return Outcome::Unknown(no_port(&socket.port));
        };
        return match dial::tcp_by(&target.dial, address, limit).await {
            Ok(_) => Outcome::Success,
            Err(why) => Outcome::Failure(why),
        };
    }
    if let Some(check) = &probe.grpc {
        let port = IntOrString::Int(check.port);
        let Some(address) = address(target, None, &port) else {
            return Outcome::Unknown(no_port(&port));
        };
        let service = check.service.as_deref().unwrap_or_default();
        return grpc::check(&target.dial, address, service, PROBES_AGENT, limit).await;
    }
    Outcome::Unknown("missing probe handler".to_owned())
}

fn no_port(port: &IntOrString) -> String {
    match port {
        IntOrString::String(name) => format!("port not found: {name:?}"),
        IntOrString::Int(number) => format!("invalid port number: {number}"),
    }
}

/// Where to connect: the pod unless a host (by address) is named.
fn address(target: &Target, host: Option<&str>, port: &IntOrString) -> Option<SocketAddr> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => {
                let ports = target.container.ports.iter().flatten();
                let named = ports.into_iter().find(|port| port.name.as_ref() == Some(text));
                named?.container_port
            }
        },
    };
    let number = u16::try_from(number).ok().filter(|number| *number != 0)?;
    let own = target.pod_ip.map(|ip| ip.to_string());
    let host = host.filter(|host| !host.is_empty()).map(str::to_owned).or(own)?;
    format!("{host}:{number}").parse().ok()
}

async fn command(
    runtime: &dyn Containers,
    target: &Target,
    args: Vec<String>,
    limit: Duration,
) -> Outcome {
    let shown = args.join(" ");
    let spec = ExecSpec { args, tty: false, stdin: false, timeout: Some(limit) };
    let late = || {
        let seconds = limit.as_secs();
        Outcome::Failure(format!("command timed out: {shown:?} timed out after {seconds}s"))
    };
    let session = match runtime.exec(&target.pod_uid, &target.container_id, &spec).await {
        Ok(session) => session,
        Err(RuntimeError::Start(error)) => return Outcome::Failure(error.to_string()),
        Err(RuntimeError::Timeout) => return late(),
        Err(error) => return Outcome::Unknown(error.to_string()),
    };
    let (stdout, stderr) = tokio::join!(text(session.stdout), text(session.stderr));
    match session.exit.await {
        Ok(Ok(0)) => Outcome::Success,
        Ok(Ok(_)) => Outcome::Failure(format!("{stdout}{stderr}")),
        Ok(Err(RuntimeError::Timeout)) => late(),
        Ok(Err(error)) => Outcome::Unknown(error.to_string()),
        Err(_) => Outcome::Unknown("the command's shim is gone".to_owned()),
    }
}

pub(crate) async fn text(stream: Option<Box<dyn AsyncRead + Send + Unpin>>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // What came before an error is shown; the exit code decides.
    (&mut stream).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await.unwrap_or_default();
    // The rest is read and dropped, or the command would wait for a reader.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn http(target: &Target, get: &HTTPGetAction, limit: Duration) -> Outcome {
    if address(target, get.host.as_deref(), &get.port).is_none() {
        return Outcome::Unknown(no_port(&get.port));
    }
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    match timeout(limit, http_get(target, get, PROBES_AGENT, limit)).await {
        Ok(Ok(200..=399)) => Outcome::Success,
        Ok(Ok(code)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
        Ok(Err(why)) => Outcome::Failure(why),
        Err(_) => Outcome::Failure(format!("Get {:?}: {late}", url(target, get))),
    }
}

fn url(target: &Target, get: &HTTPGetAction) -> String {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let address = address(target, get.host.as_deref(), &get.port);
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    format!("{scheme}://{address}{}", path(get))
}

fn path(get: &HTTPGetAction) -> String {
    let path = get.path.as_deref().unwrap_or("/");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The status code of the answer to a request by `agent`; a connection is waited for for as long as
/// `limit`, an answer for ever.
///
/// # Errors
/// A sentence as Go's client says it.
pub(crate) async fn http_get(
    target: &Target,
    get: &HTTPGetAction,
    agent: &str,
    limit: Duration,
) -> Result<u16, String> {
    let Some(address) = address(target, get.host.as_deref(), &get.port) else {
        return Err(no_port(&get.port));
    };
    let (path, is_tls) = (path(get), get.scheme.as_deref() == Some("HTTPS"));
    let exchange = async {
        let stream = dial::tcp_by(&target.dial, address, limit).await?;
        if is_tls {
            return request(dial::tls(address, stream).await?, address, &path, get, agent).await;
        }
        request(stream, address, &path, get, agent).await
    };
    exchange.await.map_err(|why| format!("Get {:?}: {why}", url(target, get)))
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    address: SocketAddr,
    path: &str,
    get: &HTTPGetAction,
    agent: &str,
) -> Result<u16, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| text(&error))?;
    let mut request = http::Request::get(path);
    let own = |name: &str| {
        let headers = get.http_headers.iter().flatten();
        headers.into_iter().any(|header| header.name.eq_ignore_ascii_case(name))
    };
    for (name, value) in [
        ("Host", address.to_string()),
        ("User-Agent", agent.to_owned()),
        ("Accept", "*/*".to_owned()),
        ("Connection", "close".to_owned()),
    ] {
        if !own(name) {
            request = request.header(name, value);
        }
    }
    for header in get.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| text(&error))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let code = response.status().as_u16();
        // A body that is too long or breaks off changes nothing about the code.
        Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map(drop).unwrap_or(());
        Ok(code)
    };
    tokio::select! {
        answer = answered => answer,
        // The connection ends with an error only before the answer is there.
        Err(error) = connection => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    fn target() -> Target {
        let container = json!({"name": "c", "ports": [{"name": "web", "containerPort": 7}]});
        Target {
            pod_uid: String::new(),
            container_id: String::new(),
            pod_ip: Some(Ipv4Addr::LOCALHOST),
            container: serde_json::from_value(container).unwrap(),
            dial: std::sync::Arc::new(|address, limit| {
                std::net::TcpStream::connect_timeout(&address, limit)
            }),
        }
    }

    /// A server that answers one request with `reply`.
    async fn server(reply: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        port
    }

    async fn get(port: u16) -> Outcome {
        let get = serde_json::from_value(json!({"port": port, "path": "/healthz"})).unwrap();
        http(&target(), &get, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn http_codes_decide() {
        let port = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(get(port).await, Outcome::Success);
        let port = server("HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno").await;
        let failure = "HTTP probe failed with statuscode: 500";
        assert_eq!(get(port).await, Outcome::Failure(failure.into()));
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_in_upstreams_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        let url = format!("Get \"http://127.0.0.1:{port}/healthz\": {refused}");
        assert_eq!(get(port).await, Outcome::Failure(url));
    }

    #[test]
    fn ports_have_names() {
        let port = |port: IntOrString| address(&target(), None, &port).map(|it| it.port());
        assert_eq!(port(IntOrString::String("web".into())), Some(7));
        assert_eq!(port(IntOrString::String("81".into())), Some(81));
        assert_eq!(port(IntOrString::String("none".into())), None);
        assert_eq!(port(IntOrString::Int(0)), None);
    }
}
