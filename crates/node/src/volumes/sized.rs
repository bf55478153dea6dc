//! Volumes of a size that holds: an ext4 filesystem in a sparse file, mounted through a loop device.
//!
//! Project quotas would be lighter, but need a filesystem that was made and mounted for them. The
//! file takes as much of the disk as is written to it, and never more than the volume's size.

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use coracle_runtime::LoopDevice;
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, unmount};

use super::{VolumeError, failed};

/// The smallest filesystem that is worth making.
const BYTES_MIN: u64 = 2 << 20;
/// The file with the filesystem, in the volume's directory.
const IMAGE: &str = "volume.img";
/// Where it is mounted, beside it.
const MOUNT: &str = "mount";
/// What containers get: not the root, which has ext4's `lost+found`.
const DATA: &str = "data";

/// Makes the volume of `bytes` in `directory`, or mounts the one that is there; where its content
/// is. One that is smaller is enlarged before it is mounted: growing a mounted filesystem takes a
/// capability (`CAP_SYS_RESOURCE`) that many machines withhold.
///
/// # Errors
/// When the disk is full, or the machine lacks `mkfs.ext4` or loop devices.
pub(crate) fn mount(directory: &Path, bytes: u64) -> Result<PathBuf, VolumeError> {
    let (image, target) = (directory.join(IMAGE), directory.join(MOUNT));
    fs::create_dir_all(&target).map_err(failed("create", &target))?;
    let bytes = bytes.max(BYTES_MIN);
    if !image.exists() {
        make(&image, bytes)?;
    }
    let present = fs::metadata(&image).map_err(failed("read", &image))?.len();
    if is_stuck(&target)? {
        release(directory)?;
        check(&image)?;
    }
    if !is_mounted(&target)? {
        if present < bytes {
            enlarge(&image, bytes)?;
            check(&image)?;
            run("resize2fs", &[], &image)?;
        }
        loop_mount(&image, &target)?;
    }
    let data = target.join(DATA);
    if !data.exists() {
        fs::create_dir(&data).map_err(failed("create", &data))?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777))
            .map_err(failed("chmod", &data))?;
    }
    Ok(data)
}

/// Unmounts the volume; its content stays. No error when it is not mounted.
///
/// # Errors
/// When a process still uses it.
pub(crate) fn release(directory: &Path) -> Result<(), VolumeError> {
    let target = directory.join(MOUNT);
    while is_mounted(&target)? {
        unmount(&target, UnmountFlags::empty())
            .map_err(|error| failed("unmount", &target)(error.into()))?;
    }
    Ok(())
}

/// Whether something is mounted at exactly `target`.
pub(crate) fn is_mounted(target: &Path) -> Result<bool, VolumeError> {
    let (flags, nothing) = (AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    match rustix::fs::statx(rustix::fs::CWD, target, flags, nothing) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(failed("read", target)(error.into())),
    }
}

/// Where the volume is mounted whose content is at `data`, if it is one of a size that holds.
pub(crate) fn mount_point(data: &Path) -> Option<&Path> {
    data.parent().filter(|target| data.ends_with(DATA) && target.ends_with(MOUNT))
}

/// Whether a volume at one of `targets` refuses writes since the disk under it failed.
pub(crate) fn any_is_stuck(targets: &[PathBuf]) -> Result<bool, VolumeError> {
    Ok(stuck()?.iter().any(|target| targets.contains(target)))
}

fn is_stuck(target: &Path) -> Result<bool, VolumeError> {
    Ok(stuck()?.iter().any(|stuck| stuck == target))
}

/// Where ext4 gave up on its disk, full or broken: it takes no writes until it is mounted anew.
fn stuck() -> Result<Vec<PathBuf>, VolumeError> {
    let gave_up = |options: &str| options.split(',').any(|it| matches!(it, "ro" | "emergency_ro"));
    let parse = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (target, kind, options) = (words.next()?, words.next()?, words.next()?);
        let is_ours = kind == "ext4" && Path::new(target).ends_with(MOUNT);
        (is_ours && gave_up(options)).then(|| PathBuf::from(unescape(target)))
    };
    Ok(mount_table()?.lines().filter_map(parse).collect())
}

fn mount_table() -> Result<String, VolumeError> {
    // The calling thread's: a test may have given itself mounts of its own.
    let table = Path::new("/proc/thread-self/mounts");
    fs::read_to_string(table).map_err(failed("read", table))
}

/// Mount points and their sources.
pub(crate) fn mounts() -> Result<Vec<(PathBuf, PathBuf)>, VolumeError> {
    let text = mount_table()?;
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let source = unescape(words.next()?);
        Some((PathBuf::from(unescape(words.next()?)), PathBuf::from(source)))
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// The kernel writes blanks in paths as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Under another name until it is complete: what a killed engine left half made is not used.
fn make(image: &Path, bytes: u64) -> Result<(), VolumeError> {
    let unfinished = image.with_extension("new");
    let file = File::create(&unfinished).map_err(failed("create", &unfinished))?;
    file.set_len(bytes).map_err(failed("create", &unfinished))?;
    // Tables are zero already in a new file; nothing is reserved for root, it is all the pod's.
    let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", options], &unfinished)?;
    file.sync_all().map_err(failed("sync", &unfinished))?;
    fs::rename(&unfinished, image).map_err(failed("rename", &unfinished))
}

fn enlarge(image: &Path, bytes: u64) -> Result<(), VolumeError> {
    let file = File::options().write(true).open(image).map_err(failed("open", image))?;
    file.set_len(bytes).map_err(failed("enlarge", image))
}

fn loop_mount(image: &Path, target: &Path) -> Result<(), VolumeError> {
    let file = File::options().read(true).write(true).open(image).map_err(failed("open", image))?;
    let device = LoopDevice::of(&file).map_err(failed("attach a loop device to", image))?;
    rustix::mount::mount(&device.path, target, "ext4", MountFlags::NOATIME, None::<&CStr>)
        .map_err(|error| failed("mount", target)(error.into()))
}

/// Repairs what can be repaired without asking.
fn check(image: &Path) -> Result<(), VolumeError> {
    const REPAIRED: i32 = 1;
    let mut command = Command::new("e2fsck");
    command.args(["-f", "-p"]).arg(image);
    finish("e2fsck", command, &[REPAIRED])
}

fn run(tool: &'static str, arguments: &[&str], path: &Path) -> Result<(), VolumeError> {
    let mut command = Command::new(tool);
    command.args(arguments).arg(path);
    finish(tool, command, &[])
}

/// Runs `command`; besides 0, the exit codes in `fine` are no failure.
fn finish(tool: &'static str, mut command: Command, fine: &[i32]) -> Result<(), VolumeError> {
    // Such tools live where an ordinary user's PATH does not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    let output =
        command.output().map_err(|error| VolumeError::Tool { tool, message: error.to_string() })?;
    if output.status.success() || output.status.code().is_some_and(|code| fine.contains(&code)) {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(VolumeError::Tool { tool, message })
}
