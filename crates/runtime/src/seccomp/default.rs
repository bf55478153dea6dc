//! The default profile: what programs need, and what they may do with further capabilities.
//!
//! Its effect is that of containerd's for 64-bit programs. What is neither listed nor made
//! possible by a capability fails with `EPERM`; `clone3` with `ENOSYS`, so that libraries fall
//! back to `clone`, whose flags a filter can see. 32-bit programs are refused.

use std::str::FromStr;

use caps::{Capability, CapsHashSet};
use nix::libc;
use seccompiler::{SeccompAction, SeccompCmpOp};
use syscalls::Sysno;

use super::{Profile, Rule};

/// For everybody. A name that this architecture does not have is no matter.
const ALLOWED: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
    clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
    exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat
    fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake
    futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid
    getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
    getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set
    kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link
    linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat madvise map_shadow_stack membarrier
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap
    mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal
    msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
    newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc
    pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease
    process_vm_readv process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead
    readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat
    rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg
    sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid
    setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid
    setsockopt setuid setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd
    signalfd4 socketpair splice stat statfs statmount statx symlink symlinkat sync sync_file_range
    syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname
    unlink unlinkat uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write writev
    arch_prctl modify_ldt";

/// For those who hold the capability.
const ALLOWED_WITH: &[(Capability, &str)] = &[
    (Capability::CAP_DAC_READ_SEARCH, "open_by_handle_at"),
    (
        Capability::CAP_SYS_ADMIN,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
         sethostname setns syslog umount2 unshare",
    ),
    (Capability::CAP_SYS_BOOT, "reboot"),
    (Capability::CAP_SYS_CHROOT, "chroot"),
    (Capability::CAP_SYS_MODULE, "delete_module init_module finit_module"),
    (Capability::CAP_SYS_PACCT, "acct"),
    (Capability::CAP_SYS_PTRACE, "kcmp pidfd_getfd process_madvise"),
    (Capability::CAP_SYS_RAWIO, "iopl ioperm"),
    (Capability::CAP_SYS_TIME, "settimeofday clock_settime"),
    (Capability::CAP_SYS_TTY_CONFIG, "vhangup"),
    (Capability::CAP_SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::CAP_SYSLOG, "syslog"),
    (Capability::CAP_BPF, "bpf"),
    (Capability::CAP_PERFMON, "perf_event_open"),
];

/// Execution domains that change nothing of what the kernel protects: Linux, UNAME26 and both
/// with 32-bit names, and asking for the current one.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Every flag of `clone` that makes a namespace.
const NAMESPACE_FLAGS: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u64;

/// The profile for a container with these capabilities.
pub fn profile(held: &CapsHashSet) -> Profile {
    let mut rules: Vec<Rule> = calls(ALLOWED).map(Rule::allow).collect();
    let earned = ALLOWED_WITH.iter().filter(|(capability, _)| held.contains(capability));
    rules.extend(earned.flat_map(|(_, names)| calls(names)).map(Rule::allow));
    let personality = |value| Rule::allow(Sysno::personality).when(0, SeccompCmpOp::Eq, value);
    rules.extend(PERSONALITIES.map(personality));
    rules.push(Rule::allow(Sysno::socket).when(0, SeccompCmpOp::Ne, libc::AF_VSOCK as u64));
    if !held.contains(&Capability::CAP_SYS_ADMIN) {
        let plain = SeccompCmpOp::MaskedEq(NAMESPACE_FLAGS);
        rules.push(Rule::allow(Sysno::clone).when(0, plain, 0));
        let missing = SeccompAction::Errno(libc::ENOSYS as u32);
        rules.push(Rule { action: missing, ..Rule::allow(Sysno::clone3) });
    }
    Profile { default: SeccompAction::Errno(libc::EPERM as u32), rules }
}

fn calls(names: &str) -> impl Iterator<Item = Sysno> {
    names.split_whitespace().filter_map(|name| Sysno::from_str(name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(profile: &Profile, call: Sysno) -> bool {
        profile.rules.iter().any(|r| r.call == call && r.action == SeccompAction::Allow)
    }

    #[test]
    fn system_administration_takes_its_capability() {
        let plain = profile(&CapsHashSet::new());
        let admin = profile(&CapsHashSet::from([Capability::CAP_SYS_ADMIN]));
        for call in [Sysno::mount, Sysno::unshare, Sysno::setns, Sysno::bpf] {
            assert!(!is_allowed(&plain, call), "{call}");
            assert!(is_allowed(&admin, call), "{call}");
        }
        for call in [Sysno::keyctl, Sysno::kexec_load, Sysno::userfaultfd, Sysno::io_uring_setup] {
            assert!(!is_allowed(&admin, call), "{call}");
        }
    }

    #[test]
    fn misspelled_names_do_not_go_unnoticed() {
        // Names of other architectures, or newer than the table of numbers.
        let unknown: Vec<&str> = ALLOWED
            .split_whitespace()
            .chain(ALLOWED_WITH.iter().flat_map(|(_, names)| names.split_whitespace()))
            .filter(|name| Sysno::from_str(name).is_err())
            .collect();
        if cfg!(target_arch = "x86_64") {
            assert_eq!(unknown, Vec::<&str>::new());
        }
    }
}
