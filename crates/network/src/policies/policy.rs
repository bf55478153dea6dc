//! What one NetworkPolicy says. What is not understood never allows anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::Selector;
use coracle_api::warnings::POLICY_RULE_MAX;
use ipnet::Ipv4Net;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::blocks::Block;
use super::facts::{Fact, FactId, Namespaces, PortName};
use super::ports::{PortRange, merged};
use crate::services::{Protocol, port_number};

/// Which way connections go, seen from the pod that a policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

/// How many facts a policy may name: each is looked at for every pod. What is beyond allows nothing.
const FACTS_MAX: usize = 4 * POLICY_RULE_MAX;

/// A policy. The facts that it names are needed as long as it is there.
#[derive(Debug)]
pub(super) struct Policy {
    /// The pods of its namespace that it isolates.
    pub pods: Selector,
    /// What passes; `None` in a direction that it is not about.
    pub ingress: Option<Arc<Side>>,
    pub egress: Option<Arc<Side>>,
    /// Each as often as it is needed.
    pub needs: Vec<FactId>,
}

/// What a policy allows in one direction.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub rules: Vec<Rule>,
    /// Whether a rule allows everything.
    pub is_open: bool,
    /// The names of ports of the pods that it selects.
    pub names: BTreeSet<PortName>,
    /// What must be true of a pod for it to be a peer.
    pub facts: BTreeSet<FactId>,
}

/// What a rule allows: its peers with its ports.
#[derive(Debug)]
pub(super) struct Rule {
    /// Peers are all there are, inside and outside.
    pub everyone: bool,
    /// Peers are the pods of which one of these is true.
    pub pods: Vec<FactId>,
    /// Peers are those at these addresses.
    pub blocks: Vec<Block>,
    /// The same of pods, where a named port must be looked up.
    pub within: Vec<FactId>,
    pub ports: Ports,
}

/// The ports of a rule.
#[derive(Debug)]
pub(super) enum Ports {
    /// All of every protocol.
    All,
    /// These alone.
    Some {
        /// By number; disjoint, in order.
        ranges: Vec<PortRange>,
        /// By name of the destination's; for egress with the fact that says the peer's number.
        named: Vec<(PortName, Option<FactId>)>,
    },
}

impl Policy {
    /// Reads the policy; `need` says by which number a fact is known.
    pub fn read(policy: &NetworkPolicy, need: &mut impl FnMut(Fact) -> FactId) -> Self {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let spec = policy.spec.clone().unwrap_or_default();
        let named = spec.policy_types.as_deref().unwrap_or_default();
        let egress = spec.egress.unwrap_or_default();
        // As defaults say, though what is stored names its types.
        let (is_ingress, is_egress) = match named {
            [] => (true, !egress.is_empty()),
            named => (has(named, "Ingress"), has(named, "Egress")),
        };
        let mut reader = Reader { namespace, need, needs: Vec::new() };
        let ingress = is_ingress.then(|| {
            let rules = spec.ingress.unwrap_or_default().into_iter();
            reader.side(Direction::Ingress, rules.map(|rule| (rule.from, rule.ports)))
        });
        let egress = is_egress.then(|| {
            let rules = egress.into_iter();
            reader.side(Direction::Egress, rules.map(|rule| (rule.to, rule.ports)))
        });
        Self {
            pods: Selector::from_typed(spec.pod_selector.as_ref())
                .unwrap_or_else(|_| Selector::nothing()),
            ingress: ingress.map(Arc::new),
            egress: egress.map(Arc::new),
            needs: reader.needs,
        }
    }

    /// What it allows in the direction, if it is about that.
    pub fn side(&self, direction: Direction) -> Option<&Arc<Side>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

fn has(types: &[String], name: &str) -> bool {
    types.iter().any(|one| one == name)
}

struct Reader<'a, F> {
    namespace: &'a str,
    need: &'a mut F,
    needs: Vec<FactId>,
}

type Peers = Option<Vec<NetworkPolicyPeer>>;
type PolicyPorts = Option<Vec<NetworkPolicyPort>>;

