//! What a node works with for one of its pods.

use coracle_api::Timestamp;
use coracle_driver::EventRecorder;
use coracle_node::ledger::{Ledger, Room};
use coracle_node::templates::Templates;
use coracle_node::worker::Message;
use coracle_server::Api;

use crate::machine::Machine;
use crate::random::Random;

/// What a node works with.
pub(crate) struct Hands<'a> {
    pub api: &'a Api,
    pub events: &'a EventRecorder,
    pub machine: Machine,
    pub templates: &'a mut Templates,
    pub ledger: &'a mut Ledger,
    /// What other pods are told, by their UIDs.
    pub letters: Vec<(String, Message)>,
    pub random: &'a mut Random,
    pub node: usize,
    pub now: Timestamp,
    /// The node's own, which may be ahead or behind.
    pub clock: Timestamp,
    /// The API refuses what nodes write.
    pub refused: bool,
    /// A planted bug: the object goes before its containers.
    pub object_first: bool,
    /// A planted bug: whatever is asked for is promised.
    pub promises_all: bool,
    /// For the trace.
    pub said: Vec<String>,
}

/// The name of the `index`-th node.
pub(crate) fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// What a node has and what its pods ask for.
pub(crate) fn room(api: &Api, node: usize) -> Room {
    Room::of(&api.snapshot(), &node_name(node), |_| true)
}
