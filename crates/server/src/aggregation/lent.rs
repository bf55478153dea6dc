//! The body of an answer, and the connection that it comes over, which is kept for the next request
//! once it was read to its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use tokio::sync::OwnedSemaphorePermit;

use crate::edge::response::{Body, Broken};
use crate::reach::connect::Place;
use crate::reach::pool::Pool;

/// A connection, and where it goes when it is free.
pub(super) struct Loan {
    pub(super) pool: Arc<Pool<Body>>,
    pub(super) place: Place,
    pub(super) sender: SendRequest<Body>,
}

/// When a body ends before its end: cleanly, or with an error.
pub(super) type Ends = Pin<Box<dyn Future<Output = Option<Broken>> + Send>>;

/// A body that comes over a connection of ours.
pub(super) struct Lent {
    body: Incoming,
    loan: Option<Loan>,
    ends: Ends,
    has_ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    pub(super) fn new(
        body: Incoming,
        loan: Loan,
        ends: Ends,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { body, loan: Some(loan), ends, has_ended: false, _permit: permit }
    }

    fn give_back(&mut self) {
        if let Some(Loan { pool, place, sender }) = self.loan.take() {
            pool.keep(place, sender);
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(why) = self.ends.as_mut().poll(context) {
            (self.has_ended, self.loan) = (true, None);
            return Poll::Ready(why.map(Err));
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(None) => {
                self.has_ended = true;
                self.give_back();
                Poll::Ready(None)
            }
            Poll::Ready(Some(frame)) => Poll::Ready(Some(frame.map_err(Broken::from))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Whoever knows the length does not look for an end.
        if !self.has_ended && self.body.is_end_stream() {
            self.give_back();
        }
    }
}
