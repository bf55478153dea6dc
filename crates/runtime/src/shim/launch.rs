//! The only place that calls libcontainer: starts a container's program, or a command beside it.

use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use caps::{Capability, CapsHashSet};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use seccompiler::BpfProgram;

use super::executor::{Program, errno_text};
use super::oci;
use crate::boot::{SandboxDir, write_json};
use crate::cgroup::Cgroup;
use crate::protocol::Failure;
use crate::{
    ContainerSpec, ExecSpec, SandboxSpec, Seccomp, StartError, StartErrorKind, capabilities,
    mounts, seccomp, sys,
};

/// What a container of this pod is started with.
pub struct Ground<'a> {
    pub dir: &'a SandboxDir,
    pub sandbox: &'a SandboxSpec,
    /// The pod's group.
    pub cgroup: &'a Cgroup,
    /// The first process of the pod's common process namespace, if it has one.
    pub namespace_init: Option<i32>,
}

/// What a container may do, worked out once for its first process and every later command.
#[derive(Debug)]
pub struct Limits {
    pub capabilities: CapsHashSet,
    filters: Vec<BpfProgram>,
}

/// The shim's ends of a process's streams.
#[derive(Debug, Default)]
pub struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// In place of the three.
    pub terminal: Option<OwnedFd>,
}

/// The process's ends.
struct Ends {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Limits {
    /// From a container's specification; a profile's file is read here.
    pub fn of(spec: &ContainerSpec) -> Result<Self, Failure> {
        let bounds =
            capabilities::own_bounds().map_err(|e| Failure::step("read capabilities", e))?;
        let capabilities =
            capabilities::of_container(spec, &bounds).map_err(Failure::InvalidSpec)?;
        let profile = match &spec.seccomp {
            _ if spec.privileged => None,
            Seccomp::Unconfined => None,
            Seccomp::RuntimeDefault => Some(seccomp::default_profile(&capabilities)),
            Seccomp::Local(path) => Some(read_profile(path, &capabilities)?),
        };
        let filters = profile.map(|profile| seccomp::compile(&profile)).transpose();
        let filters = filters.map_err(|error| setup(error.to_string()))?.unwrap_or_default();
        Ok(Self { capabilities, filters })
    }

    /// What the library must leave so that [`Program`] can load the filters and drop the rest.
    fn until_exec(&self) -> CapsHashSet {
        let mut set = self.capabilities.clone();
        if !self.filters.is_empty() {
            set.extend([Capability::CAP_SYS_ADMIN, Capability::CAP_SETPCAP]);
        }
        set
    }
}

fn read_profile(path: &Path, held: &CapsHashSet) -> Result<seccomp::Profile, Failure> {
    let text = fs::read(path).map_err(|error| {
        setup(format!("cannot load seccomp profile {}: {error}", path.display()))
    })?;
    seccomp::parse_profile(&text, held).map_err(|error| setup(error.to_string()))
}

fn setup(message: String) -> Failure {
    Failure::Start(StartError { kind: StartErrorKind::Setup, message })
}

/// Makes the container's root, its group and its process, and lets it run. Returns the process's
/// number and our ends of its streams.
pub fn start(
    ground: &Ground<'_>,
    spec: &ContainerSpec,
    limits: &Limits,
) -> Result<(i32, Streams), Failure> {
    let bundle = ground.dir.container(&spec.id);
    check_sources(spec)?;
    let rootfs =
        make_root(&bundle, spec).map_err(|e| mount_error(format!("mount the image: {e}")))?;
    make_working_directory(&rootfs, spec)?;
    let until_exec = limits.until_exec();
    let context = context(ground, &rootfs, spec, &until_exec);
    let oci = oci::spec(spec, &context.as_context(ground)).map_err(|e| setup(chain(&e)))?;
    write_json(&bundle.join("config.json"), &oci)
        .map_err(|e| Failure::step("write config.json", e))?;

    let attempt = Attempt::prepare(&bundle, spec, limits, spec.tty, spec.stdin)?;
    let builder = attempt.builder(ground, spec)?;
    let built = builder.as_init(&bundle).with_systemd(false).with_detach(true).build();
    restore_dumpable();
    let mut container = match built {
        Ok(container) => container,
        Err(error) => return Err(attempt.failure(&error)),
    };
    let pid = container.pid().map_or(0, |pid| pid.as_raw());
    adjust_oom_score(pid, spec.oom_score_adj);
    // Its program does not run yet.
    if let Err(error) = context.cgroup.complete(spec.privileged) {
        return Err(Failure::step("complete the control group", error));
    }
    if let Err(error) = container.start() {
        return Err(attempt.failure(&error));
    }
    Ok((pid, attempt.finish()?))
}

/// Runs a command in a running container.
pub fn exec(
    ground: &Ground<'_>,
    container: &ContainerSpec,
    limits: &Limits,
    spec: &ExecSpec,
) -> Result<(i32, Streams), Failure> {
    let bundle = ground.dir.container(&container.id);
    let until_exec = limits.until_exec();
    let rootfs = bundle.join("rootfs");
    let context = context(ground, &rootfs, container, &until_exec);
    let process = oci::process(container, &context.as_context(ground), &spec.args, spec.tty);
    let process = process.map_err(|e| setup(chain(&e)))?;
    let file = bundle.join("process.json");
    write_json(&file, &process).map_err(|e| Failure::step("write process.json", e))?;

    let attempt = Attempt::prepare(&bundle, container, limits, spec.tty, spec.stdin)?;
    let builder = attempt.builder(ground, container)?;
    let built = builder.as_tenant().with_process(Some(file)).with_detach(true).build();
    restore_dumpable();
    match built {
        Ok(pid) => {
            adjust_oom_score(pid.as_raw(), container.oom_score_adj);
            Ok((pid.as_raw(), attempt.finish()?))
        }
        Err(error) => Err(attempt.failure(&error)),
    }
}

/// The parts of [`oci::Context`] that are made here.
struct OwnedContext<'a> {
    rootfs: &'a Path,
    shm: std::path::PathBuf,
    cgroup: Cgroup,
    capabilities: &'a CapsHashSet,
}

