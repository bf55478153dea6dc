//! port-forward as a client has it on the wire: SPDY inside a WebSocket.

use std::collections::HashMap;

use crate::support::{Stream, World, within};
use flate2::{Compress, Compression, FlushCompress};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// What one stream said, and whether it is through.
#[derive(Debug, Default, Clone, PartialEq)]
struct Heard {
    replied: bool,
    reset: bool,
    data: Vec<u8>,
    ended: bool,
}

/// The other end of a session.
struct Client {
    sink: SplitSink<Stream, Message>,
    zlib: Compress,
    last: u32,
    ears: Ears,
}

/// What was heard in a session.
struct Ears {
    source: SplitStream<Stream>,
    bytes: Vec<u8>,
    heard: HashMap<u32, Heard>,
    pings: Vec<u32>,
}

impl Client {
    async fn new(world: &World) -> Self {
        let (sink, source) = world.open("web/portforward", PROTOCOL).await.unwrap().split();
        let (bytes, heard, pings) = (Vec::new(), HashMap::new(), Vec::new());
        // The dictionary is not obligatory.
        let zlib = Compress::new(Compression::default(), true);
        Self { sink, zlib, last: 0, ears: Ears { source, bytes, heard, pings } }
    }

    async fn send(&mut self, bytes: &[u8]) {
        within(self.sink.send(Message::Binary(bytes.to_vec().into()))).await.unwrap();
    }

    async fn control(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        self.send(&[&[0x80, 3, 0, kind, 0], &length[1..], body].concat()).await;
    }

    async fn say(&mut self, stream: u32, fin: bool, data: &[u8]) {
        let frame = data_frame(stream, fin, data);
        // Where messages end means nothing.
        let (one, two) = frame.split_at(frame.len() / 2);
        self.send(one).await;
        self.send(two).await;
    }

    async fn open_stream(&mut self, headers: &[(&str, &str)]) -> u32 {
        self.last += if self.last == 0 { 1 } else { 2 };
        let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            block.extend(text.as_bytes());
        }
        let mut packed = Vec::with_capacity(1024);
        self.zlib.compress_vec(&block, &mut packed, FlushCompress::Sync).unwrap();
        let body = [&self.last.to_be_bytes(), &[0; 6][..], &packed].concat();
        self.control(1, &body).await;
        self.last
    }

    /// The streams for errors and for data of a connection to `port`.
    async fn connect(&mut self, port: u16, request: &str) -> (u32, u32) {
        let port = port.to_string();
        let headers = |purpose| [("streamtype", purpose), ("port", &*port), ("requestid", request)];
        let error = self.open_stream(&headers("error")).await;
        self.say(error, true, b"").await;
        (error, self.open_stream(&headers("data")).await)
    }

    /// Listens until `enough`.
    async fn listen(&mut self, enough: impl Fn(&Ears) -> bool) {
        self.ears.listen(enough).await;
    }

    fn heard(&self, stream: u32) -> &Heard {
        &self.ears.heard[&stream]
    }
}

impl Ears {
    async fn listen(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            match within(self.source.next()).await.unwrap().unwrap() {
                Message::Binary(data) => self.bytes.extend(&data),
                Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
            while let Some(length) = self.frame_length() {
                let frame: Vec<u8> = self.bytes.drain(..length).collect();
                self.take(&frame);
            }
        }
    }

    fn frame_length(&self) -> Option<usize> {
        let head = self.bytes.get(..8)?;
        let length = 8 + u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        (self.bytes.len() >= length).then_some(length)
    }

    fn take(&mut self, frame: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        if frame[0] & 0x80 == 0 {
            let heard = self.heard.entry(word(0)).or_default();
            assert!(heard.replied && !heard.ended, "data before the reply, or after the end");
            heard.data.extend(&frame[8..]);
            heard.ended = frame[4] & 1 == 1;
            return;
        }
        assert_eq!(frame[..3], [0x80, 3, 0]);
        match frame[3] {
            2 => self.heard.entry(word(8)).or_default().replied = true,
            3 => self.heard.entry(word(8)).or_default().reset = true,
            6 => self.pings.push(word(8)),
            other => panic!("control frame {other}"),
        }
    }

    fn has_ended(&self, stream: u32) -> bool {
        self.heard.get(&stream).is_some_and(|heard| heard.ended)
    }
}

fn data_frame(stream: u32, fin: bool, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&stream.to_be_bytes()[..], &[u8::from(fin)], &length[1..], data].concat()
}

/// A server that answers each connection with `serve`.
async fn listening<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// Says everything back, in the end how much it was.
async fn echo(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    let count = tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.write_all(format!("[{count}]").as_bytes()).await.unwrap();
}

