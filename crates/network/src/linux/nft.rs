//! nftables by netlink: tables, chains, rules, sets and elements as messages.
//!
//! Rules are lists of [`Expr`]; registers are 4 bytes wide, and a key made of several parts (a
//! concatenation) takes as many neighbouring registers.

use self::attribute::*;
use super::netlink::{CREATE, Message};

const NFTABLES: u16 = 10 << 8;
const IPV4: u8 = 2;

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const GETSET: u16 = 10;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

/// Attributes, numbered as in `linux/netfilter/nf_tables.h`. Every message names its table first;
/// expressions have their own numbers, in the order in which the header lists them.
mod attribute {
    pub const TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const SET_NAME: u16 = 2;
    pub const SET_FLAGS: u16 = 3;
    pub const SET_KEY_TYPE: u16 = 4;
    pub const SET_KEY_LENGTH: u16 = 5;
    pub const SET_DATA_TYPE: u16 = 6;
    pub const SET_DATA_LENGTH: u16 = 7;
    pub const SET_DESCRIPTION: u16 = 9;
    pub const SET_ID: u16 = 10;
    pub const DESCRIPTION_PARTS: u16 = 2;
    pub const PART_LENGTH: u16 = 1;
    pub const SET_ELEMENTS: u16 = 3;
    pub const ELEMENT_KEY: u16 = 1;
    pub const ELEMENT_DATA: u16 = 2;
    pub const ELEMENT_KEY_END: u16 = 10;
    pub const LIST_ITEM: u16 = 1;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
}

/// Elements in one message: an attribute is at most 64 KiB, an element some 100 bytes.
const ELEMENTS_PER_MESSAGE: usize = 400;

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

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on to the next hook.
    Accept,
    /// It vanishes.
    Drop,
    /// Another chain decides.
    Goto(String),
}

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

/// `ct state new`.
pub const STATE_NEW: u32 = 8;
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

/// Types of keys, as numbered by the `nft` program for its listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An IPv4 address.
    Address = 7,
    /// A transport protocol.
    Protocol = 12,
    /// A port.
    Port = 13,
    /// A number in the machine's byte order.
    Number = 19,
}

impl Type {
    fn length(self) -> u32 {
        match self {
            Self::Address | Self::Number => 4,
            Self::Protocol => 1,
            Self::Port => 2,
        }
    }
}

/// What a map holds.
#[derive(Debug, Clone, Copy)]
pub enum Holds {
    /// It is a set.
    Nothing,
    /// Verdicts.
    Verdicts,
    /// Values of these types.
    Values(&'static [Type]),
}

/// A set or map.
#[derive(Debug, Clone, Copy)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// The parts of its keys.
    pub key: &'static [Type],
    /// What it maps them to.
    pub holds: Holds,
    /// Whether rules write into it, and what they write expires.
    pub dynamic: bool,
    /// Whether elements are ranges.
    pub ranges: bool,
}

/// What an element maps its key to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: an element of a set.
    None,
    /// A verdict.
    Verdict(Verdict),
    /// The bytes of the value's registers.
    Bytes(Vec<u8>),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The bytes of the key's registers.
    pub key: Vec<u8>,
    /// The end of the range, in a set of ranges.
    pub key_end: Option<Vec<u8>>,
    /// What it maps to.
    pub value: Value,
}

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// Where in the packet's way.
    pub at: At,
    /// Lower ones come first; destinations are translated at -100, sources at 100.
    pub priority: i32,
}

/// Places in a packet's way.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// Before it is routed.
    Prerouting = 0,
    /// While it passes through.
    Forward = 2,
    /// After it was made here.
    Output = 3,
    /// Before it leaves.
    Postrouting = 4,
}

/// Changes to one table, carried out as a whole or not at all.
#[derive(Debug)]
pub struct Batch {
    table: String,
    messages: Vec<Message>,
}

impl Batch {
    /// No changes yet.
    pub fn new(table: &str) -> Self {
        Self { table: table.to_owned(), messages: Vec::new() }
    }

    /// The messages, in order.
    pub fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    /// Removes the table if it is there.
    pub fn delete_table(&mut self) {
        self.create_table(); // deleting a table that is missing would be an error
        self.push(DELTABLE, 0, |message, table| {
            message.text(TABLE, table);
        });
    }

    /// Makes the table unless it is there.
    pub fn create_table(&mut self) {
        self.push(NEWTABLE, CREATE, |message, table| {
            message.text(TABLE, table);
        });
    }

    /// Makes a chain that packets pass through.
    pub fn base_chain(&mut self, name: &str, hook: Hook) {
        self.push(NEWCHAIN, CREATE, |message, table| {
            message.text(TABLE, table).text(CHAIN_NAME, name).text(CHAIN_TYPE, hook.kind);
            message.nested(CHAIN_HOOK, |place| {
                place.big_endian(HOOK_NUMBER, hook.at as u32);
                place.attribute(HOOK_PRIORITY, &hook.priority.to_be_bytes());
            });
        });
    }

    /// Makes a chain that other chains lead to.
    pub fn chain(&mut self, name: &str) {
        self.push(NEWCHAIN, CREATE, |message, table| {
            message.text(TABLE, table).text(CHAIN_NAME, name);
        });
    }

