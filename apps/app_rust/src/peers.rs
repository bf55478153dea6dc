//! The other replicas, asked by their stable names.
//!
//! However many visitors come, the peers are asked at most once at a time: all who wait share the
//! answers. A page waits for new answers only as long as it does not hurt; then it shows those of a
//! moment ago. So neither many visitors nor a missing peer make pages slow.
//!
//! How many there are, a file says, which `helm upgrade` changes; after `kubectl scale`, which does
//! not, the headless Service has more addresses than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Config;

/// How long peers may take, all together, before they are shown as missing.
const PATIENCE: Duration = Duration::from_millis(200);
/// Answers so young are as good as new ones for a page.
const FRESH: Duration = Duration::from_millis(50);
/// How long a page waits for new answers when it has some that are not older than `KNOWN`.
const GLANCE: Duration = Duration::from_millis(5);
const KNOWN: Duration = Duration::from_secs(1);
/// An answer has at most so many bytes.
const ANSWER_MAX: u64 = 4096;
/// So many replicas are asked at most.
const REPLICAS_MAX: u32 = 100;

/// A replica and its count; `None` when it did not answer in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// `app-rust-0`
    pub name: String,
    /// Its visits.
    pub visits: Option<u64>,
}

/// What the replicas said when they were asked; this replica itself is not asked.
#[derive(Clone)]
struct Said {
    /// When asking began; `None` when nobody asked yet.
    asked: Option<Instant>,
    replicas: Arc<Vec<Replica>>,
}

/// The DNS name of the replica of this name.
type HostOf = Box<dyn Fn(&str) -> String + Send + Sync>;

/// All replicas of the set, and what they said last.
pub struct Peers {
    config: Config,
    /// The set's name and this replica's ordinal; `None` when there are no peers.
    set: Option<(String, u32)>,
    host_of: HostOf,
    said: watch::Sender<Said>,
    asking: AtomicBool,
}

impl Peers {
    /// The replicas that `config` describes; one alone when it names no peers.
    pub fn new(config: &Config) -> Self {
        let domain = config.peers_domain.clone();
        Self::at(config, Box::new(move |replica| format!("{replica}.{domain}")))
    }

    fn at(config: &Config, host_of: HostOf) -> Self {
        let set = config.set_and_ordinal().filter(|_| !config.peers_domain.is_empty());
        Self {
            config: config.clone(),
            set: set.map(|(name, ordinal)| (name.to_string(), ordinal)),
            host_of,
            said: watch::Sender::new(Said { asked: None, replicas: Arc::new(Vec::new()) }),
            asking: AtomicBool::new(false),
        }
    }

    /// The replicas' names in the order of their ordinals; this one is always among them.
    fn names(&self, addresses: u32) -> Vec<String> {
        let Some((set, ordinal)) = &self.set else { return vec![self.config.pod_name.clone()] };
        let file = self.config.replicas_file.as_ref();
        let in_file = file.and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
        let wanted = in_file.unwrap_or(self.config.replicas);
        let count = wanted.max(addresses).clamp(1, REPLICAS_MAX);
        let mut names: Vec<String> = (0..count).map(|i| format!("{set}-{i}")).collect();
        if *ordinal >= count {
            names.push(self.config.pod_name.clone());
        }
        names
    }

    /// All replicas in the order of their ordinals, for a page: new or nearly new.
    /// This one has `own` visits.
    pub async fn for_page(self: &Arc<Self>, own: u64) -> Vec<Replica> {
        let now = Instant::now();
        let since = now.checked_sub(FRESH).unwrap_or(now);
        let known = self.said.borrow().asked.is_some_and(|asked| now - asked < KNOWN);
        let said = match known {
            true => timeout(GLANCE, self.since(since)).await.ok(),
            false => Some(self.since(since).await),
        };
        self.with_own(said.unwrap_or_else(|| self.said.borrow().clone()), Some(own))
    }

    /// All replicas, each asked after this call.
    pub async fn now(self: &Arc<Self>, own: Option<u64>) -> Vec<Replica> {
        self.with_own(self.since(Instant::now()).await, own)
    }

    fn with_own(&self, said: Said, own: Option<u64>) -> Vec<Replica> {
        let mut replicas = said.replicas.to_vec();
        for replica in replicas.iter_mut().filter(|replica| replica.name == self.config.pod_name) {
            replica.visits = own;
        }
        replicas
    }

    /// Answers to questions that were asked at `since` or later.
    async fn since(self: &Arc<Self>, since: Instant) -> Said {
        let mut answers = self.said.subscribe();
        loop {
            let said = answers.borrow_and_update().clone();
            if said.asked.is_some_and(|asked| asked >= since) {
                return said;
            }
            self.ask_unless_asking();
            if answers.changed().await.is_err() {
                return said; // The sender is ours: it outlives this call.
            }
        }
    }

    fn ask_unless_asking(self: &Arc<Self>) {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let peers = Arc::clone(self);
        tokio::spawn(async move {
            let asked = Some(Instant::now());
            let replicas = Arc::new(peers.ask_all().await);
            // In this order: whoever sees these answers and wants newer ones can ask at once.
            peers.asking.store(false, Ordering::Release);
            peers.said.send_replace(Said { asked, replicas });
        });
    }

