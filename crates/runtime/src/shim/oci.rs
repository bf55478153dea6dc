//! A container's specification in the words of the OCI runtime specification.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use caps::CapsHashSet;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    self as oci, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceBuilder,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, MountBuilder,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use crate::cgroup::Cgroup;
use crate::{ContainerSpec, Mount, Propagation, Resources, SandboxSpec};

/// Of the whole machine, and thus hidden from containers; upstream's list.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// As above, but harmless to read.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What every environment starts with, as upstream's.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container's specification is made of besides itself.
pub struct Context<'a> {
    pub sandbox: &'a SandboxSpec,
    pub rootfs: &'a Path,
    /// The pod's `/dev/shm`.
    pub shm: &'a Path,
    pub cgroup: &'a Cgroup,
    /// A process namespace to join; `None` for an own one.
    pub process_namespace: Option<PathBuf>,
    /// What the library leaves for the executor.
    pub capabilities: &'a CapsHashSet,
}

/// The whole specification.
pub fn spec(container: &ContainerSpec, context: &Context<'_>) -> Result<Spec, OciSpecError> {
    let process = process(container, context, &container.args, container.tty)?;
    let root = RootBuilder::default().path(context.rootfs).readonly(container.readonly_rootfs);
    let mut linux = LinuxBuilder::default()
        .cgroups_path(context.cgroup.path())
        .namespaces(namespaces(context)?)
        .resources(resources(container, context)?)
        .rootfs_propagation(root_propagation(&container.mounts))
        .masked_paths(Vec::new())
        .readonly_paths(Vec::new());
    if container.privileged {
        linux = linux.devices(host_devices()?);
    } else {
        let (masked, read_only): (&[&str], &[&str]) =
            if container.unmasked_paths { (&[], &[]) } else { (&MASKED, &READ_ONLY) };
        let read_only = read_only.iter().map(|path| (*path).to_owned());
        linux = linux
            .masked_paths(masked.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
            .readonly_paths(read_only.chain(cgroup_mounts(context)).collect::<Vec<_>>());
    }
    let spec = SpecBuilder::default()
        .version("1.2.0")
        .root(root.build()?)
        .process(process)
        .mounts(mounts(container, context)?)
        .linux(linux.build()?);
    let mut spec = spec.build()?;
    // The builder fills in names of its own.
    spec.set_hostname(None).set_domainname(None).set_annotations(None);
    Ok(spec)
}

/// A process of the container: its first, or a command.
pub fn process(
    container: &ContainerSpec,
    context: &Context<'_>,
    arguments: &[String],
    terminal: bool,
) -> Result<oci::Process, OciSpecError> {
    let mut groups = container.user.additional_gids.clone();
    if !groups.contains(&container.user.gid) {
        groups.insert(0, container.user.gid);
    }
    let user = UserBuilder::default()
        .uid(container.user.uid)
        .gid(container.user.gid)
        .additional_gids(groups)
        .build()?;
    let set: oci::Capabilities = context.capabilities.iter().filter_map(to_oci).collect();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(oci::Capabilities::new())
        .ambient(oci::Capabilities::new())
        .build()?;
    let mut process = ProcessBuilder::default()
        .args(arguments)
        .env(environment(container, context.sandbox, terminal))
        .cwd(working_directory(container))
        .user(user)
        .terminal(terminal)
        .capabilities(capabilities)
        .rlimits(Vec::new());
    // The library looks only whether it is there, not whether it is true.
    if container.no_new_privileges {
        process = process.no_new_privileges(true);
    }
    let mut process = process.build()?;
    if !container.no_new_privileges {
        process.set_no_new_privileges(None);
    }
    Ok(process)
}

fn to_oci(capability: &caps::Capability) -> Option<oci::Capability> {
    capability.to_string().trim_start_matches("CAP_").parse().ok()
}

pub fn working_directory(container: &ContainerSpec) -> &str {
    if container.cwd.is_empty() { "/" } else { &container.cwd }
}

fn environment(container: &ContainerSpec, sandbox: &SandboxSpec, terminal: bool) -> Vec<String> {
    let mut variables = vec![PATH.to_owned()];
    if !sandbox.hostname.is_empty() {
        variables.push(format!("HOSTNAME={}", sandbox.hostname));
    }
    if terminal {
        variables.push("TERM=xterm".to_owned());
    }
    for pair in &container.env {
        let name = pair.split_once('=').map_or(pair.as_str(), |(name, _)| name);
        variables.retain(|known| known.split_once('=').is_none_or(|(other, _)| other != name));
        variables.push(pair.clone());
    }
    variables
}

fn namespaces(context: &Context<'_>) -> Result<Vec<oci::LinuxNamespace>, OciSpecError> {
    // Network, IPC and host name are the shim's own, which the container inherits.
    let new = |kind| LinuxNamespaceBuilder::default().typ(kind).build();
    let mut list = vec![new(LinuxNamespaceType::Mount)?];
    if context.cgroup.is_unified() {
        list.push(new(LinuxNamespaceType::Cgroup)?);
    }
    if let Some(path) = &context.process_namespace {
        let pid = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Pid);
        list.push(pid.path(path.clone()).build()?);
    } else if !context.sandbox.host_pid {
        list.push(new(LinuxNamespaceType::Pid)?);
    }
    Ok(list)
}

