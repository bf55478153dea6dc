//! The rules of network policies: static ones that read maps, so that a policy is a few elements and
//! no rule.
//!
//! A connection is judged, not a packet: by its client, its server and the server's port, after Services
//! have been translated, and whichever way a packet goes. So an answer passes with its question, and what
//! a changed policy forbids ends at once, also when it was established before (as
//! sigs.k8s.io/kube-network-policies has it in its strict mode). What the node itself sends passes by neither chain: probes, port-forward and the API
//! server's proxy always get through.

use super::elements::HAIRPIN;
use super::nft::{
    At, Batch, Expr, Holds, Hook, Is, Meta, Reg, STATE_INVALID, STATE_RELATED, STATE_UNTRACKED,
    Set, Tracked, Tuple, Type, Verdict,
};
use super::policy_elements::{BLOCKS, EGRESS, IDENTITIES, INGRESS, PEERS, PORT_RANGES, PORTS};

/// After destinations have been translated, before what leads nowhere is refused.
const PRIORITY: i32 = -10;

const CLASS: Type = Type::Number;
const IDENTITY: Type = Type::Priority;

/// What the rules read.
pub const SETS: [Set; 7] = [
    Set::new(IDENTITIES, &[Type::Address], Holds::Values(&[IDENTITY])),
    Set::new(INGRESS, &[Type::Address], Holds::Values(&[CLASS])),
    Set::new(EGRESS, &[Type::Address], Holds::Values(&[CLASS])),
    Set::new(PEERS, &[CLASS, IDENTITY], Holds::Nothing),
    Set::new(PORTS, &[CLASS, IDENTITY, Type::Protocol, Type::Port], Holds::Nothing),
    Set::new(PORT_RANGES, &[CLASS, IDENTITY, Type::Protocol, Type::Port], Holds::Nothing)
        .of_ranges(),
    Set::new(BLOCKS, &[CLASS, Type::Address, Type::Protocol, Type::Port], Holds::Nothing)
        .of_ranges(),
];

/// Packets of a connection, by the way they go. The two have the same rules but for where the server's
/// port stands.
#[derive(Clone, Copy)]
struct Way {
    /// Judges the client's egress, then goes on with the server's ingress.
    leaving: &'static str,
    /// Whether the server is isolated for ingress.
    arriving: &'static str,
    /// Judges the server's ingress.
    entering: &'static str,
    port: fn(Reg) -> Expr,
}

const QUESTIONS: Way =
    Way { leaving: "leaving", arriving: "arriving", entering: "entering", port: Expr::Port };
const ANSWERS: Way = Way {
    leaving: "leaving-answers",
    arriving: "arriving-answers",
    entering: "entering-answers",
    port: Expr::SourcePort,
};

/// Appends the chains that judge connections.
pub fn police(batch: &mut Batch) {
    for way in [QUESTIONS, ANSWERS] {
        for chain in [way.leaving, way.arriving, way.entering] {
            batch.chain(chain);
        }
        judge(batch, way.leaving, way, Tuple::Server, &goto(way.arriving));
        let isolated = class_of(Tuple::Server, INGRESS);
        batch.rule(way.arriving, &[&isolated[..], &[goto(way.entering)]].concat());
        judge(batch, way.entering, way, Tuple::Client, &Expr::Verdict(Verdict::Accept));
    }
    let answers = "answers";
    batch.chain(answers);
    begin(batch, answers, ANSWERS);

    let passing = "police-passing";
    batch.base_chain(passing, Hook { kind: "filter", at: At::Forward, priority: PRIORITY });
    batch.rule(passing, &drop_untracked(Expr::Source, EGRESS));
    batch.rule(passing, &drop_untracked(Expr::Destination, INGRESS));
    // Errors about a connection.
    let related = Expr::Connection(Tracked::State, STATE_RELATED);
    batch.rule(passing, &[related, Expr::Verdict(Verdict::Accept)]);
    // A pod always reaches itself, also through a Service.
    let ends = [Expr::Of(Tuple::Client, Reg(0)), Expr::Of(Tuple::Server, Reg(1))];
    let is_itself = [Expr::InSet(HAIRPIN, Reg(0), Is::In), Expr::Verdict(Verdict::Accept)];
    batch.rule(passing, &[ends, is_itself].concat());
    batch.rule(passing, &[Expr::IsAnswer, goto(answers)]);
    begin(batch, passing, QUESTIONS);

    // To the node, its DNS and the pods in its network, which nothing isolates.
    let own = "police-own";
    batch.base_chain(own, Hook { kind: "filter", at: At::Input, priority: PRIORITY });
    batch.rule(own, &drop_untracked(Expr::Source, EGRESS));
    batch.rule(own, &leave(QUESTIONS));
}

