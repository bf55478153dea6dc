//! The standard streams of a process: the shim's ends, and the process's own.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::stat::makedev;

use crate::sys;
use crate::tree::Tree;

/// The shim's ends.
#[derive(Debug, Default)]
pub struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// In place of the three.
    pub terminal: Option<OwnedFd>,
}

/// The process's ends.
pub enum Ends {
    /// In the order of their numbers.
    Pipes([OwnedFd; 3]),
    /// It makes a terminal among the container's own, and hands the master through this.
    Terminal(UnixStream),
}

impl Streams {
    /// Pipes that the process's user may open by name, too, as `/dev/stdout`.
    pub fn pipes(stdin: bool, uid: u32) -> io::Result<(Self, Ends)> {
        let (stdout, theirs_out) = io::pipe()?;
        let (stderr, theirs_err) = io::pipe()?;
        let mut streams = Self::default();
        (streams.stdout, streams.stderr) = (Some(stdout.into()), Some(stderr.into()));
        let input = if stdin {
            let (theirs, ours) = io::pipe()?;
            streams.stdin = Some(ours.into());
            OwnedFd::from(theirs)
        } else {
            OwnedFd::from(File::open("/dev/null")?)
        };
        let ends = [input, theirs_out.into(), theirs_err.into()];
        ends.iter().skip(usize::from(!stdin)).try_for_each(|end| own(end, uid))?;
        Ok((streams, Ends::Pipes(ends)))
    }

    /// The master of the terminal that the process has made.
    pub fn of_terminal(from: &UnixStream) -> io::Result<Self> {
        Ok(Self { terminal: Some(receive(from)?), ..Self::default() })
    }
}

impl Ends {
    /// Makes them this process's standard streams. In a container with a terminal, that is also the
    /// container's console if this is its first process.
    pub fn take(&self, uid: u32, console: bool) -> io::Result<()> {
        nix::unistd::setsid()?;
        let ends = match self {
            Self::Pipes(ends) => ends,
            Self::Terminal(socket) => &make_terminal(socket, uid, console)?,
        };
        nix::unistd::dup2_stdin(&ends[0])?;
        nix::unistd::dup2_stdout(&ends[1])?;
        nix::unistd::dup2_stderr(&ends[2])?;
        Ok(())
    }
}

fn make_terminal(socket: &UnixStream, uid: u32, console: bool) -> io::Result<[OwnedFd; 3]> {
    let master = Tree::open(Path::new("/"))?.device(Path::new("/dev/ptmx"), makedev(5, 2))?;
    sys::unlock_terminal(master.as_fd())?;
    let terminal = sys::terminal_peer(master.as_fd())?;
    // So that the container's user may open its own terminal by name.
    own(&terminal, uid)?;
    sys::control_terminal(terminal.as_fd())?;
    if console {
        super::root::mount_console(&terminal)?;
    }
    send(socket, &master)?;
    Ok([terminal.try_clone()?, terminal.try_clone()?, terminal])
}

fn own(fd: &OwnedFd, uid: u32) -> io::Result<()> {
    Ok(nix::unistd::fchown(fd, Some(uid.into()), None)?)
}

fn send(socket: &UnixStream, fd: &OwnedFd) -> io::Result<()> {
    let fds = [fd.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&fds)];
    let data = [IoSlice::new(b"t")];
    sendmsg::<()>(socket.as_raw_fd(), &data, &message, MsgFlags::empty(), None)?;
    Ok(())
}

fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0; 1];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut space), flags)?;
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
