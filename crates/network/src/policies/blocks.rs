//! Addresses and ports as boxes that do not overlap, which the kernel's sets of ranges demand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::ports::PortRange;

/// How many ranges of ports the blocks of one class may have together, a protocol: what is beyond
/// allows nothing.
const RANGES_MAX: usize = 128;
/// How many boxes a class may have, and how many ranges of addresses they may be made of, counted for
/// each range of ports: what is beyond allows nothing.
const BOXES_MAX: usize = 16_384;

/// An `ipBlock`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    pub cidr: Ipv4Net,
    pub except: Vec<Ipv4Net>,
}

impl Block {
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        self.cidr.contains(&ip) && self.except.iter().all(|part| !part.contains(&ip))
    }

    fn addresses(&self) -> Addresses {
        Addresses::of([bounds(self.cidr)])
            .without(&Addresses::of(self.except.iter().copied().map(bounds)))
    }
}

fn bounds(range: Ipv4Net) -> (u32, u32) {
    (range.network().to_bits(), range.broadcast().to_bits())
}

/// A box: addresses, protocols and ports, each from the first to the last.
pub(super) type Cuboid = ((Ipv4Addr, Ipv4Addr), (u8, u8), (u16, u16));

/// Disjoint ranges of addresses in order, none next to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Addresses(Vec<(u32, u32)>);

impl Addresses {
    fn of(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut holes = other.0.iter().peekable();
        for (mut first, last) in self.0.iter().copied() {
            while holes.next_if(|hole| hole.1 < first).is_some() {}
            let mut is_left = true;
            for hole in holes.clone().take_while(|hole| hole.0 <= last) {
                if hole.0 > first {
                    left.push((first, hole.0 - 1));
                }
                match hole.1.checked_add(1).filter(|next| *next <= last) {
                    Some(next) => first = next,
                    None => is_left = false,
                }
            }
            if is_left {
                left.push((first, last));
            }
        }
        Self(left)
    }
}

/// Ports from the first to the last, and the addresses that have them.
type Part = ((u16, u16), Addresses);

/// Collects what blocks allow, rule by rule.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// With every protocol and port.
    whole: Vec<(u32, u32)>,
    /// With these ports.
    parts: BTreeMap<PortRange, Vec<(u32, u32)>>,
    /// How many ranges of addresses there are.
    count: usize,
}

impl Blocks {
    /// All ports of the block.
    pub fn add_whole(&mut self, block: &Block) {
        let addresses = block.addresses().0;
        let taken = self.take(&addresses);
        self.whole.extend(taken);
    }

    /// These ports of the block.
    pub fn add(&mut self, block: &Block, ports: impl IntoIterator<Item = PortRange>) {
        if self.is_full() {
            return;
        }
        let addresses = block.addresses().0;
        for ports in ports {
            let taken = self.take(&addresses);
            if taken.is_empty() {
                return;
            }
            self.parts.entry(ports).or_default().extend(taken);
        }
    }

    fn is_full(&self) -> bool {
        self.count >= BOXES_MAX
    }

    /// As many of these as there is room for.
    fn take<'a>(&mut self, addresses: &'a [(u32, u32)]) -> &'a [(u32, u32)] {
        let room = BOXES_MAX.saturating_sub(self.count).min(addresses.len());
        self.count += room;
        &addresses[..room]
    }

    /// The boxes, none of which overlaps another.
    pub fn boxes(self) -> BTreeSet<Cuboid> {
        let whole = Addresses::of(self.whole);
        let mut found: BTreeSet<_> =
            boxes(&whole, (0, u8::MAX), (0, u16::MAX)).take(BOXES_MAX).collect();
        let mut by_protocol: BTreeMap<u8, Vec<Part>> = BTreeMap::new();
        for (range, addresses) in self.parts {
            let ranges = by_protocol.entry(range.protocol.number()).or_default();
            if ranges.len() < RANGES_MAX {
                let addresses = Addresses::of(addresses).without(&whole);
                ranges.push(((range.first, range.last), addresses));
            }
        }
        for (protocol, ranges) in by_protocol {
            for (ports, addresses) in slices(&ranges) {
                let room = BOXES_MAX.saturating_sub(found.len());
                found.extend(boxes(&addresses, (protocol, protocol), ports).take(room));
            }
        }
        found
    }
}

fn boxes(
    addresses: &Addresses,
    protocols: (u8, u8),
    ports: (u16, u16),
) -> impl Iterator<Item = Cuboid> {
    let address = |range: &(u32, u32)| (Ipv4Addr::from_bits(range.0), Ipv4Addr::from_bits(range.1));
    addresses.0.iter().map(move |range| (address(range), protocols, ports))
}

