//! The rules: static ones that read maps, so that a Service is a few elements and no rule. Those of
//! network policies are in `policing`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::elements::{
    AFFINITY, ALLOWED, CHOICES, Change, Chooser, ENDPOINTS, HAIRPIN, RESTRICTED, SERVICES,
};
use super::names::{LINK_PREFIX, NODE_TABLE};
use super::nft::{
    At, Batch, Expr, Holds, Hook, Is, Meta, Reg, Reject, STATE_NEW, STATUS_DNAT, Set, Tracked,
    Type, Verdict,
};
use super::policing;
use crate::services::Protocol;

const FRONTEND: [Type; 3] = [Type::Protocol, Type::Address, Type::Port];
const BACKEND: [Type; 2] = [Type::Address, Type::Port];
const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;

const SETS: [Set; 7] = [
    Set::new(SERVICES, &FRONTEND, Holds::Verdicts),
    Set::new(
        ENDPOINTS,
        &[FRONTEND[0], FRONTEND[1], FRONTEND[2], Type::Number],
        Holds::Values(&BACKEND),
    ),
    Set::new(
        CHOICES,
        &[FRONTEND[0], FRONTEND[1], FRONTEND[2], Type::Number],
        Holds::Values(&[Type::Number]),
    ),
    Set {
        dynamic: true,
        ..Set::new(
            AFFINITY,
            &[Type::Address, FRONTEND[0], FRONTEND[1], FRONTEND[2]],
            Holds::Values(&[Type::Number]),
        )
    },
    Set::new(HAIRPIN, &[Type::Address, Type::Address], Holds::Nothing),
    Set::new(RESTRICTED, &FRONTEND, Holds::Nothing),
    Set::new(ALLOWED, &[FRONTEND[0], FRONTEND[1], FRONTEND[2], Type::Address], Holds::Nothing)
        .of_ranges(),
];

/// What the node's rules must know.
#[derive(Debug, Clone, Copy)]
pub struct NodeFacts {
    /// Source for connections that would otherwise come back to where they started.
    pub node_ip: Ipv4Addr,
    /// Inside the service range, but answered by the node itself.
    pub dns_ip: Ipv4Addr,
    /// Service addresses: refused at once where no Service has the port.
    pub service_cidr: Ipv4Net,
    /// Load balancer addresses, the same.
    pub lb_range: Ipv4Net,
}

/// The node's table from nothing, in place of one that may be there.
pub fn node_table(facts: &NodeFacts) -> Batch {
    let mut batch = Batch::new(NODE_TABLE);
    batch.delete_table();
    batch.create_table();
    for set in SETS.iter().chain(&policing::SETS) {
        batch.set(set);
    }
    guard(&mut batch);
    policing::police(&mut batch);
    for (chain, at) in [("prerouting", At::Prerouting), ("output", At::Output)] {
        batch.base_chain(chain, Hook { kind: "nat", at, priority: DESTINATION_NAT });
        let decide = Expr::Decide { map: SERVICES, key: Reg(0) };
        batch.rule(chain, &[&load_frontend(0)[..], &[decide]].concat());
    }
    hairpin(&mut batch, facts.node_ip);
    leave_loopback(&mut batch, facts.node_ip);
    for (chain, at) in [("refuse-passing", At::Forward), ("refuse-own", At::Output)] {
        batch.base_chain(chain, Hook { kind: "filter", at, priority: 0 });
        refuse(&mut batch, chain, facts);
    }
    batch
}

/// Protocol, destination address and port into three registers from `first` on.
fn load_frontend(first: u8) -> [Expr; 3] {
    [
        Expr::Meta(Meta::Protocol, Reg(first)),
        Expr::Destination(Reg(first + 1)),
        Expr::Port(Reg(first + 2)),
    ]
}

