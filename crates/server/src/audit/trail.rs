//! What is remembered of one request on its way: from when it is known who asks to when the last byte
//! of the answer is sent, or the connection that it became has ended.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use coracle_api::{Status, Timestamp};
use http::request::Parts;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::ID;
use super::event::{self, Event, Head, ObjectReference};
use super::log::Log;
use super::policy::{Level, Policy, Stage, Treatment};
use crate::auth::Action;
use crate::auth::authorize::Reason;
use crate::edge::connections::Held;
use crate::edge::response::Response;
use crate::pipeline::admission::PATCH;
use crate::pipeline::request::{Body, User};

/// Bytes of what was sent that are read only to know what an object is called: with more, somebody
/// could keep the log busy until it loses the events of others.
const NAMED_MAX: usize = 64 << 10;

/// Who remembers requests.
pub struct Auditor {
    policy: Policy,
    log: Log,
}

/// A request of which nothing is remembered yet.
pub(crate) struct Begun<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) action: &'a Action,
    /// Who asks; `None` when their credentials are none.
    pub(crate) user: Option<&'a User>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) received: Timestamp,
}

/// What is remembered of a request. When the last clone is dropped, all is said.
#[derive(Clone)]
pub(crate) struct Trail(Arc<Inner>);

struct Inner {
    auditor: Arc<Auditor>,
    treatment: Treatment,
    /// Whether the answer goes on for as long as the client likes.
    is_long: bool,
    /// Whether it is known who asks: else the refusal is all that is remembered.
    is_known: bool,
    event: Mutex<Event>,
}

impl Auditor {
    /// Remembers in the file at `path` what `policy` says.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn new(policy: Policy, path: &Path) -> io::Result<Self> {
        Ok(Self { policy, log: Log::open(path)? })
    }

    /// Waits, not for ever, until all that is over is written.
    pub fn flush(&self) {
        self.log.flush();
    }

    /// Begins to remember a request; `None` when nothing is to be remembered of it.
    pub(crate) fn begin(self: &Arc<Self>, asked: &Begun<'_>) -> Option<Trail> {
        let treatment = self.policy.treatment(asked.user, asked.action);
        if treatment.level == Level::None {
            return None;
        }
        let event = Mutex::new(asked.event(&treatment));
        let (is_long, is_known) = (asked.is_long(), asked.user.is_some());
        let trail = Inner { auditor: Arc::clone(self), treatment, is_long, is_known, event };
        if is_known {
            trail.emit(Stage::RequestReceived);
        }
        Some(Trail(Arc::new(trail)))
    }
}

impl Begun<'_> {
    fn is_long(&self) -> bool {
        match self.action {
            Action::Resource(resource) => resource.verb == "watch" || resource.is_long(),
            Action::Path { .. } => false,
        }
    }

    fn event(&self, treatment: &Treatment) -> Event {
        let Self { parts, action, user, peer, received } = self;
        let received = event::micro_time(*received);
        let (verb, object_ref) = match action {
            Action::Resource(resource) => {
                (resource.verb.to_string(), Some(ObjectReference::of(resource)))
            }
            Action::Path { verb, .. } => (verb.clone(), None),
        };
        let id = parts.headers.get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let head = Head {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: treatment.level,
            audit_id: id.to_owned(),
            stage: Stage::RequestReceived,
            request_uri: parts.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
            verb,
            user: user.map_or_else(|| json!({}), User::info),
            impersonated_user: None,
            source_ips: event::sources(&parts.headers, *peer),
            user_agent: event::agent(&parts.headers),
            object_ref,
            response_status: None,
            request_object: None,
            response_object: None,
            stage_timestamp: received.clone(),
            request_received_timestamp: received,
            annotations: BTreeMap::new(),
        };
        let omits_managed_fields = treatment.omits_managed_fields;
        Event { head, asked: None, answered: None, omits_managed_fields }
    }
}

/// What is remembered of the request that `parts` begin.
pub(crate) fn of(parts: &Parts) -> Option<&Trail> {
    parts.extensions.get()
}

impl Trail {
    /// Whom the user acts as.
    pub(crate) fn note_impersonated(&self, user: &User) {
        self.0.event().head.impersonated_user = Some(user.info());
    }

