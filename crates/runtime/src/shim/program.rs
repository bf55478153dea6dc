//! The last steps in a process of a container, from a finished root to the program.

use std::ffi::CString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{AccessFlags, Gid, Uid, access, setgroups, setresgid, setresuid};

use super::limits::Limits;
use crate::tree::Tree;
use crate::{ContainerSpec, StartError, StartErrorKind, User, sys};

/// What every environment starts with, as upstream's.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As much as is read of a container's `/etc/passwd`, which it may have made as long as it likes.
const USERS: u64 = 1 << 20;

/// What a process becomes: a container's first, or a command.
pub struct Program<'a> {
    pub container: &'a ContainerSpec,
    pub limits: &'a Limits,
    /// The pod's; empty for the host's.
    pub hostname: &'a str,
    pub arguments: &'a [String],
    pub terminal: bool,
}

impl Program<'_> {
    /// Gives up what it may not have and becomes the program. `started` is called when nothing is
    /// left that could fail but the program itself; errors come back from before that only.
    pub fn run(&self, started: impl FnOnce()) -> StartError {
        match self.try_run(started) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_run(&self, started: impl FnOnce()) -> Result<std::convert::Infallible, StartError> {
        let environment = self.environment();
        let directory = Path::new(working_directory(self.container));
        // A directory may be closed to the user and open to the engine, or the other way round.
        let entered = std::env::set_current_dir(directory);
        become_user(&self.container.user).map_err(failed("change the user"))?;
        entered
            .or_else(|_| std::env::set_current_dir(directory))
            .map_err(no_directory(directory))?;
        // A name that leads out of the root, through a descriptor for example, is none within it.
        std::env::current_dir().map_err(no_directory(directory))?;
        let name = self.arguments.first().map_or("", String::as_str);
        let path = find_program(name, search_path(&environment))?;
        let path = c_string(&path.to_string_lossy()).map_err(failed("use the command"))?;
        let arguments = c_strings(self.arguments).map_err(failed("use the arguments"))?;
        let environment = c_strings(&environment).map_err(failed("use the environment"))?;
        reset_signals().map_err(failed("reset signals"))?;
        // The shim's death is the container's. A child of the container's first process has that
        // one's death for its own, by the process namespace.
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("follow the shim's death"))?;
        self.limits.apply().map_err(failed("give up privileges"))?;
        started();
        let Err(error) = nix::unistd::execve(&path, &arguments, &environment);
        // The program counts as started: as upstream, its log tells, and it exits with 255.
        let text = format!("exec {name}: {}\n", errno_text(&error.into()));
        nix::unistd::write(io::stderr(), text.as_bytes()).unwrap_or_default();
        sys::exit_now(255)
    }

    fn environment(&self) -> Vec<String> {
        let mut variables = vec![PATH.to_owned()];
        if !self.hostname.is_empty() {
            variables.push(format!("HOSTNAME={}", self.hostname));
        }
        if self.terminal {
            variables.push("TERM=xterm".to_owned());
        }
        for pair in &self.container.env {
            let name = name_of(pair);
            variables.retain(|known| name_of(known) != name);
            variables.push(pair.clone());
        }
        if !variables.iter().any(|pair| name_of(pair) == "HOME") {
            variables.push(format!("HOME={}", home_of(self.container.user.uid)));
        }
        variables
    }
}

/// Where a container's processes begin.
pub fn working_directory(container: &ContainerSpec) -> &str {
    if container.cwd.is_empty() { "/" } else { &container.cwd }
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// As the container's own `/etc/passwd` says, else `/`.
fn home_of(uid: u32) -> String {
    let mut text = Vec::new();
    let users = Tree::open(Path::new("/")).and_then(|root| root.read(Path::new("/etc/passwd")));
    if let Ok(file) = users {
        // What could be read counts.
        drop(file.take(USERS).read_to_end(&mut text));
    }
    let text = String::from_utf8_lossy(&text);
    let home = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id: u32 = fields.nth(2)?.parse().ok()?;
        fields.nth(2).filter(|home| id == uid && !home.is_empty())
    });
    home.unwrap_or("/").to_owned()
}

/// Keeps all capabilities, which a change of user would otherwise take.
fn become_user(user: &User) -> io::Result<()> {
    let mut groups = user.additional_gids.clone();
    if !groups.contains(&user.gid) {
        groups.insert(0, user.gid);
    }
    let groups: Vec<_> = groups.into_iter().map(Gid::from_raw).collect();
    prctl::set_keepcaps(true)?;
    setgroups(&groups)?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(prctl::set_keepcaps(false)?)
}

fn failed<E: std::fmt::Display>(step: &str) -> impl FnOnce(E) -> StartError {
    move |error| StartError {
        kind: StartErrorKind::Setup,
        message: format!("failed to {step}: {error}"),
    }
}

/// In upstream's words.
pub fn no_directory(directory: &Path) -> impl Fn(io::Error) -> StartError {
    move |error| StartError {
        kind: StartErrorKind::WorkingDirectory,
        message: format!(
            "chdir to cwd ({directory:?}) set in config.json failed: {}",
            errno_text(&error)
        ),
    }
}

fn search_path(environment: &[String]) -> &str {
    // There is one of each name.
    environment.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default()
}

/// Finds a program as a shell would, with upstream's words when it is not there.
fn find_program(name: &str, path: &str) -> Result<PathBuf, StartError> {
    let error =
        |kind, reason: String| StartError { kind, message: format!("exec: {name:?}: {reason}") };
    if name.contains('/') {
        return match runnable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                let reason = format!("stat {name}: no such file or directory");
                Err(error(StartErrorKind::CommandNotFound, reason))
            }
            Err(Errno::EISDIR) => {
                Err(error(StartErrorKind::PermissionDenied, "is a directory".into()))
            }
            Err(_) => Err(error(StartErrorKind::PermissionDenied, "permission denied".into())),
        };
    }
    let directories = path.split(':').map(|dir| Path::new(if dir.is_empty() { "." } else { dir }));
    let candidates: Vec<_> =
        directories.map(|dir| dir.join(name)).filter(|_| !name.is_empty()).collect();
    if let Some(found) = candidates.iter().find(|candidate| runnable(candidate).is_ok()) {
        return Ok(found.clone());
    }
    // A shell says "not found" for a file it may not run, too; so does upstream's look-up.
    let reason = "executable file not found in $PATH".to_owned();
    Err(error(StartErrorKind::CommandNotFound, reason))
}

fn runnable(path: &Path) -> nix::Result<()> {
    let status = nix::sys::stat::stat(path)?;
    if status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

fn c_strings(texts: &[String]) -> io::Result<Vec<CString>> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "invalid argument"))
}

/// The system's error in the words of C and Go.
pub fn errno_text(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => errno.desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// Gives the program the signals that programs expect, not those of a shim.
fn reset_signals() -> io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // The standard library ignores SIGPIPE, and that would be inherited.
    #[allow(unsafe_code, reason = "sigaction is unsafe for handlers only")]
    // SAFETY: the default action runs none of our code.
    unsafe {
        sigaction(Signal::SIGPIPE, &default)?;
    }
    Ok(())
}
