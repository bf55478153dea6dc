//! A file with an ext4 file system: how large it must be, and the tools that make it so.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::OFlags;

use super::{VolumeError, failed};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;
/// Bytes of a volume for each inode: the same at every size, so that a volume that grew is one that
/// was made larger.
const BYTES_PER_INODE: u64 = 8192;
const INODE: u64 = 256;
/// Bytes of a group of blocks, and of the last one if it is to be used.
const GROUP: u64 = 128 * MIB;
const LAST_GROUP_MIN: u64 = 16 * MIB;
/// MiB of journal for volumes below a size, as `mkfs.ext4` has it.
const JOURNALS: [(u64, u64); 4] =
    [(128 * MIB, 4), (1024 * MIB, 16), (2048 * MIB, 32), (u64::MAX, 64)];

/// A file system in a file.
#[derive(Debug)]
pub(crate) struct Image {
    pub path: PathBuf,
}

fn journal(bytes: u64) -> u64 {
    JOURNALS.iter().find(|(below, _)| bytes < *below).map_or(64, |(_, journal)| *journal)
}

/// How large the file must be for a file system that holds `bytes`: what ext4 needs for itself
/// (journal, inodes, bitmaps, descriptors, the reserve of a fiftieth) comes on top.
pub(crate) fn file_size(bytes: u64) -> u64 {
    let bytes = bytes.max(MIB);
    let inodes = bytes / BYTES_PER_INODE * INODE;
    let journal = journal(bytes) * MIB;
    let reserve = (bytes / 49).min(4096 * BLOCK);
    // Bitmaps and descriptors, and the copies of these with their room to grow.
    let groups = bytes / 4096 + (bytes / 250).min(64 * MIB) + MIB / 2;
    // All of these have inodes themselves.
    let own = [inodes, journal, reserve, groups].into_iter().fold(0, u64::saturating_add);
    let size = bytes.saturating_add(own).saturating_add(own / 24);
    let size = size.div_ceil(MIB).saturating_mul(MIB);
    // A last group that is shorter than this would be left out.
    let last = size % GROUP;
    if (1..LAST_GROUP_MIN).contains(&last) { size - last + LAST_GROUP_MIN } else { size }
}

impl Image {
    /// Makes a file system that holds `bytes`. Under another name until it is complete: what a
    /// killed engine left half made is not used.
    pub fn make(&self, bytes: u64) -> Result<(), VolumeError> {
        let unfinished = self.path.with_extension("new");
        coracle_runtime::remove_all(&unfinished).map_err(failed("remove", &unfinished))?;
        let file = File::create_new(&unfinished).map_err(failed("create", &unfinished))?;
        file.set_len(file_size(bytes)).map_err(failed("create", &unfinished))?;
        let (inode, per_inode) = (INODE.to_string(), BYTES_PER_INODE.to_string());
        let journal = format!("size={}", journal(bytes));
        // Tables are zero already in a new file; nothing is reserved for root, it is all the pod's.
        let options = [
            ["-b", "4096"],
            ["-I", &inode],
            ["-i", &per_inode],
            ["-J", &journal],
            ["-m", "0"],
            ["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"],
        ];
        let mut arguments = vec!["-q", "-F"];
        arguments.extend(options.iter().flatten());
        run("mkfs.ext4", &arguments, &unfinished)?;
        file.sync_all().map_err(failed("sync", &unfinished))?;
        fs::rename(&unfinished, &self.path).map_err(failed("rename", &unfinished))
    }

