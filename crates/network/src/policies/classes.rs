//! Classes: pods that the same policies isolate in the same direction, and what they allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::blocks::Blocks;
use super::facts::{FactId, PolicyPod, PortName};
use super::policy::{Direction, Policy, Ports, Rule, Side};
use super::ports::{PortRange, merged};
use super::table::{Allowed, AllowedBlock, EVERYONE};

/// A policy's namespace and name.
pub(super) type PolicyKey = (String, String);

/// What a class is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassKey {
    pub direction: Direction,
    /// Which isolate its pods; never none.
    pub policies: Vec<Arc<PolicyKey>>,
    /// The named ports of rules for ingress, on its pods.
    pub ports: BTreeMap<PortName, u16>,
}

impl ClassKey {
    /// The class of a pod that `policies` select; `None` when nothing is kept from it.
    pub fn of<'a>(
        direction: Direction,
        policies: impl IntoIterator<Item = (&'a Arc<PolicyKey>, &'a Policy)>,
        pod: &PolicyPod,
    ) -> Option<Self> {
        let mut key = Self { direction, policies: Vec::new(), ports: BTreeMap::new() };
        for (name, policy) in policies {
            let Some(side) = policy.side(direction) else { continue };
            if side.is_open {
                return None;
            }
            key.policies.push(Arc::clone(name));
            if direction == Direction::Ingress {
                let number = |name: &PortName| Some((name.clone(), *pod.ports.get(name)?));
                key.ports.extend(side.names.iter().filter_map(number));
            }
        }
        (!key.policies.is_empty()).then_some(key)
    }
}

/// A class, with what its policies say.
pub(super) struct Class<'a> {
    pub id: u32,
    pub key: &'a ClassKey,
    pub sides: Vec<&'a Side>,
}

impl Class<'_> {
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.sides.iter().flat_map(|side| &side.rules)
    }

    /// What must be true of a pod for it to be a peer.
    pub fn facts(&self) -> BTreeSet<FactId> {
        self.sides.iter().flat_map(|side| side.facts.iter().copied()).collect()
    }

    /// What it allows pods about which `truths` are true.
    pub fn allows(&self, identity: u32, truths: &BTreeMap<FactId, u16>) -> Vec<Allowed> {
        let any = |facts: &[FactId]| facts.iter().any(|fact| truths.contains_key(fact));
        let mut found = Vec::new();
        for rule in self.rules() {
            let is_peer = any(&rule.pods);
            match &rule.ports {
                Ports::All if is_peer => {
                    return vec![Allowed { class: self.id, identity, ports: None }];
                }
                Ports::All => {}
                Ports::Some { ranges, named } => {
                    if is_peer {
                        found.extend(ranges);
                        found.extend(self.own_ports(named));
                    }
                    if is_peer || rule.everyone || any(&rule.within) {
                        let number = |fact: &FactId| truths.get(fact).copied();
                        let theirs = named.iter().filter_map(|((protocol, _), fact)| {
                            Some(PortRange::one(*protocol, fact.as_ref().and_then(number)?))
                        });
                        found.extend(theirs);
                    }
                }
            }
        }
        self.ranges(identity, found)
    }

    /// What it allows everybody.
    pub fn allows_everyone(&self) -> Vec<Allowed> {
        let mut found = Vec::new();
        for rule in self.rules().filter(|rule| rule.everyone) {
            if let Ports::Some { ranges, named } = &rule.ports {
                found.extend(ranges);
                found.extend(self.own_ports(named));
            }
        }
        self.ranges(EVERYONE, found)
    }

    /// What it allows by address.
    pub fn blocks(&self) -> BTreeSet<AllowedBlock> {
        let mut blocks = Blocks::default();
        for rule in self.rules() {
            for block in &rule.blocks {
                match &rule.ports {
                    Ports::All => blocks.add_whole(block),
                    Ports::Some { ranges, named } => {
                        blocks.add(block, ranges.iter().copied().chain(self.own_ports(named)));
                    }
                }
            }
        }
        let class = self.id;
        let of_class = blocks.boxes().into_iter();
        of_class
            .map(|(addresses, protocols, ports)| AllowedBlock {
                class,
                addresses,
                protocols,
                ports,
            })
            .collect()
    }

    /// The named ports that its own pods have: those of ingress.
    fn own_ports<'n>(
        &'n self,
        named: &'n [(PortName, Option<FactId>)],
    ) -> impl Iterator<Item = PortRange> + 'n {
        let number = |name: &PortName| self.key.ports.get(name).copied();
        named.iter().filter_map(move |(name, _)| Some(PortRange::one(name.0, number(name)?)))
    }

    fn ranges(&self, identity: u32, ranges: Vec<PortRange>) -> Vec<Allowed> {
        let allowed = |it: PortRange| {
            let ports = Some((it.protocol, it.first, it.last));
            Allowed { class: self.id, identity, ports }
        };
        merged(ranges).into_iter().map(allowed).collect()
    }
}
