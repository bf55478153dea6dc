//! Removing what a container has filled: however deep, whatever it is.
//!
//! `remove_dir_all` of the standard library goes down one call and one descriptor a level, so a
//! container that makes a hundred thousand directories in each other would end the process that
//! removes them. Here a directory that is not empty is moved up before it is looked at: nothing is
//! ever more than two levels down.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::tree::path_of;

/// Removes `path` with all that is below it; no error when there is nothing.
///
/// # Errors
/// When something is mounted below it: what is on other file systems is never touched.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    match File::open(parent) {
        Ok(parent) => remove_all_in(parent.as_fd(), name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// As [`remove_all`], of `name` in an open directory.
///
/// # Errors
/// As [`remove_all`].
pub fn remove_all_in(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    if remove_if_simple(parent, name)? {
        return Ok(());
    }
    let root = open(parent, name)?;
    let mut moved = 0;
    loop {
        let names = names(&root)?;
        if names.is_empty() {
            return Ok(unlinkat(parent, name, UnlinkatFlags::RemoveDir)?);
        }
        for name in &names {
            if !remove_if_simple(root.as_fd(), name)? {
                lift_content(&root, name, &mut moved)?;
                unlinkat(&root, name.as_os_str(), UnlinkatFlags::RemoveDir)?;
            }
        }
    }
}

/// Removes what is no directory, or an empty one; whether it did, or found nothing.
fn remove_if_simple(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Empties the directory `name` of `root`; what is not simple in it is in `root` afterwards.
fn lift_content(root: &OwnedFd, name: &OsStr, moved: &mut u64) -> io::Result<()> {
    let directory = open(root.as_fd(), name)?;
    for child in names(&directory)? {
        if !remove_if_simple(directory.as_fd(), &child)? {
            loop {
                *moved += 1;
                let (to, once) = (format!("..{moved}"), RenameFlags::RENAME_NOREPLACE);
                match renameat2(&directory, child.as_os_str(), root, to.as_str(), once) {
                    Err(Errno::EEXIST) => {}
                    other => break other?,
                }
            }
        }
    }
    Ok(())
}

/// A directory of the same mount.
fn open(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let inside = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    Ok(openat2(parent, name, OpenHow::new().flags(flags).resolve(inside))?)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(path_of(directory))?.map(|entry| Ok(entry?.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_deep_goes_and_what_links_lead_to_stays() {
        let parent = tempfile::tempdir().unwrap();
        let (path, outside) = (parent.path().join("tree"), parent.path().join("outside"));
        fs::create_dir_all(outside.join("kept")).unwrap();
        fs::create_dir_all(path.join("a/..1/b")).unwrap();
        fs::write(path.join("a/..1/file"), "x").unwrap();
        symlink(&outside, path.join("a/link")).unwrap();
        // Deeper than a path may be long, and than descriptors there are.
        let mut here: OwnedFd = File::open(&path).unwrap().into();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        for _ in 0..1_100 {
            nix::sys::stat::mkdirat(&here, "deep", mode).unwrap();
            here = open(here.as_fd(), OsStr::new("deep")).unwrap();
        }
        drop(here);
        remove_all(&path).unwrap();
        assert!(!path.exists() && outside.join("kept").is_dir());
        remove_all(&path).unwrap();
        fs::write(&path, "x").unwrap();
        remove_all(&path).unwrap();
        remove_all(&path.join("none")).unwrap();
        assert!(!path.exists());
    }
}
