//! A layer's archive, unpacked into a directory in the form that overlayfs expects.
//!
//! The archive is a stranger's: nothing in it may reach outside of the directory, and nothing may
//! make the machine's devices available. The directory belongs to us alone while we unpack, so
//! looking at a path before using it is safe.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use coracle_api::hex;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::ImageError;

/// Bytes of files that a layer may unpack to.
pub(crate) const BYTES_MAX: u64 = 64 << 30;
/// Entries that a layer may have.
const ENTRIES_MAX: u64 = 5_000_000;
/// What may stand before an entry's content: long names and extensions, which are read into memory.
const HEADERS_MAX: u64 = 4 << 20;
/// Prefix of an entry that removes one of a lower layer.
const WHITEOUT: &[u8] = b".wh.";
/// Entry that hides everything a lower layer has in the directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// So many of the entries that were left out are named.
const NAMED_MAX: usize = 5;

/// What became of a layer.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Of the whole archive.
    pub digest: String,
    /// Of its files.
    pub bytes: u64,
    /// The devices that it has and the directory has not: nothing in an image may make the machine's
    /// available, and every container gets the common ones.
    pub left_out: Vec<PathBuf>,
}

impl Unpacked {
    /// One line for those who wait, if something was left out.
    pub fn remark(&self) -> Option<String> {
        let named: Vec<_> =
            self.left_out.iter().take(NAMED_MAX).map(|it| it.display().to_string()).collect();
        let more = self.left_out.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!named.is_empty()).then(|| format!("left out devices: {}{more}", named.join(", ")))
    }
}

/// How much a layer may unpack to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub bytes: u64,
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: BYTES_MAX, entries: ENTRIES_MAX }
    }
}

/// Unpacks the (uncompressed) archive into the existing, empty directory `root`.
///
/// # Errors
/// [`ImageError::Hostile`] when an entry does what it must not; the directory is then half filled
/// and the caller's to remove.
pub(crate) fn unpack(
    archive: impl Read,
    root: &Path,
    limits: Limits,
) -> Result<Unpacked, ImageError> {
    let left = Cell::new(u64::MAX);
    let mut hashing = Hashing { inner: archive, hasher: Sha256::new() };
    let mut unpacker =
        Unpacker { root, limits, done: Unpacked::default(), directories: Vec::new() };
    {
        let mut archive = Archive::new(Bounded { inner: &mut hashing, left: &left });
        let mut entries = archive.entries().map_err(ImageError::Read)?;
        for count in 0.. {
            left.set(HEADERS_MAX);
            let Some(entry) = entries.next() else { break };
            left.set(u64::MAX);
            let mut entry = entry.map_err(ImageError::Read)?;
            if count >= limits.entries {
                return Err(hostile(&entry, "too many entries"));
            }
            unpacker.entry(&mut entry)?;
            // Otherwise it would be read with the headers of the next.
            io::copy(&mut entry, &mut io::sink()).map_err(ImageError::Read)?;
        }
    }
    // What follows the end mark belongs to the digest too.
    io::copy(&mut hashing, &mut io::sink()).map_err(ImageError::Read)?;
    unpacker.finish()?;
    let digest = format!("sha256:{}", hex(&hashing.hasher.finalize()));
    Ok(Unpacked { digest, ..unpacker.done })
}

struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// An archive of which no more is read than is `left`: the library reads headers into memory.
pub(super) struct Bounded<'a, R> {
    pub inner: R,
    pub left: &'a Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.unwrap_or(0));
        left.map(|_| count).ok_or_else(|| io::Error::other("it has headers without end"))
    }
}

impl<R: Seek> Seek for Bounded<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

struct Unpacker<'a> {
    root: &'a Path,
    limits: Limits,
    done: Unpacked,
    /// Directories and their times, set last: filling a directory changes them.
    directories: Vec<(PathBuf, u64)>,
}

