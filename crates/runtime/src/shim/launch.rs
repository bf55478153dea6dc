//! Starts a container's program, or a command beside it.
//!
//! A start is one fork of the shim, which has one thread, so that the child may run any code: it
//! moves into the container (or makes it), takes its streams and becomes the program. Through a
//! pipe that closes with that it tells [`STARTED`], or the error that kept it from it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

use super::limits::Limits;
use super::mountpoints;
use super::program::{Program, errno_text, no_directory, working_directory};
use super::root::Root;
use super::streams::{Ends, Streams};
use crate::boot::SandboxDir;
use crate::cgroup::Cgroup;
use crate::protocol::Failure;
use crate::tree::Tree;
use crate::{ContainerSpec, ExecSpec, SandboxSpec, StartError, StartErrorKind, mounts, sys};

/// What the child says last, when all that is left is to become the program.
const STARTED: &[u8] = b"started";

/// How long a child may take to become its program. A path in a container may lead to a file system
/// that never answers; the shim has one thread, and others wait for it. Less than an engine waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a killed child is waited for. One that hangs in the kernel ends later, or never.
const DEATH: Duration = Duration::from_secs(2);

/// The number of the only descriptor that a child keeps besides its streams.
const REPORT: i32 = 3;

/// What a container of this pod is started with.
pub struct Ground<'a> {
    pub dir: &'a SandboxDir,
    pub sandbox: &'a SandboxSpec,
    /// The pod's group.
    pub cgroup: &'a Cgroup,
    /// The first process of the pod's common process namespace, if it has one.
    pub namespace_init: Option<i32>,
}

/// Where a process is to be.
enum Place<'a> {
    /// In a container that it makes.
    New(Root<'a>),
    /// In the container of this process.
    Of(i32),
}

/// A process to be.
struct Start<'a> {
    program: Program<'a>,
    place: Place<'a>,
    cgroup: &'a Cgroup,
    /// Whose process namespace it is to be in, if neither an own nor the shim's.
    namespace_of: Option<i32>,
    stdin: bool,
}

/// Makes the container's root, its group and its process, and lets it run. Returns the process's
/// number and our ends of its streams. It is in the process namespace of `beside`, if that is given.
pub fn start(
    ground: &Ground<'_>,
    spec: &ContainerSpec,
    limits: &Limits,
    beside: Option<i32>,
) -> Result<(i32, Streams), Failure> {
    check_sources(spec)?;
    let image = make_root(ground.dir, spec)
        .map_err(|error| mount_error(format!("mount the image: {error}")))?;
    make_working_directory(&image, spec)?;
    let cgroup = ground.cgroup.child(&spec.id);
    cgroup.create(&spec.resources).map_err(|e| Failure::step("create the control group", e))?;
    cgroup
        .restrict(spec.privileged)
        .map_err(|error| Failure::step("restrict the control group", error))?;
    let shm = if ground.sandbox.host_ipc { "/dev/shm".into() } else { ground.dir.shm() };
    Start {
        program: program(ground, spec, limits, &spec.args, spec.tty),
        place: Place::New(Root { image: &image, container: spec, shm: &shm, cgroup: &cgroup }),
        cgroup: &cgroup,
        namespace_of: beside.or(ground.namespace_init),
        stdin: spec.stdin,
    }
    .fork(ground.sandbox.host_pid)
}

/// Runs a command in the running container whose first process is `first`.
pub fn exec(
    ground: &Ground<'_>,
    container: &ContainerSpec,
    first: i32,
    limits: &Limits,
    spec: &ExecSpec,
) -> Result<(i32, Streams), Failure> {
    Start {
        program: program(ground, container, limits, &spec.args, spec.tty),
        place: Place::Of(first),
        cgroup: &ground.cgroup.child(&container.id),
        namespace_of: Some(first),
        stdin: spec.stdin,
    }
    .fork(ground.sandbox.host_pid)
}

fn program<'a>(
    ground: &Ground<'a>,
    container: &'a ContainerSpec,
    limits: &'a Limits,
    arguments: &'a [String],
    terminal: bool,
) -> Program<'a> {
    Program { container, limits, hostname: &ground.sandbox.hostname, arguments, terminal }
}

