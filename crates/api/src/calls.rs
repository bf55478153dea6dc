//! What a pure function must ask of the outside. It cannot wait: it says what it needs, and is asked
//! again with the answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::usage::Usage;

/// A question, with all that the answer depends on: whoever asks the same again, because others were
/// faster, has the answer already.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A token of a service account, signed with the key of the cluster.
    Sign {
        /// What it says: JSON.
        claims: String,
    },
    /// A certificate, signed with the key of the cluster.
    Certify {
        /// What asks for it: PEM, in base64.
        request: String,
        /// What it may be used for: `client auth`.
        usages: Vec<String>,
        /// From when, in seconds since 1970.
        not_before: i64,
        /// Until when, or until the authority's own end.
        not_after: i64,
    },
    /// Whether somebody may do something.
    Review {
        /// What a SubjectAccessReview asks, its `spec` in JSON; each is a question.
        questions: Vec<String>,
    },
    /// What containers and nodes use now.
    Measure,
    /// What a webhook says.
    Post(Post),
    /// What another API server says.
    Fetch(Fetch),
    /// What other API servers have in a namespace is to go; what is left?
    Sweep {
        /// The namespace.
        namespace: String,
    },
    /// Several questions, asked at once.
    All(Vec<Call>),
}

/// Another API server, which an APIService stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OtherServer {
    /// `v1beta1.metrics.k8s.io`: the APIService.
    pub name: String,
    /// The Service that it is reached through.
    pub service: Backend,
    /// Who vouches for its certificate: PEM, in base64.
    pub ca_bundle: String,
    /// Whether nobody has to.
    pub insecure: bool,
}

impl OtherServer {
    /// The server of an APIService; `None` when we serve that version ourselves.
    #[must_use]
    pub fn of(api_service: &Value) -> Option<Self> {
        let spec = &api_service["spec"];
        let service = spec.get("service").filter(|service| service.is_object())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let port = service["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or(443);
        Some(Self {
            name: text(&api_service["metadata"]["name"]),
            service: Backend {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                port,
            },
            ca_bundle: text(&spec["caBundle"]),
            insecure: spec["insecureSkipTLSVerify"] == true,
        })
    }
}

/// A request of the control plane's own to another API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fetch {
    /// Whom to ask.
    pub server: OtherServer,
    /// `GET`
    pub method: &'static str,
    /// `/apis/example.com/v1`, with the query.
    pub path: String,
    /// Which media types are understood.
    pub accept: &'static str,
    /// The ETag of an answer that is known already; else empty.
    pub tag: String,
    /// Who asks.
    pub user: String,
    /// In which groups.
    pub groups: Vec<String>,
    /// For how long the answer is waited for, in seconds.
    pub timeout: u16,
    /// How often it is asked at once; the first answer with a code of success is taken.
    pub tries: u8,
}

impl Fetch {
    /// What upstream's aggregator asks, with the rights of everybody, within five seconds.
    #[must_use]
    pub fn get(server: OtherServer, path: impl Into<String>) -> Self {
        Self {
            server,
            method: "GET",
            path: path.into(),
            accept: "application/json",
            tag: String::new(),
            user: "system:kube-aggregator".into(),
            groups: vec!["system:masters".into()],
            timeout: 5,
            tries: 1,
        }
    }
}

/// What other API servers have left in a namespace that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Versions of which nobody knows what they have: `example.com/v1`.
    pub unknown: Vec<String>,
    /// Why something was not deleted.
    pub failed: Vec<String>,
    /// How many objects of a resource are left: `boats.example.com`.
    pub left: BTreeMap<String, usize>,
    /// In how many of them each finalizer is.
    pub held: BTreeMap<String, usize>,
}

impl Swept {
    /// Whether nothing is left, as far as everybody has said.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unknown.is_empty() && self.failed.is_empty() && self.left.is_empty()
    }
}

/// What came of a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it went: `https://10.96.3.4:443/apis/example.com/v1`.
    pub url: String,
    /// The ETag of the answer, if it has one.
    pub tag: String,
    /// The code and the body; or why there is none.
    pub answer: Result<(u16, String), String>,
}

impl Fetched {
    /// The body of a success.
    ///
    /// # Errors
    /// What was answered in its place, or why nothing was.
    pub fn success(&self) -> Result<&str, String> {
        match &self.answer {
            Ok((200..=299, body)) => Ok(body),
            Ok((code, _)) => Err(format!("bad status from {}: {code}", self.url)),
            Err(why) => Err(why.clone()),
        }
    }
}

/// JSON that is sent to a webhook, which is to answer with JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Post {
    /// Where to: `https://hook.shop.svc:443/validate?timeout=10s`.
    pub url: String,
    /// The Service that the host of the URL stands for; else it is looked up where the engine runs.
    pub service: Option<Backend>,
    /// Who vouches for the certificate of the other end: PEM, in base64. Empty: whom the host trusts.
    pub ca_bundle: String,
    /// The JSON.
    pub body: String,
    /// For how long the answer is waited for, in seconds.
    pub timeout: u16,
}

/// Versions of reviews that we speak, the one that we prefer first.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// The first of the versions in `said`, a list, that we speak: what a webhook is asked in.
#[must_use]
pub fn review_version(said: &Value) -> &'static str {
    let mut said = said.as_array().into_iter().flatten();
    let first = said.find_map(|said| REVIEWS.into_iter().find(|known| said == known));
    first.unwrap_or(REVIEWS[0])
}

impl Post {
    /// A question without a body for whoever listens where `config` says: an
    /// `admissionregistration.k8s.io/v1.WebhookClientConfig`, or the same of a definition.
    #[must_use]
    pub fn to(config: &Value, timeout: u16) -> Self {
        let text =
            |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let service = config["service"].is_object().then(|| Backend {
            namespace: text("/service/namespace").to_owned(),
            name: text("/service/name").to_owned(),
            port: config["service"]["port"]
                .as_u64()
                .and_then(|it| it.try_into().ok())
                .unwrap_or(443),
        });
        let base = match &service {
            Some(Backend { namespace, name, port }) => {
                let path = match text("/service/path") {
                    "" => "/",
                    path => path,
                };
                format!("https://{name}.{namespace}.svc:{port}{path}")
            }
            None => text("/url").to_owned(),
        };
        let (url, ca_bundle) = (format!("{base}?timeout={timeout}s"), text("/caBundle").to_owned());
        Self { url, service, ca_bundle, body: String::new(), timeout }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Where the Service is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// The port of the Service, not of its pods.
    pub port: u16,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A JSON web token.
    Token(String),
    /// A certificate in PEM.
    Certificate(String),
    /// For each question whether it is allowed.
    Allowed(Vec<bool>),
    /// What is used.
    Usage(Arc<Usage>),
    /// The body of a webhook's answer; or why there is none: `failed to call webhook: Post …`.
    Posted(Result<String, String>),
    /// What another API server said.
    Fetched(Fetched),
    /// What is left in a namespace.
    Swept(Swept),
    /// An answer to each of the questions, in their order.
    All(Vec<Result<Given, String>>),
}
