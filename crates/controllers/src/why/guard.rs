//! What guards others: budgets, which refuse evictions, and requests that somebody has to approve.

use coracle_api::pods::AnyPod;
use coracle_api::resources::PODS;
use coracle_api::{Object, conditions};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;

use super::told;
use crate::certificates;
use crate::plan::Because;

/// A budget that refuses every eviction because pods are not healthy that should be; the next link
/// is the first of them.
pub(super) fn budget(snapshot: &Snapshot, budget: &Object) -> Option<Because> {
    let allowed = conditions::find(budget.value(), "DisruptionAllowed");
    if let Some(failed) = allowed.filter(|condition| condition["reason"] == "SyncFailed") {
        return Some(Because::only(told(failed)));
    }
    let [healthy, desired] = ["currentHealthy", "desiredHealthy"].map(|of| count(budget, of));
    if healthy >= desired {
        return None;
    }
    let sentence = format!(
        "it blocks every eviction of its pods: {healthy} of {desired} that must be healthy are"
    );
    let namespace = &budget.metadata().namespace;
    let pods = snapshot.selected(PODS, Some(namespace), &budget.selector());
    let is_ill = |pod: &&&std::sync::Arc<Object>| {
        pod.view::<Pod>().is_ok_and(|pod| !pod.is_ready() && !pod.has_ended())
    };
    Some(Because { sentence, whom: pods.iter().find(is_ill).map(|pod| pod.key().clone()) })
}

/// What a budget that waits for nothing does now.
pub(super) fn allowance(budget: &Object) -> Option<String> {
    conditions::find(budget.value(), "DisruptionAllowed")?;
    let [healthy, desired] = ["currentHealthy", "desiredHealthy"].map(|of| count(budget, of));
    let expected = count(budget, "expectedPods");
    Some(match count(budget, "disruptionsAllowed") {
        0 if expected == 0 => "it covers no pods, and blocks nothing".to_owned(),
        0 => format!(
            "it blocks every eviction of its pods: {desired} must be healthy, and {healthy} are"
        ),
        1 => "it allows one eviction now".to_owned(),
        allowed => format!("it allows {allowed} evictions now"),
    })
}

fn count(budget: &Object, field: &str) -> i64 {
    budget.value()["status"][field].as_i64().unwrap_or(0)
}

/// Whose turn it is with a request for a certificate.
pub(super) fn request(object: &Object) -> Option<Because> {
    let holds = |of: &str| conditions::find(object.value(), of).filter(|it| it["status"] == "True");
    if let Some(over) = holds("Denied").or_else(|| holds("Failed")) {
        return Some(Because::only(told(over)));
    }
    let name = &object.metadata().name;
    if holds("Approved").is_none() {
        let sentence = format!("it waits for approval: `kubectl certificate approve {name}`");
        return Some(Because::only(sentence));
    }
    if object.str_at("/status/certificate").is_some_and(|pem| !pem.is_empty()) {
        return None;
    }
    let signer = object.str_at("/spec/signerName").unwrap_or_default();
    Some(Because::only(match certificates::is_own_signer(signer) {
        true => "it is approved, and about to be signed".to_owned(),
        false => {
            format!("it is approved, and waits for its signer {signer}, which is not built in")
        }
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::status_reason;
    use crate::world::World;

    #[test]
    fn a_budget_names_the_pod_that_makes_it_block() {
        let mut world = World::new();
        for (name, ready) in [("web-0", "True"), ("web-1", "False")] {
            world.create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
            }));
        }
        let mut told = |desired: i64, allowed: i64| {
            world.create(json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": format!("b{desired}"), "namespace": "default"},
                "spec": {"selector": {"matchLabels": {"app": "web"}}},
                "status": {
                    "currentHealthy": 1, "desiredHealthy": desired, "expectedPods": 2,
                    "disruptionsAllowed": allowed,
                    "conditions": [{"type": "DisruptionAllowed", "status": "True"}],
                },
            }))
        };
        let (short, tight, wide) = (told(2, 0), told(1, 0), told(0, 1));
        let snapshot = world.store.snapshot();
        let because = status_reason(&snapshot, &short).unwrap();
        assert_eq!(
            because.sentence,
            "it blocks every eviction of its pods: 1 of 2 that must be healthy are"
        );
        assert_eq!(&*because.whom.unwrap().name, "web-1");
        assert_eq!(status_reason(&snapshot, &tight), None);
        let said = "it blocks every eviction of its pods: 1 must be healthy, and 1 are";
        assert_eq!(allowance(&tight).unwrap(), said);
        assert_eq!(allowance(&wide).unwrap(), "it allows one eviction now");
    }

    #[test]
    fn a_request_says_whose_turn_it_is() {
        let why = |signer: &str, conditions: Value| {
            let value = json!({
                "metadata": {"name": "me"}, "spec": {"signerName": signer},
                "status": {"conditions": conditions},
            });
            let resource = "certificatesigningrequests.certificates.k8s.io";
            let object = Object::with_resource(resource, value).unwrap();
            request(&object).unwrap().sentence
        };
        let own = "kubernetes.io/kube-apiserver-client";
        assert_eq!(why(own, json!([])), "it waits for approval: `kubectl certificate approve me`");
        let approved = json!([{"type": "Approved", "status": "True"}]);
        assert_eq!(why(own, approved.clone()), "it is approved, and about to be signed");
        assert_eq!(
            why("example.com/mine", approved),
            "it is approved, and waits for its signer example.com/mine, which is not built in"
        );
        let denied = json!([{"type": "Denied", "status": "True", "reason": "No", "message": "no"}]);
        assert_eq!(why(own, denied), "Denied is True (No): no");
    }
}
