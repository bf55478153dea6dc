//! A long list as the pieces of a body, each made when the one before is sent: however long the
//! list, little of it is in memory twice, and its beginning does not wait for its end.

use std::sync::Arc;
use std::vec;

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::Object;

/// When a piece is long enough to be sent.
const LONG: usize = 64 << 10;

/// The bytes of a list whose items are sent as they are stored.
pub(crate) struct Pieces {
    next: BytesMut,
    items: vec::IntoIter<Arc<Object>>,
    /// Whether each item says of which type it is, as custom resources do.
    is_typed: bool,
    is_first: bool,
    is_over: bool,
}

impl Pieces {
    /// A list that begins with `head` (up to its `[`).
    pub(crate) fn new(head: &str, items: Vec<Arc<Object>>, is_typed: bool) -> Self {
        let mut next = BytesMut::with_capacity(LONG);
        next.put_slice(head.as_bytes());
        Self { next, items: items.into_iter(), is_typed, is_first: true, is_over: false }
    }

    /// Whether the next piece is the only one.
    pub(crate) fn is_short(&self) -> bool {
        let mut bytes = self.next.len();
        self.items.as_slice().iter().all(|object| {
            bytes += object.bytes().len() + 1;
            bytes < LONG
        })
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        while self.next.len() < LONG {
            let Some(object) = self.items.next() else {
                self.next.put_slice(b"]}\n");
                self.is_over = true;
                break;
            };
            if !std::mem::replace(&mut self.is_first, false) {
                self.next.put_u8(b',');
            }
            if self.is_typed {
                self.next.put_slice(object.bytes());
            } else {
                object.untyped_bytes().iter().for_each(|piece| self.next.put_slice(piece));
            }
        }
        let piece = std::mem::replace(&mut self.next, BytesMut::with_capacity(LONG));
        Some(piece.freeze())
    }
}
