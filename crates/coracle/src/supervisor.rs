//! The engine's parent in the background: starts it again when it ends without being told to.
//!
//! It holds a lock with its process ID in it, so that `up` and `down` find it also while no engine
//! answers. It ends with the engine's orderly end, or when it gets SIGTERM, which it passes on.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::output::print;

/// The first wait before the engine is started again; each further one doubles it.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// An engine that ran for so long had started well: the waits begin anew.
const RAN_WELL: Duration = Duration::from_mins(1);
/// How often the process ID is looked for in a lock that was just taken.
const LOOKS: u32 = 100;

/// Keep the engine running until it ends in an orderly way. `false` when the first one did not come
/// up: it has said why.
///
/// # Errors
/// When it cannot be started.
pub fn run(lock: &Path, engine: Command) -> io::Result<bool> {
    let held = hold(lock)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(engine, || is_at(&held, lock)))
}

/// Ends the supervisor that holds `lock`, and its engine with it; pods go on. Returns when both are
/// gone; at once, when there is none.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn end(lock: &Path) -> io::Result<()> {
    let Some(mut held) = holder(lock)? else { return Ok(()) };
    for _ in 0..LOOKS {
        if let Some(pid) = process_of(&mut held)? {
            // It may end at this very moment.
            let _ = kill_process(pid, Signal::TERM);
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    held.lock()
}

/// Ends whoever has `lock` open, by what the kernel knows of descriptors: for a lock that lies on a disk
/// which does not answer any more. Nobody is waited for.
pub fn end_by_descriptor(lock: &Path) {
    let lock = std::path::absolute(lock).unwrap_or_else(|_| lock.to_path_buf());
    for pid in holders(&lock) {
        // It may end at this very moment.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The processes of ours, this one apart, that have `file` open.
fn holders(file: &Path) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_it = |pid: &i32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.any(|target| target == file)
    };
    let is_other = |pid: &i32| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id());
    pids.filter(is_other).filter(has_it).filter_map(Pid::from_raw).collect()
}

/// Whether a supervisor holds `lock`.
pub fn is_alive(lock: &Path) -> bool {
    holder(lock).is_ok_and(|held| held.is_some())
}

fn hold(lock: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
    file.try_lock().map_err(|_| {
        io::Error::new(io::ErrorKind::AlreadyExists, "another engine is being started here")
    })?;
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Whether the lock is still where it was taken.
fn is_at(held: &File, lock: &Path) -> bool {
    let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (here, there) = (held.metadata().map(place), std::fs::metadata(lock).map(place));
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

/// The lock, when somebody holds it.
fn holder(lock: &Path) -> io::Result<Option<File>> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(std::fs::TryLockError::WouldBlock) => Ok(Some(file)),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn process_of(held: &mut File) -> io::Result<Option<Pid>> {
    let mut text = String::new();
    held.seek(SeekFrom::Start(0))?;
    held.read_to_string(&mut text)?;
    Ok(text.trim().parse().ok().and_then(Pid::from_raw))
}

async fn supervise(mut command: Command, is_wanted: impl Fn() -> bool) -> io::Result<bool> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut ended = signal(SignalKind::child())?;
    command.stdout(Stdio::piped());
    let (mut wait, mut is_first) = (WAIT_FIRST, true);
    loop {
        let began = Instant::now();
        let mut child = command.spawn()?;
        let was_ready = listen(&mut child, is_first);
        let how = tokio::select! {
            how = end_of(&mut child, &mut ended) => how?,
            _ = terminated.recv() => return pass_on(child).map(|()| true),
        };
        if how.success() {
            return Ok(true);
        }
        if is_first && !was_ready.load(Ordering::SeqCst) {
            return Ok(false);
        }
        is_first = false;
        wait = next_wait(wait, began.elapsed());
        // Nobody to tell if the log cannot be written.
        let again =
            format!("the engine ended ({how}); it is started again in {} s", wait.as_secs());
        drop(writeln!(io::stderr(), "coracle: {again}"));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = terminated.recv() => return Ok(true),
        }
        if !is_wanted() {
            // The data directory is gone, and an engine would make it anew.
            return Ok(true);
        }
        wait = wait.saturating_mul(2);
    }
}

