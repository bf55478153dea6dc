//! What must hold after every step. Each check looks at what one step changed, at the state before
//! it, and at who did it; none of them trusts what another part of the engine says of itself.

mod autoscaling;
mod certificates;
mod claims;
mod cron;
mod daemons;
mod durability;
mod guards;
mod identity;
mod jobs;
mod order;
mod owned;
mod places;
mod ready;
mod replicas;
pub(crate) mod rest;
mod rollout;
mod stands;
mod watches;

use std::sync::Arc;

use coracle_api::resources::EVENTS;
use coracle_api::{Key, Object, Timestamp};
use coracle_store::{Snapshot, Store, Watch};

pub(crate) use self::certificates::FITS;
pub(crate) use self::places::{is_unschedulable, none_waits_in_vain};
use crate::runtime::Runtime;

/// Who wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    User,
    Node,
    Controller(&'static str),
    /// Start of the engine, events: nothing that the checks judge.
    Engine,
}

/// One object before and after.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub key: Key,
    pub old: Option<Arc<Object>>,
    pub new: Option<Arc<Object>>,
}

impl Change {
    /// Whether this began a deletion, or carried one out at once.
    pub fn begins_deletion(&self) -> bool {
        let was = self.old.as_ref().is_some_and(|old| !old.metadata().is_deleting());
        was && self.new.as_ref().is_none_or(|new| new.metadata().is_deleting())
    }
}

/// All checks, and what they remember.
#[derive(Default)]
pub(crate) struct Checks {
    /// The newest state that anybody was shown.
    shown: Snapshot,
    /// Whose write may or may not be on the disk: it failed last.
    uncertain: Option<Actor>,
    watch: Option<Watch>,
    watches: watches::Watches,
    order: order::Order,
    claims: claims::Claims,
    rollout: rollout::Rollout,
    jobs: jobs::Jobs,
    cron: cron::Cron,
    autoscaling: autoscaling::Autoscaling,
    places: places::Places,
    /// How many pods their owner lost since it last decided, by no doing of its own.
    losses: owned::Losses,
    /// Writes of others than events.
    pub writes: u64,
}

impl Checks {
    /// All checks; `gentle` when nothing takes pods away but the controllers.
    pub fn new(gentle: bool) -> Self {
        Self { rollout: rollout::Rollout::new(gentle), ..Self::default() }
    }

    /// A controller decided on an object: it knows all that was written until then.
    pub fn planned(&mut self, controller: &str, key: &Key, now: Timestamp) {
        self.losses.remove(key);
        self.autoscaling.planned(controller, key, now);
        self.places.planned(controller, &self.shown);
    }

    /// After every step that may have written.
    pub fn after(&mut self, actor: &Actor, store: &Store, runtime: &Runtime) -> Result<(), String> {
        let now = store.snapshot();
        if now.revision() == self.shown.revision() {
            return Ok(());
        }
        let changes = match &mut self.watch {
            Some(watch) => self.watches.read(watch, &self.shown, &now)?,
            None => Vec::new(),
        };
        self.uncertain = None;
        self.judge(actor, now, &changes, runtime)
    }

    /// A write failed: whether it is on the disk is not known until the next one, or a restart.
    pub fn failed(&mut self, actor: &Actor) {
        self.uncertain = Some(actor.clone());
    }

    /// The store was opened, for the first time or again after a crash.
    pub fn opened(&mut self, store: &Store, runtime: &Runtime) -> Result<(), String> {
        let now = store.snapshot();
        let changes = durability::check(&self.shown, &now, self.uncertain.is_some())?;
        let actor = self.uncertain.take().unwrap_or(Actor::Engine);
        self.watches.begin(now.revision());
        self.autoscaling.restarted();
        self.watch = store.watch(now.revision()).ok();
        self.judge(&actor, now, &changes, runtime)
    }

    fn judge(
        &mut self,
        actor: &Actor,
        now: Snapshot,
        changes: &[Change],
        runtime: &Runtime,
    ) -> Result<(), String> {
        self.writes += changes.iter().filter(|it| *it.key.resource != *EVENTS).count() as u64;
        identity::removed(actor, changes, runtime)?;
        ready::check(changes, runtime)?;
        self.order.check(actor, &self.shown, changes)?;
        self.claims.check(actor, &self.shown, changes, runtime)?;
        let then = (&now, runtime.now);
        owned::note_losses(&mut self.losses, actor, &self.shown, changes);
        replicas::check(actor, &self.shown, changes, (&now, &self.losses))?;
        self.rollout.check(actor, &self.shown, changes, then)?;
        daemons::check(actor, &self.shown, changes, (then, &self.losses))?;
        self.jobs.check(actor, &self.shown, changes, &now)?;
        self.cron.check(actor, &self.shown, changes, then)?;
        self.autoscaling.check(actor, &self.shown, changes, runtime.now)?;
        self.places.check(actor, &self.shown, changes, &now)?;
        certificates::check(actor, changes, runtime.now)?;
        guards::check(&self.shown, changes, runtime)?;
        self.shown = now;
        Ok(())
    }

    /// After every step that may have changed what runs.
    pub fn running(&mut self, runtime: &Runtime) -> Result<(), String> {
        if let Some(wrong) = &runtime.overbooked {
            return Err(wrong.clone());
        }
        identity::check(runtime)
    }

    /// Whether a watch that resumes at some revision sees what it should.
    pub fn resume(&self, store: &Store, at: u64) -> Result<(), String> {
        self.watches.resume(store, at)
    }
}
