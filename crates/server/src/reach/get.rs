//! A document of a server outside the cluster, which does not get to hold us up: what it says is bounded
//! in size and time, and it leads nowhere else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::address::Address;
use super::connect::{Connector, Place};
use super::tls::Trust;

/// How long it may take in all.
const LIMIT: Duration = Duration::from_secs(10);
/// The most that it may have.
const ANSWER_MAX: usize = 1 << 20;
const HEAD_MAX: usize = 64 << 10;

/// Asks for documents of servers that are trusted for the same reason.
pub(crate) struct Getter {
    connector: Connector,
    trust: Trust,
}

impl Getter {
    pub(crate) fn new(trust: Trust) -> Self {
        let nowhere = Arc::new(|_, _| Err(io::ErrorKind::Unsupported.into()));
        Self { connector: Connector::new(nowhere, None), trust }
    }

    /// What is at `url`, which is of `https`.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, String> {
        let got = timeout(LIMIT, self.got(url)).await;
        let got = got.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        got.map_err(|why| format!("Get {url:?}: {why}"))
    }

    async fn got(&self, url: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        if uri.scheme_str() != Some("https") {
            return Err("expected a URL of https".to_owned());
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let address = Address::Host(host.clone(), uri.port_u16().unwrap_or(443));
        let place = Place { address, name: host, trust: self.trust.clone() };
        let config = self.connector.config(&self.trust)?;
        let stream = self.connector.connect(&place, config, LIMIT).await?;
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD_MAX);
        let connected = builder.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.map_err(|error| error.to_string())?;
        let serving = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an issuer ended");
            }
        });
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "coracle")
            .header(header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let code = response.status();
        if !code.is_success() {
            return Err(format!("expected status 200, got {code}"));
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        serving.abort();
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    }
}