/// The ports cut wherever a range begins or ends, each piece with all addresses that have it; pieces
/// that are alike are one.
fn slices(ranges: &[Part]) -> Vec<Part> {
    let mut cuts = BTreeSet::new();
    for ((first, last), _) in ranges {
        cuts.extend([u32::from(*first), u32::from(*last) + 1]);
    }
    let cuts: Vec<u32> = cuts.into_iter().collect();
    let mut found: Vec<Part> = Vec::new();
    for pair in cuts.windows(2) {
        let (Ok(first), Ok(last)) = (u16::try_from(pair[0]), u16::try_from(pair[1] - 1)) else {
            continue;
        };
        let here = ranges.iter().filter(|((from, to), _)| *from <= first && last <= *to);
        let addresses = Addresses::of(here.flat_map(|(_, addresses)| addresses.0.iter().copied()));
        match found.last_mut() {
            Some((before, same))
                if before.1.checked_add(1) == Some(first) && *same == addresses =>
            {
                before.1 = last;
            }
            _ => found.push(((first, last), addresses)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::services::Protocol;

    fn block(text: &str, except: &[&str]) -> Block {
        let except = except.iter().map(|part| part.parse().unwrap()).collect();
        Block { cidr: text.parse().unwrap(), except }
    }

    fn range(first: u16, last: u16) -> PortRange {
        PortRange { protocol: Protocol::Tcp, first, last }
    }

    #[test]
    fn exceptions_are_holes() {
        let mut blocks = Blocks::default();
        blocks.add_whole(&block("10.0.0.0/8", &["10.1.0.0/16", "10.1.2.0/24", "10.255.0.0/16"]));
        let found: Vec<String> =
            blocks.boxes().iter().map(|((first, last), ..)| format!("{first}-{last}")).collect();
        assert_eq!(found, ["10.0.0.0-10.0.255.255", "10.2.0.0-10.254.255.255"]);
        assert!(block("0.0.0.0/0", &["0.0.0.0/1", "128.0.0.0/1"]).addresses().0.is_empty());
    }

    #[test]
    fn many_ranges_end_somewhere() {
        let mut blocks = Blocks::default();
        for number in 0..5000_u16 {
            let [high, low] = number.to_be_bytes();
            blocks.add(
                &block(&format!("10.{high}.{low}.0/25"), &[]),
                [range(number, 10_000 - number)],
            );
        }
        assert!(blocks.boxes().len() <= BOXES_MAX);
    }

    #[test]
    fn many_blocks_with_many_ports_take_no_more_room_than_boxes() {
        let mut blocks = Blocks::default();
        for number in 0..20_000_u16 {
            let [high, low] = number.to_be_bytes();
            let one = block(&format!("10.{high}.{low}.0/25"), &[]);
            blocks.add(&one, (0..1000).map(|port| range(port * 2, port * 2)));
            blocks.add_whole(&one);
        }
        let held: usize = blocks.parts.values().map(Vec::len).sum();
        assert_eq!((held + blocks.whole.len(), blocks.count), (BOXES_MAX, BOXES_MAX));
    }

    fn any_block() -> impl Strategy<Value = Block> {
        let net = (0..8_u8, 29..=32_u8).prop_map(|(last, prefix)| {
            Ipv4Net::new_assert([10, 0, 0, last].into(), prefix).trunc()
        });
        (net.clone(), prop::collection::vec(net, 0..3))
            .prop_map(|(cidr, except)| Block { cidr, except })
    }

    proptest! {
        #[test]
        fn boxes_are_disjoint_and_say_the_same(
            rules in prop::collection::vec((any_block(), prop::option::of((1..6_u16, 0..4_u16))), 0..6),
        ) {
            let mut blocks = Blocks::default();
            for (block, ports) in &rules {
                match ports {
                    None => blocks.add_whole(block),
                    Some((first, more)) => blocks.add(block, [range(*first, first + more)]),
                }
            }
            let boxes = blocks.boxes();
            for last in 0..8 {
                let ip = Ipv4Addr::new(10, 0, 0, last);
                for (protocol, port) in (0..12).map(|port| (6, port)).chain([(1, 3), (17, 2)]) {
                    let said = rules.iter().any(|(block, ports)| {
                        let has = ports.is_none_or(|(first, more)| {
                            protocol == 6 && (first..=first + more).contains(&port)
                        });
                        has && block.contains(ip)
                    });
                    let found = boxes.iter().filter(|(addresses, protocols, ports)| {
                        (addresses.0..=addresses.1).contains(&ip)
                            && (protocols.0..=protocols.1).contains(&protocol)
                            && (ports.0..=ports.1).contains(&port)
                    });
                    prop_assert_eq!(found.count(), usize::from(said));
                }
            }
        }
    }
}
