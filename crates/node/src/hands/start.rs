//! Starting a container: from its spec to a running process.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use coracle_runtime::{Container as RunContainer, ContainerSpec, Mount};
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use sha2::{Digest, Sha256};

use super::{Hands, machine};
use crate::context::Context;
use crate::images::Image;
use crate::planner::find_container;
use crate::pods::container::{self, Inputs, container_spec};
use crate::pods::env::{Env, environment};
use crate::pods::{ContainerError, PodId, user};
use crate::tasks::blocking;
use crate::volumes::{image_volume, sized, subpath};
use crate::worker::{Kept, Mounting, Start, StartFailure};

/// Upstream's limits of a termination message, from the file and from the log.
const MESSAGE_BYTES_MAX: u64 = 4096;
const LOG_BYTES_MAX: u64 = 2048;

impl Hands {
    /// Creates and starts a container.
    pub(super) async fn start_container(
        &self,
        start: &Start,
    ) -> Result<RunContainer, StartFailure> {
        let refused = |message| StartFailure::Refused { reason: "CreateContainerError", message };
        self.heal_volumes(start).await.map_err(refused)?;
        self.restore_files(start).await.map_err(refused)?;
        let Some((_, container)) = find_container(&start.pod, &start.container) else {
            return Err(refused(format!("container {} not found", start.container)));
        };
        let spec = self.prepare(start, &container).map_err(|error| {
            let ContainerError { reason, message } = error;
            StartFailure::Refused { reason, message }
        })?;
        self.tidy(start).await;
        let now = self.context.client.now();
        machine::start(&*self.context.runtime, &self.id.uid, &spec, now).await
    }

