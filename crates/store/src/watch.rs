//! The watch log: the last writes in order, and those who wait for the next ones.
//!
//! Every resource has a log of its own, so that a thousand watchers of one resource neither wake
//! nor scan for writes to another, and a quiet resource's watchers stay resumable however busy the
//! others are. A write stands in its resource's log and in the log of all.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_api::{Key, Object};
use tokio::sync::watch;

/// One write, as the watch log keeps it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of this write; no other has it.
    pub revision: u64,
    /// Which object.
    pub key: Key,
    /// The object before, `None` when it was created.
    pub old: Option<Arc<Object>>,
    /// The object now, `None` when it was deleted.
    pub new: Option<Arc<Object>>,
    /// The object as a watcher is sent it: `new`, or for a deletion the old state stamped with the
    /// revision of the deletion.
    pub last: Arc<Object>,
}

impl Event {
    /// How much the log holds on to for this event: the version before is that of another event,
    /// or one that the log let go.
    fn bytes(&self) -> usize {
        self.last.bytes().len()
    }

    /// The same event of cold versions; `None` when they are.
    fn cold(&self) -> Option<Self> {
        let versions = self.old.iter().chain(&self.new).chain([&self.last]);
        if !versions.into_iter().any(|object| object.is_warm()) {
            return None;
        }
        let cold = |object: &Arc<Object>| Arc::new(object.cold());
        let last = cold(&self.last);
        Some(Self {
            revision: self.revision,
            key: self.key.clone(),
            old: self.old.as_ref().map(cold),
            new: self.new.as_ref().map(|_| Arc::clone(&last)),
            last,
        })
    }
}

/// The events after the asked revision are no longer all in the log: list and watch anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watch log begins after revision {oldest}")]
pub struct Compacted {
    /// The lowest revision from which a watch can still resume.
    pub oldest: u64,
}

/// How much of the past the log keeps: whatever exceeds one of these goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Events of all resources together.
    pub(crate) events: usize,
    /// Age of an event.
    pub(crate) age: Duration,
    /// Bytes of serialized objects. A thousand events stay whatever their size, so that watchers
    /// which are merely slow need not start over.
    pub(crate) bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: 10_000, age: Duration::from_secs(300), bytes: 64 << 20 }
    }
}

/// Events that stay in the log of all whatever their size.
const KEPT_WHATEVER_SIZE: usize = 1024;

/// The watch log of a store.
pub(crate) struct Log {
    inner: Mutex<Inner>,
    /// The last revision whose event every topic has.
    newest: AtomicU64,
    retention: Retention,
}

struct Inner {
    /// What the store's revision was when the log began: nothing before it can be resumed.
    floor: u64,
    /// When each event of `all` was appended.
    times: VecDeque<Duration>,
    /// The revision up to which every event is cold.
    cold: u64,
    bytes: usize,
    all: Arc<Topic>,
    resources: HashMap<Arc<str>, Arc<Topic>>,
}

/// One log and its waiters.
struct Topic {
    events: Mutex<Events>,
    /// Changes with every append.
    wake: watch::Sender<u64>,
}

struct Events {
    kept: VecDeque<Arc<Event>>,
    /// The revision of the last event that was dropped, or the log's floor.
    dropped: u64,
}

impl Topic {
    fn new(floor: u64) -> Arc<Self> {
        let events = Events { kept: VecDeque::new(), dropped: floor };
        Arc::new(Self { events: Mutex::new(events), wake: watch::Sender::new(floor) })
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        unpoisoned(&self.events)
    }

    /// Puts `event` where the event of its revision is.
    fn replace(&self, event: &Arc<Event>) {
        let mut events = self.lock();
        if let Ok(at) = events.kept.binary_search_by_key(&event.revision, |it| it.revision) {
            events.kept[at] = Arc::clone(event);
        }
    }

    /// Drops the oldest event.
    fn drop_oldest(&self) -> Option<Arc<Event>> {
        let mut events = self.lock();
        let event = events.kept.pop_front()?;
        events.dropped = event.revision;
        Some(event)
    }
}

impl Events {
    /// The first event after `revision`; `None` when it is still to come.
    fn after(&self, revision: u64) -> Result<Option<Arc<Event>>, Compacted> {
        if revision < self.dropped {
            return Err(Compacted { oldest: self.dropped });
        }
        let next = self.kept.partition_point(|event| event.revision <= revision);
        Ok(self.kept.get(next).cloned())
    }
}

impl Log {
    pub(crate) fn new(floor: u64, retention: Retention) -> Self {
        let inner = Inner {
            floor,
            times: VecDeque::new(),
            cold: floor,
            bytes: 0,
            all: Topic::new(floor),
            resources: HashMap::new(),
        };
        Self { inner: Mutex::new(inner), newest: AtomicU64::new(floor), retention }
    }

