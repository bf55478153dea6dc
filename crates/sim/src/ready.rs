//! Futures over an inline store are ready at once.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The result of a future that is ready when it is first polled.
#[allow(clippy::panic, reason = "nothing in the world ever waits: a future that does is a bug")]
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a future waits in a world where nothing does"),
    }
}
