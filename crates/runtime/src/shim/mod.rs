//! The shim: one small process per pod, the parent of its containers.
//!
//! It holds the pod's namespaces (by being in them), starts and reaps its containers, writes their
//! logs, and serves the engine on a Unix socket in the sandbox's directory. It has one thread, so
//! that its forks may run any code on their way to a program. It outlives the engine, and ends only
//! by being killed, which also kills its containers.

mod launch;
mod limits;
mod log;
mod mountpoints;
mod output;
mod pod;
mod program;
mod root;
mod server;
mod setup;
mod streams;

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::boot::{SANDBOX_VARIABLE, SandboxDir};
use crate::{SOCKET, sys};

/// Runs `PROGRAM shim`, whatever follows, for the sandbox in the directory that the environment
/// names. Must be called before any other thread is started and before anything is opened. Does not
/// return while the pod exists.
///
/// Once it serves it writes `ready` to its standard output; otherwise it writes what went wrong.
pub fn main() -> ExitCode {
    #[allow(unsafe_code, reason = "the engine's descriptors are not the shim's")]
    // SAFETY: nothing has been opened in this process yet.
    let closed = unsafe { sys::close_from(3) };
    let Some(dir) = std::env::var_os(SANDBOX_VARIABLE) else { return ExitCode::from(2) };
    let dir = SandboxDir::new(PathBuf::from(dir));
    match closed.map_err(|error| error.to_string()).and_then(|()| begin(dir)) {
        Ok(server) => serve(server),
        Err(message) => {
            print!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn begin(dir: SandboxDir) -> Result<server::Server, String> {
    let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    setup::detach().map_err(step("detach from the engine"))?;
    let boot = dir.begin().map_err(step("begin the sandbox"))?;
    let (cgroup, init) = setup::prepare(&dir, &boot)?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&setup::signals(), flags)
        .map_err(|error| format!("listen for signals: {error}"))?;
    let listener = listen(&dir).map_err(step("listen"))?;
    Ok(server::Server::new(pod::Pod::new(dir, boot, cgroup, init), listener, signals))
}

/// A socket's name is short, a directory's path need not be.
fn listen(dir: &SandboxDir) -> io::Result<UnixListener> {
    std::env::set_current_dir(dir.path())?;
    let listener = UnixListener::bind(SOCKET);
    std::env::set_current_dir("/")?;
    listener
}

fn serve(server: server::Server) -> ExitCode {
    let ready = io::stdout().write_all(b"ready").and_then(|()| io::stdout().flush());
    if let Err(error) = ready.and_then(|()| setup::close_stdio()).and_then(|()| server.run()) {
        say!("the shim failed: {error}");
    }
    ExitCode::FAILURE
}
