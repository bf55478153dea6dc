//! Connections: how many there are at once, from everybody and from each peer, and how long one may
//! have nothing to do.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// Connections at once. Each is an open file, and pods need some too.
const ALL_MAX: usize = 4096;
/// Those from elsewhere than this machine's loopback, so that whoever sits at it gets through.
const OTHERS_MAX: usize = 3072;
/// Those from one address: a pod that opens them without end shuts out only itself.
const PEER_MAX: usize = 512;
/// How long one is kept that has nothing to do; upstream's limit.
const IDLE: Duration = Duration::from_secs(90);
/// How long one that was told to end may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Who is connected.
#[derive(Default)]
pub(crate) struct Places(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    all: usize,
    others: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// A place of one connection, until it is dropped. An upgraded connection keeps it.
pub(crate) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Places {
    /// A place for a connection from `peer`, if it may have one more.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let mut taken = self.lock();
        let own = taken.by_peer.get(&peer).copied().unwrap_or(0);
        let is_other = !peer.is_loopback();
        if taken.all >= ALL_MAX || (is_other && (taken.others >= OTHERS_MAX || own >= PEER_MAX)) {
            return None;
        }
        taken.all += 1;
        if is_other {
            taken.others += 1;
            taken.by_peer.insert(peer, own + 1);
        }
        Some(Place { places: Arc::clone(self), peer })
    }

    /// How many connections there are.
    pub(crate) fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whose connection it is.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether whoever is connected sits at this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.peer.is_loopback()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if self.peer.is_loopback() {
            return;
        }
        taken.others = taken.others.saturating_sub(1);
        if let Some(own) = taken.by_peer.get_mut(&self.peer) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

/// What a connection has to do: requests that are not yet answered to the end.
pub(crate) struct Activity(Mutex<State>);

struct State {
    open: usize,
    since: Instant,
}

impl State {
    /// When it has been idle for long enough, if nothing happens.
    fn end(&self, now: Instant) -> Instant {
        let since = if self.open == 0 { self.since } else { now };
        since.checked_add(IDLE).unwrap_or(since)
    }
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { open: 0, since: Instant::now() })))
    }

    /// A request, until the answer is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.lock().open += 1;
        Busy(Arc::clone(self))
    }

    /// Ready once there was nothing to do for long enough.
    async fn idle(&self) {
        loop {
            let now = Instant::now();
            let end = self.lock().end(now);
            if end <= now {
                return;
            }
            sleep_until(end).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open = state.open.saturating_sub(1);
        state.since = Instant::now();
    }
}

/// A body that holds something until it is sent: what keeps its connection busy, its seat, what is
/// remembered of the request.
pub(crate) struct Held<B, H> {
    body: B,
    _held: H,
}

impl<B, H> Held<B, H> {
    pub(crate) fn new(body: B, held: H) -> Self {
        Self { body, _held: held }
    }
}

impl<B: Body<Data = Bytes> + Unpin, H: Unpin> Body for Held<B, H> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves `connection` to its end, which comes when it is idle or the server stops: then `close` has
/// it take no more requests, and it ends after those that are open.
pub(crate) async fn serve<C: Future>(
    connection: C,
    close: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    mut stopping: watch::Receiver<bool>,
) -> Option<C::Output> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = activity.idle() => {
            close(connection.as_mut());
            timeout(FAREWELL, connection).await.ok()
        }
        () = stopped(&mut stopping) => {
            close(connection.as_mut());
            Some(connection.await)
        }
    }
}

/// Ready when the server is to stop, or is gone.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + last))
    }

    #[test]
    fn one_peer_shuts_out_nobody_else() {
        let places = Arc::new(Places::default());
        let taken: Vec<_> = (0..PEER_MAX).map(|_| places.take(address(1)).unwrap()).collect();
        assert!(places.take(address(1)).is_none());
        assert!(places.take(address(2)).is_some());
        let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
        assert!(places.take(mapped.into()).is_none());
        drop(taken);
        assert!(places.take(address(1)).is_some());
        assert!(places.lock().by_peer.is_empty());
    }

    #[test]
    fn loopback_has_a_share_of_its_own() {
        let places = Arc::new(Places::default());
        let from = |at: usize| address(u32::try_from(at).unwrap());
        let others: Vec<_> = (0..OTHERS_MAX).map(|at| places.take(from(at)).unwrap()).collect();
        assert!(places.take(from(OTHERS_MAX)).is_none());
        let own: Vec<_> = (OTHERS_MAX..ALL_MAX)
            .map(|_| places.take(Ipv4Addr::LOCALHOST.into()).unwrap())
            .collect();
        assert!(places.take(Ipv4Addr::LOCALHOST.into()).is_none());
        drop((others, own));
    }

    #[test]
    fn a_connection_is_idle_when_its_last_answer_is_long_gone() {
        let activity = Activity::new();
        let busy = activity.begin();
        let later = Instant::now() + IDLE * 10;
        assert!(activity.lock().end(later) > later);
        drop(busy);
        let since = activity.lock().since;
        assert_eq!(activity.lock().end(later), since + IDLE);
    }
}