fn context<'a>(
    ground: &Ground<'_>,
    rootfs: &'a Path,
    spec: &ContainerSpec,
    capabilities: &'a CapsHashSet,
) -> OwnedContext<'a> {
    let shm = if ground.sandbox.host_ipc { "/dev/shm".into() } else { ground.dir.shm() };
    OwnedContext { rootfs, shm, cgroup: ground.cgroup.child(&spec.id), capabilities }
}

impl OwnedContext<'_> {
    fn as_context<'a>(&'a self, ground: &'a Ground<'_>) -> oci::Context<'a> {
        let namespace = ground.namespace_init.map(|pid| format!("/proc/{pid}/ns/pid").into());
        oci::Context {
            sandbox: ground.sandbox,
            rootfs: self.rootfs,
            shm: &self.shm,
            cgroup: &self.cgroup,
            process_namespace: namespace,
            capabilities: self.capabilities,
        }
    }
}

/// One start of a process, with what must outlive the library's part in it.
struct Attempt {
    program: Program,
    report: File,
    console: Option<(UnixListener, std::path::PathBuf)>,
    ends: Option<Ends>,
    streams: Streams,
    uid: u32,
}

impl Attempt {
    fn prepare(
        bundle: &Path,
        container: &ContainerSpec,
        limits: &Limits,
        terminal: bool,
        stdin: bool,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::step("make the streams", error);
        let (report, reporter) = io::pipe().map_err(failed)?;
        let filters = limits.filters.clone();
        let program = Program::new(reporter.into(), limits.capabilities.clone(), filters);
        let uid = container.user.uid;
        let report = File::from(OwnedFd::from(report));
        let mut attempt =
            Self { program, report, console: None, ends: None, streams: Streams::default(), uid };
        if terminal {
            attempt.console = Some(listen_for_terminal(bundle).map_err(failed)?);
        } else {
            let (streams, ends) = make_pipes(stdin, uid).map_err(failed)?;
            (attempt.streams, attempt.ends) = (streams, Some(ends));
        }
        Ok(attempt)
    }

    fn builder(
        &self,
        ground: &Ground<'_>,
        container: &ContainerSpec,
    ) -> Result<ContainerBuilder, Failure> {
        let prepare = || -> Result<ContainerBuilder, Box<dyn std::error::Error>> {
            let builder = ContainerBuilder::new(container.id.clone(), SyscallType::default())
                .with_root_path(ground.dir.library_state())?
                .with_executor(self.program.clone());
            let Some(ends) = &self.ends else {
                let path = self.console.as_ref().map(|(_, path)| path.clone());
                return Ok(builder.with_console_socket(path));
            };
            Ok(builder
                .with_stdin(ends.stdin.try_clone()?)
                .with_stdout(ends.stdout.try_clone()?)
                .with_stderr(ends.stderr.try_clone()?))
        };
        prepare().map_err(|error| Failure::step("prepare the container", error))
    }

    /// Waits until the program runs, which closes its end of the report.
    fn finish(mut self) -> Result<Streams, Failure> {
        let failed = |error: io::Error| Failure::step("take the terminal", error);
        if let Some((listener, _)) = &self.console {
            let terminal = receive_terminal(listener).map_err(failed)?;
            // So that the container's user may open its own terminal by name.
            let peer = sys::terminal_peer(terminal.as_fd()).map_err(failed)?;
            own(&peer, self.uid).map_err(failed)?;
            self.streams.terminal = Some(terminal);
        }
        drop(self.ends);
        drop(self.program);
        match read_report(&mut self.report) {
            Some(error) => Err(Failure::Start(error)),
            None => Ok(self.streams),
        }
    }

