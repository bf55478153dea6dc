//! The hands of the pods' workers: one task a pod runs its [`Worker`] and carries out on the
//! machine what that says.
//!
//! Nothing is decided here. Each operation is a task of its own whose end is a message; what is
//! changed and outlives the engine is changed within a step of [`crate::tasks::Tasks`], so that an
//! engine that stops in order does so between two of them.

mod images;
pub mod machine;
mod probing;
mod resize;
mod sandbox;
mod start;
mod tokens;
mod volumes;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use coracle_api::{Object, Timestamp};
use coracle_runtime::{Container, ContainerState, RuntimeEvent, Sandbox};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::Token;
use crate::context::Context;
use crate::letters::{Inbox, Outbox, letters};
use crate::lock::locked;
use crate::planner::{Rejection, find_container};
use crate::pods::PodId;
use crate::tasks::blocking;
use crate::templates::Template;
use crate::volumes::mounter::MountedVolumes;
use crate::worker::{Effect, End, Found, Message, Moment, Operation, Worker};

/// Held until a pod that was there before the node shows what runs of it now.
pub(crate) type FirstLook = mpsc::Sender<Infallible>;

/// A pod to work on, and what is known of it.
pub(crate) struct Start {
    pub object: Arc<Object>,
    pub pod: Arc<Pod>,
    pub sandbox: Option<Sandbox>,
    pub rejection: Option<Rejection>,
    /// Dropped when the API shows what runs of the pod.
    pub first: Option<FirstLook>,
}

/// What carries a pod's operations out.
#[derive(Clone)]
struct Hands {
    context: Arc<Context>,
    id: PodId,
    /// Of the last turn; nothing while the worker rests.
    pod: Arc<Pod>,
    held: Arc<Mutex<Held>>,
    outbox: Outbox,
}

/// What the pod has on this machine, for the operations alone.
#[derive(Default)]
struct Held {
    volumes: MountedVolumes,
    /// By volume and path.
    tokens: BTreeMap<(String, String), Token>,
}

/// How long a worker that hears nothing keeps what it would only need then.
const RESTS_AFTER: Duration = Duration::from_secs(5);

/// In the place of a pod whose worker rests: an empty one takes a few thousand bytes too.
static UNREAD: LazyLock<Arc<Pod>> = LazyLock::new(Arc::default);

/// A pod's task.
struct Task {
    worker: Worker,
    hands: Hands,
    inbox: Inbox,
    first: Option<FirstLook>,
}

/// Spawns the pod's task.
pub(crate) fn spawn(context: &Arc<Context>, start: Start) {
    let (outbox, inbox) = letters();
    let id = PodId::of(&start.pod);
    // Before it asks for its name: it may be told at once that the name is free now.
    context.board.enlist(&id.uid, outbox.clone());
    if start.sandbox.is_some() {
        context.board.hold_name(&id);
    }
    let containers = start.sandbox.iter().flat_map(|sandbox| &sandbox.containers);
    let last_words = containers
        .map(|container| (container.id.clone(), last_words(context, &id, &start.pod, container)))
        .collect();
    let found = Found {
        record: resize::remembered(&context.places, &id.uid),
        predecessor: !context.board.take_name(&id),
        host_ip: Some(context.link.node_ip),
        can_forbid_recursively: coracle_runtime::can_forbid_recursively(),
        rejection: start.rejection,
        sandbox: start.sandbox,
        last_words,
    };
    let worker = Worker::new(start.object, start.pod, found, context.client.now());
    if let Some(has) = worker.promised() {
        context.board.ledger().hold(&worker.id().uid, has);
    }
    run(context, worker, outbox, inbox, start.first);
}

/// Spawns a task that ends what is left of a pod that is gone.
pub(crate) fn spawn_orphan(context: &Arc<Context>, sandbox: &Sandbox) {
    tracing::info!(pod = %sandbox.name, uid = %sandbox.pod_uid, "removing what is left of it");
    let (outbox, inbox) = letters();
    let worker = Worker::of_orphan(sandbox, context.client.now());
    context.board.enlist(&sandbox.pod_uid, outbox.clone());
    context.board.hold_name(worker.id());
    run(context, worker, outbox, inbox, None);
}

fn run(
    context: &Arc<Context>,
    worker: Worker,
    outbox: Outbox,
    inbox: Inbox,
    first: Option<FirstLook>,
) {
    let hands = Hands {
        context: Arc::clone(context),
        id: worker.id().clone(),
        pod: Arc::clone(worker.pod()),
        held: Arc::default(),
        outbox,
    };
    context.tasks.spawn(Task { worker, hands, inbox, first }.run());
}

impl Task {
    async fn run(mut self) {
        let context = Arc::clone(&self.hands.context);
        let began = Instant::now();
        let mut message: Option<Box<Message>> = None;
        loop {
            let came = message.take().map(|boxed| *boxed);
            let moment = Moment { clock: context.client.now(), steady: began.elapsed() };
            let turn = self.worker.turn(came, moment);
            self.hands.pod = Arc::clone(self.worker.pod());
            for effect in turn.effects {
                self.hands.carry_out(effect);
            }
            context.shown.set(&self.worker);
            if self.worker.has_looked() {
                self.first = None;
            }
            if self.worker.is_done() {
                context.forget(self.worker.id());
                return;
            }
            match self.next(turn.wake).await {
                Some(next) => message = next,
                None => return,
            }
            if let Some(message) = &mut message {
                self.complete(message);
            }
        }
    }

