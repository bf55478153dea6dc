//! The world's clock: it stands still until it is told to move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use coracle_api::Timestamp;
use coracle_server::Source;
use jiff::SignedDuration;

use crate::machine::Machine;
use crate::outside::Seeded;
use crate::random::Random;

/// 2026-01-01T00:00:00Z.
const BEGINNING_SECONDS: i64 = 1_767_225_600;

/// Time and seeds; both go on when the engine restarts.
#[derive(Debug)]
pub(crate) struct Clock {
    milliseconds: AtomicI64,
    drawn: AtomicU64,
    seed: u64,
}

impl Clock {
    pub fn new(seed: u64) -> Self {
        let milliseconds = AtomicI64::new(BEGINNING_SECONDS * 1000);
        Self { milliseconds, drawn: AtomicU64::new(0), seed }
    }

    pub fn advance(&self, by: SignedDuration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(0).max(0);
        self.milliseconds.fetch_add(by, Ordering::Relaxed);
    }

    /// Jumps to `to`, rounded up to a millisecond; never back.
    pub fn jump(&self, to: Timestamp) {
        let rounded = to.as_nanosecond().div_euclid(1_000_000) + 1;
        let to = i64::try_from(rounded).unwrap_or(i64::MAX);
        self.milliseconds.fetch_max(to, Ordering::Relaxed);
    }

    /// Who answers what writes ask of the outside.
    pub fn outside(&self, machine: &Machine, lenient: bool) -> Arc<Seeded> {
        Arc::new(Seeded { seed: self.seed, machine: machine.clone(), lenient })
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> SignedDuration {
        let milliseconds = self.milliseconds.load(Ordering::Relaxed);
        SignedDuration::from_millis(milliseconds - BEGINNING_SECONDS * 1000)
    }
}

impl Source for Clock {
    fn now(&self) -> Timestamp {
        let milliseconds = self.milliseconds.load(Ordering::Relaxed);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }

    fn seed(&self) -> [u8; 32] {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut random = Random::new(self.seed ^ drawn.rotate_left(32));
        let mut seed = [0; 32];
        for chunk in seed.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random.number().to_le_bytes());
        }
        seed
    }
}
