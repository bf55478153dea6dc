//! Queues that are served in turn, by what the work of each has cost so far: start-time fair queuing
//! (Goyal, Vin and Cheng, 1996). A queue's next turn begins, in virtual time, where its last one
//! ended, or now if it was idle; the queue whose turn begins first is served.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What work is taken to cost until it is known, in nanoseconds: upstream's guess.
const GUESS: u64 = 3_000_000;

/// Queues of `T`, by `K`. Those that are idle take no room.
pub(crate) struct FairQueue<K, T> {
    queues: BTreeMap<K, Queue<T>>,
    /// Queues in which something waits, by where their next turn begins.
    next: BTreeSet<(u64, K)>,
    /// Where the last turn began.
    now: u64,
    waiting: usize,
}

struct Queue<T> {
    waiting: VecDeque<T>,
    running: usize,
    start: u64,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), next: BTreeSet::new(), now: 0, waiting: 0 }
    }
}

impl<K: Ord + Clone, T> FairQueue<K, T> {
    /// Puts `item` at the end of the queue `key`.
    pub(crate) fn push(&mut self, key: K, item: T) {
        let idle = Queue { waiting: VecDeque::new(), running: 0, start: self.now };
        let queue = self.queues.entry(key.clone()).or_insert(idle);
        if queue.waiting.is_empty() {
            queue.start = queue.start.max(self.now);
            self.next.insert((queue.start, key));
        }
        queue.waiting.push_back(item);
        self.waiting += 1;
    }

    /// Takes what is served next; [`FairQueue::done`] says later what it has cost.
    pub(crate) fn pop(&mut self) -> Option<(K, T)> {
        let (start, key) = self.next.pop_first()?;
        let queue = self.queues.get_mut(&key)?;
        let item = queue.waiting.pop_front()?;
        self.waiting -= 1;
        self.now = self.now.max(start);
        queue.running += 1;
        queue.start = start.saturating_add(GUESS);
        if !queue.waiting.is_empty() {
            self.next.insert((queue.start, key.clone()));
        }
        Some((key, item))
    }

    /// Something that was taken from the queue `key` is over, and has cost so many nanoseconds.
    pub(crate) fn done(&mut self, key: &K, cost: u64) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.running = queue.running.saturating_sub(1);
        let start = queue.start.saturating_add(cost).saturating_sub(GUESS);
        if queue.waiting.is_empty() {
            queue.start = start;
        } else {
            self.next.remove(&(queue.start, key.clone()));
            queue.start = start;
            self.next.insert((start, key.clone()));
        }
        self.forget_idle(key);
    }

    /// Takes something out of the queue `key` that has not been served; says whether it was there.
    pub(crate) fn remove(&mut self, key: &K, is_it: impl Fn(&T) -> bool) -> bool {
        let Some(queue) = self.queues.get_mut(key) else { return false };
        let Some(at) = queue.waiting.iter().position(is_it) else { return false };
        queue.waiting.remove(at);
        self.waiting -= 1;
        if queue.waiting.is_empty() {
            self.next.remove(&(queue.start, key.clone()));
            self.forget_idle(key);
        }
        true
    }

    fn forget_idle(&mut self, key: &K) {
        if self.queues.get(key).is_some_and(|queue| queue.waiting.is_empty() && queue.running == 0)
        {
            self.queues.remove(key);
        }
    }

    /// How many wait in the queue `key`.
    pub(crate) fn waiting_in(&self, key: &K) -> usize {
        self.queues.get(key).map_or(0, |queue| queue.waiting.len())
    }

    /// How many wait in all queues.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The queues that are not idle: how many wait and run of each, and where its next turn begins.
    pub(crate) fn busy(&self) -> impl Iterator<Item = (&K, usize, usize, u64)> {
        self.queues.iter().map(|(key, it)| (key, it.waiting.len(), it.running, it.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_served_by_what_it_has_cost() {
        let mut queues = FairQueue::default();
        for item in 0..40 {
            queues.push("dear", item);
            queues.push("cheap", item);
        }
        let mut served = BTreeMap::<&str, usize>::new();
        for _ in 0..44 {
            let (key, _) = queues.pop().unwrap();
            *served.entry(key).or_default() += 1;
            queues.done(&key, if key == "dear" { 10_000_000 } else { 1_000_000 });
        }
        assert_eq!(served["dear"], 4, "{served:?}");
    }

    #[test]
    fn who_was_idle_has_saved_nothing_and_owes_nothing() {
        let mut queues = FairQueue::default();
        for item in 0..100 {
            queues.push("noisy", item);
        }
        for _ in 0..50 {
            queues.pop().unwrap();
            queues.done(&"noisy", 5_000_000);
        }
        queues.push("quiet", 0);
        queues.push("quiet", 1);
        let keys: Vec<_> = (0..4).map(|_| queues.pop().unwrap().0).collect();
        assert!(keys.contains(&"noisy") && keys[..2].contains(&"quiet"), "{keys:?}");
        assert_eq!(queues.waiting(), 48);
    }

    #[test]
    fn what_is_taken_out_is_not_served() {
        let mut queues = FairQueue::default();
        queues.push(1, 'a');
        assert!(queues.remove(&1, |item| *item == 'a') && !queues.remove(&1, |_| true));
        assert!(queues.pop().is_none() && queues.busy().count() == 0);
    }
}
