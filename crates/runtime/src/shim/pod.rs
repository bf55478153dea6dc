//! The pod's containers: what can be asked of them, and what becomes of them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::wait::WaitStatus;

use super::launch::{self, Ground};
use super::limits::Limits;
use super::log::{LogFile, StreamName};
use super::output::Output;
use super::streams::Streams;
use crate::boot::{Boot, SandboxDir};
use crate::cgroup::Cgroup;
use crate::protocol::{Failure, Reply};
use crate::removal::remove_all;
use crate::{
    AttachSpec, Container, ContainerSpec, ContainerState, ExecSpec, Sandbox, SandboxState, mounts,
    sys,
};

/// How long processes may take to die once killed, before cleaning fails.
const DEATH: Duration = Duration::from_secs(10);

/// The pod of this shim.
pub struct Pod {
    dir: SandboxDir,
    boot: Boot,
    cgroup: Cgroup,
    namespace_init: Option<i32>,
    pub containers: Vec<Managed>,
    commands: Vec<Command>,
    /// Shared by all reads.
    buffer: Vec<u8>,
}

/// A container and, while it runs, what belongs to its first process.
pub struct Managed {
    pub container: Container,
    spec: ContainerSpec,
    pub live: Option<Live>,
}

/// What a running container has.
pub struct Live {
    limits: Limits,
    process: OwnedFd,
    pub outputs: Vec<Output>,
    log: LogFile,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

/// A command in a container.
struct Command {
    pid: i32,
    connection: u64,
    deadline: Option<Instant>,
    timed_out: bool,
}

/// Something ended, and somebody may wait for it.
pub enum Ended {
    Container(Container),
    Command { connection: u64, reply: Reply },
}

/// Streams for a client, in the order in which [`Reply::Session`] names them.
pub type Handed = (Reply, Vec<OwnedFd>);

impl Pod {
    pub fn new(dir: SandboxDir, boot: Boot, cgroup: Cgroup, namespace_init: Option<i32>) -> Self {
        let (containers, commands) = (Vec::new(), Vec::new());
        Self { dir, boot, cgroup, namespace_init, containers, commands, buffer: vec![0; 64 * 1024] }
    }

    /// How everything is.
    pub fn sandbox(&self) -> Sandbox {
        let containers = self.containers.iter().map(|managed| managed.container.clone()).collect();
        self.boot.describe(SandboxState::Ready, std::process::id() as i32, containers)
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            dir: &self.dir,
            sandbox: &self.boot.spec,
            cgroup: &self.cgroup,
            namespace_init: self.namespace_init,
        }
    }

    fn find(&self, id: &str) -> Result<usize, Failure> {
        let found = self.containers.iter().position(|managed| managed.container.id == id);
        found.ok_or_else(|| Failure::NotFound(id.to_owned()))
    }

    fn live(&mut self, id: &str) -> Result<(&ContainerSpec, &mut Live), Failure> {
        let index = self.find(id)?;
        let managed = &mut self.containers[index];
        let live = managed.live.as_mut().ok_or_else(|| Failure::NotRunning(id.to_owned()))?;
        Ok((&managed.spec, live))
    }

    /// Starts a container. A failed one stays listed.
    pub fn start(&mut self, spec: ContainerSpec) -> Result<Container, Failure> {
        check(&spec)?;
        if self.find(&spec.id).is_ok() {
            return Err(Failure::Exists(spec.id));
        }
        let dir = self.dir.container(&spec.id);
        fs::create_dir_all(&dir)
            .map_err(|error| Failure::step("make the container's directory", error))?;
        let mut container = describe(&spec);
        let launched = self.launch(&spec);
        let result = match launched {
            Ok((pid, live)) => {
                container.pid = pid;
                container.state = ContainerState::Running { started_at: Timestamp::now() };
                self.containers.push(Managed {
                    container: container.clone(),
                    spec,
                    live: Some(live),
                });
                Ok(container.clone())
            }
            Err(Failure::Start(error)) => {
                let finished_at = Timestamp::now();
                container.state = ContainerState::Failed { error: error.clone(), finished_at };
                let managed = Managed { container: container.clone(), spec, live: None };
                self.clean(&managed, false).unwrap_or_else(|error| warn(&error));
                self.containers.push(managed);
                Err(Failure::Start(error))
            }
            Err(failure) => {
                let managed = Managed { container, spec, live: None };
                self.clean(&managed, true).unwrap_or_else(|error| warn(&error));
                return Err(failure);
            }
        };
        self.dir.save_container(&container).unwrap_or_else(|error| warn(&error));
        result
    }

    fn launch(&self, spec: &ContainerSpec) -> Result<(i32, Live), Failure> {
        let log = LogFile::open(&spec.log_path, spec.log_max_size)
            .map_err(|error| Failure::step("open the container's log", error))?;
        let limits = Limits::of(spec)?;
        let beside = spec.process_namespace_of.as_deref();
        let beside = beside.map(|target| self.first_process(target)).transpose()?;
        let (pid, streams) = launch::start(&self.ground(), spec, &limits, beside)?;
        let live = Live::new(pid, log, limits, streams);
        Ok((pid, live.map_err(|error| Failure::step("take the container's streams", error))?))
    }

