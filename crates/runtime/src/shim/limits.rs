//! What a container may do: its capabilities and system calls.

use std::fs;
use std::path::Path;

use caps::{CapSet, CapsHashSet};
use nix::sys::prctl;
use seccompiler::BpfProgram;

use crate::protocol::Failure;
use crate::{ContainerSpec, Seccomp, StartError, StartErrorKind, capabilities, seccomp, sys};

/// Worked out once for a container's first process and every later command.
#[derive(Debug)]
pub struct Limits {
    capabilities: CapsHashSet,
    filters: Vec<BpfProgram>,
    no_new_privileges: bool,
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
        Ok(Self { capabilities, filters, no_new_privileges: spec.no_new_privileges })
    }

    /// Gives up what this process has beyond them. It must have kept its permitted capabilities:
    /// loading a filter without `no_new_privs` needs CAP_SYS_ADMIN.
    pub fn apply(&self) -> Result<(), Box<dyn std::error::Error>> {
        let held = caps::read(None, CapSet::Permitted)?;
        caps::set(None, CapSet::Effective, &held)?;
        for extra in caps::read(None, CapSet::Bounding)?.difference(&self.capabilities) {
            caps::drop(None, CapSet::Bounding, *extra)?;
        }
        caps::clear(None, CapSet::Ambient)?;
        caps::clear(None, CapSet::Inheritable)?;
        if self.no_new_privileges {
            prctl::set_no_new_privs()?;
        }
        self.filters.iter().try_for_each(|filter| sys::load_filter(filter))?;
        caps::set(None, CapSet::Effective, &self.capabilities)?;
        caps::set(None, CapSet::Permitted, &self.capabilities)?;
        Ok(())
    }
}

/// A profile that is missing or broken may be mended yet: the container is not made, and was not
/// started and lost.
fn read_profile(path: &Path, held: &CapsHashSet) -> Result<seccomp::Profile, Failure> {
    let operation = format!("load seccomp profile {}", path.display());
    let text = fs::read(path).map_err(|error| Failure::step(&operation, error))?;
    seccomp::parse_profile(&text, held).map_err(|error| Failure::step(&operation, error))
}

fn setup(message: String) -> Failure {
    Failure::Start(StartError { kind: StartErrorKind::Setup, message })
}
