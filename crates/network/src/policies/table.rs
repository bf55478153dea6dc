//! What the kernel is told of policies: who is isolated, and which connections pass all the same.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use imbl::{OrdMap, OrdSet};

use super::policy::Direction;
use crate::services::Protocol;

/// Who is isolated, and what passes all the same. Copies share what is alike, and a comparison of two
/// costs what differs.
///
/// A connection passes if nobody isolates its client for egress and its server for ingress; where
/// somebody does, if an element allows the class of the isolated one the identity or address of the
/// other. The server is the pod behind a Service, with its own port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyTable {
    /// Address → identity of the pods that rules tell apart from others.
    pub identities: OrdMap<Ipv4Addr, u32>,
    /// Address → class of the pods that are isolated for ingress.
    pub ingress: OrdMap<Ipv4Addr, u32>,
    /// Address → class of the pods that are isolated for egress.
    pub egress: OrdMap<Ipv4Addr, u32>,
    /// What the classes allow by identity.
    pub allowed: OrdSet<Allowed>,
    /// What the classes allow by address; boxes of one class do not overlap.
    pub blocks: OrdSet<AllowedBlock>,
}

/// A class allows some ports to an identity. Sorted by class, then identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allowed {
    /// Of the isolated pods.
    pub class: u32,
    /// Of their peers; 0 means everybody.
    pub identity: u32,
    /// The protocol, and its ports from the first to the last; `None` means all of every protocol.
    pub ports: Option<(Protocol, u16, u16)>,
}

/// A class allows some ports to some addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowedBlock {
    /// Of the isolated pods.
    pub class: u32,
    /// From the first to the last.
    pub addresses: (Ipv4Addr, Ipv4Addr),
    /// As in an IP header, from the first to the last.
    pub protocols: (u8, u8),
    /// From the first to the last.
    pub ports: (u16, u16),
}

/// Of everybody, inside and outside.
pub(super) const EVERYONE: u32 = 0;

impl PolicyTable {
    /// Who is isolated in the direction.
    pub(super) fn isolated(&mut self, direction: Direction) -> &mut OrdMap<Ipv4Addr, u32> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// Makes `new` all that the class allows the identity.
    pub(super) fn allow(
        &mut self,
        class: u32,
        identity: u32,
        new: impl IntoIterator<Item = Allowed>,
    ) {
        let first = Allowed { class, identity, ports: None };
        let of_pair = self.allowed.range(first..);
        let of_pair = of_pair.take_while(|it| it.class == class && it.identity == identity);
        let old: Vec<_> = of_pair.copied().collect();
        let new: BTreeSet<_> = new.into_iter().collect();
        for gone in old.iter().filter(|it| !new.contains(it)) {
            self.allowed.remove(gone);
        }
        for added in new.iter().filter(|it| old.binary_search(it).is_err()) {
            self.allowed.insert(*added);
        }
    }

    /// The identities that the class allows something.
    pub(super) fn identities_of(&self, class: u32) -> Vec<u32> {
        let first = Allowed { class, identity: EVERYONE, ports: None };
        let of_class = self.allowed.range(first..).take_while(|it| it.class == class);
        let mut found: Vec<u32> = of_class.map(|it| it.identity).collect();
        found.dedup();
        found
    }

    /// Makes `new` all blocks of the class.
    pub(super) fn allow_blocks(&mut self, class: u32, new: &BTreeSet<AllowedBlock>) {
        let lowest = Ipv4Addr::UNSPECIFIED;
        let first =
            AllowedBlock { class, addresses: (lowest, lowest), protocols: (0, 0), ports: (0, 0) };
        let of_class = self.blocks.range(first..).take_while(|it| it.class == class);
        let old: Vec<_> = of_class.copied().collect();
        for gone in old.iter().filter(|it| !new.contains(it)) {
            self.blocks.remove(gone);
        }
        for added in new.iter().filter(|it| old.binary_search(it).is_err()) {
            self.blocks.insert(*added);
        }
    }
}
