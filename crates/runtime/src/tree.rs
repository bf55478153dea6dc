//! Paths below a directory whose links may point anywhere: an image's root, a volume.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, dev_t, fstat, mkdirat};

use crate::renames::despite_renames;
use crate::sys;

/// A directory that paths cannot lead out of: absolute ones and links are taken as if it were `/`.
pub struct Tree(OwnedFd);

impl Tree {
    /// The tree below an existing directory; anything else is not opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(root, flags, Mode::empty())?))
    }

    /// What is at `path`, as a descriptor (`O_PATH`) that only names it.
    pub fn find(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_with(path, OFlag::O_PATH)
    }

    /// The regular file at `path`, to be read. What a container can put there is not trusted: a
    /// FIFO would wait for a writer, and a device may do anything when it is opened.
    pub fn read(&self, path: &Path) -> io::Result<File> {
        let is_regular = |fd: &OwnedFd| file_type(fd).map(|kind| kind == SFlag::S_IFREG);
        if is_regular(&self.find(path)?)? {
            let file = self.open_with(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
            // It may be another one by now.
            if is_regular(&file)? {
                return Ok(file.into());
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }

    /// The character device at `path` if it has this number, to be read and written.
    pub fn device(&self, path: &Path, number: dev_t) -> io::Result<OwnedFd> {
        let is_wanted = |fd: &OwnedFd| {
            Ok::<_, io::Error>(file_type(fd)? == SFlag::S_IFCHR && fstat(fd)?.st_rdev == number)
        };
        if is_wanted(&self.find(path)?)? {
            let device =
                self.open_with(path, OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK)?;
            if is_wanted(&device)? {
                return Ok(device);
            }
        }
        Err(nix::errno::Errno::ENODEV.into())
    }

    fn open_with(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let path = CString::new(Path::new("/").join(path).as_os_str().as_bytes())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        despite_renames(|| sys::open_in_root(self.0.as_fd(), &path, flags.bits()))
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
    Ok(file_type(fd)? == SFlag::S_IFDIR)
}

fn file_type(fd: &OwnedFd) -> io::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT)
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

    /// The kernel cannot tell where a `..` leads while somebody renames.
    #[test]
    fn who_renames_elsewhere_disturbs_nobody() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(root.path().join("run")).unwrap();
        symlink("../run/../run/../run/../run", root.path().join("link")).unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let [one, two] = ["one", "two"].map(|name| other.path().join(name));
        fs::create_dir(&one).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(&one, &two).unwrap();
                    fs::rename(&two, &one).unwrap();
                }
            });
            let found = (0..2_000).map(|_| tree.find(Path::new("link")).map(drop));
            let failed = found.filter_map(Result::err).next();
            is_over.store(true, Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }

    #[test]
    fn only_a_regular_file_is_read_and_nothing_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        fs::write(root.path().join("file"), "text").unwrap();
        symlink("/file", root.path().join("link")).unwrap();
        symlink("/dev/null", root.path().join("out")).unwrap();
        nix::unistd::mkfifo(&root.path().join("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(io::read_to_string(tree.read(Path::new("/link")).unwrap()).unwrap(), "text");
        for other in ["fifo", "out", "/", "none"] {
            assert!(tree.read(Path::new(other)).is_err(), "{other}");
        }
        assert!(tree.device(Path::new("fifo"), 0).is_err());
        assert!(Tree::open(&root.path().join("fifo")).is_err());
    }
}
