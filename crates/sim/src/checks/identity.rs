//! Two pods of one identity never run at once.

use std::collections::BTreeMap;

use crate::runtime::Runtime;

pub(super) fn check(runtime: &Runtime) -> Result<(), String> {
    let mut running: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (uid, sandbox) in &runtime.sandboxes {
        if !sandbox.containers.values().any(|container| container.exit.is_none()) {
            continue;
        }
        let metadata = &sandbox.pod.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        if let Some(other) = running.insert((namespace, name), uid) {
            return Err(format!("two pods {namespace}/{name} run at once: {other} and {uid}"));
        }
    }
    Ok(())
}
