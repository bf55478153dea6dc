//! How a shim becomes one: alone, in the pod's namespaces, with the pod's group made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid};

use crate::boot::{Boot, SandboxDir};
use crate::cgroup::Cgroup;
use crate::{SandboxSpec, mounts, sys};

/// Signals that a shim takes from a descriptor (a child's end) or not at all (those that stop
/// daemons: it ends when its pod is removed).
pub fn signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Leaves the engine's session, directory and signals behind.
pub fn detach() -> io::Result<()> {
    nix::unistd::setsid()?;
    std::env::set_current_dir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    nix::sys::prctl::set_child_subreaper(true)?;
    nix::sys::prctl::set_name(c"coracle-shim")?;
    signals().thread_block()?;
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-998") {
        // Without the privilege it is as likely to be killed as others; it is very small.
        say!("warning: cannot lower oom_score_adj: {error}");
    }
    Ok(())
}

/// Makes the pod's group and namespaces.
/// Returns the first process of the pod's common process namespace, if it has one.
pub fn prepare(dir: &SandboxDir, boot: &Boot) -> Result<(Cgroup, Option<i32>), String> {
    let step = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let spec = &boot.spec;
    let cgroup = Cgroup::at(&boot.cgroup).map_err(step("find control groups"))?;
    cgroup.create(&spec.resources).map_err(step("create the pod's control group"))?;
    enter_namespaces(spec).map_err(step("create namespaces"))?;
    set_parameters(&spec.sysctls)?;
    fs::create_dir_all(&spec.log_directory).map_err(step("create the log directory"))?;
    if !spec.host_ipc {
        make_shm(dir, spec).map_err(step("mount /dev/shm"))?;
    }
    let init = if spec.share_process_namespace && !spec.host_pid {
        Some(start_namespace_init(dir).map_err(step("create the pod's process namespace"))?)
    } else {
        None
    };
    Ok((cgroup, init))
}

fn enter_namespaces(spec: &SandboxSpec) -> io::Result<()> {
    let mut flags = CloneFlags::empty();
    if !spec.host_ipc {
        flags |= CloneFlags::CLONE_NEWIPC;
    }
    if !spec.host_network {
        flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    } else if let Some(path) = &spec.host_network_path {
        setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
    }
    unshare(flags)?;
    if !spec.host_network && !spec.hostname.is_empty() {
        nix::unistd::sethostname(&spec.hostname)?;
    }
    Ok(())
}

fn set_parameters(sysctls: &BTreeMap<String, String>) -> Result<(), String> {
    sysctls.iter().try_for_each(|(name, value)| {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(path, value).map_err(|error| format!("set sysctl {name} to {value:?}: {error}"))
    })
}

fn make_shm(dir: &SandboxDir, spec: &SandboxSpec) -> io::Result<()> {
    fs::create_dir_all(dir.shm())?;
    let size = spec.shm_size.unwrap_or(64 << 20);
    mounts::mount_tmpfs(&dir.shm(), &format!("mode=1777,size={size}"))
}

/// A process namespace lives as long as its first process, which here only waits for others.
fn start_namespace_init(dir: &SandboxDir) -> io::Result<i32> {
    let root = dir.path().join("empty");
    fs::create_dir_all(&root)?;
    #[allow(unsafe_code, reason = "a shim has one thread")]
    // SAFETY: the shim has one thread, so the child has everything it had.
    match unsafe { sys::fork(nix::libc::CLONE_NEWPID, None) }? {
        0 => {
            let code = match become_namespace_init(&root) {
                Ok(()) => 0,
                Err(error) => {
                    say!("the pod's first process failed: {error}");
                    1
                }
            };
            sys::exit_now(code)
        }
        pid => Ok(pid),
    }
}

/// Gives up everything, for it shares its namespace with the pod's containers, then reaps.
fn become_namespace_init(root: &Path) -> io::Result<()> {
    close_stdio()?;
    #[allow(unsafe_code, reason = "the shim's descriptors are not this process's")]
    // SAFETY: this process, a copy of the shim, uses none of them.
    unsafe {
        sys::close_from(3)?;
    }
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    nix::sys::prctl::set_name(c"coracle-pod")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    mount(Some("empty"), root, Some("tmpfs"), MsFlags::MS_RDONLY, Some("size=4k"))?;
    std::env::set_current_dir(root)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    for capability in caps::all() {
        if caps::has_cap(None, caps::CapSet::Bounding, capability).unwrap_or(false) {
            caps::drop(None, caps::CapSet::Bounding, capability).map_err(io::Error::other)?;
        }
    }
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(Gid::from_raw(65535), Gid::from_raw(65535), Gid::from_raw(65535))?;
    nix::unistd::setresuid(Uid::from_raw(65535), Uid::from_raw(65535), Uid::from_raw(65535))?;
    // A change of user forgets the parent's death signal.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    nix::sys::prctl::set_dumpable(false)?;
    let children = SigSet::from(Signal::SIGCHLD);
    loop {
        children.wait()?;
        while matches!(nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG)),
            Ok(status) if status.pid().is_some())
        {}
    }
}

/// Replaces the standard descriptors: nothing to read or write but the shim's own log.
pub fn close_stdio() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(null.as_fd())?;
    nix::unistd::dup2_stdout(null.as_fd())?;
    Ok(())
}