/// The wait before the next start of an engine that ran for so long.
fn next_wait(wait: Duration, ran: Duration) -> Duration {
    if ran >= RAN_WELL { WAIT_FIRST } else { wait.min(WAIT_MAX) }
}

/// Whether the engine has said that it is ready; the word of the first one goes to whoever waits for
/// it.
fn listen(child: &mut Child, is_first: bool) -> Arc<AtomicBool> {
    let was_ready = Arc::new(AtomicBool::new(false));
    let (said, output) = (Arc::clone(&was_ready), child.stdout.take());
    std::thread::spawn(move || {
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
        for line in lines.map_while(Result::ok) {
            said.fetch_or(line.starts_with("ready "), Ordering::SeqCst);
            if is_first {
                print(&format!("{line}\n"));
            }
        }
    });
    was_ready
}

/// How the engine ended, once it has; `ended` was listened to before it began.
async fn end_of(child: &mut Child, ended: &mut Signals) -> io::Result<ExitStatus> {
    loop {
        if let Some(how) = child.try_wait()? {
            return Ok(how);
        }
        if ended.recv().await.is_none() {
            return child.wait();
        }
    }
}

fn pass_on(mut child: Child) -> io::Result<()> {
    // It may end at this very moment.
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::null());
        command
    }

    #[test]
    fn an_orderly_end_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        assert!(run(&lock, shell("echo ready; exit 0")).unwrap());
        assert!(!is_alive(&lock));
        end(&lock).unwrap();
    }

    #[test]
    fn what_never_starts_is_told_and_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!run(&folder.path().join("lock"), shell("exit 3")).unwrap());
    }

    #[test]
    fn nothing_is_started_where_the_directory_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, marks) = (folder.path().join("lock"), tempfile::NamedTempFile::new().unwrap());
        let (mark, gone) = (marks.path().display(), lock.display());
        let script = format!("echo 'ready now'; echo x >> {mark}; rm {gone}; sleep 0.1; exit 1");
        assert!(run(&lock, shell(&script)).unwrap());
        assert_eq!(std::fs::read_to_string(marks.path()).unwrap(), "x\n");
    }

    #[test]
    fn what_breaks_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, marks) = (folder.path().join("lock"), folder.path().join("marks"));
        let script = format!(
            "echo 'ready now'; echo x >> {0}; sleep 0.1; [ $(wc -l < {0}) -lt 2 ] && kill -9 $$; exit 0",
            marks.display()
        );
        assert!(run(&lock, shell(&script)).unwrap());
        assert_eq!(std::fs::read_to_string(&marks).unwrap(), "x\nx\n");
    }

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew_after_a_good_run() {
        let short = Duration::from_secs(2);
        assert_eq!(next_wait(WAIT_FIRST, short), WAIT_FIRST);
        assert_eq!(next_wait(Duration::from_secs(512), short), WAIT_MAX);
        assert_eq!(next_wait(Duration::from_secs(512), RAN_WELL), WAIT_FIRST);
    }

    #[test]
    fn who_has_a_lock_is_found_by_its_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let lock = std::fs::canonicalize(folder.path()).unwrap().join("lock");
        let held = hold(&lock).unwrap();
        assert!(holders(&lock).is_empty(), "this process is none of them");
        let mut child = Command::new("sleep").arg("1000").stdin(held).spawn().unwrap();
        assert_eq!(holders(&lock), [Pid::from_child(&child)]);
        end_by_descriptor(&lock);
        assert!(!child.wait().unwrap().success());
        assert!(holders(&lock).is_empty());
    }

    #[test]
    fn a_supervisor_is_found_and_ended_by_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        assert!(!is_alive(&lock));
        let held = hold(&lock).unwrap();
        assert!(is_alive(&lock));
        let mut file = holder(&lock).unwrap().unwrap();
        assert_eq!(process_of(&mut file).unwrap(), Some(rustix::process::getpid()));
        drop(held);
        assert!(!is_alive(&lock));
    }
}