    /// The first process of a running container.
    fn first_process(&self, id: &str) -> Result<i32, Failure> {
        let managed = &self.containers[self.find(id)?];
        let runs = managed.live.as_ref().map(|_| managed.container.pid);
        runs.ok_or_else(|| Failure::NotRunning(id.to_owned()))
    }

    /// Signals a container's first process.
    pub fn signal(&mut self, id: &str, signal: i32) -> Result<(), Failure> {
        let index = self.find(id)?;
        match &self.containers[index].live {
            Some(live) => sys::pidfd_signal(live.process.as_fd(), signal)
                .map_err(|error| Failure::step("signal the container", error)),
            None => Ok(()),
        }
    }

    /// Removes a container. False: it was running, is killed, and is to be removed once it ended.
    pub fn remove(&mut self, id: &str) -> Result<bool, Failure> {
        let Ok(index) = self.find(id) else { return Ok(true) };
        let managed = &self.containers[index];
        if managed.live.is_some() {
            let group = self.cgroup.child(id);
            group.kill_once().map_err(|error| Failure::step("kill the container", error))?;
            return Ok(false);
        }
        self.clean(managed, true).map_err(|error| Failure::step("clean the container", error))?;
        self.containers.remove(index);
        Ok(true)
    }

    /// Removes what a container has on the machine; `all`: and what is known about it.
    fn clean(&self, managed: &Managed, all: bool) -> io::Result<()> {
        let id = &managed.container.id;
        let dir = self.dir.container(id);
        let group = self.cgroup.child(id);
        group.kill_all(DEATH)?;
        mounts::unmount_below(&dir)?;
        group.remove()?;
        if all {
            return remove_all(&dir);
        }
        ["upper", "work"].iter().try_for_each(|part| remove_all(&dir.join(part)))
    }

    /// Runs a command for the client of a connection.
    pub fn exec(&mut self, id: &str, spec: &ExecSpec, connection: u64) -> Result<Handed, Failure> {
        if spec.args.is_empty() {
            return Err(Failure::InvalidSpec("no command".to_owned()));
        }
        let index = self.find(id)?;
        let managed = &self.containers[index];
        let live = managed.live.as_ref().ok_or_else(|| Failure::NotRunning(id.to_owned()))?;
        let (pid, streams) =
            launch::exec(&self.ground(), &managed.spec, managed.container.pid, &live.limits, spec)?;
        let deadline = spec.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.commands.push(Command { pid, connection, deadline, timed_out: false });
        Ok(hand(streams))
    }

    /// Connects a client to a running container.
    pub fn attach(
        &mut self,
        id: &str,
        spec: AttachSpec,
        connection: u64,
    ) -> Result<Handed, Failure> {
        let (_, live) = self.live(id)?;
        let streams = live.attach(spec, connection);
        Ok(hand(streams.map_err(|error| Failure::step("attach to the container", error))?))
    }

    /// A client has left: its commands die, and nothing is sent to it any more.
    pub fn leave(&mut self, connection: u64) {
        for command in self.commands.iter().filter(|command| command.connection == connection) {
            command.kill();
        }
        for live in self.containers.iter_mut().filter_map(|managed| managed.live.as_mut()) {
            live.outputs.iter_mut().for_each(|output| output.detach(connection));
        }
    }

    /// The client that attached to this container with its input has left.
    pub fn input_closed(&mut self, id: &str) {
        if let Ok((spec, live)) = self.live(id)
            && spec.stdin_once
        {
            live.stdin = None;
        }
    }

