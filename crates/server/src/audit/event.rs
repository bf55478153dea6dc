//! What is remembered of a request: `audit.k8s.io/v1` Event, a line of JSON. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use coracle_api::{Status, Timestamp};
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::policy::{Level, Stage};
use crate::pipeline::content;
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::Content;

/// Bytes that a line may have with its objects; a longer one is without them.
const LINE_MAX: usize = 4 << 20;
/// Bytes of a User-Agent that are remembered.
const AGENT_MAX: usize = 1024;

/// One event, as long as nobody has written it down.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) head: Head,
    /// The body of the request.
    pub(crate) asked: Option<(Content, Bytes)>,
    /// The answer, in JSON.
    pub(crate) answered: Option<Bytes>,
    pub(crate) omits_managed_fields: bool,
}

/// All of it but the objects, in upstream's order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) kind: &'static str,
    pub(crate) api_version: &'static str,
    pub(crate) level: Level,
    #[serde(rename = "auditID")]
    pub(crate) audit_id: String,
    pub(crate) stage: Stage,
    #[serde(rename = "requestURI")]
    pub(crate) request_uri: String,
    pub(crate) verb: String,
    pub(crate) user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) impersonated_user: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) source_ips: Vec<IpAddr>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_ref: Option<ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_object: Option<Value>,
    pub(crate) request_received_timestamp: String,
    pub(crate) stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What the request is about.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

impl ObjectReference {
    pub(crate) fn of(resource: &ResourceRef) -> Self {
        Self {
            resource: resource.resource.clone(),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            api_group: resource.group.clone(),
            api_version: resource.version.clone(),
            subresource: resource.subresource.clone(),
            ..Self::default()
        }
    }

    /// Takes what it does not know from the object that was sent.
    fn complete(&mut self, object: &Value) {
        let metadata = &object["metadata"];
        for (own, field) in [
            (&mut self.namespace, "namespace"),
            (&mut self.name, "name"),
            (&mut self.uid, "uid"),
            (&mut self.resource_version, "resourceVersion"),
        ] {
            if own.is_empty() {
                own.push_str(metadata[field].as_str().unwrap_or_default());
            }
        }
    }
}

impl Event {
    /// How much it holds until it is written down, in bytes: whatever a client may make long counts.
    pub(crate) fn weight(&self) -> usize {
        let asked = self.asked.as_ref().map_or(0, |(_, bytes)| bytes.len());
        let answered = self.answered.as_ref().map_or(0, Bytes::len);
        let head = &self.head;
        let [acted, status] =
            [&head.impersonated_user, &head.response_status].map(|it| it.as_ref().map_or(0, held));
        let said = head.annotations.iter().map(|(key, value)| key.len() + value.len());
        let sources = head.source_ips.len() * size_of::<IpAddr>();
        let users = held(&head.user).saturating_add(acted);
        let parts = [asked, answered, head.request_uri.len(), users, status, sources, 2048];
        parts.into_iter().chain(said).fold(0, usize::saturating_add)
    }

    /// Takes on what is answered, unless no line could have it: it would be read only to be left out.
    pub(crate) fn note_answer(&mut self, bytes: Bytes) {
        if bytes.len() > LINE_MAX {
            self.leave_out_objects();
        } else {
            self.answered = Some(bytes);
        }
    }

    fn leave_out_objects(&mut self) {
        (self.head.request_object, self.head.response_object) = (None, None);
        self.head.annotations.insert("audit.k8s.io/truncated".into(), "true".into());
    }

    /// The line that is written of it, its end included.
    pub(crate) fn line(mut self) -> Vec<u8> {
        if let Some((content, bytes)) = self.asked.take() {
            self.note_asked(content, &bytes);
        }
        if let Some(bytes) = self.answered.take() {
            let value = serde_json::from_slice(&bytes).ok();
            self.head.response_object = value.map(|value| self.shown(value));
        }
        let mut line = serde_json::to_vec(&self.head).unwrap_or_default();
        if line.len() > LINE_MAX {
            self.leave_out_objects();
            line = serde_json::to_vec(&self.head).unwrap_or_default();
        }
        line.push(b'\n');
        line
    }

