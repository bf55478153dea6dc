//! One task a pod: it carries out what the planner says and tells it what came of it.
//!
//! Nothing is decided here. The task sleeps until something happens to its pod (the API object,
//! a container, a probe, a pull, an object that it refers to) or until the planner wants to look
//! again; then it plans and acts until only waiting is left.

mod adopt;
mod images;
mod start;
mod steps;
mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Object, Timestamp};
use coracle_runtime::{RuntimeEvent, Sandbox};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::mpsc;

use crate::client::Token;
use crate::context::Context;
use crate::follow::FirstLook;
use crate::planner::{Note, Observed, Outcome, ProbeKind, Rejection, Step, plan, status};
use crate::pods::PodId;
use crate::volumes::mounter::MountedVolumes;

/// Rounds of planning and acting before a pod gives others a turn.
const ROUNDS_MAX: usize = 64;
/// Tries to write a status that others change at the same time.
const STATUS_TRIES: usize = 8;
/// The pause after the API refused a write that must succeed.
const API_AGAIN: Duration = Duration::from_secs(1);

/// What happens to a pod.
#[derive(Debug)]
pub(crate) enum Message {
    /// The API object changed.
    Changed(Arc<Object>),
    /// The API object is gone.
    Gone,
    /// Something happened to a container or to the sandbox.
    Runtime(RuntimeEvent),
    /// A pull ended: the image's size in bytes and the time it took, or why it failed.
    Pulled { container: String, attempt: u32, result: Result<(u64, Duration), String> },
    /// A probe ended.
    Probed { container: String, kind: ProbeKind, id: String, outcome: Outcome },
    /// Nothing is left of another pod of this name.
    NameReleased,
    /// An object that pods refer to changed: resource and name.
    Referred { resource: Arc<str>, name: Arc<str> },
}

