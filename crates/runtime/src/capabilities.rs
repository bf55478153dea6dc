//! Which capabilities a container gets.

use std::str::FromStr;

use caps::{CapSet, Capability, CapsHashSet};

use crate::ContainerSpec;

/// What every container has unless it is told otherwise; containerd's set.
const DEFAULT: [Capability; 14] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
];

/// What this process could pass on at most.
pub fn own_bounds() -> Result<CapsHashSet, caps::errors::CapsError> {
    caps::read(None, CapSet::Bounding)
}

/// What the container gets: what it asks for, as far as the engine may give it. An unknown name
/// is returned as the error.
pub fn of_container(spec: &ContainerSpec, bounds: &CapsHashSet) -> Result<CapsHashSet, String> {
    if spec.privileged {
        return Ok(bounds.clone());
    }
    let (add, drop) = (&spec.capabilities.add, &spec.capabilities.drop);
    let mut wanted = if names_all(add) {
        bounds.clone()
    } else if names_all(drop) {
        CapsHashSet::new()
    } else {
        CapsHashSet::from(DEFAULT)
    };
    for name in add.iter().filter(|name| !is_all(name)) {
        wanted.insert(parse(name)?);
    }
    for name in drop.iter().filter(|name| !is_all(name)) {
        wanted.remove(&parse(name)?);
    }
    Ok(wanted.intersection(bounds).copied().collect())
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("all")
}

fn names_all(names: &[String]) -> bool {
    names.iter().any(|name| is_all(name))
}

fn parse(name: &str) -> Result<Capability, String> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    Capability::from_str(&full).map_err(|_| format!("unknown capability \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capabilities;

    fn granted(add: &[&str], drop: &[&str], bounds: &CapsHashSet) -> CapsHashSet {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let capabilities = Capabilities { add: list(add), drop: list(drop) };
        of_container(&ContainerSpec { capabilities, ..Default::default() }, bounds).unwrap()
    }

    #[test]
    fn all_is_dropped_before_single_ones_are_added() {
        let bounds = caps::all();
        let only = CapsHashSet::from([Capability::CAP_NET_BIND_SERVICE]);
        assert_eq!(granted(&["NET_BIND_SERVICE"], &["ALL"], &bounds), only);
        let most = granted(&["ALL"], &["CAP_SYS_ADMIN"], &bounds);
        assert!(!most.contains(&Capability::CAP_SYS_ADMIN));
        assert!(most.contains(&Capability::CAP_SYS_PTRACE));
    }

    #[test]
    fn nobody_gets_what_the_engine_itself_may_not_have() {
        let bounds = CapsHashSet::from([Capability::CAP_CHOWN]);
        assert_eq!(granted(&["SYS_RESOURCE", "ALL"], &[], &bounds), bounds);
        assert_eq!(granted(&["SYS_RESOURCE"], &[], &bounds), bounds);
    }
}
