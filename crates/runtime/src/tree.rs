//! Paths below a directory whose links may point anywhere: an image's root, a volume.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::sys;

/// A directory that paths cannot lead out of: absolute ones and links are taken as if it were `/`.
pub struct Tree(OwnedFd);

impl Tree {
    /// The tree below an existing directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self(File::open(root)?.into()))
    }

    /// What is at `path`, as a descriptor (`O_PATH`) that only names it.
    pub fn find(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = CString::new(Path::new("/").join(path).as_os_str().as_bytes())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        sys::open_in_root(self.0.as_fd(), &path)
    }

    /// The directory at `path`; it and its parents are made when missing.
    pub fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.find(path) {
            Ok(found) if is_directory(&found)? => Ok(found),
            Ok(_) => Err(nix::errno::Errno::ENOTDIR.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = self.parent(path, error)?;
                mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
                self.find(path)
            }
            Err(error) => Err(error),
        }
    }

    /// The file at `path`; an empty one and its parents are made when missing.
    pub fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = self.parent(path, error)?;
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                openat(parent, name, flags, Mode::from_bits_truncate(0o644))?;
                self.find(path)
            }
            other => other,
        }
    }

    fn parent<'a>(
        &self,
        path: &'a Path,
        error: io::Error,
    ) -> io::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.directory(parent)?, name)),
            _ => Err(error),
        }
    }
}

/// Whether it is a directory.
pub fn is_directory(fd: &OwnedFd) -> io::Result<bool> {
    let mode = SFlag::from_bits_truncate(fstat(fd)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// A path by which system calls reach what the descriptor names, and nothing mounted over it since.
pub fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_in_the_tree_and_what_is_missing_is_made_there() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("run")).unwrap();
        symlink("/run", root.path().join("link")).unwrap();
        symlink("../../../..", root.path().join("up")).unwrap();
        let tree = Tree::open(root.path()).unwrap();
        tree.directory(Path::new("/link/a/b")).unwrap();
        tree.file(Path::new("up/c/d")).unwrap();
        assert!(root.path().join("run/a/b").is_dir() && root.path().join("c/d").is_file());
        let error = tree.directory(Path::new("/c/d")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(tree.find(Path::new("/none")).is_err());
    }
}