    /// The next message, or `Some(None)` when it is time for a turn without one; `None` when nobody can
    /// send any more.
    async fn next(&mut self, wake: Option<Timestamp>) -> Option<Option<Box<Message>>> {
        let context = Arc::clone(&self.hands.context);
        let left = || wake.map_or(Duration::MAX, |wake| pause(wake, context.client.now()));
        if left() > RESTS_AFTER {
            if let Ok(message) = timeout(RESTS_AFTER, self.inbox.recv()).await {
                return message.map(Some);
            }
            self.worker.rest();
            self.hands.pod = Arc::clone(&UNREAD);
        }
        match timeout(left(), self.inbox.recv()).await {
            Ok(message) => message.map(Some),
            Err(_) => Some(None),
        }
    }

    /// Adds what only the machine knows to a message.
    fn complete(&self, message: &mut Message) {
        if let Message::Runtime(RuntimeEvent::ContainerExited { container, .. }, words) = message {
            *words = last_words(&self.hands.context, &self.hands.id, self.worker.pod(), container);
        }
    }
}

fn pause(wake: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(wake.duration_since(now)).unwrap_or_default()
}

/// What a container that has ended left to say.
fn last_words(context: &Context, id: &PodId, pod: &Pod, container: &Container) -> String {
    let failed = match &container.state {
        ContainerState::Exited { exit_code, .. } => *exit_code != 0,
        ContainerState::Lost { .. } => true,
        _ => return String::new(),
    };
    let spec = find_container(pod, &container.name).map(|(_, spec)| spec);
    start::last_words(context, id, container, spec.as_deref(), failed)
}

/// Sends the end of an operation, whatever happens to whoever carries it out.
struct Report {
    outbox: Outbox,
    end: Option<End>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let end = self.end.take().unwrap_or(End::Broken);
        self.outbox.send(Message::Ended(end));
    }
}

impl Hands {
    fn carry_out(&self, effect: Effect) {
        let context = &self.context;
        match effect {
            Effect::Begin(operation) => self.begin(operation),
            Effect::Pull { wanted, image } => self.pull(wanted, image),
            Effect::Probe { container, kind, id, ip } => self.probe(container, kind, id, ip),
            Effect::Hook { container, kind, id, ip } => self.hook(container, kind, id, ip),
            Effect::Note(object, note) => context.client.record(&object, note),
            Effect::Lived(template) => self.lived(&template),
            Effect::Failed(template) => context.templates().failed(&template),
        }
    }

    /// What runs of a template that has proved itself now is believed from now on.
    fn lived(&self, template: &Template) {
        let context = &self.context;
        if context.templates().lived(template.clone()) {
            let pods = template.pods(&context.client.api.snapshot());
            pods.iter().for_each(|uid| context.board.send(uid, Message::Proved(template.clone())));
        }
    }

    /// Carries an operation out, apart: its end is a message.
    fn begin(&self, operation: Operation) {
        let (hands, outbox) = (self.clone(), self.outbox.clone());
        self.context.tasks.spawn(async move {
            let mut report = Report { outbox, end: None };
            report.end = Some(hands.operate(operation).await);
        });
    }

    async fn operate(&self, operation: Operation) -> End {
        match operation {
            Operation::WriteStatus(object, status) => {
                End::StatusWritten(self.context.client.write_status(&object, &status).await)
            }
            Operation::DeletePod => End::Deleted(self.context.client.remove_pod(&self.id).await),
            operation => {
                let _step = self.context.tasks.step().await;
                self.operate_machine(operation).await
            }
        }
    }

    async fn operate_machine(&self, operation: Operation) -> End {
        let (context, uid) = (&self.context, &self.id.uid);
        match operation {
            Operation::Mount(mounting) => End::Mounted(self.mount(mounting).await),
            Operation::CreateSandbox { number, group } => {
                End::SandboxCreated(self.create_sandbox(number, group).await)
            }
            Operation::Allocate(allocate) => self.allocate(*allocate).await,
            Operation::Resize(changes) => self.resize(&changes).await,
            Operation::AttachNetwork { netns, ip } => {
                // It sends nothing before policies hold for it.
                if let Err(refused) = context.cover(&self.id).await {
                    return End::Attached(Err(refused));
                }
                let (kernel, uid) = (Arc::clone(&context.kernel), uid.clone());
                let attach = move || machine::attach(&*kernel, &uid, netns, ip);
                End::Attached(blocking(attach).await)
            }
            Operation::FindImage { image, .. } => End::ImageFound(self.find_image(&image)),
            Operation::Start(start) => {
                let started = self.start_container(&start).await;
                let trusted = context.templates().has_proved(&start.template);
                End::Started(started, trusted)
            }
            Operation::Signal { container, id, signal } => {
                let signal = self.signal_number(&container, signal);
                End::Signalled(machine::signal(&*context.runtime, uid, &id, signal).await)
            }
            Operation::RemoveSandbox => {
                let removed = context.remove_sandbox(uid).await;
                if let Err(error) = &removed {
                    self.warn(error, "the sandbox is not removed");
                }
                End::SandboxRemoved(removed)
            }
            Operation::Unmount => {
                let unmounted = self.unmount().await;
                if let Err(error) = &unmounted {
                    self.warn(error, "a volume is not taken away");
                }
                End::Unmounted(unmounted)
            }
            Operation::WriteStatus(..) | Operation::DeletePod => End::Broken,
        }
    }

    fn warn(&self, error: &str, what: &str) {
        tracing::warn!(pod = %self.id.name, namespace = %self.id.namespace, error, "{what}");
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        locked(&self.held)
    }
}