#[tokio::test]
async fn connections_run_side_by_side_and_end_when_the_pod_has_said_all() {
    let (world, port) = (World::new().await, listening(echo).await);
    let mut client = Client::new(&world).await;
    let mut streams = Vec::new();
    for request in 0..5 {
        streams.push(client.connect(port, &request.to_string()).await);
    }
    for (_, data) in streams.iter().rev() {
        client.say(*data, false, b"hello ").await;
    }
    for (_, data) in &streams {
        client.say(*data, true, data.to_string().as_bytes()).await;
    }
    let all = streams.clone();
    client.listen(|ears| all.iter().all(|(error, _)| ears.has_ended(*error))).await;
    for (error, data) in streams {
        let said = format!("hello {data}[{}]", format!("hello {data}").len());
        assert_eq!(String::from_utf8_lossy(&client.heard(data).data), said);
        assert!(client.heard(data).ended);
        assert_eq!(client.heard(error).data, b"");
    }
}

#[tokio::test]
async fn much_goes_through_unchanged() {
    const CHUNKS: usize = 256;
    let (world, port) = (World::new().await, listening(echo).await);
    let mut client = Client::new(&world).await;
    let (error, data) = client.connect(port, "0").await;
    let chunk = |at: usize| -> Vec<u8> { (0..32 << 10).map(|n| (n * at + n / 7) as u8).collect() };
    let sink = &mut client.sink;
    let sending = async {
        for at in 0..CHUNKS {
            let frame = data_frame(data, at == CHUNKS - 1, &chunk(at));
            sink.send(Message::Binary(frame.into())).await.unwrap();
        }
    };
    // Both at once: an echo that nobody listens to stops listening.
    tokio::join!(sending, client.ears.listen(|ears| ears.has_ended(error)));
    let mut expected: Vec<u8> = (0..CHUNKS).flat_map(chunk).collect();
    expected.extend(format!("[{}]", CHUNKS << 15).as_bytes());
    assert!(client.heard(data).data == expected);
}

#[tokio::test]
async fn a_refused_connection_is_told_on_its_error_stream_and_the_session_goes_on() {
    let (world, port) = (World::new().await, listening(echo).await);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut client = Client::new(&world).await;
    let (error, data) = client.connect(unused, "0").await;
    client.listen(|ears| ears.has_ended(error) && ears.has_ended(data)).await;
    let text = String::from_utf8_lossy(&client.heard(error).data).into_owned();
    assert!(
        text.starts_with(&format!("error forwarding port {unused} to pod web, uid ")),
        "{text}"
    );
    assert!(text.contains("Connection refused"), "{text}");
    assert_eq!(client.heard(data).data, b"");
    let (error, data) = client.connect(port, "1").await;
    client.say(data, true, b"again").await;
    client.listen(|ears| ears.has_ended(error)).await;
    assert_eq!(client.heard(data).data, b"again[5]");
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_connection_alone() {
    let world = World::new().await;
    let (ends, mut ended) = tokio::sync::mpsc::channel(4);
    let port = listening(move |mut stream| {
        let ends = ends.clone();
        async move {
            let mut said = [0];
            while stream.read(&mut said).await.is_ok_and(|read| read > 0) {
                stream.write_all(&said).await.unwrap();
            }
            ends.send(said[0]).await.unwrap();
        }
    })
    .await;
    let mut client = Client::new(&world).await;
    let (error_a, a) = client.connect(port, "0").await;
    let (_, b) = client.connect(port, "1").await;
    client.say(a, false, b"a").await;
    client.say(b, false, b"b").await;
    let said = |ears: &Ears, stream| ears.heard.get(&stream).map(|heard| heard.data.clone());
    client
        .listen(|ears| said(ears, a) == Some(b"a".into()) && said(ears, b) == Some(b"b".into()))
        .await;
    client.control(3, &[a.to_be_bytes(), 5u32.to_be_bytes()].concat()).await;
    client.listen(|ears| ears.has_ended(error_a)).await;
    assert_eq!(within(ended.recv()).await, Some(b'a'));
    client.say(b, false, b"c").await;
    client.listen(|ears| said(ears, b) == Some(b"bc".into())).await;
    // A client that goes takes its connections along.
    drop(client);
    assert_eq!(within(ended.recv()).await, Some(b'c'));
}

#[tokio::test]
async fn pings_come_back_and_streams_for_nothing_are_refused() {
    let world = World::new().await;
    let mut client = Client::new(&world).await;
    client.control(6, &7u32.to_be_bytes()).await;
    client.listen(|ears| ears.pings == [7]).await;
    let bad: [&[(&str, &str)]; 3] = [
        &[("streamtype", "data"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "70000"), ("requestid", "0")],
        &[("streamtype", "other"), ("port", "80"), ("requestid", "0")],
    ];
    for headers in bad {
        let stream = client.open_stream(headers).await;
        client.listen(|ears| ears.heard.get(&stream).is_some_and(|heard| heard.reset)).await;
    }
}

#[tokio::test]
async fn only_a_pod_that_runs_has_ports() {
    let world = World::new().await;
    world.phase("web", "Succeeded").await;
    for (pod, code, message) in [
        ("none", 404, "pods \"none\" not found"),
        ("waiting", 400, "pod waiting does not have a host assigned"),
        ("web", 400, "unable to forward port because pod is not running. Current status=Succeeded"),
    ] {
        let refusal = world.open(&format!("{pod}/portforward"), PROTOCOL).await.unwrap_err();
        assert_eq!((refusal.code, refusal.status["message"].as_str()), (code, Some(message)));
    }
}
