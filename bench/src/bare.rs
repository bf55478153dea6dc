//! The bare cost of a pod: what the kernel takes for one clone into new namespaces, a routed veth, an
//! overlay mount, a new root and exec, with nothing around it. No cgroup, no image, no API.

#![allow(unsafe_code, reason = "clone(2) into new namespaces has no safe form")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chdir, execve, pipe2, pivot_root};

use crate::Failure;
use crate::netlink::Netlink;
use crate::report::{figure, milliseconds};

const STACK: usize = 256 << 10;

/// Starts one bare pod that runs `busybox` (a static one), and ends it.
pub fn run(directory: &Path, busybox: &Path) -> Result<(), Failure> {
    let directory = tempfile::tempdir_in(directory)?;
    let lower = directory.path().join("lower");
    fs::create_dir_all(lower.join("bin"))?;
    fs::create_dir_all(lower.join("proc"))?;
    fs::copy(busybox, lower.join("bin/busybox"))?;
    let host = Netlink::open()?;
    let start = Instant::now();
    let pod = Pod::start(&host, &lower, directory.path())?;
    let took = start.elapsed();
    pod.end()?;
    figure("bare pod (clone, veth, overlay, exec)", "ms", &[milliseconds(took)]);
    Ok(())
}

struct Pod {
    init: Pid,
    folder: PathBuf,
}

impl Pod {
    /// Done when its program runs.
    fn start(host: &Netlink, lower: &Path, all: &Path) -> Result<Self, Failure> {
        let folder = all.join("pod");
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let (link_ready, tell_ready) = pipe2(OFlag::O_CLOEXEC)?;
        let (failed, tell_failed) = pipe2(OFlag::O_CLOEXEC)?;
        let address = Ipv4Addr::new(198, 51, 100, 7);
        let init = spawn(Inside { lower, folder: &folder, address, link_ready, tell_failed })?;
        host.add_veth("bare", "eth0", init.as_raw())?;
        let index = if_nametoindex("bare")?;
        host.up(index)?;
        host.add_route(index, Some(address))?;
        File::from(tell_ready).write_all(b"1")?;
        let mut words = String::new();
        // The other end closes when the program is executed.
        File::from(failed).read_to_string(&mut words)?;
        if words.is_empty() { Ok(Self { init, folder }) } else { Err(words.into()) }
    }

    fn end(self) -> Result<(), Failure> {
        kill(self.init, Signal::SIGKILL)?;
        waitpid(self.init, None)?;
        Ok(fs::remove_dir_all(self.folder)?)
    }
}

/// What the pod's first process needs.
struct Inside<'a> {
    lower: &'a Path,
    folder: &'a Path,
    address: Ipv4Addr,
    link_ready: OwnedFd,
    tell_failed: OwnedFd,
}

fn spawn(inside: Inside<'_>) -> Result<Pid, Failure> {
    let mut stack = vec![0; STACK];
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET;
    let mut inside = Some(inside);
    let child = Box::new(|| {
        let Some(inside) = inside.take() else { return 1 };
        let Ok(tell) = inside.tell_failed.try_clone() else { return 1 };
        if let Err(error) = inside.become_program() {
            // Nobody to tell when this fails, too.
            drop(write!(File::from(tell), "the bare pod failed: {error}"));
        }
        1
    });
    // SAFETY: without CLONE_VM the child has a copy of our memory, the stack included, as after
    // fork(2); this program has no second thread whose locks it could have copied.
    Ok(unsafe { clone(child, &mut stack, flags, Some(Signal::SIGCHLD as i32)) }?)
}

impl Inside<'_> {
    /// Returns only when something failed.
    fn become_program(self) -> Result<(), Failure> {
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let root = self.folder.join("root");
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.lower.display(),
            self.folder.join("upper").display(),
            self.folder.join("work").display()
        );
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &root.join("proc"), Some("proc"), strict, none)?;
        chdir(&root)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        File::from(self.link_ready).read_exact(&mut [0])?;
        let netlink = Netlink::open()?;
        let link = if_nametoindex("eth0")?;
        netlink.up(if_nametoindex("lo")?)?;
        netlink.add_address(link, self.address)?;
        netlink.up(link)?;
        netlink.add_route(link, None)?;
        execve(c"/bin/busybox", &[c"busybox", c"sleep", c"60"], &[c"PATH=/bin"])?;
        Ok(())
    }
}
