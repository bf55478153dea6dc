//! Files as block devices: how a volume gets a filesystem of its own size.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys;

/// How often another process may be faster at taking a free device.
const TRIES: u32 = 100;

/// A block device whose content is a file's. It goes once nothing uses it: neither this handle nor
/// a mount, in whatever mount namespace.
#[derive(Debug)]
pub struct LoopDevice {
    /// `/dev/loop7`
    pub path: PathBuf,
    device: File,
}

impl LoopDevice {
    /// A new device with the content of `file`, which must be open for reading and writing, in
    /// blocks of `block_size` bytes. Two
    /// devices of one file are two disks to the kernel, and two file systems on them destroy each
    /// other: look for one with [`Self::showing`] first.
    ///
    /// # Errors
    /// When the machine has no loop devices (`/dev/loop-control`), or no free one.
    pub fn of(file: &File, block_size: u32) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let control = open(Path::new("/dev/loop-control"))?;
        for _ in 0..TRIES {
            let path = PathBuf::from(format!("/dev/loop{}", sys::free_loop(control.as_fd())?));
            let device = open(&path)?;
            match sys::configure_loop(device.as_fd(), file.as_fd(), block_size) {
                Ok(()) => return Self { path, device }.with_whole_writes(),
                Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }

    /// The kernel's loop driver takes a write for done of which only a part found room on the disk
    /// below, when it goes through the page cache (6.18 does): `fsync` then succeeds, and what was
    /// written reads as zeros. Past the cache the whole write fails, as it must. Where that cannot be
    /// had, no write is longer than what finds room or does not.
    fn with_whole_writes(self) -> io::Result<Self> {
        if !sys::status_of_loop(self.device.as_fd())?.is_direct {
            let name = self.path.file_name().unwrap_or_default();
            let queue = Path::new("/sys/block").join(name).join("queue");
            fs::write(queue.join("max_sectors_kb"), "4")?;
        }
        Ok(self)
    }

    /// The device that has the content of `file` already, whoever made it and whoever uses it.
    ///
    /// # Errors
    /// When the machine's devices cannot be looked at.
    pub fn showing(file: &File) -> io::Result<Option<Self>> {
        let wanted = file.metadata()?;
        for entry in fs::read_dir("/sys/block")? {
            let entry = entry?;
            // A device without a file has no such directory.
            if !entry.file_name().as_encoded_bytes().starts_with(b"loop")
                || !entry.path().join("loop").exists()
            {
                continue;
            }
            let path = Path::new("/dev").join(entry.file_name());
            // It may have gone since, or this machine's /dev has no such node: then it was made by
            // somebody else, who would have had to use the same file.
            let Ok(device) = File::open(&path) else { continue };
            let status = sys::status_of_loop(device.as_fd());
            if status.is_ok_and(|it| it.file == (wanted.dev(), wanted.ino())) {
                return Ok(Some(Self { path, device }));
            }
        }
        Ok(None)
    }

    /// Takes note that the file has another size.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resize(&self) -> io::Result<()> {
        sys::resize_loop(self.device.as_fd())
    }
}

/// Makes the mounted ext4 that `directory` is in `blocks` long, while it is used.
///
/// # Errors
/// `PermissionDenied` without `CAP_SYS_RESOURCE`, which many machines withhold.
pub fn resize_ext4(directory: &File, blocks: u64) -> io::Result<()> {
    sys::resize_ext4(directory.as_fd(), blocks)
}