    fn note_asked(&mut self, content: Content, bytes: &Bytes) {
        let is_object = matches!(content, Content::Json | Content::Yaml | Content::Protobuf);
        let decoded = match is_object {
            true => content::decode(content, bytes),
            false => content::decode_patch(content, bytes),
        };
        // What cannot be read was refused, and the answer says why.
        let Ok(decoded) = decoded else { return };
        if is_object {
            self.head.object_ref.get_or_insert_default().complete(&decoded.value);
        }
        if self.head.level >= Level::Request {
            self.head.request_object = Some(self.shown(decoded.value));
        }
    }

    /// `object`, or a list or table of such, as far as it is to be remembered.
    fn shown(&self, mut object: Value) -> Value {
        if self.omits_managed_fields {
            omit_managed_fields(&mut object);
            for (list, inner) in [("items", None), ("rows", Some("object"))] {
                let items = object.get_mut(list).and_then(Value::as_array_mut);
                for item in items.into_iter().flatten() {
                    match inner {
                        None => omit_managed_fields(item),
                        Some(inner) => {
                            item.get_mut(inner).into_iter().for_each(omit_managed_fields)
                        }
                    }
                }
            }
        }
        object
    }
}

/// About how many bytes `value` holds.
fn held(value: &Value) -> usize {
    let more = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(held).sum(),
        Value::Object(fields) => fields.iter().map(|(key, it)| key.len() + held(it)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + more
}

fn omit_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// `metav1.Status` of an answer that is none itself.
pub(crate) fn code(code: u16) -> Value {
    json!({"metadata": {}, "code": code})
}

/// That of a failure, without what it has in common with all.
pub(crate) fn failed(status: &Status) -> Value {
    let mut value = json!(status);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    value
}

/// `metav1.MicroTime`.
pub(crate) fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The start of the User-Agent.
pub(crate) fn agent(headers: &HeaderMap) -> String {
    let said = headers.get(http::header::USER_AGENT);
    let said = said.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut said = said.unwrap_or_default();
    if said.len() > AGENT_MAX {
        said.truncate(said.floor_char_boundary(AGENT_MAX));
        said.push_str("...TRUNCATED");
    }
    said
}

/// Where a request comes from: what proxies on its way say, who may say anything, and last the address
/// of whoever is connected.
pub(crate) fn sources(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<IpAddr> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text("x-forwarded-for").unwrap_or_default().split(',');
    let mut all: Vec<IpAddr> = forwarded.filter_map(|part| part.trim().parse().ok()).collect();
    if let Some(real) = text("x-real-ip").and_then(|it| it.trim().parse().ok())
        && !all.contains(&real)
    {
        all.push(real);
    }
    let peer = peer.map(|peer| peer.to_canonical());
    all.extend(peer.filter(|peer| all.last() != Some(peer)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(level: Level) -> Event {
        let resource = ResourceRef {
            verb: "create".into(),
            version: "v1".into(),
            namespace: "shop".into(),
            resource: "secrets".into(),
            ..ResourceRef::default()
        };
        let head = Head {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            audit_id: "a".into(),
            stage: Stage::ResponseComplete,
            request_uri: "/api/v1/namespaces/shop/secrets?fieldManager=x".into(),
            verb: "create".into(),
            user: json!({"username": "anna"}),
            impersonated_user: None,
            source_ips: vec![IpAddr::from([127, 0, 0, 1])],
            user_agent: "kubectl".into(),
            object_ref: Some(ObjectReference::of(&resource)),
            response_status: Some(code(201)),
            request_object: None,
            response_object: None,
            request_received_timestamp: micro_time(Timestamp::UNIX_EPOCH),
            stage_timestamp: micro_time(Timestamp::UNIX_EPOCH),
            annotations: BTreeMap::new(),
        };
        Event { head, asked: None, answered: None, omits_managed_fields: false }
    }

    fn written(event: Event) -> Value {
        let line = event.line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn metadata_says_what_was_made_and_nothing_of_what_is_in_it() {
        let body = "metadata: {name: keys, uid: u}\ndata: {a: c2VjcmV0}";
        let asked = Some((Content::Yaml, Bytes::from_static(body.as_bytes())));
        let line = Event { asked: asked.clone(), ..event(Level::Metadata) }.line();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\
             \"auditID\":\"a\",\"stage\":\"ResponseComplete\",\"requestURI\":\
             \"/api/v1/namespaces/shop/secrets?fieldManager=x\",\"verb\":\"create\",\"user\":\
             {\"username\":\"anna\"},\"sourceIPs\":[\"127.0.0.1\"],\"userAgent\":\"kubectl\",\
             \"objectRef\":{\"resource\":\"secrets\",\"namespace\":\"shop\",\"name\":\"keys\",\
             \"uid\":\"u\",\"apiVersion\":\"v1\"},\"responseStatus\":{\"code\":201,\"metadata\":{}},\
             \"requestReceivedTimestamp\":\"1970-01-01T00:00:00.000000Z\",\"stageTimestamp\":\
             \"1970-01-01T00:00:00.000000Z\"}\n"
        );
        let shown = written(Event { asked, ..event(Level::Request) });
        assert_eq!(shown["requestObject"]["data"]["a"], "c2VjcmV0");
    }

    #[test]
    fn objects_are_without_their_managed_fields_where_the_policy_wants_that() {
        let object = json!({"metadata": {"name": "a", "managedFields": [{}]}});
        let all = json!({"items": [object], "rows": [{"object": object}], "metadata": {}});
        let mut event = event(Level::RequestResponse);
        event.answered = Some(Bytes::from(all.to_string()));
        event.asked = Some((Content::Json, Bytes::from(object.to_string())));
        assert!(written(event.clone()).to_string().contains("managedFields"));
        event.omits_managed_fields = true;
        let shown = written(event);
        assert!(!shown.to_string().contains("managedFields"), "{shown}");
        assert_eq!(shown["responseObject"]["rows"][0]["object"]["metadata"]["name"], "a");
    }

    #[test]
    fn whatever_a_client_makes_long_counts() {
        let mut event = event(Level::Metadata);
        let light = event.weight();
        let long = "x".repeat(100_000);
        event.head.request_uri = long.clone();
        event.head.impersonated_user = Some(json!({"username": long}));
        event.head.user = json!({"groups": [long]});
        event.head.response_status = Some(json!({"message": long}));
        event.asked = Some((Content::Json, Bytes::from(long)));
        assert!(event.weight() > light + 499_000, "{}", event.weight());
    }

    #[test]
    fn what_is_too_long_says_so() {
        let mut event = event(Level::RequestResponse);
        let body = Bytes::from(json!({"data": "x".repeat(LINE_MAX)}).to_string());
        let mut beyond = event.clone();
        beyond.note_answer(body.slice(..));
        assert_eq!(beyond.answered, None, "it is not even kept");
        event.answered = Some(body);
        for event in [event, beyond] {
            let shown = written(event);
            assert_eq!(shown["annotations"]["audit.k8s.io/truncated"], "true");
            assert_eq!(shown.get("responseObject"), None);
        }
    }

    #[test]
    fn a_patch_is_remembered_as_it_was_sent() {
        let mut event = event(Level::Request);
        let patch = json!([{"op": "remove", "path": "/data/a"}]);
        event.asked = Some((Content::JsonPatch, Bytes::from(patch.to_string())));
        assert_eq!(written(event.clone())["requestObject"], patch);
        event.asked = Some((Content::ApplyPatch, Bytes::from_static(b"metadata: {name: x}")));
        let shown = written(event.clone());
        assert_eq!(shown["requestObject"]["metadata"]["name"], "x");
        assert_eq!(shown["objectRef"].get("name"), None);
        event.asked = Some((Content::Protobuf, Bytes::from_static(b"\xff")));
        assert_eq!(written(event).get("requestObject"), None);
    }

    #[test]
    fn whoever_is_connected_comes_last_and_once() {
        let peer = Some("::ffff:10.0.0.9".parse().unwrap());
        let mut headers = HeaderMap::new();
        let shown = |headers: &HeaderMap| {
            let all = sources(headers, peer);
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&headers), "10.0.0.9");
        headers.insert("x-forwarded-for", "1.2.3.4, nonsense, 10.0.0.1".parse().unwrap());
        headers.insert("x-real-ip", "1.2.3.4".parse().unwrap());
        assert_eq!(shown(&headers), "1.2.3.4 10.0.0.1 10.0.0.9");
        headers.insert("x-real-ip", "10.0.0.9".parse().unwrap());
        assert_eq!(shown(&headers), "1.2.3.4 10.0.0.1 10.0.0.9");
        headers.insert("user-agent", "a".repeat(2000).parse().unwrap());
        assert_eq!(agent(&headers), format!("{}...TRUNCATED", "a".repeat(1024)));
    }
}
