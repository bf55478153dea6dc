//! The world: a machine with a disk and containers, an engine on it, users, and faults.

mod faults;

use std::sync::Arc;

use coracle_api::{Gate, Gates, Timestamp};
use coracle_server::Source;
use coracle_store::{Failure as DiskFailure, FaultyDisk, Store};
use jiff::SignedDuration;

use crate::Options;
use crate::bugs::{self, Bug};
use crate::cast::Cast;
use crate::checks::{Actor, Checks, none_waits_in_vain, rest};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::machine::Machine;
use crate::node::{Node, Surroundings};
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

/// Milliseconds that pass at once where time hurries.
const HURRIES_MOST: u64 = 10_000;

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
    machine: Machine,
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
    /// What is switched on.
    gates: Gates,
    /// Whether commits take long.
    slow: bool,
    /// Whether much of what happens comes with time, and time passes also while somebody has work.
    hurries: bool,
    /// Once in how many steps users do something when nobody decides.
    rarely: u64,
    /// Whether nothing takes pods away but the controllers: only the engine and the disk fail.
    gentle: bool,
    pub crashes: u64,
}

impl World {
    pub fn new(seed: u64, options: &Options) -> Self {
        bugs::begin();
        let mut random = Random::new(seed);
        let clock = Arc::new(Clock::new(random.number()));
        let disk = FaultyDisk::new(random.number());
        disk.skip_sync(options.bug == Some(Bug::FlushSkipped));
        let now = clock.now();
        let cast = options.cast.or_else(|| options.bug.map(Bug::cast));
        let cast = cast.unwrap_or_else(|| Cast::draw(&mut random));
        let nodes = 1 + random.index(if cast == Cast::DaemonSets { 3 } else { 2 });
        let gentle = cast == Cast::Deployments && random.one_in(3);
        // Every other world has what is behind a gate.
        let recreates = seed.is_multiple_of(2) || options.bug == Some(Bug::OldBesideNew);
        let gates = recreates.then_some(Gate::StatefulSetRecreateStrategy);
        let mut runtime = Runtime::new(random.number(), now);
        runtime.chaos = !gentle;
        let machine = Machine::new(runtime);
        let mut users = Users::new(cast, machine.clone(), (nodes == 1, gentle));
        users.recreates = recreates;
        Self {
            options: options.clone(),
            clock,
            disk,
            fault: None,
            heals_at: now,
            engine: None,
            starts_at: now,
            machine,
            users,
            checks: Checks::new(gentle),
            trace: Trace::new(options.loud),
            refused_until: now,
            chaos: true,
            tells: random.one_in(4),
            told_at: 0,
            nodes,
            gates: Gates::on(gates),
            slow: random.one_in(2),
            hurries: cast == Cast::Autoscalers,
            rarely: if cast == Cast::Autoscalers { 20 } else { 50 },
            gentle,
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
            let rarely = if worst { 15 } else { self.rarely };
            if self.random.one_in(rarely) || (idle && self.random.one_in(5)) {
                self.user()?;
            } else if self.random.one_in(60) {
                self.strike()?;
            } else if self.hurries && self.random.one_in(6) {
                self.hurry();
            } else {
                self.step()?;
            }
        }
        Ok(())
    }

    /// Some time passes, up to the next end of a container.
    fn hurry(&mut self) {
        let until = self.now() + self.random.within(HURRIES_MOST);
        let end = self.machine.lock().next_time();
        self.clock.jump(end.map_or(until, |end| end.min(until)));
        self.machine.lock().now = self.now();
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
            if let Some(engine) = &self.engine {
                none_waits_in_vain(&engine.api.snapshot())?;
            }
            match wrong {
                None => return Ok(()),
                Some(wrong) if self.now() > deadline => return Err(self.stuck(&wrong)),
                // Something waits for longer than that, or for users.
                Some(_) => {
                    since = None;
                    self.mend()?;
                }
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
            Some(engine) => rest::check(&engine.api.snapshot(), &mut self.machine.lock()).err(),
            None => Some("the engine is down".to_owned()),
        }
    }

    fn calm(&mut self) -> Result<(), String> {
        self.chaos = false;
        self.fault = None;
        self.disk.heal();
        self.refused_until = self.now();
        self.starts_at = self.now();
        let mut runtime = self.machine.lock();
        runtime.calm();
        runtime.clocks.clear();
        drop(runtime);
        self.say("all faults are over");
        while self.engine.is_none() {
            self.step()?;
        }
        self.mend()
    }

