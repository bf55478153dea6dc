//! Volumes that a pod describes itself (`ephemeral`): each is a claim that is made for the pod and
//! goes with it.

use std::sync::Arc;

use coracle_api::pods::{self, AnyPod};
use coracle_api::resources::PODS;
use coracle_api::{Index, Key, Object};
use coracle_store::{Event, Snapshot};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::CLAIMS;
use crate::plan::{Because, Note, Plan, Step, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "ephemeral-volume-controller",
    serial: false,
    watches: &[(PODS, itself), (CLAIMS, pods_of_claim)],
    decide,
};

/// The pods that use a claim which is gone: one of them may be its author.
fn pods_of_claim(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    if event.new.is_some() {
        return Vec::new();
    }
    let Key { namespace, name, .. } = &event.key;
    let users = snapshot.indexed(Index::PodClaim, name, PODS, Some(namespace));
    users.map(|pod| pod.key().clone()).collect()
}

fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(object) = snapshot.get(key).filter(|pod| !pod.metadata().is_deleting()) else {
        return plan;
    };
    let Ok(pod) = object.view::<Pod>() else { return plan };
    if pod.has_ended() {
        return plan;
    }
    let volumes = object.value()["spec"]["volumes"].as_array().into_iter().flatten();
    for volume in volumes.filter(|volume| !volume["ephemeral"].is_null()) {
        attend(&mut plan, snapshot, object, &pod, volume);
    }
    plan
}

fn attend(plan: &mut Plan, snapshot: &Snapshot, object: &Arc<Object>, pod: &Pod, volume: &Value) {
    let volume_name = volume["name"].as_str().unwrap_or_default();
    let name = pods::ephemeral_claim(&object.metadata().name, volume_name);
    let failed = format!("ephemeral volume {volume_name}: ");
    let Some(claim) = snapshot.find(CLAIMS, &object.metadata().namespace, &name) else {
        let mut step = Step::default();
        let refused = format!("{failed}create PVC {name}: ");
        step.write_or(
            Write::Create(claim_for(object, &name, &volume["ephemeral"]["volumeClaimTemplate"])),
            Note::warning(object, "FailedBinding", refused),
        );
        return plan.step(step);
    };
    if let Some(why) = pods::foreign_claim(pod, claim) {
        plan.notes.push(Note::warning(object, "FailedBinding", format!("{failed}{why}")));
        plan.because.get_or_insert(Because::of(claim.key().clone(), why));
    }
}

/// The claim called `name` that `pod` has by this template.
fn claim_for(pod: &Object, name: &str, template: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": pod.metadata().namespace,
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [json::controller_reference(pod)],
        },
        "spec": template["spec"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const THIS: &[&str] = &["ephemeral-volume-controller"];

    fn pod() -> Value {
        let template = json!({
            "metadata": {"labels": {"tier": "scratch"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"containers": [{"name": "web"}],
                "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]},
        })
    }

    fn claim_uid(world: &World) -> Option<String> {
        world.find(CLAIMS, "web-scratch").map(|claim| claim.metadata().uid.clone())
    }

    #[test]
    fn a_pod_has_its_claim_and_gets_it_back() {
        let mut world = World::new();
        let pod = world.create(pod());
        world.settle(THIS);
        let claim = world.get(CLAIMS, "web-scratch");
        assert_eq!(claim.metadata().controller().unwrap().uid, pod.metadata().uid);
        assert_eq!(claim.metadata().labels["tier"], "scratch");
        assert_eq!(claim.value()["spec"]["resources"]["requests"]["storage"], "1Gi");
        let first = claim_uid(&world);
        world.delete(CLAIMS, "web-scratch", None);
        world.settle(THIS);
        assert!(claim_uid(&world).is_some() && claim_uid(&world) != first);
    }

    #[test]
    fn the_claim_of_another_is_never_adopted() {
        let mut world = World::new();
        world.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "web-scratch", "namespace": "default"}, "spec": {}}));
        let before = claim_uid(&world);
        world.create(pod());
        world.settle(THIS);
        assert_eq!(claim_uid(&world), before);
        let told = "FailedBinding ephemeral volume scratch: PVC default/web-scratch was not created \
                    for pod default/web (pod is not owner)";
        assert_eq!(world.notes, [told]);
        // When it goes, the pod has its own.
        world.delete(CLAIMS, "web-scratch", None);
        world.settle(THIS);
        assert!(world.get(CLAIMS, "web-scratch").metadata().controller().is_some());
    }

    #[test]
    fn a_pod_that_goes_or_has_ended_gets_none() {
        for phase in ["Succeeded", "Failed"] {
            let mut world = World::new();
            world.create(pod());
            world.phase("web", phase);
            world.settle(THIS);
            assert_eq!(claim_uid(&world), None);
        }
    }
}
