//! Control groups, version 1 (also beside 2) and 2: a pod's own group above its containers'.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::usage::Used;
use crate::{Resources, devices};

/// One group: a directory in every hierarchy that controls something.
#[derive(Debug, Clone)]
pub struct Cgroup {
    layout: Layout,
    /// `/coracle-NAME/podUID`, the same in every hierarchy.
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// One hierarchy for all (version 2).
    Unified(PathBuf),
    /// A hierarchy for each controller, or for a few that go together (version 1).
    Legacy(Vec<(Vec<String>, PathBuf)>),
}

/// The hierarchies as a container is to find them below `/sys/fs/cgroup`.
pub enum Mounted {
    /// One, of version 2.
    Unified,
    /// Of version 1: the name of each, and the directory of the group in it.
    Legacy(Vec<(PathBuf, PathBuf)>),
}

/// Controllers that limit or count for us; those of version 2 that must be switched on for children.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// What counts the processor's time in version 1; in version 2 every group does.
const CPU_TIME: &str = "cpuacct";

impl Cgroup {
    /// The group at `path`, which need not exist. Never the root: all processes are in it.
    pub fn at(path: &str) -> io::Result<Self> {
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        if names.peek().is_none() || names.any(|name| name == "." || name == "..") {
            let message = format!("refusing {path:?} as a control group");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
        Ok(Self { layout: Layout::read(&table), path: path.to_owned() })
    }

    /// Whether the machine has version 2 alone.
    pub fn is_unified(&self) -> bool {
        matches!(self.layout, Layout::Unified(_))
    }

    /// The group `name` within this one.
    pub fn child(&self, name: &str) -> Self {
        Self { layout: self.layout.clone(), path: format!("{}/{name}", self.path) }
    }

    /// What limits of ours have no effect on, here.
    pub fn uncontrolled(&self) -> Vec<&'static str> {
        let available = match &self.layout {
            Layout::Legacy(_) => None,
            Layout::Unified(root) => fs::read_to_string(root.join("cgroup.controllers")).ok(),
        };
        let has = |name: &str| match &available {
            Some(names) => names.split_whitespace().any(|it| it == name),
            None => self.dir_of(name).is_some(),
        };
        CONTROLLERS.into_iter().filter(|name| !has(name)).collect()
    }

    /// Its directory in version 2's hierarchy.
    fn unified_dir(&self) -> Option<PathBuf> {
        match &self.layout {
            Layout::Unified(root) => Some(join(root, &self.path)),
            Layout::Legacy(_) => None,
        }
    }

    /// Makes it and limits it.
    pub fn create(&self, resources: &Resources) -> io::Result<()> {
        match &self.layout {
            Layout::Unified(root) => create_unified(root, &self.path)?,
            Layout::Legacy(_) => {
                for controller in CONTROLLERS.iter().chain([&CPU_TIME]) {
                    let Some(dir) = self.dir_of(controller) else { continue };
                    fs::create_dir_all(&dir)?;
                    count_children(&dir)?;
                }
            }
        }
        self.change(resources)
    }

    /// Limits what is there: what `resources` do not name stays.
    pub fn change(&self, resources: &Resources) -> io::Result<()> {
        // A kernel that does not count swap has no such file.
        let is_there = |dir: &Path, file: &str| {
            ![SWAP, UNIFIED_SWAP].contains(&file) || dir.join(file).exists()
        };
        if let Some(dir) = self.unified_dir() {
            let mut settings = unified_settings(resources);
            settings.retain(|(file, _)| is_there(&dir, file));
            return set_all(&dir, &settings);
        }
        CONTROLLERS.iter().try_for_each(|controller| {
            let Some(dir) = self.dir_of(controller) else { return Ok(()) };
            let mut settings = legacy_settings(controller, resources);
            settings.retain(|(file, _)| is_there(&dir, file));
            set_all(&dir, &settings)
        })
    }

    /// Moves this process, which must have one thread, into the group. On version 2 it must have been
    /// born there. On version 1 the thread moves itself: to move a process, or another's thread, the
    /// kernel first waits for all processors, some ten milliseconds.
    pub fn enter(&self) -> io::Result<()> {
        let Layout::Legacy(mounts) = &self.layout else { return Ok(()) };
        let dirs = mounts.iter().map(|(_, root)| join(root, &self.path));
        dirs.filter(|dir| dir.exists()).try_for_each(|dir| fs::write(dir.join("tasks"), "0"))
    }

    /// Version 2's directory, for a process to be born in.
    pub fn open_unified(&self) -> io::Result<Option<fs::File>> {
        self.unified_dir().map(fs::File::open).transpose()
    }

