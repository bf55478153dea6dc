//! What was observed of a pod, and how it changes when steps are carried out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::hooked::HookSeen;
use super::imaged::ImageSeen;
use super::probed::{ProbeKind, ProbeSeen};
use super::resized::Resize;
use super::retry::{BACKOFF_SECONDS, Retry, after, retry};
use super::spec;

/// A container that ran this long is forgiven what it did before.
const FORGIVEN_AFTER_SECONDS: i64 = 600;

/// What was killed and has not ended so much later will not be heard of: its shim is at fault.
const DEATH_SECONDS: u32 = 10;

/// A container that lives so long is taken for one that works.
const PROVING: SignedDuration = SignedDuration::from_secs(1);

/// Volumes are tried again sooner: what they wait for is usually on its way.
const VOLUME_BACKOFF_SECONDS: (u32, u32) = (1, 122);

/// Everything the node knows of a pod beyond the API object.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The API object is gone or is another pod now: what runs must end.
    pub gone: bool,
    /// Something of another pod of this name is left on the node: nothing begins before it is gone.
    pub predecessor: bool,
    /// The node's address.
    pub host_ip: Option<Ipv4Addr>,
    /// Whether its kernel forbids writing in mounts below a read-only one.
    pub can_forbid_recursively: bool,
    /// When the node took the pod on.
    pub accepted_at: Option<Timestamp>,
    /// Why the node does not run it at all.
    pub rejection: Option<Rejection>,
    /// Why it must leave the node.
    pub eviction: Option<Box<Eviction>>,
    /// Whether all volumes are in place.
    pub volumes_ready: bool,
    /// The last failure to put them in place.
    pub volumes_failure: Option<Retry>,
    /// An earlier engine may have left some of them in place.
    pub volumes_left: bool,
    /// Where the containers run.
    pub sandbox: Option<Sandbox>,
    /// The last failure to make one.
    pub sandbox_failure: Option<Retry>,
    /// Sandboxes made so far; the present one has this number.
    pub sandbox_number: u32,
    /// How often all its containers were started anew.
    pub era: u32,
    /// The images that are volumes, by the volumes' names.
    pub volume_images: BTreeMap<String, ImageSeen>,
    /// By container name. Boxed: a map has room for eleven, and most pods have one.
    pub containers: BTreeMap<String, Box<ContainerSeen>>,
    /// Set while containers do not have, or were not promised, what their spec asks for.
    pub resize: Option<Box<Resize>>,
}

/// The node's refusal to run a pod: `status.reason` and `status.message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `NodePorts`, `OutOfcpu`…
    pub reason: String,
    /// The sentence.
    pub message: String,
}

/// A pod that must leave the node: `status.message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// The sentence.
    pub message: String,
    /// It goes because the node is short of something, and not for what it did itself.
    pub is_disrupted: bool,
}

/// The pod's namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The pod's address; the node's own with `hostNetwork`.
    pub ip: Option<Ipv4Addr>,
    /// Its process is there.
    pub alive: bool,
    /// It is joined to the network.
    pub attached: bool,
    /// Its process does not answer in time: nothing in it can be told to end.
    pub mute: bool,
}