    /// A volume whose disk was full refuses writes until it is repaired and mounted anew, which
    /// nobody can do while a container has it. If the disk is still full, the next start tries again.
    async fn heal_volumes(&self, start: &Start) -> Result<(), String> {
        let paths: Vec<_> = self.held().volumes.values().map(|it| it.path.clone()).collect();
        match blocking(move || sized::any_is_unwell(&paths)).await {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.tidy(start).await;
                let mounted = self.mount(Mounting::First).await;
                mounted.map(drop).map_err(|failure| failure.message)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Somebody may have taken the pod's files away since its sandbox was made.
    async fn restore_files(&self, start: &Start) -> Result<(), String> {
        let files = self.context.places.files(&self.id.uid).map_err(|error| error.to_string())?;
        if super::sandbox::POD_FILES.iter().all(|(name, _)| files.join(name).exists()) {
            return Ok(());
        }
        let ip = start.pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let ip = ip.and_then(|ip| ip.parse().ok()).ok_or("the pod has no address")?;
        self.write_files(ip).map_err(|error| error.to_string())?;
        self.mount(Mounting::Anew).await.map(drop).map_err(|failure| failure.message)
    }

    /// The last run's root goes, and the logs of the one before it.
    async fn tidy(&self, start: &Start) {
        let (uid, name) = (&self.id.uid, &start.container);
        if let Some(last) = &start.last
            && let Err(error) = self.context.runtime.remove_container(uid, last).await
        {
            self.warn(&error.to_string(), "a container is not removed");
        }
        if let Some(former) = start.former {
            let log = log_path(&self.context, &self.id, name, former);
            let message = self.context.places.termination_log(uid, name, former);
            for path in [log.with_extension("log.1"), log, message] {
                // It may have been lost with the disk's other logs; that is as good.
                fs::remove_file(path).unwrap_or_default();
            }
        }
    }

    fn prepare(
        &self,
        start: &Start,
        container: &Container,
    ) -> Result<ContainerSpec, ContainerError> {
        let (context, attempt) = (&self.context, start.attempt);
        let name = container.image.as_deref().unwrap_or_default();
        let image = context.images.find(name).map_err(|e| ContainerError::create(e.to_string()))?;
        let image =
            image.ok_or_else(|| ContainerError::create(format!("image \"{name}\" not found")))?;
        let run = &image.config.config;
        let snapshot = context.client.api.snapshot();
        let pod = &start.pod;
        let env = environment(pod, container, &snapshot, &context.allocatable)?;
        let user = user::user(pod, container, &run.user, &image.layers)?;
        let mounts = self.mounts(container, attempt, &env)?;
        let seed = format!("{}/{}/{attempt}/{}", self.id.uid, container.name, context.client.now());
        container_spec(Inputs {
            pod,
            container,
            image: &image,
            env: &env,
            user,
            mounts,
            attempt,
            id: coracle_api::hex(&Sha256::digest(seed.as_bytes())),
            log_path: log_path(context, &self.id, &container.name, attempt),
            seccomp_profiles: &context.places.data.join("seccomp"),
            memory_of_node: context.allocatable.memory,
            target: start.target.clone(),
            annotations: Kept::of_container(
                (start.backoff_seconds, start.era),
                name,
                image_id(&image),
            ),
        })
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
        for (file, target) in super::sandbox::POD_FILES {
            if !own.iter().any(|mount| mount.mount_path == target) {
                mounts.push(container::file(pod_files.join(file), target));
            }
        }
        for (index, mount) in own.iter().enumerate() {
            mounts.push(self.volume_mount(container, index, mount, env)?);
        }
        Ok(mounts)
    }

    /// Has the volume mounted if it is an image.
    fn mount_image(&self, volume: &str) -> Result<(), ContainerError> {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let source = volumes.filter(|it| it.name == volume).find_map(|it| it.image.as_ref());
        let Some(source) = source else { return Ok(()) };
        let name = source.reference.as_deref().unwrap_or_default();
        let found = self.context.images.find(name);
        let found = found.map_err(|error| ContainerError::create(error.to_string()))?;
        let missing = || ContainerError::create(format!("image \"{name}\" not found"));
        let image = found.ok_or_else(missing)?;
        image_volume::mount(&self.context.places, &self.id.uid, volume, &image)
            .map_err(|error| ContainerError::create(error.to_string()))
    }

    fn volume_mount(
        &self,
        container: &Container,
        index: usize,
        mount: &VolumeMount,
        env: &Env,
    ) -> Result<Mount, ContainerError> {
        let volume = self.held().volumes.get(&mount.name).cloned();
        let volume = volume.ok_or_else(|| {
            ContainerError::create(format!("cannot find volume \"{}\" to mount", mount.name))
        })?;
        self.mount_image(&mount.name)?;
        let part = match (&mount.sub_path, &mount.sub_path_expr) {
            (_, Some(expression)) if !expression.is_empty() => Some(env.expand_path(expression)?),
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            _ => None,
        };
        let can_forbid = coracle_runtime::can_forbid_recursively();
        let Some(part) = part else {
            return container::mount(mount, &volume, volume.path.clone(), can_forbid);
        };
        let place = self.context.places.sub_path(&self.id.uid, &container.name, index);
        subpath::bind(&volume.path, &part, &place).map_err(|error| {
            let name = &mount.name;
            ContainerError::config(format!(
                "failed to prepare subPath for volumeMount \"{name}\" of container \"{}\": {error}",
                container.name
            ))
        })?;
        container::mount(mount, &volume, place, can_forbid)
    }
}

fn log_path(context: &Context, id: &PodId, name: &str, attempt: u32) -> PathBuf {
    context.places.logs(id).join(name).join(format!("{attempt}.log"))
}

/// What a container that has ended left as its last words.
pub(super) fn last_words(
    context: &Context,
    id: &PodId,
    container: &RunContainer,
    spec: Option<&Container>,
    failed: bool,
) -> String {
    let (name, attempt) = (&container.name, container.attempt);
    let path = context.places.termination_log(&id.uid, name, attempt);
    let message = tail(&path, MESSAGE_BYTES_MAX);
    let policy = spec.and_then(|spec| spec.termination_message_policy.as_deref());
    if message.is_empty() && policy == Some("FallbackToLogsOnError") && failed {
        return crate::logs::last_lines(&log_path(context, id, name, attempt), 80, LOG_BYTES_MAX);
    }
    message
}

fn image_id(image: &Image) -> &str {
    image.pulled_as.first().unwrap_or(&image.id)
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
