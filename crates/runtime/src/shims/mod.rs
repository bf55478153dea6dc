//! The real [`Containers`]: spawns a shim per pod, talks to it, and cleans up after it.

mod clean;
mod client;
mod program;
mod silent;
mod streams;

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::boot::{Boot, SANDBOX_VARIABLE, SandboxDir, tidy_mountpoints, write_json};
use crate::cgroup::Cgroup;
use crate::mounts;
use crate::protocol::{Reply, Request};
use crate::{
    AttachSpec, Config, Container, ContainerSpec, Containers, EventReceiver, EventSender, ExecSpec,
    Reading, Resources, RuntimeError, RuntimeEvent, Sandbox, SandboxSpec, Session,
};
use client::Client;
use program::Program;

/// How long a shim may take for an answer; it does everything in milliseconds.
const ANSWER: Duration = Duration::from_secs(60);

/// How long it may take where there is nothing to do but to answer.
const SHORT_ANSWER: Duration = Duration::from_secs(10);

/// Sandboxes that a new engine looks at at once: some shims may not answer, and are waited for.
const LOOKS_AT_ONCE: usize = 64;

/// How long a shim may take until it listens.
const STARTUP: Duration = Duration::from_secs(5);

/// Containers in shims.
pub struct Shims {
    config: Config,
    program: Program,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    subscribers: Mutex<Vec<EventSender>>,
    /// Sandboxes whose shims tell us what ends.
    watched: Mutex<HashSet<String>>,
    /// Held while a sandbox is made or removed.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Shims {
    /// Uses, and if need be makes, the state directory.
    pub fn new(config: Config) -> Result<Self, RuntimeError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&config.state_dir);
        // Absolute, as mounts are listed; the shim has another working directory.
        let found = made.and_then(|()| fs::canonicalize(&config.state_dir));
        let found = found.and_then(|dir| tidy_mountpoints(&dir).map(|()| dir));
        let path = config.state_dir;
        let state_dir = found.map_err(|source| RuntimeError::State { path, source })?;
        if config.limits != Resources::default() {
            let parent = &config.cgroup_parent;
            let made = Cgroup::at(parent).and_then(|cgroup| cgroup.create(&config.limits));
            made.map_err(|source| RuntimeError::Limit { cgroup: parent.clone(), source })?;
        }
        let program = Program::of(config.shim_exe.clone());
        Ok(Self { config: Config { state_dir, ..config }, program, shared: Arc::default() })
    }

    /// Removes the parent of the pods' control groups: for when the last sandbox has been removed.
    /// What is still in it (a sandbox that was being made when its engine stopped) is killed.
    pub fn remove_cgroup_parent(&self) -> Result<(), RuntimeError> {
        let removed = Cgroup::at(&self.config.cgroup_parent).and_then(|cgroup| {
            cgroup.kill_all(clean::DEATH)?;
            cgroup.remove()
        });
        let what = format!("the control group {}", self.config.cgroup_parent);
        removed.map_err(|source| RuntimeError::Clean { what, source })
    }

    fn dir(&self, pod_uid: &str) -> Result<SandboxDir, RuntimeError> {
        if !is_plain(pod_uid) {
            return Err(RuntimeError::InvalidSpec(format!("pod UID {pod_uid:?}")));
        }
        Ok(SandboxDir::new(self.config.state_dir.join(pod_uid)))
    }

    fn cgroup(&self, pod_uid: &str) -> String {
        format!("{}/pod{pod_uid}", self.config.cgroup_parent.trim_end_matches('/'))
    }

    /// Asks the shim of a sandbox; the answer is not an error.
    async fn ask(&self, pod_uid: &str, request: Request) -> Result<(Client, Reply), RuntimeError> {
        let dir = self.dir(pod_uid)?;
        if !dir.path().exists() {
            return Err(RuntimeError::SandboxNotFound(pod_uid.to_owned()));
        }
        match talk(&dir, &request).await {
            Ok((_, Reply::Error(failure))) => Err(failure.into()),
            Ok(answer) => Ok(answer),
            Err(_) if !shim_lives(&dir) => Err(RuntimeError::SandboxLost(pod_uid.to_owned())),
            Err(source) => Err(RuntimeError::Talk { pod_uid: pod_uid.to_owned(), source }),
        }
    }

    /// The state of a sandbox whose shim lives; from now on its events are passed on.
    async fn watch(&self, pod_uid: &str) -> Result<Sandbox, RuntimeError> {
        let first = self.shared.watched().insert(pod_uid.to_owned());
        let request = if first { Request::Watch } else { Request::State };
        match self.ask(pod_uid, request).await {
            Ok((client, Reply::Sandbox(sandbox))) => {
                if first {
                    tokio::spawn(self.shared.clone().pass_on(client, pod_uid.to_owned()));
                    for container in &sandbox.containers {
                        self.shared.mind(pod_uid, container);
                    }
                }
                Ok(sandbox)
            }
            other => {
                if first {
                    self.shared.watched().remove(pod_uid);
                }
                Err(other.err().unwrap_or_else(|| unexpected(pod_uid)))
            }
        }
    }

    /// The sandbox in a directory; `None` when it never came to be, and is removed.
    async fn find(&self, pod_uid: &str) -> Result<Option<Sandbox>, RuntimeError> {
        let _held = self.shared.lock(pod_uid).await;
        let dir = self.dir(pod_uid)?;
        match self.watch_patiently(pod_uid, &dir).await {
            Ok(sandbox) => return Ok(Some(sandbox)),
            Err(RuntimeError::SandboxLost(_)) => {}
            Err(error @ RuntimeError::Talk { .. }) => {
                // An engine must not wait for ever for one pod of many.
                tracing::warn!(pod_uid, %error, "killing a shim that does not answer");
                // One that does not die either is killed again when its sandbox is removed.
                if let Err(error) = self.kill_shim(dir.clone()).await {
                    tracing::warn!(pod_uid, %error, "the shim is not dead yet");
                }
            }
            Err(error) => return Err(error),
        }
        if let Ok(sandbox) = dir.lost() {
            return Ok(Some(sandbox));
        }
        if let Err(error) = self.clean(pod_uid, dir).await {
            // It is nobody's pod, and must not keep the others from running.
            tracing::warn!(pod_uid, %error, "what is left of a sandbox cannot be removed");
        }
        Ok(None)
    }

    /// As [`Self::find`]: one sandbox that cannot be looked at must not hide the others.
    async fn look(&self, pod_uid: String) -> Option<Sandbox> {
        match self.find(&pod_uid).await {
            Ok(found) => found,
            // Removed since the directory was read, or not ours.
            Err(RuntimeError::SandboxNotFound(_) | RuntimeError::InvalidSpec(_)) => None,
            Err(error) => {
                tracing::warn!(pod_uid, %error, "a sandbox cannot be looked at");
                None
            }
        }
    }

    /// A shim that the last engine has just started needs a moment until it listens.
    async fn watch_patiently(
        &self,
        pod_uid: &str,
        dir: &SandboxDir,
    ) -> Result<Sandbox, RuntimeError> {
        let now = tokio::time::Instant::now();
        let deadline = now.checked_add(STARTUP).unwrap_or(now);
        loop {
            match self.watch(pod_uid).await {
                Err(RuntimeError::Talk { source, .. })
                    if is_not_listening(&source)
                        && shim_lives(dir)
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                other => return other,
            }
        }
    }

    async fn kill_shim(&self, dir: SandboxDir) -> Result<(), RuntimeError> {
        let killed = tokio::task::spawn_blocking(move || clean::kill_shim(&dir)).await;
        let killed = killed.unwrap_or_else(|error| Err(error.into()));
        killed.map_err(|source| RuntimeError::Clean { what: "the shim".to_owned(), source })
    }

    async fn clean(&self, pod_uid: &str, dir: SandboxDir) -> Result<(), RuntimeError> {
        let cgroup = self.cgroup(pod_uid);
        let cleaned = tokio::task::spawn_blocking(move || clean::remove(&dir, &cgroup)).await;
        cleaned.unwrap_or_else(|error| {
            Err(RuntimeError::Clean { what: "the sandbox".to_owned(), source: error.into() })
        })
    }

    async fn spawn(&self, dir: &SandboxDir, spec: &SandboxSpec) -> Result<(), RuntimeError> {
        let pod_uid = spec.pod_uid.clone();
        let failed = |source| RuntimeError::SpawnShim { pod_uid: pod_uid.clone(), source };
        let boot = Boot {
            spec: spec.clone(),
            cgroup: self.cgroup(&spec.pod_uid),
            created_at: Timestamp::now(),
        };
        write_json(&dir.boot_file(), &boot).map_err(failed)?;
        let log =
            OpenOptions::new().create(true).append(true).open(dir.log_file()).map_err(failed)?;
        let mut shim = Command::new(self.program.path());
        // As `ps` shows it, whatever file it is run from.
        // Containers that share its process namespace see its children's arguments, never their
        // environment: that tells where the data is.
        shim.arg0("coracle").arg("shim").arg(format!("{}/{}", spec.namespace, spec.name));
        shim.arg(&spec.pod_uid).env_clear().env(SANDBOX_VARIABLE, dir.path());
        shim.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = shim.spawn().map_err(failed)?;
        let mut said = String::new();
        if let Some(mut output) = child.stdout.take() {
            output.read_to_string(&mut said).await.map_err(failed)?;
        }
        // The child is dropped here, and reaped in the background when it ends.
        match said.as_str() {
            "ready" => Ok(()),
            "" => Err(RuntimeError::CreateSandbox("the shim ended at once".to_owned())),
            message => Err(RuntimeError::CreateSandbox(message.to_owned())),
        }
    }
}

