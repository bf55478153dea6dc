//! A server with a pod on a node that is this machine, and a client that speaks the wire's words.

#![allow(dead_code, reason = "each test uses its part")]

pub mod node;
pub mod running;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Subresource, Timestamp, Verb};
use coracle_server::{
    Api, Body, Cluster, Kinds, Options, Pki, Request, Server, System, User, bootstrap, pki,
};
use coracle_store::Store;
use futures_util::{SinkExt, StreamExt};
use node::LocalNode;
use redb::backends::InMemoryBackend;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Longer than anything here takes, so that what hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub type Stream = WebSocketStream<TlsStream<TcpStream>>;

pub struct World {
    api: Api,
    pki: Pki,
    address: SocketAddr,
    pub node: Arc<LocalNode>,
    _folder: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// An answer that is no upgrade.
#[derive(Debug)]
pub struct Refusal {
    pub code: u16,
    pub status: Value,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_on(InMemoryBackend::new()).unwrap();
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), Arc::new(System));
        let pki = Pki::open(&folder.path().join("pki"), Timestamp::now()).unwrap();
        let tokens = Arc::new(pki.tokens().unwrap());
        api.set_tokens(Arc::clone(&tokens));
        bootstrap::bootstrap(&api).await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = pki.server_config(&pki::server_names("cluster.local")).unwrap();
        let server = Server::new(api.clone(), tokens);
        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let node = Arc::new(LocalNode::new(work));
        server.set_node(Arc::clone(&node) as _);
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let serving =
            tokio::spawn(async move { server.serve(vec![listener], tls, stopped).await.unwrap() });
        let world = Self { api, pki, address, node, _folder: folder, stop, serving };
        world.create("namespaces", json!({"metadata": {"name": "default"}})).await;
        world.create("pods", pod("web", &["main"], "node")).await;
        world.create("pods", pod("two", &["main", "side"], "node")).await;
        world.create("pods", pod("waiting", &["main"], "")).await;
        for name in ["web", "two"] {
            world.phase(name, "Running").await;
        }
        world
    }

    fn request(&self, verb: Verb, plural: &str, name: &str, body: Value) -> Request {
        let kinds = self.api.kinds();
        let kind = kinds.iter().find(|kind| kind.plural == plural).unwrap();
        Request {
            user: User::system("system:apiserver"),
            verb,
            namespace: if kind.is_namespaced() { "default".into() } else { String::new() },
            kind: Arc::clone(kind),
            name: name.into(),
            subresource: None,
            options: Options::default(),
            body: Body::Object(body),
        }
    }

    pub async fn create(&self, plural: &str, body: Value) {
        self.api.call(self.request(Verb::Create, plural, "", body)).await.unwrap();
    }

    pub fn exists(&self, plural: &str, name: &str) -> bool {
        self.api.snapshot().find(plural, "default", name).is_some()
    }

    pub async fn phase(&self, pod: &str, phase: &str) {
        self.status(pod, json!({"phase": phase})).await;
    }

    pub async fn status(&self, pod: &str, status: Value) {
        let snapshot = self.api.snapshot();
        let mut body = snapshot.find("pods", "default", pod).unwrap().value().clone();
        body["status"] = status;
        let mut request = self.request(Verb::Update, "pods", pod, body);
        request.subresource = Some(Subresource::Status);
        self.api.call(request).await.unwrap();
    }

    /// Ends the server as the engine does.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        within(self.serving).await.unwrap();
    }

    async fn connect(&self, user: &str, group: &str) -> TlsStream<TcpStream> {
        let identity = self.pki.client(user, &[group]).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pki.authority().as_bytes()).unwrap())
            .unwrap();
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// Asks for an upgrade with `headers` as the administrator.
    pub async fn ask(&self, request: &str, headers: &[(&str, &str)]) -> Result<Stream, Refusal> {
        self.ask_as("admin", "system:masters", request, headers).await
    }

    pub async fn ask_as(
        &self,
        user: &str,
        group: &str,
        request: &str,
        headers: &[(&str, &str)],
    ) -> Result<Stream, Refusal> {
        let (mut stream, head) = self.send(user, group, request, headers).await;
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        if code == 101 {
            return Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
        }
        let body = body(&mut stream, &head).await;
        Err(Refusal { code, status: serde_json::from_slice(&body).unwrap() })
    }

    /// Sends a request as the administrator; head and body of the answer.
    pub async fn exchange(&self, request: &str, headers: &[(&str, &str)]) -> (String, String) {
        let (mut stream, head) = self.send("admin", "system:masters", request, headers).await;
        let body = body(&mut stream, &head).await;
        (head, String::from_utf8(body).unwrap())
    }

    /// Sends a request; the head of the answer, and where the rest comes.
    /// Sends a request; what comes after the head of the answer is still to be read.
    pub async fn send(
        &self,
        user: &str,
        group: &str,
        request: &str,
        headers: &[(&str, &str)],
    ) -> (TlsStream<TcpStream>, String) {
        let mut stream = self.connect(user, group).await;
        let mut text = format!("{request} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        stream.write_all((text + "\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(stream.read_u8()).await.unwrap());
        }
        (stream, String::from_utf8(head).unwrap())
    }

    /// A WebSocket for `path` under the default namespace's pods.
    pub async fn open(&self, path: &str, protocol: &str) -> Result<Stream, Refusal> {
        self.ask(&format!("GET /api/v1/namespaces/default/pods/{path}"), &upgrade(protocol)).await
    }
}

async fn body(stream: &mut TlsStream<TcpStream>, head: &str) -> Vec<u8> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    within(stream.read_exact(&mut body)).await.unwrap();
    body
}

/// What a client sends to get a WebSocket.
pub fn upgrade(protocol: &str) -> Vec<(&str, &str)> {
    vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", protocol),
    ]
}

fn pod(name: &str, containers: &[&str], node: &str) -> Value {
    let container = |name: &&str| json!({"name": name, "image": "example.com/main:1"});
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": node,
        "containers": containers.iter().map(container).collect::<Vec<_>>(),
    }})
}

/// What a server said on its channels until it closed.
#[derive(Debug, Default)]
pub struct Said {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub error: Vec<u8>,
    pub longest: usize,
    pub close: Option<u16>,
}

impl Said {
    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.error).unwrap()
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Binary(data) => {
                self.longest = self.longest.max(data.len());
                match data[0] {
                    1 => self.stdout.extend(&data[1..]),
                    2 => self.stderr.extend(&data[1..]),
                    3 => self.error.extend(&data[1..]),
                    other => panic!("channel {other}"),
                }
            }
            Message::Close(frame) => self.close = frame.map(|frame| frame.code.into()),
            _ => {}
        }
    }
}

pub async fn send(stream: &mut Stream, message: &[u8]) {
    within(stream.send(Message::Binary(message.to_vec().into()))).await.unwrap();
}

/// Everything until the server closes.
pub async fn hear(stream: &mut Stream) -> Said {
    let mut said = Said::default();
    while let Some(Ok(message)) = within(stream.next()).await {
        said.take(message);
    }
    said
}

/// The next output, whatever the channel.
pub async fn hear_some(stream: &mut Stream) -> Vec<u8> {
    loop {
        match within(stream.next()).await {
            Some(Ok(Message::Binary(data))) if data.len() > 1 => return data[1..].to_vec(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened")
}