fn goto(chain: &str) -> Expr {
    Expr::Verdict(Verdict::Goto(chain.to_owned()))
}

/// Judges the client first if it is isolated, else the server.
fn begin(batch: &mut Batch, chain: &str, way: Way) {
    batch.rule(chain, &leave(way));
    batch.rule(chain, &[goto(way.arriving)]);
}

/// Judges the client if it is isolated.
fn leave(way: Way) -> Vec<Expr> {
    [&class_of(Tuple::Client, EGRESS)[..], &[goto(way.leaving)]].concat()
}

/// What belongs to no connection can be judged by none; it reaches and leaves no isolated pod.
fn drop_untracked(end: fn(Reg) -> Expr, isolated: &'static str) -> Vec<Expr> {
    vec![
        Expr::Connection(Tracked::State, STATE_INVALID | STATE_UNTRACKED),
        end(Reg(0)),
        Expr::Load { map: isolated, key: Reg(0), into: Reg(1) },
        Expr::Mark(Reg(1)),
        Expr::Verdict(Verdict::Drop),
    ]
}

/// Marks the packet with the class of an end that is isolated; ends the rule if it is not. The mark and
/// the priority mean nothing else in the node, and stay in it: `nft` cannot list keys that hold
/// numbers from maps directly.
fn class_of(end: Tuple, isolated: &'static str) -> [Expr; 3] {
    let load = Expr::Load { map: isolated, key: Reg(0), into: Reg(1) };
    [Expr::Of(end, Reg(0)), load, Expr::Mark(Reg(1))]
}

/// Does `then` with a connection that the class in the mark allows with this peer, and drops others.
fn judge(batch: &mut Batch, chain: &str, way: Way, peer: Tuple, then: &Expr) {
    let (class, identity) = (Expr::Meta(Meta::Mark, Reg(0)), Expr::Meta(Meta::Priority, Reg(1)));
    let port = [Expr::Meta(Meta::Protocol, Reg(2)), (way.port)(Reg(3))];
    let by_identity = [&[class.clone(), identity.clone()][..], &port].concat();
    let by_address = [&[class.clone(), Expr::Of(peer, Reg(1))][..], &port].concat();
    let mut allow = |set, parts: &[&[Expr]]| {
        let decide = [Expr::InSet(set, Reg(0), Is::In), then.clone()];
        batch.rule(chain, &[&parts.concat()[..], &decide].concat());
    };
    // First what everybody may, then what this one may.
    let everybody = [Expr::Number(0, Reg(4)), Expr::Priority(Reg(4))];
    allow(PORTS, &[&everybody, &by_identity]);
    allow(PORT_RANGES, &[&by_identity]);
    let load = Expr::Load { map: IDENTITIES, key: Reg(4), into: Reg(5) };
    let identify = [Expr::Of(peer, Reg(4)), load, Expr::Priority(Reg(5))];
    allow(PEERS, &[&identify, &[class, identity]]);
    allow(PORTS, &[&by_identity]);
    allow(PORT_RANGES, &[&by_identity]);
    allow(BLOCKS, &[&by_address]);
    batch.rule(chain, &[Expr::Verdict(Verdict::Drop)]);
}
