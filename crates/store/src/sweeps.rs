//! When the committer looks at every version for what was made of it: soon after much was written, and
//! seldom while the cluster rests, for it looks at all there is to find a lease or two.

use std::time::Duration;

/// How long after a write, when there is something to be found.
const SOON: Duration = Duration::from_secs(10);

/// How long after a write when nothing but a few objects is written again and again.
const AT_REST: Duration = Duration::from_secs(300);

/// A sweep is worth its work when it finds one version in so many.
const WORTH: usize = 100;

/// The next sweep, and what it may find.
#[derive(Debug)]
pub(crate) struct Sweeps {
    /// `None` when nothing was written since the last.
    due: Option<Duration>,
    /// Versions that were written since the last.
    written: usize,
    /// How long a write waits that is not worth a sweep by itself.
    pause: Duration,
}

impl Sweeps {
    /// The first one drops what the start has made.
    pub(crate) fn new() -> Self {
        Self { due: Some(SOON), written: 0, pause: SOON }
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// So many of the store's `objects` were written.
    pub(crate) fn written(&mut self, count: usize, objects: usize, now: Duration) {
        self.written = self.written.saturating_add(count);
        let soon = is_worth(self.written, objects).then_some(SOON);
        let due = now.saturating_add(soon.unwrap_or(self.pause));
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// A sweep has found so many of the store's `objects`.
    pub(crate) fn swept(&mut self, found: usize, objects: usize) {
        let pause = if is_worth(found, objects) { SOON } else { AT_REST };
        *self = Self { due: None, written: 0, pause };
    }
}

fn is_worth(count: usize, objects: usize) -> bool {
    count.saturating_mul(WORTH) >= objects
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_cluster_at_rest_is_swept_seldom() {
        let mut sweeps = Sweeps::new();
        assert!(sweeps.is_due(at(10)));
        sweeps.swept(1, 10_000);
        assert_eq!(sweeps.due(), None);
        for second in [20, 30, 40] {
            sweeps.written(1, 10_000, at(second));
        }
        assert_eq!(sweeps.due(), Some(at(320)));
    }

    #[test]
    fn what_much_was_written_is_swept_for_soon() {
        let mut sweeps = Sweeps::new();
        sweeps.swept(1, 10_000);
        sweeps.written(1, 10_000, at(20));
        sweeps.written(99, 10_000, at(30));
        assert_eq!(sweeps.due(), Some(at(40)));
        sweeps.written(1000, 10_000, at(35));
        assert_eq!(sweeps.due(), Some(at(40)));
    }

    #[test]
    fn what_readers_have_made_is_swept_for_again_soon() {
        let mut sweeps = Sweeps::new();
        sweeps.swept(5_000, 10_000);
        sweeps.written(1, 10_000, at(20));
        assert_eq!(sweeps.due(), Some(at(30)));
    }
}