    /// Appends the events of one batch, published at `now` (since any fixed moment), drops what is
    /// too old, and wakes whoever waits for one of them.
    pub(crate) fn append(&self, events: &[Arc<Event>], now: Duration) {
        let Some(last) = events.last() else { return };
        let mut inner = unpoisoned(&self.inner);
        let mut touched: HashMap<Arc<str>, Arc<Topic>> = HashMap::new();
        for event in events {
            let topic = inner.topic(&event.key.resource);
            topic.lock().kept.push_back(Arc::clone(event));
            inner.all.lock().kept.push_back(Arc::clone(event));
            inner.times.push_back(now);
            inner.bytes += event.bytes();
            touched.entry(Arc::clone(&event.key.resource)).or_insert(topic);
        }
        self.newest.store(last.revision, Ordering::Release);
        inner.trim(&self.retention, now);
        for topic in touched.values().chain([&inner.all]) {
            topic.wake.send_replace(last.revision);
        }
    }

    /// Leaves nothing but bytes of the versions in events that are older than `age`, and drops what
    /// is too old. Who was woken by an event has looked at it by then; watchers that come late parse
    /// again. Returns the cold versions.
    pub(crate) fn cool(&self, age: Duration, now: Duration) -> Vec<Arc<Object>> {
        let mut inner = unpoisoned(&self.inner);
        inner.trim(&self.retention, now);
        let due = inner.times.partition_point(|at| at.saturating_add(age) <= now);
        let mut found = Vec::new();
        let mut all = inner.all.lock();
        let first = all.kept.partition_point(|event| event.revision <= inner.cold);
        let mut cold = inner.cold;
        for event in all.kept.iter_mut().take(due).skip(first) {
            cold = event.revision;
            let Some(cooled) = event.cold() else { continue };
            *event = Arc::new(cooled);
            if let Some(topic) = inner.resources.get(&event.key.resource) {
                topic.replace(event);
            }
            found.extend(event.new.clone());
        }
        drop(all);
        inner.cold = cold;
        found
    }

    /// The next [`Log::cool`] looks at all events again: who came late has made something of one that
    /// was cold.
    pub(crate) fn look_again(&self) {
        let mut inner = unpoisoned(&self.inner);
        inner.cold = inner.floor;
    }

    /// When [`Log::cool`] has something to do, if nothing is appended: for an event that is still
    /// warm after `age`, or one that is too old to be kept.
    pub(crate) fn next(&self, age: Duration) -> Option<Duration> {
        let inner = unpoisoned(&self.inner);
        let cold = inner.all.lock().kept.partition_point(|event| event.revision <= inner.cold);
        let warm = inner.times.get(cold).map(|at| at.saturating_add(age));
        warm.or_else(|| Some(inner.times.front()?.saturating_add(self.retention.age)))
    }

    /// Drops every event up to `revision`, as age would: for tests and simulation.
    pub(crate) fn compact(&self, revision: u64) {
        let mut inner = unpoisoned(&self.inner);
        while inner.oldest().is_some_and(|oldest| oldest <= revision) {
            inner.drop_oldest();
        }
    }

    /// A watch of all resources, or of one, from after `revision`.
    pub(crate) fn watch(
        self: &Arc<Self>,
        resource: Option<&str>,
        revision: u64,
    ) -> Result<Watch, Compacted> {
        let mut inner = unpoisoned(&self.inner);
        let topic = match resource {
            Some(resource) => inner.topic(&resource.into()),
            None => Arc::clone(&inner.all),
        };
        topic.lock().after(revision)?;
        let wake = topic.wake.subscribe();
        Ok(Watch { log: Arc::clone(self), topic, wake, seen: revision })
    }
}

impl Inner {
    fn topic(&mut self, resource: &Arc<str>) -> Arc<Topic> {
        if let Some(topic) = self.resources.get(resource) {
            return Arc::clone(topic);
        }
        let topic = Topic::new(self.floor);
        self.resources.insert(Arc::clone(resource), Arc::clone(&topic));
        topic
    }

    fn oldest(&self) -> Option<u64> {
        self.all.lock().kept.front().map(|event| event.revision)
    }

    fn trim(&mut self, retention: &Retention, now: Duration) {
        let oldest_time = now.saturating_sub(retention.age);
        while self.times.len() > retention.events
            || self.times.front().is_some_and(|at| *at < oldest_time)
            || (self.bytes > retention.bytes && self.times.len() > KEPT_WHATEVER_SIZE)
        {
            self.drop_oldest();
        }
    }

    /// Drops the oldest event of all, which is also the oldest of its resource.
    fn drop_oldest(&mut self) {
        self.times.pop_front();
        if let Some(event) = self.all.drop_oldest() {
            self.bytes -= event.bytes();
            if let Some(topic) = self.resources.get(&event.key.resource) {
                topic.drop_oldest();
            }
        }
    }
}

/// A place in the watch log, moving forward.
pub struct Watch {
    log: Arc<Log>,
    topic: Arc<Topic>,
    wake: watch::Receiver<u64>,
    seen: u64,
}

