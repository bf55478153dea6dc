//! Requests that are handed on to another API server, as a client and that server have them on the
//! wire.

use std::sync::Arc;

use base64::Engine as _;
use coracle_api::{Subresource, Verb};
use coracle_server::{Aggregator, Body, Options, Request, User, follow_others};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::running::{Running, start, status, text};
use crate::support::within;

/// Another API server: it takes nobody but the front proxy.
struct Other {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Other {
    /// One that `running` hands requests of `example.com/v1` on to.
    async fn new(running: &Running) -> Self {
        let identity = running.pki.front_proxy().unwrap();
        let dial = Arc::new(|address: std::net::SocketAddr, limit| {
            std::net::TcpStream::connect_timeout(&address, limit)
        });
        running.server.set_aggregator(Arc::new(Aggregator::new(dial, identity)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["server.default.svc".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        let authority = running.pki.front_proxy_authority().as_bytes();
        roots.add(CertificateDer::from_pem_slice(authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let elsewhere = json!({"type": "ExternalName", "externalName": "localhost"});
        write(
            running,
            Verb::Create,
            "services",
            "",
            json!({"metadata": {"name": "server"}, "spec": elsewhere}),
            None,
        )
        .await;
        let bundle = base64::engine::general_purpose::STANDARD.encode(certificate.pem());
        let service = json!({
            "metadata": {"name": "v1.example.com"},
            "spec": {"group": "example.com", "version": "v1", "groupPriorityMinimum": 1000,
                "versionPriority": 10, "caBundle": bundle,
                "service": {"namespace": "default", "name": "server", "port": port}},
        });
        write(running, Verb::Create, "apiservices", "", service, None).await;
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// The next connection, and what it begins with.
    async fn accept(&self) -> (TlsStream<TcpStream>, String) {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let mut stream = within(self.acceptor.accept(stream)).await.unwrap();
        let head = read(&mut stream).await;
        (stream, head)
    }
}

/// What comes next, to the end of a head at least.
async fn read(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut more = [0; 4096];
        let length = within(stream.read(&mut more)).await.unwrap();
        assert_ne!(length, 0, "it was hung up");
        head.extend_from_slice(&more[..length]);
    }
    String::from_utf8(head).unwrap()
}

async fn write(
    running: &Running,
    verb: Verb,
    plural: &str,
    name: &str,
    body: Value,
    part: Option<Subresource>,
) {
    let kinds = running.api.kinds();
    let kind = Arc::clone(kinds.iter().find(|kind| kind.plural == plural).unwrap());
    let request = Request {
        user: User::system("test"),
        verb,
        namespace: if kind.is_namespaced() { "default".into() } else { String::new() },
        kind,
        name: name.into(),
        subresource: part,
        options: Options::default(),
        body: Body::Object(body),
    };
    running.api.call(request).await.unwrap();
}

/// The server answered when it was asked.
async fn available(running: &Running) {
    let snapshot = running.api.snapshot();
    let stored = snapshot.find("apiservices.apiregistration.k8s.io", "", "v1.example.com").unwrap();
    let mut value = stored.value().clone();
    let condition = json!({"type": "Available", "status": "True"});
    value["status"] = json!({"conditions": [condition]});
    write(running, Verb::Update, "apiservices", "v1.example.com", value, Some(Subresource::Status))
        .await;
}

const BOATS: &str = "/apis/example.com/v1/namespaces/default/boats";

#[tokio::test]
async fn another_server_hears_who_asks_and_its_answer_comes_back() {
    let running = start().await;
    let other = Other::new(&running).await;
    let unknown = running.ask(Some(running.admin()), "GET", BOATS, b"").await;
    assert_eq!(unknown.status(), 503);
    assert_eq!(unknown.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text(unknown).await, "service unavailable\n");
    available(&running).await;

    let mut client = running.speak(Some(running.admin())).await;
    let request = |method: &str, path: &str| {
        http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("x-remote-user", "somebody")
            .header("x-remote-group", "system:masters")
            .header("connection", "x-remote-group")
            .header("authorization", "Bearer mine")
            .body(http_body_util::Full::from(b"{\"a\":1}".to_vec()))
            .unwrap()
    };
    let path = format!("{BOATS}?fieldManager=me%20too");
    let (answer, mut stream) = tokio::join!(client.send_request(request("POST", &path)), async {
        let (mut stream, mut head) = other.accept().await;
        if !head.ends_with("{\"a\":1}") {
            let mut body = [0; 7];
            within(stream.read_exact(&mut body)).await.unwrap();
            head.push_str(std::str::from_utf8(&body).unwrap());
        }
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("x-remote-user: admin\r\n"), "{head}");
        assert!(head.contains("x-remote-group: system:masters\r\n"), "{head}");
        assert!(
            head.contains("host: server.default.svc\r\n") && head.ends_with("{\"a\":1}"),
            "{head}"
        );
        assert!(!head.contains("somebody") && !head.contains("Bearer"), "{head}");
        let answer = "HTTP/1.1 201 Created\r\nX-Own: yes\r\nContent-Length: 2\r\n\r\nhi";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    });
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["x-own"].to_str().unwrap()),
        (201, "yes")
    );
    assert_eq!(text(answer).await, "hi");

    // The connection is used again; a redirect is not handed on.
    let asked = running.ask(Some(running.admin()), "GET", BOATS, b"");
    let (refused, _) = tokio::join!(asked, async {
        let head = read(&mut stream).await;
        assert!(head.starts_with(&format!("GET {BOATS} HTTP/1.1\r\n")), "{head}");
        let moved = "HTTP/1.1 302 Found\r\nLocation: https://evil/\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(moved.as_bytes()).await.unwrap();
    });
    assert_eq!(refused.status(), 502);
    assert!(refused.headers().get("location").is_none());
    let strangers = running.ask(None, "GET", BOATS, b"").await;
    assert_eq!(status(strangers).await.0, 403, "rights are looked at here");
}

#[tokio::test]
async fn a_watch_comes_as_it_is_said_and_an_upgrade_only_if_it_was_asked_for() {
    let running = start().await;
    let other = Other::new(&running).await;
    available(&running).await;
    let path = format!("{BOATS}?watch=true");
    let asked = running.ask(Some(running.admin()), "GET", &path, b"");
    let (mut answer, mut stream) = tokio::join!(asked, async {
        let (mut stream, _) = other.accept().await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    });
    use http_body_util::BodyExt as _;
    let mut next = async || {
        let frame = within(answer.frame()).await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    assert_eq!(next().await, "one");
    stream.write_all(b"3\r\ntwo\r\n").await.unwrap();
    assert_eq!(next().await, "two");
    drop(answer);

    // The server may not take over a connection that nobody gave it.
    let asked = running.ask(Some(running.admin()), "GET", BOATS, b"");
    let (refused, _) = tokio::join!(asked, async {
        let (mut stream, _) = other.accept().await;
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(switched.as_bytes()).await.unwrap();
        stream
    });
    assert!(refused.status().as_u16() >= 502, "{}", refused.status());

    // Bytes go both ways once both have agreed.
    let mut client = running.connect(Some(running.admin())).await;
    let head = format!(
        "GET {BOATS}/a/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut stream, head) = other.accept().await;
    assert!(head.to_lowercase().contains("upgrade: x\r\n"), "{head}");
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhi";
    stream.write_all(switched.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\nhi") {
        let mut byte = [0];
        within(client.read_exact(&mut byte)).await.unwrap();
        said.push(byte[0]);
    }
    assert!(said.starts_with(b"HTTP/1.1 101 "));
    client.write_all(b"ho").await.unwrap();
    let mut heard = [0; 2];
    within(stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"ho");
}

#[tokio::test]
async fn a_server_that_hangs_up_or_never_stops_talking_is_given_up() {
    let running = start().await;
    let other = Other::new(&running).await;
    available(&running).await;
    for answer in ["", "HTTP/1.1 200 OK\r\n", "no HTTP at all\r\n\r\n"] {
        let asked = running.ask(Some(running.admin()), "POST", BOATS, b"{}");
        let (refused, ()) = tokio::join!(asked, async {
            let (mut stream, _) = other.accept().await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        assert_eq!(refused.status(), 503, "{answer:?}");
    }
    let asked = running.ask(Some(running.admin()), "POST", BOATS, b"{}");
    let (refused, ()) = tokio::join!(asked, async {
        let (mut stream, _) = other.accept().await;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n").await);
        let header = format!("X-Long: {}\r\n", "x".repeat(4000));
        // Until it is hung up on.
        while stream.write_all(header.as_bytes()).await.is_ok() {}
    });
    assert_eq!(refused.status(), 503);
}

/// Whoever waits with a snapshot in its hand keeps all there was at that time.
#[tokio::test]
async fn who_asks_other_servers_keeps_nothing_that_was() {
    let running = start().await;
    let map = json!({"metadata": {"name": "former"}});
    write(&running, Verb::Create, "configmaps", "", map, None).await;
    let identity = running.pki.front_proxy().unwrap();
    let dial = Arc::new(|_, _| Err(std::io::ErrorKind::ConnectionRefused.into()));
    let aggregator = Arc::new(Aggregator::new(dial, identity));
    let following = tokio::spawn(follow_others(aggregator, running.api.clone()));
    // It has looked when it has come to wait.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let former = {
        let snapshot = running.api.snapshot();
        snapshot.find("configmaps", "default", "former").map(Arc::downgrade).unwrap()
    };
    write(&running, Verb::Delete, "configmaps", "former", json!({}), None).await;
    running.api.store().compact(running.api.snapshot().revision());
    within(async {
        while former.strong_count() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    following.abort();
}
