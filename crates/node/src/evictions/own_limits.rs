//! A pod that has written more than it said it would, as upstream's eviction manager judges it.

use std::collections::BTreeMap;

use coracle_api::{Quantity, pod_resources};
use serde_json::Value;

const STORAGE: &str = "ephemeral-storage";

/// Bytes that a pod has on the node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Of each container: what it wrote over its image, and its logs.
    pub containers: BTreeMap<String, u64>,
    /// Of each `emptyDir` that is on the disk.
    pub volumes: BTreeMap<String, u64>,
    /// Files and directories of all of them.
    pub inodes: u64,
}

impl Written {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.containers
            .values()
            .chain(self.volumes.values())
            .fold(0, |sum, it| sum.saturating_add(*it))
    }
}

/// Whether anything bounds what the pod may write, so that it must be measured.
pub(crate) fn has_any(spec: &Value) -> bool {
    let limited = |container: &&Value| limit(container).is_some();
    containers(spec).any(|it| limited(&it))
        || pod_limit(spec).is_some()
        || volumes(spec).any(|volume| size_limit(volume).is_some())
}

/// Why the pod must go, if it must: for a volume, for all it wrote, or for what a container did.
pub(crate) fn exceeded(spec: &Value, written: &Written) -> Option<String> {
    let is_over = |used: Option<&u64>, limit: Quantity| {
        let limit = u64::try_from(limit.value()).unwrap_or_default();
        used.is_some_and(|used| *used > limit)
    };
    for volume in volumes(spec) {
        let name = volume["name"].as_str().unwrap_or_default();
        if let Some(limit) = size_limit(volume)
            && is_over(written.volumes.get(name), limit)
        {
            return Some(format!(
                "Usage of EmptyDir volume {name:?} exceeds the limit \"{limit}\". "
            ));
        }
    }
    if let Some(limit) = pod_limit(spec)
        && is_over(Some(&written.bytes()), limit)
    {
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
        ));
    }
    containers(spec).find_map(|container| {
        let name = container["name"].as_str().unwrap_or_default();
        let limit = limit(container).filter(|it| is_over(written.containers.get(name), *it))?;
        Some(format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". "))
    })
}

fn each<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec[list].as_array().into_iter().flatten()
}

/// The containers of a pod that write, visits not among them.
pub(crate) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    each(spec, "containers").chain(each(spec, "initContainers"))
}

fn volumes(spec: &Value) -> impl Iterator<Item = &Value> {
    each(spec, "volumes")
}

fn positive(amount: &Value) -> Option<Quantity> {
    Quantity::from_json(amount).ok().filter(|amount| amount.signum() > 0)
}

fn limit(container: &Value) -> Option<Quantity> {
    positive(&container["resources"]["limits"][STORAGE])
}

fn pod_limit(spec: &Value) -> Option<Quantity> {
    pod_resources::limits(spec).get(STORAGE).copied().filter(|amount| amount.signum() > 0)
}

/// The limit of an `emptyDir`; the kernel keeps that of one in memory.
fn size_limit(volume: &Value) -> Option<Quantity> {
    let source = &volume["emptyDir"];
    positive(&source["sizeLimit"]).filter(|_| source["medium"].as_str().is_none_or(str::is_empty))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(containers: &[(&str, u64)], volumes: &[(&str, u64)]) -> Written {
        let map = |list: &[(&str, u64)]| {
            list.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect()
        };
        Written { containers: map(containers), volumes: map(volumes), inodes: 0 }
    }

    #[test]
    fn who_wrote_too_much_goes_for_the_first_reason() {
        const MIB: u64 = 1 << 20;
        let limited = |name: &str, limit: &str| json!({"name": name, "resources": {"limits": {STORAGE: limit}}});
        let spec = json!({
            "containers": [limited("a", "1Mi"), {"name": "free"}],
            "initContainers": [{"name": "side", "restartPolicy": "Always",
                "resources": {"limits": {STORAGE: "3Mi"}}}],
            "volumes": [
                {"name": "v", "emptyDir": {"sizeLimit": "2048Ki"}},
                {"name": "m", "emptyDir": {"sizeLimit": "1Ki", "medium": "Memory"}},
                {"name": "w", "emptyDir": {}},
            ],
        });
        assert!(has_any(&spec));
        let why = |containers: &[(&str, u64)], volumes: &[(&str, u64)]| {
            exceeded(&spec, &written(containers, volumes)).unwrap_or_default()
        };
        assert_eq!(why(&[("a", MIB), ("free", MIB)], &[("v", 2 * MIB)]), "");
        assert_eq!(
            why(&[("a", 9 * MIB)], &[("v", 2 * MIB + 1)]),
            "Usage of EmptyDir volume \"v\" exceeds the limit \"2Mi\". "
        );
        assert_eq!(
            why(&[("free", 3 * MIB)], &[("w", MIB + 1)]),
            "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. "
        );
        assert_eq!(
            why(&[("a", MIB + 1)], &[]),
            "Container a exceeded its local ephemeral storage limit \"1Mi\". "
        );
        assert_eq!(
            why(&[("side", 3 * MIB + 1)], &[]),
            "Container side exceeded its local ephemeral storage limit \"3Mi\". "
        );
    }

    #[test]
    fn a_pod_without_limits_is_not_measured() {
        let spec = json!({
            "containers": [{"name": "a", "resources": {"limits": {"memory": "1Mi", STORAGE: "0"}}}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}],
        });
        assert!(!has_any(&spec));
        assert_eq!(exceeded(&spec, &written(&[("a", u64::MAX)], &[("v", u64::MAX)])), None);
    }
}
