//! Who is to be asked next: each key of each controller at most once, in the order of asking.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use coracle_api::{Key, Timestamp};
use jiff::SignedDuration;

/// The first wait after a failure; each further one doubles it.
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_millis(5);
/// The longest wait after a failure.
const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(1000);

/// One question: a row of the table of controllers, and a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job {
    /// Index in the table.
    pub controller: usize,
    /// What to decide on.
    pub key: Key,
}

/// What waits to be asked, now or at a time.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// In order, per controller.
    ready: Vec<VecDeque<Key>>,
    queued: HashSet<Job>,
    /// Decisions that are under way, and those of them that are to be asked again after it.
    busy: HashSet<Job>,
    again: HashSet<Job>,
    /// How many may be under way, and are, per controller.
    lanes: Vec<Lanes>,
    timers: BTreeSet<(Timestamp, Job)>,
    due: HashMap<Job, Timestamp>,
    failures: HashMap<Job, u32>,
    /// Where the search for the next job starts, so that every controller gets its turn.
    turn: usize,
}

impl Queue {
    /// A queue for controllers of which so many decisions may be under way at once.
    pub fn new(lanes: impl IntoIterator<Item = usize>) -> Self {
        let lanes: Vec<_> = lanes.into_iter().map(|most| Lanes { most, taken: 0 }).collect();
        Self { ready: vec![VecDeque::new(); lanes.len()], lanes, ..Self::default() }
    }

    /// Asks at the next opportunity: after the decision that is under way, if there is one.
    pub fn push(&mut self, job: Job) {
        if self.busy.contains(&job) {
            self.again.insert(job);
        } else if self.queued.insert(job.clone()) {
            self.ready[job.controller].push_back(job.key);
        }
    }

    /// Asks at `when`, unless an earlier time is set.
    pub fn push_at(&mut self, job: Job, when: Timestamp) {
        if self.due.get(&job).is_some_and(|earlier| *earlier <= when) {
            return;
        }
        self.forget_timer(&job);
        self.due.insert(job.clone(), when);
        self.timers.insert((when, job));
    }

    fn forget_timer(&mut self, job: &Job) {
        if let Some(when) = self.due.remove(job) {
            self.timers.remove(&(when, job.clone()));
        }
    }

    /// Asks again after a wait that doubles with every failure.
    pub fn push_failed(&mut self, job: Job, now: Timestamp) {
        let failures = self.failures.entry(job.clone()).or_default();
        let wait = backoff(*failures);
        *failures = failures.saturating_add(1);
        // Past the end of time there is nothing to wait for.
        self.push_at(job, now.checked_add(wait).unwrap_or(Timestamp::MAX));
    }

    pub fn succeeded(&mut self, job: &Job) {
        self.failures.remove(job);
    }

    /// The next job at `now`, of a controller that has room for one; it stays under way until
    /// [`Queue::finished`].
    pub fn take(&mut self, now: Timestamp) -> Option<Job> {
        while self.timers.first().is_some_and(|(when, _)| *when <= now) {
            let (_, job) = self.timers.pop_first()?;
            self.due.remove(&job);
            self.push(job);
        }
        let count = self.ready.len();
        let free = |n: &usize| self.lanes[*n].is_open() && !self.ready[*n].is_empty();
        let controller = (0..count).map(|n| (self.turn + n) % count).find(free)?;
        let key = self.ready[controller].pop_front()?;
        self.turn = controller + 1;
        let job = Job { controller, key };
        self.queued.remove(&job);
        self.busy.insert(job.clone());
        self.lanes[controller].taken += 1;
        Some(job)
    }

    pub fn finished(&mut self, job: &Job) {
        if self.busy.remove(job) {
            self.lanes[job.controller].taken -= 1;
        }
        if self.again.remove(job) {
            self.push(job.clone());
        }
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(when, _)| *when)
    }

    /// Whether nothing is queued or under way; timers may be set.
    pub fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.busy.is_empty()
    }
}

/// How many decisions of a controller are under way.
#[derive(Debug)]
struct Lanes {
    most: usize,
    taken: usize,
}

impl Lanes {
    fn is_open(&self) -> bool {
        self.taken < self.most
    }
}

fn backoff(failures: u32) -> SignedDuration {
    let doubled = 2_i32.checked_pow(failures).and_then(|n| BACKOFF_FIRST.checked_mul(n));
    doubled.unwrap_or(BACKOFF_MAX).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(controller: usize, name: &str) -> Job {
        Job { controller, key: Key::new("things", "default", name) }
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn a_key_waits_once_however_often_it_is_pushed() {
        let mut queue = Queue::new([2]);
        for name in ["a", "b", "a", "c"] {
            queue.push(job(0, name));
        }
        let (first, second) = (queue.take(at(0)).unwrap(), queue.take(at(0)).unwrap());
        assert_eq!((&first, &second), (&job(0, "a"), &job(0, "b")));
        assert_eq!(queue.take(at(0)), None, "two at a time");
        queue.push(first.clone());
        queue.finished(&second);
        assert_eq!(queue.take(at(0)).unwrap(), job(0, "c"));
        queue.finished(&job(0, "c"));
        assert_eq!(queue.take(at(0)), None, "a key is never under way twice");
        assert!(!queue.is_idle());
        queue.finished(&first);
        assert_eq!(queue.take(at(0)).unwrap(), first, "and what is new is not forgotten");
    }

    #[test]
    fn controllers_take_turns() {
        let mut queue = Queue::new([1, 1]);
        for name in ["a", "b"] {
            queue.push(job(0, name));
            queue.push(job(1, name));
        }
        let order: Vec<_> = (0..4)
            .map(|_| {
                let job = queue.take(at(0)).unwrap();
                queue.finished(&job);
                job.controller
            })
            .collect();
        assert_eq!(order, [0, 1, 0, 1]);
        assert!(queue.is_idle());
    }

    #[test]
    fn failures_wait_longer_each_time_and_no_longer_than_a_limit() {
        let mut queue = Queue::new([1]);
        let mut now = at(0);
        for wait in [5, 10, 20, 40] {
            queue.push_failed(job(0, "a"), now);
            let due = queue.next_timer().unwrap();
            assert_eq!(due.as_millisecond() - now.as_millisecond(), wait);
            now = due;
            let job = queue.take(now).unwrap();
            queue.finished(&job);
        }
        assert_eq!(backoff(40), BACKOFF_MAX);
        queue.succeeded(&job(0, "a"));
        queue.push_failed(job(0, "a"), now);
        assert_eq!(queue.next_timer().unwrap().as_millisecond() - now.as_millisecond(), 5);
    }

    #[test]
    fn the_earlier_of_two_times_counts() {
        let mut queue = Queue::new([1]);
        queue.push_at(job(0, "a"), at(20));
        queue.push_at(job(0, "a"), at(10));
        queue.push_at(job(0, "a"), at(30));
        assert_eq!(queue.next_timer(), Some(at(10)));
        assert!(queue.take(at(9)).is_none());
        assert!(queue.take(at(10)).is_some());
        assert_eq!(queue.next_timer(), None);
    }
}