fn text<R: Read>(entry: &Entry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

fn hostile<R: Read>(entry: &Entry<'_, R>, why: &'static str) -> ImageError {
    ImageError::Hostile { path: text(entry), why }
}

/// The path below the root; `None` when it leads outside.
fn relative(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), ImageError> {
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let path = relative(&path).ok_or_else(|| hostile(entry, "leads outside of the image"))?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // Anything else of that name is not for the root, and a global header is read whole.
            return match entry.header().entry_type() {
                EntryType::Directory => self.attributes(entry, self.root),
                _ => Ok(()),
            };
        };
        let parent = self.parent(entry, path.parent().unwrap_or(Path::new("")))?;
        let name = name.as_bytes();
        let failed = |source| ImageError::Unpack { path: text(entry), source };
        if name == OPAQUE {
            return set_xattr(&parent, "trusted.overlay.opaque", b"y").map_err(failed);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if hidden.starts_with(WHITEOUT) {
                return Ok(()); // aufs's own book-keeping
            }
            return whiteout(&parent.join(OsStr::from_bytes(hidden))).map_err(failed);
        }
        self.place(entry, &parent.join(OsStr::from_bytes(name)), path)
    }

    /// The entry's directory, made where missing. A link on the way could lead anywhere.
    fn parent<R: Read>(&self, entry: &Entry<'_, R>, parent: &Path) -> Result<PathBuf, ImageError> {
        let mut path = self.root.to_owned();
        for part in parent.components() {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.is_symlink() => {
                    return Err(hostile(entry, "leads through a symbolic link"));
                }
                Ok(_) => return Err(hostile(entry, "leads through a file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let made = fs::create_dir(&path).and_then(|()| chmod(&path, 0o755));
                    made.map_err(|source| ImageError::Unpack { path: text(entry), source })?;
                }
                Err(source) => return Err(ImageError::Unpack { path: text(entry), source }),
            }
        }
        Ok(path)
    }

    fn place<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        target: &Path,
        own: PathBuf,
    ) -> Result<(), ImageError> {
        let path = text(entry);
        let failed = |source| ImageError::Unpack { path: path.clone(), source };
        let kind = entry.header().entry_type();
        clear(target, kind == EntryType::Directory).map_err(failed)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, target)?;
            }
            EntryType::Directory => {
                if !target.is_dir() {
                    fs::create_dir(target).map_err(failed)?;
                }
                let time = entry.header().mtime().unwrap_or(0);
                self.directories.push((target.to_owned(), time));
            }
            EntryType::Symlink => {
                let link = entry.link_name_bytes().unwrap_or_default();
                symlink(OsStr::from_bytes(&link), target).map_err(failed)?;
            }
            EntryType::Link => {
                let link =
                    PathBuf::from(OsStr::from_bytes(&entry.link_name_bytes().unwrap_or_default()));
                let outside = || hostile(entry, "is a link that leads outside of the image");
                let link = relative(&link).ok_or_else(outside)?;
                if self.done.left_out.contains(&link) {
                    self.done.left_out.push(own);
                    return Ok(());
                }
                let directory = self.parent(entry, link.parent().unwrap_or(Path::new("")))?;
                let source = directory.join(link.file_name().ok_or_else(outside)?);
                return fs::hard_link(source, target).map_err(failed);
            }
            EntryType::Fifo => {
                let mode = Mode::RUSR | Mode::WUSR;
                mknodat(CWD, target, FileType::Fifo, mode, 0).map_err(|e| failed(e.into()))?;
            }
            EntryType::Char | EntryType::Block => {
                self.done.left_out.push(own);
                return Ok(());
            }
            // Global headers and the like describe others.
            _ => return Ok(()),
        }
        self.attributes(entry, target)
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, target: &Path) -> Result<(), ImageError> {
        let path = text(entry);
        let failed = |source| ImageError::Unpack { path: path.clone(), source };
        self.done.bytes = self.done.bytes.saturating_add(entry.size());
        if self.done.bytes > self.limits.bytes {
            return Err(hostile(entry, "the layer is too large"));
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).open(target).map_err(failed)?;
        io::copy(entry, &mut file).map_err(failed)?;
        Ok(())
    }

    /// Owner, mode, extended attributes and time, in the order in which they do not undo each
    /// other.
    fn attributes<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        target: &Path,
    ) -> Result<(), ImageError> {
        let path = text(entry);
        let failed = |source| ImageError::Unpack { path: path.clone(), source };
        let header = entry.header();
        let owner =
            |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let (uid, gid) = (owner(header.uid()), owner(header.gid()));
        let (mode, time) = (header.mode().map_err(failed)?, header.mtime().unwrap_or(0));
        let kind = header.entry_type();
        lchown(target, Some(uid), Some(gid)).map_err(failed)?;
        if kind != EntryType::Symlink {
            chmod(target, mode & 0o7777).map_err(failed)?;
            for (name, value) in xattrs(entry).map_err(failed)? {
                set_xattr(target, &name, &value).map_err(failed)?;
            }
        }
        if kind == EntryType::Directory { Ok(()) } else { set_time(target, time).map_err(failed) }
    }

    fn finish(&mut self) -> Result<(), ImageError> {
        for (path, time) in self.directories.drain(..).rev() {
            // A later entry may have replaced the directory.
            if path.is_dir() {
                set_time(&path, time).map_err(|source| ImageError::Unpack {
                    path: path.display().to_string(),
                    source,
                })?;
            }
        }
        Ok(())
    }
}

/// Makes room: a later entry replaces an earlier one, but a directory keeps what is in it.
fn clear(target: &Path, directory: bool) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() && directory => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(target),
        Ok(_) => fs::remove_file(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Overlayfs's mark for "not here": a character device 0/0.
fn whiteout(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(()); // the layer itself has put something there
    }
    Ok(mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?)
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())?)
}

fn set_time(path: &Path, seconds: u64) -> io::Result<()> {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// File capabilities and users' own attributes. Never `trusted.`: that is overlayfs's.
fn xattrs<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for extension in extensions {
        let extension = extension?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        if name == "security.capability" || name.starts_with("user.") {
            found.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(found)
}
