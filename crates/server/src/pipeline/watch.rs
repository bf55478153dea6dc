//! watch: what exists, then what changes, as the selectors of the request see it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{FieldError, Object, Status};
use coracle_store::{Event, Snapshot, Store, Watch};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::pipeline::request::Request;
use crate::pipeline::verbs::list::{asked_revision, check, select};
use crate::pipeline::verbs::selectors::Selection;
use crate::pipeline::verbs::too_large_revision;

/// How often a quiet watch says where it is.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// How long before its end a watch says where it is, so that the next one resumes there.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// How long a watch lasts when the client does not say; upstream draws 30 to 60 minutes.
const LASTS: Duration = Duration::from_secs(45 * 60);

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum Frame {
    /// It exists, or began to match.
    Added(Arc<Object>),
    /// It changed.
    Modified(Arc<Object>),
    /// It is gone, or ceased to match: its last state, with the revision of that change.
    Deleted(Arc<Object>),
    /// Everything up to this revision was sent.
    Bookmark {
        /// Up to where.
        revision: u64,
        /// Whether what existed at the start is now complete.
        initial_events_end: bool,
    },
    /// The watch cannot go on.
    Error(Status),
}

/// A watch of one collection.
pub struct WatchStream {
    selection: Selection,
    namespace: String,
    initial: VecDeque<Frame>,
    watch: Option<Watch>,
    /// The next bookmark, or the end. One timer for the whole watch: an event to a thousand watchers
    /// does not set a thousand.
    alarm: Pin<Box<Sleep>>,
    end: Instant,
    ended: bool,
}

impl WatchStream {
    /// Opens the watch that `request` asks for.
    pub(crate) fn open(store: &Store, request: &Request) -> Result<Self, Status> {
        check_initial_events(request)?;
        let asked = asked_revision(&request.options)?.unwrap_or(0);
        let everything = request.options.send_initial_events;
        let start = store.snapshot();
        let from_now = everything == Some(true) || (asked == 0 && everything.is_none());
        let since = match everything {
            _ if from_now => start.revision(),
            Some(false) if asked == 0 => start.revision(),
            _ => asked,
        };
        let mut initial = VecDeque::new();
        if from_now {
            if asked > start.revision() {
                return Err(too_large_revision(asked, start.revision()));
            }
            initial = existing(&start, request)?;
        }
        let watch = match store.watch_resource(&request.kind.storage_resource(), since) {
            Ok(watch) => Some(watch),
            Err(compacted) => {
                initial = VecDeque::from([too_old(since, compacted.oldest)]);
                None
            }
        };
        let lasts = request.options.timeout_seconds.map_or(LASTS, Duration::from_secs);
        let (now, bookmarks) = (Instant::now(), request.options.allow_watch_bookmarks);
        let first =
            if bookmarks { BOOKMARKS.min(lasts.saturating_sub(LAST_BOOKMARK)) } else { lasts };
        Ok(Self {
            selection: Selection::of(request)?,
            namespace: request.namespace.clone(),
            initial,
            watch,
            alarm: Box::pin(sleep_until(
                now.checked_add(first).or_else(|| now.checked_add(LASTS)).unwrap_or(now),
            )),
            end: now.checked_add(lasts).or_else(|| now.checked_add(LASTS)).unwrap_or(now),
            ended: false,
        })
    }

    /// The next event, now or when it comes; `None` at the end. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.initial.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            let watch = self.watch.as_mut()?;
            tokio::select! {
                biased;
                event = watch.next() => match event {
                    Ok(event) => {
                        if let Some(frame) = frame(&self.selection, &self.namespace, &event) {
                            return Some(frame);
                        }
                    }
                    Err(compacted) => {
                        self.ended = true;
                        return Some(too_old(watch.revision(), compacted.oldest));
                    }
                },
                () = &mut self.alarm => match Instant::now() < self.end {
                    true => return Some(self.bookmark()),
                    false => self.ended = true,
                },
            }
        }
    }

    fn bookmark(&mut self) -> Frame {
        let now = Instant::now();
        let last = self.end.checked_sub(LAST_BOOKMARK).unwrap_or(self.end);
        let next = if now >= last {
            self.end
        } else {
            now.checked_add(BOOKMARKS).map_or(last, |next| last.min(next))
        };
        self.alarm.as_mut().reset(next);
        let revision = self.watch.as_ref().map_or(0, Watch::revision);
        Frame::Bookmark { revision, initial_events_end: false }
    }
}

/// What exists, and the bookmark that ends it when the client asked for one.
fn existing(snapshot: &Snapshot, request: &Request) -> Result<VecDeque<Frame>, Status> {
    let mut frames: VecDeque<_> =
        select(snapshot, request)?.into_iter().map(Frame::Added).collect();
    if request.options.send_initial_events == Some(true) && request.options.allow_watch_bookmarks {
        let revision = snapshot.revision();
        frames.push_back(Frame::Bookmark { revision, initial_events_end: true });
    }
    Ok(frames)
}

fn check_initial_events(request: &Request) -> Result<(), Status> {
    const MATCH: &str = "resourceVersionMatch";
    let options = &request.options;
    let mut errors = Vec::new();
    let mut forbid = |why: &str| errors.push(FieldError::forbidden(MATCH, why));
    let wanted = options.resource_version_match.as_str();
    match options.send_initial_events {
        Some(_) if wanted != "NotOlderThan" => {
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        None if !wanted.is_empty() => {
            forbid(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        _ => {}
    }
    if !wanted.is_empty() {
        if !options.continue_token.is_empty() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if wanted != "NotOlderThan" {
            errors.push(FieldError::not_supported(MATCH, wanted, &["NotOlderThan"]));
        }
    }
    check(errors)
}

fn too_old(asked: u64, oldest: u64) -> Frame {
    Frame::Error(Status::expired(format!("too old resource version: {asked} ({oldest})")))
}

/// What `event` is to a client that sees only what `selection` selects.
fn frame(selection: &Selection, namespace: &str, event: &Event) -> Option<Frame> {
    if !namespace.is_empty() && *event.key.namespace != *namespace {
        return None;
    }
    let matched = |object: &Option<Arc<Object>>| {
        object.as_deref().is_some_and(|object| selection.matches(object))
    };
    match (matched(&event.old), matched(&event.new)) {
        (false, true) => Some(Frame::Added(Arc::clone(&event.last))),
        (true, true) => Some(Frame::Modified(Arc::clone(&event.last))),
        (true, false) if event.new.is_none() => Some(Frame::Deleted(Arc::clone(&event.last))),
        (true, false) => {
            let last = event.old.as_ref()?.stamped(event.revision).ok()?;
            Some(Frame::Deleted(Arc::new(last)))
        }
        (false, false) => None,
    }
}