fn resources(
    container: &ContainerSpec,
    context: &Context<'_>,
) -> Result<LinuxResources, OciSpecError> {
    let Resources { memory_limit, cpu_quota, cpu_period, cpu_shares, pids_limit } =
        container.resources;
    let devices = if container.privileged {
        vec![LinuxDeviceCgroupBuilder::default().allow(true).access("rwm").build()?]
    } else {
        vec![LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?]
    };
    let mut resources = LinuxResourcesBuilder::default().devices(devices);
    if let Some(limit) = memory_limit.and_then(|limit| i64::try_from(limit).ok()) {
        let mut memory = LinuxMemoryBuilder::default().limit(limit);
        if context.cgroup.limits_swap() {
            memory = memory.swap(limit);
        }
        resources = resources.memory(memory.build()?);
    }
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(quota) = cpu_quota.filter(|quota| *quota > 0) {
        cpu = cpu.quota(quota).period(cpu_period.unwrap_or(100_000));
    }
    if let Some(shares) = cpu_shares {
        cpu = cpu.shares(shares);
    }
    resources = resources.cpu(cpu.build()?);
    if let Some(limit) = pids_limit.filter(|limit| *limit > 0) {
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
    }
    resources.build()
}

/// All of the host's devices, as privileged containers get them.
fn host_devices() -> Result<Vec<oci::LinuxDevice>, OciSpecError> {
    let mut devices = Vec::new();
    let mut directories = vec![PathBuf::from("/dev")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let (path, kind) = (entry.path(), metadata.file_type());
            let ours = ["pts", "shm", "mqueue", "fd", "console", "ptmx"];
            if ours.iter().any(|name| *name == entry.file_name()) {
                continue;
            }
            let typ = match () {
                () if kind.is_dir() => {
                    directories.push(path);
                    continue;
                }
                () if kind.is_char_device() => LinuxDeviceType::C,
                () if kind.is_block_device() => LinuxDeviceType::B,
                () => continue,
            };
            let (major, minor) =
                (nix::libc::major(metadata.rdev()), nix::libc::minor(metadata.rdev()));
            let device = LinuxDeviceBuilder::default().path(path).typ(typ);
            let device = device.major(i64::from(major)).minor(i64::from(minor));
            let device = device.file_mode(metadata.mode() & 0o7777);
            devices.push(device.uid(metadata.uid()).gid(metadata.gid()).build()?);
        }
    }
    Ok(devices)
}

fn root_propagation(mounts: &[Mount]) -> &'static str {
    let has = |kind| mounts.iter().any(|mount| mount.propagation == kind);
    if has(Propagation::Bidirectional) { "shared" } else { "slave" }
}

/// Where version 1's hierarchies are mounted in a container. The library mounts them writable
/// whatever their options say, and who can write there can lift their own limits.
fn cgroup_mounts(context: &Context<'_>) -> Vec<String> {
    const ROOT: &str = "/sys/fs/cgroup";
    let names = context.cgroup.hierarchies();
    if names.is_empty() {
        return Vec::new();
    }
    let each = names.iter().map(|name| format!("{ROOT}/{name}"));
    std::iter::once(ROOT.to_owned()).chain(each).collect()
}

fn mounts(
    container: &ContainerSpec,
    context: &Context<'_>,
) -> Result<Vec<oci::Mount>, OciSpecError> {
    let access = if container.privileged { "rw" } else { "ro" };
    let closed = ["nosuid", "noexec", "nodev"];
    let shm = context.shm.to_string_lossy();
    let defaults: [(&str, &str, &str, Vec<&str>); 7] = [
        ("/proc", "proc", "proc", closed.to_vec()),
        ("/dev", "tmpfs", "tmpfs", vec!["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("/dev/mqueue", "mqueue", "mqueue", closed.to_vec()),
        ("/dev/shm", "bind", &shm, vec!["rbind", "rw", "nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", "sysfs", [&closed[..], &[access]].concat()),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [&closed[..], &["relatime", access]].concat()),
    ];
    let own = |target: &str| container.mounts.iter().any(|mount| mount.target == Path::new(target));
    let defaults = defaults.into_iter().filter(|(target, ..)| !own(target));
    let defaults = defaults.map(|(target, kind, source, options)| {
        let mount = MountBuilder::default().destination(target).typ(kind).source(source);
        mount.options(options.into_iter().map(str::to_owned).collect::<Vec<_>>()).build()
    });
    defaults.chain(container.mounts.iter().map(bind)).collect()
}

fn bind(mount: &Mount) -> Result<oci::Mount, OciSpecError> {
    let private = match (mount.propagation, mount.recursive) {
        (Propagation::Private, _) => "rprivate",
        (Propagation::HostToContainer, _) => "rslave",
        (Propagation::Bidirectional, _) => "rshared",
    };
    let options = [
        if mount.recursive { "rbind" } else { "bind" },
        if mount.readonly { "ro" } else { "rw" },
        private,
    ];
    MountBuilder::default()
        .destination(mount.target.clone())
        .typ("bind")
        .source(mount.source.clone())
        .options(options.map(str::to_owned).to_vec())
        .build()
}
