//! nftables by netlink: tables, chains, rules, sets and elements as messages.
//!
//! Rules are lists of [`Expr`]s; registers are 4 bytes wide, and a key made of several parts (a
//! concatenation) takes as many neighbouring registers.

mod expression;

use self::attribute::*;
pub use self::expression::{
    Expr, Is, Meta, Reg, Reject, STATE_INVALID, STATE_NEW, STATE_RELATED, STATE_UNTRACKED,
    STATUS_DNAT, Tracked, Tuple,
};
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

/// Types of keys, as numbered by the `nft` program for its listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An IPv4 address.
    Address = 7,
    /// A transport protocol.
    Protocol = 12,
    /// A port.
    Port = 13,
    /// A number in the machine's byte order, such as a mark.
    Number = 19,
    /// A packet's priority.
    Priority = 23,
}

impl Type {
    fn length(self) -> u32 {
        match self {
            Self::Address | Self::Number | Self::Priority => 4,
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

impl Set {
    /// One whose elements are single values, which no rule writes.
    pub const fn new(name: &'static str, key: &'static [Type], holds: Holds) -> Self {
        Self { name, key, holds, dynamic: false, ranges: false }
    }

    /// The same of ranges.
    pub const fn of_ranges(self) -> Self {
        Self { ranges: true, ..self }
    }
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
    /// When it is for the machine itself.
    Input = 1,
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
