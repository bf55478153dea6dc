//! A seeded world: the real store, API with admission, driver, decisions and pods' workers, under
//! faults, with checks after every step.
//!
//! One seed is one history: all chance comes from it, the clock moves only when nobody can do
//! anything, and nothing runs beside anything else. [`run`] lets users and faults do what they like
//! for a number of steps; then nothing fails any more, users mend what only they can mend, and
//! everything must reach its place within an hour of the world's time, and rest.
//!
//! What is real: the store on a [`coracle_store::FaultyDisk`], the pipeline of requests, the loop
//! that drives the controllers (plans of different controllers are carried out in any order, and
//! anything may happen between a decision and its commit), and the workers of pods, whose effects
//! are carried out one at a time, over simulated `Containers` and `Kernel`: between any two of them
//! the engine may be killed. What is not: images, volumes' data and what containers do.

mod bugs;
mod cast;
mod checks;
mod client;
mod clock;
mod engine;
mod hands;
mod machine;
mod node;
mod outside;
mod pod;
mod random;
mod ready;
mod runtime;
mod trace;
mod users;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::SignedDuration;

pub use bugs::Bug;
pub use cast::Cast;
use world::World;

/// How a run goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps of users and faults, before everything must settle.
    pub steps: u64,
    /// A bug to plant: in a world whose users work with what it is in.
    pub bug: Option<Bug>,
    /// What users work with; by chance when absent.
    pub cast: Option<Cast>,
    /// Whether every line of the history goes to stderr.
    pub loud: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 1000, bug: None, cast: None, loud: false }
    }
}

/// What a run was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Of the whole history: the same for the same seed.
    pub hash: u64,
    /// Lines of the history.
    pub steps: u64,
    /// Objects written, events apart.
    pub writes: u64,
    /// How often the power failed or the engine was killed.
    pub crashes: u64,
    /// How long it took, by the world's clock.
    pub elapsed: SignedDuration,
}

/// Something that must hold does not.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Failure {
    /// Run it again with this.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// The last lines of the history.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

/// One world, from its beginning to its rest.
///
/// # Errors
/// What does not hold, with the seed and the last steps; a panic of what is tested, too.
pub fn run(seed: u64, options: &Options) -> Result<Summary, Box<Failure>> {
    let mut world = World::new(seed, options);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        world.rage()?;
        world.settle()
    }));
    let what = match outcome {
        Ok(Ok(())) => {
            return Ok(Summary {
                hash: world.trace.hash(),
                steps: world.trace.steps(),
                writes: world.writes(),
                crashes: world.crashes,
                elapsed: world.elapsed(),
            });
        }
        Ok(Err(what)) => what,
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(message) => format!("a panic: {message}"),
            None => format!("a panic: {:?}", panic.downcast_ref::<&str>()),
        },
    };
    Err(Box::new(Failure { seed, what, last: world.trace.last() }))
}
