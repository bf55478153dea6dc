//! Volumes of a size that holds: an ext4 filesystem in a sparse file, mounted through a loop device.
//!
//! Project quotas would be lighter, but need a filesystem that was made and mounted for them. The
//! file takes as much of the disk as is written to it, and never more than the volume's size.
//!
//! What `fsync` acknowledged must be there:
//!
//! - A file has one loop device, whoever holds it: another mount namespace may have kept a mount
//!   that is gone here, and a second file system on the same blocks would destroy both.
//! - Blocks are allocated when they are written to (`nodelalloc`), and are what was written from
//!   then on. With delayed allocation, a full disk below leaves extents marked as unwritten, and
//!   what is synced to them later reads as zeros.
//! - The loop device writes past the page cache: through it, a write that finds room on the disk
//!   for its first half only is taken for done.
//! - The first error of its own blocks ends all writing (`errors=remount-ro`). What refuses writes
//!   is repaired before it is mounted anew, and only when nobody has it mounted.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_runtime::{LoopDevice, resize_ext4};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::image::Image;
use super::{VolumeError, failed, mount_table};

/// The file with the filesystem, in the volume's directory.
const IMAGE: &str = "volume.img";
/// Where it is mounted, beside it.
const MOUNT: &str = "mount";
/// What containers get: not the root, which has ext4's `lost+found`.
const DATA: &str = "data";

const OPTIONS: &std::ffi::CStr = c"nodelalloc,noinit_itable,errors=remount-ro";

/// What an empty one has in it: its directories with `lost+found`, and the inodes that ext4 keeps.
const EMPTY: u64 = 32 << 10;
const EMPTY_FILES: u64 = 12;

/// How often, and after which pauses, a filesystem is looked at that is still on its way out: the
/// kernel ends a dead container's mounts a little after its processes.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// A volume's directory.
pub(crate) struct Sized {
    image: Image,
    target: PathBuf,
}

impl Sized {
    pub fn of(directory: &Path) -> Self {
        Self { image: Image { path: directory.join(IMAGE) }, target: mount_point(directory) }
    }

    /// As [`Self::mount`], for containers that run: what is mounted stays as it is.
    ///
    /// # Errors
    /// As [`Self::mount`].
    pub fn keep(&self, bytes: u64) -> Result<PathBuf, VolumeError> {
        match self.is_mounted()? {
            true => Ok(self.target.join(DATA)),
            false => self.mount(bytes),
        }
    }

    /// Makes the volume of `bytes`, or mounts the one that is there; where its content is. One that
    /// is smaller is enlarged, and one that is damaged is repaired, before it is mounted.
    ///
    /// # Errors
    /// When the disk is full, when the machine lacks `mkfs.ext4` or loop devices, or when it must be
    /// repaired and somebody still has it mounted.
    pub fn mount(&self, bytes: u64) -> Result<PathBuf, VolumeError> {
        fs::create_dir_all(&self.target).map_err(failed("create", &self.target))?;
        if !self.image.path.exists() {
            self.image.make(bytes)?;
        }
        let is_stuck = self.is_stuck()?;
        if is_stuck {
            self.release()?;
        }
        if !mount_table::is_mounted(&self.target)? {
            self.attach(bytes, is_stuck)?;
        }
        let data = self.target.join(DATA);
        if !data.exists() {
            fs::create_dir(&data).map_err(failed("create", &data))?;
            fs::set_permissions(&data, fs::Permissions::from_mode(0o777))
                .map_err(failed("chmod", &data))?;
        }
        Ok(data)
    }

