//! Policies as elements of maps and sets: what must be removed and added to get from one table to the
//! next. Pure; the rules that read them are in `policing`.

use std::net::Ipv4Addr;

use imbl::OrdMap;
use imbl::ordmap::DiffItem as MapItem;
use imbl::ordset::DiffItem as SetItem;

use super::nft::{Element, Value};
use crate::policies::{Allowed, AllowedBlock, PolicyTable};

/// Address → identity of a pod.
pub const IDENTITIES: &str = "identities";
/// Address → class of a pod that is isolated for ingress.
pub const INGRESS: &str = "isolated-ingress";
/// Address → class of a pod that is isolated for egress.
pub const EGRESS: &str = "isolated-egress";
/// Class and identity: every port.
pub const PEERS: &str = "allowed-peers";
/// Class, identity, protocol and port.
pub const PORTS: &str = "allowed-ports";
/// Class, identity, protocol and ports from the first to the last.
pub const PORT_RANGES: &str = "allowed-port-ranges";
/// Class, addresses, protocols and ports, each from the first to the last.
pub const BLOCKS: &str = "allowed-blocks";

/// Whether an element is added or removed, the map it belongs to, and the element.
pub type Put = (bool, &'static str, Element);

/// The change from one table to another. It costs what differs.
pub fn differences(old: &PolicyTable, new: &PolicyTable) -> Vec<Put> {
    let mut found = Vec::new();
    let maps = [
        (IDENTITIES, &old.identities, &new.identities),
        (INGRESS, &old.ingress, &new.ingress),
        (EGRESS, &old.egress, &new.egress),
    ];
    for (map, old, new) in maps {
        compare(&mut found, map, old, new);
    }
    for item in old.allowed.diff(&new.allowed) {
        found.push(match item {
            SetItem::Add(it) => of_allowed(true, it),
            SetItem::Remove(it) => of_allowed(false, it),
        });
    }
    for item in old.blocks.diff(&new.blocks) {
        found.push(match item {
            SetItem::Add(it) => (true, BLOCKS, of_block(it)),
            SetItem::Remove(it) => (false, BLOCKS, of_block(it)),
        });
    }
    found
}

fn compare(
    found: &mut Vec<Put>,
    map: &'static str,
    old: &OrdMap<Ipv4Addr, u32>,
    new: &OrdMap<Ipv4Addr, u32>,
) {
    let element = |ip: &Ipv4Addr, number: &u32| {
        let value = Value::Bytes(number.to_ne_bytes().to_vec());
        Element { key: ip.octets().to_vec(), key_end: None, value }
    };
    for item in old.diff(new) {
        match item {
            MapItem::Add(ip, number) => found.push((true, map, element(ip, number))),
            MapItem::Remove(ip, number) => found.push((false, map, element(ip, number))),
            MapItem::Update { old: (ip, before), new: (_, now) } => {
                found.push((false, map, element(ip, before)));
                found.push((true, map, element(ip, now)));
            }
        }
    }
}

fn of_allowed(added: bool, it: &Allowed) -> Put {
    let pair = [it.class.to_ne_bytes(), it.identity.to_ne_bytes()].concat();
    let Some((protocol, first, last)) = it.ports else {
        return (added, PEERS, member(pair, None));
    };
    let key =
        |port| [&pair[..], &protocol_register(protocol.number()), &port_register(port)].concat();
    match first == last {
        true => (added, PORTS, member(key(first), None)),
        false => (added, PORT_RANGES, member(key(first), Some(key(last)))),
    }
}

fn of_block(it: &AllowedBlock) -> Element {
    let key = |ip: Ipv4Addr, protocol, port| {
        let numbers = [it.class.to_ne_bytes(), ip.octets(), protocol_register(protocol)];
        [&numbers.concat()[..], &port_register(port)].concat()
    };
    let first = key(it.addresses.0, it.protocols.0, it.ports.0);
    member(first, Some(key(it.addresses.1, it.protocols.1, it.ports.1)))
}

fn member(key: Vec<u8>, key_end: Option<Vec<u8>>) -> Element {
    Element { key, key_end, value: Value::None }
}

/// A protocol's number, as the rules load it.
pub fn protocol_register(protocol: u8) -> [u8; 4] {
    [protocol, 0, 0, 0]
}

/// A port, as the rules load it.
pub fn port_register(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}
