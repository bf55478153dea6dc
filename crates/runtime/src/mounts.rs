//! The container's root, and what is mounted below a directory.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Mounts an overlay of `layers` (topmost first), writable through `DIR/upper`; where it is.
///
/// It lies over the kernel's own `DIR/work`, which nobody else has to see: a directory less to make.
/// The kernel takes one page of options, and paths of layers are long; so it is given numbers of
/// descriptors, which makes this process change directory. Only the shim may call it.
pub fn mount_overlay(dir: &Path, layers: &[PathBuf]) -> io::Result<PathBuf> {
    for name in ["upper", "work"] {
        fs::create_dir(dir.join(name))?;
    }
    let opened = layers.iter().map(fs::File::open).collect::<io::Result<Vec<_>>>()?;
    let lower: Vec<_> = opened.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
    let (lower, bundle) = (lower.join(":"), fs::File::open(dir)?);
    let top = bundle.as_raw_fd();
    std::env::set_current_dir("/proc/self/fd")?;
    // A container's own layer dies with it, so nothing is gained by flushing it.
    let volatile = format!("lowerdir={lower},upperdir={top}/upper,workdir={top}/work,volatile");
    let durable = volatile.trim_end_matches(",volatile");
    let target = format!("{top}/work");
    let mounted = match mount_overlay_with(&target, &volatile) {
        Err(Errno::EINVAL) => mount_overlay_with(&target, durable),
        other => other,
    };
    std::env::set_current_dir("/")?;
    mounted.map_err(|error| io::Error::other(format!("mount overlay: {error}")))?;
    Ok(dir.join("work"))
}

/// Mounts an image's layers (topmost first) at a directory, to be read and nothing else: nothing in it
/// can be run, and no device in it is one.
///
/// Its options name descriptors, as above; for that a thread of its own changes directory.
///
/// # Errors
/// When the kernel refuses, or a layer is missing.
pub fn mount_image(layers: &[PathBuf], target: &Path) -> io::Result<()> {
    let mount = || {
        unshare(CloneFlags::CLONE_FS)?;
        let target = fs::File::open(target)?;
        let opened = layers.iter().map(fs::File::open).collect::<io::Result<Vec<_>>>()?;
        // The kernel wants two; below all of them there is nothing.
        let lower = opened.iter().chain([&target]).map(|it| it.as_raw_fd().to_string());
        let lower = lower.collect::<Vec<_>>();
        std::env::set_current_dir("/proc/thread-self/fd")?;
        let options = format!("lowerdir={}", lower.join(":"));
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        let place = target.as_raw_fd().to_string();
        mount_overlay_as(&place, &options, flags)
            .map_err(|error| io::Error::other(format!("mount overlay: {error}")))
    };
    let mounted = std::thread::scope(|scope| scope.spawn(mount).join());
    mounted.unwrap_or_else(|_| Err(io::Error::other("mount overlay: the thread broke off")))
}

/// What is written over the layers of the overlay in `DIR`.
pub fn upper(dir: &Path) -> PathBuf {
    dir.join("upper")
}

fn mount_overlay_with(target: &str, options: &str) -> nix::Result<()> {
    mount_overlay_as(target, options, MsFlags::empty())
}

fn mount_overlay_as(target: &str, options: &str, flags: MsFlags) -> nix::Result<()> {
    mount(Some("overlay"), target, Some("overlay"), flags, Some(options))
}

/// Mounts a memory file system.
pub fn mount_tmpfs(target: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("shm"), target, Some("tmpfs"), flags, Some(options))?)
}

/// Unmounts everything mounted on or below `dir`, latest first.
///
/// Refuses a relative path, `/` and its direct children: they would take the machine's own mounts.
pub fn unmount_below(dir: &Path) -> io::Result<()> {
    if !dir.is_absolute() || dir.components().count() < 3 {
        let message = format!("refusing to unmount everything below {dir:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // This thread's table, which need not be that of the process's first one.
    let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
    for target in targets_below(&table, dir).iter().rev() {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Gone with a mount above it, or with its container.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn targets_below(table: &str, dir: &Path) -> Vec<PathBuf> {
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    targets.map(PathBuf::from).filter(|target| target.starts_with(dir)).collect()
}

/// Undoes the kernel's `\040` for a space and its like.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\');
        match octal.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => (bytes.push(byte), rest = &tail[3..]).1,
            None => (bytes.push(first), rest = tail).1,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_directory_are_found_whatever_their_names() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                     2 1 0:9 / /x/pods/a\\040b/rootfs rw - overlay overlay rw\n\
                     3 1 0:9 / /x/podsy rw - tmpfs tmpfs rw\n";
        assert_eq!(targets_below(table, Path::new("/x/pods")), [Path::new("/x/pods/a b/rootfs")]);
    }

    #[test]
    fn the_machines_own_mounts_are_never_taken() {
        for dir in ["", "/", "/var", "pods/a"] {
            let error = unmount_below(Path::new(dir)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{dir:?}");
        }
    }
}