/// One container of the pod.
#[derive(Clone, Debug, Default)]
pub struct ContainerSeen {
    /// The newest instance.
    pub current: Option<Instance>,
    /// The one before.
    pub previous: Option<Instance>,
    /// The image of the next start.
    pub image: ImageSeen,
    /// Why the last start failed before there was a process.
    pub failure: Option<StartFailure>,
    /// Results of the current instance's probes.
    pub probes: BTreeMap<ProbeKind, ProbeSeen>,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The runtime's id.
    pub id: String,
    /// 0 for the first, then counted up: `restartCount`.
    pub attempt: u32,
    /// Number of the sandbox it runs in.
    pub sandbox: u32,
    /// How often the pod had started over before.
    pub era: u32,
    /// The image as the spec had it.
    pub image: String,
    /// The image's digest.
    pub image_id: String,
    /// The back-off that a failure of this run is answered with; 0 means at once.
    pub backoff_seconds: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// From when on its first second counts: its start, or when this engine first saw it run, as
    /// the clock may have been set in between.
    pub judged_from: Timestamp,
    /// Another one of its template has lived long enough: without a readiness probe it is Ready at
    /// once.
    pub trusted: bool,
    /// Its `postStart` hook, once that has begun.
    pub post_start: Option<HookSeen>,
    /// How it ended, when it has.
    pub exit: Option<Exit>,
    /// That it was told to end.
    pub stopping: Option<Stopping>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 128 + signal when a signal ended it.
    pub code: i32,
    /// That signal.
    pub signal: Option<i32>,
    /// When.
    pub at: Timestamp,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    /// The termination message, or why it did not start.
    pub message: String,
}

/// A run that was told to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// When SIGKILL follows.
    pub deadline: Timestamp,
    /// How far it is.
    pub stage: StopStage,
}

/// How far the end of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStage {
    /// Its `preStop` hook is under way.
    Hook,
    /// It waits for others to end.
    Turn,
    /// The stop signal was sent.
    Signalled,
    /// SIGKILL was sent.
    Killed,
}

/// A start that failed before there was a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// When to try again.
    pub retry_at: Timestamp,
}

impl Instance {
    /// Whether its process is there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.exit.is_none()
    }

    /// When it is given up on: it was killed, and nobody has heard of its end.
    pub(crate) fn survives_until(&self) -> Option<Timestamp> {
        let killed = self.stopping.as_ref().filter(|it| it.stage == StopStage::Killed)?;
        Some(after(killed.deadline, DEATH_SECONDS))
    }

    /// When it has lived long enough to be taken for one that works; `None` when it ended before.
    pub(crate) fn lives_on_at(&self) -> Option<Timestamp> {
        let at = self.judged_from.checked_add(PROVING).unwrap_or(Timestamp::MAX);
        self.exit.as_ref().is_none_or(|exit| exit.at >= at).then_some(at)
    }

    /// What follows a run that has nothing to do with the next one.
    pub(crate) fn afresh(&self, exit: &Exit) -> (Timestamp, u32) {
        (exit.at, BACKOFF_SECONDS.0)
    }

    /// When a failed run may be followed by the next one, and what back-off that one carries: none
    /// at first, then 10 s, doubling to 5 min; forgiven after 10 min.
    pub(crate) fn next_start(&self, exit: &Exit) -> (Timestamp, u32) {
        let ran = exit.at.duration_since(self.started_at);
        let (first, longest) = BACKOFF_SECONDS;
        if self.backoff_seconds == 0 || ran > SignedDuration::from_secs(FORGIVEN_AFTER_SECONDS) {
            return (exit.at, first);
        }
        (after(exit.at, self.backoff_seconds), (self.backoff_seconds * 2).min(longest))
    }
}

