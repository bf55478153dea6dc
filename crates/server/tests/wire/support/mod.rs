//! A server with a pod on a node that is this machine, and a client that speaks the wire's words.

#![allow(dead_code, reason = "each test uses its part")]

pub mod node;
pub mod running;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Subresource, Verb};
use coracle_server::{Body, Options, Request, User};
use futures_util::{SinkExt, StreamExt};
use node::LocalNode;
use running::Running;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Longer than anything here takes, so that what hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub type Stream = WebSocketStream<TlsStream<TcpStream>>;

pub struct World {
    running: Running,
    pub node: Arc<LocalNode>,
}

/// An answer that is no upgrade.
#[derive(Debug)]
pub struct Refusal {
    pub code: u16,
    pub status: Value,
}

impl World {
    pub async fn new() -> Self {
        let running = running::start().await;
        let work = running.directory.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let node = Arc::new(LocalNode::new(work));
        running.server.set_node(Arc::clone(&node) as _);
        let world = Self { running, node };
        world.create("pods", pod("web", &["main"], "node")).await;
        world.create("pods", pod("two", &["main", "side"], "node")).await;
        world.create("pods", pod("waiting", &["main"], "")).await;
        for name in ["web", "two"] {
            world.phase(name, "Running").await;
        }
        world
    }

    fn request(&self, verb: Verb, plural: &str, name: &str, body: Value) -> Request {
        let kinds = self.running.api.kinds();
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
        self.running.api.call(self.request(Verb::Create, plural, "", body)).await.unwrap();
    }

    pub fn exists(&self, plural: &str, name: &str) -> bool {
        self.running.api.snapshot().find(plural, "default", name).is_some()
    }

    pub async fn phase(&self, pod: &str, phase: &str) {
        self.status(pod, json!({"phase": phase})).await;
    }

    pub async fn status(&self, pod: &str, status: Value) {
        let snapshot = self.running.api.snapshot();
        let mut body = snapshot.find("pods", "default", pod).unwrap().value().clone();
        body["status"] = status;
        let mut request = self.request(Verb::Update, "pods", pod, body);
        request.subresource = Some(Subresource::Status);
        self.running.api.call(request).await.unwrap();
    }

    /// Ends the server as the engine does.
    pub async fn stop(self) {
        self.running.stop.send(()).unwrap();
        within(self.running.served).await.unwrap().unwrap();
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

    /// Sends a request; what comes after the head of the answer is still to be read.
    pub async fn send(
        &self,
        user: &str,
        group: &str,
        request: &str,
        headers: &[(&str, &str)],
    ) -> (TlsStream<TcpStream>, String) {
        let identity = self.running.pki.client(user, &[group]).unwrap();
        let mut stream = self.running.connect(Some(identity)).await;
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

/// The body behind `head`; of one in chunks, all that follows with the chunks' lengths.
async fn body(stream: &mut TlsStream<TcpStream>, head: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let Some(length) = length else {
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(within(stream.read_u8()).await.unwrap());
        }
        return body;
    };
    body.resize(length.parse().unwrap(), 0);
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
