//! What is mounted, as the calling thread sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::{VolumeError, failed};

/// How often, and after which pauses, what is busy is unmounted again: a process that is being started
/// beside us holds what we had open until it is another program.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// A mount, and the file system that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// `7:3`, of the file system.
    pub device: String,
    pub target: PathBuf,
    /// Refuses writes: asked to, or because its disk failed.
    pub readonly: bool,
}

/// All mounts of the calling thread's namespace, in the order in which they were made.
pub(crate) fn all() -> Result<Vec<Mount>, VolumeError> {
    // The calling thread's: a test may have given itself mounts of its own.
    let table = Path::new("/proc/thread-self/mountinfo");
    Ok(parse(&fs::read_to_string(table).map_err(failed("read", table))?))
}

/// Mounts as `/proc/PID/mountinfo` tells them.
pub(crate) fn parse(table: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut words = mount.split(' ').skip(2);
        let (device, target) = (words.next()?, words.nth(1)?);
        let options = file_system.split(' ').nth(2)?;
        // The kernel says one of these when ext4 has given up on its disk.
        let readonly =
            options.split(',').any(|it| matches!(it, "ro" | "emergency_ro" | "shutdown"));
        Some(Mount { device: device.to_owned(), target: unescape(target).into(), readonly })
    };
    table.lines().filter_map(line).collect()
}

/// The kernel writes blanks in paths as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Whether something is mounted at exactly `target`.
pub(crate) fn is_mounted(target: &Path) -> Result<bool, VolumeError> {
    let (flags, nothing) = (AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    match statx(CWD, target, flags, nothing) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(failed("read", target)(error.into())),
    }
}

/// What is mounted at `target`, the topmost.
pub(crate) fn at(target: &Path) -> Result<Option<Mount>, VolumeError> {
    Ok(all()?.into_iter().rfind(|mount| mount.target == target))
}

/// Unmounts everything below `directory`, the latest first.
///
/// # Errors
/// When something still uses one of them.
pub(crate) fn unmount_below(directory: &Path) -> Result<(), VolumeError> {
    let below = all()?.into_iter().filter(|mount| mount.target.starts_with(directory));
    unmount_each(below)
}

/// Unmounts the file system of `device` wherever it is mounted.
///
/// # Errors
/// When something still uses one of them.
pub(crate) fn unmount_device(device: &str) -> Result<(), VolumeError> {
    unmount_each(all()?.into_iter().filter(|mount| mount.device == device))
}

fn unmount_each(mounts: impl Iterator<Item = Mount>) -> Result<(), VolumeError> {
    let mounts: Vec<_> = mounts.collect();
    for Mount { target, .. } in mounts.iter().rev() {
        match patiently(target) {
            // Gone with a mount above it.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(failed("unmount", target)(error.into())),
        }
    }
    Ok(())
}

fn patiently(target: &Path) -> Result<(), Errno> {
    for _ in 1..TRIES {
        match unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    unmount(target, UnmountFlags::NOFOLLOW)
}

/// Processes that see the file system of `device` in a mount namespace that is not this thread's,
/// one for each namespace.
pub(crate) fn holders(device: &str) -> Vec<String> {
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let mut seen = vec![namespace(Path::new("/proc/thread-self"))];
    let mut holders = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let (path, pid) = (process.path(), process.file_name());
        if !pid.as_encoded_bytes().iter().all(u8::is_ascii_digit)
            || seen.contains(&namespace(&path))
        {
            continue;
        }
        seen.push(namespace(&path));
        let table = fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
        if parse(&table).iter().any(|mount| mount.device == device) {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            holders.push(format!("process {} ({})", pid.display(), name.trim()));
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_gave_up_is_read_only() {
        let table = "36 35 7:3 / /data/a\\040b/mount rw,noatime shared:7 - ext4 /dev/loop3 rw,nodelalloc\n\
                     37 35 7:4 / /data/c/mount rw,noatime - ext4 /dev/loop4 rw,emergency_ro,nodelalloc\n\
                     38 35 7:5 / /data/d/mount rw,noatime - ext4 /dev/loop5 ro,nodelalloc\n";
        let found: Vec<_> = parse(table)
            .into_iter()
            .map(|it| (it.device, it.target.display().to_string(), it.readonly))
            .collect();
        let expected = [
            ("7:3", "/data/a b/mount", false),
            ("7:4", "/data/c/mount", true),
            ("7:5", "/data/d/mount", true),
        ];
        assert_eq!(
            found,
            expected.map(|(device, target, ro)| (device.to_owned(), target.to_owned(), ro))
        );
    }
}
