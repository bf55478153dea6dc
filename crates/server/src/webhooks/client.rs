//! The client: it waits no longer than it is told to, reads no more than an object may have, and
//! keeps connections for the next question.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coracle_api::Post;
use coracle_store::Snapshot;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{self, Address};
use super::{answer, tls};
use crate::dial::{self, Dial};

/// The most that an answer may have: a patch, in base64, that adds all that an object can hold.
const ANSWER_MAX: usize = 8 << 20;
/// For how long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(90);
/// How many are kept to one webhook.
const IDLE_MAX: usize = 16;
/// How many bundles are remembered as they were read.
const BUNDLES_MAX: usize = 256;

type Sender = SendRequest<Full<Bytes>>;

/// Asks webhooks.
pub struct Webhooks {
    dial: Dial,
    idle: Mutex<BTreeMap<Place, Vec<(Sender, Instant)>>>,
    bundles: Mutex<BTreeMap<String, Arc<ClientConfig>>>,
}

/// Whom a connection is to: where, under which name, and who vouches for it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    address: Address,
    name: String,
    ca_bundle: String,
}

/// Why there is no answer.
enum Failed {
    /// Before or while the request was sent: over a new connection it may go.
    Sending(String),
    /// For good.
    Asking(String),
}

impl Webhooks {
    /// A client without connections; `dial` is for those inside the cluster.
    pub fn new(dial: Dial) -> Self {
        Self { dial, idle: Mutex::default(), bundles: Mutex::default() }
    }

    /// What is answered to `post`, with Services as `snapshot` shows them.
    ///
    /// # Errors
    /// Why nothing is, as the end of upstream's sentence about a call that failed.
    pub async fn post(&self, snapshot: &Snapshot, post: &Post) -> Result<String, String> {
        let limit = Duration::from_secs(post.timeout.into());
        let asked = timeout(limit, self.ask(snapshot, post, limit)).await;
        asked.unwrap_or_else(|_| Err(of_call(post, "context deadline exceeded")))
    }

    async fn ask(
        &self,
        snapshot: &Snapshot,
        post: &Post,
        limit: Duration,
    ) -> Result<String, String> {
        let config = self.config(&post.ca_bundle);
        let config = config.map_err(|why| format!("could not get REST client: {why}"))?;
        let place = place(snapshot, post).map_err(|why| of_call(post, &why))?;
        let of_call = |why: &str| of_call(post, why);
        let kept = self.kept(&place);
        let (sender, response) = match self.over(kept, post).await {
            Ok(answered) => answered,
            Err(Failed::Asking(why)) => return Err(of_call(&why)),
            Err(Failed::Sending(_)) => {
                let sender =
                    self.connect(&place, config, limit).await.map_err(|why| of_call(&why))?;
                self.over(Some(sender), post).await.map_err(|failed| match failed {
                    Failed::Sending(why) | Failed::Asking(why) => of_call(&why),
                })?
            }
        };
        let said = read(response).await;
        if said.is_ok() {
            self.keep(place, sender);
        }
        said.and_then(|(code, content_type, body)| {
            let text = answer::shown(content_type.as_deref(), &body);
            answer::check(code, text.as_deref())?;
            if body.is_empty() {
                let ty = content_type.unwrap_or_default();
                return Err(format!(
                    "0-length response with status code: {code} and content type: {ty}"
                ));
            }
            String::from_utf8(body.into()).map_err(|error| error.to_string())
        })
        .map_err(|why| format!("failed to call webhook: {why}"))
    }

    /// Sends the request over a connection; without one, another must be made.
    async fn over(
        &self,
        sender: Option<Sender>,
        post: &Post,
    ) -> Result<(Sender, Response<Incoming>), Failed> {
        let mut sender = sender.ok_or_else(|| Failed::Sending("there is no connection".into()))?;
        let sending = |error: hyper::Error| Failed::Sending(error.to_string());
        sender.ready().await.map_err(sending)?;
        let response = sender.send_request(request(post).map_err(Failed::Asking)?).await;
        let response = response.map_err(|error| match error.is_timeout() {
            true => Failed::Asking(error.to_string()),
            false => Failed::Sending("EOF".into()),
        })?;
        Ok((sender, response))
    }

    async fn connect(
        &self,
        place: &Place,
        config: Arc<ClientConfig>,
        limit: Duration,
    ) -> Result<Sender, String> {
        let stream = self.dialled(&place.address, limit).await?;
        let name = ServerName::try_from(place.name.clone()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(config);
        let stream = connector.connect(name, stream).await.map_err(|error| tls::words(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a webhook ended");
            }
        });
        Ok(sender)
    }

    async fn dialled(&self, address: &Address, limit: Duration) -> Result<TcpStream, String> {
        let stream = match address {
            Address::Host(name, port) => {
                let missing = || format!("dial tcp: lookup {name}: no such host");
                let found = tokio::net::lookup_host((name.as_str(), *port)).await;
                let first = found.ok().and_then(|mut found| found.next());
                dial::tcp(first.ok_or_else(missing)?, limit).await?
            }
            Address::Cluster(address, _) => dial::tcp_by(&self.dial, *address, limit).await?,
        };
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(stream)
    }

    fn config(&self, ca_bundle: &str) -> Result<Arc<ClientConfig>, String> {
        let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = bundles.get(ca_bundle) {
            return Ok(Arc::clone(known));
        }
        let config = tls::config(ca_bundle)?;
        if bundles.len() >= BUNDLES_MAX {
            bundles.clear();
        }
        bundles.insert(ca_bundle.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    /// A connection that is not in use, if one is left.
    fn kept(&self, place: &Place) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for senders in idle.values_mut() {
            senders.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
        }
        idle.retain(|_, senders| !senders.is_empty());
        idle.get_mut(place)?.pop().map(|(sender, _)| sender)
    }

    fn keep(&self, place: Place, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.entry(place).or_default();
        if !sender.is_closed() && senders.len() < IDLE_MAX {
            senders.push((sender, Instant::now()));
        }
    }
}

/// The error of Go's client.
fn of_call(post: &Post, why: &str) -> String {
    format!("failed to call webhook: Post {:?}: {why}", post.url)
}

fn place(snapshot: &Snapshot, post: &Post) -> Result<Place, String> {
    let uri: Uri = post.url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let (address, name) = match &post.service {
        Some(backend) => {
            let name = format!("{}.{}.svc", backend.name, backend.namespace);
            (address::of(snapshot, backend)?, name)
        }
        None => (Address::Host(host.clone(), uri.port_u16().unwrap_or(443)), host),
    };
    Ok(Place { address, name, ca_bundle: post.ca_bundle.clone() })
}

fn request(post: &Post) -> Result<Request<Full<Bytes>>, String> {
    let uri: Uri = post.url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::CONTENT_TYPE, "application/json");
    request.body(Full::from(post.body.clone())).map_err(|error| error.to_string())
}

type Said = (u16, Option<String>, Bytes);

async fn read(response: Response<Incoming>) -> Result<Said, String> {
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|ty| ty.to_str().ok()).map(str::to_owned);
    let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| {
        let is_long = error.is::<http_body_util::LengthLimitError>();
        let too_long = || format!("the answer has more than {ANSWER_MAX} bytes");
        if is_long { too_long() } else { format!("unexpected EOF: {error}") }
    })?;
    Ok((head.status.as_u16(), content_type, body.to_bytes()))
}
