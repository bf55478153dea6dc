//! The shim's loop: one thread that waits for clients, for output and for ended children.

use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::pod::{Ended, Handed, Pod};
use crate::protocol::{Failure, Reply, Request, decode, encode};

/// How long a client may leave an answer unread before it is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one pod for ever; the process ends by being killed.
pub struct Server {
    pub pod: Pod,
    pub listener: UnixListener,
    pub signals: SignalFd,
    connections: Vec<Connection>,
    next: u64,
}

/// A client.
struct Connection {
    id: u64,
    stream: UnixStream,
    input: Vec<u8>,
    role: Role,
}

/// What a client waits for.
#[derive(PartialEq)]
enum Role {
    /// It has not asked yet.
    New,
    /// Every container's end.
    Watch,
    /// Its command's end.
    Exec,
    /// A container's end; `stdin`: it may write to it.
    Attach { container: String, stdin: bool },
    /// A container's removal.
    Remove { container: String },
    /// Nothing more.
    Done,
}

/// What a descriptor that [`poll`] watches belongs to.
enum Source {
    Listener,
    Signals,
    Connection(u64),
    Output { container: usize, output: usize },
    Client,
}

impl Server {
    pub fn new(pod: Pod, listener: UnixListener, signals: SignalFd) -> Self {
        Self { pod, listener, signals, connections: Vec::new(), next: 0 }
    }

