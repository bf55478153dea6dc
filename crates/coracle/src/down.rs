//! `coracle down` and `coracle delete`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::control::{self, Ask, ControlError, Pods};
use crate::data_dir::{self, DataDirError};
use crate::kubeconfig::{self, Access, KubeconfigError};
use crate::output::{print, progress};
use crate::paths::Paths;
use crate::{engine, supervisor};

/// Why the cluster was not stopped or deleted.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// The running engine could not be asked.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The engine's supervisor could not be ended.
    #[error("cannot end the engine's supervisor: {0}")]
    Supervisor(#[source] std::io::Error),
    /// What a killed engine left could not be cleaned.
    #[error(transparent)]
    CleanUp(#[from] engine::EngineError),
    /// The user's kubeconfig could not be changed.
    #[error("the cluster is down, but {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// The user did not say yes.
    #[error("nothing was deleted")]
    NotConfirmed,
    /// There is nobody to ask.
    #[error("delete asks first, and there is no terminal: give --yes if you mean it")]
    CannotAsk,
    /// The directory is another's.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The directory does not look like ours.
    #[error("{} holds no cluster: nothing was deleted", .0.display())]
    NotOurs(PathBuf),
    /// The data could not be removed.
    #[error("cannot delete {}: {source}", .path.display())]
    Remove {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Stop the cluster and take it out of the user's kubeconfig. Its data stays.
///
/// # Errors
/// When something could not be stopped or cleaned.
pub fn down(cluster: &Cluster, pods: Pods) -> Result<(), DownError> {
    stop(cluster, pods)?;
    let kept: Vec<_> = engine::kept_ranges(cluster).iter().map(ToString::to_string).collect();
    if pods != Pods::Keep && !kept.is_empty() {
        let ranges = kept.join(", ");
        print(&format!("its addresses ({ranges}) stay unreachable on this host until `delete`\n"));
    }
    Ok(())
}

fn stop(cluster: &Cluster, pods: Pods) -> Result<(), DownError> {
    let paths = cluster.paths();
    let name = cluster.context();
    let turn = data_dir::is_ours(cluster)
        .and_then(|is_ours| is_ours.then(|| data_dir::take_turn(&paths)).transpose());
    // On a disk that is gone an engine can only fail, and a supervisor start the next one.
    let turn = turn.inspect_err(|error| {
        if matches!(error, DataDirError::Unusable { .. }) {
            supervisor::end_by_descriptor(&paths.supervisor());
        }
    })?;
    let supervisor = paths.supervisor();
    let end = || supervisor::end(&supervisor).map_err(DownError::Supervisor);
    match control::ask(paths.data_dir(), &Ask::Stop { pods }, progress) {
        // The engine's last act is to take its socket away; the connection then ends.
        Ok(_) | Err(ControlError::Broken { .. }) if !paths.socket().exists() => {
            end()?;
            print(&format!("{name} is down\n"));
        }
        // It ended before it was through: what it left is cleaned up as after one that was killed.
        Ok(_) | Err(ControlError::Broken { .. }) => {
            end()?;
            if pods != Pods::Keep {
                engine::clean_up(cluster)?;
            }
            print(&format!("{name} is down\n"));
        }
        Err(ControlError::NotRunning(_) | ControlError::Restarting(_)) => {
            end()?;
            // An engine that was killed leaves pods and links: the next `down` is their end too.
            if pods != Pods::Keep && paths.exists() {
                engine::clean_up(cluster)?;
            }
            print(&format!("{name} was not running\n"));
        }
        Err(error) => return Err(error.into()),
    }
    drop(turn);
    leave_kubeconfigs(&paths)?;
    Ok(())
}

/// Takes the cluster out of the files to which `up` added it, and of no other.
fn leave_kubeconfigs(paths: &Paths) -> Result<(), KubeconfigError> {
    let list = paths.kubeconfigs_of_users();
    let files = kubeconfig::remembered(&list)?;
    if files.is_empty() {
        return Ok(());
    }
    let access = Access::read(&paths.kubeconfig())?;
    files.iter().try_for_each(|file| kubeconfig::remove(file, &access))?;
    std::fs::remove_file(&list).map_err(|source| KubeconfigError::Write { path: list, source })
}

/// Stop the cluster and delete its data directory, volumes included. Pods are killed: what they
/// could save in an orderly end is deleted, too.
///
/// # Errors
/// When the user does not agree, or something could not be removed.
pub fn delete(cluster: &Cluster, yes: bool) -> Result<(), DownError> {
    let paths = cluster.paths();
    let path = paths.data_dir().to_path_buf();
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        print(&format!("there is no cluster in {}\n", path.display()));
        return Ok(());
    }
    if !data_dir::is_ours(cluster)? {
        return Err(DownError::NotOurs(path));
    }
    if !yes {
        confirm(&format!("Delete {} with all objects and volumes?", path.display()))?;
    }
    stop(cluster, Pods::Kill)?;
    engine::release_ranges(cluster)?;
    data_dir::remove(&path).map_err(|source| DownError::Remove { path: path.clone(), source })?;
    print(&format!("{} is deleted\n", path.display()));
    Ok(())
}

fn confirm(question: &str) -> Result<(), DownError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(DownError::CannotAsk);
    }
    let mut error = std::io::stderr();
    // Without the question there is nothing to answer: the read below then decides.
    drop(write!(error, "{question} [y/N] ").and_then(|()| error.flush()));
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    match (read, answer.trim().to_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => Err(DownError::NotConfirmed),
    }
}
