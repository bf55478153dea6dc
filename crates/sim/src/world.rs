//! The world: a machine with a disk and containers, an engine on it, users, and faults.

use std::sync::Arc;

use coracle_api::Timestamp;
use coracle_server::Source;
use coracle_store::{Failure as DiskFailure, FaultyDisk, Store};
use jiff::SignedDuration;

use crate::Options;
use crate::bugs::Bug;
use crate::checks::{Actor, Checks, rest};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::node::{Hands, Node};
use crate::random::Random;
use crate::runtime::Runtime;
use crate::trace::Trace;
use crate::users::Users;

/// Within this time, once nothing fails any more, everything is where it should be.
const SETTLES_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// So long nothing is written then.
const RESTS_FOR: SignedDuration = SignedDuration::from_secs(45);
/// Steps after which a world that does not settle is given up.
const SETTLING_STEPS_MAX: u64 = 60_000;
/// Operations of the disk within which an armed fault strikes.
const STRIKES_WITHIN: u64 = 12;

/// What may happen next.
#[derive(Clone, Debug)]
enum Turn {
    Start,
    Decide,
    Commit(usize),
    Events,
    Follow(usize),
    Worker(usize, String),
    Runtime,
}

/// A world.
pub(crate) struct World {
    options: Options,
    random: Random,
    clock: Arc<Clock>,
    disk: FaultyDisk,
    /// The disk operation from which on the disk fails, and how.
    fault: Option<(u64, DiskFailure)>,
    /// When the fault is over.
    heals_at: Timestamp,
    engine: Option<Engine>,
    starts_at: Timestamp,
    runtime: Runtime,
    users: Users,
    checks: Checks,
    pub trace: Trace,
    /// Nodes' writes are refused until then.
    refused_until: Timestamp,
    chaos: bool,
    /// Whether events are written, and how many nodes there are.
    tells: bool,
    told_at: u64,
    nodes: usize,
    /// Whether commits take long.
    slow: bool,
    pub crashes: u64,
}

