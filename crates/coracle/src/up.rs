//! `coracle up`: start the engine in the background, or be it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::arguments::UpArgs;
use crate::cluster::Cluster;
use crate::control::{self, Ask};
use crate::data_dir::{self, DataDirError};
use crate::engine::{self, EngineError};
use crate::files::FilesError;
use crate::output::print;
use crate::{kubeconfig, supervisor};

/// Why the cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// Containers need root.
    #[error("coracle up makes namespaces, mounts and routes: run it as root (sudo coracle up)")]
    NotRoot,
    /// Containers cannot run here.
    #[error("containers cannot run here:\n{}", .0.iter().map(|it| format!("- {it}")).collect::<Vec<_>>().join("\n"))]
    Unfit(Vec<String>),
    /// The data directory cannot be used, or is not ours to use.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The engine did not come up; its last words follow.
    #[error("the engine did not start: {last_words}\n(its whole log: {})", .log.display())]
    DidNotStart {
        /// The end of its log.
        last_words: String,
        /// Where the rest is.
        log: PathBuf,
    },
    /// The process could not be started.
    #[error("cannot start the engine: {0}")]
    Spawn(#[source] std::io::Error),
    /// The user's kubeconfig could not be changed.
    #[error("the cluster is up, but {0}")]
    Kubeconfig(#[from] kubeconfig::KubeconfigError),
    /// A file that it was told of is not what it should be.
    #[error(transparent)]
    File(#[from] FilesError),
    /// The engine failed in the foreground.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Start the cluster (or find it running) and make it kubectl's current context.
///
/// # Errors
/// With a sentence that says what to do.
pub fn up(cluster: &Cluster, arguments: &UpArgs) -> Result<(), UpError> {
    if !is_root() {
        return Err(UpError::NotRoot);
    }
    // Not by an engine that is started again: it has been told before.
    if !arguments.report {
        arguments.files.check_registries()?;
    }
    let paths = cluster.paths();
    data_dir::claim(cluster)?;
    if arguments.foreground {
        return Ok(engine::run(cluster, arguments)?);
    }
    if arguments.supervise {
        let engine = own_command(cluster, arguments, "--foreground");
        return match supervisor::run(&paths.supervisor(), engine).map_err(UpError::Spawn)? {
            true => Ok(()),
            // The engine has said why; a word more would be taken for its last.
            false => std::process::exit(1),
        };
    }
    let turn = data_dir::take_turn(&paths)?;
    // One that was just killed still takes connections, but answers no more.
    let answers = control::ask(paths.data_dir(), &Ask::Status, |_| ()).is_ok();
    if !answers {
        // Of a mistake in them one hears here; the engine reads them again.
        let files = arguments.files.settle(&paths)?;
        files.load(&paths)?;
        files.check_registries()?;
        preflight(cluster)?;
    }
    let came_up = if answers {
        is_already_up(arguments, engine::access(cluster)?.port())
    } else {
        // It waits to start an engine that has ended, or starts one: with the flags of before.
        supervisor::end(&paths.supervisor()).map_err(UpError::Spawn)?;
        start(cluster, arguments)?
    };
    drop(turn);
    let name = cluster.context();
    print(&format!("{name} {came_up}\n"));
    if !arguments.no_kubeconfig {
        let file = kubeconfig::user_file()?;
        kubeconfig::remember(&paths.kubeconfigs_of_users(), &file)?;
        kubeconfig::add(&file, &engine::access(cluster)?)?;
        print(&format!("kubectl's current context is \"{name}\" (in {})\n", file.display()));
    }
    Ok(())
}

/// Tries what containers need before anything is made.
fn preflight(cluster: &Cluster) -> Result<(), UpError> {
    let group = format!("/coracle-{}-preflight-{}", cluster.name, std::process::id());
    let found = coracle_runtime::preflight::check(cluster.paths().data_dir(), &group);
    for note in &found.notes {
        print(&format!("note: {note}\n"));
    }
    if found.missing.is_empty() { Ok(()) } else { Err(UpError::Unfit(found.missing)) }
}

/// What an engine does from the start on cannot be changed while it runs.
fn is_already_up(arguments: &UpArgs, port: Option<u16>) -> String {
    let asks = arguments.ranges().iter().any(|(_, range)| range.is_some())
        || !arguments.api_address.is_empty()
        || arguments.external_ips
        || arguments.simulated_nodes.is_some()
        || arguments.feature_gates.is_some()
        || arguments.files.are_told()
        || arguments.max_parallel_pulls.is_some()
        || arguments.api_port.is_some_and(|asked| Some(asked) != port);
    let hint = " as it was started: for other flags, `coracle down` first";
    format!("is already up{}", if asks { hint } else { "" })
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Start the engine and its supervisor as processes of their own; the text says how fast it was.
fn start(cluster: &Cluster, arguments: &UpArgs) -> Result<String, UpError> {
    let log_path = cluster.paths().log();
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(&log_path)
        .map_err(|source| DataDirError::Unusable { path: log_path.clone(), source })?;
    let begin = log.seek(SeekFrom::End(0)).map_err(UpError::Spawn)?;
    let mut child = own_command(cluster, arguments, "--supervise")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().map_err(UpError::Spawn)?)
        .current_dir("/")
        .process_group(0)
        .spawn()
        .map_err(UpError::Spawn)?;
    let report = child.stdout.take().map(BufReader::new);
    for line in report.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        if let Some(text) = line.strip_prefix("ready ") {
            return Ok(text.to_string());
        }
    }
    // Its standard output closed without `ready`: it has ended or is about to.
    child.wait().map_err(UpError::Spawn)?;
    Err(UpError::DidNotStart { last_words: last_words(&mut log, begin), log: log_path })
}

/// This program as the engine (`--foreground`) or as its supervisor (`--supervise`).
fn own_command(cluster: &Cluster, arguments: &UpArgs, part: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("coracle");
    // A heap per thread would keep several times what is in use, and one for all leaves what stays of
    // a pod between what only its start took; so do lists of free pieces that are not joined, but for
    // those of the smallest, which make it fast.
    command.env("MALLOC_ARENA_MAX", "2");
    if std::env::var_os("GLIBC_TUNABLES").is_none() {
        command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_max=128:glibc.malloc.mxfast=0");
    }
    command.arg("--name").arg(&cluster.name);
    command.arg("--data-dir").arg(cluster.paths().data_dir());
    command.args(["up", part, "--report"]);
    if let Some(port) = arguments.api_port {
        command.args(["--api-port", &port.to_string()]);
    }
    for (flag, range) in arguments.ranges() {
        command.args(range.iter().flat_map(|range| [flag.to_owned(), range.to_string()]));
    }
    command.args(["--max-pods", &arguments.max_pods.to_string()]);
    if let Some(count) = arguments.simulated_nodes {
        command.args(["--simulated-nodes", &count.to_string()]);
    }
    command.args(arguments.external_ips.then_some("--external-ips"));
    if let Some(gates) = &arguments.feature_gates {
        command.args(["--feature-gates", &gates.to_string()]);
    }
    command.args(arguments.files.clone().flags());
    if let Some(count) = arguments.max_parallel_pulls {
        command.args(["--max-parallel-pulls", &count.to_string()]);
    }
    for address in &arguments.api_address {
        command.args(["--api-address", &address.to_string()]);
    }
    command
}

/// The last line that the engine wrote since `begin`, without its own name.
fn last_words(log: &mut File, begin: u64) -> String {
    let mut text = String::new();
    let read = log.seek(SeekFrom::Start(begin)).and_then(|_| log.read_to_string(&mut text));
    let words = match read {
        Ok(_) => {
            text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
        }
        Err(_) => "its log cannot be read",
    };
    words.strip_prefix("coracle: ").unwrap_or(words).to_string()
}
