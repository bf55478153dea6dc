//! A part of a volume, for `subPath`.
//!
//! Containers write into volumes and may put a link anywhere at any time. So the part is opened
//! once by a walk that the kernel keeps inside of the volume, and what was opened is bound to a
//! place of its own, which is what the container gets.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use coracle_runtime::despite_renames;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};

use super::{VolumeError, failed, mount_table};

/// What a directory has from the volume that it is made in: its permissions, and whether new files
/// in it get its group.
const PASSED_ON: u32 = 0o2777;

/// Binds `sub_path` of the volume at `root` to `place`: the part that has this name now, whatever
/// was bound there for a container before. Where there is nothing, a directory is made.
///
/// # Errors
/// When the path leads outside of the volume.
pub(crate) fn bind(root: &Path, sub_path: &str, place: &Path) -> Result<(), VolumeError> {
    let relative = Path::new(sub_path);
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        let why = format!("subPath {sub_path:?} must be a relative path without '..'");
        return Err(VolumeError::Unsupported(why));
    }
    let opened = open(root, relative).map_err(failed("open", &root.join(relative)))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    prepare(&source, place)?;
    mount_bind(&source, place).map_err(|error| failed("bind", place)(error.into()))?;
    mount_change(place, MountPropagationFlags::PRIVATE)
        .map_err(|error| failed("bind", place)(error.into()))
}

/// An empty place of the kind that the source is. A container that runs has a mount of its own.
fn prepare(source: &Path, place: &Path) -> Result<(), VolumeError> {
    while mount_table::is_mounted(place)? {
        unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|error| failed("unmount", place)(error.into()))?;
    }
    coracle_runtime::remove_all(place).map_err(failed("remove", place))?;
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(failed("create", parent))?;
    if fs::metadata(source).map_err(failed("read", source))?.is_dir() {
        fs::create_dir(place).map_err(failed("create", place))
    } else {
        fs::write(place, []).map_err(failed("create", place))
    }
}

/// Opens `relative` below `root`, making directories where there is nothing: as open as the volume
/// is, so that whoever may write to it may write to them.
fn open(root: &Path, relative: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut here = openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mode = fstat(&here)?.st_mode & PASSED_ON;
    // Whole prefixes, each from the root: a link in the middle may lead up, but never out.
    let root = here.try_clone()?;
    let mut prefix = PathBuf::new();
    for part in relative.components().filter(|part| matches!(part, Component::Normal(_))) {
        prefix.push(part);
        let found = || openat2(&root, &prefix, flags, Mode::empty(), inside);
        here = match despite_renames(|| found().map_err(io::Error::from)) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let part = Path::new(part.as_os_str());
                let is_new = match mkdirat(&here, part, Mode::from_raw_mode(mode & 0o777)) {
                    // Another container has just made it.
                    Err(Errno::EXIST) => false,
                    made => made.map(|()| true)?,
                };
                let strict = inside | ResolveFlags::NO_SYMLINKS;
                let flags = flags | OFlags::NOFOLLOW | OFlags::DIRECTORY;
                let made = openat2(&here, part, flags, Mode::empty(), strict)?;
                if is_new {
                    // Not what the engine's mask leaves of it. Its group is the kernel's to pass on.
                    let path = format!("/proc/self/fd/{}", made.as_raw_fd());
                    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
                }
                made
            }
            Err(error) => return Err(error),
        };
    }
    Ok(here)
}