/// The node's own: nothing with one of these leaves it, but what a host port sends to a pod.
const LOOPBACK_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// `loadBalancerSourceRanges`, before the destination is translated.
fn guard(batch: &mut Batch) {
    let hook = Hook { kind: "filter", at: At::Prerouting, priority: DESTINATION_NAT - 10 };
    batch.base_chain("guard", hook);
    let mut rule = load_frontend(0).to_vec();
    rule.extend([
        Expr::InSet(RESTRICTED, Reg(0), Is::In),
        Expr::Source(Reg(3)),
        Expr::InSet(ALLOWED, Reg(0), Is::NotIn),
        Expr::Verdict(Verdict::Drop),
    ]);
    batch.rule("guard", &rule);
    // Loopback is routed for the sake of host ports there; nobody but the node itself may send to it
    // (CVE-2020-8558).
    batch.rule(
        "guard",
        &[
            Expr::Destination(Reg(0)),
            Expr::InNetwork(Reg(0), LOOPBACK_RANGE),
            Expr::Meta(Meta::InName, Reg(4)),
            Expr::Compare(Reg(4), Is::NotIn, interface("lo")),
            Expr::Verdict(Verdict::Drop),
        ],
    );
}

/// A pod (or the host) that reaches itself through a Service would see its own address as the
/// peer's, and drop the packet.
fn hairpin(batch: &mut Batch, node_ip: Ipv4Addr) {
    let chain = "postrouting";
    batch.base_chain(chain, Hook { kind: "nat", at: At::Postrouting, priority: SOURCE_NAT });
    batch.rule(
        chain,
        &[
            Expr::Connection(Tracked::Status, STATUS_DNAT),
            Expr::Source(Reg(0)),
            Expr::Destination(Reg(1)),
            Expr::InSet(HAIRPIN, Reg(0), Is::In),
            Expr::Address(node_ip, Reg(2)),
            Expr::ComeFrom { address: Reg(2) },
        ],
    );
}

/// What the node sends from its loopback to a host port there goes to a pod with the node's address.
fn leave_loopback(batch: &mut Batch, node_ip: Ipv4Addr) {
    batch.rule(
        "postrouting",
        &[
            Expr::Connection(Tracked::Status, STATUS_DNAT),
            Expr::Source(Reg(0)),
            Expr::InNetwork(Reg(0), LOOPBACK_RANGE),
            Expr::Address(node_ip, Reg(2)),
            Expr::ComeFrom { address: Reg(2) },
        ],
    );
}

/// What still has a service address here belongs to no Service, or to one without endpoints.
fn refuse(batch: &mut Batch, chain: &str, facts: &NodeFacts) {
    let accept = Expr::Verdict(Verdict::Accept);
    let dns = Expr::Compare(Reg(0), Is::In, facts.dns_ip.octets().to_vec());
    batch.rule(chain, &[Expr::Destination(Reg(0)), dns, accept]);
    for range in [facts.service_cidr, facts.lb_range] {
        let within = Expr::InNetwork(Reg(0), range);
        let belongs = [Expr::Destination(Reg(0)), within];
        // The kernel sends some clients no more than one ICMP error a second, but any number of
        // resets.
        let tcp = [
            Expr::Meta(Meta::Protocol, Reg(1)),
            Expr::Compare(Reg(1), Is::In, vec![Protocol::Tcp.number()]),
            Expr::Reject(Reject::Reset),
        ];
        batch.rule(chain, &[&belongs[..], &tcp].concat());
        batch.rule(chain, &[&belongs[..], &[Expr::Reject(Reject::PortUnreachable)]].concat());
    }
}

/// Appends `change` to `batch`; `chains` are those that exist already.
pub fn apply(batch: &mut Batch, change: &Change, exists: impl Fn(&Chooser) -> bool) {
    for chooser in change.choosers.iter().filter(|chooser| !exists(chooser)) {
        choose(batch, chooser);
    }
    for (map, elements) in &change.remove {
        batch.remove(map, elements);
    }
    for (map, elements) in &change.add {
        batch.add(map, elements);
    }
}