    /// Lets a container's processes use the common devices only, unless they may use all, and die
    /// as a whole when it runs out of memory (which version 1 cannot).
    pub fn restrict(&self, all_devices: bool) -> io::Result<()> {
        if let Some(dir) = self.dir_of("devices").filter(|_| !all_devices) {
            fs::create_dir_all(&dir)?;
            return devices::restrict_legacy(&dir);
        }
        let Some(dir) = self.unified_dir() else { return Ok(()) };
        let as_a_whole = dir.join("memory.oom.group");
        if as_a_whole.exists() {
            fs::write(as_a_whole, "1")?;
        }
        if all_devices { Ok(()) } else { devices::restrict(&dir) }
    }

    /// What the group's own processes are to see of the hierarchies.
    pub fn mounted(&self) -> Mounted {
        let Layout::Legacy(mounts) = &self.layout else { return Mounted::Unified };
        let groups = mounts.iter().filter_map(|(_, root)| {
            let (name, group) = (PathBuf::from(root.file_name()?), join(root, &self.path));
            group.exists().then_some((name, group))
        });
        Mounted::Legacy(groups.collect())
    }

    /// Processes in it and below.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        // One hierarchy is enough: a container is in all of them.
        for dir in self.dirs() {
            collect_processes(&dir, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills every process in it, again and again until none is left or `patience` is at its end.
    pub fn kill_all(&self, patience: Duration) -> io::Result<()> {
        let now = Instant::now();
        let deadline = now.checked_add(patience).unwrap_or(now);
        loop {
            self.kill_once()?;
            if self.processes().is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "processes do not die"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills every process that is in it now, without waiting for the end of any.
    pub fn kill_once(&self) -> io::Result<()> {
        if let Some(file) = self.unified_dir().map(|dir| dir.join("cgroup.kill"))
            && file.exists()
        {
            return fs::write(file, "1");
        }
        for pid in self.processes() {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What its processes have used so far, those that have ended included.
    pub fn used(&self) -> io::Result<Used> {
        let read = |dir: Option<PathBuf>, file: &str| {
            let dir = dir.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            fs::read_to_string(dir.join(file))
        };
        let (memory, cpu) = match self.unified_dir() {
            dir @ Some(_) => (dir.clone(), dir),
            None => (self.dir_of("memory"), self.dir_of(CPU_TIME)),
        };
        let stat = read(memory.clone(), "memory.stat")?;
        if self.is_unified() {
            let micros = counter(&read(cpu, "cpu.stat")?, "usage_usec");
            let held = number(&read(memory, "memory.current")?);
            let idle = counter(&stat, "inactive_file");
            let cpu_time = Duration::from_micros(micros);
            return Ok(Used { cpu_time, working_set: held.saturating_sub(idle) });
        }
        let cpu_time = Duration::from_nanos(number(&read(cpu, "cpuacct.usage")?));
        let held = number(&read(memory, "memory.usage_in_bytes")?);
        let idle = counter(&stat, "total_inactive_file");
        Ok(Used { cpu_time, working_set: held.saturating_sub(idle) })
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let file = match &self.layout {
            Layout::Unified(root) => Some(join(root, &self.path).join("memory.events")),
            Layout::Legacy(_) => self.dir_of("memory").map(|dir| dir.join("memory.oom_control")),
        };
        let text = file.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        counter(&text, "oom_kill")
    }

    /// Removes it and all groups below, in every hierarchy. None of them may hold a process.
    pub fn remove(&self) -> io::Result<()> {
        self.dirs().iter().try_for_each(|dir| remove_tree(dir))
    }

    fn dirs(&self) -> Vec<PathBuf> {
        match &self.layout {
            Layout::Unified(root) => vec![join(root, &self.path)],
            Layout::Legacy(mounts) => {
                mounts.iter().map(|(_, root)| join(root, &self.path)).collect()
            }
        }
    }

    fn dir_of(&self, controller: &str) -> Option<PathBuf> {
        let Layout::Legacy(mounts) = &self.layout else { return None };
        let (_, root) = mounts.iter().find(|(names, _)| names.iter().any(|n| n == controller))?;
        Some(join(root, &self.path))
    }
}

impl Layout {
    /// From a mount table: `… - TYPE SOURCE OPTIONS`.
    fn read(table: &str) -> Self {
        let mut legacy: Vec<(Vec<String>, PathBuf)> = Vec::new();
        let mut unified = None;
        for line in table.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(target) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) => unified = unified.or(Some(target)),
                (Some("cgroup"), Some(options)) => {
                    let names = options.split(',').map(str::to_owned).collect();
                    if !legacy.iter().any(|(known, _)| *known == names) {
                        legacy.push((names, target));
                    }
                }
                _ => {}
            }
        }
        match unified {
            Some(root) if legacy.is_empty() => Self::Unified(root),
            _ => Self::Legacy(legacy),
        }
    }
}

fn join(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Makes each directory on the way and lets those above it give it their controllers. It itself
/// gives none before it has a child: a group that does may hold no processes.
fn create_unified(root: &Path, path: &str) -> io::Result<()> {
    let mut dir = root.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        enable_controllers(&dir)?;
        dir.push(name);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn enable_controllers(dir: &Path) -> io::Result<()> {
    let available = fs::read_to_string(dir.join("cgroup.controllers"))?;
    let enabled = fs::read_to_string(dir.join("cgroup.subtree_control"))?;
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    for name in CONTROLLERS {
        if has(&available, name) && !has(&enabled, name) {
            fs::write(dir.join("cgroup.subtree_control"), format!("+{name}"))?;
        }
    }
    Ok(())
}

type Setting = (&'static str, String);

/// Version 1's limit of memory and swap together.
const SWAP: &str = "memory.memsw.limit_in_bytes";
/// Version 2's limit of swap.
const UNIFIED_SWAP: &str = "memory.swap.max";

/// A group that exists may have others: version 1 wants the limit of memory never above that of memory
/// and swap, so the larger one goes first when they grow.
fn set_all(dir: &Path, settings: &[Setting]) -> io::Result<()> {
    let in_order = settings.iter().try_for_each(|setting| set(dir, setting));
    in_order.or_else(|first| {
        settings.iter().rev().try_for_each(|setting| set(dir, setting)).map_err(|_| first)
    })
}

fn set(dir: &Path, (file, value): &Setting) -> io::Result<()> {
    let path = dir.join(file);
    let written = fs::write(&path, value);
    written.map_err(|e| io::Error::new(e.kind(), format!("write {value} to {path:?}: {e}")))
}

/// Before Linux 5.11, a group of version 1 counts what its children use only if it is told to, before
/// it has any.
fn count_children(dir: &Path) -> io::Result<()> {
    let file = dir.join("memory.use_hierarchy");
    match fs::read_to_string(&file) {
        Ok(text) if text.trim() == "0" => fs::write(&file, "1"),
        _ => Ok(()),
    }
}

fn unified_settings(resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(limit) = resources.memory_limit {
        settings.push(("memory.max", limit.to_string()));
        settings.push((UNIFIED_SWAP, "0".to_owned()));
    }
    if let Some(shares) = resources.cpu_shares {
        settings.push(("cpu.weight", weight_of(shares).to_string()));
    }
    if let Some(quota) = resources.cpu_quota.filter(|quota| *quota > 0) {
        let period = resources.cpu_period.unwrap_or(100_000);
        settings.push(("cpu.max", format!("{quota} {period}")));
    }
    if let Some(limit) = resources.pids_limit.filter(|limit| *limit > 0) {
        settings.push(("pids.max", limit.to_string()));
    }
    settings
}

fn legacy_settings(controller: &str, resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut push = |owner: &str, file, value: Option<String>| {
        if owner == controller {
            settings.extend(value.map(|value| (file, value)));
        }
    };
    push("memory", "memory.limit_in_bytes", resources.memory_limit.map(|v| v.to_string()));
    push("memory", SWAP, resources.memory_limit.map(|v| v.to_string()));
    push("cpu", "cpu.shares", resources.cpu_shares.map(|v| v.to_string()));
    let quota = resources.cpu_quota.filter(|quota| *quota > 0);
    let period = quota.map(|_| resources.cpu_period.unwrap_or(100_000));
    push("cpu", "cpu.cfs_period_us", period.map(|v| v.to_string()));
    push("cpu", "cpu.cfs_quota_us", quota.map(|v| v.to_string()));
    push("pids", "pids.max", resources.pids_limit.filter(|l| *l > 0).map(|v| v.to_string()));
    settings
}

/// Version 2's weight (1 to 10000) for version 1's shares (2 to 262144).
fn weight_of(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// The number after `name` in lines of `name number`.
fn counter(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// The number that a file holds; 0 for what is none.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn collect_processes(dir: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    subdirectories(dir).iter().for_each(|child| collect_processes(child, pids));
}

/// A group whose last process has just died may be busy for another moment.
fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in subdirectories(dir) {
        remove_tree(&child)?;
    }
    let now = Instant::now();
    let deadline = now.checked_add(Duration::from_secs(2)).unwrap_or(now);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(nix::libc::EBUSY) && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 1 0:2 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        31 1 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_beside_version_1_does_not_count() {
        assert!(matches!(Layout::read(HYBRID), Layout::Legacy(mounts) if mounts.len() == 2));
    }

    #[test]
    fn version_2_alone_is_unified() {
        let table = "32 1 0:4 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::read(table), Layout::Unified(PathBuf::from("/sys/fs/cgroup")));
    }

    #[test]
    fn weights_span_the_shares() {
        assert_eq!((weight_of(2), weight_of(1024), weight_of(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn kills_are_counted_and_not_confused_with_other_counters() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(counter(events, "oom_kill"), 2);
        assert_eq!(counter("oom_kill_disable 0\nunder_oom 0\n", "oom_kill"), 0);
    }

    #[test]
    fn the_root_is_no_group_of_ours() {
        for path in ["", "/", "//", "/a/../..", "."] {
            assert!(Cgroup::at(path).is_err(), "{path:?}");
        }
    }
}
