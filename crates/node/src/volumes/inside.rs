//! Directories whose content others may change at any time, by descriptors that cannot leave them.
//!
//! A container may put a link, a FIFO or another directory anywhere in its volumes, at any moment
//! (CVE-2017-1002101, CVE-2021-25741). So nothing here resolves a path twice: each step is opened
//! by `openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, named by its descriptor from then
//! on, and opened in a way that waits for nobody.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Uid, chmod,
    chownat, fstat, mkdirat, openat, openat2, readlinkat, renameat, symlinkat, unlinkat,
};
use rustix::io::Errno;

const NAMED: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a directory is opened in which others write.
pub(crate) const LISTED: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// How a path is resolved in it.
pub(crate) const STRICT: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A directory, and what is below it on the same file system.
#[derive(Debug)]
pub(crate) struct Inside(OwnedFd);

/// Something in it, which may be of any kind; the descriptor only names it.
#[derive(Debug)]
pub(crate) struct Found {
    named: OwnedFd,
    stat: Stat,
}

impl Inside {
    /// The directory at a path that only the machine's owner can change, links included.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, LISTED.difference(OFlags::NOFOLLOW), Mode::empty())?))
    }

    /// The directory at `path` in it; an empty path is itself.
    pub fn directory(&self, path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self(openat2(&self.0, path, LISTED, Mode::empty(), STRICT)?))
    }

    /// As [`Self::directory`]; what is missing is made, with mode 0755.
    pub fn make(&self, path: &Path) -> io::Result<Self> {
        let mut here = self.directory(Path::new(""))?;
        for part in path.components() {
            let part = Path::new(part.as_os_str());
            here = match here.directory(part) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    mkdirat(&here.0, part, Mode::from_raw_mode(0o755))?;
                    let made = here.directory(part)?;
                    made.found()?.set_mode(0o755)?;
                    made
                }
                other => other?,
            };
        }
        Ok(here)
    }

    /// What is at `path` in it.
    pub fn find(&self, path: &Path) -> io::Result<Found> {
        let named = openat2(&self.0, path, NAMED, Mode::empty(), STRICT)?;
        let stat = fstat(&named)?;
        Ok(Found { named, stat })
    }

    /// Itself.
    pub fn found(&self) -> io::Result<Found> {
        self.find(Path::new("."))
    }

    /// The names in it.
    pub fn names(&self) -> io::Result<impl Iterator<Item = io::Result<CString>>> {
        let entries = Dir::read_from(&self.0)?;
        let name = |entry: rustix::io::Result<rustix::fs::DirEntry>| match entry {
            Ok(entry) => Some(Ok(entry.file_name().to_owned())),
            Err(error) => Some(Err(error.into())),
        };
        let is_content = |name: &io::Result<CString>| {
            !matches!(name.as_ref().map(|name| name.to_bytes()), Ok(b"." | b".."))
        };
        Ok(entries.filter_map(name).filter(is_content))
    }

    /// The content of the regular file at `path`.
    ///
    /// # Errors
    /// Also when it is not a regular file: nothing that could make a reader wait is read.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat2(&self.0, path, flags, Mode::empty(), STRICT)?;
        if !FileType::from_raw_mode(fstat(&file)?.st_mode).is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut content = Vec::new();
        File::from(file).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Makes a file that was not there.
    pub fn write(&self, name: &Path, content: &[u8]) -> io::Result<Found> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat2(&self.0, name, flags, Mode::from_raw_mode(0o600), STRICT)?;
        File::from(file).write_all(content)?;
        self.find(name)
    }

    /// Makes `name` a link to `target`.
    pub fn link(&self, target: &Path, name: &Path) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, name)?)
    }

    /// Where the link `name` leads.
    pub fn read_link(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Renames within it, in place of what is there.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Makes the directory `name`, as a container would have made it in this one: of its mode, and
    /// of its group if that is passed on.
    pub fn make_alike(&self, name: &Path, mode: RawMode) -> io::Result<()> {
        mkdirat(&self.0, name, Mode::from_raw_mode(mode & 0o777))?;
        // Not what the engine's mask leaves of it.
        self.find(name)?.set_mode(mode)
    }

    /// Removes a file or a link; no error when there is none.
    pub fn unlink(&self, name: &Path) -> io::Result<()> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes the directory `name` with all that is in it.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        coracle_runtime::remove_all_in(self.0.as_fd(), name)
    }
}

impl Found {
    /// What it is, as it was found.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Its mode, without its kind.
    pub fn mode(&self) -> RawMode {
        self.stat.st_mode & 0o7777
    }

    /// Its group.
    pub fn group(&self) -> u32 {
        self.stat.st_gid
    }

    /// Gives it to a user and a group.
    pub fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        Ok(chownat(&self.named, c"", user, group, AtFlags::EMPTY_PATH)?)
    }

    /// Sets its mode. Not for links, which have none.
    pub fn set_mode(&self, mode: RawMode) -> io::Result<()> {
        // The kernel takes this for what the descriptor names, and follows nothing further.
        Ok(chmod(self.path(), Mode::from_raw_mode(mode))?)
    }

    /// A path by which system calls reach it, and nothing that has its name since.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.named.as_raw_fd())
    }
}

/// The name as a path.
pub(crate) fn path_of(name: &CString) -> &Path {
    Path::new(OsStr::from_bytes(name.to_bytes()))
}

/// Whether what was there a moment ago is gone, is another thing by now, or is of another file
/// system.
pub(crate) fn is_elsewhere(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
}
