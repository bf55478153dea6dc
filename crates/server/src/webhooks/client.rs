//! The client: it waits no longer than it is told to, reads no more than an object may have, and
//! keeps connections for the next question.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::Post;
use coracle_store::Snapshot;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::answer;
use crate::dial::Dial;
use crate::reach::address::{self, Address};
use crate::reach::connect::{Connector, Place};
use crate::reach::pool::Pool;
use crate::reach::tls::Trust;

/// The most that an answer may have: a patch, in base64, that adds all that an object can hold.
const ANSWER_MAX: usize = 8 << 20;

type Sender = SendRequest<Full<Bytes>>;

/// Asks webhooks.
pub struct Webhooks {
    connector: Connector,
    idle: Pool<Full<Bytes>>,
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
        Self { connector: Connector::new(dial, None), idle: Pool::default() }
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
        let config = self.connector.config(&Trust::Bundle(post.ca_bundle.clone()));
        let config = config.map_err(|why| format!("could not get REST client: {why}"))?;
        let place = place(snapshot, post).map_err(|why| of_call(post, &why))?;
        let of_call = |why: &str| of_call(post, why);
        let kept = self.idle.take(&place);
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
            self.idle.keep(place, sender);
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
        let stream = self.connector.connect(place, config, limit).await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a webhook ended");
            }
        });
        Ok(sender)
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
    Ok(Place { address, name, trust: Trust::Bundle(post.ca_bundle.clone()) })
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
