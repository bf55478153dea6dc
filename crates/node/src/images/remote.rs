//! A registry, asked for manifests and blobs:
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::access::{Auth, chain};
use super::config::JSON_BYTES_MAX;
use super::credentials::Login;
use super::registries::Endpoint;
use crate::lock::locked;

/// How long what is read whole may take: a registry that gives a byte now and then is waited for no longer.
const WHOLE_WITHIN: Duration = Duration::from_mins(2);
/// All that an image may be described by.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Why a registry did not give something.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It has not got it.
    #[error("not found")]
    Missing,
    /// In words.
    #[error("{0}")]
    Other(String),
}

impl From<reqwest::Error> for Refusal {
    fn from(mut error: reqwest::Error) -> Self {
        if let Some(url) = error.url_mut() {
            *url = shown(url);
        }
        Self::Other(chain(&error))
    }
}

/// A registry, spoken to for one image.
pub(super) struct Remote<'a> {
    http: Client,
    endpoint: &'a Endpoint,
    auth: Option<Auth>,
    /// What it last wanted to see.
    shown: Mutex<Option<HeaderValue>>,
}

impl<'a> Remote<'a> {
    /// A registry at this endpoint, spoken to with `http` as `login`, or else as its configuration
    /// says.
    pub fn new(http: Client, endpoint: &'a Endpoint, login: Option<&Login>) -> Self {
        let login = login.map(|login| Auth::Login {
            username: login.username.clone(),
            password: login.password.clone(),
        });
        let auth = login.or_else(|| endpoint.config.auth.clone());
        Self { http, endpoint, auth, shown: Mutex::default() }
    }

    /// A manifest or an index, by tag or digest.
    pub async fn manifest(&self, tag_or_digest: &str) -> Result<Vec<u8>, Refusal> {
        whole(self.get("manifests", tag_or_digest).await?).await
    }

    /// The content of a digest, which is small.
    pub async fn small_blob(&self, digest: &str) -> Result<Vec<u8>, Refusal> {
        whole(self.blob(digest).await?).await
    }

    /// The content of a digest.
    pub async fn blob(&self, digest: &str) -> Result<Response, Refusal> {
        self.get("blobs", digest).await
    }