    /// The file, for a loop device.
    pub fn open(&self) -> Result<File, VolumeError> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let mut options = File::options();
        options.read(true).write(true).custom_flags(flags.cast_signed());
        let file = options.open(&self.path).map_err(failed("open", &self.path))?;
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(failed("open", &self.path)(io::ErrorKind::InvalidInput.into())),
            Err(error) => Err(failed("open", &self.path)(error)),
        }
    }

    /// Whether the file is too short for a file system that holds `bytes`.
    pub fn is_short(&self, bytes: u64) -> Result<bool, VolumeError> {
        let metadata = fs::symlink_metadata(&self.path).map_err(failed("read", &self.path))?;
        Ok(metadata.len() < file_size(bytes))
    }

    /// Makes the file long enough; the file system in it is as before.
    pub fn lengthen(&self, bytes: u64) -> Result<(), VolumeError> {
        self.open()?.set_len(file_size(bytes)).map_err(failed("enlarge", &self.path))
    }

    /// Whether the file system is shorter than the file: it was lengthened and not grown.
    pub fn has_room(&self) -> Result<bool, VolumeError> {
        let file = self.open()?;
        let length = file.metadata().map_err(failed("read", &self.path))?.len();
        Ok(self.superblock(&file)?.bytes().saturating_add(MIB) <= length)
    }

    /// Whether the kernel found errors in it, or its disk failed.
    pub fn is_damaged(&self) -> Result<bool, VolumeError> {
        Ok(self.superblock(&self.open()?)?.has_errors())
    }

    /// The blocks that a device for it may have: as large as the disk below may want them, and no
    /// larger than the file system's.
    pub fn device_block(&self) -> Result<u32, VolumeError> {
        let block = self.superblock(&self.open()?)?.block();
        Ok(if block < BLOCK { 512 } else { 4096 })
    }

    fn superblock(&self, file: &File) -> Result<Superblock, VolumeError> {
        let mut bytes = [0; 1024];
        file.read_exact_at(&mut bytes, 1024).map_err(failed("read", &self.path))?;
        Ok(Superblock(bytes))
    }

    /// Whether the disk has room for what growing it writes: tables of the new groups, and copies.
    pub fn has_space_to_grow(&self) -> Result<bool, VolumeError> {
        let found = rustix::fs::statvfs(&self.path);
        let found = found.map_err(|error| failed("read", &self.path)(error.into()))?;
        let length = fs::metadata(&self.path).map_err(failed("read", &self.path))?.len();
        Ok(found.f_bavail.saturating_mul(found.f_frsize) > 32 * MIB + length / 256)
    }

    /// Repairs what can be repaired without asking. Nothing may have it mounted.
    pub fn check(&self) -> Result<(), VolumeError> {
        const REPAIRED: i32 = 1;
        let mut command = Command::new("e2fsck");
        command.args(["-f", "-p"]).arg(&self.path);
        finish("e2fsck", command, &[REPAIRED])
    }

    /// Makes the file system as long as the file. Nothing may have it mounted.
    pub fn grow(&self) -> Result<(), VolumeError> {
        self.check()?;
        run("resize2fs", &[], &self.path)
    }
}

/// ext4's, as it is on the disk.
struct Superblock([u8; 1024]);

impl Superblock {
    fn word(&self, at: usize) -> u64 {
        let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default()).into()
    }

    /// `s_blocks_count` blocks.
    fn bytes(&self) -> u64 {
        let blocks = self.word(0x4) | self.word(0x150) << 32;
        blocks.saturating_mul(self.block())
    }

    /// From `s_log_block_size`.
    fn block(&self) -> u64 {
        1024 << self.word(0x18).min(6)
    }

    /// `EXT4_ERROR_FS` of `s_state`.
    fn has_errors(&self) -> bool {
        self.word(0x3a) & 2 != 0
    }
}

/// The largest volume that there can be in a directory: as large as a file there may be, less what
/// its file system takes.
pub(crate) fn largest(directory: &Path) -> u64 {
    let flags = (OFlags::TMPFILE | OFlags::CLOEXEC).bits().cast_signed();
    let file = File::options().write(true).custom_flags(flags).open(directory);
    // Where nothing can be asked, what ext4 takes as a file.
    let Ok(file) = file else { return LARGEST };
    let sizes = (20..=44).rev().map(|bit| 1_u64 << bit);
    let largest = sizes.map(|size| size - MIB).find(|size| file.set_len(*size).is_ok());
    largest.map_or(LARGEST, |file| (file / 100 * 97).min(LARGEST))
}

/// A file on ext4 has 16 TiB at most.
const LARGEST: u64 = (16 << 40) / 100 * 97;

fn run(tool: &'static str, arguments: &[&str], path: &Path) -> Result<(), VolumeError> {
    let mut command = Command::new(tool);
    command.args(arguments).arg(path);
    finish(tool, command, &[])
}

/// Runs `command`; besides 0, the exit codes in `fine` are no failure.
fn finish(tool: &'static str, mut command: Command, fine: &[i32]) -> Result<(), VolumeError> {
    // Such tools live where an ordinary user's PATH does not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    let output = command.output().map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => "not found: install e2fsprogs".to_owned(),
            _ => error.to_string(),
        };
        VolumeError::Tool { tool, message }
    })?;
    if output.status.success() || output.status.code().is_some_and(|code| fine.contains(&code)) {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let message = String::from_utf8_lossy(&said).trim().to_owned();
    Err(VolumeError::Tool { tool, message })
}