impl Shared {
    fn watched(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lock(&self, pod_uid: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody holds or awaits a lock of which the map has the only reference.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(pod_uid.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }

    fn emit(&self, event: &RuntimeEvent) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// Tells the end of a container if its shim does not.
    fn mind(self: &Arc<Self>, pod_uid: &str, container: &Container) {
        let (shared, pod_uid) = (Arc::clone(self), pod_uid.to_owned());
        let end = silent::end_of(container.clone());
        tokio::spawn(async move {
            let Some(container) = end.await else { return };
            // One that is being removed tells nothing any more.
            if shared.watched().contains(&pod_uid) {
                tracing::warn!(pod_uid, container = container.id, "its shim did not tell its end");
                shared.emit(&RuntimeEvent::ContainerExited { pod_uid, container });
            }
        });
    }

    /// Passes on what a shim tells until it is gone.
    async fn pass_on(self: Arc<Self>, mut client: Client, pod_uid: String) {
        while let Ok(reply) = client.receive().await {
            if let Reply::Exited(container) = reply {
                self.emit(&RuntimeEvent::ContainerExited { pod_uid: pod_uid.clone(), container });
            }
        }
        // A sandbox that is being removed is no longer watched.
        if self.watched().remove(&pod_uid) {
            self.emit(&RuntimeEvent::SandboxLost { pod_uid });
        }
    }
}

/// Whether a name leads to one place below a directory, and nowhere else.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

fn is_not_listening(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn talk(dir: &SandboxDir, request: &Request) -> io::Result<(Client, Reply)> {
    let conversation = async {
        let mut client = Client::ask(dir, request).await?;
        let reply = client.receive().await?;
        Ok((client, reply))
    };
    let limit = match request {
        Request::Watch | Request::State | Request::Signal { .. } => SHORT_ANSWER,
        _ => ANSWER,
    };
    tokio::time::timeout(limit, conversation).await?
}

fn shim_lives(dir: &SandboxDir) -> bool {
    dir.shim().is_ok_and(|shim| shim.is_alive())
}

fn unexpected(pod_uid: &str) -> RuntimeError {
    let source = io::Error::new(io::ErrorKind::InvalidData, "unexpected answer");
    RuntimeError::Talk { pod_uid: pod_uid.to_owned(), source }
}

#[async_trait::async_trait]
impl Containers for Shims {
    async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError> {
        let path = &self.config.state_dir;
        let failed = |source| RuntimeError::State { path: path.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        let looks = names.into_iter().map(|pod_uid| self.look(pod_uid));
        let found = stream::iter(looks).buffered(LOOKS_AT_ONCE).collect::<Vec<_>>().await;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox, RuntimeError> {
        let dir = self.dir(&spec.pod_uid)?;
        let _held = self.shared.lock(&spec.pod_uid).await;
        match DirBuilder::new().mode(0o700).create(dir.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return self.watch(&spec.pod_uid).await;
            }
            Err(source) => {
                return Err(RuntimeError::State { path: dir.path().to_owned(), source });
            }
        }
        let spawned = self.spawn(&dir, spec).await;
        let created = match spawned {
            Ok(()) => self.watch(&spec.pod_uid).await,
            Err(error) => Err(error),
        };
        if created.is_err()
            && let Err(error) = self.clean(&spec.pod_uid, dir).await
        {
            tracing::warn!(pod_uid = spec.pod_uid, %error, "cannot clean a failed sandbox");
        }
        created
    }

    async fn start_container(
        &self,
        pod_uid: &str,
        spec: &ContainerSpec,
    ) -> Result<Container, RuntimeError> {
        match self.ask(pod_uid, Request::Start(Box::new(spec.clone()))).await?.1 {
            Reply::Container(container) => {
                self.shared.mind(pod_uid, &container);
                Ok(container)
            }
            _ => Err(unexpected(pod_uid)),
        }
    }

    async fn resize(
        &self,
        pod_uid: &str,
        container_id: Option<&str>,
        resources: &Resources,
    ) -> Result<(), RuntimeError> {
        self.dir(pod_uid)?;
        if let Some(id) = container_id.filter(|id| !is_plain(id)) {
            return Err(RuntimeError::InvalidSpec(format!("container {id:?}")));
        }
        let (cgroup, resources) = (self.cgroup(pod_uid), *resources);
        let group = match container_id {
            Some(id) => format!("{cgroup}/{id}"),
            None => cgroup,
        };
        let path = group.clone();
        // Not the shim's work: one that is silent, or older than this, is in nobody's way.
        let change = move || Cgroup::at(&path).and_then(|cgroup| cgroup.change(&resources));
        let changed = tokio::task::spawn_blocking(change).await;
        let changed = changed.unwrap_or_else(|error| Err(error.into()));
        changed.map_err(|source| RuntimeError::Resize { cgroup: group, source })
    }

    async fn signal(&self, pod_uid: &str, id: &str, signal: i32) -> Result<(), RuntimeError> {
        let request = Request::Signal { container_id: id.to_owned(), signal };
        match self.ask(pod_uid, request).await {
            Ok(_) | Err(RuntimeError::SandboxNotFound(_) | RuntimeError::SandboxLost(_)) => Ok(()),
            Err(RuntimeError::ContainerNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove_container(&self, pod_uid: &str, id: &str) -> Result<(), RuntimeError> {
        match self.ask(pod_uid, Request::Remove { container_id: id.to_owned() }).await {
            Ok(_) | Err(RuntimeError::SandboxNotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove_sandbox(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let dir = self.dir(pod_uid)?;
        let _held = self.shared.lock(pod_uid).await;
        self.shared.watched().remove(pod_uid);
        self.clean(pod_uid, dir).await
    }

    async fn exec(
        &self,
        pod_uid: &str,
        container_id: &str,
        spec: &ExecSpec,
    ) -> Result<Session, RuntimeError> {
        let request = Request::Exec { container_id: container_id.to_owned(), spec: spec.clone() };
        let (client, reply) = self.ask(pod_uid, request).await?;
        let talked = |source| RuntimeError::Talk { pod_uid: pod_uid.to_owned(), source };
        streams::session(client, pod_uid, &reply, spec.stdin).map_err(talked)
    }

    async fn attach(
        &self,
        pod_uid: &str,
        container_id: &str,
        spec: &AttachSpec,
    ) -> Result<Session, RuntimeError> {
        let request = Request::Attach { container_id: container_id.to_owned(), spec: *spec };
        let (client, reply) = self.ask(pod_uid, request).await?;
        let talked = |source| RuntimeError::Talk { pod_uid: pod_uid.to_owned(), source };
        streams::session(client, pod_uid, &reply, spec.stdin).map_err(talked)
    }

    async fn usage(&self, containers: Vec<(String, String)>) -> Reading {
        let Ok(all) = Cgroup::at(&self.config.cgroup_parent) else { return Reading::default() };
        let read = move || Reading {
            all: all.used().ok(),
            containers: containers
                .iter()
                .map(|(uid, id)| match is_plain(uid) && is_plain(id) {
                    true => all.child(&format!("pod{uid}")).child(id).used().ok(),
                    // A status that somebody wrote by hand.
                    false => None,
                })
                .collect(),
        };
        // A container that has just ended, or a kernel that does not count: nothing is known.
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    fn written(&self, pod_uid: &str, container_id: &str) -> Option<PathBuf> {
        let dir = self.dir(pod_uid).ok().filter(|_| is_plain(container_id))?;
        Some(mounts::upper(&dir.container(container_id)))
    }

    fn events(&self) -> EventReceiver {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut subscribers =
            self.shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.push(sender);
        receiver
    }
}