fn choose(batch: &mut Batch, chooser: &Chooser) {
    let chain = chooser.chain();
    batch.chain(&chain);
    match chooser.affinity_seconds {
        None => {
            // The number goes by way of the packet's mark, which means nothing else in the
            // node: `nft` cannot list a key that holds it directly.
            let mut rule = vec![Expr::MarkAtRandom(chooser.backends)];
            rule.extend(load_frontend(0));
            rule.extend([
                Expr::Meta(Meta::Mark, Reg(3)),
                Expr::Load { map: ENDPOINTS, key: Reg(0), into: Reg(4) },
                Expr::SendTo { address: Reg(4), port: Reg(5) },
            ]);
            batch.rule(&chain, &rule);
        }
        Some(seconds) => keep_or_choose(batch, &chain, chooser.backends, seconds),
    }
}

/// A client that was here goes where it went, as long as that backend serves; any other is sent
/// to one by chance, whose number is written down.
fn keep_or_choose(batch: &mut Batch, chain: &str, backends: u32, seconds: u32) {
    let (client, number) = (Reg(0), Reg(4));
    let [protocol, address, port] = load_frontend(1);
    let remember = Expr::Remember { map: AFFINITY, key: client, value: number, seconds };
    let send = [
        Expr::Load { map: ENDPOINTS, key: Reg(1), into: Reg(6) },
        Expr::SendTo { address: Reg(6), port: Reg(7) },
    ];

    let mut keep = vec![Expr::Source(client), protocol, address, port];
    keep.extend(load_number(AFFINITY, client, number));
    let [load, send_to] = send.clone();
    keep.extend([load, remember.clone(), send_to]);
    batch.rule(chain, &keep);

    let mut choose = vec![Expr::MarkAtRandom(backends), Expr::Source(client)];
    choose.extend(load_frontend(1));
    choose.push(Expr::Meta(Meta::Mark, number));
    choose.extend(load_number(CHOICES, Reg(1), number));
    // An update would only prolong what is written down, not replace it.
    choose.push(Expr::Forget { map: AFFINITY, key: client, value: number });
    choose.push(remember);
    choose.extend(send);
    batch.rule(chain, &choose);
}

/// A number from a map, by way of the mark.
fn load_number(map: &'static str, key: Reg, into: Reg) -> [Expr; 3] {
    [Expr::Load { map, key, into }, Expr::Mark(into), Expr::Meta(Meta::Mark, into)]
}

/// The host's table: the way out for pods, and nobody else's way in.
///
/// `guard_forwarding`: the host forwarded nothing before we came; it still shall not, except for
/// clusters.
pub fn host_table(table: &str, link: &str, pods: Ipv4Net, guard_forwarding: bool) -> Batch {
    let mut batch = Batch::new(table);
    batch.delete_table();
    batch.create_table();
    batch
        .base_chain("postrouting", Hook { kind: "nat", at: At::Postrouting, priority: SOURCE_NAT });
    batch.rule(
        "postrouting",
        &[
            Expr::Source(Reg(0)),
            Expr::InNetwork(Reg(0), pods),
            Expr::Meta(Meta::OutName, Reg(4)),
            Expr::Compare(Reg(4), Is::NotIn, interface(link)),
            Expr::Masquerade,
        ],
    );
    batch.base_chain("forward", Hook { kind: "filter", at: At::Forward, priority: 0 });
    batch.rule(
        "forward",
        &[
            Expr::Meta(Meta::OutName, Reg(0)),
            Expr::Compare(Reg(0), Is::In, interface(link)),
            Expr::Meta(Meta::InName, Reg(4)),
            Expr::Compare(Reg(4), Is::NotIn, interface(link)),
            Expr::Connection(Tracked::State, STATE_NEW),
            Expr::Verdict(Verdict::Drop),
        ],
    );
    if guard_forwarding {
        batch.rule("forward", &drop_what_is_not_ours());
    }
    batch
}

fn drop_what_is_not_ours() -> Vec<Expr> {
    let prefix = LINK_PREFIX.as_bytes().to_vec();
    vec![
        Expr::Meta(Meta::InName, Reg(0)),
        Expr::Compare(Reg(0), Is::NotIn, prefix.clone()),
        Expr::Meta(Meta::OutName, Reg(4)),
        Expr::Compare(Reg(4), Is::NotIn, prefix),
        Expr::Verdict(Verdict::Drop),
    ]
}

/// An interface's name as the kernel compares it: sixteen bytes.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}
