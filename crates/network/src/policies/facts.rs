//! What can be true of a pod, and matters to some rule.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use coracle_api::Selector;
use coracle_api::pods::is_sidecar;
use k8s_openapi::api::core::v1::{ContainerPort, Pod};

use super::blocks::Block;
use crate::services::{Protocol, port_number};

pub(super) type Labels = BTreeMap<String, String>;

/// A port's protocol and name.
pub(super) type PortName = (Protocol, String);

/// A pod, as far as policies are about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPod {
    pub(super) namespace: String,
    pub(super) labels: Labels,
    pub(super) ip: Ipv4Addr,
    /// Its ports with names; of two with one name the first counts.
    pub(super) ports: BTreeMap<PortName, u16>,
    /// Whether policies can isolate it.
    pub(super) is_selectable: bool,
}

impl PolicyPod {
    /// The pod, at its address. `None` when policies are not about it: its traffic is the node's
    /// (`hostNetwork`).
    #[must_use]
    pub fn of(pod: &Pod, ip: Ipv4Addr) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        if spec.host_network == Some(true) {
            return None;
        }
        let sidecars = spec.init_containers.iter().flatten().filter(|init| is_sidecar(init));
        let containers = spec.containers.iter().chain(sidecars);
        let named = |port: &ContainerPort| {
            let protocol = Protocol::parse(port.protocol.as_deref())?;
            Some(((protocol, port.name.clone()?), port_number(port.container_port)?))
        };
        let mut ports = BTreeMap::new();
        for (name, number) in containers.flat_map(|it| it.ports.iter().flatten()).filter_map(named)
        {
            ports.entry(name).or_insert(number);
        }
        Some(Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            ip,
            ports,
            is_selectable: true,
        })
    }

    /// The cluster's DNS, which is a part of the node, as the pods that it is elsewhere: rules that
    /// allow names are written for those.
    pub(super) fn dns(ip: Ipv4Addr) -> Self {
        let ports = [(Protocol::Udp, "dns"), (Protocol::Tcp, "dns-tcp")];
        Self {
            namespace: "kube-system".to_owned(),
            labels: Labels::from([("k8s-app".to_owned(), "kube-dns".to_owned())]),
            ip,
            ports: ports.map(|(protocol, name)| ((protocol, name.to_owned()), 53)).into(),
            is_selectable: false,
        }
    }
}

/// What can be true of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    /// A peer of rules selects it.
    Selected { namespaces: Namespaces, pods: Selector },
    /// Its address is in a block.
    Within(Block),
    /// It has a port of this name.
    Port(PortName),
}

/// The namespaces of a peer's pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Namespaces {
    /// The policy's own.
    One(String),
    /// Those with such labels.
    Selected(Selector),
}

impl Fact {
    /// Whether it is true of the pod in a namespace with `labels`, if that is known; of a port's name,
    /// which number it is.
    pub fn holds(&self, pod: &PolicyPod, labels: Option<&Labels>) -> Option<u16> {
        let is_true = match self {
            Self::Selected { namespaces, pods } => {
                let is_there = match namespaces {
                    Namespaces::One(name) => pod.namespace == *name,
                    Namespaces::Selected(selector) => {
                        labels.is_some_and(|labels| selector.matches(labels))
                    }
                };
                is_there && pods.matches(&pod.labels)
            }
            Self::Within(block) => block.contains(pod.ip),
            Self::Port(name) => return pod.ports.get(name).copied(),
        };
        is_true.then_some(0)
    }
}

/// The number that stands for a fact as long as a rule needs it.
pub(super) type FactId = u32;

/// The facts that rules need, and how many times.
#[derive(Debug, Default)]
pub(super) struct Facts {
    ids: BTreeMap<Fact, FactId>,
    used: BTreeMap<FactId, (Fact, usize)>,
    last: FactId,
}

impl Facts {
    /// The fact's number, and whether nobody needed it; it is needed once more from now on.
    pub fn need(&mut self, fact: Fact) -> (FactId, bool) {
        if let Some(id) = self.ids.get(&fact) {
            if let Some((_, times)) = self.used.get_mut(id) {
                *times += 1;
            }
            return (*id, false);
        }
        self.last += 1;
        self.ids.insert(fact.clone(), self.last);
        self.used.insert(self.last, (fact, 1));
        (self.last, true)
    }

    /// It is needed once less; whether nobody needs it any more.
    pub fn let_go(&mut self, id: FactId) -> bool {
        let Some((fact, times)) = self.used.get_mut(&id) else { return false };
        *times -= 1;
        if *times > 0 {
            return false;
        }
        self.ids.remove(fact);
        self.used.remove(&id);
        true
    }

    pub fn get(&self, id: FactId) -> Option<&Fact> {
        self.used.get(&id).map(|(fact, _)| fact)
    }

    /// All that is true of a pod, by number.
    pub fn of(&self, pod: &PolicyPod, labels: Option<&Labels>) -> BTreeMap<FactId, u16> {
        let holds =
            |(id, (fact, _)): (&FactId, &(Fact, usize))| Some((*id, fact.holds(pod, labels)?));
        self.used.iter().filter_map(holds).collect()
    }
}
