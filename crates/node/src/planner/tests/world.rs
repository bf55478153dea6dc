//! A worker with a clock of its own and containers made of nothing.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use serde_json::{Value, json};

use crate::planner::{
    Change, Changes, Exit, HookKind, ImageFor, Instance, Note, Observed, Outcome, ProbeKind,
    Record, Step, Verdict, find_container, plan, sizes, status, too_little,
};

pub(super) struct World {
    pub pod: Pod,
    pub seen: Observed,
    pub now: Timestamp,
    /// What was done, in order: `start web 0`, `stop web`, `event BackOff …`.
    pub done: Vec<String>,
    /// Seconds after which a container ends by itself, and its code.
    pub ends: BTreeMap<String, (i64, i32)>,
    /// Containers that ignore the stop signal.
    pub stubborn: Vec<String>,
    /// What a container ends with when it is told to.
    pub stop_code: i32,
    /// Nothing is heard of what was killed.
    pub mute: bool,
    /// Its containers' templates have proved themselves.
    pub trusted: bool,
    /// Seconds that a container's hook takes, and whether it ends well; else it does so at once.
    pub hooks: BTreeMap<(String, HookKind), (i64, bool)>,
    /// When those that are under way end, and of which instance they are.
    under_way: Vec<(Timestamp, String, HookKind, String)>,
    /// Outcome of every probe.
    pub probes: BTreeMap<ProbeKind, Outcome>,
    /// Reasons why an image is not there.
    pub image_errors: BTreeMap<String, &'static str>,
    /// What the node's ledger says.
    pub verdict: Verdict,
    /// Bytes of memory that each container uses.
    pub uses: u64,
    /// Writing control groups fails after the first.
    pub fails_midway: bool,
    /// What the next engine finds of a resize.
    record: Option<Record>,
    /// The API object was deleted by the plan.
    pub deleted: bool,
    notes: Vec<String>,
}

fn shown(change: &Change) -> String {
    let group = change.container.as_deref().map_or("pod", |id| id.split('-').next().unwrap());
    let to = &change.to;
    let numbers = [
        ("memory", to.memory_limit.and_then(|it| i64::try_from(it >> 20).ok())),
        ("quota", to.cpu_quota),
        ("shares", to.cpu_shares.and_then(|it| i64::try_from(it).ok())),
    ];
    let set = numbers.iter().filter_map(|(name, it)| it.map(|it| format!("{name}={it}")));
    format!("{group} {}", set.collect::<Vec<_>>().join(" "))
}

pub(super) fn start_of_time() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub(super) fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

impl World {
    pub fn new(spec: Value) -> Self {
        let now = start_of_time();
        Self {
            pod: pod(spec),
            seen: Observed { accepted_at: Some(now), ..Observed::default() },
            now,
            done: Vec::new(),
            ends: BTreeMap::new(),
            stubborn: Vec::new(),
            stop_code: 143,
            mute: false,
            trusted: false,
            hooks: BTreeMap::new(),
            under_way: Vec::new(),
            probes: BTreeMap::new(),
            image_errors: BTreeMap::new(),
            verdict: Verdict::Granted,
            uses: 0,
            fails_midway: false,
            record: None,
            deleted: false,
            notes: Vec::new(),
        }
    }

    /// Lets `seconds` pass; nothing happens between the times that plans ask for.
    pub fn run(&mut self, seconds: i64) {
        let end = self.now + SignedDuration::from_secs(seconds);
        for _ in 0..100_000 {
            let wake = self.settle();
            let next = [wake, self.next_end()].into_iter().flatten().min();
            match next {
                Some(next) if next <= end => self.now = next.max(self.now),
                _ => {
                    self.now = end;
                    self.settle();
                    return;
                }
            }
        }
        panic!("the plan does not come to rest: {:?}", &self.done[self.done.len() - 20..]);
    }

