//! The engine's end of a conversation with a shim.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::SOCKET;
use crate::boot::SandboxDir;
use crate::protocol::{Reply, Request, decode, encode};

/// One connection; it carries one request.
pub struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    /// Descriptors that came with the frames read so far, in order.
    pub descriptors: VecDeque<OwnedFd>,
}

impl Client {
    /// Connects to the shim of a sandbox and asks.
    pub async fn ask(dir: &SandboxDir, request: &Request) -> io::Result<Self> {
        // A socket's name is short, a directory's path need not be.
        let directory =
            File::options().read(true).custom_flags(nix::libc::O_PATH).open(dir.path())?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(&encode(request)?).await?;
        Ok(Self { stream, input: Vec::new(), descriptors: VecDeque::new() })
    }

    /// The next answer; `UnexpectedEof` when the shim is gone.
    pub async fn receive(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = decode(&mut self.input)? {
                return Ok(reply);
            }
            let socket = self.stream.as_raw_fd();
            let (input, descriptors) = (&mut self.input, &mut self.descriptors);
            let read = || receive_some(socket, input, descriptors);
            if self.stream.async_io(Interest::READABLE, read_once(read)).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    }
}

/// `async_io` wants a closure that it may call again, when nothing was there to be read.
fn read_once(mut read: impl FnMut() -> io::Result<usize>) -> impl FnMut() -> io::Result<usize> {
    move || read()
}

fn receive_some(
    socket: RawFd,
    input: &mut Vec<u8>,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut chunk = [0; 16 * 1024];
    let mut data = [IoSliceMut::new(&mut chunk)];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket, &mut data, Some(&mut space), flags)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            #[allow(unsafe_code, reason = "taking over received descriptors")]
            // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
            descriptors.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    input.extend_from_slice(&chunk[..length]);
    Ok(length)
}
