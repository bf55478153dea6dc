//! Notes become Event objects: repeats bump a count, floods are gathered and then dropped.
//!
//! The rules and limits are those of client-go's event correlator, so that `kubectl describe` shows
//! what it shows on other clusters: equal events are counted; from the tenth distinct message of
//! one reason within ten minutes on they are gathered under one; and one component may say no more
//! than 25 things at once of an object, and one more every five minutes.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use coracle_api::resources::EVENTS;
use coracle_api::{Key, Status, Timestamp, Verb};
use coracle_controllers::Note;
use coracle_server::{Api, Body, Content, Request};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::requests;

/// Entries that each memory of the correlator holds.
const REMEMBERED_MAX: usize = 4096;
/// Distinct messages after which events are gathered.
const GATHER_AFTER: usize = 10;
/// How long distinct messages are counted together.
const GATHER_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Events that a component may record of an object at once.
const BURST: f64 = 25.0;
/// Seconds until it may record one more.
const REFILL_SECONDS: f64 = 300.0;
/// Events that wait to be written: what comes while there are so many is dropped.
const PENDING_MAX: usize = 1024;
/// Events that are written together.
const GROUP_MAX: usize = 64;

/// Who says what an event says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventSource {
    /// `statefulset-controller`, `kubelet`
    pub component: String,
    /// The node, or empty.
    pub host: String,
}

impl EventSource {
    /// A component of the control plane.
    pub fn component(name: &str) -> Self {
        Self { component: name.to_owned(), host: String::new() }
    }

    /// A component of a node.
    pub fn on_host(name: &str, host: &str) -> Self {
        Self { component: name.to_owned(), host: host.to_owned() }
    }
}

/// Records events. A handle: cloning it is cheap, and all clones count together.
#[derive(Clone, Default)]
pub struct EventRecorder {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    correlator: Correlator,
    pending: VecDeque<Record>,
}

impl EventRecorder {
    /// Takes a note of something that happened at `now`; written by [`EventRecorder::flush`].
    pub fn record(&self, source: EventSource, note: Note, now: Timestamp) {
        self.record_at(source, note, "", now);
    }

    /// As [`EventRecorder::record`], about a part of the object: `spec.containers{web}`.
    pub fn record_at(&self, source: EventSource, note: Note, field_path: &str, now: Timestamp) {
        let mut state = self.lock();
        if let Some(record) = state.correlator.observe(&source, &note, field_path, now) {
            state.add(record);
            self.inner.wake.notify_one();
        }
    }

    /// Writes what was noted so far. An event that cannot be stored is dropped: events tell, they
    /// do not decide.
    pub async fn flush(&self, api: &Api) {
        loop {
            // A guard must not live across the write.
            let group = self.lock().take();
            if group.is_empty() {
                return;
            }
            if write_together(api, &group).await.is_ok() {
                continue;
            }
            // One of them is in the way: an object that has expired, a namespace that goes.
            for record in &group {
                if let Err(status) = write(api, record).await {
                    tracing::debug!(%status, "an event was dropped");
                }
            }
        }
    }

