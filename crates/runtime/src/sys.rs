//! The few system calls that no library offers in a safe form.
#![allow(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

use crate::TerminalSize;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A file descriptor that stands for the process, whatever becomes of its number.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, touches no memory of ours.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Signals the process behind a pidfd. No error when it is gone.
pub fn pidfd_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the third argument may be null (no siginfo); the others are integers.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    });
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// Closes every descriptor from `first` on.
///
/// # Safety
/// Nothing may use such a descriptor afterwards: call it before any is opened.
pub unsafe fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: integers only; the caller vouches for the descriptors.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Forks; the child is in new namespaces as `namespaces` (`CLONE_NEW…`) says, and from its first
/// moment in the control group (version 2) that `cgroup` is a descriptor of.
/// Returns the child's number in the parent and 0 in the child.
///
/// # Safety
/// As `fork`: the caller must have one thread only.
pub unsafe fn fork(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<i32> {
    // SAFETY: clone_args is plain numbers, for which zero is the default.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        // The library's constant is too narrow for it.
        const CLONE_INTO_CGROUP: u64 = 1 << 33;
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without a stack and without CLONE_VM this is fork; the caller has one thread. The
    // kernel reads the structure, whose size is passed.
    check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>())
    })
    .map(|pid| pid as i32)
}

/// Loads one compiled seccomp filter into this thread.
pub fn load_filter(program: &[seccompiler::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "seccomp filter too long"))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel reads `length` instructions, all within `program`'s slice, and writes
    // nothing; seccompiler's instruction has the layout of the kernel's.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    })
    .map(drop)
}

/// Sets the size of a terminal.
pub fn set_terminal_size(terminal: BorrowedFd<'_>, size: TerminalSize) -> io::Result<()> {
    let size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives until the call returns.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into())
        .map(drop)
}

/// Opens the other side of a terminal's master.
pub fn terminal_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags by value.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Lets the other side of a new terminal be opened.
pub fn unlock_terminal(master: BorrowedFd<'_>) -> io::Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one integer, which lives until the call returns.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }.into())
        .map(drop)
}

/// Makes a terminal that of this process's session, of which the process is the leader.
pub fn control_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes its argument by value.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Leaves the keys of this process's session behind.
pub fn new_session_keyring() -> io::Result<()> {
    const JOIN: libc::c_int = 1;
    // SAFETY: the name may be null; the kernel then makes a keyring without one.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN, std::ptr::null::<libc::c_char>()) })
        .map(drop)
}

/// Makes a descriptor's reads and writes return at once.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Makes room for `bytes` in a pipe; a refusal is no harm, the pipe is only smaller.
pub fn widen_pipe(pipe: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) }.into()).map(drop)
}

/// Ends this process at once, running nothing on the way out.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Opens a path below `root`, following links as if `root` were `/`, and none of the kernel's magic
/// ones (`/proc/PID/root`).
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    flags: libc::c_int,
) -> io::Result<OwnedFd> {
    // SAFETY: open_how is plain numbers, for which zero is the default.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `path` ends in a NUL and `how` lives until the call returns; its size is passed.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Makes the kernel ask `program` whenever a process of the group at `cgroup` uses a device.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: &[u64]) -> io::Result<()> {
    const LOAD: libc::c_int = 5;
    const ATTACH: libc::c_int = 8;
    const DEVICE_PROGRAM: u32 = 15;
    const TO_DEVICES: u32 = 6;
    const BESIDE_OTHERS: u32 = 2;

    /// The kernel's `bpf_attr` as far as loading needs it; what follows is zero to the kernel.
    #[repr(C)]
    struct Load {
        kind: u32,
        length: u32,
        instructions: u64,
        license: u64,
        log: [u64; 3],
    }
    let load = Load {
        kind: DEVICE_PROGRAM,
        length: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log: [0; 3],
    };
    // SAFETY: the kernel reads the structure, whose size is passed, the instructions, whose number
    // it holds, and the license, which ends in a NUL; all live until the call returns.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<Load>()) })?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    let loaded = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let attach = [cgroup.as_raw_fd() as u32, loaded.as_raw_fd() as u32, TO_DEVICES, BESIDE_OTHERS];
    // SAFETY: the kernel reads the four numbers, whose size is passed.
    check(unsafe { libc::syscall(libc::SYS_bpf, ATTACH, attach.as_ptr(), size_of_val(&attach)) })
        .map(drop)
}