    fn mend(&mut self) -> Result<(), String> {
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
        self.machine.lock().now = self.clock.now();
        self.take(turn)
    }

    fn turns(&self) -> Vec<Turn> {
        let now = self.now();
        let mut turns = Vec::new();
        let runtime = self.machine.lock();
        if runtime.next_time().is_some_and(|at| at <= now) {
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
            let clock = runtime.clock(index);
            let runnable = node.pods.iter().filter(|(_, pod)| pod.is_runnable(now, clock));
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
        let runtime = self.machine.lock();
        let ahead = |index: usize| runtime.clocks.get(&index).copied().unwrap_or_default();
        let nodes = engine.clone().flat_map(|it| &it.nodes);
        let fault = self.fault.map(|_| self.heals_at);
        let start = self.engine.is_none().then_some(self.starts_at);
        let next = nodes
            .filter_map(|node| node.next_time(ahead(node.index)))
            .chain(engine.filter_map(Engine::next_timer))
            .chain(runtime.next_time())
            .chain(fault)
            .chain(start)
            .min();
        // Where nobody waits for anything, a minute is as good as any time.
        let minute = self.now() + SignedDuration::from_mins(1);
        drop(runtime);
        self.clock.jump(next.map_or(minute, |next| next.min(minute)));
        self.machine.lock().now = self.clock.now();
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
                let singly = self.random.one_in(2);
                let Some(engine) = &mut self.engine else { return Ok(()) };
                if let Some(planned) = engine.decide(singly, now)? {
                    self.checks.planned(planned.name, &planned.key, now);
                    self.say(planned.said);
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
        let mut around = Surroundings {
            api: &engine.api,
            events: &engine.events,
            machine: &self.machine,
            random: &mut self.random,
            now,
            refused: self.refused_until > now,
            bug: self.options.bug,
            said: Vec::new(),
        };
        match &turn {
            Turn::Follow(index) => engine.nodes[*index].follow(&mut around),
            Turn::Worker(index, uid) => engine.nodes[*index].turn(uid, &mut around),
            _ => {}
        }
        for said in around.said {
            self.trace.say(now, said);
        }
        self.written(&Actor::Node)?;
        self.hear();
        self.checks.running(&self.machine.lock())
    }

    fn containers(&mut self) -> Result<(), String> {
        self.machine.lock().pass();
        self.hear();
        Ok(())
    }

    /// Takes down what the machine did, and tells the engine, if there is one.
    fn hear(&mut self) {
        let now = self.now();
        for said in std::mem::take(&mut self.machine.lock().said) {
            self.trace.say(now, said);
        }
        let Some(engine) = &mut self.engine else { return };
        // As the engine's node, which listens when those that are to hear of it are there.
        if !engine.nodes.iter().all(Node::has_looked) {
            return;
        }
        while let Ok(event) = engine.happenings.try_recv() {
            engine.nodes.iter_mut().for_each(|node| node.hear(&event));
        }
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
        self.checks.after(actor, engine.api.store(), &self.machine.lock())?;
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

    /// The engine is gone from one moment to the next, and the machine with it if `power` fails.
    fn crash(&mut self, power: bool) {
        let now = self.now();
        if !matches!(self.fault, Some((_, DiskFailure::PowerLoss))) {
            self.disk.fail_after(0, DiskFailure::PowerLoss);
        }
        if let Some(mut engine) = self.engine.take() {
            let Engine { api, nodes, events, .. } = &mut engine;
            let mut around = Surroundings {
                api,
                events,
                machine: &self.machine,
                random: &mut self.random,
                now,
                refused: true,
                bug: None,
                said: Vec::new(),
            };
            nodes.iter_mut().for_each(|node| node.interrupted(&mut around));
        }
        match power {
            true => {
                self.machine.lock().power_off();
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
        self.checks.opened(&store, &self.machine.lock())?;
        let revision = store.snapshot().revision();
        self.say(format_args!("the engine starts at revision {revision}"));
        let (bug, gates) = (self.options.bug, &self.gates);
        let engine = Engine::start(store, &self.clock, &self.machine, self.nodes, bug, gates);
        self.engine =
            Some(engine.map_err(|status| format!("the engine does not start: {status}"))?);
        self.written(&Actor::Engine)
    }
}
