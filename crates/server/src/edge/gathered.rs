//! What the streams of one HTTP/2 connection have to send, gathered until all that were ready have
//! spoken.
//!
//! An event of a hundred watches of one client wakes their connection a hundred times, and `h2` flushes
//! after each: a hundred TLS records and system calls. Here the connection runs after the tasks that
//! were ready before it, what it writes and flushes is kept, and goes out when it has no more.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered before it goes out in any case: a TLS record.
const MOST: usize = 16 * 1024;

/// The connection's side of a stream, and (cloned) the side that sends what was gathered.
pub(crate) struct Gathered<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    stream: S,
    kept: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gathered<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Inner { stream, kept: BytesMut::new() })))
    }

    /// Serves on it until `connection` is over, which `serve` makes of it.
    pub(crate) async fn serve<F: Future>(self, serve: impl FnOnce(Self) -> F) -> F::Output {
        let mut connection = pin!(serve(Self(Arc::clone(&self.0))));
        let mut has_waited = true;
        poll_fn(|context| {
            has_waited = !has_waited;
            if !has_waited {
                // A task that wakes itself while it runs goes to the end of the queue.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let over = connection.as_mut().poll(context);
            if let Poll::Ready(Err(error)) = self.lock().send(context) {
                // The connection finds it broken too, when it reads or writes again.
                tracing::debug!(%error, "send on a connection");
            }
            over
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    /// Ready when nothing is kept any more.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.kept))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(sent);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        if inner.kept.len() >= MOST {
            ready!(inner.send(context))?;
        }
        let taken = bytes.len().min(MOST - inner.kept.len());
        inner.kept.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// Only said: [`Gathered::serve`] sends when the connection has no more to write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        ready!(inner.send(context))?;
        Pin::new(&mut inner.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_flushed_in_one_turn_goes_out_together() {
        let (near, mut far) = duplex(1 << 20);
        let serving = Gathered::new(near).serve(|mut stream| async move {
            for word in ["one ", "event ", "each"] {
                stream.write_all(word.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let reading = async {
            let mut buffer = [0; 64];
            let length = far.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"one event each");
        };
        tokio::select! {
            () = serving => {}
            () = reading => {}
        }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_all_of_it_and_the_end() {
        let (near, mut far) = duplex(100);
        let sent: Vec<u8> = (0..MOST * 3 + 17).map(|i| (i % 251) as u8).collect();
        let written = sent.clone();
        let serving = Gathered::new(near).serve(|mut stream| async move {
            stream.write_all(&written).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        let (_, read) = tokio::join!(serving, far.read_to_end(&mut got));
        read.unwrap();
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    }
}