impl Start<'_> {
    fn fork(&self, host_pid: bool) -> Result<(i32, Streams), Failure> {
        let failed = |error: io::Error| Failure::step("start a process", error);
        let (report, reporter) = io::pipe().map_err(failed)?;
        let (terminal, streams, ends) = self.streams().map_err(failed)?;
        let mut namespaces = match self.place {
            Place::New(_) => libc::CLONE_NEWNS,
            Place::Of(_) => 0,
        };
        let joined = match self.namespace_of {
            _ if host_pid => None,
            Some(pid) => Some(PidNamespace::enter(pid).map_err(failed)?),
            None => {
                namespaces |= libc::CLONE_NEWPID;
                None
            }
        };
        let group = self.cgroup.open_unified().map_err(failed)?;
        #[allow(unsafe_code, reason = "a shim has one thread")]
        // SAFETY: the shim has one thread, so the child has everything it had.
        let forked = unsafe { sys::fork(namespaces, group.as_ref().map(File::as_fd)) };
        if let Ok(0) = forked {
            self.be_child(ends, reporter.into());
        }
        drop(joined);
        // A process that may not be forked is the container's failure: its limits forbid it.
        let pid = forked.map_err(|error| setup(format!("fork: {error}")))?;
        drop((ends, reporter));
        let outcome = read_report(report, PATIENCE).and_then(|()| match terminal {
            None => Ok(streams),
            Some(socket) => Streams::of_terminal(&socket).map_err(failed),
        });
        if outcome.is_err() {
            // Most have ended; one whose terminal is lost runs, and nobody could reach it.
            end(pid).map_err(|error| Failure::step("end the process", error))?;
        }
        Ok((pid, outcome?))
    }

    fn streams(&self) -> io::Result<(Option<UnixStream>, Streams, Ends)> {
        if self.program.terminal {
            let (ours, theirs) = UnixStream::pair()?;
            return Ok((Some(ours), Streams::default(), Ends::Terminal(theirs)));
        }
        let (streams, ends) = Streams::pipes(self.stdin, self.program.container.user.uid)?;
        Ok((None, streams, ends))
    }

    /// The child's whole life before its program's.
    fn be_child(&self, ends: Ends, reporter: OwnedFd) -> ! {
        // Nothing of the shim's may run here, whatever happens.
        let outcome = catch_unwind(AssertUnwindSafe(|| match self.settle(&ends) {
            Ok(()) => self.program_with_report(&reporter),
            Err(error) => report(&reporter, &error),
        }));
        sys::exit_now(if outcome.is_ok() { 1 } else { 254 })
    }

    /// Moves to where the program is to be.
    fn settle(&self, ends: &Ends) -> Result<(), StartError> {
        let step = |what: &'static str| {
            move |error: io::Error| start_error(format!("failed to {what}: {error}"))
        };
        // Nobody in the container may look into this process while it is still the engine's.
        nix::sys::prctl::set_dumpable(false)
            .map_err(|error| step("hide from the container")(error.into()))?;
        self.cgroup.enter().map_err(step("enter the control group"))?;
        adjust_oom_score(self.program.container.oom_score_adj);
        if let Err(error) = sys::new_session_keyring() {
            // Without the kernel's key management there is nothing to leave behind.
            say!("warning: no session keyring: {error}");
        }
        let is_new = match &self.place {
            Place::New(root) => {
                if self.cgroup.is_unified() {
                    unshare(CloneFlags::CLONE_NEWCGROUP)
                        .map_err(|error| step("hide the control groups")(error.into()))?;
                }
                root.enter()?;
                true
            }
            Place::Of(pid) => {
                join(*pid).map_err(step("join the container"))?;
                false
            }
        };
        let uid = self.program.container.user.uid;
        ends.take(uid, is_new).map_err(step("take the streams"))
    }

    /// Keeps only the report and becomes the program.
    fn program_with_report(&self, reporter: &OwnedFd) {
        #[allow(unsafe_code, reason = "the shim's descriptors are not the container's")]
        // SAFETY: from here to the program's start, or the child's end, only this number is used.
        let reporter = unsafe {
            let fd = libc::dup3(reporter.as_raw_fd(), REPORT, libc::O_CLOEXEC);
            if fd != REPORT && reporter.as_raw_fd() != REPORT {
                return report(reporter, &start_error(io::Error::last_os_error().to_string()));
            }
            if let Err(error) = sys::close_from(REPORT + 1) {
                return report(reporter, &start_error(error.to_string()));
            }
            std::os::fd::BorrowedFd::borrow_raw(REPORT)
        };
        let started = || {
            // Who does not hear it takes this process for dead, and kills it.
            nix::unistd::write(reporter, STARTED).unwrap_or_default();
        };
        let error = self.program.run(started);
        report(&reporter, &error);
    }
}

/// While it exists, children of this process are born in another process namespace.
struct PidNamespace(File);

impl PidNamespace {
    fn enter(pid: i32) -> io::Result<Self> {
        let own = File::open("/proc/self/ns/pid")?;
        setns(File::open(format!("/proc/{pid}/ns/pid"))?, CloneFlags::CLONE_NEWPID)?;
        Ok(Self(own))
    }
}

impl Drop for PidNamespace {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.0, CloneFlags::CLONE_NEWPID) {
            // Going on would start the next container inside this one.
            say!("cannot return from a container's process namespace: {error}");
            sys::exit_now(1);
        }
    }
}

/// Joins the mounts and the view of control groups of a container's first process.
fn join(pid: i32) -> io::Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
    let (cgroup, mounts) = (open("cgroup")?, open("mnt")?);
    setns(cgroup, CloneFlags::CLONE_NEWCGROUP)?;
    Ok(setns(mounts, CloneFlags::CLONE_NEWNS)?)
}

fn report(reporter: &impl AsFd, error: &StartError) {
    let text = serde_json::to_vec(error).unwrap_or_default();
    if let Err(error) = nix::unistd::write(reporter, &text) {
        say!("cannot report a failed start: {error}");
    }
}