impl World {
    pub fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed);
        let clock = Arc::new(Clock::new(random.number()));
        let disk = FaultyDisk::new(random.number());
        disk.skip_sync(options.bug == Some(Bug::FlushSkipped));
        let now = clock.now();
        let nodes = 1 + random.index(2);
        Self {
            options: options.clone(),
            clock,
            disk,
            fault: None,
            heals_at: now,
            engine: None,
            starts_at: now,
            runtime: Runtime::default(),
            users: Users::new(nodes == 1),
            checks: Checks::default(),
            trace: Trace::new(options.loud),
            refused_until: now,
            chaos: true,
            tells: random.one_in(4),
            told_at: 0,
            nodes,
            slow: random.one_in(2),
            crashes: 0,
            random,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn elapsed(&self) -> SignedDuration {
        self.clock.elapsed()
    }

    pub fn writes(&self) -> u64 {
        self.checks.writes
    }

    fn say(&mut self, what: impl std::fmt::Display) {
        self.trace.say(self.clock.now(), what);
    }

    /// Users and faults at random moments, for as many steps as the options say.
    pub fn rage(&mut self) -> Result<(), String> {
        for _ in 0..self.options.steps {
            let idle = self.turns().is_empty();
            let worst = self.engine.as_ref().is_some_and(|engine| engine.plans() > 0);
            let rarely = if worst { 15 } else { 50 };
            if self.random.one_in(rarely) || (idle && self.random.one_in(2)) {
                self.user()?;
            } else if self.random.one_in(60) {
                self.strike()?;
            } else {
                self.step()?;
            }
        }
        Ok(())
    }

    /// Nothing fails any more, users mend what only they can mend: everything reaches its place,
    /// and then rests.
    pub fn settle(&mut self) -> Result<(), String> {
        self.calm()?;
        let deadline = self.now() + SETTLES_WITHIN;
        let mut since = None;
        let mut last = self.checks.writes;
        for _ in 0..SETTLING_STEPS_MAX {
            self.step()?;
            if self.checks.writes != last {
                (last, since) = (self.checks.writes, None);
            }
            let quiet_since = *since.get_or_insert(self.now());
            let wrong = match self.now() > quiet_since + RESTS_FOR {
                true => self.wrong(),
                false => continue,
            };
            match wrong {
                None => return Ok(()),
                Some(wrong) if self.now() > deadline => return Err(self.stuck(&wrong)),
                // Something waits for longer than that.
                Some(_) => since = None,
            }
        }
        let wrong = self.wrong().unwrap_or_else(|| "it never rests".to_owned());
        Err(self.stuck(&wrong))
    }

    /// What is wrong, and what everybody says that they wait for.
    fn stuck(&self, wrong: &str) -> String {
        let reasons = self.engine.as_ref().map(Engine::reasons).unwrap_or_default();
        format!("stuck: {wrong}; {}", reasons.join("; "))
    }

    fn wrong(&self) -> Option<String> {
        match &self.engine {
            Some(engine) => rest::check(&engine.api.snapshot(), &self.runtime).err(),
            None => Some("the engine is down".to_owned()),
        }
    }

    fn calm(&mut self) -> Result<(), String> {
        self.chaos = false;
        self.fault = None;
        self.disk.heal();
        self.refused_until = self.now();
        self.starts_at = self.now();
        self.runtime.calm();
        self.say("all faults are over");
        while self.engine.is_none() {
            self.step()?;
        }
        if let Some(engine) = &self.engine {
            self.users.mend(&engine.api, &mut self.random);
        }
        self.written(&Actor::User)
    }

    /// One step of whoever can do one; when nobody can, time passes.
    fn step(&mut self) -> Result<(), String> {
        let turns = self.turns();
        if turns.is_empty() {
            self.pass_time();
            return Ok(());
        }
        let turn = turns[self.random.index(turns.len())].clone();
        self.clock.advance(self.random.within(8));
        self.take(turn)
    }

    fn turns(&self) -> Vec<Turn> {
        let now = self.now();
        let mut turns = Vec::new();
        if self.runtime.next_time().is_some_and(|at| at <= now) {
            turns.push(Turn::Runtime);
        }
        let Some(engine) = &self.engine else {
            if self.starts_at <= now {
                turns.push(Turn::Start);
            }
            return turns;
        };
        if engine.may_decide(now) {
            turns.push(Turn::Decide);
        }
        for (index, node) in engine.nodes.iter().enumerate() {
            if node.is_behind(&engine.api, now) {
                turns.push(Turn::Follow(index));
            }
            let runnable = node.workers.iter().filter(|(_, worker)| worker.is_runnable(now));
            turns.extend(runnable.map(|(uid, _)| Turn::Worker(index, uid.clone())));
        }
        if self.tells && self.trace.steps() >= self.told_at + 16 {
            turns.push(Turn::Events);
        }
        // On a slow disk much may happen between a decision and its commit.
        if !(self.slow && self.chaos) || turns.is_empty() || self.trace.hash().is_multiple_of(4) {
            turns.extend((0..engine.plans()).map(Turn::Commit));
        }
        turns
    }

    /// Jumps to whatever happens next.
    fn pass_time(&mut self) {
        let engine = self.engine.iter();
        let nodes = engine.clone().flat_map(|it| &it.nodes);
        let fault = self.fault.map(|_| self.heals_at);
        let start = self.engine.is_none().then_some(self.starts_at);
        let next = nodes
            .filter_map(Node::next_time)
            .chain(engine.filter_map(Engine::next_timer))
            .chain(self.runtime.next_time())
            .chain(fault)
            .chain(start)
            .min();
        // Where nobody waits for anything, a minute is as good as any time.
        let minute = self.now() + SignedDuration::from_mins(1);
        self.clock.jump(next.map_or(minute, |next| next.min(minute)));
        if self.fault.is_some() && self.heals_at <= self.now() {
            self.fault = None;
            self.disk.heal();
            self.say("the disk works again");
        }
    }

    fn take(&mut self, turn: Turn) -> Result<(), String> {
        let now = self.now();
        match turn {
            Turn::Start => return self.start(),
            Turn::Runtime => return self.containers(),
            Turn::Follow(_) | Turn::Worker(..) => return self.node(turn),
            Turn::Decide => {
                if let Some(said) = self.engine.as_mut().and_then(|engine| engine.decide(now)) {
                    self.say(said);
                }
            }
            Turn::Commit(index) => {
                let Some(engine) = &mut self.engine else { return Ok(()) };
                let (name, said) = engine.commit(index, now);
                self.say(said);
                return self.written(&Actor::Controller(name));
            }
            Turn::Events => {
                self.told_at = self.trace.steps();
                if let Some(engine) = &self.engine {
                    engine.flush_events();
                }
                return self.written(&Actor::Engine);
            }
        }
        Ok(())
    }

    fn node(&mut self, turn: Turn) -> Result<(), String> {
        let now = self.now();
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let mut hands = Hands {
            api: &engine.api,
            events: &engine.events,
            runtime: &mut self.runtime,
            random: &mut self.random,
            now,
            chaos: self.chaos,
            refused: self.refused_until > now,
            object_first: self.options.bug == Some(Bug::ObjectFirst),
            side_by_side: self.options.bug == Some(Bug::SideBySide),
            said: Vec::new(),
        };
        match &turn {
            Turn::Follow(index) => engine.nodes[*index].follow(&mut hands),
            Turn::Worker(index, uid) => engine.nodes[*index].turn(uid, &mut hands),
            _ => {}
        }
        for said in hands.said {
            self.trace.say(now, said);
        }
        self.written(&Actor::Node)?;
        self.checks.running(&self.runtime)
    }

    fn containers(&mut self) -> Result<(), String> {
        let now = self.now();
        for happened in self.runtime.pass(now) {
            self.trace.say(now, format_args!("{happened:?}"));
            for node in self.engine.iter_mut().flat_map(|engine| &mut engine.nodes) {
                node.hear(&happened);
            }
        }
        Ok(())
    }

    fn user(&mut self) -> Result<(), String> {
        let Some(engine) = &self.engine else { return self.step() };
        self.users.act(&engine.api, &mut self.random);
        self.written(&Actor::User)
    }

    /// Somebody may have written: everything is checked, and an armed crash comes true.
    fn written(&mut self, actor: &Actor) -> Result<(), String> {
        let now = self.now();
        for said in std::mem::take(&mut self.users.said) {
            self.trace.say(now, format_args!("user {said}"));
        }
        let Some(engine) = &self.engine else { return Ok(()) };
        self.checks.after(actor, engine.api.store(), &self.runtime)?;
        match self.fault {
            Some((from, failure)) if self.disk.operations() > from => {
                self.checks.failed(actor);
                if failure == DiskFailure::PowerLoss {
                    let power = self.random.one_in(2);
                    self.crash(power);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Some fault.
    fn strike(&mut self) -> Result<(), String> {
        if self.engine.is_none() {
            return self.step();
        }
        match self.random.below(10) {
            0 => self.crash(true),
            1 => self.crash(false),
            2 | 3 => self.arm(DiskFailure::PowerLoss),
            4 => self.arm(DiskFailure::Io),
            5 => self.arm(DiskFailure::Full),
            6 => {
                self.refused_until = self.now() + self.random.within(20_000);
                self.say("the API refuses what nodes write");
            }
            7 => self.kill_shim(),
            8 => self.kill_container(),
            _ => return self.compact(),
        }
        Ok(())
    }

    fn arm(&mut self, failure: DiskFailure) {
        if self.fault.is_some() {
            return;
        }
        let after = self.random.below(STRIKES_WITHIN);
        self.disk.fail_after(after, failure);
        self.fault = Some((self.disk.operations() + after, failure));
        self.heals_at = self.now() + self.random.within(15_000);
        self.say(format_args!("the disk will fail after {after} operations: {failure:?}"));
    }

    fn kill_shim(&mut self) {
        let uids: Vec<_> = self.runtime.sandboxes.keys().cloned().collect();
        if uids.is_empty() {
            return;
        }
        let uid = self.random.pick(&uids).clone();
        let Some(happened) = self.runtime.lose(&uid, self.now()) else { return };
        self.say(format_args!("the shim of {uid} is killed"));
        for node in self.engine.iter_mut().flat_map(|engine| &mut engine.nodes) {
            node.hear(&happened);
        }
    }

    fn kill_container(&mut self) {
        let now = self.now();
        let running = self.runtime.sandboxes.iter().flat_map(|(uid, sandbox)| {
            let names = sandbox.containers.iter().filter(|(_, it)| it.exit.is_none());
            names.map(|(name, it)| (uid.clone(), name.clone(), it.id.clone()))
        });
        let running: Vec<_> = running.collect();
        if running.is_empty() {
            return;
        }
        let (uid, name, id) = self.random.pick(&running).clone();
        self.runtime.kill(&uid, &name, &id, now);
        self.say(format_args!("container {id} is killed"));
    }

    /// The watch log forgets; watches that resume see the same.
    fn compact(&mut self) -> Result<(), String> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let store = engine.api.store().clone();
        let newest = store.snapshot().revision();
        let at = newest - self.random.below(newest.min(40) + 1);
        self.checks.resume(&store, at)?;
        store.compact(at);
        self.say(format_args!("the watch log forgets up to {at}"));
        Ok(())
    }

    /// The engine is gone from one moment to the next, and the machine with it if `power` fails.
    fn crash(&mut self, power: bool) {
        let now = self.now();
        if !matches!(self.fault, Some((_, DiskFailure::PowerLoss))) {
            self.disk.fail_after(0, DiskFailure::PowerLoss);
        }
        if let Some(mut engine) = self.engine.take() {
            let Engine { api, nodes, events, .. } = &mut engine;
            let mut hands = Hands {
                api,
                events,
                runtime: &mut self.runtime,
                random: &mut self.random,
                now,
                chaos: self.chaos,
                refused: true,
                object_first: false,
                side_by_side: false,
                said: Vec::new(),
            };
            for worker in nodes.iter_mut().flat_map(|node| node.workers.values_mut()) {
                worker.interrupted(&mut hands);
            }
        }
        match power {
            true => {
                self.runtime.sandboxes.clear();
                self.disk.power_on();
            }
            false => self.disk.restart(),
        }
        self.fault = None;
        self.crashes += 1;
        self.starts_at = now + self.random.within(5000);
        self.say(if power { "the power fails" } else { "the engine is killed" });
    }

    fn start(&mut self) -> Result<(), String> {
        let store = Store::open_on(self.disk.clone()).map_err(|error| error.to_string())?;
        self.checks.opened(&store, &self.runtime)?;
        let revision = store.snapshot().revision();
        self.say(format_args!("the engine starts at revision {revision}"));
        let engine = Engine::start(store, &self.clock, self.nodes, self.options.bug);
        self.engine =
            Some(engine.map_err(|status| format!("the engine does not start: {status}"))?);
        self.written(&Actor::Engine)
    }
}