    /// What went wrong: the executor's own report, or else what the library says.
    fn failure(mut self, error: &dyn std::error::Error) -> Failure {
        drop(self.program);
        // What was reported is there; its writer may live on, and must not be waited for.
        let report = sys::set_nonblocking(self.report.as_fd()).map(|()| &mut self.report);
        if let Some(error) = report.ok().and_then(read_report) {
            return Failure::Start(error);
        }
        let message = chain(error);
        if message.contains("rootfs") { mount_error(message) } else { setup(message) }
    }
}

fn read_report(report: &mut File) -> Option<StartError> {
    let mut text = Vec::new();
    // An error is no end, but then nothing more is there: what came before it is kept.
    report.read_to_end(&mut text).ok();
    serde_json::from_slice(&text).ok()
}

fn mount_error(message: String) -> Failure {
    Failure::Start(StartError { kind: StartErrorKind::Mount, message })
}

/// The error and its causes, in one line, without repetitions.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The library does not say which mount failed.
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

fn make_root(bundle: &Path, spec: &ContainerSpec) -> io::Result<std::path::PathBuf> {
    let rootfs = mounts::mount_overlay(bundle, &spec.rootfs.layers)?;
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
    let path = Path::new(oci::working_directory(spec));
    let failed = |error: io::Error| {
        let message = format!("chdir to cwd ({:?}) set in config.json failed: {error}", spec.cwd);
        Failure::Start(StartError { kind: StartErrorKind::WorkingDirectory, message })
    };
    if !path.is_absolute() {
        return Err(failed(io::Error::from(io::ErrorKind::NotFound)));
    }
    let covering = spec.mounts.iter().filter(|mount| path.starts_with(&mount.target));
    let volume = covering.max_by_key(|mount| mount.target.components().count());
    let (root, below) = match volume {
        Some(mount) => (mount.source.as_path(), path.strip_prefix(&mount.target).unwrap_or(path)),
        None => (rootfs, path.strip_prefix("/").unwrap_or(path)),
    };
    make_directories(root, below).map_err(failed)
}

/// `mkdir -p` that cannot be led out of `root` by links.
fn make_directories(root: &Path, below: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let root = OwnedFd::from(File::open(root)?);
    let mut walked = std::path::PathBuf::from("/");
    for name in below.components() {
        let parent = sys::open_in_root(root.as_fd(), &c_path(walked.as_os_str().as_bytes())?)?;
        walked.push(name);
        if sys::open_in_root(root.as_fd(), &c_path(walked.as_os_str().as_bytes())?).is_err() {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o755);
            nix::sys::stat::mkdirat(parent, name.as_os_str(), mode)?;
        }
    }
    Ok(())
}

fn c_path(bytes: &[u8]) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn make_pipes(stdin: bool, uid: u32) -> io::Result<(Streams, Ends)> {
    let mut streams = Streams::default();
    let input = if stdin {
        let (ours, theirs) = {
            let (read, write) = io::pipe()?;
            (write, read)
        };
        streams.stdin = Some(ours.into());
        OwnedFd::from(theirs)
    } else {
        OwnedFd::from(File::open("/dev/null")?)
    };
    let (stdout, theirs_out) = io::pipe()?;
    let (stderr, theirs_err) = io::pipe()?;
    streams.stdout = Some(stdout.into());
    streams.stderr = Some(stderr.into());
    let ends = Ends { stdin: input, stdout: theirs_out.into(), stderr: theirs_err.into() };
    // So that the container's user may open /dev/stdout and its like.
    own(&ends.stdout, uid)?;
    own(&ends.stderr, uid)?;
    if stdin {
        own(&ends.stdin, uid)?;
    }
    Ok((streams, ends))
}

fn own(fd: &OwnedFd, uid: u32) -> io::Result<()> {
    Ok(nix::unistd::fchown(fd, Some(uid.into()), None)?)
}

fn listen_for_terminal(bundle: &Path) -> io::Result<(UnixListener, std::path::PathBuf)> {
    let path = bundle.join("tty.sock");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A socket's name is short, a bundle's path need not be.
    std::env::set_current_dir(bundle)?;
    let listener = UnixListener::bind("tty.sock");
    std::env::set_current_dir("/")?;
    Ok((listener?, path))
}

fn receive_terminal(listener: &UnixListener) -> io::Result<OwnedFd> {
    let (stream, _) = listener.accept()?;
    let mut byte = [0; 64];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut space), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part
            && let Some(fd) = fds.first()
        {
            #[allow(unsafe_code, reason = "taking over a received descriptor")]
            // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no terminal"))
}

/// A refused value changes nothing but the order in which the kernel kills.
fn adjust_oom_score(pid: i32, score: i32) {
    if let Err(error) = fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        say!("warning: cannot set oom_score_adj of process {pid} to {score}: {error}");
    }
}

/// The library hides its caller from other processes; the engine must see the shim's namespaces.
fn restore_dumpable() {
    if let Err(error) = nix::sys::prctl::set_dumpable(true) {
        say!("warning: cannot become dumpable again: {error}");
    }
}
