//! Whether containers can run here at all: tried once, so that what is missing is said before the first
//! pod waits for it.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use crate::Resources;
use crate::cgroup::Cgroup;
use crate::mounts;

/// What making containers takes, by the numbers of `CapEff`.
const CAPABILITIES: [(&str, u32); 9] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_MKNOD", 27),
];

/// What does not work, a sentence each that says what to do about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Without these nothing runs.
    pub missing: Vec<String>,
    /// With these something has no effect.
    pub notes: Vec<String>,
}

/// Tries it all with a scratch directory in the data directory `dir`, which exists, and the control
/// group `cgroup`; nothing is left of either.
#[must_use]
pub fn check(dir: &Path, cgroup: &str) -> Findings {
    let mut found = Findings::default();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    found.missing.extend(user_namespace(&read("/proc/self/uid_map")));
    found.missing.extend(lacking(&read("/proc/self/status")));
    // What follows would fail for the same reasons, in worse words.
    if found.missing.is_empty() {
        found.missing.extend(namespaces());
    }
    if found.missing.is_empty() {
        found.missing.extend(root());
    }
    if found.missing.is_empty() {
        found.missing.extend(layers(dir));
        match groups(cgroup) {
            Ok(notes) => found.notes = notes,
            Err(why) => found.missing.push(why),
        }
    }
    found
}

/// The first namespace maps every user to itself.
fn user_namespace(map: &str) -> Option<String> {
    let fields: Vec<_> = map.split_whitespace().collect();
    (!fields.is_empty() && fields != ["0", "0", "4294967295"]).then(|| {
        "this is a user namespace (a rootless container?), in which no devices, control groups and \
         image layers can be made: run it as the machine's own root"
            .to_owned()
    })
}

fn lacking(status: &str) -> Option<String> {
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let held = u64::from_str_radix(held.trim(), 16).ok()?;
    let lacking: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(_, number)| held & (1 << number) == 0)
        .map(|(name, _)| *name)
        .collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "this process lacks {}: give the container or unit that it runs in these capabilities \
             (docker run --privileged)",
            lacking.join(", ")
        )
    })
}

fn namespaces() -> Option<String> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID;
    let error = apart(move || Ok(unshare(flags)?)).err()?;
    Some(format!(
        "namespaces cannot be made ({error}): a seccomp profile or a limit in /proc/sys/user forbids it"
    ))
}

/// Whether mounts can be kept to oneself: each container begins with that.
fn root() -> Option<String> {
    let error = apart(own_mounts).err()?;
    Some(match error.raw_os_error() {
        Some(libc::EINVAL) => "the root directory is no mount point (a chroot?), so that no container's \
             mounts could be kept apart: mount it on itself first (mount --bind DIR DIR), or enter it \
             with pivot_root"
            .to_owned(),
        _ => format!("mounts cannot be kept apart ({error})"),
    })
}

/// Gives this thread a table of mounts of its own, which dies with it.
fn own_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?)
}

/// An overlay of a layer, as every container's root is one.
fn layers(dir: &Path) -> Option<String> {
    let scratch = dir.join(format!("preflight-{}", std::process::id()));
    let tried = try_overlay(&scratch);
    if let Err(error) = fs::remove_dir_all(&scratch) {
        tracing::debug!(%error, "a scratch directory stays");
    }
    let error = tried.err()?;
    let of = match statfs(dir).map(|it| it.filesystem_type()) {
        Ok(OVERLAYFS_SUPER_MAGIC) => " is on an overlay (a container's own root?), on which",
        _ => " is on a file system on which",
    };
    Some(format!(
        "{}{of} no image layer can be mounted ({error}): choose a --data-dir on ext4, xfs or btrfs, \
         for example a volume",
        dir.display()
    ))
}

fn try_overlay(scratch: &Path) -> io::Result<()> {
    let (layer, root) = (scratch.join("layer"), scratch.join("root"));
    fs::create_dir_all(&layer)?;
    fs::create_dir_all(&root)?;
    apart(move || {
        own_mounts()?;
        let mounted = mounts::mount_overlay(&root, &[layer])?;
        fs::write(mounted.join("file"), "")
    })
}

fn groups(path: &str) -> Result<Vec<String>, String> {
    let small = Resources {
        memory_limit: Some(64 << 20),
        cpu_quota: Some(100_000),
        pids_limit: Some(16),
        ..Resources::default()
    };
    let tried = Cgroup::at(path).and_then(|cgroup| {
        let made = cgroup.create(&small);
        cgroup.remove()?;
        made.map(|()| cgroup.uncontrolled())
    });
    let uncontrolled = tried.map_err(|error| match error.kind() {
        // A group of version 2 that gives its controllers to others holds no processes itself.
        io::ErrorKind::ResourceBusy => format!(
            "control groups cannot be made ({error}): this process is in the group below which they \
             would be, as in a container without an init; move all processes into a group of their own \
             first (mkdir /sys/fs/cgroup/init; for each process, echo PID \
             >/sys/fs/cgroup/init/cgroup.procs)"
        ),
        _ => format!(
            "control groups cannot be made ({error}): mount /sys/fs/cgroup writable, and in a container \
             let it have its own (docker run --privileged --cgroupns=private)"
        ),
    })?;
    let note = |name: &str| {
        format!("this machine has no {name} controller for us: limits of it have no effect")
    };
    Ok(uncontrolled.into_iter().map(note).collect())
}

/// In a thread of its own, whose namespaces are its own business.
fn apart(work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the attempt panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_can_is_told_nothing_and_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let group = format!("/coracle-preflight-{}", std::process::id());
        assert_eq!(check(dir.path(), &group), Findings::default());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Cgroup::at(&group).unwrap().processes().is_empty());
    }

    #[test]
    fn a_directory_on_an_overlay_is_told_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let (layer, root) = (dir.path().join("layer"), dir.path().join("root"));
        fs::create_dir_all(&layer).unwrap();
        fs::create_dir_all(&root).unwrap();
        let mut found = None;
        apart(|| {
            own_mounts()?;
            found = layers(&mounts::mount_overlay(&root, &[layer])?);
            Ok(())
        })
        .unwrap();
        let text = found.unwrap();
        assert!(text.contains("is on an overlay") && text.contains("--data-dir"), "{text}");
    }

    #[test]
    fn a_chroot_is_told_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let mut found = None;
        apart(|| {
            unshare(CloneFlags::CLONE_FS)?;
            nix::unistd::chroot(dir.path())?;
            found = root();
            Ok(())
        })
        .unwrap();
        let text = found.unwrap();
        assert!(text.contains("is no mount point") && text.contains("mount --bind"), "{text}");
    }

    #[test]
    fn rights_that_are_missing_are_named() {
        assert_eq!(user_namespace("         0          0 4294967295\n"), None);
        assert!(user_namespace("0 1000 1\n").unwrap().contains("user namespace"));
        assert_eq!(lacking("Name:\tx\nCapEff:\t000001fffeffffff\n"), None);
        let text = lacking("CapEff:\t00000000a80425fb\n").unwrap();
        assert!(text.contains("lacks CAP_NET_ADMIN, CAP_SYS_ADMIN:"), "{text}");
    }

    #[test]
    fn groups_that_cannot_be_made_are_told() {
        assert!(groups("/").unwrap_err().contains("/sys/fs/cgroup"));
    }
}
