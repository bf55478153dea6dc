//! What is said of a pod that finds no node, in upstream's words.

use std::collections::BTreeMap;

use super::nodes::Nodes;
use super::preemption::{Candidate, Futile, Objections};

/// What becomes of the node that is kept free for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nomination {
    Stays,
    Is(String),
    Ends,
}

/// Why a pod waits.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub message: String,
    pub nomination: Nomination,
}

impl Refusal {
    /// There are no nodes.
    pub fn no_nodes() -> Self {
        let message = "no nodes available to schedule pods".to_owned();
        Self { message, nomination: Nomination::Ends }
    }

    /// Something is wrong whatever the node.
    pub fn before_nodes(nodes: &Nodes, never: bool, why: &str) -> Self {
        let count = nodes.len();
        let (after, nomination) = match never {
            true => ("not eligible due to preemptionPolicy=Never.".to_owned(), Nomination::Stays),
            false => {
                let why = format!("{count} Preemption is not helpful for scheduling");
                (available(count, &why), Nomination::Ends)
            }
        };
        let message = format!("{} preemption: {after}", available(count, why));
        Self { message, nomination }
    }

    /// No node can take it, and no pod goes for it.
    pub fn futile(nodes: &Nodes, objections: &Objections<'_>, futile: Futile) -> Self {
        let (after, nomination) = match futile {
            Futile::NotEligible(why) => (why.to_owned(), Nomination::Stays),
            Futile::NoCandidate(reasons) => {
                (available(nodes.len(), &counted(&reasons)), Nomination::Ends)
            }
        };
        let before = available(nodes.len(), &counted(&tally(objections)));
        Self { message: format!("{before} preemption: {after}"), nomination }
    }

    /// No node can take it, and others go for it.
    pub fn preempting(nodes: &Nodes, objections: &Objections<'_>, candidate: &Candidate) -> Self {
        let message = available(nodes.len(), &counted(&tally(objections)));
        Self { message, nomination: Nomination::Is(candidate.node.clone()) }
    }
}

fn available(nodes: usize, why: &str) -> String {
    format!("0/{nodes} nodes are available: {why}.")
}

fn tally(objections: &Objections<'_>) -> BTreeMap<String, usize> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for reason in objections.values().flat_map(|objection| &objection.reasons) {
        let count = reasons.entry(reason.clone()).or_default();
        *count = count.saturating_add(1);
    }
    reasons
}

fn counted(reasons: &BTreeMap<String, usize>) -> String {
    let mut said: Vec<_> =
        reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    said.sort();
    said.join(", ")
}