    /// Writes notes as they come, for ever.
    pub async fn run(&self, api: &Api) {
        loop {
            self.flush(api).await;
            self.inner.wake.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of ours leaves the state half changed.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Queues an event; a repeat of one that waits is told with it.
    fn add(&mut self, record: Record) {
        let name = |record: &Record| record.event["metadata"]["name"].clone();
        if record.is_repeat
            && let Some(waiting) = self.pending.iter_mut().rfind(|it| name(it) == name(&record))
        {
            waiting.event = record.event;
        } else if self.pending.len() < PENDING_MAX {
            self.pending.push_back(record);
        } else {
            tracing::debug!("an event was dropped: too many wait to be written");
        }
    }

    fn take(&mut self) -> Vec<Record> {
        let count = self.pending.len().min(GROUP_MAX);
        self.pending.drain(..count).collect()
    }
}

/// All of them with one flush, or none.
async fn write_together(api: &Api, group: &[Record]) -> Result<(), Status> {
    let of_one = |record: &Record| match record.is_repeat {
        true => patch(api, &record.event),
        false => create(api, &record.event),
    };
    let requests = group.iter().map(of_one).collect::<Result<_, _>>()?;
    api.transact(requests, Vec::new()).await.map(drop)
}

async fn write(api: &Api, record: &Record) -> Result<(), Status> {
    let event = &record.event;
    if record.is_repeat {
        match api.call(patch(api, event)?).await {
            // It has expired meanwhile.
            Err(status) if status.code == 404 => {}
            other => return other.map(drop),
        }
    }
    api.call(create(api, event)?).await.map(drop)
}

fn create(api: &Api, event: &Value) -> Result<Request, Status> {
    request(api, Verb::Create, event, Body::Object(event.clone()))
}

fn patch(api: &Api, event: &Value) -> Result<Request, Status> {
    let change = json!({
        "count": event["count"],
        "lastTimestamp": event["lastTimestamp"],
        "message": event["message"],
    });
    let body = Body::Encoded(Content::MergePatch, Bytes::from(change.to_string()));
    request(api, Verb::Patch, event, body)
}

fn request(api: &Api, verb: Verb, event: &Value, body: Body) -> Result<Request, Status> {
    let text = |field: &str| event["metadata"][field].as_str().unwrap_or_default();
    let name = if verb == Verb::Create { "" } else { text("name") };
    let component = event["source"]["component"].as_str().unwrap_or_default();
    let user = requests::controller(component);
    let key = Key::new(EVENTS, text("namespace"), name);
    requests::at(&api.kinds(), user, verb, &key, None, body).map_err(Status::internal)
}

/// An event to write: a new one, or a change of one that was written before.
#[derive(Debug, PartialEq)]
struct Record {
    event: Value,
    is_repeat: bool,
}

/// What makes events one event.
#[derive(Clone, Hash)]
struct Kin {
    source: EventSource,
    uid: String,
    resource: Key,
    field_path: String,
    warning: bool,
    reason: &'static str,
    /// Empty for events that are gathered.
    message: String,
}

/// What stands for a key or a message in a memory, 128 bits of it: with their texts, memories would
/// hold several times what the events themselves take.
type Digest = [u64; 2];

/// What was recorded lately.
#[derive(Default)]
struct Correlator {
    written: Memory<Written>,
    groups: Memory<Group>,
    buckets: Memory<Bucket>,
    digester: Digester,
    /// The last event's name in nanoseconds: no two events get the same.
    last_name: i128,
}

/// What a repeat must know of the event that was written: its text is made anew, and as a tree would
/// take thousands of bytes for as long as it is remembered.
struct Written {
    name: i128,
    first: Timestamp,
    count: i64,
}

struct Group {
    messages: Vec<Digest>,
    last: Timestamp,
}

/// Makes digests that nobody outside can foresee.
#[derive(Default)]
struct Digester([RandomState; 2]);

impl Digester {
    fn of(&self, value: &impl Hash) -> Digest {
        self.0.each_ref().map(|seeded| seeded.hash_one(value))
    }
}

struct Bucket {
    tokens: f64,
    last: Timestamp,
}

impl Correlator {
    /// The write that a note is worth, if any.
    fn observe(
        &mut self,
        source: &EventSource,
        note: &Note,
        field_path: &str,
        now: Timestamp,
    ) -> Option<Record> {
        let message = note.message.clone();
        let kin = Kin {
            source: source.clone(),
            uid: note.regarding.metadata().uid.clone(),
            resource: note.regarding.key().clone(),
            field_path: field_path.to_owned(),
            warning: note.event_type == coracle_controllers::EventType::Warning,
            reason: note.reason,
            message: String::new(),
        };
        let (kin, message) = self.gather(kin, message, now);
        if !self.may_speak(source, note.regarding.key(), now) {
            return None;
        }
        let kin = self.digester.of(&kin);
        if let Some(written) = self.written.get(kin) {
            written.count = written.count.saturating_add(1);
            let event = event(source, note, field_path, &message, written, now);
            return Some(Record { event, is_repeat: true });
        }
        self.last_name = now.as_nanosecond().max(self.last_name + 1);
        let written = Written { name: self.last_name, first: now, count: 1 };
        let event = event(source, note, field_path, &message, &written, now);
        self.written.insert(kin, written);
        Some(Record { event, is_repeat: false })
    }

    /// Under which kin and with which message an event counts.
    fn gather(&mut self, kin: Kin, message: String, now: Timestamp) -> (Kin, String) {
        let fresh = || Group { messages: Vec::new(), last: now };
        let group = self.groups.get_or(self.digester.of(&kin), fresh);
        if now.duration_since(group.last) > GATHER_WITHIN {
            *group = fresh();
        }
        group.last = now;
        let is_many = group.messages.len() + 1 >= GATHER_AFTER;
        let digest = self.digester.of(&message);
        let is_known = group.messages.contains(&digest);
        if is_known || !is_many {
            group.messages.extend((!is_known).then_some(digest));
            return (Kin { message: message.clone(), ..kin }, message);
        }
        (kin, format!("(combined from similar events): {message}"))
    }

    fn may_speak(&mut self, source: &EventSource, regarding: &Key, now: Timestamp) -> bool {
        let full = || Bucket { tokens: BURST, last: now };
        let bucket = self.buckets.get_or(self.digester.of(&(source, regarding)), full);
        let refill = now.duration_since(bucket.last).as_secs_f64() / REFILL_SECONDS;
        bucket.tokens = (bucket.tokens + refill.max(0.0)).min(BURST);
        bucket.last = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// The Event object, as it is told for the `count`th time.
fn event(
    source: &EventSource,
    note: &Note,
    field_path: &str,
    message: &str,
    written: &Written,
    now: Timestamp,
) -> Value {
    let regarding = &note.regarding;
    let metadata = regarding.metadata();
    let namespace = Some(&*metadata.namespace).filter(|ns| !ns.is_empty()).unwrap_or("default");
    let mut involved = json!({
        "apiVersion": regarding.str_at("/apiVersion"),
        "kind": regarding.str_at("/kind"),
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
    });
    for (field, text) in [("namespace", &*metadata.namespace), ("fieldPath", field_path)] {
        if !text.is_empty() {
            involved[field] = json!(text);
        }
    }
    let mut said_by = json!({"component": source.component});
    if !source.host.is_empty() {
        said_by["host"] = json!(source.host);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{}.{:x}", metadata.name, written.name),
            "namespace": namespace,
        },
        "involvedObject": involved,
        "reason": note.reason,
        "message": message,
        "source": said_by,
        "firstTimestamp": rfc3339(written.first),
        "lastTimestamp": rfc3339(now),
        "count": written.count,
        "type": note.event_type.as_str(),
        "eventTime": null,
        "reportingComponent": source.component,
        "reportingInstance": source.host,
    })
}

/// `metav1.Time`: whole seconds.
fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A map that forgets what was not asked for longest.
struct Memory<V> {
    entries: HashMap<Digest, (u64, V)>,
    clock: u64,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), clock: 0 }
    }
}

