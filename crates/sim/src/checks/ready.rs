//! Ready means it: what a controller made and ends within a second of its start never is, if its shim
//! tells of its end.

use coracle_api::resources::PODS;
use serde_json::Value;

use super::Change;
use super::order::is_ready;
use crate::runtime::{Behaviour, Runtime};

pub(super) fn check(changes: &[Change], runtime: &Runtime) -> Result<(), String> {
    for change in changes.iter().filter(|it| *it.key.resource == *PODS) {
        let Some(pod) = change.new.as_ref().filter(|pod| is_ready(pod)) else { continue };
        // One that is adopted had its condition from the time when nobody had made it.
        let comes = !change.old.as_ref().is_some_and(|old| is_ready(old));
        let shown = &pod.value()["status"]["containerStatuses"][0]["image"];
        let dies = |image: &Value| image.as_str().map(Behaviour::of) == Some(Behaviour::Dies);
        let is_made = pod.metadata().controller().is_some();
        if comes && is_made && dies(shown) && !runtime.seems_to_live(&pod.metadata().uid) {
            return Err(format!("{} is Ready, and never lived for a second", pod.key()));
        }
    }
    Ok(())
}
