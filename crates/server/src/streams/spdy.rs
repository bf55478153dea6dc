//! Frames of SPDY/3.1, as far as port-forward needs them. Pure: bytes in, frames out.
//!
//! A control frame is `8003`, type (16 bits), flags (8), length (24); a data frame is stream (31),
//! flags (8), length (24). Blocks of headers are compressed, one stream of zlib a direction, with
//! a dictionary that both sides know. There is no flow control: the client has none.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{
    Compress, CompressError, Compression, Decompress, DecompressError, FlushCompress,
    FlushDecompress,
};

const HEAD: usize = 8;
const CONTROL: u16 = 0x8000;
const VERSION: u16 = 3;
const FIN: u8 = 1;
const STREAM_MASK: u32 = 0x7fff_ffff;
/// Longest control frame taken; those of port-forward have about a hundred bytes.
const CONTROL_MAX: usize = 64 << 10;
/// Longest block of headers once unpacked.
const HEADERS_MAX: usize = 256 << 10;
/// The reason of a reset: the sender wants no more of the stream.
const CANCEL: u32 = 5;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const HEADERS: u16 = 8;

/// A frame from the client. Data comes in pieces, as it arrives; only the last has `fin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    SynStream { stream: u32, fin: bool, headers: Headers },
    Data { stream: u32, fin: bool, data: Bytes },
    Reset { stream: u32 },
    Ping { id: u32 },
}

