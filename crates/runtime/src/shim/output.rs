//! What a container writes: to its log, and to those who are attached.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::log::{LineCutter, LogFile, StreamName};
use crate::sys::set_nonblocking;

/// How long an attached client may leave what it was sent unread; a container waits for it so
/// long, and no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One output of a container.
#[derive(Debug)]
pub struct Output {
    pub name: StreamName,
    source: Option<File>,
    cutter: LineCutter,
    clients: Vec<Client>,
}

/// Somebody attached to an output.
#[derive(Debug)]
struct Client {
    /// The connection it came by.
    connection: u64,
    pipe: File,
    pending: Vec<u8>,
    since: Instant,
}

impl Output {
    /// Takes the reading end of a pipe, or a terminal.
    pub fn new(name: StreamName, source: OwnedFd) -> io::Result<Self> {
        set_nonblocking(source.as_fd())?;
        let source = Some(File::from(source));
        Ok(Self { name, source, cutter: LineCutter::default(), clients: Vec::new() })
    }

    /// What to wait on before [`Self::read`]: none when it has ended or somebody must read first.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        let blocked = self.clients.iter().any(|client| !client.pending.is_empty());
        self.source.as_ref().filter(|_| !blocked).map(File::as_fd)
    }

    /// Clients that must read before the container may go on.
    pub fn blocked(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let blocked = self.clients.iter().filter(|client| !client.pending.is_empty());
        blocked.map(|client| client.pipe.as_fd())
    }

    /// When the first blocked client's patience ends.
    pub fn deadline(&self) -> Option<Instant> {
        let blocked = self.clients.iter().filter(|client| !client.pending.is_empty());
        blocked.filter_map(|client| client.since.checked_add(PATIENCE)).min()
    }

    /// Adds a client that is sent everything from now on.
    pub fn attach(&mut self, connection: u64, pipe: OwnedFd) -> io::Result<()> {
        set_nonblocking(pipe.as_fd())?;
        let (pipe, since) = (File::from(pipe), Instant::now());
        self.clients.push(Client { connection, pipe, pending: Vec::new(), since });
        Ok(())
    }

    /// Forgets the client of a connection.
    pub fn detach(&mut self, connection: u64) {
        self.clients.retain(|client| client.connection != connection);
    }

    /// Reads once and passes it on. True when there may be more at once.
    pub fn read(&mut self, log: &mut LogFile, buffer: &mut [u8]) -> bool {
        let Some(source) = &mut self.source else { return false };
        match source.read(buffer) {
            Ok(0) => self.end(log),
            Ok(length) => {
                self.pass_on(log, &buffer[..length]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            // A terminal whose other side is closed says EIO.
            Err(_) => self.end(log),
        }
        false
    }

    fn pass_on(&mut self, log: &mut LogFile, data: &[u8]) {
        let mut lines = Vec::with_capacity(data.len() + 128);
        self.cutter.push(self.name, Timestamp::now(), data, &mut lines);
        write_log(log, &lines);
        self.clients.retain_mut(|client| client.send(data));
    }

    /// Lets blocked clients go on, and drops those that have not read for too long.
    pub fn flush(&mut self) {
        self.clients.retain_mut(|client| {
            client.pending.is_empty() || (client.send(&[]) && client.since.elapsed() < PATIENCE)
        });
    }

    /// Reads what is left after the container's end, then ends.
    pub fn drain(&mut self, log: &mut LogFile, buffer: &mut [u8]) {
        while self.read(log, buffer) {}
        self.end(log);
        self.clients.clear();
    }

    fn end(&mut self, log: &mut LogFile) {
        if self.source.take().is_some() {
            let mut lines = Vec::new();
            self.cutter.finish(self.name, Timestamp::now(), &mut lines);
            write_log(log, &lines);
        }
    }
}

impl Client {
    /// False when it has left.
    fn send(&mut self, data: &[u8]) -> bool {
        if self.pending.is_empty() {
            self.since = Instant::now();
        }
        self.pending.extend_from_slice(data);
        while !self.pending.is_empty() {
            match self.pipe.write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

fn write_log(log: &mut LogFile, lines: &[u8]) {
    if !lines.is_empty()
        && let Err(error) = log.write(lines)
    {
        // Said once per failing write in the shim's own log, which is as full as the disk then.
        say!("cannot write the container's log: {error}");
    }
}