    /// How many addresses the headless Service has; 0 when nobody says.
    async fn addresses(&self) -> u32 {
        let found = match &self.set {
            Some(_) => lookup_host((self.config.peers_domain.as_str(), 0)).await.ok(),
            None => None,
        };
        // A pod may have one address of each family.
        let [mut four, mut six] = [0, 0];
        for address in found.into_iter().flatten() {
            *(if address.is_ipv4() { &mut four } else { &mut six }) += 1;
        }
        four.max(six)
    }

    async fn ask_all(&self) -> Vec<Replica> {
        let deadline = Instant::now() + PATIENCE;
        let addresses = timeout_at(deadline, self.addresses()).await.unwrap_or(0);
        let missing = |name| Replica { name, visits: None };
        let mut replicas: Vec<Replica> = self.names(addresses).into_iter().map(missing).collect();
        let mut asks = JoinSet::new();
        for (index, replica) in replicas.iter().enumerate() {
            if replica.name != self.config.pod_name {
                let (host, port) = ((self.host_of)(&replica.name), self.config.peers_port);
                asks.spawn(async move {
                    (index, timeout_at(deadline, visits_of(&host, port)).await.ok().flatten())
                });
            }
        }
        while let Some(answer) = asks.join_next().await {
            if let Ok((index, visits)) = answer {
                replicas[index].visits = visits;
            }
        }
        replicas
    }
}

async fn visits_of(host: &str, port: u16) -> Option<u64> {
    get(host, port, "/visits").await.ok()?.get("visits")?.as_u64()
}

/// The JSON that `host` serves at `path`.
///
/// # Errors
/// A sentence that says what came instead.
pub async fn get(host: &str, port: u16, path: &str) -> Result<serde_json::Value, String> {
    let failed = |error: std::io::Error| format!("{host}:{port} does not answer: {error}");
    let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).await.map_err(failed)?;
    let wrong = || format!("{host}:{port}{path} answers {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    match head.split(' ').nth(1) {
        Some("200") => serde_json::from_str(body).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn config(variables: &[(&str, &str)]) -> Config {
        let config = Config::from_environment(|name| {
            variables.iter().find(|(have, _)| *have == name).map(|(_, value)| value.to_string())
        });
        config.unwrap()
    }

    fn peers(variables: &[(&str, &str)]) -> Arc<Peers> {
        Arc::new(Peers::new(&config(variables)))
    }

    fn replica(name: &str, visits: Option<u64>) -> Replica {
        Replica { name: name.into(), visits }
    }

    #[tokio::test]
    async fn a_missing_peer_is_shown_as_missing() {
        let peers = peers(&[
            ("POD_NAME", "app-rust-1"),
            ("REPLICAS", "2"),
            ("PEERS_DOMAIN", "nowhere.invalid"),
        ]);
        let shown = [replica("app-rust-0", None), replica("app-rust-1", Some(5))];
        assert_eq!(peers.for_page(5).await, shown);
        assert_eq!(peers.now(Some(5)).await, shown);
    }

    #[tokio::test]
    async fn a_replica_without_peers_is_alone() {
        let peers = peers(&[("POD_NAME", "laptop")]);
        assert_eq!(peers.for_page(7).await, [replica("laptop", Some(7))]);
    }

    #[tokio::test]
    async fn a_replica_beyond_the_wanted_number_shows_itself_too() {
        let peers =
            peers(&[("POD_NAME", "a-2"), ("REPLICAS", "1"), ("PEERS_DOMAIN", "nowhere.invalid")]);
        let names: Vec<_> = peers.now(Some(1)).await.into_iter().map(|peer| peer.name).collect();
        assert_eq!(names, ["a-0", "a-2"]);
    }

    /// After `kubectl scale`, which changes no file: `localhost` has one address of each family.
    #[tokio::test]
    async fn a_service_with_more_addresses_has_more_replicas() {
        let peers = peers(&[("POD_NAME", "a-0"), ("PEERS_DOMAIN", "localhost")]);
        assert_eq!(peers.addresses().await, 1);
        assert_eq!(peers.names(3), ["a-0", "a-1", "a-2"]);
    }

    #[tokio::test]
    async fn many_visitors_ask_a_peer_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let asked = tokio::spawn(async move {
            let mut asked = 0;
            while let Ok(Ok((mut stream, _))) =
                timeout(Duration::from_secs(2), listener.accept()).await
            {
                let mut request = [0; 512];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                let answer = b"HTTP/1.0 200 OK\r\n\r\n{\"visits\": 30}";
                stream.write_all(answer).await.unwrap();
                asked += 1;
            }
            asked
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "2\n").unwrap();
        let config = config(&[
            ("POD_NAME", "a-0"),
            ("REPLICAS_FILE", file.path().to_str().unwrap()),
            ("PEERS_DOMAIN", "peers"),
            ("PEERS_PORT", &port),
        ]);
        let peers = Arc::new(Peers::at(&config, Box::new(|_| "127.0.0.1".into())));
        let pages: Vec<_> = (0..500)
            .map(|_| {
                let peers = Arc::clone(&peers);
                tokio::spawn(async move { peers.for_page(1).await })
            })
            .collect();
        for page in pages {
            assert_eq!(page.await.unwrap(), [replica("a-0", Some(1)), replica("a-1", Some(30))]);
        }
        assert!(asked.await.unwrap() < 20);
    }
}
