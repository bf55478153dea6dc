//! What the runtime is asked for: a sandbox, a container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coracle_runtime::{
    Capabilities, ContainerSpec, Mount, Propagation, Rootfs, SandboxSpec, Seccomp, User,
};
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext, VolumeMount};

use super::env::Env;
use super::{ContainerError, PodId, is_on_host, resources};
use crate::images::Image;

/// A volume that is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub path: PathBuf,
    /// Nothing may be written to it, whatever the container says.
    pub readonly: bool,
}

/// Everything that a container's specification is made from.
pub(crate) struct Inputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub image: &'a Image,
    pub env: &'a Env,
    pub user: User,
    pub mounts: Vec<Mount>,
    pub attempt: u32,
    pub id: String,
    pub log_path: PathBuf,
    pub seccomp_profiles: &'a Path,
    pub memory_of_node: i64,
    /// The runtime's id of the container whose processes it is to see.
    pub target: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

/// The sandbox of a pod.
pub(crate) fn sandbox_spec(
    pod: &Pod,
    hostname: String,
    node_netns: &Path,
    log_directory: &Path,
    annotations: BTreeMap<String, String>,
) -> SandboxSpec {
    let id = PodId::of(pod);
    let spec = pod.spec.clone().unwrap_or_default();
    let sysctls = spec.security_context.and_then(|it| it.sysctls).unwrap_or_default();
    let host_network = is_on_host(pod);
    SandboxSpec {
        hostname,
        pod_uid: id.uid,
        namespace: id.namespace,
        name: id.name,
        sysctls: sysctls.into_iter().map(|it| (it.name, it.value)).collect(),
        host_network,
        host_network_path: host_network.then(|| node_netns.to_owned()),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_process_namespace: spec.share_process_namespace == Some(true),
        resources: resources::pod_resources(pod),
        shm_size: None,
        log_directory: log_directory.to_owned(),
        labels: BTreeMap::new(),
        annotations,
    }
}

/// The container.
///
/// # Errors
/// When there is nothing to run.
pub(crate) fn container_spec(inputs: Inputs<'_>) -> Result<ContainerSpec, ContainerError> {
    let Inputs { pod, container, image, env, .. } = inputs;
    let security = container.security_context.clone().unwrap_or_default();
    let cwd = container.working_dir.as_ref().unwrap_or(&image.config.config.working_dir);
    Ok(ContainerSpec {
        id: inputs.id,
        name: container.name.clone(),
        attempt: inputs.attempt,
        rootfs: Rootfs { layers: image.layers.clone() },
        args: arguments(container, image, env)?,
        env: env.lines_over(&image.config.config.env),
        cwd: cwd.clone(),
        user: inputs.user,
        mounts: inputs.mounts,
        readonly_rootfs: security.read_only_root_filesystem == Some(true),
        privileged: security.privileged == Some(true),
        capabilities: capabilities(&security),
        no_new_privileges: security.allow_privilege_escalation == Some(false),
        seccomp: seccomp(pod, &security, inputs.seccomp_profiles),
        unmasked_paths: security.proc_mount.as_deref() == Some("Unmasked"),
        resources: resources::container_resources(container),
        oom_score_adj: resources::oom_score_adj(pod, container, inputs.memory_of_node),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        log_path: inputs.log_path,
        log_max_size: None,
        process_namespace_of: inputs.target,
        labels: BTreeMap::new(),
        annotations: inputs.annotations,
    })
}

/// The pod's `command` replaces the image's program and its arguments, `args` the latter only.
fn arguments(
    container: &Container,
    image: &Image,
    env: &Env,
) -> Result<Vec<String>, ContainerError> {
    let run = &image.config.config;
    let expand = |list: &[String]| list.iter().map(|text| env.expand(text)).collect::<Vec<_>>();
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    let mut all = if command.is_empty() { run.entrypoint.clone() } else { expand(command) };
    match (args.is_empty(), command.is_empty()) {
        (false, _) => all.extend(expand(args)),
        (true, true) => all.extend(run.cmd.iter().cloned()),
        (true, false) => {}
    }
    if all.is_empty() { Err(ContainerError::create("no command specified")) } else { Ok(all) }
}

fn capabilities(security: &SecurityContext) -> Capabilities {
    let changes = security.capabilities.clone().unwrap_or_default();
    Capabilities { add: changes.add.unwrap_or_default(), drop: changes.drop.unwrap_or_default() }
}

fn seccomp(pod: &Pod, security: &SecurityContext, profiles: &Path) -> Seccomp {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let of_pod = of_pod.and_then(|security| security.seccomp_profile.as_ref());
    let profile: Option<&SeccompProfile> = security.seccomp_profile.as_ref().or(of_pod);
    match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_deref())) {
        Some(("Unconfined", _)) => Seccomp::Unconfined,
        Some(("Localhost", Some(path))) => Seccomp::Local(profiles.join(path)),
        _ => Seccomp::RuntimeDefault,
    }
}

/// A volume's mount, once it is known where its content is, on a kernel that can forbid writing in
/// mounts below, or not.
///
/// # Errors
/// When that is asked for and cannot be.
pub(crate) fn mount(
    mount: &VolumeMount,
    volume: &Mounted,
    source: PathBuf,
    can_forbid: bool,
) -> Result<Mount, ContainerError> {
    let readonly_below = readonly_below(mount, can_forbid)?;
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    };
    Ok(Mount {
        source,
        target: absolute(&mount.mount_path),
        readonly: mount.read_only == Some(true) || volume.readonly,
        readonly_below,
        recursive: true,
        propagation,
    })
}

/// What becomes of `recursiveReadOnly`, in upstream's words.
fn readonly_below(mount: &VolumeMount, can_forbid: bool) -> Result<bool, ContainerError> {
    let mode = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
    if mode == "Disabled" {
        return Ok(false);
    }
    let refused = |why: &str| {
        let name = &mount.name;
        let what = format!("volume \"{name}\" requested recursive read-only mode, but it is {why}");
        Err(ContainerError::create(what))
    };
    if mount.read_only != Some(true) {
        return refused("not read-only");
    }
    match mode {
        "Enabled" if !can_forbid => refused("not supported by the runtime"),
        _ => Ok(can_forbid),
    }
}

fn absolute(path: &str) -> PathBuf {
    if path.starts_with('/') { PathBuf::from(path) } else { Path::new("/").join(path) }
}

/// One of the files that every container gets.
pub(crate) fn file(source: PathBuf, target: &str) -> Mount {
    let propagation = Propagation::Private;
    let target = target.into();
    Mount { source, target, propagation, ..Mount::default() }
}