    /// Whether the user may ask this, and why.
    pub(crate) fn note_allowed(&self, decided: &Result<Reason, Status>) {
        let (decision, reason) = match decided {
            Ok(reason) => ("allow", reason.to_string()),
            Err(_) => ("forbid", String::new()),
        };
        let said = [("decision", decision.to_owned()), ("reason", reason)];
        let said = said.map(|(key, value)| (format!("authorization.k8s.io/{key}"), value));
        self.note(said);
    }

    /// What else is to be remembered. What webhooks make of an object is a part of it.
    pub(crate) fn note(&self, annotations: impl IntoIterator<Item = (String, String)>) {
        let shows_objects = self.0.treatment.level >= Level::Request;
        let shown = |(key, _): &(String, String)| shows_objects || !key.starts_with(PATCH);
        self.0.event().head.annotations.extend(annotations.into_iter().filter(shown));
    }

    /// What was sent.
    pub(crate) fn note_asked(&self, body: &Body) {
        let shows_objects = self.0.treatment.level >= Level::Request;
        let is_read = |bytes: &Bytes| shows_objects || bytes.len() <= NAMED_MAX;
        if let Body::Encoded(content, bytes) = body
            && !bytes.is_empty()
            && is_read(bytes)
        {
            self.0.event().asked = Some((*content, bytes.clone()));
        }
    }

    /// Whether the answer is to be remembered.
    pub(crate) fn wants_answer(&self) -> bool {
        self.0.treatment.level == Level::RequestResponse
    }

    /// What is answered, in JSON.
    pub(crate) fn note_answer(&self, bytes: Bytes) {
        self.0.event().note_answer(bytes);
    }

    /// That it is refused.
    pub(crate) fn note_refused(&self, status: &Status) {
        if let Some(annotations) = &status.annotations {
            self.note((**annotations).clone());
        }
        let said = event::failed(status);
        let mut event = self.0.event();
        event.head.response_status = Some(said);
        if self.wants_answer()
            && let Ok(bytes) = serde_json::to_vec(status)
        {
            event.note_answer(bytes.into());
        }
    }

    /// The answer, which is followed to its end.
    pub(crate) fn follow(self, response: Response) -> Response {
        let code = response.status().as_u16();
        {
            let mut event = self.0.event();
            let status = event.head.response_status.get_or_insert_with(|| event::code(code));
            status["code"] = code.into();
        }
        if self.0.is_long || !self.0.is_known {
            self.0.emit(Stage::ResponseStarted);
        }
        response.map(|body| Held::new(body, self).boxed_unsync())
    }
}

impl Inner {
    fn event(&self) -> MutexGuard<'_, Event> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, stage: Stage) {
        if self.treatment.omitted.contains(&stage) {
            return;
        }
        let mut event = self.event().clone();
        event.head.stage = stage;
        if stage != Stage::RequestReceived {
            event.head.stage_timestamp = event::micro_time(Timestamp::now());
        }
        self.auditor.log.add(event);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.is_known {
            return;
        }
        if std::thread::panicking() {
            let why = "APIServer panic'd: its log says why";
            let status = Status::failure(500, "InternalError", why);
            self.event().head.response_status = Some(event::failed(&status));
            return self.emit(Stage::Panic);
        }
        let is_answered = self.event().head.response_status.is_some();
        if !is_answered {
            let early: Value = json!({"metadata": {}, "status": "Success",
                "message": "Connection closed early", "code": 200});
            self.event().head.response_status = Some(early);
            if self.is_long {
                self.emit(Stage::ResponseStarted);
            }
        }
        self.emit(Stage::ResponseComplete);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::response::{failure, full};
    use crate::pipeline::parse::{Query, Route, route};
    use crate::pipeline::request::Content;