    async fn get(&self, what: &str, which: &str) -> Result<Response, Refusal> {
        let Endpoint { base, repository, mirrors, .. } = self.endpoint;
        let url = format!("{base}/{repository}/{what}/{which}");
        let mut url =
            Url::parse(&url).map_err(|error| Refusal::Other(format!("{url}: {error}")))?;
        if let Some(registry) = mirrors {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        let request = || {
            let request = self.http.get(url.clone()).header(ACCEPT, MANIFESTS);
            match locked(&self.shown).clone() {
                Some(header) => request.header(AUTHORIZATION, header),
                None => request,
            }
        };
        let response = request().send().await?;
        // Somebody else, whom the registry has sent us to, does not say where its credentials go
        // (CVE-2020-15157).
        let is_own = response.url().origin() == url.origin();
        if response.status() != StatusCode::UNAUTHORIZED || !is_own {
            return good(response);
        }
        self.authorize(&response).await?;
        good(request().send().await?)
    }

    /// Gets what the registry wants to see, as its answer says.
    async fn authorize(&self, refused: &Response) -> Result<(), Refusal> {
        let headers = refused.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<_> =
            headers.filter_map(|it| Challenge::parse(it.to_str().ok()?)).collect();
        let of = |scheme: &str| challenges.iter().find(|it| it.scheme == scheme);
        let header = match (of("bearer"), of("basic"), &self.auth) {
            (Some(bearer), ..) => {
                let token = self.token(bearer).await?;
                HeaderValue::from_str(&format!("Bearer {token}"))
            }
            (None, Some(_), Some(Auth::Login { username, password })) => {
                use base64::Engine;
                let pair = format!("{username}:{password}");
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                HeaderValue::from_str(&format!("Basic {pair}"))
            }
            _ => return Err(denied(refused)),
        };
        let mut header = header.map_err(|_| Refusal::Other("its token is none".to_owned()))?;
        header.set_sensitive(true);
        *locked(&self.shown) = Some(header);
        Ok(())
    }

    /// Asks whom the registry sends us to for a token:
    /// <https://distribution.github.io/distribution/spec/auth/token/>.
    async fn token(&self, challenge: &Challenge) -> Result<String, Refusal> {
        let realm = challenge.get("realm").unwrap_or_default();
        let no_realm = |_| Refusal::Other(format!("its realm {realm:?} is no address"));
        let mut url = Url::parse(realm).map_err(no_realm)?;
        // What a password protects against those who listen must not be sent past that.
        let is_shown = url.scheme() != "https" && self.endpoint.base.starts_with("https:");
        if self.auth.is_some() && is_shown {
            let why = format!("it wants credentials to be sent to {realm}, which is not encrypted");
            return Err(Refusal::Other(why));
        }
        let scope = format!("repository:{}:pull", self.endpoint.repository);
        let scope = challenge.get("scope").unwrap_or(&scope);
        let service = challenge.get("service").map(|service| ("service", service));
        let asked = service.into_iter().chain([("scope", scope)]);
        let request: RequestBuilder = match &self.auth {
            Some(Auth::Identity(token)) => {
                let own = [("grant_type", "refresh_token"), ("client_id", "coracle")];
                let mut form = url.clone();
                form.set_query(None);
                form.query_pairs_mut().extend_pairs(own).extend_pairs(asked);
                form.query_pairs_mut().append_pair("refresh_token", token);
                let form = form.query().unwrap_or_default().to_owned();
                let kind = "application/x-www-form-urlencoded";
                // In this form it is sent once only: not also to where this host might send us.
                self.http.post(url).header("content-type", kind).body(Body::wrap(form))
            }
            auth => {
                url.query_pairs_mut().extend_pairs(asked);
                match auth {
                    Some(Auth::Login { username, password }) => {
                        self.http.get(url).basic_auth(username, Some(password))
                    }
                    _ => self.http.get(url),
                }
            }
        };
        let failed = |refusal| {
            let why = match refusal {
                Refusal::Missing => format!("{realm}: not found"),
                Refusal::Other(why) => why,
            };
            Refusal::Other(format!("failed to fetch a token: {why}"))
        };
        let answer = request.send().await.map_err(|error| failed(error.into()))?;
        let answer = whole(good(answer).map_err(failed)?).await.map_err(failed)?;
        let token: Token = serde_json::from_slice(&answer)
            .map_err(|error| failed(Refusal::Other(format!("{realm}: {error}"))))?;
        let token = token.token.or(token.access_token);
        token.ok_or_else(|| failed(Refusal::Other(format!("{realm}: no token in its answer"))))
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// What a registry wants to see: RFC 9110, 11.6.1.
struct Challenge {
    /// In lower case.
    scheme: String,
    fields: Vec<(String, String)>,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut fields = Vec::new();
        while let Some((name, after)) = rest.split_once('=') {
            let name = name.trim_matches([' ', ',']).to_lowercase();
            let (value, after) = match after.trim_start().strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            fields.push((name, value.trim().to_owned()));
            rest = after;
        }
        Some(Self { scheme: scheme.to_lowercase(), fields })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn good(response: Response) -> Result<Response, Refusal> {
    match response.status() {
        StatusCode::NOT_FOUND => Err(Refusal::Missing),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(denied(&response)),
        status if !status.is_success() => Err(Refusal::Other(unexpected(&response))),
        _ => Ok(response),
    }
}

/// Upstream's engines say so whatever the reason is, for registries do not tell strangers what they
/// have.
fn denied(response: &Response) -> Refusal {
    let why = unexpected(response);
    Refusal::Other(format!(
        "pull access denied, repository does not exist or may require authorization: {why}"
    ))
}

fn unexpected(response: &Response) -> String {
    let (url, status) = (shown(response.url()), response.status());
    format!("unexpected status from GET request to {url}: {status}")
}

/// An address as it may be told to everybody. Registries send us to storage with addresses whose query
/// is leave to read it.
fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // An error says that such addresses have neither.
    shown.set_username("").unwrap_or_default();
    shown.set_password(None).unwrap_or_default();
    shown
}

/// The whole of an answer that must not be large.
async fn whole(response: Response) -> Result<Vec<u8>, Refusal> {
    let url = shown(response.url());
    let late = |_| {
        let seconds = WHOLE_WITHIN.as_secs();
        Refusal::Other(format!("{url}: it stalls: no whole answer within {seconds} seconds"))
    };
    tokio::time::timeout(WHOLE_WITHIN, gathered(response)).await.map_err(late)?
}

async fn gathered(mut response: Response) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if (bytes.len() + chunk.len()) as u64 > JSON_BYTES_MAX {
            let url = shown(response.url());
            return Err(Refusal::Other(format!("{url}: more than {JSON_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_what_opens_them() {
        let url = Url::parse("https://me:secret@s.example.com:5000/v2/a?sig=secret#x").unwrap();
        assert_eq!(shown(&url).as_str(), "https://s.example.com:5000/v2/a");
    }

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://a.example.com/token?x=y",service="r", scope="repository:a/b:pull,push""#;
        let challenge = Challenge::parse(text).unwrap();
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.get("realm"), Some("https://a.example.com/token?x=y"));
        assert_eq!(challenge.get("service"), Some("r"));
        assert_eq!(challenge.get("scope"), Some("repository:a/b:pull,push"));
        let plain = Challenge::parse("Basic realm=here, charset=UTF-8").unwrap();
        assert_eq!((plain.get("realm"), plain.get("charset")), (Some("here"), Some("UTF-8")));
        assert_eq!(Challenge::parse("Basic").unwrap().scheme, "basic");
        assert!(Challenge::parse("Basic realm=\"open").is_none());
    }
}