impl Observed {
    /// The container's entry, made when missing.
    pub fn container(&mut self, name: &str) -> &mut ContainerSeen {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// It must leave the node; the first reason stays.
    pub fn evicted(&mut self, eviction: Eviction) {
        self.eviction.get_or_insert_with(|| Box::new(eviction));
    }

    /// Whether the pod waits for the end of another one of its name.
    pub(crate) fn is_held(&self) -> bool {
        self.predecessor && self.sandbox.is_none()
    }

    /// All volumes are in place.
    pub fn volumes_mounted(&mut self) {
        self.volumes_ready = true;
        self.volumes_failure = None;
    }

    /// A volume could not be put in place.
    pub fn volumes_failed(&mut self, message: String, now: Timestamp) {
        self.volumes_failure =
            Some(retry(self.volumes_failure.as_ref(), VOLUME_BACKOFF_SECONDS, message, now));
    }

    /// They are taken away.
    pub fn volumes_unmounted(&mut self) {
        self.volumes_ready = false;
        self.volumes_failure = None;
        self.volumes_left = false;
    }

    /// Whether some of them may be in place.
    pub(crate) fn has_volumes(&self) -> bool {
        self.volumes_ready || self.volumes_failure.is_some() || self.volumes_left
    }

    /// The sandbox is there; `attached` if it needs no network of its own.
    pub fn sandbox_created(&mut self, number: u32, ip: Option<Ipv4Addr>, attached: bool) {
        self.sandbox_number = number;
        self.sandbox = Some(Sandbox { ip, alive: true, attached, mute: false });
        self.sandbox_failure = None;
    }

    /// The sandbox is joined to the network.
    pub fn sandbox_attached(&mut self) {
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.attached = true;
        }
        self.sandbox_failure = None;
    }