/// A mount of one file that cannot be written through, in no tree of mounts.
pub fn read_only_mount(file: &std::path::Path) -> io::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let file = std::ffi::CString::new(file.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path ends in a NUL and lives until the call returns.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, file.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    let mount = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    forbid_writing(mount.as_fd(), false)?;
    Ok(mount)
}

/// Forbids writing through a mount, and `below` also through those below it. Linux 5.12.
pub fn forbid_writing(mount: BorrowedFd<'_>, below: bool) -> io::Result<()> {
    let recursive = if below { libc::AT_RECURSIVE } else { 0 };
    set_mount(mount.as_raw_fd(), recursive, libc::MOUNT_ATTR_RDONLY)
}

/// Whether the kernel knows [`forbid_writing`].
pub fn can_forbid_writing() -> bool {
    // Nothing is to be changed of no mount: an error that says so is an answer.
    set_mount(-1, 0, 0).err().and_then(|error| error.raw_os_error()) != Some(libc::ENOSYS)
}

fn set_mount(mount: RawFd, flags: i32, attributes_to_set: u64) -> io::Result<()> {
    // SAFETY: mount_attr is plain numbers, for which zero changes nothing.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = attributes_to_set;
    // SAFETY: the kernel reads the structure, whose size is passed, and an empty path.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// The number of a loop device that nobody uses, at this moment.
pub fn free_loop(control: BorrowedFd<'_>) -> io::Result<i32> {
    const GET_FREE: libc::Ioctl = 0x4c82;
    // SAFETY: the request takes no argument.
    check(unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) }.into()).map(|number| number as i32)
}

/// A loop device reads and writes its file past the page cache.
const LOOP_DIRECT: u32 = 16;

/// Makes a loop device with blocks of `block_size` show the content of a file, until its last user
/// is gone, past the page cache if it can.
pub fn configure_loop(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    block_size: u32,
) -> io::Result<()> {
    const CONFIGURE: libc::Ioctl = 0x4c0a;
    const GO_WITH_THE_LAST_USER: u32 = 4;

    /// The kernel's `loop_config`; what is not named is zero: no offset, no limit.
    #[repr(C)]
    struct Configuration {
        fd: u32,
        block_size: u32,
        unused: [u64; 5],
        unused_too: [u32; 3],
        flags: u32,
        rest: [u64; 30],
    }
    let configuration = Configuration {
        fd: file.as_raw_fd() as u32,
        block_size,
        unused: [0; 5],
        unused_too: [0; 3],
        flags: GO_WITH_THE_LAST_USER | LOOP_DIRECT,
        rest: [0; 30],
    };
    // SAFETY: the kernel reads 304 bytes, which is the structure's size, before the call returns.
    check(unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const configuration) }.into())
        .map(drop)
}

/// What a loop device shows, and how.
pub struct LoopStatus {
    /// Device and inode of its file.
    pub file: (u64, u64),
    /// Whether it goes past the page cache.
    pub is_direct: bool,
}

/// How a loop device is configured; an error when it is not.
pub fn status_of_loop(device: BorrowedFd<'_>) -> io::Result<LoopStatus> {
    const GET_STATUS: libc::Ioctl = 0x4c05;

    /// The kernel's `loop_info64`, with what nobody here asks.
    #[repr(C)]
    struct Status {
        device: u64,
        inode: u64,
        sizes: [u64; 3],
        numbers: [u32; 3],
        flags: u32,
        names: [u64; 22],
    }
    let (sizes, numbers, names) = ([0; 3], [0; 3], [0; 22]);
    let mut status = Status { device: 0, inode: 0, sizes, numbers, flags: 0, names };
    // SAFETY: the kernel writes 232 bytes, which is the structure's size, before the call returns.
    check(unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS, &raw mut status) }.into())?;
    let is_direct = status.flags & LOOP_DIRECT != 0;
    Ok(LoopStatus { file: (status.device, status.inode), is_direct })
}

/// Makes a loop device as large as its file.
pub fn resize_loop(device: BorrowedFd<'_>) -> io::Result<()> {
    const SET_CAPACITY: libc::Ioctl = 0x4c07;
    // SAFETY: the request takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), SET_CAPACITY) }.into()).map(drop)
}

/// Makes a mounted ext4 `blocks` long.
pub fn resize_ext4(directory: BorrowedFd<'_>, blocks: u64) -> io::Result<()> {
    /// `_IOW('f', 16, __u64)`
    const RESIZE_FS: libc::Ioctl = 0x4008_6610;
    // SAFETY: the kernel reads one number, which lives until the call returns.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), RESIZE_FS, &raw const blocks) }.into())
        .map(drop)
}
