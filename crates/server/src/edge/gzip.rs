//! Long answers in gzip, for clients that ask for it from elsewhere: over loopback, to compress and
//! to inflate takes longer than to copy.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::edge::connections::Place;
use crate::edge::response::{Body, Broken, Response};

/// Bodies that are no longer stay as they are: upstream's threshold.
const SHORT: u64 = 128 * 1024;
/// How much is compressed at once, while nobody else has the thread.
const PIECE: usize = 64 * 1024;

/// Whether the answer to a request is compressed when it is long.
pub(crate) fn is_wanted(parts: &Parts) -> bool {
    let place = parts.extensions.get::<Arc<Place>>();
    is_accepted(&parts.headers) && place.is_some_and(|place| !place.is_loopback())
}

/// As upstream reads it: the word itself, without a weight.
fn is_accepted(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.split(',').any(|word| word.trim() == "gzip"))
}

/// `response`, compressed if it is long.
pub(crate) fn compressed(response: Response) -> Response {
    if response.body().size_hint().exact().is_some_and(|bytes| bytes <= SHORT) {
        return response;
    }
    let mut response = response.map(|body| Gzip::new(body).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// A body that is compressed as it is sent.
struct Gzip {
    body: Body,
    /// What has come of the body and is not compressed yet.
    rest: Bytes,
    /// None once all is.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    fn new(body: Body) -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        Self { body, rest: Bytes::new(), encoder: Some(encoder) }
    }

    /// Compresses the next piece of what has come; what there is to be sent then.
    fn step(&mut self) -> io::Result<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        let Some(encoder) = &mut self.encoder else { return Ok(Bytes::new()) };
        encoder.write_all(&piece)?;
        Ok(std::mem::take(encoder.get_mut()).into())
    }
}

impl HttpBody for Gzip {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            while !self.rest.is_empty() {
                let made = self.step()?;
                if !made.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(made))));
                }
            }
            if self.encoder.is_none() {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => {
                    let end = self.encoder.take().map(GzEncoder::finish).transpose()?;
                    let end = Frame::data(end.unwrap_or_default().into());
                    return Poll::Ready(Some(Ok(end)));
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use futures_util::stream;

    use super::*;
    use crate::edge::response::{full, streamed};

    async fn read(response: Response) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    async fn inflated(response: Response) -> Vec<u8> {
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(response.headers()[header::VARY], "Accept-Encoding");
        let (sent, mut whole) = (read(response).await, Vec::new());
        GzDecoder::new(&*sent).read_to_end(&mut whole).unwrap();
        whole
    }

    #[tokio::test]
    async fn a_long_answer_is_compressed_and_a_short_one_is_not() {
        let long: Vec<u8> = (0..1_000_000_u32).flat_map(|at| (at / 7).to_le_bytes()).collect();
        assert_eq!(inflated(compressed(full(200, "a/b", long.clone()))).await, long);
        let pieces: Vec<Bytes> = long.chunks(70_000).map(Bytes::copy_from_slice).collect();
        assert_eq!(inflated(compressed(streamed("a/b", stream::iter(pieces)))).await, long);
        let short = compressed(full(200, "a/b", vec![7; 128 * 1024]));
        assert!(short.headers().get(header::CONTENT_ENCODING).is_none());
        assert_eq!(read(short).await.len(), 128 * 1024);
    }

    #[test]
    fn only_the_word_itself_asks_for_it() {
        let asks = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            is_accepted(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
        };
        assert!(asks("gzip") && asks("deflate, gzip,br"));
        assert!(!asks("gzip;q=0") && !asks("deflate") && !asks(""));
    }
}
