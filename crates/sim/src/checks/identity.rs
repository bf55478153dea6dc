//! Two pods of one identity never run at once, and a node removes a pod after its containers.

use std::collections::BTreeMap;

use coracle_api::resources::PODS;

use super::{Actor, Change};
use crate::runtime::{Runtime, Sandbox};

/// Others than nodes may remove a pod's object at once: that is what no grace means.
pub(super) fn removed(actor: &Actor, changes: &[Change], runtime: &Runtime) -> Result<(), String> {
    let is_removed = |it: &&Change| *it.key.resource == *PODS && it.new.is_none();
    for change in changes.iter().filter(is_removed).filter(|_| *actor == Actor::Node) {
        let uid = change.old.as_ref().map_or("", |pod| &pod.metadata().uid);
        let left = runtime.sandboxes.get(uid);
        if left.is_some_and(Sandbox::is_running) {
            return Err(format!("{} was removed while its containers ran", change.key));
        }
    }
    Ok(())
}

pub(super) fn check(runtime: &Runtime) -> Result<(), String> {
    let mut running: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (uid, sandbox) in &runtime.sandboxes {
        let all = sandbox.containers.iter().filter(|container| container.is_running());
        let mut names: Vec<_> = all.map(|container| &container.state.name).collect();
        if names.is_empty() {
            continue;
        }
        let (name, namespace) = (sandbox.spec.name.as_str(), sandbox.spec.namespace.as_str());
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("container {} of {namespace}/{name} runs twice", twice[0]));
        }
        if let Some(other) = running.insert((namespace, name), uid) {
            return Err(format!("two pods {namespace}/{name} run at once: {other} and {uid}"));
        }
    }
    Ok(())
}