    const POLICY: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, users: \
                          [nobody]}, {level: Metadata, omitStages: [], verbs: [get]}, {level: \
                          RequestResponse, omitStages: [RequestReceived]}]}";

    /// What the log has of a request for `url` by `user`, with which `act` does something.
    fn remembered(url: &str, user: Option<&str>, act: impl FnOnce(Option<Trail>)) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let auditor = Arc::new(Auditor::new(Policy::parse(POLICY).unwrap(), &path).unwrap());
        let request = http::Request::get(url).header(ID, "id").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let Route::Resource(resource) = route(&parts.method, parts.uri.path(), &query) else {
            panic!("{url}")
        };
        let user = user.map(|name| User { name: name.into(), ..User::default() });
        let (action, received) = (Action::Resource(resource), Timestamp::UNIX_EPOCH);
        let (parts, user, peer) = (&parts, user.as_ref(), None);
        let trail = auditor.begin(&Begun { parts, action: &action, user, peer, received });
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(trail)));
        auditor.flush();
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Stages, each with what came of the request until then.
    fn stages(events: &[Value]) -> Vec<String> {
        let shown = |event: &Value| {
            let stage = event["stage"].as_str().unwrap();
            format!("{stage} {}", event["responseStatus"]["code"])
        };
        events.iter().map(shown).collect()
    }

    const POD: &str = "/api/v1/namespaces/a/pods/p";

    #[test]
    fn a_request_is_remembered_when_it_comes_and_when_all_is_said() {
        let answer = |trail: Option<Trail>| drop(trail.unwrap().follow(full(200, "x", "")));
        let events = remembered(POD, Some("anna"), answer);
        assert_eq!(stages(&events), ["RequestReceived null", "ResponseComplete 200"]);
        assert_eq!(events[1]["objectRef"]["name"], "p");
        assert_eq!((&events[0]["auditID"], &events[1]["requestURI"]), (&json!("id"), &json!(POD)));
        let list = "/api/v1/pods?limit=1";
        let answered = remembered(list, Some("anna"), |trail| {
            let trail = trail.unwrap();
            assert!(trail.wants_answer());
            trail.note_answer(Bytes::from_static(b"{\"items\":[]}"));
            trail.note([("patch.webhook.admission.k8s.io/x".to_owned(), "y".to_owned())]);
            drop(trail.follow(full(200, "x", "")));
        });
        assert_eq!(stages(&answered), ["ResponseComplete 200"]);
        assert_eq!(answered[0]["responseObject"], json!({"items": []}));
        assert_eq!(answered[0]["annotations"].as_object().unwrap().len(), 1);
        assert!(remembered(POD, Some("nobody"), |trail| assert!(trail.is_none())).is_empty());
    }

    #[test]
    fn what_was_sent_is_read_for_its_name_unless_that_takes_long() {
        let named = |length: usize| {
            let text = "x".repeat(length);
            let sent = json!({"metadata": {"name": "p", "uid": "u"}, "data": text}).to_string();
            let events = remembered(POD, Some("anna"), |trail| {
                let trail = trail.unwrap();
                trail.note_asked(&Body::Encoded(Content::Json, sent.into()));
                drop(trail.follow(full(200, "x", "")));
            });
            assert!(events[1]["requestObject"].is_null());
            events[1]["objectRef"]["uid"].clone()
        };
        assert_eq!(named(1), "u");
        assert_eq!(named(NAMED_MAX), Value::Null);
    }

    #[test]
    fn what_goes_on_is_remembered_when_it_begins_and_while_anybody_has_it() {
        let watched = remembered("/api/v1/pods?watch=1", Some("anna"), |trail| {
            let trail = trail.unwrap();
            let upgraded = trail.clone();
            drop(trail.follow(full(101, "x", "")));
            drop(upgraded);
        });
        assert_eq!(stages(&watched), ["ResponseStarted 101", "ResponseComplete 101"]);
    }

    #[test]
    fn what_ends_otherwise_is_remembered_as_it_ended() {
        let refused = remembered(POD, Some("anna"), |trail| {
            let trail = trail.unwrap();
            let status = Status::unauthorized()
                .annotated([("a".to_owned(), "b".to_owned())].into_iter().collect());
            trail.note_refused(&status);
            drop(trail.follow(failure(&status)));
        });
        assert_eq!(stages(&refused), ["RequestReceived null", "ResponseComplete 401"]);
        assert_eq!(refused[1]["responseStatus"]["reason"], "Unauthorized");
        assert_eq!(refused[1]["annotations"], json!({"a": "b"}));

        let unknown = remembered(POD, None, |trail| {
            let trail = trail.unwrap();
            trail.note_refused(&Status::unauthorized());
            drop(trail.follow(failure(&Status::unauthorized())));
        });
        assert_eq!(stages(&unknown), ["ResponseStarted 401"]);
        assert_eq!(unknown[0]["user"], json!({}));

        let gone = remembered(POD, Some("anna"), drop);
        assert_eq!(stages(&gone), ["RequestReceived null", "ResponseComplete 200"]);
        assert_eq!(gone[1]["responseStatus"]["message"], "Connection closed early");

        let broken = remembered(POD, Some("anna"), |trail| {
            let _held = trail;
            panic!("a fault of ours");
        });
        assert_eq!(stages(&broken), ["RequestReceived null", "Panic 500"]);
    }
}
