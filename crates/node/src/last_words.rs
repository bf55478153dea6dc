//! What the containers of a pod that does not run said last, for `coracle why`.

use std::path::{Path, PathBuf};

use coracle_api::Object;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::Node;
use crate::logs::last_lines;
use crate::pods::PodId;

/// As much of a line as a sentence bears.
const BYTES_MAX: u64 = 200;

impl Node {
    /// The last line of each container of the pod that ended with an error: its name and the line.
    /// Reads files.
    #[must_use]
    pub fn last_words(&self, pod: &Object) -> Vec<(String, String)> {
        let Ok(pod) = pod.view::<Pod>() else { return Vec::new() };
        let logs = self.logs_of(&PodId::of(&pod));
        let status = pod.status.as_ref();
        let statuses = status.into_iter().flat_map(|status| {
            let init = status.init_container_statuses.iter().flatten();
            init.chain(status.container_statuses.iter().flatten())
        });
        let failed = statuses.filter(|container| has_failed(container));
        let words = failed.filter_map(|container| {
            let text = last_lines(&newest_log(&logs.join(&container.name))?, 1, BYTES_MAX);
            let line = text.trim();
            (!line.is_empty()).then(|| (container.name.clone(), line.to_owned()))
        });
        words.collect()
    }
}

/// Whether the container ended with an error and does not run now.
fn has_failed(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    let last = container.last_state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    let ended = ended.or_else(|| last.and_then(|last| last.terminated.as_ref()));
    let runs = state.is_some_and(|state| state.running.is_some());
    !runs && ended.is_some_and(|ended| ended.exit_code != 0)
}

/// The log of a container's last run: `2.log` in its folder.
fn newest_log(folder: &Path) -> Option<PathBuf> {
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_suffix(".log")?.parse::<u32>().ok()
    };
    let entries = std::fs::read_dir(folder).ok()?.map_while(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| number(path).is_some()).max_by_key(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_the_last_run_is_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9.log", "10.log", "10.log.gz", "notes"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(newest_log(folder.path()).unwrap(), folder.path().join("10.log"));
        assert_eq!(newest_log(&folder.path().join("none")), None);
    }
}