impl<V> Memory<V> {
    fn get(&mut self, key: Digest) -> Option<&mut V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(&key)?;
        *used = self.clock;
        Some(value)
    }

    fn insert(&mut self, key: Digest, value: V) {
        self.make_room();
        self.entries.insert(key, (self.clock, value));
    }

    fn get_or(&mut self, key: Digest, new: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            self.make_room();
        }
        self.clock += 1;
        let entry = self.entries.entry(key).or_insert_with(|| (0, new()));
        entry.0 = self.clock;
        &mut entry.1
    }

    fn make_room(&mut self) {
        if self.entries.len() < REMEMBERED_MAX {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::Object;

    use super::*;

    fn note(message: &str) -> Note {
        let value = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u1"},
        });
        let pod = Arc::new(Object::with_resource("pods", value).unwrap());
        Note::warning(&pod, "Unhealthy", message)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn observe(correlator: &mut Correlator, message: &str, seconds: i64) -> Option<Record> {
        let kubelet = EventSource::on_host("kubelet", "node-1");
        correlator.observe(&kubelet, &note(message), "spec.containers{web}", at(seconds))
    }

    #[test]
    fn an_event_says_who_saw_what_and_when() {
        let record = observe(&mut Correlator::default(), "probe failed", 1000).unwrap();
        assert!(!record.is_repeat);
        let event = record.event;
        assert_eq!(event["metadata"], json!({"name": "web-0.e8d4a51000", "namespace": "shop"}));
        assert_eq!(event["involvedObject"]["fieldPath"], "spec.containers{web}");
        assert_eq!(event["source"], json!({"component": "kubelet", "host": "node-1"}));
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:16:40Z");
        assert_eq!(event["type"], "Warning");
    }

    #[test]
    fn a_repeat_bumps_the_count_of_the_event_that_is_there() {
        let mut correlator = Correlator::default();
        let first = observe(&mut correlator, "probe failed", 1).unwrap();
        let second = observe(&mut correlator, "probe failed", 61).unwrap();
        assert!(second.is_repeat);
        assert_eq!(second.event["metadata"], first.event["metadata"]);
        assert_eq!(second.event["count"], 2);
        assert_eq!(second.event["lastTimestamp"], "1970-01-01T00:01:01Z");
    }

    #[test]
    fn similar_events_are_gathered_and_then_dropped() {
        let mut correlator = Correlator::default();
        let records: Vec<_> =
            (0..30).map(|n| observe(&mut correlator, &format!("failed {n}"), 5)).collect();
        let plain = records[8].as_ref().unwrap();
        assert_eq!(plain.event["message"], "failed 8");
        let gathered = records[9].as_ref().unwrap();
        assert_eq!(gathered.event["message"], "(combined from similar events): failed 9");
        let repeated = records[10].as_ref().unwrap();
        assert!(repeated.is_repeat);
        assert_eq!(repeated.event["message"], "(combined from similar events): failed 10");
        assert_eq!(records.iter().filter(|record| record.is_some()).count(), 25);
        assert!(observe(&mut correlator, "later", 5 + 301).is_some(), "one more in five minutes");
    }

    #[test]
    fn the_queue_is_bounded_and_tells_repeats_with_what_waits() {
        let mut state = State::default();
        let first = observe(&mut state.correlator, "probe failed", 1).unwrap();
        let again = observe(&mut state.correlator, "probe failed", 2).unwrap();
        state.add(first);
        state.add(again);
        assert_eq!(state.pending.len(), 1);
        assert!(state.pending[0].event["count"] == 2 && !state.pending[0].is_repeat);
        for n in 0..2 * PENDING_MAX {
            let event = json!({"metadata": {"name": format!("e{n}")}});
            state.add(Record { event, is_repeat: false });
        }
        assert_eq!(state.pending.len(), PENDING_MAX);
        assert_eq!(state.take().len(), GROUP_MAX);
        assert_eq!(state.pending.len(), PENDING_MAX - GROUP_MAX);
    }

    #[test]
    fn two_events_of_one_moment_have_two_names() {
        let mut correlator = Correlator::default();
        let a = observe(&mut correlator, "a", 1).unwrap();
        let b = observe(&mut correlator, "b", 1).unwrap();
        assert_ne!(a.event["metadata"]["name"], b.event["metadata"]["name"]);
    }
}
