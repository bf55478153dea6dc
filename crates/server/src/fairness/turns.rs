//! Who may compute: a few requests at once, whose turn comes by what their level, and in it their
//! flow, has cost so far. Who waits for something else, the disk or a webhook, is not among them.

use std::collections::BTreeMap;

use super::queue::FairQueue;
use super::{Name, Ticket};

/// Who computes, and who wants to.
pub(crate) struct Turns {
    /// How many compute at once.
    max: usize,
    computing: usize,
    levels: FairQueue<Name, ()>,
    flows: BTreeMap<Name, FairQueue<u64, Ticket>>,
}

impl Turns {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, computing: 0, levels: FairQueue::default(), flows: BTreeMap::new() }
    }

    /// A request of the flow wants a turn.
    pub(crate) fn ask(&mut self, level: &Name, flow: u64, ticket: Ticket) {
        self.levels.push(Name::clone(level), ());
        match self.flows.get_mut(level) {
            Some(flows) => flows.push(flow, ticket),
            None => self.flows.entry(Name::clone(level)).or_default().push(flow, ticket),
        }
    }

    /// Who has a turn now that had none.
    pub(crate) fn next(&mut self) -> Option<Ticket> {
        if self.computing >= self.max {
            return None;
        }
        let (level, ()) = self.levels.pop()?;
        let (_, ticket) = self.flows.get_mut(&level)?.pop()?;
        self.computing += 1;
        Some(ticket)
    }

    /// A turn is over, and took so many nanoseconds.
    pub(crate) fn done(&mut self, level: &Name, flow: u64, cost: u64) {
        self.computing = self.computing.saturating_sub(1);
        self.levels.done(level, cost);
        if let Some(flows) = self.flows.get_mut(level) {
            flows.done(&flow, cost);
        }
    }

    /// A request that waits for a turn does so no more.
    pub(crate) fn give_up(&mut self, level: &Name, flow: u64, ticket: Ticket) {
        let flows = self.flows.get_mut(level);
        if flows.is_some_and(|flows| flows.remove(&flow, |own| *own == ticket)) {
            self.levels.remove(level, |()| true);
        }
    }

    /// Forgets a level that is gone.
    pub(crate) fn forget(&mut self, level: &Name) {
        self.flows.remove(level);
    }

    /// How many compute, and how many want to.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.computing, self.levels.waiting())
    }
}
