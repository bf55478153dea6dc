//! How many bits of an argument the kernel looks at.
//!
//! A filter sees 64 bits of each. Where a system call takes an `int` the kernel drops the upper half
//! afterwards, so a comparison of all 64 can be passed by setting any bit of it: a filter that
//! forbids `AF_VSOCK` would let `AF_VSOCK | 1 << 32` through.

use std::str::FromStr;

use seccompiler::SeccompCmpArgLen;
use syscalls::Sysno;

/// Calls that a profile may bind to arguments, and which of those have 32 bits (`int`, `unsigned`,
/// a descriptor, a process, a user). From the kernel's `SYSCALL_DEFINE`s; all others count as 64.
const INTEGERS: &str = "
    accept 0, accept4 0 3, access 1, add_key 4, arch_prctl 0, bind 0 2, bpf 0 2, chmod 1, chown 1 2,
    clock_adjtime 0, clock_getres 0, clock_gettime 0, clock_nanosleep 0 1, clock_settime 0, clone 0,
    close 0, close_range 0 1 2, connect 0 2, copy_file_range 0 2 5, creat 1, dup 0, dup2 0 1,
    dup3 0 1 2, epoll_create 0, epoll_create1 0, epoll_ctl 0 1 2, epoll_pwait 0 2 3, epoll_wait 0 2 3,
    eventfd 0, eventfd2 0 1, execveat 0 4, exit 0, exit_group 0, faccessat 0 2, faccessat2 0 2 3,
    fadvise64 0 3, fallocate 0 1, fanotify_init 0 1, fanotify_mark 0 1 3, fchdir 0, fchmod 0 1,
    fchmodat 0 2, fchmodat2 0 2 3, fchown 0 1 2, fchownat 0 2 3 4, fcntl 0 1, fdatasync 0, fgetxattr 0,
    finit_module 0 2, flock 0 1, fremovexattr 0, fsconfig 0 1 4, fsetxattr 0 4, fsmount 0 1 2, fsopen 1,
    fspick 0 2, fstat 0, fsync 0, futex 1 2 5, getitimer 0, getpeername 0, getpgid 0,
    getpriority 0 1, getrandom 2, getrlimit 0, getrusage 0, getsid 0, getsockname 0, getsockopt 0 1 2,
    inotify_add_watch 0 2, inotify_init1 0, inotify_rm_watch 0 1, io_uring_enter 0 1 2 3,
    io_uring_register 0 1 3, io_uring_setup 0, ioctl 0 1, ioperm 2, iopl 0, ioprio_get 0 1,
    ioprio_set 0 1 2, kcmp 0 1 2, keyctl 0, kill 0 1, landlock_add_rule 0 1 3,
    landlock_create_ruleset 2, landlock_restrict_self 0 1, lchown 1 2, linkat 0 2 4, listen 0 1, lseek 0 2,
    madvise 2, mbind 5, membarrier 0 1 2, memfd_create 1, memfd_secret 0, mkdir 1, mkdirat 0 2,
    mknod 1 2, mknodat 0 2 3, mlock2 2, mlockall 0, mmap 4, mount_setattr 0 2, move_mount 0 2 4,
    mq_open 1 2, msgctl 0 1, msgget 0 1, msgrcv 0 4, msgsnd 0 3, msync 2, name_to_handle_at 0 4,
    newfstatat 0 3, open 1 2, open_by_handle_at 0 2, open_tree 0 2, openat 0 2 3, openat2 0,
    perf_event_open 1 2 3, personality 0, pidfd_getfd 0 1 2, pidfd_open 0 1, pidfd_send_signal 0 1 3,
    pipe2 1, pkey_free 0, pkey_mprotect 3, poll 1 2, prctl 0, preadv2 5, prlimit64 0 1,
    process_madvise 0 3 4, pwritev2 5, quotactl 0 2, quotactl_fd 0 1 2, read 0, readv 0, reboot 0 1 2,
    recvfrom 0 3, recvmmsg 0 2 3, recvmsg 0 2, renameat 0 2, renameat2 0 2 4, rt_sigaction 0,
    rt_sigprocmask 0, rt_sigqueueinfo 0 1, rt_tgsigqueueinfo 0 1 2, sched_get_priority_max 0,
    sched_get_priority_min 0, sched_getaffinity 0 1, sched_getattr 0 2 3, sched_getparam 0,
    sched_getscheduler 0, sched_setaffinity 0 1, sched_setattr 0 2, sched_setparam 0,
    sched_setscheduler 0 1, seccomp 0 1, semctl 0 1 2, semget 0 1 2, semop 0 2, sendfile 0 1,
    sendmmsg 0 2 3, sendmsg 0 2, sendto 0 3 5, setdomainname 1, setfsgid 0, setfsuid 0, setgid 0,
    setgroups 0, sethostname 1, setitimer 0, setns 0 1, setpgid 0 1, setpriority 0 1 2, setregid 0 1,
    setresgid 0 1 2, setresuid 0 1 2, setreuid 0 1, setrlimit 0, setsockopt 0 1 2 4, setuid 0, setxattr 4,
    shmat 0 2, shmctl 0 1, shmget 0 2, shutdown 0 1, signalfd 0, signalfd4 0 3, socket 0 1 2,
    socketpair 0 1 2, splice 0 2 5, statx 0 2 3, symlinkat 1, sync_file_range 0 3, syncfs 0, syslog 0 2,
    tee 0 1 3, tgkill 0 1 2, timer_create 0, timerfd_create 0 1, timerfd_settime 0 1, tkill 0 1, umask 0,
    umount2 1, unlinkat 0 2, userfaultfd 0, utimensat 0 3, vmsplice 0 3, wait4 0 2, waitid 0 1 3, write 0,
    writev 0";

/// The width of an argument (0 to 5) of a call.
pub fn of(call: Sysno, argument: u8) -> SeccompCmpArgLen {
    let is_integer = integers().any(|(name, mut arguments)| {
        Sysno::from_str(name).is_ok_and(|it| it == call)
            && arguments.any(|it| it.parse() == Ok(argument))
    });
    if is_integer { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword }
}

fn integers() -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str>)> {
    INTEGERS.split(',').filter_map(|entry| {
        let mut words = entry.split_whitespace();
        Some((words.next()?, words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_as_it_is_written() {
        for (name, arguments) in integers() {
            let numbers: Vec<u8> = arguments.map(|it| it.parse().unwrap()).collect();
            assert!(numbers.iter().all(|it| *it < 6) && numbers.is_sorted(), "{name}");
            if cfg!(target_arch = "x86_64") {
                assert!(Sysno::from_str(name).is_ok(), "{name}");
            }
        }
        assert_eq!(of(Sysno::socket, 0), SeccompCmpArgLen::Dword);
        assert_eq!(of(Sysno::write, 1), SeccompCmpArgLen::Qword);
    }
}
