//! Parts of rules, and how they are written.

use super::attribute::{DATA_VALUE, EXPRESSION_DATA, EXPRESSION_NAME, LIST_ITEM};
use super::{IPV4, Verdict};
use crate::linux::netlink::Message;

/// One of sixteen 4-byte registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

impl Reg {
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// The register that decides what becomes of the packet.
const VERDICT: u32 = 0;

/// For what one expression needs only itself.
const SCRATCH: Reg = Reg(15);

/// A part of a rule.
#[derive(Debug, Clone)]
pub enum Expr {
    /// Loads a property of the packet.
    Meta(Meta, Reg),
    /// Loads the IPv4 source address.
    Source(Reg),
    /// Loads the IPv4 destination address.
    Destination(Reg),
    /// Loads the destination port, of whatever protocol.
    Port(Reg),
    /// Loads the source port, of whatever protocol.
    SourcePort(Reg),
    /// Loads an end of the connection that the packet belongs to; stops when it belongs to none.
    Of(Tuple, Reg),
    /// Goes on if the packet goes to who began its connection.
    IsAnswer,
    /// Goes on if the connection's status (or state) has one of these bits.
    Connection(Tracked, u32),
    /// Goes on if the register begins with these bytes (or does not).
    Compare(Reg, Is, Vec<u8>),
    /// Goes on if the address in the register is in the network.
    InNetwork(Reg, ipnet::Ipv4Net),
    /// Goes on if the set holds the key that begins in the register (or does not).
    InSet(&'static str, Reg, Is),
    /// Loads what the map holds for the key; stops when it holds nothing.
    Load { map: &'static str, key: Reg, into: Reg },
    /// Does what the map says about the key; goes on when it says nothing.
    Decide { map: &'static str, key: Reg },
    /// Marks the packet with the number in the register.
    Mark(Reg),
    /// Makes the number in the register the packet's priority.
    Priority(Reg),
    /// Marks the packet with a random number below this.
    MarkAtRandom(u32),
    /// Writes into the map: the key, its value, for how many seconds.
    Remember { map: &'static str, key: Reg, value: Reg, seconds: u32 },
    /// Takes the key out of the map; the kernel wants to know a value all the same.
    Forget { map: &'static str, key: Reg, value: Reg },
    /// Sends the connection to the address and port in the registers.
    SendTo { address: Reg, port: Reg },
    /// Lets the connection come from the address in the register.
    ComeFrom { address: Reg },
    /// Lets the connection come from whatever address the machine has on the way out.
    Masquerade,
    /// Loads an address.
    Address(std::net::Ipv4Addr, Reg),
    /// Loads a number in the machine's byte order.
    Number(u32, Reg),
    /// Tells the sender at once that nobody listens.
    Reject(Reject),
    /// Decides.
    Verdict(Verdict),
}

/// Ways to tell a sender that nobody listens.
#[derive(Debug, Clone, Copy)]
pub enum Reject {
    /// By an ICMP error.
    PortUnreachable = 0,
    /// By a reset of its TCP connection.
    Reset = 1,
}

/// Properties of a packet.
#[derive(Debug, Clone, Copy)]
pub enum Meta {
    /// The interface it came in by.
    InName = 6,
    /// The interface it leaves by.
    OutName = 7,
    /// Its priority.
    Priority = 2,
    /// The number it was marked with.
    Mark = 3,
    /// Its transport protocol.
    Protocol = 16,
}

/// Properties of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Tracked {
    /// New, established, …
    State = 0,
    /// Translated, confirmed, …
    Status = 2,
}

/// The ends of a connection, whichever way the packet goes.
#[derive(Debug, Clone, Copy)]
pub enum Tuple {
    /// The address of who began it.
    Client,
    /// The address of who answers, after destinations were translated.
    Server,
}

/// `ct state invalid`: no connection has it.
pub const STATE_INVALID: u32 = 1;
/// `ct state new`.
pub const STATE_NEW: u32 = 8;
/// `ct state related`.
pub const STATE_RELATED: u32 = 4;
/// `ct state untracked`.
pub const STATE_UNTRACKED: u32 = 64;
/// `ct status dnat`.
pub const STATUS_DNAT: u32 = 32;

/// Whether a comparison wants sameness or difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// Equal, or contained.
    In,
    /// Different, or not contained.
    NotIn,
}

impl Is {
    fn inverted(self) -> u32 {
        u32::from(self == Self::NotIn)
    }
}

impl Expr {
    pub(super) fn write(&self, list: &mut Message) {
        const RANDOM: u32 = 1;
        const SOURCE: u32 = 0;
        const DESTINATION: u32 = 1;
        let family = u32::from(IPV4);
        match self {
            Self::Meta(meta, into) => {
                numbers(list, "meta", &[(2, *meta as u32), (1, into.number())])
            }
            Self::Source(into) => payload(list, Layer::Network, 12, 4, *into),
            Self::Destination(into) => payload(list, Layer::Network, 16, 4, *into),
            Self::Port(into) => payload(list, Layer::Transport, 2, 2, *into),
            Self::Address(ip, into) => immediate(list, into.number(), |value| {
                value.attribute(DATA_VALUE, &ip.octets());
            }),
            Self::Number(number, into) => immediate(list, into.number(), |value| {
                value.attribute(DATA_VALUE, &number.to_ne_bytes());
            }),
            Self::SourcePort(into) => payload(list, Layer::Transport, 0, 2, *into),
            Self::Of(end, into) => tuple(list, *end, *into),
            Self::IsAnswer => is_answer(list),
            Self::Connection(tracked, bits) => connection(list, *tracked, *bits),
            Self::Compare(reg, is, bytes) => compare(list, *reg, *is, bytes),
            Self::InNetwork(reg, network) => {
                mask(list, *reg, &network.netmask().octets());
                compare(list, *reg, Is::In, &network.network().octets());
            }
            Self::InSet(set, key, is) => lookup(list, set, *key, (5, is.inverted())),
            Self::Load { map, key, into } => lookup(list, map, *key, (3, into.number())),
            Self::Decide { map, key } => lookup(list, map, *key, (3, VERDICT)),
            Self::MarkAtRandom(modulus) => {
                numbers(list, "numgen", &[(1, SCRATCH.number()), (2, *modulus), (3, RANDOM)]);
                Self::Mark(SCRATCH).write(list);
            }
            Self::Mark(from) => {
                numbers(list, "meta", &[(2, Meta::Mark as u32), (3, from.number())]);
            }
            Self::Priority(from) => {
                numbers(list, "meta", &[(2, Meta::Priority as u32), (3, from.number())]);
            }
            Self::Remember { map, key, value, seconds } => {
                const UPDATE: u32 = 1;
                write_map(list, UPDATE, map, [*key, *value], *seconds);
            }
            Self::Forget { map, key, value } => {
                const DELETE: u32 = 2;
                write_map(list, DELETE, map, [*key, *value], 0);
            }
            Self::SendTo { address, port } => {
                let registers = [(3, address.number()), (5, port.number())];
                numbers(list, "nat", &[(1, DESTINATION), (2, family), registers[0], registers[1]]);
            }
            Self::ComeFrom { address } => {
                numbers(list, "nat", &[(1, SOURCE), (2, family), (3, address.number())]);
            }
            Self::Masquerade => numbers(list, "masq", &[]),
            Self::Reject(how) => put(list, "reject", |data| {
                const PORT: u8 = 3;
                data.big_endian(1, *how as u32).attribute(2, &[PORT]);
            }),
            Self::Verdict(verdict) => immediate(list, VERDICT, |value| verdict.write(value)),
        }
    }
}

fn put(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nested(LIST_ITEM, |expression| {
        expression.text(EXPRESSION_NAME, name).nested(EXPRESSION_DATA, fill);
    });
}

/// An expression whose attributes are all numbers.
fn numbers(list: &mut Message, name: &str, attributes: &[(u16, u32)]) {
    put(list, name, |data| {
        for (kind, number) in attributes {
            data.big_endian(*kind, *number);
        }
    });
}

fn immediate(list: &mut Message, into: u32, value: impl FnOnce(&mut Message)) {
    put(list, "immediate", |data| {
        data.big_endian(1, into).nested(2, value);
    });
}

fn lookup(list: &mut Message, set: &str, key: Reg, more: (u16, u32)) {
    put(list, "lookup", |data| {
        data.text(1, set).big_endian(2, key.number()).big_endian(more.0, more.1);
    });
}

enum Layer {
    Network = 1,
    Transport = 2,
}

fn payload(list: &mut Message, layer: Layer, offset: u32, length: u32, into: Reg) {
    let place = [(1, into.number()), (2, layer as u32), (3, offset), (4, length)];
    numbers(list, "payload", &place);
}

fn compare(list: &mut Message, reg: Reg, is: Is, bytes: &[u8]) {
    put(list, "cmp", |data| {
        data.big_endian(1, reg.number()).big_endian(2, is.inverted()).nested(3, |value| {
            value.attribute(DATA_VALUE, bytes);
        });
    });
}

fn mask(list: &mut Message, reg: Reg, bits: &[u8; 4]) {
    put(list, "bitwise", |data| {
        data.big_endian(1, reg.number()).big_endian(2, reg.number()).big_endian(3, 4);
        data.nested(4, |value| {
            value.attribute(DATA_VALUE, bits);
        });
        data.nested(5, |value| {
            value.attribute(DATA_VALUE, &[0; 4]);
        });
    });
}

fn connection(list: &mut Message, tracked: Tracked, bits: u32) {
    numbers(list, "ct", &[(2, tracked as u32), (1, SCRATCH.number())]);
    mask(list, SCRATCH, &bits.to_ne_bytes());
    compare(list, SCRATCH, Is::NotIn, &[0; 4]);
}

const ORIGINAL: u8 = 0;
const REPLY: u8 = 1;

fn tuple(list: &mut Message, end: Tuple, into: Reg) {
    const SOURCE: u32 = 19; // an IPv4 address
    // Who answers is the source of the answers.
    let direction = match end {
        Tuple::Client => ORIGINAL,
        Tuple::Server => REPLY,
    };
    put(list, "ct", |data| {
        data.big_endian(2, SOURCE).big_endian(1, into.number()).attribute(3, &[direction]);
    });
}

fn is_answer(list: &mut Message) {
    const DIRECTION: u32 = 1;
    numbers(list, "ct", &[(2, DIRECTION), (1, SCRATCH.number())]);
    compare(list, SCRATCH, Is::In, &[REPLY]);
}

fn write_map(list: &mut Message, operation: u32, map: &str, [key, value]: [Reg; 2], seconds: u32) {
    put(list, "dynset", |data| {
        data.text(1, map).big_endian(3, operation);
        data.big_endian(4, key.number()).big_endian(5, value.number());
        if seconds > 0 {
            data.attribute(6, &(u64::from(seconds) * 1000).to_be_bytes());
        }
    });
}
