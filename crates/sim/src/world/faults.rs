//! Faults, which strike whenever they like.

use coracle_node::planner::Eviction;
use coracle_store::Failure as DiskFailure;
use jiff::SignedDuration;

use super::World;
use crate::checks::Actor;

/// Milliseconds by which a node's clock is wrong at most.
const CLOCKS_DIFFER_MOST: u64 = 20 * 60 * 1000;
/// Milliseconds that the machine sleeps at most.
const SLEEPS_MOST: u64 = 3 * 60 * 60 * 1000;
/// Operations of the disk within which an armed fault strikes.
const STRIKES_WITHIN: u64 = 12;

impl World {
    /// Some fault.
    pub(super) fn strike(&mut self) -> Result<(), String> {
        if self.engine.is_none() {
            return self.step();
        }
        if self.gentle {
            return self.strike_gently();
        }
        match self.random.below(16) {
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
            9 => {
                self.silence_shim();
                return self.written(&Actor::User);
            }
            10 => self.remove_image(),
            11 => self.move_clock(),
            12 => self.sleep(),
            13 => self.evict(),
            _ => return self.compact(),
        }
        Ok(())
    }

    /// Some fault that no pod notices.
    fn strike_gently(&mut self) -> Result<(), String> {
        match self.random.below(6) {
            0 | 1 => self.crash(false),
            2 => self.arm(DiskFailure::Io),
            3 => self.arm(DiskFailure::Full),
            _ => return self.compact(),
        }
        Ok(())
    }

    /// The machine sleeps for a while: for everybody much time passes at once.
    fn sleep(&mut self) {
        let slept = self.random.within(SLEEPS_MOST);
        self.clock.advance(slept);
        self.machine.lock().now = self.now();
        self.say(format_args!("the machine has slept for {slept:#}"));
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
        let Some(uid) = self.any_sandbox() else { return };
        if self.machine.lock().lose(&uid) {
            self.say(format_args!("the shim of {uid} is killed"));
        }
        self.hear();
    }

    fn any_sandbox(&mut self) -> Option<String> {
        let uids: Vec<_> = self.machine.lock().sandboxes.keys().cloned().collect();
        if uids.is_empty() { None } else { Some(self.random.pick(&uids).clone()) }
    }

    /// A shim answers nobody any more, for a while or for good.
    fn silence_shim(&mut self) {
        let Some(uid) = self.any_sandbox() else { return };
        let mut runtime = self.machine.lock();
        let Some(sandbox) = runtime.sandboxes.get_mut(&uid).filter(|it| it.alive) else { return };
        sandbox.mute = !sandbox.mute;
        let mute = sandbox.mute;
        let said = if mute { "falls silent" } else { "answers again" };
        drop(runtime);
        self.say(format_args!("the shim of {uid} {said}"));
        // A pod that neither answers nor ends is what users force.
        if let Some(engine) = self.engine.iter().find(|_| mute && self.users.are_forceful())
            && self.random.one_in(2)
        {
            self.users.force(&engine.api, &uid);
        }
    }

    /// A pod must leave its node, for what it has written or for others' sake.
    fn evict(&mut self) {
        let Some(uid) = self.any_sandbox() else { return };
        let is_disrupted = self.random.one_in(2);
        for node in self.engine.iter_mut().flat_map(|engine| &mut engine.nodes) {
            let message = "The node was low on resource: memory. ".to_owned();
            node.evict(&uid, Eviction { message, is_disrupted });
        }
        self.say(format_args!("{uid} must leave its node"));
    }

    /// Somebody removes an image.
    fn remove_image(&mut self) {
        let images: Vec<_> = self.machine.lock().images.iter().cloned().collect();
        if images.is_empty() {
            return;
        }
        let image = self.random.pick(&images).clone();
        self.machine.lock().images.remove(&image);
        self.say(format_args!("image {image} is removed"));
    }

    /// A node's clock jumps.
    fn move_clock(&mut self) {
        let node = self.random.index(self.nodes);
        let most = CLOCKS_DIFFER_MOST;
        let ahead = self.random.within(2 * most) - SignedDuration::from_millis(most.cast_signed());
        self.machine.lock().clocks.insert(node, ahead);
        self.say(format_args!("the clock of node {node} is {ahead:#} ahead"));
    }

    fn kill_container(&mut self) {
        let mut runtime = self.machine.lock();
        let running = runtime.sandboxes.iter().flat_map(|(uid, sandbox)| {
            let running = sandbox.containers.iter().filter(|it| it.is_running());
            running.map(|it| (uid.clone(), it.state.id.clone()))
        });
        let running: Vec<_> = running.collect();
        if running.is_empty() {
            return;
        }
        let (uid, id) = self.random.pick(&running).clone();
        runtime.signal(&uid, &id, 9);
        drop(runtime);
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
}
