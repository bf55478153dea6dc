//! `coracle ls`: the clusters of this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::control::{self, Ask, ControlError};
use crate::paths::{DATA_DIRS, Paths};
use crate::show;

/// A cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    name: String,
    /// `up`, `down`, `starting`, `silent` when the engine does not answer, or `unknown` where others may
    /// not look.
    state: &'static str,
    /// `https://127.0.0.1:6443`; nothing before it was up for the first time.
    server: Option<String>,
    /// Pods that run, and all; of a cluster that is up.
    pods: Option<(i64, i64)>,
    data_dir: PathBuf,
}

/// The clusters that run, wherever their data are, those in the usual place, and the one that the
/// command line names; by name.
pub fn all(named: &Cluster) -> Vec<Found> {
    let usual = std::fs::read_dir(DATA_DIRS).into_iter().flatten().flatten();
    let usual = usual.map(|entry| entry.path());
    let own = [named.paths().data_dir().to_owned()];
    let places = usual.chain(running()).chain(own);
    // One is found in several ways.
    let found: BTreeMap<PathBuf, Found> =
        places.filter_map(look).map(|found| (found.data_dir.clone(), found)).collect();
    let mut found: Vec<Found> = found.into_values().collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// The data directories of the engines that run: their supervisors are told them by argument.
fn running() -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let arguments = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    arguments.filter_map(|arguments| supervised(&String::from_utf8_lossy(&arguments))).collect()
}

fn supervised(arguments: &str) -> Option<PathBuf> {
    let words: Vec<&str> = arguments.split('\0').collect();
    let is_ours = words.first() == Some(&"coracle") && words.contains(&"--supervise");
    let after = words.iter().position(|word| *word == "--data-dir")?.checked_add(1)?;
    Some(PathBuf::from(*words.get(after)?)).filter(|_| is_ours)
}

/// The cluster in `place`, if there is one.
fn look(place: PathBuf) -> Option<Found> {
    let paths = Paths::new(Some(place), "");
    let data_dir = paths.data_dir().to_owned();
    let name = match std::fs::read_to_string(paths.mark()) {
        Ok(name) => name.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let name = data_dir.file_name()?.to_string_lossy().into_owned();
            return Some(Found { name, state: "unknown", server: None, pods: None, data_dir });
        }
        Err(_) => return None,
    };
    let status = control::ask(&data_dir, &Ask::Status, |_| ());
    let number = |pointer| status.as_ref().ok()?.pointer(pointer)?.as_i64();
    let pods = number("/pods/running").zip(number("/pods/total"));
    let state = match &status {
        Ok(_) => "up",
        Err(ControlError::NotRunning(_)) => "down",
        Err(ControlError::Restarting(_)) => "starting",
        Err(ControlError::NotAllowed(_)) => "unknown",
        Err(_) => "silent",
    };
    Some(Found { name, state, server: server(&paths.kubeconfig()), pods, data_dir })
}

/// Where the API is, as the administrator's kubeconfig says.
fn server(kubeconfig: &Path) -> Option<String> {
    let config: Value = serde_norway::from_str(&std::fs::read_to_string(kubeconfig).ok()?).ok()?;
    config.pointer("/clusters/0/cluster/server")?.as_str().map(str::to_owned)
}

/// A line for each.
pub fn table(found: &[Found]) -> String {
    if found.is_empty() {
        return "no cluster (make one with `coracle up`)\n".to_owned();
    }
    let row = |it: &Found| {
        let pods = it.pods.map_or_else(|| "-".into(), |(running, all)| format!("{running}/{all}"));
        let server = it.server.clone().unwrap_or_else(|| "-".into());
        [it.name.clone(), it.state.into(), pods, server, it.data_dir.display().to_string()]
    };
    let head = ["NAME", "STATE", "PODS", "API", "DATA"].map(str::to_owned);
    show::table(&std::iter::once(head).chain(found.iter().map(row)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_known_by_what_its_supervisor_was_told() {
        let told = "coracle\0--name\0blue\0--data-dir\0/srv/x y\0up\0--supervise\0";
        assert_eq!(supervised(told), Some("/srv/x y".into()));
        assert_eq!(supervised(&told.replace("supervise", "foreground")), None);
        assert_eq!(supervised(&told.replace("coracle", "vi")), None);
        assert_eq!(supervised("coracle\0--supervise\0--data-dir"), None);
    }

    #[test]
    fn a_directory_without_a_cluster_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(look(folder.path().to_owned()).is_none());
        std::fs::write(folder.path().join("cluster"), "blue\n").unwrap();
        let found = look(folder.path().to_owned()).unwrap();
        assert_eq!((found.name.as_str(), found.state), ("blue", "down"));
        let shown = table(&[found]);
        assert!(
            shown.starts_with("NAME   STATE   PODS   API   DATA\nblue   down    -      -     /")
        );
    }
}