    /// Appends a rule to a chain.
    pub fn rule(&mut self, chain: &str, expressions: &[Expr]) {
        const APPEND: u16 = 0x800;
        self.push(NEWRULE, CREATE | APPEND, |message, table| {
            message.text(TABLE, table).text(RULE_CHAIN, chain).nested(RULE_EXPRESSIONS, |list| {
                for expression in expressions {
                    expression.write(list);
                }
            });
        });
    }

    /// Makes a set or map.
    pub fn set(&mut self, set: &Set) {
        // The kernel wants a number to call the set by within the transaction.
        let id = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.push(NEWSET, CREATE, |message, table| {
            message.text(TABLE, table).text(SET_NAME, set.name).big_endian(SET_ID, id);
            set.write(message);
        });
    }

    /// Puts elements into a set or map.
    pub fn add(&mut self, set: &str, elements: &[Element]) {
        self.elements(NEWSETELEM, CREATE, set, elements);
    }

    /// Takes elements out of a set or map.
    pub fn remove(&mut self, set: &str, elements: &[Element]) {
        self.elements(DELSETELEM, 0, set, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[Element]) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.push(kind, flags, |message, table| {
                message.text(TABLE, table).text(SET_NAME, set).nested(SET_ELEMENTS, |list| {
                    for element in chunk {
                        element.write(list);
                    }
                });
            });
        }
    }

    fn push(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Message, &str)) {
        let mut message = Message::new(NFTABLES | kind, flags, &[IPV4, 0, 0, 0]);
        fill(&mut message, &self.table);
        self.messages.push(message);
    }
}

/// Asks for a set by name: an error tells that the table or the set is missing.
pub fn get_set(table: &str, set: &str) -> Message {
    let mut message = Message::new(NFTABLES | GETSET, 0, &[IPV4, 0, 0, 0]);
    message.text(TABLE, table).text(SET_NAME, set);
    message
}

impl Set {
    fn write(&self, message: &mut Message) {
        const MAP: u32 = 8;
        const RANGES: u32 = 4 | 0x80; // ranges, in keys of several parts
        const DYNAMIC: u32 = 0x10 | 0x20; // elements expire, rules write them
        let mut flags = 0;
        for (wanted, bits) in [
            (!matches!(self.holds, Holds::Nothing), MAP),
            (self.dynamic, DYNAMIC),
            (self.ranges, RANGES),
        ] {
            flags |= if wanted { bits } else { 0 };
        }
        message.big_endian(SET_FLAGS, flags);
        message.big_endian(SET_KEY_TYPE, type_number(self.key));
        message.big_endian(SET_KEY_LENGTH, registers(self.key));
        match self.holds {
            Holds::Nothing => {}
            Holds::Verdicts => {
                message.big_endian(SET_DATA_TYPE, 0xffff_ff00);
            }
            Holds::Values(types) => {
                message.big_endian(SET_DATA_TYPE, type_number(types));
                message.big_endian(SET_DATA_LENGTH, registers(types));
            }
        }
        if self.ranges {
            message.nested(SET_DESCRIPTION, |description| {
                description.nested(DESCRIPTION_PARTS, |parts| {
                    for part in self.key {
                        parts.nested(LIST_ITEM, |field| {
                            field.big_endian(PART_LENGTH, part.length());
                        });
                    }
                });
            });
        }
    }
}

/// Six bits for each part, as `nft` numbers concatenations.
fn type_number(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, part| number << 6 | *part as u32)
}

/// Bytes of the registers that hold a key: four for each part.
fn registers(types: &[Type]) -> u32 {
    types.iter().map(|part| part.length().next_multiple_of(4)).sum()
}

impl Element {
    fn write(&self, list: &mut Message) {
        let data = |message: &mut Message, kind: u16, bytes: &[u8]| {
            message.nested(kind, |data| {
                data.attribute(DATA_VALUE, bytes);
            });
        };
        list.nested(LIST_ITEM, |element| {
            data(element, ELEMENT_KEY, &self.key);
            if let Some(end) = &self.key_end {
                data(element, ELEMENT_KEY_END, end);
            }
            match &self.value {
                Value::None => {}
                Value::Bytes(bytes) => data(element, ELEMENT_DATA, bytes),
                Value::Verdict(verdict) => {
                    element.nested(ELEMENT_DATA, |data| verdict.write(data));
                }
            }
        });
    }
}

impl Verdict {
    /// As the content of an attribute that holds data.
    fn write(&self, data: &mut Message) {
        data.nested(DATA_VERDICT, |verdict| match self {
            Self::Accept => {
                verdict.big_endian(VERDICT_CODE, 1);
            }
            Self::Drop => {
                verdict.big_endian(VERDICT_CODE, 0);
            }
            Self::Goto(chain) => {
                verdict.attribute(VERDICT_CODE, &(-4i32).to_be_bytes());
                verdict.text(VERDICT_CHAIN, chain);
            }
        });
    }
}

impl Is {
    fn inverted(self) -> u32 {
        u32::from(self == Self::NotIn)
    }
}

impl Expr {
    fn write(&self, list: &mut Message) {
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

fn write_map(list: &mut Message, operation: u32, map: &str, [key, value]: [Reg; 2], seconds: u32) {
    put(list, "dynset", |data| {
        data.text(1, map).big_endian(3, operation);
        data.big_endian(4, key.number()).big_endian(5, value.number());
        if seconds > 0 {
            data.attribute(6, &(u64::from(seconds) * 1000).to_be_bytes());
        }
    });
}