    /// When something must be done though nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let commands = self.commands.iter().filter(|command| !command.timed_out);
        let commands = commands.filter_map(|command| command.deadline);
        let live = self.containers.iter().filter_map(|managed| managed.live.as_ref());
        let outputs = live.flat_map(|live| &live.outputs).filter_map(Output::deadline);
        commands.chain(outputs).min()
    }

    /// Does what is due: kills commands that took too long, drops clients that do not read.
    pub fn tick(&mut self, now: Instant) {
        for command in &mut self.commands {
            if command.deadline.is_some_and(|deadline| deadline <= now) && !command.timed_out {
                command.timed_out = true;
                command.kill();
            }
        }
        for live in self.containers.iter_mut().filter_map(|managed| managed.live.as_mut()) {
            live.outputs.iter_mut().for_each(Output::flush);
        }
    }

    /// Passes on what a container has written.
    pub fn read(&mut self, container: usize, output: usize) {
        if let Some(live) = self.containers.get_mut(container).and_then(|m| m.live.as_mut())
            && let Some(output) = live.outputs.get_mut(output)
        {
            output.read(&mut live.log, &mut self.buffer);
        }
    }

    /// A child of the shim has ended. `None` when nobody waits for it.
    pub fn reaped(&mut self, status: WaitStatus) -> Option<Ended> {
        let pid = status.pid()?.as_raw();
        let (code, signal) = match status {
            WaitStatus::Exited(_, code) => (code, None),
            WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
            _ => return None,
        };
        if let Some(index) = self.commands.iter().position(|command| command.pid == pid) {
            let command = self.commands.remove(index);
            let reply =
                if command.timed_out { Reply::Error(Failure::Timeout) } else { Reply::Exit(code) };
            return Some(Ended::Command { connection: command.connection, reply });
        }
        let index =
            self.containers.iter().position(|m| m.live.is_some() && m.container.pid == pid)?;
        Some(Ended::Container(self.container_ended(index, code, signal)))
    }

    fn container_ended(&mut self, index: usize, exit_code: i32, signal: Option<i32>) -> Container {
        let shares_processes = self.boot.spec.host_pid || self.namespace_init.is_some();
        let managed = &mut self.containers[index];
        let shares_processes = shares_processes || managed.spec.process_namespace_of.is_some();
        let group = self.cgroup.child(&managed.container.id);
        if shares_processes {
            // Otherwise the kernel has killed them with their namespace's first process.
            group.kill_all(DEATH).unwrap_or_else(|error| warn(&error));
        }
        if let Some(mut live) = managed.live.take() {
            live.outputs
                .iter_mut()
                .for_each(|output| output.drain(&mut live.log, &mut self.buffer));
        }
        let ContainerState::Running { started_at } = managed.container.state else {
            return managed.container.clone();
        };
        managed.container.state = ContainerState::Exited {
            exit_code,
            signal,
            oom_killed: group.oom_kills() > 0,
            started_at,
            finished_at: Timestamp::now(),
        };
        let ended = managed.container.clone();
        self.dir.save_container(&ended).unwrap_or_else(|error| warn(&error));
        ended
    }
}

impl Live {
    fn new(pid: i32, log: LogFile, limits: Limits, streams: Streams) -> io::Result<Self> {
        let process = sys::pidfd_open(pid)?;
        let mut outputs = Vec::new();
        let terminal = streams.terminal;
        if let Some(terminal) = &terminal {
            outputs.push(Output::new(StreamName::Stdout, terminal.try_clone()?)?);
        }
        for (name, fd) in
            [(StreamName::Stdout, streams.stdout), (StreamName::Stderr, streams.stderr)]
        {
            outputs.extend(fd.map(|fd| Output::new(name, fd)).transpose()?);
        }
        Ok(Self { limits, process, outputs, log, stdin: streams.stdin, terminal })
    }

    fn attach(&mut self, spec: AttachSpec, connection: u64) -> io::Result<Streams> {
        let mut streams = Streams::default();
        if let Some(terminal) = &self.terminal {
            streams.terminal = Some(terminal.try_clone()?);
        }
        if spec.stdin
            && let Some(stdin) = &self.stdin
        {
            sys::set_nonblocking(stdin.as_fd())?;
            streams.stdin = Some(stdin.try_clone()?);
        }
        for output in &mut self.outputs {
            let (wanted, slot) = match output.name {
                StreamName::Stdout => (spec.stdout, &mut streams.stdout),
                StreamName::Stderr => (spec.stderr, &mut streams.stderr),
            };
            if wanted {
                let (reader, writer) = io::pipe()?;
                sys::widen_pipe(writer.as_fd(), 1 << 20).unwrap_or_else(|error| warn(&error));
                output.attach(connection, writer.into())?;
                *slot = Some(reader.into());
            }
        }
        Ok(streams)
    }
}

impl Command {
    /// Kills it and its children that stayed in its session.
    fn kill(&self) {
        use nix::sys::signal::{Signal, killpg};
        match killpg(nix::unistd::Pid::from_raw(self.pid), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => warn(&error.into()),
        }
    }
}

fn hand(streams: Streams) -> Handed {
    let reply = Reply::Session {
        stdin: streams.stdin.is_some(),
        stdout: streams.stdout.is_some(),
        stderr: streams.stderr.is_some(),
        terminal: streams.terminal.is_some(),
    };
    let fds = [streams.stdin, streams.stdout, streams.stderr, streams.terminal];
    (reply, fds.into_iter().flatten().collect())
}

fn check(spec: &ContainerSpec) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let refuse = |message: &str| Err(Failure::InvalidSpec(message.to_owned()));
    if spec.id.is_empty() || !spec.id.chars().all(plain) || spec.id.starts_with('.') {
        return refuse("a container's id is a file name");
    }
    if spec.args.is_empty() {
        return refuse("no command specified");
    }
    if spec.rootfs.layers.is_empty() {
        return refuse("no image layers");
    }
    Ok(())
}

fn describe(spec: &ContainerSpec) -> Container {
    Container {
        id: spec.id.clone(),
        name: spec.name.clone(),
        attempt: spec.attempt,
        pid: 0,
        state: ContainerState::Created,
        log_path: spec.log_path.clone(),
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
    }
}

fn warn(error: &io::Error) {
    say!("warning: {error}");
}
