//! What a container sees as `/`: its image, the kernel's file systems, its volumes.
//!
//! All of it is mounted by the container's first process, in a mount namespace of its own, below
//! the image's root, through paths that cannot lead out of it; then that root becomes `/`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, dev_t, makedev, mknodat, umask};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs, statfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{fchdir, pivot_root, symlinkat};

use super::program::errno_text;
use crate::cgroup::{Cgroup, Mounted};
use crate::devices::COMMON;
use crate::tree::{Tree, is_directory, path_of};
use crate::{ContainerSpec, Mount, Propagation, StartError, StartErrorKind, sys};

/// Of the whole machine, and thus hidden from containers; upstream's list.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// As above, but harmless to read.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Files of `/proc` that may be replaced, so that programs see the size of their container.
const FIGURES: [&str; 8] =
    ["cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"];

const LINKS: [(&str, &str); 6] = [
    ("core", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

const CLOSED: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC).union(MsFlags::MS_NODEV);

/// What a root is made of.
pub struct Root<'a> {
    /// Where the image is mounted.
    pub image: &'a Path,
    pub container: &'a ContainerSpec,
    /// The pod's `/dev/shm`.
    pub shm: &'a Path,
    pub cgroup: &'a Cgroup,
}

impl Root<'_> {
    /// Mounts everything and makes it this process's `/`. Its mount namespace must be its own.
    pub fn enter(&self) -> Result<(), StartError> {
        let old_mask = umask(Mode::empty());
        let image = self.image.to_string_lossy();
        let tree = self.prepare().map_err(failed(&image))?;
        self.mount_kernels(&tree)?;
        if !self.replaces("/dev") {
            self.make_devices(&tree).map_err(failed("/dev"))?;
        }
        // A mount would hide what was mounted below its place before.
        let mut mounts: Vec<_> = self.container.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.target.components().count());
        mounts.into_iter().try_for_each(|mount| bind(&tree, mount))?;
        if !self.container.privileged && !self.container.unmasked_paths {
            MASKED.iter().try_for_each(|path| mask(&tree, path).map_err(failed(path)))?;
            READ_ONLY.iter().try_for_each(|path| protect(&tree, path).map_err(failed(path)))?;
        }
        if self.container.readonly_rootfs {
            remount(&tree, Path::new("/"), MsFlags::MS_RDONLY).map_err(failed("/"))?;
        }
        umask(old_mask);
        self.pivot(&tree).map_err(failed(&image))
    }

    /// Cuts this namespace off the host's mounts, and gives the image a mount that `/` can become.
    fn prepare(&self) -> io::Result<Tree> {
        let is_shared = |mount: &Mount| mount.propagation == Propagation::Bidirectional;
        let shared = self.container.mounts.iter().any(is_shared);
        // What such a volume shows the host must be shared before the volume is mounted.
        set_propagation("/", if shared { MsFlags::MS_SHARED } else { MsFlags::MS_SLAVE })?;
        let image = self.image.to_string_lossy();
        let (none, bind) = (None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC);
        mount(none, &*image, none, MsFlags::MS_PRIVATE, none)?;
        mount(Some(&*image), &*image, none, bind, none)?;
        Tree::open(self.image)
    }

    /// Whether a volume is to be where a default mount would.
    fn replaces(&self, target: &str) -> bool {
        self.container.mounts.iter().any(|mount| mount.target == Path::new(target))
    }

    fn mount_kernels(&self, tree: &Tree) -> Result<(), StartError> {
        let access = if self.container.privileged { MsFlags::empty() } else { MsFlags::MS_RDONLY };
        let dev = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
        let terminals = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let terminals_options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
        for (target, kind, flags, options) in [
            ("/proc", "proc", CLOSED, ""),
            ("/dev", "tmpfs", dev, "mode=755,size=65536k"),
            ("/dev/pts", "devpts", terminals, terminals_options),
            ("/dev/mqueue", "mqueue", CLOSED, ""),
            ("/sys", "sysfs", CLOSED | access, ""),
        ] {
            if !self.replaces(target) {
                let mounted = tree.directory(Path::new(target)).and_then(|directory| {
                    let target = path_of(&directory);
                    Ok(mount(Some(kind), &*target, Some(kind), flags, Some(options))?)
                });
                mounted.map_err(failed(target))?;
            }
        }
        if !self.replaces("/dev/shm") {
            self.mount_shm(tree).map_err(failed("/dev/shm"))?;
        }
        if !self.replaces("/sys/fs/cgroup") && !self.replaces("/sys") {
            self.mount_cgroup(tree, access).map_err(failed("/sys/fs/cgroup"))?;
        }
        Ok(())
    }

    fn mount_shm(&self, tree: &Tree) -> io::Result<()> {
        let target = Path::new("/dev/shm");
        bind_on(self.shm, &tree.directory(target)?, true)?;
        remount(tree, target, CLOSED)
    }

    /// The container's own group, in every hierarchy that has one.
    fn mount_cgroup(&self, tree: &Tree, access: MsFlags) -> io::Result<()> {
        let root = Path::new("/sys/fs/cgroup");
        let directory = tree.directory(root)?;
        let target = path_of(&directory);
        let flags = CLOSED | MsFlags::MS_RELATIME;
        match self.cgroup.mounted() {
            Mounted::Unified => {
                let kind = Some("cgroup2");
                mount(kind, &*target, kind, flags | access, None::<&str>)?;
            }
            Mounted::Legacy(groups) => {
                mount(Some("tmpfs"), &*target, Some("tmpfs"), flags, Some("mode=755"))?;
                for (name, group) in groups {
                    let place = root.join(name);
                    bind_on(&group, &tree.directory(&place)?, false)?;
                    remount(tree, &place, flags | access)?;
                }
                remount(tree, root, flags | access)?;
            }
        }
        Ok(())
    }

    fn make_devices(&self, tree: &Tree) -> io::Result<()> {
        let dev = tree.find(Path::new("/dev"))?;
        for (name, target) in LINKS {
            symlinkat(target, &dev, name)?;
        }
        if self.container.privileged {
            return HostDevice::all().iter().try_for_each(|device| device.make(tree));
        }
        let all = Mode::from_bits_truncate(0o666);
        for (name, major, minor) in COMMON {
            // These two are a mount and a link.
            if !matches!(name, "console" | "ptmx") {
                let number = makedev(major.unsigned_abs().into(), minor.unsigned_abs().into());
                mknodat(&dev, name, SFlag::S_IFCHR, all, number)?;
            }
        }
        Ok(())
    }

    fn pivot(&self, tree: &Tree) -> io::Result<()> {
        let old = fs::File::open("/")?;
        fchdir(tree.find(Path::new("/"))?)?;
        pivot_root(".", ".")?;
        // The old root lies over the new one now. What is unmounted here stays at the host.
        fchdir(&old)?;
        set_propagation(".", MsFlags::MS_SLAVE)?;
        umount2(".", MntFlags::MNT_DETACH)?;
        std::env::set_current_dir("/")
    }
}