    fn attach(&self, bytes: u64, was_stuck: bool) -> Result<(), VolumeError> {
        let is_damaged = was_stuck || self.image.is_damaged()?;
        let is_short = self.image.is_short(bytes)?;
        let needs_rest = is_damaged || is_short || self.image.has_room()?;
        let file = self.image.open()?;
        match self.device(&file, needs_rest)? {
            None => {}
            Some(device) => {
                self.mount_device(&device)?;
                // Repairing it now would repair it under whoever has it. It stays mounted, for all to
                // see that it is not well.
                return match self.is_stuck()? {
                    true => Err(VolumeError::Held(self.holders(&device))),
                    false => Ok(()),
                };
            }
        }
        if is_damaged {
            self.repair(&file)?;
        }
        if is_short {
            self.image.lengthen(bytes)?;
        }
        if self.image.has_room()? {
            self.grow_unmounted(&file)?;
        }
        self.mount_device(&self.new_device(&file)?)
    }

    /// The kernel takes the journal in, then what is wrong is put right. `e2fsck` would do both, but
    /// does not mind when the disk has no room for what was in the journal.
    fn repair(&self, file: &File) -> Result<(), VolumeError> {
        self.replay(file)?;
        self.image.check()
    }

    fn grow_unmounted(&self, file: &File) -> Result<Grown, VolumeError> {
        // It is well without, and growing it on a full disk would harm it.
        if !self.image.has_space_to_grow()? {
            return Ok(Grown::AtNextMount);
        }
        self.replay(file)?;
        self.image.grow().map(|()| Grown::Done)
    }

    fn replay(&self, file: &File) -> Result<(), VolumeError> {
        fs::create_dir_all(&self.target).map_err(failed("create", &self.target))?;
        let device = self.new_device(file)?;
        let flags = MountFlags::RDONLY;
        rustix::mount::mount(&device.path, &self.target, "ext4", flags, c"")
            .map_err(|error| failed("read the journal of", &self.image.path)(error.into()))?;
        drop(device);
        self.release()?;
        match self.device(file, true)? {
            None => Ok(()),
            Some(device) => Err(VolumeError::Held(self.holders(&device))),
        }
    }

    fn new_device(&self, file: &File) -> Result<LoopDevice, VolumeError> {
        let device = LoopDevice::of(file, self.image.device_block()?);
        device.map_err(failed("attach a loop device to", &self.image.path))
    }

    /// The device that shows the image already. If the image needs rest, one that is on its way out
    /// is waited for.
    fn device(&self, file: &File, needs_rest: bool) -> Result<Option<LoopDevice>, VolumeError> {
        let looks = if needs_rest { LOOKS } else { 1 };
        for look in 1.. {
            let device = LoopDevice::showing(file);
            let device = device.map_err(failed("find the device of", &self.image.path))?;
            if device.is_none() || look >= looks {
                return Ok(device);
            }
            // The handle itself would keep the device.
            drop(device);
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    fn mount_device(&self, device: &LoopDevice) -> Result<(), VolumeError> {
        let flags = MountFlags::NOATIME;
        rustix::mount::mount(&device.path, &self.target, "ext4", flags, OPTIONS)
            .map_err(|error| failed("mount", &self.target)(error.into()))
    }

    /// Unmounts the volume; its content stays. No error when it is not mounted.
    ///
    /// # Errors
    /// When a process still uses it.
    pub fn release(&self) -> Result<(), VolumeError> {
        while let Some(mount) = mount_table::at(&self.target)? {
            mount_table::unmount_device(&mount.device)?;
        }
        Ok(())
    }

    pub fn is_mounted(&self) -> Result<bool, VolumeError> {
        mount_table::is_mounted(&self.target)
    }

    /// Bytes and files in it, while it is mounted.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn used(&self) -> Result<(u64, u64), VolumeError> {
        if !self.is_mounted()? {
            return Ok((0, 0));
        }
        let found = rustix::fs::statvfs(&self.target);
        let found = found.map_err(|error| failed("read", &self.target)(error.into()))?;
        let blocks = found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize);
        let files = found.f_files.saturating_sub(found.f_ffree);
        Ok((blocks.saturating_sub(EMPTY), files.saturating_sub(EMPTY_FILES)))
    }

