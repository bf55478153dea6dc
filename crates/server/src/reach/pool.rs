//! Connections that nobody uses, for the next question.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;

use super::connect::Place;

/// For how long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(90);
/// How many are kept to one place.
const IDLE_MAX: usize = 16;

/// A connection, and since when nobody uses it.
type Idle<B> = (SendRequest<B>, Instant);

/// Connections over which requests with bodies `B` are sent.
pub(crate) struct Pool<B> {
    idle: Mutex<BTreeMap<Place, Vec<Idle<B>>>>,
}

impl<B> Default for Pool<B> {
    fn default() -> Self {
        Self { idle: Mutex::default() }
    }
}

impl<B> Pool<B> {
    /// A connection that is not in use, if one is left.
    pub(crate) fn take(&self, place: &Place) -> Option<SendRequest<B>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for senders in idle.values_mut() {
            senders.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
        }
        idle.retain(|_, senders| !senders.is_empty());
        idle.get_mut(place)?.pop().map(|(sender, _)| sender)
    }

    /// Keeps a connection whose last answer is read.
    pub(crate) fn keep(&self, place: Place, sender: SendRequest<B>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.entry(place).or_default();
        if !sender.is_closed() && senders.len() < IDLE_MAX {
            senders.push((sender, Instant::now()));
        }
    }
}