/// A pod's task.
pub(crate) struct Worker {
    context: Arc<Context>,
    id: PodId,
    object: Arc<Object>,
    pod: Arc<Pod>,
    seen: Observed,
    sandbox: Option<Sandbox>,
    volumes: MountedVolumes,
    tokens: BTreeMap<(String, String), Token>,
    noted: HashMap<(String, &'static str), String>,
    /// The status that was written last, and the revision that has it.
    written: Option<(PodStatus, u64)>,
    inbox: mpsc::UnboundedReceiver<Message>,
    outbox: mpsc::UnboundedSender<Message>,
    /// The API object was deleted by us or by others: nothing more is written to it.
    finished: bool,
}

/// A pod to work on, and what is known of it.
pub(crate) struct Start {
    pub object: Arc<Object>,
    pub pod: Arc<Pod>,
    pub sandbox: Option<Sandbox>,
    pub rejection: Option<Rejection>,
    /// Dropped when the API shows what runs of the pod.
    pub first: Option<FirstLook>,
}

/// Spawns the pod's task.
pub(crate) fn spawn(context: Arc<Context>, start: Start) {
    let (outbox, inbox) = mpsc::unbounded_channel();
    let id = PodId::of(&start.pod);
    // Before it asks for its name: it may be told at once that the name is free now.
    context.enlist(&id.uid, outbox.clone());
    if start.sandbox.is_some() {
        context.hold_name(&id);
    }
    let seen = Observed {
        predecessor: !context.take_name(&id),
        host_ip: Some(context.link.node_ip),
        accepted_at: Some(context.client.now()),
        rejection: start.rejection,
        ..Observed::default()
    };
    let worker = Worker {
        id,
        object: start.object,
        pod: start.pod,
        seen,
        sandbox: None,
        volumes: MountedVolumes::new(),
        tokens: BTreeMap::new(),
        noted: HashMap::new(),
        written: None,
        inbox,
        outbox,
        finished: false,
        context: Arc::clone(&context),
    };
    context.tasks.spawn(worker.run(start.sandbox, start.first));
}

impl Worker {
    async fn run(mut self, sandbox: Option<Sandbox>, first: Option<FirstLook>) {
        self.begin(sandbox).await;
        drop(first);
        self.look_after_volumes().await;
        loop {
            let wake = self.settle().await;
            if self.finished && wake.is_none() && self.is_bare() {
                self.context.forget(&self.id);
                self.context.remove_logs(&self.id);
                return;
            }
            let message = match wake {
                Some(wake) => {
                    let pause = self.until(wake);
                    match tokio::time::timeout(pause, self.inbox.recv()).await {
                        Ok(message) => message,
                        Err(_) => continue,
                    }
                }
                None => self.inbox.recv().await,
            };
            match message {
                Some(message) => self.take(message).await,
                None => return,
            }
            // Whatever else has happened meanwhile is planned for at once.
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message).await;
            }
        }
    }

    /// Takes over what there is. A pod that ran before shows at once what has become of it: its
    /// containers may have ended with the machine.
    async fn begin(&mut self, sandbox: Option<Sandbox>) {
        self.adopt(sandbox);
        if self.pod.status.as_ref().is_some_and(|status| status.start_time.is_some()) {
            self.publish().await;
        }
    }

    /// Whatever has become of its volumes' sources, what runs is looked after.
    async fn look_after_volumes(&mut self) {
        if self.sandbox.is_some() {
            let context = Arc::clone(&self.context);
            let _step = context.tasks.step().await;
            self.mount_anew().await;
            self.seen.volumes_mounted();
        }
    }

    fn until(&self, wake: Timestamp) -> Duration {
        let wait = wake.duration_since(self.context.client.now());
        Duration::try_from(wait).unwrap_or_default()
    }

    fn is_bare(&self) -> bool {
        self.seen.sandbox.is_none() && !self.seen.volumes_ready
    }

    /// Plans and acts until only waiting is left; until when.
    async fn settle(&mut self) -> Option<Timestamp> {
        let context = Arc::clone(&self.context);
        let mut wake = None;
        for _ in 0..ROUNDS_MAX {
            let now = self.context.client.now();
            wake = None;
            let mut acted = false;
            for step in plan(&self.pod, &self.seen, now) {
                match step {
                    Step::LookAgain(at) => wake = earliest(wake, at),
                    Step::Note(note) => self.note_once(note),
                    Step::DeletePod { .. } => {
                        self.publish().await;
                        match self.delete().await {
                            true => acted = false,
                            false => wake = earliest(wake, self.later(API_AGAIN)),
                        }
                    }
                    step => {
                        let _taken = context.tasks.step().await;
                        self.act(step).await;
                        acted = true;
                    }
                }
            }
            self.show();
            if !acted {
                break;
            }
        }
        if !self.publish().await {
            wake = earliest(wake, self.later(API_AGAIN));
        }
        self.token_refresh().into_iter().fold(wake, earliest)
    }

    fn later(&self, pause: Duration) -> Timestamp {
        self.context.client.now().checked_add(pause).unwrap_or(Timestamp::MAX)
    }

    /// Writes the status if it is not what the API shows; `false` when that must be tried again.
    async fn publish(&mut self) -> bool {
        for _ in 0..STATUS_TRIES {
            if self.finished || self.seen.gone {
                return true;
            }
            let status = status(&self.pod, &self.seen, self.context.client.now());
            let revision = self.object.revision();
            // What was written last counts, even if the API has put it in other words.
            let last = self.written.as_ref().filter(|(_, written)| *written == revision);
            let shown = last.map(|(status, _)| status).or(self.pod.status.as_ref());
            if shown == Some(&status) {
                return true;
            }
            match self.context.client.update_pod_status(&self.object, &status).await {
                Ok(object) => {
                    self.replace(object);
                    self.written = Some((status, self.object.revision()));
                    return true;
                }
                Err(refused) if refused.code == 409 || refused.code == 404 => self.refresh(),
                Err(refused) => {
                    tracing::warn!(pod = %self.object.key(), %refused, "the status is refused");
                    return false;
                }
            }
        }
        false
    }

    /// Deletes the API object; `false` when that must be tried again.
    async fn delete(&mut self) -> bool {
        if self.finished {
            return true;
        }
        match self.context.client.delete_pod(&self.id).await {
            Ok(()) => self.finished = true,
            Err(refused) if matches!(refused.code, 404 | 409) => self.finished = true,
            Err(refused) => {
                tracing::warn!(pod = %self.object.key(), %refused, "the deletion is refused");
                return false;
            }
        }
        true
    }

    /// Takes the newest version from the API.
    fn refresh(&mut self) {
        let key: &Key = self.object.key();
        match self.context.client.get(key) {
            Some(object) if object.metadata().uid == self.id.uid => self.replace(object),
            _ => self.seen.gone = true,
        }
    }

    fn replace(&mut self, object: Arc<Object>) {
        if object.revision() < self.object.revision() {
            return;
        }
        match object.view::<Pod>() {
            Ok(pod) => (self.object, self.pod) = (object, pod),
            Err(error) => tracing::warn!(pod = %object.key(), %error, "the pod cannot be read"),
        }
    }

    async fn take(&mut self, message: Message) {
        let now = self.context.client.now();
        match message {
            Message::Changed(object) => {
                let before = Arc::clone(&self.pod);
                self.replace(object);
                let (old, new) = (&before.metadata, &self.pod.metadata);
                if old.labels != new.labels || old.annotations != new.annotations {
                    self.refresh_files().await;
                }
            }
            Message::Gone => {
                self.seen.gone = true;
                self.finished = true;
            }
            Message::Runtime(RuntimeEvent::ContainerExited { container, .. }) => {
                if let Some(exit) = adopt::exit_of(&container, now) {
                    let exit = self.with_message(&container.name, container.attempt, exit);
                    self.seen.exited(&container.name, Some(&container.id), exit);
                }
            }
            Message::Runtime(RuntimeEvent::SandboxLost { .. }) => self.seen.sandbox_died(now),
            Message::Pulled { container, attempt, result } => {
                self.pulled(&container, attempt, result);
            }
            Message::Probed { container, kind, id, outcome } => {
                self.probed(&container, kind, &id, &outcome);
            }
            Message::NameReleased => self.seen.predecessor = !self.context.take_name(&self.id),
            Message::Referred { resource, name } => self.referred(&resource, &name).await,
        }
    }

    fn probed(&mut self, name: &str, kind: ProbeKind, id: &str, outcome: &Outcome) {
        let pod = Arc::clone(&self.pod);
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let Some(container) = containers.into_iter().find(|it| it.name == name) else { return };
        if let Some(note) = self.seen.probe_finished(container, kind, id, outcome) {
            self.note(note);
        }
    }

    /// What failed for want of this object is tried again; files made from it change.
    async fn referred(&mut self, resource: &str, name: &str) {
        if !tokens::refers_to(&self.pod, resource, name) {
            return;
        }
        self.seen.try_again(self.context.client.now());
        self.refresh_files().await;
    }

    fn note(&self, note: Note) {
        self.context.client.record(&self.object, note);
    }

    /// Writes an event unless the planner has said the same of the same attempt before.
    fn note_once(&mut self, note: Note) {
        let attempts: Vec<_> = self
            .seen
            .containers
            .values()
            .map(|seen| {
                let attempt = seen.current.as_ref().map(|it| it.attempt);
                (attempt, seen.image.failure.as_ref().map(|it| it.failed_at))
            })
            .collect();
        let mark = format!("{} {attempts:?}", note.message);
        let key = (note.field_path.clone(), note.reason);
        if self.noted.insert(key, mark.clone()) != Some(mark) {
            self.note(note);
        }
    }
}

fn earliest(wake: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(wake.map_or(at, |wake| wake.min(at)))
}
