//! Starting a container: from its spec to a running process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use coracle_runtime::{ContainerSpec, ContainerState, Mount, RuntimeError};
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use sha2::{Digest, Sha256};

use super::Worker;
use crate::images::Image;
use crate::planner::{Exit, Instance, Note};
use crate::pods::container::{self, Inputs, container_spec, kept};
use crate::pods::env::{Env, environment};
use crate::pods::{ContainerError, user};
use crate::tasks::blocking;
use crate::volumes::{sized, subpath};

/// Upstream's limits of a termination message, from the file and from the log.
const MESSAGE_BYTES_MAX: u64 = 4096;
const LOG_BYTES_MAX: u64 = 2048;

impl Worker {
    pub(super) async fn start_container(&mut self, name: &str, attempt: u32, backoff: u32) {
        let Some((_, container)) = self.spec_of(name) else { return };
        let now = self.context.client.now();
        if let Err(why) = self.heal_volumes(name).await {
            self.note_of(name, Note::warning("Failed", format!("Error: {why}")));
            return self.seen.start_failed(name, "CreateContainerError", why, now);
        }
        let (spec, image) = match self.prepare(&container, attempt, backoff).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.note_of(name, Note::warning("Failed", format!("Error: {error}")));
                return self.seen.start_failed(name, error.reason, error.message, now);
            }
        };
        self.tidy(name).await;
        let runtime = &self.context.runtime;
        let instance = |started_at, exit| Instance {
            id: spec.id.clone(),
            attempt,
            sandbox: self.seen.sandbox_number,
            image: container.image.clone().unwrap_or_default(),
            image_id: image_id(&image),
            backoff_seconds: backoff,
            started_at,
            exit,
            stopping: None,
        };
        match runtime.start_container(&self.id.uid, &spec).await {
            Ok(started) => {
                let started_at = match started.state {
                    ContainerState::Running { started_at } => started_at,
                    _ => self.context.client.now(),
                };
                let instance = instance(started_at, None);
                self.seen.started(name, instance);
                self.note_of(name, Note::normal("Created", "Container created"));
                self.note_of(name, Note::normal("Started", "Container started"));
                if let Some(exit) = super::adopt::exit_of(&started, now) {
                    self.seen.exited(name, Some(&spec.id), exit);
                }
            }
            Err(RuntimeError::Start(error)) => {
                let exit = Exit {
                    code: 128,
                    signal: None,
                    at: self.context.client.now(),
                    reason: "StartError".to_owned(),
                    message: error.message.clone(),
                };
                let instance = instance(now, Some(exit));
                self.seen.started(name, instance);
                self.note_of(name, Note::normal("Created", "Container created"));
                self.note_of(name, Note::warning("Failed", format!("Error: {error}")));
            }
            Err(RuntimeError::SandboxNotFound(_) | RuntimeError::SandboxLost(_)) => {
                self.seen.sandbox_died(now);
            }
            Err(error) => {
                self.note_of(name, Note::warning("Failed", format!("Error: {error}")));
                self.seen.start_failed(name, "CreateContainerError", error.to_string(), now);
            }
        }
    }

    /// A volume whose disk was full refuses writes until it is repaired and mounted anew, which
    /// nobody can do while a container has it.
    async fn heal_volumes(&mut self, name: &str) -> Result<(), String> {
        let paths: Vec<_> = self.volumes.values().map(|volume| volume.path.clone()).collect();
        match blocking(move || sized::any_is_stuck(&paths)).await {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.tidy(name).await;
                self.mount_all().await.map_err(|failure| failure.message)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The last run's root goes, and the logs of the one before it.
    async fn tidy(&self, name: &str) {
        let Some(seen) = self.seen.containers.get(name) else { return };
        let (uid, runtime) = (&self.id.uid, &self.context.runtime);
        let last = seen.current.as_ref().filter(|it| it.sandbox == self.seen.sandbox_number);
        if let Some(last) = last
            && let Err(error) = runtime.remove_container(uid, &last.id).await
        {
            tracing::warn!(pod = %self.object.key(), name, %error, "a container is not removed");
        }
        if let Some(former) = &seen.previous {
            let log = self.log_path(name, former.attempt);
            let message = self.context.places.termination_log(uid, name, former.attempt);
            for path in [log.with_extension("log.1"), log, message] {
                // It may have been lost with the disk's other logs; that is as good.
                fs::remove_file(path).unwrap_or_default();
            }
        }
    }

    pub(super) fn log_path(&self, name: &str, attempt: u32) -> PathBuf {
        self.context.places.logs(&self.id).join(name).join(format!("{attempt}.log"))
    }

    async fn prepare(
        &self,
        container: &Container,
        attempt: u32,
        backoff: u32,
    ) -> Result<(ContainerSpec, Image), ContainerError> {
        let context = &self.context;
        let name = container.image.as_deref().unwrap_or_default();
        let image = context.images.find(name).map_err(|e| ContainerError::create(e.to_string()))?;
        let image =
            image.ok_or_else(|| ContainerError::create(format!("image \"{name}\" not found")))?;
        let run = &image.config.config;
        let snapshot = context.client.api.snapshot();
        // `status.podIP` in variables is the sandbox's, which the API may not show yet.
        let mut pod = (*self.pod).clone();
        pod.status = Some(crate::planner::status(&pod, &self.seen, context.client.now()));
        let env = environment(&pod, container, &snapshot, &context.allocatable)?;
        let user = user::user(&pod, container, &run.user, &image.layers)?;
        let mounts = self.mounts(container, attempt, &env)?;
        let seed = format!("{}/{}/{attempt}/{}", self.id.uid, container.name, context.client.now());
        let id = crate::images::hex(&Sha256::digest(seed.as_bytes()));
        let annotations = BTreeMap::from([
            (kept::BACKOFF.to_owned(), backoff.to_string()),
            (kept::IMAGE.to_owned(), name.to_owned()),
            (kept::IMAGE_ID.to_owned(), image_id(&image)),
        ]);
        let spec = container_spec(Inputs {
            pod: &pod,
            container,
            image: &image,
            env: &env,
            user,
            mounts,
            attempt,
            id,
            log_path: self.log_path(&container.name, attempt),
            seccomp_profiles: &context.places.data.join("seccomp"),
            memory_of_node: context.allocatable.memory,
            annotations,
        })?;
        Ok((spec, image))
    }

    fn mounts(
        &self,
        container: &Container,
        attempt: u32,
        env: &Env,
    ) -> Result<Vec<Mount>, ContainerError> {
        let (places, uid) = (&self.context.places, &self.id.uid);
        let io = |error: std::io::Error| ContainerError::create(error.to_string());
        let message = places.termination_log(uid, &container.name, attempt);
        fs::write(&message, []).map_err(io)?;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&message, permissions).map_err(io)?;
        let target = container.termination_message_path.as_deref();
        let mut mounts = vec![container::file(message, target.unwrap_or("/dev/termination-log"))];
        let own = container.volume_mounts.as_deref().unwrap_or_default();
        let pod_files =
            places.files(uid).map_err(|error| ContainerError::create(error.to_string()))?;
        for (file, target) in super::steps::POD_FILES {
            if !own.iter().any(|mount| mount.mount_path == target) {
                mounts.push(container::file(pod_files.join(file), target));
            }
        }
        for (index, mount) in own.iter().enumerate() {
            mounts.push(self.volume_mount(container, index, mount, env)?);
        }
        Ok(mounts)
    }

    fn volume_mount(
        &self,
        container: &Container,
        index: usize,
        mount: &VolumeMount,
        env: &Env,
    ) -> Result<Mount, ContainerError> {
        let volume = self.volumes.get(&mount.name).ok_or_else(|| {
            ContainerError::create(format!("cannot find volume \"{}\" to mount", mount.name))
        })?;
        let part = match (&mount.sub_path, &mount.sub_path_expr) {
            (_, Some(expression)) if !expression.is_empty() => Some(env.expand_path(expression)?),
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            _ => None,
        };
        let Some(part) = part else {
            return Ok(container::mount(mount, volume, volume.path.clone()));
        };
        let place = self.context.places.sub_path(&self.id.uid, &container.name, index);
        subpath::bind(&volume.path, &part, &place).map_err(|error| {
            let name = &mount.name;
            ContainerError::config(format!(
                "failed to prepare subPath for volumeMount \"{name}\" of container \"{}\": {error}",
                container.name
            ))
        })?;
        Ok(container::mount(mount, volume, place))
    }

    /// The exit with what the container left as its last words.
    pub(super) fn with_message(&self, name: &str, attempt: u32, exit: Exit) -> Exit {
        if !exit.message.is_empty() {
            return exit;
        }
        let path = self.context.places.termination_log(&self.id.uid, name, attempt);
        let mut message = tail(&path, MESSAGE_BYTES_MAX);
        let policy = self.spec_of(name).and_then(|(_, it)| it.termination_message_policy);
        let from_log = policy.as_deref() == Some("FallbackToLogsOnError");
        if message.is_empty() && from_log && exit.code != 0 {
            message = crate::logs::last_lines(&self.log_path(name, attempt), 80, LOG_BYTES_MAX);
        }
        Exit { message, ..exit }
    }
}

fn image_id(image: &Image) -> String {
    image.pulled_as.first().unwrap_or(&image.id).clone()
}

/// The last bytes of a file that a container wrote; empty when it cannot be read.
fn tail(path: &std::path::Path, bytes: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(bytes);
        file.seek(SeekFrom::Start(start))?;
        let mut content = Vec::new();
        file.take(bytes).read_to_end(&mut content)?;
        Ok(content)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