    /// Whether it refuses writes since the disk under it failed.
    pub fn is_stuck(&self) -> Result<bool, VolumeError> {
        Ok(mount_table::at(&self.target)?.is_some_and(|mount| mount.readonly))
    }

    /// Makes the filesystem hold `bytes`, in use or not.
    ///
    /// # Errors
    /// When the disk or the kernel refuses.
    pub fn grow(&self, bytes: u64) -> Result<Grown, VolumeError> {
        if !self.image.path.exists() {
            // It will be made as large as that.
            return Ok(Grown::Done);
        }
        if self.image.is_short(bytes)? {
            self.image.lengthen(bytes)?;
        }
        if !self.image.has_room()? {
            return Ok(Grown::Done);
        }
        let file = self.image.open()?;
        match self.device(&file, false)? {
            None => self.grow_unmounted(&file),
            Some(device) => self.grow_mounted(&device, &file),
        }
    }

    fn grow_mounted(&self, device: &LoopDevice, file: &File) -> Result<Grown, VolumeError> {
        if !mount_table::is_mounted(&self.target)? {
            return Ok(Grown::AtNextMount);
        }
        let enlarge = failed("enlarge", &self.target);
        let root = File::open(&self.target).map_err(failed("open", &self.target))?;
        let statistics = rustix::fs::statvfs(&self.target).map_err(|error| error.into());
        let block =
            statistics.map(|it| it.f_frsize.max(1)).map_err(failed("read", &self.target))?;
        let length = file.metadata().map_err(failed("read", &self.image.path))?.len();
        if !self.image.has_space_to_grow()? {
            return Ok(Grown::AtNextMount);
        }
        device.resize().map_err(failed("enlarge", &device.path))?;
        match resize_ext4(&root, length / block) {
            Ok(()) => Ok(Grown::Done),
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                Ok(Grown::AtNextMount)
            }
            Err(error) => Err(enlarge(error)),
        }
    }

    /// Who has the device mounted elsewhere, for a message.
    fn holders(&self, device: &LoopDevice) -> String {
        let number = fs::metadata(&device.path).map(|it| it.rdev()).unwrap_or_default();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let holders = mount_table::holders(&format!("{major}:{minor}"));
        match holders.is_empty() {
            true => format!("something holds {}", device.path.display()),
            false => format!("{} in a mount namespace of its own", holders.join(", ")),
        }
    }
}

/// Where the volume in `directory` is mounted.
pub(crate) fn mount_point(directory: &Path) -> PathBuf {
    directory.join(MOUNT)
}

/// Whether a volume in a directory may be mounted there.
pub(crate) fn is_mount_point(target: &Path) -> bool {
    target.ends_with(MOUNT)
}

/// Whether one of the volumes whose content is at `paths` refuses writes since its disk failed, or is
/// not in place since an attempt to repair it failed half way.
///
/// # Errors
/// When the machine's mounts cannot be read.
pub(crate) fn any_is_unwell(paths: &[PathBuf]) -> Result<bool, VolumeError> {
    let targets: Vec<_> = paths.iter().filter_map(|data| target_of(data)).collect();
    if targets.is_empty() {
        return Ok(false);
    }
    let mounts = mount_table::all()?;
    let is_well = |target: &Path| {
        let mut here = mounts.iter().filter(|mount| *mount.target == *target).peekable();
        here.peek().is_some() && here.all(|mount| !mount.readonly)
    };
    Ok(!targets.into_iter().all(is_well))
}

/// Where the volume is mounted whose content is at `data`, if it is one of a size that holds.
fn target_of(data: &Path) -> Option<&Path> {
    data.parent().filter(|target| data.ends_with(DATA) && target.ends_with(MOUNT))
}

/// What came of growing a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    Done,
    /// The machine does not let a filesystem grow while it is used (no `CAP_SYS_RESOURCE`), or its
    /// disk is full.
    AtNextMount,
}
