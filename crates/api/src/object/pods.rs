//! Facts of pods that many ask for, said once: of a typed pod and of an object alike.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, Volume};
use serde_json::Value;

use super::conditions;
use crate::{Key, Object};

/// Whether an init container is a sidecar, which goes on running beside the app containers.
pub fn is_sidecar(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// Whether a pod in this `status.phase` has ended for good.
pub fn is_final(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// The name of the claim that the pod `pod` has for its own (`ephemeral`) volume `volume`.
pub fn ephemeral_claim(pod: &str, volume: &str) -> String {
    format!("{pod}-{volume}")
}

/// The name of the claim that a volume of the pod stands for, if it stands for one.
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(source.claim_name.clone());
    }
    volume.ephemeral.as_ref()?;
    Some(ephemeral_claim(pod.metadata.name.as_deref().unwrap_or_default(), &volume.name))
}

/// Why the pod may not use `claim` for a volume of its own, in upstream's words: it was made for
/// another, or by hand.
pub fn foreign_claim(pod: &Pod, claim: &Object) -> Option<String> {
    let owner = claim.metadata().controller().map(|owner| owner.uid.as_str());
    if owner.is_some() && owner == pod.metadata.uid.as_deref() {
        return None;
    }
    let Key { namespace, name, .. } = claim.key();
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    Some(format!(
        "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
    ))
}

/// A pod, in whichever form it is held.
pub trait AnyPod {
    /// `status.phase`, empty when there is none.
    fn phase(&self) -> &str;

    /// `spec.nodeName`, when it has a node.
    fn node_name(&self) -> Option<&str>;

    /// Whether the condition Ready holds.
    fn is_ready(&self) -> bool;

    /// `spec.priority`; 0 when nothing is said.
    fn priority(&self) -> i32;

    /// Whether its containers have ended for good.
    fn has_ended(&self) -> bool {
        is_final(self.phase())
    }

    /// Whether it has a node and has not ended: it takes, or is about to take, what it asks for.
    fn is_placed(&self) -> bool {
        !self.has_ended() && self.node_name().is_some()
    }
}

impl AnyPod for Pod {
    fn phase(&self) -> &str {
        self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }

    fn node_name(&self) -> Option<&str> {
        self.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
    }

    fn is_ready(&self) -> bool {
        condition(self, "Ready").is_some_and(|ready| ready.status == "True")
    }

    fn priority(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
    }
}

impl AnyPod for Value {
    fn phase(&self) -> &str {
        self["status"]["phase"].as_str().unwrap_or_default()
    }

    fn node_name(&self) -> Option<&str> {
        self["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())
    }

    fn is_ready(&self) -> bool {
        conditions::is_true(self, "Ready")
    }

    fn priority(&self) -> i32 {
        let said = self["spec"]["priority"].as_i64();
        said.and_then(|said| i32::try_from(said).ok()).unwrap_or(0)
    }
}

impl AnyPod for Object {
    fn phase(&self) -> &str {
        self.str_at("/status/phase").unwrap_or_default()
    }

    fn node_name(&self) -> Option<&str> {
        self.str_at("/spec/nodeName").filter(|name| !name.is_empty())
    }

    fn is_ready(&self) -> bool {
        self.value().is_ready()
    }

    fn priority(&self) -> i32 {
        self.value().priority()
    }
}

impl<T: AnyPod> AnyPod for Arc<T> {
    fn phase(&self) -> &str {
        T::phase(self)
    }

    fn node_name(&self) -> Option<&str> {
        T::node_name(self)
    }

    fn is_ready(&self) -> bool {
        T::is_ready(self)
    }

    fn priority(&self) -> i32 {
        T::priority(self)
    }
}

/// The condition `ty` of the pod.
pub fn condition<'a>(pod: &'a Pod, ty: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == ty)
}

/// Whether a deletion has begun.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_forms_of_a_pod_say_the_same() {
        for (phase, ready, node) in [
            ("Pending", "False", ""),
            ("Running", "True", "n"),
            ("Running", "Unknown", "n"),
            ("Succeeded", "False", "n"),
            ("Failed", "False", ""),
        ] {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "x"},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
            });
            let object = Object::with_resource("pods", pod.clone()).unwrap();
            let typed = object.view::<Pod>().unwrap();
            fn facts(pod: &impl AnyPod) -> (String, Option<String>, bool, bool, bool) {
                let node = pod.node_name().map(str::to_owned);
                let (ended, placed) = (pod.has_ended(), pod.is_placed());
                (pod.phase().to_owned(), node, pod.is_ready(), ended, placed)
            }
            assert_eq!(facts(&pod), facts(&object));
            assert_eq!(facts(&pod), facts(&typed));
        }
    }
}
