//! Netlink messages and sockets: one small encoder for routes and for nftables.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// A nested attribute says so in its type.
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Wants an answer even when all is well.
pub const ACK: u16 = 0x4;
/// Wants every object of the kind.
pub const DUMP: u16 = 0x300;
/// Makes the object when it is missing.
pub const CREATE: u16 = 0x400;
/// Refuses when the object is there.
pub const EXCLUSIVE: u16 = 0x200;
/// Takes the place of an object with the same key.
pub const REPLACE: u16 = 0x100;

/// A netlink message being built: header, fixed part, attributes.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of type `kind` that begins with the fixed part `body`.
    #[must_use]
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        const REQUEST: u16 = 1;
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]); // the length, written when the message is finished
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.extend([0; 8]); // sequence number (written when sent) and port
        bytes.extend(body);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.bytes.extend(attribute_length(4 + value.len()).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
        self
    }

    /// Appends a number in network byte order, as nftables wants it.
    pub fn big_endian(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends a number in the machine's byte order, as routes want it.
    pub fn native(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends text with the zero byte the kernel expects.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute made of attributes.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        fill(self);
        let length = attribute_length(self.bytes.len() - start);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Appends bytes that are no attribute: the fixed part within `VETH_INFO_PEER`.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend(value);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn or_flags(&mut self, flags: u16) {
        let now = u16_at(&self.bytes, 6) | flags;
        self.bytes[6..8].copy_from_slice(&now.to_ne_bytes());
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        // A message is far below 4 GiB: its parts are bounded by 16-bit attribute lengths.
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// Attributes longer than 16 bits can say are a mistake of the caller (elements are sent in
/// chunks); the kernel refuses the message then.
fn attribute_length(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// A message the kernel sent.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Everything after the header.
    pub body: Vec<u8>,
}

impl Reply {
    /// The attributes after a fixed part of `fixed` bytes, as type and value.
    pub fn attributes(&self, fixed: usize) -> Vec<(u16, &[u8])> {
        attributes(self.body.get(fixed..).unwrap_or_default())
    }
}

/// The attributes in `bytes`; stops at the first that is cut off.
pub fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16_at(bytes, 0));
        let Some(value) = bytes.get(4..length) else { break };
        found.push((u16_at(bytes, 2) & TYPE_MASK, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

/// A `u32` in the machine's byte order; 0 when `bytes` is too short.
pub fn native_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// The kernel refused a message.
#[derive(Debug)]
pub struct Refused {
    /// Which of the messages, from 0.
    pub message: usize,
    /// Why.
    pub source: io::Error,
}

impl Refused {
    fn at(message: usize) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { message, source }
    }
}

/// A netlink socket. It works on the network namespace in which it was opened, from any thread.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    /// For what comes in; the kernel fills no datagram with more.
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for links, addresses, routes and neighbours.
    pub fn route() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// A socket for nftables and connection tracking.
    pub fn netfilter() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; 64 * 1024] })
    }

    /// Sends the messages at once and waits until all are done. The first refusal is the error;
    /// the kernel carries out the others.
    pub fn request(&mut self, messages: Vec<Message>) -> Result<(), Refused> {
        let Some((first, bytes)) = self.number(messages) else { return Ok(()) };
        let last = self.sequence;
        self.send(&bytes).map_err(Refused::at(0))?;
        self.outcome(None, first, last)
    }

    /// Sends the messages as one nftables transaction: all of them hold or none.
    pub fn transaction(&mut self, messages: Vec<Message>) -> Result<(), Refused> {
        let begin = self.next_sequence();
        let mut bytes = batch_edge(0x10).finish(begin);
        let Some((first, between)) = self.number(messages) else { return Ok(()) };
        let last = self.sequence;
        bytes.extend(between);
        bytes.extend(batch_edge(0x11).finish(self.next_sequence()));
        self.send(&bytes).map_err(Refused::at(0))?;
        self.outcome(Some(begin), first, last)
    }

    /// The messages' bytes, numbered on, and the first one's number. The last wants an answer.
    fn number(&mut self, messages: Vec<Message>) -> Option<(u32, Vec<u8>)> {
        let first = self.sequence.wrapping_add(1);
        let mut messages: Vec<Message> = messages;
        messages.last_mut()?.or_flags(ACK);
        let numbered =
            messages.into_iter().flat_map(|message| message.finish(self.next_sequence()));
        let bytes = numbered.collect();
        Some((first, bytes))
    }

    /// Waits until the kernel is through: it tells each refusal, and the end of the last message.
    /// It refuses a transaction as a whole under the number of its beginning.
    fn outcome(&mut self, begin: Option<u32>, first: u32, last: u32) -> Result<(), Refused> {
        let mut refusal = None;
        loop {
            for (sequence, error) in self.acknowledgements().map_err(Refused::at(0))? {
                let whole = begin == Some(sequence);
                if !whole && !(first..=last).contains(&sequence) {
                    continue; // left over from an exchange that broke off
                }
                if let (Some(error), None) = (error, &refusal) {
                    let message = sequence.saturating_sub(first) as usize;
                    refusal = Some(Refused { message, source: error });
                }
                if sequence == last || whole {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// All objects that `message` asks for.
    pub fn dump(&mut self, mut message: Message) -> io::Result<Vec<Reply>> {
        message.or_flags(DUMP);
        let sequence = self.next_sequence();
        self.send(&message.finish(sequence))?;
        let mut replies = Vec::new();
        loop {
            for (kind, body) in split(self.receive()?) {
                match kind {
                    NLMSG_DONE => return Ok(replies),
                    NLMSG_ERROR => return Err(refused(body).unwrap_or(ErrorKind::Other.into())),
                    _ => replies.push(Reply { body: body.to_vec() }),
                }
            }
        }
    }

    /// The one object that `message` asks for.
    pub fn get(&mut self, message: Message) -> io::Result<Reply> {
        let sequence = self.next_sequence();
        self.send(&message.finish(sequence))?;
        match split(self.receive()?).first() {
            Some((NLMSG_ERROR, body)) => Err(refused(body).unwrap_or(ErrorKind::Other.into())),
            Some((_, body)) => Ok(Reply { body: body.to_vec() }),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        const ROOM: usize = 64 * 1024;
        if bytes.len() > ROOM {
            // The kernel takes a message in one piece or not at all.
            setsockopt(&self.fd, sockopt::SndBufForce, &(bytes.len() * 2))?;
        }
        send(self.fd.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<&[u8]> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => return Ok(&self.buffer[..length]),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sequence number and error, if any, of each answer in the next datagram.
    fn acknowledgements(&mut self) -> io::Result<Vec<(u32, Option<io::Error>)>> {
        let answers = split(self.receive()?).into_iter().filter(|(kind, _)| *kind == NLMSG_ERROR);
        // The refused message's own header follows the error code.
        Ok(answers
            .map(|(_, body)| (native_u32(body.get(12..).unwrap_or_default()), refused(body)))
            .collect())
    }
}

/// The beginning or the end of an nftables transaction.
fn batch_edge(kind: u16) -> Message {
    const NFTABLES: u16 = 10;
    let [high, low] = NFTABLES.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low])
}

fn refused(body: &[u8]) -> Option<io::Error> {
    let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    (code != 0).then(|| io::Error::from_raw_os_error(-code))
}

/// The messages in a datagram, as type and what follows the header.
fn split(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut messages = Vec::new();
    while bytes.len() >= HEADER {
        let length = native_u32(bytes) as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        messages.push((u16_at(bytes, 4), body));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_back() {
        let mut message = Message::new(16, CREATE, &[1, 2, 3]);
        message.native(4, 1400).nested(18, |inner| {
            inner.text(1, "veth");
        });
        let bytes = message.finish(7);
        let messages = split(&bytes);
        assert_eq!(messages.len(), 1);
        let (kind, body) = messages[0];
        assert_eq!((kind, &body[..4]), (16, &[1, 2, 3, 0][..]));
        let outer = attributes(&body[4..]);
        assert_eq!(outer[0], (4, &1400u32.to_ne_bytes()[..]));
        assert_eq!(outer[1].0, 18);
        assert_eq!(attributes(outer[1].1), vec![(1, &b"veth\0"[..])]);
    }

    #[test]
    fn broken_input_is_cut_off_without_a_panic() {
        assert!(attributes(&[200, 0, 1, 0, 5]).is_empty());
        assert!(attributes(&[0, 0, 1, 0, 5, 5, 5, 5]).is_empty());
        assert!(split(&[255; 20]).is_empty());
        assert!(split(&[3; 5]).is_empty());
    }
}
