//! A part of a volume, for `subPath`.
//!
//! Containers write into volumes and may put a link anywhere at any time. So the part is opened
//! once by a walk that the kernel keeps inside of the volume, and what was opened is bound to a
//! place of its own, which is what the container gets.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use super::{VolumeError, failed};

/// Binds `sub_path` of the volume at `root` to `place`, made when missing (a directory, unless a
/// file is there already).
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
    if super::sized::is_mounted(place)? {
        return Ok(());
    }
    mount_bind(&source, place).map_err(|error| failed("bind", place)(error.into()))?;
    mount_change(place, MountPropagationFlags::PRIVATE)
        .map_err(|error| failed("bind", place)(error.into()))
}

fn prepare(source: &Path, place: &Path) -> Result<(), VolumeError> {
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(failed("create", parent))?;
    if place.exists() {
        return Ok(());
    }
    if fs::metadata(source).map_err(failed("read", source))?.is_dir() {
        fs::create_dir(place).map_err(failed("create", place))
    } else {
        fs::write(place, []).map_err(failed("create", place))
    }
}

/// Opens `relative` below `root`, making directories where there is nothing.
fn open(root: &Path, relative: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut here = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    // Whole prefixes, each from the root: a link in the middle may lead up, but never out.
    let root = here.try_clone()?;
    let mut prefix = PathBuf::new();
    for part in relative.components().filter(|part| matches!(part, Component::Normal(_))) {
        prefix.push(part);
        here = match openat2(&root, &prefix, flags, Mode::empty(), inside) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&here, Path::new(part.as_os_str()), Mode::from_bits_truncate(0o755))?;
                let target = here.try_clone()?;
                rustix::fs::openat(
                    &target,
                    Path::new(part.as_os_str()),
                    flags | OFlags::NOFOLLOW,
                    Mode::empty(),
                )?
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(here)
}