impl<F: FnMut(Fact) -> FactId> Reader<'_, F> {
    fn need(&mut self, fact: Fact) -> Option<FactId> {
        let id = (self.needs.len() < FACTS_MAX).then(|| (self.need)(fact))?;
        self.needs.push(id);
        Some(id)
    }

    fn side(
        &mut self,
        direction: Direction,
        rules: impl Iterator<Item = (Peers, PolicyPorts)>,
    ) -> Side {
        let mut side = Side::default();
        for (peers, ports) in rules {
            let rule = self.rule(direction, &peers.unwrap_or_default(), &ports.unwrap_or_default());
            side.is_open |= rule.everyone && matches!(rule.ports, Ports::All);
            side.facts.extend(rule.pods.iter().chain(&rule.within));
            if let Ports::Some { named, .. } = &rule.ports {
                side.facts.extend(named.iter().filter_map(|(_, fact)| *fact));
                side.names.extend(named.iter().map(|(name, _)| name.clone()));
            }
            side.rules.push(rule);
        }
        side
    }

    fn rule(
        &mut self,
        direction: Direction,
        peers: &[NetworkPolicyPeer],
        ports: &[NetworkPolicyPort],
    ) -> Rule {
        let ports = self.ports(direction, ports);
        let mut rule = Rule {
            everyone: peers.is_empty(),
            pods: Vec::new(),
            blocks: Vec::new(),
            within: Vec::new(),
            ports,
        };
        let looks_up = matches!(&rule.ports, Ports::Some { named, .. } if !named.is_empty());
        for peer in peers {
            if let Some(block) = &peer.ip_block {
                let Some(block) = read_block(block) else { continue };
                if looks_up && direction == Direction::Egress {
                    rule.within.extend(self.need(Fact::Within(block.clone())));
                }
                rule.blocks.push(block);
            } else if rule.pods.len() < POLICY_RULE_MAX
                && let Some(fact) = self.pod_peer(peer)
            {
                rule.pods.extend(self.need(fact));
            }
        }
        rule
    }

    fn pod_peer(&self, peer: &NetworkPolicyPeer) -> Option<Fact> {
        if peer.pod_selector.is_none() && peer.namespace_selector.is_none() {
            return None;
        }
        let namespaces = match &peer.namespace_selector {
            None => Namespaces::One(self.namespace.to_owned()),
            selector => Namespaces::Selected(Selector::from_typed(selector.as_ref()).ok()?),
        };
        let pods = match &peer.pod_selector {
            None => Selector::everything(),
            selector => Selector::from_typed(selector.as_ref()).ok()?,
        };
        Some(Fact::Selected { namespaces, pods })
    }

    fn ports(&mut self, direction: Direction, ports: &[NetworkPolicyPort]) -> Ports {
        if ports.is_empty() {
            return Ports::All;
        }
        let (mut ranges, mut names) = (Vec::new(), BTreeSet::new());
        for port in ports {
            let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
            match &port.port {
                None => ranges.push(PortRange { protocol, first: 0, last: u16::MAX }),
                Some(IntOrString::Int(first)) => {
                    let last = port_number(port.end_port.unwrap_or(*first));
                    let range = port_number(*first).zip(last).filter(|(first, last)| first <= last);
                    ranges.extend(range.map(|(first, last)| PortRange { protocol, first, last }));
                }
                Some(IntOrString::String(name)) => drop(names.insert((protocol, name.clone()))),
            }
        }
        let named = names.into_iter().take(POLICY_RULE_MAX).map(|name| {
            let is_theirs = direction == Direction::Egress;
            let fact = is_theirs.then(|| self.need(Fact::Port(name.clone()))).flatten();
            (name, fact)
        });
        Ports::Some { named: named.collect(), ranges: merged(ranges) }
    }
}

/// The block, with its exceptions; `None` when it is not of this cluster's family.
fn read_block(block: &IPBlock) -> Option<Block> {
    let parse = |text: &str| text.parse().ok().map(|net: Ipv4Net| net.trunc());
    let except = block.except.iter().flatten();
    // One that is not understood must not be left out: then nothing is allowed.
    let except: Option<Vec<_>> = except.map(|part| parse(part)).collect();
    Some(Block { cidr: parse(&block.cidr)?, except: except? })
}