    /// Carries out that many steps, and no more.
    pub fn steps(&mut self, count: usize) {
        for _ in 0..count {
            let note = self.seen.resize_settled(&self.pod);
            self.tell(note);
            let steps = plan(&self.pod, &self.seen, self.now);
            self.pod.status = Some(status(&self.pod, &self.seen, self.now));
            let is_done = |step: &Step| matches!(step, Step::Note(_) | Step::LookAgain(_));
            if let Some(step) = steps.into_iter().find(|step| !is_done(step)) {
                self.act(step);
            }
        }
    }

    /// Carries out steps until only waiting is left; when to look again.
    pub fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..1000 {
            self.end_containers();
            self.end_hooks();
            let note = self.seen.resize_settled(&self.pod);
            self.tell(note);
            let steps = plan(&self.pod, &self.seen, self.now);
            self.pod.status = Some(status(&self.pod, &self.seen, self.now));
            let mut wake: Option<Timestamp> = None;
            let mut acted = false;
            for step in steps {
                if let Step::LookAgain(at) = step {
                    assert!(at > self.now, "asked to look again in the past");
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                } else {
                    let asks = step == Step::Allocate;
                    acted |= self.act(step);
                    if asks {
                        // What else was planned was planned by another promise.
                        break;
                    }
                }
            }
            if !acted {
                return wake;
            }
        }
        panic!("the plan does not come to rest: {:?}", &self.done[self.done.len() - 20..]);
    }

    fn next_end(&self) -> Option<Timestamp> {
        let ends = self.seen.running().filter_map(|(name, _, instance)| {
            let (seconds, _) = self.ends.get(name)?;
            Some(instance.started_at + SignedDuration::from_secs(*seconds))
        });
        ends.chain(self.under_way.iter().map(|(at, ..)| *at)).min()
    }

    fn end_hooks(&mut self) {
        let now = self.now;
        for (_, name, kind, id) in self.under_way.extract_if(.., |(at, ..)| *at <= now) {
            let well = self.hooks.get(&(name.clone(), kind)).is_none_or(|(_, well)| *well);
            self.done.push(format!("{kind:?} of {name} {}", if well { "done" } else { "failed" }));
            let result = if well { Ok(()) } else { Err("oh".to_owned()) };
            let role = find_container(&self.pod, &name).unwrap().0;
            if let Some(note) = self.seen.hook_finished(&name, role, kind, &id, result) {
                self.done.push(format!("event {} {}", note.reason, note.message));
            }
        }
    }

    /// The engine is killed, and another one looks at what is there.
    pub fn restart_engine(&mut self) {
        self.under_way.clear();
        for seen in self.seen.containers.values_mut() {
            seen.probes.clear();
            seen.image.pulling = false;
            for instance in seen.current.iter_mut().filter(|it| it.is_running()) {
                (instance.stopping, instance.post_start) = (None, None);
            }
        }
        let pod = self.pod.clone();
        self.seen.recover(&pod, self.now);
        self.seen.remember_readiness(&pod);
        self.seen.resize = None;
        self.seen.resize_recovered(&pod, self.record.clone(), self.now);
    }

    /// Somebody gives containers other resources.
    pub fn ask(&mut self, resources: &[(&str, Value)]) {
        let before = self.pod.clone();
        let spec = self.pod.spec.as_mut().unwrap();
        let all = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
        for container in all {
            if let Some((_, it)) = resources.iter().find(|(name, _)| *name == container.name) {
                container.resources = Some(serde_json::from_value(it.clone()).unwrap());
            }
        }
        self.pod.metadata.generation = self.pod.metadata.generation.map(|it| it + 1);
        self.seen.resize_asked(&self.pod, &before);
    }

    fn end_containers(&mut self) {
        let due: Vec<_> = self
            .seen
            .running()
            .filter_map(|(name, _, instance)| {
                let (seconds, code) = *self.ends.get(name)?;
                let at = instance.started_at + SignedDuration::from_secs(seconds);
                (at <= self.now).then(|| (name.clone(), instance.id.clone(), code))
            })
            .collect();
        for (name, id, code) in due {
            self.exit(&name, &id, code);
        }
    }

    pub fn exit(&mut self, name: &str, id: &str, code: i32) {
        self.done.push(format!("exit {name} {code}"));
        let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
        let exit = Exit { code, signal: None, at: self.now, reason, message: String::new() };
        self.seen.exited(name, Some(id), exit);
    }

    /// Whether the step changed anything.
    fn act(&mut self, step: Step) -> bool {
        match step {
            Step::Note(note) => {
                let text = format!("event {} {}", note.reason, note.message);
                if !self.notes.contains(&text) {
                    self.notes.push(text.clone());
                    self.done.push(text);
                }
                return false;
            }
            Step::LookAgain(_) => return false,
            Step::MountVolumes => {
                self.seen.volumes_mounted();
                self.done.push("mount".into());
            }
            Step::UnmountVolumes => {
                self.seen.volumes_unmounted();
                self.done.push("unmount".into());
            }
            Step::CreateSandbox { number } => {
                self.seen.sandbox_created(number, Some([10, 244, 0, 2].into()), false);
                self.done.push("sandbox".into());
            }
            Step::AttachNetwork => {
                self.seen.sandbox_attached();
                self.done.push("attach".into());
            }
            Step::StartOver => {
                let pod = self.pod.clone();
                self.seen.starts_over(&pod, self.now);
                self.done.push("start over".into());
            }
            Step::RemoveSandbox => {
                self.seen.sandbox_removed(self.now);
                self.done.push("remove sandbox".into());
            }
            Step::EnsureImage(wanted) => {
                let name = match &wanted {
                    ImageFor::Container(name, _) => name.clone(),
                    ImageFor::Volume(name, _) => format!("volume {name}"),
                };
                match self.image_errors.get(&name) {
                    Some(reason) => {
                        self.done.push(format!("pull {name} failed"));
                        let (image, _) = wanted.of(&self.pod).unwrap();
                        self.seen.image_failed(&wanted, image, reason, "no".into(), self.now);
                    }
                    None => self.seen.image_ready(&wanted),
                }
            }
            Step::StartContainer { container, attempt, backoff_seconds, .. } => {
                self.start(&container, attempt, backoff_seconds);
            }
            Step::Allocate => self.allocate(),
            Step::Resize(changes) => self.resize(*changes),
            Step::Probe { container, kind } => self.probe(&container, kind),
            Step::RunHook { container, id, kind, deadline } => {
                self.done.push(format!("{kind:?} of {container}"));
                self.seen.hook_started(&container, kind, deadline);
                let took = self.hooks.get(&(container.clone(), kind)).map_or(0, |(took, _)| *took);
                let at = self.now + SignedDuration::from_secs(took);
                self.under_way.push((at, container, kind, id));
            }
            Step::AwaitTurn { container, deadline } => {
                self.done.push(format!("{container} waits"));
                self.seen.awaits_turn(&container, deadline);
            }
            Step::StopContainer { container, id, deadline } => {
                self.done.push(format!("stop {container}"));
                self.seen.stopping(&container, deadline);
                if !self.stubborn.contains(&container) {
                    self.exit(&container, &id, self.stop_code);
                }
            }
            Step::KillContainer { container, id } => {
                self.done.push(format!("kill {container}"));
                self.seen.killed(&container, self.now);
                if !self.mute {
                    self.exit(&container, &id, 137);
                }
            }
            Step::DeletePod { uid } => {
                assert_eq!(self.pod.metadata.uid.as_deref(), Some(uid.as_str()));
                if !self.deleted {
                    self.done.push("delete pod".into());
                }
                self.deleted = true;
                return false;
            }
        }
        true
    }

    fn start(&mut self, name: &str, attempt: u32, backoff_seconds: u32) {
        assert!(!self.deleted, "a container starts after its pod was deleted");
        assert!(self.seen.sandbox.as_ref().is_some_and(|sandbox| sandbox.alive));
        let before = self.seen.containers.get(name).and_then(|seen| seen.current.as_ref());
        assert!(before.is_none_or(|it| !it.is_running()), "{name} runs twice");
        self.done.push(format!("start {name} {attempt}"));
        let image = find_container(&self.pod, name).unwrap().1.image.clone();
        let instance = Instance {
            id: format!("{name}-{attempt}-{}", self.now),
            attempt,
            sandbox: self.seen.sandbox_number,
            era: self.seen.era,
            image: image.unwrap_or_default(),
            image_id: "sha256:1".into(),
            backoff_seconds,
            started_at: self.now,
            judged_from: self.now,
            trusted: self.trusted,
            post_start: None,
            exit: None,
            stopping: None,
        };
        self.seen.started(name, instance);
    }

    fn allocate(&mut self) {
        let wanted = sizes(&self.pod);
        let record = self.seen.record_if(&self.pod, &wanted);
        let verdict = self.verdict.clone();
        if verdict == Verdict::Granted {
            self.record = Some(record.clone());
        }
        let note = self.seen.resize_answered(&self.pod, (wanted, record), verdict, self.now);
        self.tell(note);
    }

    fn resize(&mut self, changes: Changes) {
        self.seen.resize_begun(&self.pod);
        let used: Vec<u64> = changes.running.iter().map(|_| self.uses).collect();
        let result = match too_little(&changes, &used) {
            Some(message) => Err(message),
            None if self.fails_midway => Err("the disk is full".to_owned()),
            None => {
                let shown = changes.changes.iter().map(shown).collect::<Vec<_>>();
                self.done.push(format!("write {}", shown.join(", ")));
                self.record = Some(changes.record.clone());
                Ok(())
            }
        };
        let note = self.seen.resize_acted(&self.pod, changes.record, result, self.now);
        self.tell(note);
    }

    fn tell(&mut self, note: Option<Note>) {
        self.done.extend(note.map(|note| format!("event {}", note.reason)));
    }

    fn probe(&mut self, name: &str, kind: ProbeKind) {
        self.seen.probe_started(name, kind, self.now);
        let outcome = self.probes.get(&kind).cloned().unwrap_or(Outcome::Success);
        let (role, container) = find_container(&self.pod, name).unwrap();
        let container = container.into_owned();
        let id = self.seen.containers[name].current.as_ref().unwrap().id.clone();
        if let Some(note) = self.seen.probe_finished(&container, role, kind, &id, &outcome) {
            self.done.push(format!("event {} {}", note.reason, note.message));
        }
    }

    pub fn delete(&mut self, grace: i64) {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        let at = self.now + SignedDuration::from_secs(grace);
        self.pod.metadata.deletion_timestamp = Some(Time(at));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
    }

    pub fn status(&self) -> PodStatus {
        status(&self.pod, &self.seen, self.now)
    }

    pub fn phase(&self) -> String {
        self.status().phase.unwrap()
    }

    pub fn container(&self, name: &str) -> ContainerStatus {
        let status = self.status();
        let lists = [
            status.init_container_statuses,
            status.container_statuses,
            status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten().find(|status| status.name == name).unwrap()
    }

    /// `Running`, `Waiting REASON`, `Terminated REASON`.
    pub fn state(&self, name: &str) -> String {
        let state = self.container(name).state.unwrap();
        if state.running.is_some() {
            "Running".into()
        } else if let Some(waiting) = state.waiting {
            format!("Waiting {}", waiting.reason.unwrap())
        } else {
            format!("Terminated {}", state.terminated.unwrap().reason.unwrap())
        }
    }

    /// `True` or `False REASON MESSAGE`.
    pub fn condition(&self, name: &str) -> String {
        let conditions = self.status().conditions.unwrap();
        let it = conditions.into_iter().find(|it| it.type_ == name).unwrap();
        let words = [Some(it.status), it.reason, it.message];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }
}