    /// The sandbox's process did not answer in time.
    pub fn sandbox_mute(&mut self) {
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.mute = true;
        }
    }

    /// Whether what runs can only be ended together with its sandbox.
    pub(crate) fn is_stuck(&self, now: Timestamp) -> bool {
        let mute = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.mute);
        mute || self.running().any(|(_, _, it)| it.survives_until().is_some_and(|at| at <= now))
    }

    /// The sandbox could not be made, or not be joined to the network.
    pub fn sandbox_failed(&mut self, message: String, now: Timestamp) {
        self.sandbox_failure =
            Some(retry(self.sandbox_failure.as_ref(), VOLUME_BACKOFF_SECONDS, message, now));
    }

    /// The sandbox's process is gone, and every container with it.
    pub fn sandbox_died(&mut self, now: Timestamp) {
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.alive = false;
        }
        for name in self.containers.keys().cloned().collect::<Vec<_>>() {
            self.exited(&name, None, lost(now));
        }
    }

    /// The sandbox and whatever was left in it is removed.
    pub fn sandbox_removed(&mut self, now: Timestamp) {
        self.sandbox_died(now);
        self.sandbox = None;
    }

    /// A new instance runs.
    pub fn started(&mut self, container: &str, instance: Instance) {
        let seen = self.container(container);
        seen.probes.clear();
        seen.failure = None;
        seen.image.ready_for = None;
        seen.previous = seen.current.replace(instance).or(seen.previous.take());
    }

    /// A start failed before there was an instance.
    pub fn start_failed(&mut self, container: &str, reason: &str, message: String, now: Timestamp) {
        let retry_at = after(now, BACKOFF_SECONDS.0);
        let failure = StartFailure { reason: reason.to_owned(), message, retry_at };
        let seen = self.container(container);
        seen.failure = Some(failure);
        // It may be an image that has gone since it was found.
        seen.image.ready_for = None;
        self.volume_images.values_mut().for_each(|image| image.ready_for = None);
    }

    /// An instance (the current one when `id` is `None`) ended. Later reports change nothing.
    pub fn exited(&mut self, container: &str, id: Option<&str>, exit: Exit) {
        let seen = self.container(container);
        for instance in seen.current.iter_mut().chain(seen.previous.iter_mut()) {
            if instance.exit.is_none() && id.is_none_or(|id| id == instance.id) {
                instance.exit = Some(exit.clone());
            }
        }
    }

    /// The stop signal was sent to the current instance; SIGKILL follows at `deadline`.
    pub fn stopping(&mut self, container: &str, deadline: Timestamp) {
        if let Some(instance) = &mut self.container(container).current {
            instance.stopping = Some(Stopping { deadline, stage: StopStage::Signalled });
        }
    }

    /// SIGKILL was sent to the current instance.
    pub fn killed(&mut self, container: &str, now: Timestamp) {
        if let Some(instance) = &mut self.container(container).current {
            instance.stopping = Some(Stopping { deadline: now, stage: StopStage::Killed });
        }
    }

    /// The clock was set, ahead or back: whatever was or is due at some time is so by the new clock.
    pub fn clock_moved(&mut self, by: SignedDuration) {
        let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        let moved = |at: &mut Timestamp| *at = at.checked_add(by).unwrap_or(end);
        self.accepted_at.iter_mut().for_each(moved);
        for retry in [&mut self.volumes_failure, &mut self.sandbox_failure].into_iter().flatten() {
            moved(&mut retry.at);
        }
        if let Some(resize) = &mut self.resize {
            resize.pending.iter_mut().for_each(|it| moved(&mut it.retry_at));
            let errors = resize.in_progress.iter_mut().filter_map(|it| it.error.as_mut());
            errors.for_each(|error| moved(&mut error.at));
        }
        let images = self.containers.values_mut().map(|seen| &mut seen.image);
        let images = images.chain(self.volume_images.values_mut());
        for failure in images.filter_map(|image| image.failure.as_mut()) {
            moved(&mut failure.failed_at);
            moved(&mut failure.retry.at);
        }
        for seen in self.containers.values_mut() {
            if let Some(failure) = &mut seen.failure {
                moved(&mut failure.retry_at);
            }
            seen.probes.values_mut().filter_map(|it| it.last_run.as_mut()).for_each(moved);
            for instance in seen.current.iter_mut().chain(&mut seen.previous) {
                moved(&mut instance.started_at);
                moved(&mut instance.judged_from);
                instance.exit.iter_mut().for_each(|exit| moved(&mut exit.at));
                instance.stopping.iter_mut().for_each(|it| moved(&mut it.deadline));
            }
        }
    }

    /// Something that a failure waits for may be there now: a ConfigMap, a Secret, a claim.
    pub fn try_again(&mut self, now: Timestamp) {
        for retry in [&mut self.volumes_failure, &mut self.sandbox_failure].into_iter().flatten() {
            retry.at = now;
        }
        for failure in self.containers.values_mut().filter_map(|seen| seen.failure.as_mut()) {
            failure.retry_at = now;
        }
    }

    /// The container is believed if it runs, as others of its template have lived.
    pub fn trust(&mut self, container: &str) {
        let seen = self.containers.get_mut(container);
        let current = seen.and_then(|seen| seen.current.as_mut());
        if let Some(current) = current.filter(|current| current.is_running()) {
            current.trusted = true;
        }
    }

    /// Containers that were believed without having lived have to live.
    pub fn doubt(&mut self) {
        for current in self.containers.values_mut().filter_map(|seen| seen.current.as_mut()) {
            current.trusted = false;
        }
    }

    /// What the status says of containers that the runtime still runs: a container that was ready
    /// stays so until a probe says otherwise, and one that is shown as running has had its hook.
    pub fn remember_readiness(&mut self, pod: &Pod) {
        let Some(status) = &pod.status else { return };
        let lists = [&status.init_container_statuses, &status.container_statuses];
        for status in lists.into_iter().flatten().flatten() {
            let Some(seen) = self.containers.get_mut(&status.name) else { continue };
            let Some(current) = seen.current.as_mut().filter(|it| it.is_running()) else {
                continue;
            };
            let same = status.container_id.as_deref().is_some_and(|id| id.ends_with(&current.id));
            let (true, Some((_, container))) = (same, spec::find_container(pod, &status.name))
            else {
                continue;
            };
            if status.state.as_ref().is_some_and(|state| state.running.is_some()) {
                current.post_start = Some(HookSeen::Done);
            }
            if container.readiness_probe.is_none() {
                current.trusted = status.ready;
            }
            if container.startup_probe.is_some() && status.started == Some(true) {
                seen.probes.insert(ProbeKind::Startup, ProbeSeen::remembered());
            }
            if container.readiness_probe.is_some() && status.ready {
                seen.probes.insert(ProbeKind::Readiness, ProbeSeen::remembered());
            }
        }
    }

    /// Fills in from the status what the runtime no longer knows (after a reboot, or when it
    /// dropped what had ended): whatever ran once has a number, and a container that must not run
    /// twice does not.
    pub fn recover(&mut self, pod: &Pod, now: Timestamp) {
        let sandbox = if self.sandbox.is_some() { self.sandbox_number } else { 0 };
        let Some(status) = &pod.status else { return };
        let lists = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        for status in lists.into_iter().flatten().flatten() {
            let seen = self.containers.entry(status.name.clone()).or_default();
            let known = |id: &str| seen.current.as_ref().is_some_and(|current| current.id == id);
            let former = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let former = former.and_then(|end| Some((end, bare_id(end.container_id.as_deref())?)));
            if let Some((end, id)) = former.filter(|(_, id)| !known(id))
                && seen.previous.is_none()
            {
                seen.previous = Some(recovered(status, id, (sandbox, self.era), Some(end), now));
            }
            if seen.current.is_some() {
                continue;
            }
            let state = status.state.as_ref();
            let end = state.and_then(|state| state.terminated.as_ref());
            if let Some(id) = bare_id(status.container_id.as_deref()) {
                let waiting = state.is_some_and(|state| state.waiting.is_some());
                let end = if waiting { former.map(|(end, _)| end) } else { end };
                seen.current = Some(recovered(status, id, (sandbox, self.era), end, now));
            }
        }
    }

    pub(crate) fn current(&self, container: &str) -> Option<&Instance> {
        self.containers.get(container)?.current.as_ref()
    }

    /// The current instance, if it belongs to the present sandbox and era.
    pub(crate) fn current_here(&self, container: &str) -> Option<&Instance> {
        let here = |instance: &&Instance| {
            instance.sandbox == self.sandbox_number && instance.era == self.era
        };
        self.current(container).filter(here)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (&String, &ContainerSeen, &Instance)> {
        self.containers.iter().filter_map(|(name, seen)| {
            let instance = seen.current.as_ref().filter(|instance| instance.is_running())?;
            Some((name, &**seen, instance))
        })
    }
}

