//! Ready means it: what a controller made and ends within a second of its start never is, if its shim
//! tells of its end.

use coracle_api::resources::PODS;
use serde_json::Value;

use super::Change;
use super::order::is_ready;
use crate::runtime::{Behaviour, Runtime};

pub(super) fn check(changes: &[Change], runtime: &Runtime) -> Result<(), String> {
    for pod in
        changes.iter().filter(|it| *it.key.resource == *PODS).filter_map(|it| it.new.as_ref())
    {
        let shown = &pod.value()["status"]["containerStatuses"][0]["image"];
        let dies = |image: &Value| image.as_str().map(Behaviour::of) == Some(Behaviour::Dies);
        let is_made = pod.metadata().controller().is_some();
        if is_made && is_ready(pod) && dies(shown) && !runtime.seems_to_live(&pod.metadata().uid) {
            return Err(format!("{} is Ready, and never lived for a second", pod.key()));
        }
    }
    Ok(())
}
