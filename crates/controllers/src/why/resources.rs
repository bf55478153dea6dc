//! How much of a resource a pod asks for and how much there is, when there is not enough.

use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;

use crate::scheduler::figures;

/// The figures behind each `Insufficient NAME` of a scheduler's message.
pub(super) fn behind(snapshot: &Snapshot, pod: &Pod, message: &str) -> Option<String> {
    // What others could do by going is said behind that.
    let (before, _) = message.split_once(" preemption:").unwrap_or((message, ""));
    let names = before.split("Insufficient ").skip(1);
    let names =
        names.filter_map(|rest| rest.split([',', '.', ' ']).next().filter(|n| !n.is_empty()));
    let said: Vec<String> = names.map(|name| figures(snapshot, pod, name)).collect();
    (!said.is_empty()).then(|| said.join("; "))
}
