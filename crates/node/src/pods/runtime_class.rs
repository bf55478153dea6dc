//! Which runtime a pod asks for.

use coracle_api::resources::RUNTIME_CLASSES;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;

/// The only runtime that a node has, by the name that classes of ordinary containers give it.
const HANDLER: &str = "runc";

/// Whether the node has the runtime of the pod's class: who asks for more isolation than there is
/// must not get less.
///
/// # Errors
/// When it has not, or the class is gone.
pub(crate) fn check(pod: &Pod, snapshot: &Snapshot) -> Result<(), String> {
    let name = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(()) };
    let class = snapshot.find(RUNTIME_CLASSES, "", name);
    match class.map(|class| class.str_at("/handler").unwrap_or_default()) {
        None => Err(format!("RuntimeClass {name:?} not found")),
        Some(HANDLER) => Ok(()),
        Some(handler) => {
            Err(format!("failed to get sandbox runtime: no runtime for {handler:?} is configured"))
        }
    }
}
