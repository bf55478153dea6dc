//! The client: what is asked of other API servers, and how much of them anybody waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::{Fetch, Fetched, OtherServer};
use coracle_store::Snapshot;
use futures_util::future::select_ok;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::headers;
use super::lent::Loan;
use crate::dial::Dial;
use crate::edge::response::Body;
use crate::pipeline::request::User;
use crate::reach::address;
use crate::reach::connect::{Connector, Place};
use crate::reach::pool::Pool;
use crate::reach::tls::Trust;

/// How long a connection may take, with its handshake.
const CONNECTING: Duration = Duration::from_secs(10);
/// The most that an answer to the control plane may have: an OpenAPI document.
const ANSWER_MAX: usize = 16 << 20;
/// The most that the head of an answer may have, in bytes and in headers.
const HEAD_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;
/// Requests to one server at once, and those of them that go on as long as their clients like.
const SHORT_MAX: usize = 256;
const LONG_MAX: usize = 1024;

/// Asks other API servers, for clients and for the control plane.
pub struct Aggregator {
    connector: Connector,
    idle: Arc<Pool<Body>>,
    /// By the APIServices' names; of those that are asked just now.
    bounds: Mutex<BTreeMap<String, Bounds>>,
}

/// How many more requests one server may have at once.
#[derive(Clone)]
pub(super) struct Bounds {
    pub(super) short: Arc<Semaphore>,
    pub(super) long: Arc<Semaphore>,
}

/// An answer, and the connection that it comes over.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) loan: Loan,
}

impl Aggregator {
    /// A client without connections: `dial` is for those inside the cluster, `identity` what other
    /// servers know us by.
    pub fn new(dial: Dial, identity: Arc<dyn ResolvesClientCert>) -> Self {
        let connector = Connector::new(dial, Some(identity));
        Self { connector, idle: Arc::default(), bounds: Mutex::default() }
    }

    /// How many more requests the server of this APIService may have at once.
    pub(super) fn bounds(&self, name: &str) -> Bounds {
        let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of servers that nobody asks just now bound nothing.
        let is_used = |kept: &Arc<Semaphore>| Arc::strong_count(kept) > 1;
        bounds.retain(|known, of| known == name || is_used(&of.short) || is_used(&of.long));
        let known = bounds.entry(name.to_owned()).or_insert_with(|| Bounds {
            short: Arc::new(Semaphore::new(SHORT_MAX)),
            long: Arc::new(Semaphore::new(LONG_MAX)),
        });
        known.clone()
    }

    /// What came of a request of the control plane's own, with Services as `snapshot` shows them.
    pub async fn fetch(&self, snapshot: &Snapshot, fetch: &Fetch) -> Fetched {
        let place = place(snapshot, &fetch.server);
        let host = match &place {
            Ok(place) => place.address.to_string(),
            Err(_) => host(&fetch.server),
        };
        let url = format!("https://{host}{}", fetch.path);
        let answer = match place {
            Ok(place) => {
                let tries = (0..fetch.tries.max(1)).map(|_| Box::pin(self.once(&place, fetch)));
                match select_ok(tries).await {
                    Ok((answer, _)) => Ok(answer),
                    Err(answer) => answer,
                }
            }
            Err(why) => Err(why),
        };
        let said = |why| format!("{} {url:?}: {why}", title(fetch.method));
        let (tag, answer) = match answer {
            Ok((code, tag, body)) => (tag, Ok((code, body))),
            Err(why) => (String::new(), Err(said(why))),
        };
        Fetched { url, tag, answer }
    }

    /// One try: a success, or what it is in its place.
    async fn once(
        &self,
        place: &Place,
        fetch: &Fetch,
    ) -> Result<(u16, String, String), Result<(u16, String, String), String>> {
        let limit = Duration::from_secs(fetch.timeout.into());
        let asked = timeout(limit, self.asked(place, fetch)).await;
        match asked.unwrap_or_else(|_| Err("context deadline exceeded".into())) {
            Ok(answer @ (200..=299 | 304, ..)) => Ok(answer),
            other => Err(other),
        }
    }