/// Names, in lower case, and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of `name`; empty when it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// What is no SPDY.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpdyError {
    #[error("version {0} of SPDY is not spoken here")]
    Version(u16),
    #[error("a control frame of {0} bytes is too long")]
    Control(usize),
    #[error("a frame is too short for what it says")]
    Short,
    #[error("headers are longer than {HEADERS_MAX} bytes")]
    LongHeaders,
    #[error("unpack headers: {0}")]
    Unpack(#[from] DecompressError),
    #[error("pack headers: {0}")]
    Pack(#[from] CompressError),
}

/// Takes bytes, gives frames.
pub(crate) struct Decoder {
    bytes: BytesMut,
    /// The data frame that is not through yet: its stream, whether it is the last, what is left.
    open: Option<(u32, bool, usize)>,
    zlib: Decompress,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::new(), open: None, zlib: Decompress::new(true) }
    }

    /// Takes what arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is there.
    ///
    /// # Errors
    /// When the bytes are no SPDY; nothing that follows can be understood then.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, SpdyError> {
        loop {
            if let Some((stream, last, left)) = self.open {
                return Ok(self.data(stream, last, left));
            }
            let Some(mut head) = self.bytes.get(..HEAD) else { return Ok(None) };
            let (word, flags) = (head.get_u32(), head.get_u8());
            let length = head.get_uint(3) as usize;
            if word & !STREAM_MASK == 0 {
                self.bytes.advance(HEAD);
                self.open = Some((word, flags & FIN != 0, length));
                continue;
            }
            let (version, kind) = ((word >> 16) as u16 & !CONTROL, word as u16);
            if version != VERSION {
                return Err(SpdyError::Version(version));
            }
            if length > CONTROL_MAX {
                return Err(SpdyError::Control(length));
            }
            if self.bytes.len() < HEAD + length {
                return Ok(None);
            }
            self.bytes.advance(HEAD);
            let body = self.bytes.split_to(length).freeze();
            if let Some(frame) = self.control(kind, flags, body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn data(&mut self, stream: u32, last: bool, left: usize) -> Option<Frame> {
        if left > 0 && self.bytes.is_empty() {
            return None;
        }
        let data = self.bytes.split_to(left.min(self.bytes.len())).freeze();
        let left = left - data.len();
        self.open = (left > 0).then_some((stream, last, left));
        Some(Frame::Data { stream, fin: last && left == 0, data })
    }

    /// What a control frame says, if it is for us.
    fn control(
        &mut self,
        kind: u16,
        flags: u8,
        mut body: Bytes,
    ) -> Result<Option<Frame>, SpdyError> {
        // The id, or another word; SYN_STREAM has another stream's and a priority behind its own.
        let needed = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | RST_STREAM | PING | HEADERS => 4,
            _ => return Ok(None),
        };
        if body.len() < needed {
            return Err(SpdyError::Short);
        }
        let id = body.get_u32();
        let stream = id & STREAM_MASK;
        body.advance(needed - 4);
        Ok(match kind {
            SYN_STREAM => {
                let (fin, headers) = (flags & FIN != 0, self.headers(&body)?);
                Some(Frame::SynStream { stream, fin, headers })
            }
            RST_STREAM => Some(Frame::Reset { stream }),
            PING => Some(Frame::Ping { id }),
            // Of no use here, but what follows is packed with them in mind.
            _ => self.headers(&body).map(|_| None)?,
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let block = self.unpack(block)?;
        let mut block = block.as_slice();
        let count = word(&mut block)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = text(&mut block)?.to_ascii_lowercase();
            headers.push((name, text(&mut block)?));
        }
        Ok(Headers(headers))
    }

    fn unpack(&mut self, block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let start = self.zlib.total_in();
        let mut unpacked = Vec::with_capacity(1 << 10);
        loop {
            // At most the length of the block, which is a usize.
            let rest = &block[(self.zlib.total_in() - start) as usize..];
            match self.zlib.decompress_vec(rest, &mut unpacked, FlushDecompress::Sync) {
                Ok(_) if unpacked.len() < unpacked.capacity() => return Ok(unpacked),
                Ok(_) if unpacked.len() >= HEADERS_MAX => return Err(SpdyError::LongHeaders),
                Ok(_) => unpacked.reserve(unpacked.len()),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(&dictionary())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn word(block: &mut &[u8]) -> Result<u32, SpdyError> {
    block.try_get_u32().map_err(|_| SpdyError::Short)
}

fn text(block: &mut &[u8]) -> Result<String, SpdyError> {
    let length = word(block)? as usize;
    let (text, rest) = block.split_at_checked(length).ok_or(SpdyError::Short)?;
    *block = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Makes the frames that have headers, which have to be sent in the order they were made.
pub(crate) struct Encoder {
    zlib: Compress,
}

impl Encoder {
    pub(crate) fn new() -> Result<Self, SpdyError> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary())?;
        Ok(Self { zlib })
    }

    /// Accepts a stream.
    pub(crate) fn syn_reply(&mut self, stream: u32) -> Result<Bytes, SpdyError> {
        let block = self.pack(&[])?;
        Ok(control(SYN_REPLY, 0, &[&stream.to_be_bytes(), &block]))
    }

    fn pack(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, SpdyError> {
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend(counted(text));
        }
        // Deflate never needs more than a few bytes above what it is given.
        let mut packed = Vec::with_capacity(block.len() + 256);
        self.zlib.compress_vec(&block, &mut packed, FlushCompress::Sync)?;
        Ok(packed)
    }
}

/// Data on a stream, its last when `fin`. At most 16 MiB.
pub(crate) fn data(stream: u32, fin: bool, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + data.len());
    frame.put_u32(stream);
    frame.put_u8(if fin { FIN } else { 0 });
    frame.put_uint(data.len() as u64, 3);
    frame.put_slice(data);
    frame.freeze()
}

/// The answer to a ping.
pub(crate) fn ping(id: u32) -> Bytes {
    control(PING, 0, &[&id.to_be_bytes()])
}

/// Refuses a stream.
pub(crate) fn reset(stream: u32) -> Bytes {
    control(RST_STREAM, 0, &[&stream.to_be_bytes(), &CANCEL.to_be_bytes()])
}

fn control(kind: u16, flags: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(HEAD + length);
    frame.put_u16(CONTROL | VERSION);
    frame.put_u16(kind);
    frame.put_u8(flags);
    frame.put_uint(length as u64, 3);
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

fn counted(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// The dictionary of SPDY/3: words, each behind its length, and a tail without lengths.
fn dictionary() -> Vec<u8> {
    let words = WORDS.split(' ').chain(PHRASES);
    let mut dictionary: Vec<u8> = words.flat_map(counted).collect();
    dictionary.extend_from_slice(TAIL.as_bytes());
    dictionary
}

const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
     accept-ranges age allow authorization cache-control connection content-base content-encoding \
     content-language content-length content-location content-md5 content-range content-type date \
     etag expect expires from host if-match if-modified-since if-none-match if-range \
     if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
     proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
     user-agent vary via warning www-authenticate method get status";

const PHRASES: [&str; 8] =
    ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"];

const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
     203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request\
     401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented\
     503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, \
     Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
     application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
     sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

#[cfg(test)]
mod tests {
    use super::*;

    impl Encoder {
        fn syn_stream(&mut self, stream: u32, headers: &[(&str, &str)]) -> Bytes {
            let block = self.pack(headers).unwrap();
            control(SYN_STREAM, 0, &[&stream.to_be_bytes(), &[0; 6], &block])
        }
    }

    fn frames(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    fn opened(stream: u32, headers: &[(&str, &str)]) -> Frame {
        let owned = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Frame::SynStream { stream, fin: false, headers: Headers(owned.collect()) }
    }

    #[test]
    fn the_dictionary_is_the_one_both_sides_know() {
        let dictionary = dictionary();
        assert_eq!(dictionary.len(), 1423);
        let mut zlib = Compress::new(Compression::fast(), true);
        assert_eq!(zlib.set_dictionary(&dictionary).ok(), Some(0xe3c6_a7c2));
    }

    #[test]
    fn streams_are_opened_however_the_bytes_are_cut() {
        let (mut encoder, mut whole) = (Encoder::new().unwrap(), Vec::new());
        let error = [("streamtype", "error"), ("port", "80"), ("requestid", "0")];
        let data = [("streamtype", "data"), ("port", "80"), ("requestid", "0")];
        whole.extend(encoder.syn_stream(1, &error));
        whole.extend(super::data(1, true, b""));
        whole.extend(encoder.syn_reply(9).unwrap());
        whole.extend(encoder.syn_stream(3, &data));
        whole.extend(ping(7));
        whole.extend(reset(3));
        let expected = [
            opened(1, &error),
            Frame::Data { stream: 1, fin: true, data: Bytes::new() },
            opened(3, &data),
            Frame::Ping { id: 7 },
            Frame::Reset { stream: 3 },
        ];
        for size in [1, 3, 7, whole.len()] {
            let (mut decoder, mut got) = (Decoder::new(), Vec::new());
            for piece in whole.chunks(size) {
                decoder.push(piece);
                got.extend(frames(&mut decoder));
            }
            assert_eq!(got, expected, "pieces of {size}");
        }
    }

    #[test]
    fn data_is_handed_on_before_its_frame_is_through() {
        let mut decoder = Decoder::new();
        let frame = data(5, true, b"hello");
        decoder.push(&frame[..10]);
        let piece = |fin, data| Frame::Data { stream: 5, fin, data: Bytes::from_static(data) };
        assert_eq!(frames(&mut decoder), [piece(false, b"he")]);
        decoder.push(&frame[10..]);
        assert_eq!(frames(&mut decoder), [piece(true, b"llo")]);
    }

    #[test]
    fn many_headers_are_unpacked_and_too_many_refused() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new());
        let long = "x".repeat(5000);
        decoder.push(&encoder.syn_stream(1, &[("a", &long), ("b", "c")]));
        let Some(Frame::SynStream { headers, .. }) = decoder.next().unwrap() else { panic!() };
        assert_eq!((headers.get("a"), headers.get("b"), headers.get("d")), (&*long, "c", ""));
        let endless = "x".repeat(HEADERS_MAX);
        decoder.push(&encoder.syn_stream(3, &[("a", &endless)]));
        assert!(matches!(decoder.next(), Err(SpdyError::LongHeaders)));
    }

    #[test]
    fn what_is_no_spdy_is_refused() {
        let refused = |bytes: &[u8]| {
            let mut decoder = Decoder::new();
            decoder.push(bytes);
            decoder.next().unwrap_err().to_string()
        };
        assert_eq!(refused(b"\x80\x02\0\x01\0\0\0\0"), "version 2 of SPDY is not spoken here");
        assert_eq!(
            refused(b"\x80\x03\0\x01\0\xff\0\0"),
            "a control frame of 16711680 bytes is too long"
        );
        assert_eq!(refused(b"\x80\x03\0\x01\0\0\0\0"), "a frame is too short for what it says");
        assert!(refused(b"\x80\x03\0\x01\0\0\0\x0eabcdefghijklmn").starts_with("unpack headers"));
    }
}