/// Makes this terminal the container's console. Runs in the finished root.
pub fn mount_console(terminal: &OwnedFd) -> io::Result<()> {
    let console = Tree::open(Path::new("/"))?.file(Path::new("/dev/console"))?;
    let (source, target) = (path_of(terminal), path_of(&console));
    Ok(mount(Some(&*source), &*target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn failed(target: &str) -> impl Fn(io::Error) -> StartError {
    move |error| StartError {
        kind: StartErrorKind::Mount,
        message: format!("error mounting \"{target}\": {}", errno_text(&error)),
    }
}

fn set_propagation(target: &str, kind: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, target, None::<&str>, kind | MsFlags::MS_REC, None::<&str>)
}

fn bind(tree: &Tree, spec: &Mount) -> Result<(), StartError> {
    bind_volume(tree, spec).map_err(|error| {
        let (source, target) = (spec.source.display(), spec.target.display());
        let cause = errno_text(&error);
        let message = format!("error mounting \"{source}\" to rootfs at \"{target}\": {cause}");
        StartError { kind: StartErrorKind::Mount, message }
    })
}

fn bind_volume(tree: &Tree, spec: &Mount) -> io::Result<()> {
    let is_directory = spec.source.is_dir();
    let target = if is_directory { tree.directory(&spec.target) } else { tree.file(&spec.target) }?;
    check_target(&target, spec)?;
    bind_on(&spec.source, &target, spec.recursive)?;
    set_propagation(
        &path_of(&tree.find(&spec.target)?),
        match spec.propagation {
            Propagation::Private => MsFlags::MS_PRIVATE,
            Propagation::HostToContainer => MsFlags::MS_SLAVE,
            Propagation::Bidirectional => MsFlags::MS_SHARED,
        },
    )?;
    if spec.readonly_below {
        return sys::forbid_writing(tree.find(&spec.target)?.as_fd(), true);
    }
    if spec.readonly { remount(tree, &spec.target, MsFlags::MS_RDONLY) } else { Ok(()) }
}

/// What a process reads of `/proc` about itself decides what its security module does
/// (CVE-2019-16884, CVE-2019-19921): nothing may lie over it but the files that tell how big the
/// machine is, and over all of it only a `/proc`.
fn check_target(target: &OwnedFd, spec: &Mount) -> io::Result<()> {
    let refused = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if spec.target == Path::new("/proc") {
        return match statfs(&spec.source)?.filesystem_type() == PROC_SUPER_MAGIC {
            true => Ok(()),
            false => refused("cannot be mounted because it is not of type proc"),
        };
    }
    let is_figure = FIGURES.iter().any(|name| spec.target == Path::new("/proc").join(name));
    if fstatfs(target)?.filesystem_type() == PROC_SUPER_MAGIC && !is_figure {
        return refused("cannot be mounted because it is inside /proc");
    }
    Ok(())
}

fn bind_on(source: &Path, target: &OwnedFd, recursive: bool) -> io::Result<()> {
    let below = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
    let flags = MsFlags::MS_BIND | below;
    Ok(mount(Some(source), &*path_of(target), None::<&str>, flags, None::<&str>)?)
}

/// Adds flags to what is mounted at `target`; those that it has stay.
fn remount(tree: &Tree, target: &Path, added: MsFlags) -> io::Result<()> {
    let mounted = tree.find(target)?;
    let has = fstatvfs(&mounted)?.flags();
    let kept = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| *flag);
    let flags = kept.fold(added | MsFlags::MS_BIND | MsFlags::MS_REMOUNT, MsFlags::union);
    Ok(mount(None::<&str>, &*path_of(&mounted), None::<&str>, flags, None::<&str>)?)
}

/// Hides a file or directory, if it is there.
fn mask(tree: &Tree, path: &str) -> io::Result<()> {
    let Some(found) = existing(tree, path)? else { return Ok(()) };
    let target = path_of(&found);
    let none = None::<&str>;
    if is_directory(&found)? {
        let flags = CLOSED | MsFlags::MS_RDONLY;
        mount(Some("tmpfs"), &*target, Some("tmpfs"), flags, Some("size=4k"))?;
    } else {
        mount(Some("/dev/null"), &*target, none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}

/// Makes a file or directory read-only, if it is there.
fn protect(tree: &Tree, path: &str) -> io::Result<()> {
    let Some(found) = existing(tree, path)? else { return Ok(()) };
    bind_on(Path::new(&path_of(&found)), &found, true)?;
    remount(tree, Path::new(path), CLOSED | MsFlags::MS_RDONLY)
}

fn existing(tree: &Tree, path: &str) -> io::Result<Option<OwnedFd>> {
    match tree.find(Path::new(path)) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A device of the host, as privileged containers get them all.
struct HostDevice {
    path: PathBuf,
    kind: SFlag,
    mode: Mode,
    number: dev_t,
    owner: (u32, u32),
}

impl HostDevice {
    fn all() -> Vec<Self> {
        let (mut devices, mut directories) = (Vec::new(), vec![PathBuf::from("/dev")]);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                let ours = ["pts", "shm", "mqueue", "fd", "console", "ptmx"];
                if ours.iter().any(|name| *name == entry.file_name()) {
                    continue;
                }
                let kind = match metadata.file_type() {
                    kind if kind.is_dir() => {
                        directories.push(entry.path());
                        continue;
                    }
                    kind if kind.is_char_device() => SFlag::S_IFCHR,
                    kind if kind.is_block_device() => SFlag::S_IFBLK,
                    _ => continue,
                };
                let mode = Mode::from_bits_truncate(metadata.mode() & 0o7777);
                let (number, owner) = (metadata.rdev(), (metadata.uid(), metadata.gid()));
                devices.push(Self { path: entry.path(), kind, mode, number, owner });
            }
        }
        devices
    }

    fn make(&self, tree: &Tree) -> io::Result<()> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(());
        };
        let parent = tree.directory(parent)?;
        match mknodat(&parent, name, self.kind, self.mode, self.number) {
            Ok(()) => {}
            // Two of the host's names may lead to one of ours.
            Err(Errno::EEXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let (uid, gid) = self.owner;
        let made = tree.find(&self.path)?;
        let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
        Ok(nix::unistd::fchownat(made.as_fd(), "", Some(uid.into()), Some(gid.into()), flags)?)
    }
}
