//! What several plugins need to know of pods.

use serde_json::Value;

/// Lets `act` see every init container and container.
pub(super) fn each_container(pod: &mut Value, mut act: impl FnMut(&mut Value)) {
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(&mut act);
    }
}
