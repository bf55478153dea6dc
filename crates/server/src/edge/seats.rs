//! Seats of requests: what [`crate::fairness`] decides, carried out. Nobody holds the lock while
//! waiting; who waits is woken when it is its turn.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::Status;
use coracle_store::Snapshot;
use http::{HeaderMap, HeaderName};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use crate::fairness::Ticket;
use crate::fairness::gate::{Arrival, Gate, Reason};
use crate::fairness::rules::{Digest, Rules, Schema};
use crate::fairness::shown;

/// Seats of all levels: upstream's 400 for reads and 200 for writes.
const SEATS: u32 = 600;
/// How many compute at once: one for each thread of the engine that serves requests, and one that is
/// there when a thread is free.
const AT_ONCE: usize = 3;
/// How often a request that waits has turns ended that last for too long, and how many times before it
/// is refused: after 15 seconds, a quarter of upstream's time for a request.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: u32 = 60;

const UIDS: [HeaderName; 2] = [
    HeaderName::from_static("x-kubernetes-pf-flowschema-uid"),
    HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"),
];

/// Who has a seat, and who waits for one.
pub(crate) struct Seats {
    started: Instant,
    /// Makes hashes that nobody can foresee: no name is chosen to share the queues of another's.
    hashes: RandomState,
    rules: ArcSwap<Rules>,
    /// The revision at which the rules were found to be those of the store.
    seen: AtomicU64,
    state: Mutex<State>,
}

struct State {
    gate: Gate,
    wakers: HashMap<Ticket, Waker>,
}

impl Default for Seats {
    fn default() -> Self {
        let (started, rules) = (Instant::now(), Rules::of(&Snapshot::default()));
        let mut gate = Gate::new(SEATS, AT_ONCE);
        gate.configure(&rules.levels, &rules.pairs(), 0);
        Self {
            started,
            hashes: RandomState::new(),
            seen: AtomicU64::new(0),
            rules: ArcSwap::from_pointee(rules),
            state: Mutex::new(State { gate, wakers: HashMap::new() }),
        }
    }
}

/// What a request is of, and its seat; nothing of one that none of the limits holds for.
pub(crate) struct Admitted {
    schema: Arc<Schema>,
    seat: Result<Arc<Seat>, Reason>,
}

impl Seats {
    /// Waits for a seat, and for the turn to compute. Whoever goes away meanwhile waits no more.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        asked: &Digest<'_>,
    ) -> Option<Admitted> {
        if asked.is_long() {
            return None;
        }
        let rules = self.rules(snapshot);
        let (schema, flow) = rules.classify(asked);
        let flow = self.hashes.hash_one((&schema.name, flow));
        let arrival = Arrival { level: &schema.level, schema: &schema.name, flow };
        let arrived = self.change(|state, now| state.gate.arrive(&arrival, now));
        let schema = Arc::clone(schema);
        let seat = match arrived {
            Ok(ticket) => self.granted(ticket).await,
            Err(reason) => Err(reason),
        };
        Some(Admitted { schema, seat })
    }

    async fn granted(self: &Arc<Self>, ticket: Ticket) -> Result<Arc<Seat>, Reason> {
        // From here on the ticket is given back whatever happens.
        let seat = Arc::new(Seat { seats: Arc::clone(self), ticket });
        if self.lock().gate.is_exempt(ticket) {
            return Ok(seat);
        }
        // All who have come are to be known before one goes on: the runtime looks for them before it
        // comes back here.
        yield_now().await;
        if self.lock().gate.goes_on(ticket) {
            return Ok(seat);
        }
        let mut granted = poll_fn(|context| self.poll_granted(ticket, context));
        for _ in 0..LOOKS {
            if timeout(LOOK, &mut granted).await.is_ok() {
                return Ok(seat);
            }
            // Perhaps nobody comes or goes who would have it done.
            self.change(|state, now| state.gate.end_long_turns(now));
        }
        match self.change(|state, now| state.gate.give_up(ticket, now)) {
            Some(reason) => Err(reason),
            None => Ok(seat),
        }
    }

    fn poll_granted(&self, ticket: Ticket, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.gate.goes_on(ticket) {
            return Poll::Ready(());
        }
        state.wakers.insert(ticket, context.waker().clone());
        Poll::Pending
    }

    /// Tells the gate of something, and wakes whoever may go on after it.
    fn change<T>(&self, tell: impl FnOnce(&mut State, u64) -> T) -> T {
        let now = self.started.elapsed().as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let mut woken = Vec::new();
        let told = {
            let mut state = self.lock();
            let told = tell(&mut state, now);
            let State { gate, wakers } = &mut *state;
            woken.extend(gate.granted().filter_map(|ticket| wakers.remove(&ticket)));
            told
        };
        woken.into_iter().for_each(Waker::wake);
        told
    }

    /// The rules that hold at `snapshot`, or newer ones.
    fn rules(&self, snapshot: &Snapshot) -> Arc<Rules> {
        let rules = self.rules.load_full();
        let revision = snapshot.revision();
        if self.seen.load(Ordering::Relaxed) == revision || rules.revision > revision {
            return rules;
        }
        if rules.are_of(snapshot) {
            self.seen.store(revision, Ordering::Relaxed);
            return rules;
        }
        let next = Arc::new(Rules::of(snapshot));
        self.change(|state, now| {
            // Under the gate's lock, so that the newest rules are also the last that it is told.
            if self.rules.load().revision < next.revision {
                self.rules.store(Arc::clone(&next));
                state.gate.configure(&next.levels, &next.pairs(), now);
            }
        });
        next
    }

    /// The figures for Prometheus.
    pub(crate) fn figures(&self, text: &mut String) {
        shown::figures(text, &self.lock().gate);
    }

    /// The table at `path`, if there is one.
    pub(crate) fn table(&self, path: &str) -> Option<String> {
        shown::table(&self.lock().gate, path.strip_prefix(shown::TABLES)?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Carries `work` out: others may compute once it waits for something.
    ///
    /// # Errors
    /// 429 when there was no seat, and what the work says.
    pub(crate) async fn carry_out<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T, Status>>>,
    ) -> Result<T, Status> {
        let seat = self.seat.as_ref().map_err(|_| too_many())?;
        let mut computes = true;
        poll_fn(|context| {
            let step = work.as_mut().poll(context);
            if step.is_pending() && std::mem::replace(&mut computes, false) {
                seat.seats.change(|state, now| state.gate.rest(seat.ticket, now));
            }
            step
        })
        .await
    }

    /// Says in the answer what the request is of.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        for (name, uid) in UIDS.into_iter().zip(&self.schema.uids) {
            headers.insert(name, uid.clone());
        }
    }

    /// What is to be kept until the request is answered to its end.
    pub(crate) fn seat(self) -> Option<Arc<Seat>> {
        self.seat.ok()
    }
}

/// A seat, until it is dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    ticket: Ticket,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.change(|state, now| {
            state.gate.leave(self.ticket, now);
            state.wakers.remove(&self.ticket);
        });
    }
}

/// Upstream's text, in a Status where upstream sends plain text: clients read both.
fn too_many() -> Status {
    let message = "Too many requests, please try again later.";
    Status::too_many_requests(message)
}
