//! The last steps in the container's own process, from the library's setup to its program.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use caps::{CapSet, CapsHashSet};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{AccessFlags, access};
use seccompiler::BpfProgram;

use crate::{StartError, StartErrorKind, sys};

/// Finds the program, gives up privileges and becomes it.
///
/// The library has dropped capabilities by then, but loading a filter without `no_new_privs` needs
/// CAP_SYS_ADMIN: so the library is told to keep a few more, and they are dropped here.
#[derive(Clone)]
pub struct Program {
    /// Where a [`StartError`] is reported as JSON; closed when the program runs.
    pub report: Rc<OwnedFd>,
    /// What it may keep.
    pub capabilities: CapsHashSet,
    /// What it may call.
    pub filters: Rc<Vec<BpfProgram>>,
    /// Found by `validate` for `exec`, in the same process.
    path: OnceCell<CString>,
    environment: OnceCell<Vec<CString>>,
}

impl Program {
    pub fn new(report: OwnedFd, capabilities: CapsHashSet, filters: Vec<BpfProgram>) -> Self {
        let (report, filters) = (Rc::new(report), Rc::new(filters));
        let (path, environment) = (OnceCell::new(), OnceCell::new());
        Self { report, capabilities, filters, path, environment }
    }

    fn run(&self, spec: &Spec) -> io::Result<()> {
        let arguments = arguments(spec).iter().map(|text| c_string(text));
        let arguments = arguments.collect::<io::Result<Vec<_>>>()?;
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let path = self.path.get().ok_or_else(missing)?;
        let environment = self.environment.get().ok_or_else(missing)?;
        reset_signals()?;
        // The shim's death is the container's. A child of the container's first process has that
        // one's death for its own, by the process namespace.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        self.filters.iter().try_for_each(|filter| sys::load_filter(filter))?;
        self.drop_capabilities().map_err(io::Error::other)?;
        match nix::unistd::execve(path, &arguments, environment)? {}
    }

    fn drop_capabilities(&self) -> Result<(), caps::errors::CapsError> {
        let held = caps::read(None, CapSet::Permitted)?;
        if held.is_subset(&self.capabilities) {
            return Ok(());
        }
        for extra in held.difference(&self.capabilities) {
            caps::drop(None, CapSet::Bounding, *extra)?;
        }
        caps::set(None, CapSet::Effective, &self.capabilities)?;
        caps::set(None, CapSet::Permitted, &self.capabilities)
    }
}

impl Executor for Program {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let found =
            find_program(arguments(spec).first().map_or("", String::as_str), &search_path(spec));
        let found = found.and_then(|path| {
            c_string(path.to_string_lossy().as_ref()).map_err(|error| StartError {
                kind: StartErrorKind::Setup,
                message: error.to_string(),
            })
        });
        match found {
            Ok(path) => {
                // The library validates once.
                drop(self.path.set(path));
                Ok(())
            }
            Err(error) => {
                let message = error.message.clone();
                report(&self.report, &error);
                Err(ExecutorValidationError::ArgValidationError(message))
            }
        }
    }

    fn setup_envs(&self, variables: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let mut pairs: Vec<_> = variables.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.sort_unstable();
        let pairs = pairs.iter().map(|pair| c_string(pair)).collect::<io::Result<Vec<_>>>();
        let pairs = pairs.map_err(|error| ExecutorSetEnvsError::Other(error.to_string()))?;
        drop(self.environment.set(pairs));
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let Err(error) = self.run(spec) else { return Ok(()) };
        // The program counts as started: as upstream, its log tells, and it exits with 255.
        let name = arguments(spec).first().map_or("", String::as_str);
        say!("exec {name}: {}", errno_text(&error));
        sys::exit_now(255)
    }
}

/// Tells the shim, which can no longer see into this process.
fn report(pipe: &OwnedFd, error: &StartError) {
    let text = serde_json::to_vec(error).unwrap_or_default();
    if let Err(error) = nix::unistd::write(pipe.as_fd(), &text) {
        say!("cannot report a failed start: {error}");
    }
}

fn arguments(spec: &Spec) -> &[String] {
    spec.process().as_ref().and_then(|process| process.args().as_deref()).unwrap_or_default()
}

fn search_path(spec: &Spec) -> String {
    let variables = spec.process().as_ref().and_then(|process| process.env().as_deref());
    let mut paths =
        variables.unwrap_or_default().iter().filter_map(|pair| pair.strip_prefix("PATH="));
    paths.next_back().unwrap_or_default().to_owned()
}

/// Finds a program as a shell would, with upstream's words when it is not there.
fn find_program(name: &str, path: &str) -> Result<PathBuf, StartError> {
    let error =
        |kind, reason: String| StartError { kind, message: format!("exec: {name:?}: {reason}") };
    if name.contains('/') {
        return match runnable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {
                let reason = format!("stat {name}: no such file or directory");
                Err(error(StartErrorKind::CommandNotFound, reason))
            }
            Err(nix::Error::EISDIR) => {
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
        return Err(nix::Error::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "invalid argument"))
}

/// The system's error in the words of C and Go.
pub fn errno_text(error: &io::Error) -> String {
    match error.raw_os_error().map(nix::Error::from_raw) {
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
