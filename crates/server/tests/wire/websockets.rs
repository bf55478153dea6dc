//! WebSockets as clients other than kubectl speak them: text for data, base64, a channel for each
//! port, and watches.

use crate::support::{Stream, World, hear, upgrade, within};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

const FIRST_LINE: &str = "web/exec?command=head&command=-n1&stdin=true&stdout=true";

/// What a client sends that names no protocol.
fn nameless() -> Vec<(&'static str, &'static str)> {
    upgrade("").into_iter().filter(|(name, _)| *name != "Sec-WebSocket-Protocol").collect()
}

/// Python's client sends input as text; it was dropped, and the session hung.
#[tokio::test]
async fn text_is_input_too() {
    let world = World::new().await;
    let mut stream = world.open(FIRST_LINE, "v4.channel.k8s.io").await.unwrap();
    within(stream.send(Message::text("\u{0}hello\n"))).await.unwrap();
    assert_eq!(hear(&mut stream).await.stdout, b"hello\n");
}

#[tokio::test]
async fn base64_carries_a_session() {
    let world = World::new().await;
    for protocol in ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"] {
        let mut stream = world.open(FIRST_LINE, protocol).await.unwrap();
        let input = format!("0{}", STANDARD.encode("hello\n"));
        within(stream.send(Message::text(input))).await.unwrap();
        let mut output = Vec::new();
        while let Some(Ok(message)) = within(stream.next()).await {
            if let Message::Text(text) = message
                && let Some(data) = text.strip_prefix('1')
            {
                output.extend(STANDARD.decode(data).unwrap());
            }
        }
        assert_eq!(output, b"hello\n", "{protocol}");
    }
}

/// Answers each connection with what it says.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(read) = stream.read(&mut buffer).await
                    && read > 0
                {
                    stream.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    });
    port
}

/// The next message with data, as channel and data.
async fn next(stream: &mut Stream) -> (u8, Vec<u8>) {
    loop {
        match within(stream.next()).await {
            Some(Ok(Message::Binary(data))) => return (data[0], data[1..].to_vec()),
            Some(Ok(Message::Text(text))) => {
                let bytes = text.as_bytes();
                return (bytes[0] - b'0', STANDARD.decode(&bytes[1..]).unwrap());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn each_port_has_a_channel_for_bytes_and_one_for_errors() {
    let world = World::new().await;
    let open = echo().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let path = format!("web/portforward?ports={open},{closed}");
    let request = format!("GET /api/v1/namespaces/default/pods/{path}");
    for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""] {
        let headers = if protocol.is_empty() { nameless() } else { upgrade(protocol) };
        let mut stream = world.ask(&request, &headers).await.unwrap();
        let mut heard: Vec<(u8, Vec<u8>)> = Vec::new();
        while heard.len() < 5 {
            heard.push(next(&mut stream).await);
        }
        heard.sort();
        let (first, second) = (open.to_le_bytes().to_vec(), closed.to_le_bytes().to_vec());
        let expected = [(0, first.clone()), (1, first), (2, second.clone()), (3, second.clone())];
        for beginning in expected {
            assert!(heard.contains(&beginning), "{protocol}: {heard:?}");
        }
        let why = heard.iter().find(|(channel, data)| *channel == 3 && *data != second).unwrap();
        let why = String::from_utf8_lossy(&why.1).into_owned();
        assert!(why.starts_with(&format!("error forwarding port {closed} to pod web, uid ")));
        let message = match protocol.contains("base64") {
            true => Message::text(format!("0{}", STANDARD.encode("ping"))),
            false => Message::Binary(b"\0ping".to_vec().into()),
        };
        within(stream.send(message)).await.unwrap();
        assert_eq!(next(&mut stream).await, (0, b"ping".to_vec()), "{protocol}");
    }
    let refused = world.open("web/portforward", "v4.channel.k8s.io").await.unwrap_err();
    assert_eq!(refused.code, 400);
}

#[tokio::test]
async fn a_watch_may_be_a_websocket() {
    let world = World::new().await;
    world.create("configmaps", json!({"metadata": {"name": "a"}})).await;
    let path = "GET /api/v1/namespaces/default/configmaps?watch=1";
    let mut stream = world.ask(path, &nameless()).await.unwrap();
    let Some(Ok(Message::Text(text))) = within(stream.next()).await else { panic!("no event") };
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["name"]),
        (&json!("ADDED"), &json!("a"))
    );
}