fn bare_id(container_id: Option<&str>) -> Option<&str> {
    container_id?.rsplit('/').next().filter(|id| !id.is_empty())
}

/// An instance of which only the status tells. The status of one in back-off tells no more than
/// that it was restarted before.
fn recovered(
    status: &ContainerStatus,
    id: &str,
    (sandbox, era): (u32, u32),
    end: Option<&ContainerStateTerminated>,
    now: Timestamp,
) -> Instance {
    let running = status.state.as_ref().and_then(|state| state.running.as_ref());
    let started = end.and_then(|end| end.started_at.as_ref());
    let started = started.or(running.and_then(|running| running.started_at.as_ref()));
    let started_at = started.map_or(now, |time| time.0);
    let exit = end.map_or_else(
        || lost(now),
        |end| Exit {
            code: end.exit_code,
            signal: end.signal,
            at: end.finished_at.as_ref().map_or(now, |time| time.0),
            reason: end.reason.clone().unwrap_or_default(),
            message: end.message.clone().unwrap_or_default(),
        },
    );
    Instance {
        id: id.to_owned(),
        attempt: u32::try_from(status.restart_count).unwrap_or(0),
        sandbox,
        era,
        image: status.image.clone(),
        image_id: status.image_id.clone(),
        backoff_seconds: 0,
        started_at,
        judged_from: started_at,
        trusted: false,
        post_start: None,
        exit: Some(exit),
        stopping: None,
    }
}

/// The end of a container that nobody saw end.
fn lost(now: Timestamp) -> Exit {
    Exit {
        code: 137,
        signal: None,
        at: now,
        reason: "ContainerStatusUnknown".to_owned(),
        message: "The container could not be located when the pod was terminated".to_owned(),
    }
}