    async fn asked(&self, place: &Place, fetch: &Fetch) -> Result<(u16, String, String), String> {
        let mut headers = HeaderMap::new();
        let groups = fetch.groups.clone();
        let user = User { name: fetch.user.clone(), groups, ..User::default() };
        headers::add_user(&mut headers, &user)?;
        let text = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        headers.insert(header::HOST, text(&host(&fetch.server))?);
        headers.insert(header::ACCEPT, HeaderValue::from_static(fetch.accept));
        if !fetch.tag.is_empty() {
            headers.insert(header::IF_NONE_MATCH, text(&fetch.tag)?);
        }
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::new(body);
        request.method_mut().clone_from(&fetch.method.parse().unwrap_or_default());
        *request.uri_mut() =
            fetch.path.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        *request.headers_mut() = headers;
        let Answered { response, loan } = self.send(place, request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| {
            let is_long = error.is::<http_body_util::LengthLimitError>();
            let too_long = || format!("the answer has more than {ANSWER_MAX} bytes");
            if is_long { too_long() } else { format!("unexpected EOF: {error}") }
        })?;
        loan.pool.keep(loan.place, loan.sender);
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        let tag = head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        Ok((head.status.as_u16(), tag.unwrap_or_default().to_owned(), body))
    }

    /// Sends a request over a connection that is left, or over a new one. What was sent already is
    /// sent again only if it asks for something and has no body.
    ///
    /// # Errors
    /// Why there is no answer, in Go's words.
    pub(super) async fn send(
        &self,
        place: &Place,
        request: Request<Body>,
    ) -> Result<Answered, String> {
        let again = again(&request);
        let mut request = Some(request);
        if let Some(mut sender) = self.idle.take(place)
            && sender.ready().await.is_ok()
            && let Some(first) = request.take()
        {
            match sender.try_send_request(first).await {
                Ok(response) => return Ok(self.answered(place, response, sender)),
                Err(mut error) => request = error.take_message().or(again),
            }
        }
        let request = request.ok_or("EOF")?;
        let mut sender = timeout(CONNECTING, self.connect(place))
            .await
            .map_err(|_| format!("dial tcp {}: i/o timeout", place.address))??;
        match sender.send_request(request).await {
            Ok(response) => Ok(self.answered(place, response, sender)),
            Err(error) if error.is_incomplete_message() => Err("EOF".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn answered(
        &self,
        place: &Place,
        response: Response<Incoming>,
        sender: SendRequest<Body>,
    ) -> Answered {
        let loan = Loan { pool: Arc::clone(&self.idle), place: place.clone(), sender };
        Answered { response, loan }
    }

    async fn connect(&self, place: &Place) -> Result<SendRequest<Body>, String> {
        let config = self.connector.config(&place.trust)?;
        let stream = self.connector.connect(place, config, CONNECTING).await?;
        let (sender, connection) = Builder::new()
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to another API server ended");
            }
        });
        Ok(sender)
    }
}

/// The same request, if it may be sent twice.
fn again(request: &Request<Body>) -> Option<Request<Body>> {
    let is_safe = request.method().is_safe() && !request.headers().contains_key(header::UPGRADE);
    is_safe.then(|| {
        let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        let mut same = Request::new(body);
        same.method_mut().clone_from(request.method());
        same.uri_mut().clone_from(request.uri());
        same.headers_mut().clone_from(request.headers());
        same.headers_mut().remove(header::CONTENT_LENGTH);
        same
    })
}

/// Where a server is, and how it proves that it is the one.
///
/// # Errors
/// Why it is nowhere.
pub(super) fn place(snapshot: &Snapshot, server: &OtherServer) -> Result<Place, String> {
    let trust = match server.insecure {
        true => Trust::Anyone,
        false => Trust::Bundle(server.ca_bundle.clone()),
    };
    let address = address::of(snapshot, &server.service)?;
    Ok(Place { address, name: host(server), trust })
}

/// The name that a server's certificate is for.
pub(super) fn host(server: &OtherServer) -> String {
    format!("{}.{}.svc", server.service.name, server.service.namespace)
}

/// As Go's client begins its errors: `Get`.
fn title(method: &str) -> String {
    let mut letters = method.chars();
    let first = letters.next().map(String::from).unwrap_or_default();
    first + &letters.as_str().to_lowercase()
}
