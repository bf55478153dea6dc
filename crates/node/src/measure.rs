//! How much of the disk a directory takes that containers write to.
//!
//! Nothing but its numbers is read, by descriptors that cannot leave it, and no more of it than a
//! budget allows: who has a million files is told to have at least those that were counted.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, openat2, statat};
use rustix::io::Errno;

use crate::volumes::inside::{LISTED, STRICT};

/// The kernel takes no longer paths at once.
const PIECE_MAX: usize = 2048;
/// What `st_blocks` counts.
const BLOCK: u64 = 512;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub bytes: u64,
    pub inodes: u64,
}

/// A directory whose names are still to be looked at.
struct Level {
    below: Vec<CString>,
    /// Bytes of its path.
    length: usize,
}

/// Counts what is below `root`, on the same file system, as `du` does; nothing is there when there
/// is no such directory. `budget` is how many files are looked at, at most. Blocks.
///
/// # Errors
/// When the machine refuses.
pub(crate) fn taken(root: &Path, budget: usize) -> io::Result<Taken> {
    let root = match openat(CWD, root, LISTED.difference(OFlags::NOFOLLOW), Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Taken::default()),
        other => other?,
    };
    let mut walk = Walk { taken: Taken::default(), linked: BTreeSet::new(), left: budget };
    let mut path = PathBuf::new();
    let mut levels = vec![Level { below: walk.look(&root)?, length: 0 }];
    while let Some(level) = levels.last_mut() {
        let length = level.length;
        let Some(name) = level.below.pop() else {
            levels.pop();
            continue;
        };
        let mut bytes = path.into_os_string().into_encoded_bytes();
        bytes.truncate(length);
        path = PathBuf::from(OsStr::from_bytes(&bytes)).join(OsStr::from_bytes(name.as_bytes()));
        let bytes = path.as_os_str().len();
        // A deep one takes longer to reach.
        walk.left = walk.left.saturating_sub(bytes / 64);
        if walk.left == 0 {
            break;
        }
        match open_below(&root, &path) {
            Ok(directory) => levels.push(Level { below: walk.look(&directory)?, length: bytes }),
            // It has gone or is another thing by now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(walk.taken)
}

struct Walk {
    taken: Taken,
    /// Files of several names that were counted.
    linked: BTreeSet<u64>,
    left: usize,
}

impl Walk {
    /// Counts what is in a directory; the directories in it.
    fn look(&mut self, directory: &OwnedFd) -> io::Result<Vec<CString>> {
        let mut below = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.left == 0 {
                return Ok(Vec::new());
            }
            self.left -= 1;
            let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let is_directory = FileType::from_raw_mode(found.st_mode).is_dir();
            if !is_directory && found.st_nlink > 1 && !self.linked.insert(found.st_ino) {
                continue;
            }
            let bytes = u64::try_from(found.st_blocks).unwrap_or_default().saturating_mul(BLOCK);
            self.taken.bytes = self.taken.bytes.saturating_add(bytes);
            self.taken.inodes = self.taken.inodes.saturating_add(1);
            if is_directory {
                below.push(name.to_owned());
            }
        }
        Ok(below)
    }
}

/// The directory at `path`, which may be longer than the kernel takes at once.
fn open_below(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let open = |at: &OwnedFd, piece: &Path| openat2(at, piece, LISTED, Mode::empty(), STRICT);
    let (mut here, mut piece) = (None, PathBuf::new());
    for part in path.components() {
        if piece.as_os_str().len() > PIECE_MAX {
            here = Some(open(here.as_ref().unwrap_or(root), &piece)?);
            piece.clear();
        }
        piece.push(part);
    }
    open(here.as_ref().unwrap_or(root), &piece)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_written_is_counted_once_and_nothing_outside() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("root");
        assert_eq!(taken(&root, 9).unwrap(), Taken::default());
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(parent.path().join("outside"), [1; 1 << 20]).unwrap();
        symlink(parent.path(), root.join("link")).unwrap();
        let empty = taken(&root, 99).unwrap();
        assert_eq!(empty.inodes, 3);
        assert!(empty.bytes < 1 << 16, "{empty:?}");
        fs::write(root.join("a/b/file"), [1; 1 << 18]).unwrap();
        fs::hard_link(root.join("a/b/file"), root.join("a/same")).unwrap();
        // A hole takes nothing.
        File::create(root.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        let full = taken(&root, 99).unwrap();
        assert_eq!(full.inodes, 5);
        let more = full.bytes - empty.bytes;
        assert!((1 << 18..(1 << 18) + (1 << 16)).contains(&more), "{more}");
    }

    #[test]
    fn neither_depth_nor_number_hides_anything_or_takes_for_ever() {
        let parent = tempfile::tempdir().unwrap();
        let mut here = openat(CWD, parent.path(), LISTED, Mode::empty()).unwrap();
        let name = "d".repeat(200);
        for _ in 0..50 {
            rustix::fs::mkdirat(&here, &name, Mode::RWXU).unwrap();
            here = openat(&here, &name, LISTED, Mode::empty()).unwrap();
        }
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = openat(&here, "file", flags, Mode::RWXU).unwrap();
        rustix::io::write(&file, &[1; 1 << 16]).unwrap();
        assert_eq!(taken(parent.path(), 100_000).unwrap().inodes, 51);
        assert!(taken(parent.path(), 100_000).unwrap().bytes >= 1 << 16);
        assert!(taken(parent.path(), 300).unwrap().inodes < 30);
        coracle_runtime::remove_all(&parent.path().join(&name)).unwrap();
    }
}