    /// Runs until it cannot.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            self.pod.tick(Instant::now());
            // Output first: what a container wrote before it ended is passed on before its end.
            for source in &ready {
                if let Source::Output { container, output } = source {
                    self.pod.read(*container, *output);
                }
            }
            for source in ready {
                match source {
                    Source::Listener => self.accept()?,
                    Source::Signals => self.reap()?,
                    Source::Connection(id) => self.hear(id),
                    Source::Output { .. } | Source::Client => {}
                }
            }
            self.connections.retain(|connection| connection.role != Role::Done);
        }
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::Listener, Source::Signals];
        let mut fds = vec![readable(self.listener.as_fd()), readable(self.signals.as_fd())];
        for connection in &self.connections {
            sources.push(Source::Connection(connection.id));
            fds.push(readable(connection.stream.as_fd()));
        }
        for (container, managed) in self.pod.containers.iter().enumerate() {
            let Some(live) = &managed.live else { continue };
            for (output, stream) in live.outputs.iter().enumerate() {
                if let Some(fd) = stream.readable() {
                    sources.push(Source::Output { container, output });
                    fds.push(readable(fd));
                }
                for fd in stream.blocked() {
                    sources.push(Source::Client);
                    fds.push(PollFd::new(fd, PollFlags::POLLOUT));
                }
            }
        }
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect::<Vec<_>>();
        Ok(sources.into_iter().zip(ready).filter_map(|(s, ready)| ready.then_some(s)).collect())
    }

    fn timeout(&self) -> PollTimeout {
        let Some(deadline) = self.pod.deadline() else { return PollTimeout::NONE };
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a little late, never again and again a little early.
        PollTimeout::try_from(left.saturating_add(Duration::from_millis(1)))
            .unwrap_or(PollTimeout::MAX)
    }

    fn accept(&mut self) -> io::Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            // The client has left, or there are too many descriptors: it will ask again.
            Err(error) => {
                say!("warning: cannot accept a client: {error}");
                return Ok(());
            }
        };
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let id = self.next;
        self.next += 1;
        self.connections.push(Connection { id, stream, input: Vec::new(), role: Role::New });
        // It has most likely asked already.
        self.hear(id);
        Ok(())
    }

    /// Reads what a client says; its leaving is something it says.
    fn hear(&mut self, id: u64) {
        let Some(index) = self.connections.iter().position(|c| c.id == id) else { return };
        let connection = &mut self.connections[index];
        match connection.receive() {
            Ok(true) => {}
            Ok(false) | Err(_) => return self.left(index),
        }
        if connection.role != Role::New {
            return;
        }
        match decode::<Request>(&mut connection.input) {
            Ok(None) => {}
            Ok(Some(request)) => self.serve(index, request),
            Err(error) => {
                let failure = Failure::step("understand the request", error);
                self.answer(index, &Reply::Error(failure), Vec::new(), Role::Done);
            }
        }
    }

    fn left(&mut self, index: usize) {
        let connection = self.connections.remove(index);
        self.pod.leave(connection.id);
        if let Role::Attach { container, stdin: true } = &connection.role {
            self.pod.input_closed(container);
        }
    }

    fn serve(&mut self, index: usize, request: Request) {
        let id = self.connections[index].id;
        let (handed, role) = match request {
            Request::State => (Ok(plain(Reply::Sandbox(self.pod.sandbox()))), Role::Done),
            Request::Watch => (Ok(plain(Reply::Sandbox(self.pod.sandbox()))), Role::Watch),
            Request::Start(spec) => {
                (self.pod.start(*spec).map(Reply::Container).map(plain), Role::Done)
            }
            Request::Signal { container_id, signal } => {
                let done = self.pod.signal(&container_id, signal);
                (done.map(|()| plain(Reply::Done)), Role::Done)
            }
            Request::Remove { container_id } => match self.pod.remove(&container_id) {
                Ok(false) => {
                    self.connections[index].role = Role::Remove { container: container_id };
                    return;
                }
                Ok(true) => (Ok(plain(Reply::Done)), Role::Done),
                Err(failure) => (Err(failure), Role::Done),
            },
            Request::Exec { container_id, spec } => {
                (self.pod.exec(&container_id, &spec, id), Role::Exec)
            }
            Request::Attach { container_id, spec } => {
                let handed = self.pod.attach(&container_id, spec, id);
                (handed, Role::Attach { container: container_id, stdin: spec.stdin })
            }
        };
        match handed {
            Ok((reply, fds)) => self.answer(index, &reply, fds, role),
            Err(failure) => self.answer(index, &Reply::Error(failure), Vec::new(), Role::Done),
        }
    }

    fn answer(&mut self, index: usize, reply: &Reply, fds: Vec<OwnedFd>, role: Role) {
        let connection = &mut self.connections[index];
        connection.role = role;
        if let Err(error) = connection.send(reply, &fds) {
            say!("warning: cannot answer a client: {error}");
            self.pod.leave(connection.id);
            connection.role = Role::Done;
        }
    }

    /// Takes every ended child.
    fn reap(&mut self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(status) => self.ended(status),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&mut self, status: WaitStatus) {
        match self.pod.reaped(status) {
            None => {}
            Some(Ended::Command { connection, reply }) => {
                if let Some(index) = self.connections.iter().position(|c| c.id == connection) {
                    self.answer(index, &reply, Vec::new(), Role::Done);
                }
            }
            Some(Ended::Container(container)) => self.container_ended(&container),
        }
    }

    fn container_ended(&mut self, ended: &crate::Container) {
        for index in 0..self.connections.len() {
            let of_ended = |id: &String| *id == ended.id;
            match &self.connections[index].role {
                Role::Watch => {
                    self.answer(index, &Reply::Exited(ended.clone()), Vec::new(), Role::Watch);
                }
                Role::Attach { container, .. } if of_ended(container) => {
                    let code = match ended.state {
                        crate::ContainerState::Exited { exit_code, .. } => exit_code,
                        _ => 0,
                    };
                    self.answer(index, &Reply::Exit(code), Vec::new(), Role::Done);
                }
                Role::Remove { container } if of_ended(container) => {
                    let reply = match self.pod.remove(&ended.id) {
                        Ok(_) => Reply::Done,
                        Err(failure) => Reply::Error(failure),
                    };
                    self.answer(index, &reply, Vec::new(), Role::Done);
                }
                _ => {}
            }
        }
    }
}

impl Connection {
    /// Takes what has arrived; false when the client has left.
    fn receive(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        self.stream.set_nonblocking(true)?;
        let received = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break Ok(false),
                Ok(length) => self.input.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.stream.set_nonblocking(false)?;
        received
    }

    /// Sends a frame, its descriptors with its first byte.
    fn send(&mut self, reply: &Reply, fds: &[OwnedFd]) -> io::Result<()> {
        let frame = encode(reply)?;
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        let (socket, data) = (self.stream.as_raw_fd(), [IoSlice::new(&frame)]);
        let sent = sendmsg::<()>(socket, &data, rights, MsgFlags::MSG_NOSIGNAL, None)?;
        io::Write::write_all(&mut self.stream, &frame[sent..])
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

fn plain(reply: Reply) -> Handed {
    (reply, Vec::new())
}