/// Waits until the program runs, which closes its end of the report.
fn read_report(report: io::PipeReader, patience: Duration) -> Result<(), Failure> {
    let failed = |error| Failure::step("wait for the process", error);
    let now = Instant::now();
    let (mut text, deadline) = (Vec::new(), now.checked_add(patience).unwrap_or(now));
    let mut report = File::from(OwnedFd::from(report));
    loop {
        if !is_readable(report.as_fd(), deadline).map_err(failed)? {
            let seconds = patience.as_secs();
            return Err(setup(format!("the process did not become its program in {seconds} s")));
        }
        let mut chunk = [0; 4096];
        match report.read(&mut chunk).map_err(failed)? {
            0 => break,
            length => text.extend_from_slice(&chunk[..length]),
        }
    }
    if text == STARTED {
        return Ok(());
    }
    match serde_json::from_slice(&text) {
        Ok(error) => Err(Failure::Start(error)),
        Err(_) => {
            // Dead on the way: mostly for want of memory.
            let reason = "the process died before its program ran; is its memory limit too small?";
            Err(setup(reason.to_owned()))
        }
    }
}

/// Waits until something can be read, or the other end is closed; false when it takes too long.
fn is_readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            Ok(0) if left > Duration::ZERO => {}
            other => return Ok(other? > 0),
        }
    }
}

/// Kills a child and waits a little for its end: until it is waited for, its number is nobody
/// else's. Who takes longer is reaped when the shim reaps whoever ends.
fn end(pid: i32) -> io::Result<()> {
    let process = sys::pidfd_open(pid)?;
    sys::pidfd_signal(process.as_fd(), libc::SIGKILL)?;
    let now = Instant::now();
    if is_readable(process.as_fd(), now.checked_add(DEATH).unwrap_or(now))? {
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)?;
    }
    Ok(())
}

fn start_error(message: String) -> StartError {
    StartError { kind: StartErrorKind::Setup, message }
}

fn setup(message: String) -> Failure {
    Failure::Start(start_error(message))
}

fn mount_error(message: String) -> Failure {
    Failure::Start(StartError { kind: StartErrorKind::Mount, message })
}

fn check_sources(spec: &ContainerSpec) -> Result<(), Failure> {
    spec.mounts.iter().try_for_each(|mount| {
        let (source, target) = (mount.source.display(), mount.target.display());
        let failed = |error| {
            mount_error(format!(
                "error mounting \"{source}\" to rootfs at \"{target}\": stat {source}: {error}"
            ))
        };
        fs::metadata(&mount.source).map(drop).map_err(|error| failed(errno_text(&error)))
    })
}

fn make_root(dir: &SandboxDir, spec: &ContainerSpec) -> io::Result<PathBuf> {
    let mut layers = spec.rootfs.layers.clone();
    layers.push(mountpoints::layer(&dir.mountpoints(), spec)?);
    let rootfs = mounts::mount_overlay(&dir.container(&spec.id), &layers)?;
    // The root directory itself is the upper one; it must look like the image's.
    if let Some(layer) = spec.rootfs.layers.first() {
        let image = fs::metadata(layer)?;
        std::os::unix::fs::chown(&rootfs, Some(image.uid()), Some(image.gid()))?;
        fs::set_permissions(&rootfs, fs::Permissions::from_mode(image.mode() & 0o7777))?;
    }
    Ok(rootfs)
}

/// Makes a missing working directory, in the root or in the volume it lies in; as upstream.
fn make_working_directory(rootfs: &Path, spec: &ContainerSpec) -> Result<(), Failure> {
    let path = Path::new(working_directory(spec));
    let failed = |error: io::Error| Failure::Start(no_directory(path)(error));
    if !path.is_absolute() {
        return Err(failed(Errno::ENOENT.into()));
    }
    let covering = spec.mounts.iter().filter(|mount| path.starts_with(&mount.target));
    let volume = covering.max_by_key(|mount| mount.target.components().count());
    let (root, below) = match volume {
        Some(mount) => (mount.source.as_path(), path.strip_prefix(&mount.target).unwrap_or(path)),
        None => (rootfs, path),
    };
    Tree::open(root).and_then(|tree| tree.directory(below)).map(drop).map_err(failed)
}

/// A refused value changes nothing but the order in which the kernel kills.
fn adjust_oom_score(score: i32) {
    let written = File::options().write(true).open("/proc/self/oom_score_adj");
    if let Err(error) = written.and_then(|mut file| file.write_all(score.to_string().as_bytes())) {
        say!("warning: cannot set oom_score_adj to {score}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_says_nothing_is_not_waited_for() {
        let (report, reporter) = io::pipe().unwrap();
        let failure = read_report(report, Duration::from_millis(1)).unwrap_err();
        let Failure::Start(error) = failure else { panic!("{failure:?}") };
        assert!(error.message.contains("did not become its program"), "{error:?}");
        drop(reporter);
    }

    #[test]
    fn what_a_child_said_is_read_to_its_end() {
        let (report, mut reporter) = io::pipe().unwrap();
        reporter.write_all(STARTED).unwrap();
        drop(reporter);
        read_report(report, PATIENCE).unwrap();
    }
}
