//! The server as clients meet it: over TLS on loopback.

#![allow(clippy::unwrap_used, reason = "a failure is the assertion")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Timestamp, Verb};
use coracle_server::pki::{self, Identity};
use coracle_server::{
    Api, Body, Cluster, Kinds, Options, Pki, Request, Server, System, User, bootstrap,
};
use coracle_store::Store;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use redb::backends::InMemoryBackend;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// A running server.
struct Running {
    address: SocketAddr,
    pki: Pki,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

async fn start() -> Running {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_on(InMemoryBackend::new()).unwrap();
    let api = Api::new(store, Kinds::builtin(), Cluster::default(), Arc::new(System));
    let pki = Pki::open(directory.path(), Timestamp::now()).unwrap();
    let tokens = Arc::new(pki.tokens().unwrap());
    api.set_tokens(Arc::clone(&tokens));
    bootstrap::bootstrap(&api).await.unwrap();
    let kind = Arc::clone(api.kinds().resource("", "v1", "namespaces").unwrap());
    let namespace = Request {
        user: User::system("test"),
        verb: Verb::Create,
        kind,
        namespace: String::new(),
        name: String::new(),
        subresource: String::new(),
        options: Options::default(),
        body: Body::Object(json!({"metadata": {"name": "default"}})),
    };
    api.call(namespace).await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let tls = pki.server_config(&pki::server_names("cluster.local")).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(api, tokens);
    let served = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        server.serve(vec![listener], tls, stopped).await
    });
    Running { address, pki, stop, served, _directory: directory }
}

impl Running {
    fn admin(&self) -> Identity {
        self.pki.client("admin", &["system:masters"]).unwrap()
    }

    async fn connect(&self, identity: Option<Identity>) -> http1::SendRequest<Full<Bytes>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pki.authority().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain =
                    vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender
    }

    async fn ask(
        &self,
        identity: Option<Identity>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> http::Response<Incoming> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::from(body.to_vec()))
            .unwrap();
        self.connect(identity).await.send_request(request).await.unwrap()
    }
}

async fn text(response: http::Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn status(response: http::Response<Incoming>) -> (u16, String) {
    let code = response.status().as_u16();
    let status: Value = serde_json::from_str(&text(response).await).unwrap();
    (code, status["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn strangers_see_health_and_version_and_nothing_else() {
    let server = start().await;
    let health = server.ask(None, "GET", "/healthz", b"").await;
    assert_eq!(text(health).await, "ok");
    assert_eq!(server.ask(None, "GET", "/version", b"").await.status(), 200);
    for path in ["/api", "/openapi/v3", "/api/v1/namespaces/default/pods", "/nothing"] {
        assert_eq!(server.ask(None, "GET", path, b"").await.status(), 403, "{path}");
    }
    let stranger = server.pki.client("stranger", &[]).unwrap();
    let path = "/api/v1/namespaces/default/secrets";
    let (code, message) = status(server.ask(Some(stranger), "GET", path, b"").await).await;
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "secrets is forbidden: User \"stranger\" cannot list resource \"secrets\" in API group \
         \"\" in the namespace \"default\""
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_lets_nobody_in() {
    let (server, other) = (start().await, start().await);
    let stream = TcpStream::connect(server.address).await.unwrap();
    drop(stream);
    let foreign = other.admin();
    let attempt = tokio::spawn(async move {
        server.ask(Some(foreign), "GET", "/api/v1/pods", b"").await.status()
    });
    assert!(attempt.await.is_err(), "the handshake or the first request fails");
}

#[tokio::test]
async fn what_the_administrator_writes_a_watch_shows() {
    let server = start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let watch = server.ask(Some(server.admin()), "GET", &format!("{path}?watch=1"), b"").await;
    assert_eq!(watch.headers()["content-type"], "application/json");
    let body = json!({"metadata": {"name": "a"}, "data": {"x": "y"}, "bogus": 1}).to_string();
    let made = server.ask(Some(server.admin()), "POST", path, body.as_bytes()).await;
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["warning"], "299 - \"unknown field \\\"bogus\\\"\"");
    let mut watch = watch.into_body();
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["x"]), (&json!("ADDED"), &json!("y")));
    assert!(frame.ends_with(b"\n"));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_right_code() {
    let server = start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let check = async |method: &'static str, path: &str, body: &[u8]| {
        status(server.ask(Some(server.admin()), method, path, body).await).await.0
    };
    assert_eq!(check("POST", path, b"{").await, 400);
    assert_eq!(check("POST", path, &vec![b' '; 4 * 1024 * 1024]).await, 413);
    assert_eq!(check("PATCH", &format!("{path}/a"), b"{}").await, 415);
    assert_eq!(check("GET", &format!("{path}/a"), b"").await, 404);
    assert_eq!(check("PUT", path, b"{}").await, 405);
    assert_eq!(check("GET", "/apis/nothing/v1/things", b"").await, 404);
    assert_eq!(check("GET", &format!("{path}?labelSelector=a+in+(b"), b"").await, 400);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches() {
    let server = start().await;
    let watch = server.ask(Some(server.admin()), "GET", "/api/v1/pods?watch=1", b"").await;
    server.stop.send(()).unwrap();
    server.served.await.unwrap().unwrap();
    assert!(watch.into_body().collect().await.is_ok_and(|body| body.to_bytes().is_empty()));
}
