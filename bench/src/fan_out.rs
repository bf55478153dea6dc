//! One event to 1,000 watchers: from the start of a write, its flush included, until the last of them
//! has the whole line.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Failure;
use crate::client::{Access, Client};
use crate::objects::{NAMESPACE, config_map};
use crate::report::{beside, figure, milliseconds};
use crate::writers::noise;

const WATCHERS: usize = 1_000;
/// Watches that share a connection, as those of one client of Kubernetes do.
const SHARED: usize = 100;
const ROUNDS: u64 = 30;
/// Between two events, so that the last one is over everywhere.
const PAUSE: Duration = Duration::from_millis(20);
/// What the object has beside the 400 bytes of its metadata.
const NOISE: usize = 600;
/// As long as an event is with its TLS record.
const LINE: usize = 1056;
const BARE: &str = "bare write to the last of 1,000 connections";

/// Measures it with ten clients of a hundred watches each, and with a connection for each watch
/// beside what that costs the kernel alone.
pub async fn run(access: &Access, client: &mut Client) -> Result<(), Failure> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    config_map(client, "watched").await?;
    let times = shared(access, client).await?;
    figure("API: write to the last of 1,000 watchers", "ms", &times);
    let times = single(access, client).await?;
    let bare = bare().await?;
    beside(
        "API: write to the last of 1,000 watchers, a connection each",
        "ms",
        &times,
        BARE,
        &bare,
    );
    Ok(())
}

/// A watch of the one object from now on.
async fn path(client: &mut Client) -> Result<String, Failure> {
    let all = client.call(Method::GET, &format!("{NAMESPACE}/configmaps?limit=1"), "").await?;
    let all: Value = serde_json::from_slice(&all)?;
    let revision = all["metadata"]["resourceVersion"].as_str().ok_or("a list has a revision")?;
    Ok(format!(
        "{NAMESPACE}/configmaps?watch=true&resourceVersion={revision}\
         &fieldSelector=metadata.name%3Dwatched"
    ))
}

async fn shared(access: &Access, client: &mut Client) -> Result<Vec<f64>, Failure> {
    let (seen, path) = (Arc::new(Seen::default()), path(client).await?);
    let mut watchers = JoinSet::new();
    for _ in 0..WATCHERS / SHARED {
        let mut connection = access.shared().await?;
        for _ in 0..SHARED {
            watchers.spawn(watch(connection.get(&path).await?, Arc::clone(&seen)));
        }
    }
    rounds(client, &seen, watchers).await
}

async fn single(access: &Access, client: &mut Client) -> Result<Vec<f64>, Failure> {
    let (seen, path) = (Arc::new(Seen::default()), path(client).await?);
    let (mut watchers, mut connections) = (JoinSet::new(), Vec::new());
    for _ in 0..WATCHERS {
        let mut connection = access.connect().await?;
        let events = connection.send(Method::GET, &path, "").await?.into_body();
        watchers.spawn(watch(events, Arc::clone(&seen)));
        connections.push(connection);
    }
    rounds(client, &seen, watchers).await
}

async fn rounds(
    client: &mut Client,
    seen: &Seen,
    mut watchers: JoinSet<()>,
) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        tokio::time::sleep(PAUSE).await;
        let data = json!({"noise": noise(round, NOISE)});
        let body = json!({"metadata": {"name": "watched"}, "data": data}).to_string();
        let (start, path) = (Instant::now(), format!("{NAMESPACE}/configmaps/watched"));
        client.call(Method::PUT, &path, body).await?;
        tokio::select! {
            last = seen.all() => times.push(milliseconds(last - start)),
            _ = watchers.join_next() => return Err("a watch ended".into()),
        }
    }
    Ok(times)
}

/// Counts each event that is there as a whole line.
async fn watch(mut events: Incoming, seen: Arc<Seen>) {
    while let Some(Ok(frame)) = events.frame().await {
        let lines = frame.data_ref().map_or(0, |data| data.iter().filter(|b| **b == b'\n').count());
        (0..lines).for_each(|_| seen.one());
    }
}

/// How many have the event, and when the last of them had. Whoever waits for all is woken once: to
/// be woken by each would take the processor from those who have theirs still to come.
#[derive(Default)]
struct Seen {
    count: AtomicUsize,
    last: Mutex<Option<Instant>>,
    all: Notify,
}

impl Seen {
    fn one(&self) {
        let now = Instant::now();
        if self.count.fetch_add(1, Ordering::AcqRel) + 1 == WATCHERS {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            self.all.notify_one();
        }
    }

    async fn all(&self) -> Instant {
        loop {
            self.all.notified().await;
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(last) = last {
                self.count.store(0, Ordering::Release);
                return last;
            }
        }
    }
}

/// As much as an event is, without TLS and HTTP, in one process: what the kernel alone takes.
async fn bare() -> Result<Vec<f64>, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let seen = Arc::new(Seen::default());
    let go = tokio::sync::watch::Sender::new(0);
    let mut ends = JoinSet::new();
    for _ in 0..WATCHERS {
        let mut to = TcpStream::connect(listener.local_addr()?).await?;
        let (mut from, _) = listener.accept().await?;
        let (seen, mut go) = (Arc::clone(&seen), go.subscribe());
        ends.spawn(async move {
            while go.changed().await.is_ok() && from.write_all(&[7; LINE]).await.is_ok() {}
        });
        ends.spawn(async move {
            let mut line = [0; LINE];
            while to.read_exact(&mut line).await.is_ok() {
                seen.one();
            }
        });
    }
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        go.send_replace(round);
        times.push(milliseconds(seen.all().await - start));
    }
    Ok(times)
}
