//! Files as block devices: how a volume gets a filesystem of its own size.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::sys;

/// How often another process may be faster at taking a free device.
const TRIES: u32 = 100;

/// A block device whose content is a file's. It goes once nothing uses it: neither this handle nor
/// a mount.
#[derive(Debug)]
pub struct LoopDevice {
    /// `/dev/loop7`
    pub path: PathBuf,
    _device: File,
}

impl LoopDevice {
    /// The content of `file`, which must be open for reading and writing.
    ///
    /// # Errors
    /// When the machine has no loop devices (`/dev/loop-control`), or no free one.
    pub fn of(file: &File) -> io::Result<Self> {
        let open = |path: &PathBuf| OpenOptions::new().read(true).write(true).open(path);
        let control = open(&PathBuf::from("/dev/loop-control"))?;
        for _ in 0..TRIES {
            let path = PathBuf::from(format!("/dev/loop{}", sys::free_loop(control.as_fd())?));
            let device = open(&path)?;
            match sys::configure_loop(device.as_fd(), file.as_fd()) {
                Ok(()) => return Ok(Self { path, _device: device }),
                Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }
}