impl Watch {
    /// The next event, now or when it comes. Cancelling loses nothing.
    ///
    /// # Errors
    /// When this watch is so slow that the log no longer has its next event.
    pub async fn next(&mut self) -> Result<Arc<Event>, Compacted> {
        loop {
            // Before looking: what is appended after the look must wake us.
            self.wake.mark_unchanged();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // The sender lives in our topic, so this cannot fail.
            if self.wake.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next event, if it is there.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, Compacted> {
        let newest = self.log.newest.load(Ordering::Acquire);
        let event = self.topic.lock().after(self.seen)?;
        match &event {
            Some(event) => self.seen = event.revision,
            None => self.seen = self.seen.max(newest),
        }
        Ok(event)
    }

    /// Every event up to this revision was returned or was not of this watch's resource: what a
    /// bookmark says. Moves forward with [`Watch::next`] and [`Watch::try_next`] alone.
    pub fn revision(&self) -> u64 {
        self.seen
    }
}

/// The lock, also after a panic elsewhere: no code of ours leaves a log half changed.
pub(crate) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(revision: u64, resource: &str, padding: usize) -> Arc<Event> {
        let value = json!({"metadata": {"name": "a"}, "data": "x".repeat(padding)});
        let object = Arc::new(Object::with_resource(resource, value).unwrap());
        let (key, new) = (object.key().clone(), Some(Arc::clone(&object)));
        Arc::new(Event { revision, key, old: None, new, last: object })
    }

    fn log(retention: Retention) -> Arc<Log> {
        Arc::new(Log::new(0, retention))
    }

    fn oldest(log: &Arc<Log>, resource: Option<&str>) -> u64 {
        log.watch(resource, 0).err().map_or(0, |compacted| compacted.oldest)
    }

    #[test]
    fn events_are_forgotten_by_count() {
        let log = log(Retention { events: 2, ..Retention::default() });
        for revision in 1..=5 {
            log.append(&[event(revision, "pods", 0)], Duration::ZERO);
        }
        assert_eq!(oldest(&log, None), 3);
    }

    #[test]
    fn events_are_forgotten_by_age() {
        let log = log(Retention { age: Duration::from_secs(300), ..Retention::default() });
        for (revision, seconds) in [(1, 0), (2, 100), (3, 300), (4, 399)] {
            log.append(&[event(revision, "pods", 0)], Duration::from_secs(seconds));
        }
        assert_eq!(oldest(&log, None), 1);
        log.append(&[event(5, "pods", 0)], Duration::from_secs(401));
        assert_eq!(oldest(&log, None), 2);
    }

    #[test]
    fn events_are_forgotten_by_size_except_the_newest() {
        let log = log(Retention { bytes: 1 << 20, ..Retention::default() });
        let events = KEPT_WHATEVER_SIZE as u64 + 100;
        for revision in 1..=events {
            log.append(&[event(revision, "pods", 5000)], Duration::ZERO);
        }
        assert_eq!(oldest(&log, None), 100);
    }

    /// A burst of deletions, each of several writes, sends nobody to a new list.
    #[test]
    fn ten_thousand_events_of_pods_are_kept() {
        let log = log(Retention::default());
        let mut watch = log.watch(Some("pods"), 0).unwrap();
        for revision in 1..=10_000 {
            log.append(&[event(revision, "pods", 6000)], Duration::from_millis(revision));
        }
        let seen = std::iter::from_fn(|| watch.try_next().unwrap());
        assert_eq!(seen.count(), 10_000);
    }

    #[test]
    fn an_old_event_keeps_the_bytes_of_its_versions_alone() {
        let log = log(Retention::default());
        for (revision, seconds) in [(1, 0), (2, 1), (3, 3)] {
            let event = event(revision, "pods", 0);
            event.last.value();
            log.append(&[event], Duration::from_secs(seconds));
        }
        let age = Duration::from_secs(2);
        assert_eq!(log.next(age), Some(age));
        assert_eq!(log.cool(age, Duration::from_secs(3)).len(), 2);
        assert_eq!(log.next(age), Some(Duration::from_secs(5)));
        for resource in [None, Some("pods")] {
            let mut watch = log.watch(resource, 0).unwrap();
            let warm = [(); 3].map(|()| watch.try_next().unwrap().unwrap().last.is_warm());
            assert_eq!(warm, [false, false, true]);
        }
        assert_eq!(log.cool(age, Duration::from_secs(9)).len(), 1);
        assert_eq!(log.next(age), Some(Retention::default().age));

        let mut late = log.watch(Some("pods"), 0).unwrap();
        late.try_next().unwrap().unwrap().last.value();
        assert!(log.cool(age, Duration::from_secs(9)).is_empty());
        log.look_again();
        assert_eq!(log.cool(age, Duration::from_secs(9)).len(), 1);
        assert_eq!(log.next(age), Some(Retention::default().age));
    }

    #[test]
    fn a_resource_forgets_only_what_was_its_own() {
        let log = log(Retention { events: 2, ..Retention::default() });
        log.append(&[event(1, "nodes", 0)], Duration::ZERO);
        for revision in 2..=9 {
            log.append(&[event(revision, "pods", 0)], Duration::ZERO);
        }
        assert_eq!(oldest(&log, Some("nodes")), 1);
        assert_eq!(oldest(&log, Some("pods")), 7);
        assert_eq!(oldest(&log, Some("services")), 0);
    }
}
