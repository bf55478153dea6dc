//! Each behaviour of a set, with OrderedReady and with Parallel, against the real store.

use coracle_api::Object;
use serde_json::{Value, json};

use crate::plan::{Propagation, Write};
use crate::world::World;

pub(super) const CONTROLLER: &[&str] = &["statefulset-controller"];

pub(super) fn web(replicas: i32, policy: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "podManagementPolicy": policy,
            "serviceName": "web",
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "www"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }],
        },
    })
}

/// A world with the set `web`, decided once.
pub(super) fn world(set: Value) -> World {
    let mut world = World::new();
    world.create(set);
    world.settle(CONTROLLER);
    world.check_invariants();
    world
}

impl World {
    pub(super) fn ready(&mut self, pod: &str) {
        self.runs(pod, true);
        self.settle(CONTROLLER);
        self.check_invariants();
    }

    pub(super) fn unready(&mut self, pod: &str) {
        self.runs(pod, false);
        self.settle(CONTROLLER);
        self.check_invariants();
    }

    pub(super) fn gone(&mut self, pod: &str) {
        self.stopped(pod);
        self.settle(CONTROLLER);
        self.check_invariants();
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Value)) {
        self.edit("statefulsets.apps", "web", |set| change(&mut set["spec"]));
        self.settle(CONTROLLER);
        self.check_invariants();
    }

    pub(super) fn scale(&mut self, replicas: i32) {
        self.change(|spec| spec["replicas"] = json!(replicas));
    }

    pub(super) fn image(&mut self, image: &str) {
        self.change(|spec| spec["template"]["spec"]["containers"][0]["image"] = json!(image));
    }

    pub(super) fn status(&self) -> Value {
        self.get("statefulsets.apps", "web").value()["status"].clone()
    }

    pub(super) fn pods(&self) -> Vec<String> {
        self.names("pods")
    }

    fn deleting(&self) -> Vec<String> {
        let snapshot = self.store.snapshot();
        let pods = snapshot.list("pods", None).filter(|pod| pod.metadata().is_deleting());
        pods.map(|pod| pod.metadata().name.clone()).collect()
    }

    pub(super) fn image_of(&self, pod: &str) -> String {
        let pod = self.get("pods", pod);
        pod.value()["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    /// Plays the node, with pods that work at once, until nothing more happens.
    fn play(&mut self) {
        for _ in 0..1000 {
            let snapshot = self.store.snapshot();
            let idle = snapshot.list("pods", None).find(|pod| {
                pod.metadata().is_deleting() || pod.str_at("/status/phase") != Some("Running")
            });
            let Some(pod) = idle else { return };
            let name = pod.metadata().name.clone();
            if pod.metadata().is_deleting() { self.gone(&name) } else { self.ready(&name) }
        }
        panic!("the set never rests");
    }

    /// What holds after every step, whatever happened.
    pub(super) fn check_invariants(&mut self) {
        let snapshot = self.store.snapshot();
        let Some(set) = snapshot.find("statefulsets.apps", "default", "web") else { return };
        let status = &set.value()["status"];
        let count = |field: &str| status[field].as_i64().unwrap_or(0);
        assert!(count("readyReplicas") <= count("replicas"), "{status}");
        assert!(count("availableReplicas") <= count("readyReplicas"), "{status}");
        for field in ["currentReplicas", "updatedReplicas", "replicas"] {
            assert!(count(field) >= 0, "{status}");
        }
        assert_eq!(count("replicas"), i64::try_from(self.pods().len()).unwrap(), "{status}");
        for pod in snapshot.list("pods", Some("default")) {
            let name = &pod.metadata().name;
            assert_eq!(pod.metadata().labels["statefulset.kubernetes.io/pod-name"], *name);
            assert_eq!(pod.str_at("/spec/hostname"), Some(name.as_str()));
            let claim = format!("www-{name}");
            let volumes = &pod.value()["spec"]["volumes"];
            assert_eq!(volumes[0]["persistentVolumeClaim"]["claimName"], *claim);
            let revision = &pod.metadata().labels["controller-revision-hash"];
            assert!(self.find("controllerrevisions.apps", revision).is_some(), "{revision}");
        }
        self.check_order(&set.value()["spec"]);
    }

    /// In order, a pod is created only when all wanted ones before it are Ready and stay.
    fn check_order(&mut self, spec: &Value) {
        let pods: Vec<_> = self.pods().iter().map(|pod| self.get("pods", pod)).collect();
        let start = spec["ordinals"]["start"].as_i64().unwrap_or(0);
        let ordinal =
            |pod: &Object| pod.metadata().name.rsplit_once('-').unwrap().1.parse::<i64>().unwrap();
        let is_good = |pod: &Object| {
            let ready = pod.value().pointer("/status/conditions/0/status");
            ready == Some(&json!("True")) && !pod.metadata().is_deleting()
        };
        for new in pods.iter().filter(|pod| self.seen.insert(pod.metadata().uid.clone())) {
            let before = pods.iter().filter(|pod| (start..ordinal(new)).contains(&ordinal(pod)));
            let good = i64::try_from(before.filter(|pod| is_good(pod)).count()).unwrap();
            let ordered = spec["podManagementPolicy"] == "OrderedReady";
            assert!(!ordered || good == ordinal(new) - start, "{new:?} among {pods:?}");
        }
    }
}

#[test]
fn in_order_each_pod_waits_for_the_one_before() {
    let mut world = world(web(3, "OrderedReady"));
    assert_eq!(world.pods(), ["web-0"]);
    assert_eq!(world.because.as_deref(), Some("web-0 is not ready"));
    world.unready("web-0");
    assert_eq!(world.pods(), ["web-0"]);
    world.ready("web-0");
    assert_eq!(world.pods(), ["web-0", "web-1"]);
    world.ready("web-1");
    world.ready("web-2");
    assert_eq!(world.because, None);
    assert_eq!(world.names("persistentvolumeclaims"), ["www-web-0", "www-web-1", "www-web-2"]);
    let revision = world.names("controllerrevisions.apps").pop().unwrap();
    let expected = json!({
        "observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        "currentReplicas": 3, "updatedReplicas": 3, "collisionCount": 0,
        "currentRevision": revision, "updateRevision": revision,
    });
    assert_eq!(world.status(), expected);
}

#[test]
fn events_say_what_was_made_claims_first() {
    let world = world(web(1, "OrderedReady"));
    assert_eq!(
        world.notes,
        [
            "SuccessfulCreate create Claim www-web-0 Pod web-0 in StatefulSet web success",
            "SuccessfulCreate create Pod web-0 in StatefulSet web successful",
        ]
    );
}

#[test]
fn in_parallel_all_pods_come_and_go_at_once() {
    let mut world = world(web(3, "Parallel"));
    assert_eq!(world.pods(), ["web-0", "web-1", "web-2"]);
    for pod in world.pods() {
        world.unready(&pod);
    }
    world.scale(0);
    assert_eq!(world.deleting(), ["web-0", "web-1", "web-2"]);
    assert_eq!(world.status()["replicas"], 3);
}

#[test]
fn in_order_the_highest_goes_first_and_must_be_gone() {
    let mut world = world(web(3, "OrderedReady"));
    world.play();
    world.scale(1);
    assert_eq!(world.deleting(), ["web-2"]);
    world.gone("web-2");
    assert_eq!(world.deleting(), ["web-1"]);
    world.gone("web-1");
    assert_eq!(world.pods(), ["web-0"]);
    assert_eq!(world.names("persistentvolumeclaims").len(), 3, "claims are kept");
}

#[test]
fn an_unhealthy_pod_in_range_halts_scaling() {
    let mut world = world(web(3, "OrderedReady"));
    world.play();
    world.unready("web-0");
    world.scale(1);
    assert_eq!(world.deleting(), [""; 0]);
    assert_eq!(world.because.as_deref(), Some("web-0 is not ready"));
    world.ready("web-0");
    assert_eq!(world.deleting(), ["web-2"]);
}

#[test]
fn all_unready_pods_hold_a_scale_to_nothing() {
    let mut world = world(web(3, "OrderedReady"));
    world.play();
    for pod in world.pods() {
        world.unready(&pod);
    }
    world.scale(0);
    assert_eq!(world.deleting(), [""; 0]);
    world.ready("web-0");
    world.ready("web-1");
    assert_eq!(world.deleting(), ["web-2"], "the first unhealthy of those to go may go");
}

#[test]
fn pods_that_no_node_ever_had_do_not_wait_for_each_other_to_go() {
    let mut set = web(3, "Parallel");
    set["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Retain", "whenScaled": "Delete"});
    let mut world = world(set);
    world.ready("web-0");
    world.edit("statefulsets.apps", "web", |set| {
        set["spec"]["podManagementPolicy"] = json!("OrderedReady");
        set["spec"]["replicas"] = json!(1);
    });
    for pod in ["web-1", "web-2"] {
        world.delete("persistentvolumeclaims", &format!("www-{pod}"), None);
    }
    world.settle(CONTROLLER);
    assert_eq!(world.pods(), ["web-0"]);
}

#[test]
fn pods_that_run_and_are_not_ready_wait_for_each_other_to_go() {
    let mut world = world(web(3, "OrderedReady"));
    world.play();
    world.unready("web-1");
    world.unready("web-2");
    world.scale(1);
    assert_eq!(world.deleting(), [""; 0]);
    let why = "web-2 is not ready, and an earlier pod is not either";
    assert_eq!(world.because.as_deref(), Some(why));
    world.ready("web-1");
    assert_eq!(world.deleting(), ["web-2"]);
}

#[test]
fn a_lost_pod_comes_back_before_anything_else() {
    for policy in ["OrderedReady", "Parallel"] {
        let mut world = world(web(3, policy));
        world.play();
        let claim = world.get("persistentvolumeclaims", "www-web-1").metadata().uid.clone();
        world.delete("pods", "web-1", None);
        world.settle(CONTROLLER);
        world.gone("web-1");
        assert_eq!(world.pods(), ["web-0", "web-1", "web-2"]);
        let kept = world.get("persistentvolumeclaims", "www-web-1").metadata().uid.clone();
        assert_eq!(kept, claim);
    }
}

#[test]
fn a_pod_that_ended_is_deleted_and_made_again() {
    for policy in ["OrderedReady", "Parallel"] {
        for phase in ["Failed", "Succeeded"] {
            let mut world = world(web(2, policy));
            world.play();
            world.phase("web-0", phase);
            world.settle(CONTROLLER);
            assert_eq!(world.deleting(), ["web-0"]);
            world.gone("web-0");
            assert_eq!(world.get("pods", "web-0").str_at("/status/phase"), Some("Pending"));
        }
    }
}

#[test]
fn an_update_goes_from_the_highest_down_one_at_a_time() {
    for policy in ["OrderedReady", "Parallel"] {
        let mut world = world(web(3, policy));
        world.play();
        let first = world.status()["currentRevision"].clone();
        world.image("web:2");
        assert_ne!(world.status()["updateRevision"], first);
        for (pod, current) in [("web-2", 2), ("web-1", 1), ("web-0", 0)] {
            assert_eq!(world.deleting(), [pod]);
            assert_eq!(world.status()["currentReplicas"].as_i64().unwrap_or(0), current);
            world.gone(pod);
            assert_eq!(world.image_of(pod), "web:2");
            assert_eq!(world.deleting(), [""; 0], "waits for {pod}");
            world.ready(pod);
        }
        assert_eq!(world.status()["currentRevision"], world.status()["updateRevision"]);
        assert_eq!(world.status()["currentReplicas"], 3);
        assert_eq!(world.because, None);
    }
}

fn several(set: &mut Value, most: Value) {
    crate::json::set(
        set,
        &["spec", "updateStrategy", "rollingUpdate"],
        json!({"maxUnavailable": most}),
    );
}

#[test]
fn as_many_are_replaced_at_once_as_may_be_unavailable() {
    for most in [json!(2), json!("50%")] {
        let mut set = web(5, "OrderedReady");
        several(&mut set, most);
        let mut world = world(set);
        world.play();
        world.image("web:2");
        assert_eq!(world.deleting(), ["web-3", "web-4"]);
        world.gone("web-4");
        world.gone("web-3");
        assert_eq!(world.deleting(), [""; 0], "web-4 waits for web-3, in order");
        world.ready("web-3");
        assert_eq!(world.deleting(), [""; 0], "web-4 is still unavailable");
        world.ready("web-4");
        assert_eq!(world.deleting(), ["web-1", "web-2"]);
        world.play();
        assert!(world.pods().iter().all(|pod| world.image_of(pod) == "web:2"));
    }
}

#[test]
fn in_parallel_outdated_pods_that_serve_nobody_take_nothing_from_what_may_be_unavailable() {
    let mut set = web(4, "Parallel");
    several(&mut set, json!(1));
    let mut world = world(set);
    world.play();
    world.unready("web-0");
    world.unready("web-1");
    world.image("web:2");
    assert_eq!(world.deleting(), ["web-0", "web-1"]);
    world.play();
    assert!(world.pods().iter().all(|pod| world.image_of(pod) == "web:2"));
}

#[test]
fn a_partition_keeps_low_ordinals_old_even_when_they_are_made_again() {
    let mut world = world(web(3, "OrderedReady"));
    world.play();
    world.change(|spec| spec["updateStrategy"]["rollingUpdate"]["partition"] = json!(2));
    world.image("web:2");
    world.play();
    for pod in ["web-0", "web-2"] {
        world.delete("pods", pod, None);
        world.settle(CONTROLLER);
    }
    world.play();
    let images: Vec<_> = world.pods().iter().map(|pod| world.image_of(pod)).collect();
    assert_eq!(images, ["web:1", "web:1", "web:2"]);
    assert_ne!(world.status()["currentRevision"], world.status()["updateRevision"]);
    world.change(|spec| spec["updateStrategy"]["rollingUpdate"]["partition"] = json!(0));
    world.play();
    assert_eq!(world.status()["currentRevision"], world.status()["updateRevision"]);
}

#[test]
fn on_delete_changes_no_pod_until_somebody_deletes_it() {
    let mut set = web(2, "OrderedReady");
    set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let mut world = world(set);
    world.play();
    world.image("web:2");
    assert_eq!(world.deleting(), [""; 0]);
    world.delete("pods", "web-0", None);
    world.settle(CONTROLLER);
    world.play();
    assert_eq!(world.image_of("web-0"), "web:2");
    assert_eq!(world.image_of("web-1"), "web:1");
}

#[test]
fn a_rollback_takes_the_old_revision_up_again() {
    let mut world = world(web(2, "OrderedReady"));
    world.play();
    let first = world.status()["updateRevision"].clone();
    world.image("web:2");
    world.play();
    world.image("web:1");
    world.play();
    assert_eq!(world.status()["updateRevision"], first);
    assert_eq!(world.names("controllerrevisions.apps").len(), 2);
    let name = first.as_str().unwrap();
    assert_eq!(world.get("controllerrevisions.apps", name).value()["revision"], 3);
}

#[test]
fn old_revisions_go_beyond_the_limit() {
    let mut set = web(1, "OrderedReady");
    set["spec"]["revisionHistoryLimit"] = json!(1);
    let mut world = world(set);
    world.play();
    for image in ["web:2", "web:3", "web:4"] {
        world.image(image);
        world.play();
    }
    assert_eq!(world.names("controllerrevisions.apps").len(), 2);
}

#[test]
fn a_pod_that_never_worked_does_not_hold_up_the_fixed_one() {
    let mut world = world(web(3, "OrderedReady"));
    world.play();
    world.image("broken");
    world.gone("web-2");
    world.unready("web-2");
    world.image("web:2");
    assert_eq!(world.deleting(), ["web-2"]);
    let note = world.notes.iter().find(|note| note.starts_with("ReplacedNeverReady")).unwrap();
    assert!(note.contains("a stock cluster would wait until somebody deletes it"), "{note}");
    world.play();
    assert!(world.pods().iter().all(|pod| world.image_of(pod) == "web:2"));
}

#[test]
fn the_first_install_can_be_fixed_too() {
    for rolling in [json!({"partition": 0}), Value::Null] {
        let mut set = web(3, "OrderedReady");
        crate::json::set(&mut set, &["spec", "updateStrategy", "rollingUpdate"], rolling);
        let mut world = world(set);
        world.unready("web-0");
        world.image("web:2");
        assert_eq!(world.deleting(), ["web-0"]);
        world.play();
        assert_eq!(world.image_of("web-0"), "web:2");
        assert_eq!(world.pods().len(), 3);
    }
}

/// A set of three whose strategy has no parameters, with what is left of it when its first ordinal
/// came down from 2 and no pod ever worked: `web-1` and `web-2`.
fn never_worked_downwards() -> World {
    let mut set = web(1, "OrderedReady");
    set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    set["spec"]["ordinals"] = json!({"start": 2});
    let mut world = world(set);
    world.unready("web-2");
    world.change(|spec| {
        spec["ordinals"]["start"] = json!(1);
        spec["replicas"] = json!(2);
    });
    world.unready("web-1");
    world
}

fn down_to_0(spec: &mut Value) {
    spec["ordinals"]["start"] = json!(0);
    spec["replicas"] = json!(3);
}

#[test]
fn no_new_pod_is_made_from_a_template_that_never_worked_anywhere() {
    let mut world = never_worked_downwards();
    world.change(|spec| {
        down_to_0(spec);
        spec["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    });
    assert_eq!(world.image_of("web-0"), "web:2");
    world.play();
    assert!(world.pods().iter().all(|pod| world.image_of(pod) == "web:2"));
}

#[test]
fn a_template_that_never_worked_anywhere_does_not_hold_up_the_fixed_one() {
    let mut world = never_worked_downwards();
    world.change(down_to_0);
    world.unready("web-0");
    world.image("web:2");
    assert_eq!(world.deleting(), ["web-0"]);
    world.play();
    assert!(world.pods().iter().all(|pod| world.image_of(pod) == "web:2"));
}

#[test]
fn without_a_partition_a_pod_comes_back_at_a_revision_that_works() {
    let mut set = web(3, "OrderedReady");
    set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    let mut world = world(set);
    world.play();
    world.delete("pods", "web-0", None);
    world.settle(CONTROLLER);
    world.image("web:2");
    world.gone("web-0");
    assert_eq!(world.image_of("web-0"), "web:1");
    world.play();
    assert!(world.pods().iter().all(|pod| world.image_of(pod) == "web:2"));
}

#[test]
fn a_pod_that_worked_once_holds_up_its_successor() {
    let mut world = world(web(2, "OrderedReady"));
    world.play();
    world.pass(60, CONTROLLER);
    world.unready("web-0");
    world.image("web:2");
    assert_eq!(world.deleting(), [""; 0]);
    assert_eq!(world.because.as_deref(), Some("web-0 is not ready"));
}

#[test]
fn a_pod_that_worked_for_a_moment_has_worked() {
    let mut world = world(web(2, "OrderedReady"));
    world.ready("web-0");
    world.pass(1, CONTROLLER);
    world.unready("web-0");
    world.image("web:2");
    assert_eq!(world.deleting(), [""; 0]);
}

#[test]
fn a_pod_that_the_partition_keeps_old_is_not_replaced() {
    let mut set = web(2, "OrderedReady");
    set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(1);
    let mut world = world(set);
    world.unready("web-0");
    world.image("web:2");
    assert_eq!(world.deleting(), [""; 0]);
}

#[test]
fn min_ready_seconds_hold_the_next_pod_back() {
    let mut set = web(2, "OrderedReady");
    set["spec"]["minReadySeconds"] = json!(10);
    let mut world = world(set);
    world.ready("web-0");
    assert_eq!(world.pods(), ["web-0"]);
    assert_eq!(world.status()["readyReplicas"], 1);
    assert_eq!(world.status()["availableReplicas"], 0);
    world.pass(10, CONTROLLER);
    assert_eq!(world.pods(), ["web-0", "web-1"]);
    assert_eq!(world.status()["availableReplicas"], 1);
}

#[test]
fn ordinals_start_where_the_set_says_and_move() {
    let mut set = web(2, "OrderedReady");
    set["spec"]["ordinals"] = json!({"start": 3});
    let mut world = world(set);
    world.play();
    assert_eq!(world.pods(), ["web-3", "web-4"]);
    world.change(|spec| spec["ordinals"]["start"] = json!(4));
    world.play();
    assert_eq!(world.pods(), ["web-4", "web-5"]);
}

#[test]
fn orphans_that_fit_are_adopted_and_strangers_let_go() {
    let mut world = world(web(1, "OrderedReady"));
    world.play();
    let label = |value: &'static str| {
        move |pod: &mut Value| pod["metadata"]["labels"]["app"] = json!(value)
    };
    world.edit("pods", "web-0", label("debug"));
    world.settle(CONTROLLER);
    assert!(world.get("pods", "web-0").metadata().controller().is_none());
    assert_eq!(world.because.as_deref(), Some("web-0 exists and does not belong to web"));
    world.edit("pods", "web-0", label("web"));
    world.settle(CONTROLLER);
    assert!(world.get("pods", "web-0").metadata().controller().is_some());
}

#[test]
fn a_claim_that_is_deleted_under_a_pending_pod_is_made_again() {
    let mut world = world(web(1, "OrderedReady"));
    world.delete("persistentvolumeclaims", "www-web-0", None);
    world.settle(CONTROLLER);
    assert_eq!(world.names("persistentvolumeclaims"), ["www-web-0"]);
}

#[test]
fn a_claim_that_is_being_deleted_holds_its_pod_back() {
    let mut world = world(web(1, "OrderedReady"));
    world.play();
    world.edit("persistentvolumeclaims", "www-web-0", |claim| {
        claim["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
    });
    world.delete("persistentvolumeclaims", "www-web-0", None);
    world.delete("pods", "web-0", None);
    world.settle(CONTROLLER);
    world.gone("web-0");
    assert_eq!(world.pods(), [""; 0]);
    assert_eq!(world.because.as_deref(), Some("pvc www-web-0 is being deleted"));
    world.edit("persistentvolumeclaims", "www-web-0", |claim| {
        claim["metadata"]["finalizers"] = json!([]);
    });
    world.settle(CONTROLLER);
    assert_eq!(world.pods(), ["web-0"]);
}

/// Kinds of the owners of a claim.
fn owners(world: &World, claim: &str) -> Vec<String> {
    let claim = world.get("persistentvolumeclaims", claim);
    claim.metadata().owner_references.iter().map(|owner| owner.kind.clone()).collect()
}

#[test]
fn claims_are_owned_as_the_retention_policy_says() {
    let cases = [
        ("Retain", "Retain", &[][..], &[][..]),
        ("Delete", "Retain", &["StatefulSet"], &["StatefulSet"]),
        ("Retain", "Delete", &[], &["Pod"]),
        ("Delete", "Delete", &["StatefulSet"], &["Pod"]),
    ];
    for policy in ["OrderedReady", "Parallel"] {
        for (when_deleted, when_scaled, kept, condemned) in cases {
            let mut world = world(web(2, policy));
            world.play();
            world.change(|spec| {
                spec["persistentVolumeClaimRetentionPolicy"] =
                    json!({"whenDeleted": when_deleted, "whenScaled": when_scaled});
            });
            assert_eq!(owners(&world, "www-web-1"), kept);
            world.scale(1);
            assert_eq!(world.deleting(), ["web-1"]);
            assert_eq!(owners(&world, "www-web-1"), condemned);
            assert_eq!(owners(&world, "www-web-0"), kept);
        }
    }
}

#[test]
fn a_claim_that_is_to_be_kept_after_all_stays_with_the_next_pod() {
    let keep = |when: &'static str| {
        move |spec: &mut Value| {
            spec["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenDeleted": "Retain", "whenScaled": when});
        }
    };
    let mut world = world(web(1, "OrderedReady"));
    world.play();
    world.change(keep("Delete"));
    world.scale(0);
    assert_eq!(owners(&world, "www-web-0"), ["Pod"]);
    world.scale(1);
    world.change(keep("Retain"));
    world.gone("web-0");
    assert_eq!(world.pods(), ["web-0"]);
    assert_eq!(owners(&world, "www-web-0"), [""; 0]);
}

#[test]
fn a_pod_that_is_replaced_leaves_its_claims_to_the_next() {
    let mut set = web(3, "OrderedReady");
    set["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Retain", "whenScaled": "Delete"});
    let mut world = world(set);
    world.play();
    world.image("broken");
    world.gone("web-2");
    world.unready("web-2");
    // As an earlier set of this name left it, which was to be smaller.
    let uid = world.get("pods", "web-2").metadata().uid.clone();
    world.edit("persistentvolumeclaims", "www-web-2", |claim| {
        claim["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "web-2", "uid": uid}]);
    });
    world.image("web:2");
    assert_eq!(world.deleting(), ["web-2"]);
    assert_eq!(owners(&world, "www-web-2"), [""; 0]);
}

#[test]
fn a_new_set_does_not_start_on_claims_that_go_with_the_old_one() {
    let mut set = web(1, "OrderedReady");
    set["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Delete", "whenScaled": "Retain"});
    let mut world = world(set.clone());
    world.play();
    world.delete("statefulsets.apps", "web", None);
    world.gone("web-0");
    world.create(set);
    world.settle(CONTROLLER);
    assert_eq!(world.pods(), [""; 0]);
    let why = "www-web-0 waits to be deleted with an earlier web";
    assert_eq!(world.because.as_deref(), Some(why));
    let claim = world.get("persistentvolumeclaims", "www-web-0");
    let plan = world.decide(&crate::garbage::CONTROLLER, claim.key());
    assert!(matches!(plan.writes().collect::<Vec<_>>()[..], [Write::Delete { .. }]));
    world.settle(CONTROLLER);
    assert_eq!(world.pods(), ["web-0"]);
    assert_eq!(owners(&world, "www-web-0"), ["StatefulSet"]);
}

#[test]
fn a_claim_that_another_controller_manages_is_left_to_it() {
    let mut world = world(web(1, "OrderedReady"));
    world.play();
    world.edit("persistentvolumeclaims", "www-web-0", |claim| {
        claim["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "example.com/v1", "kind": "Backup", "name": "nightly",
            "uid": "other", "controller": true,
        }]);
    });
    world.change(|spec| {
        spec["persistentVolumeClaimRetentionPolicy"] =
            json!({"whenDeleted": "Delete", "whenScaled": "Retain"});
    });
    assert_eq!(owners(&world, "www-web-0"), ["Backup"]);
    assert!(world.notes.iter().any(|note| note.starts_with("ConflictingController")));
}

#[test]
fn a_refused_pod_is_told_and_the_status_is_written_all_the_same() {
    let mut world = World::new();
    world.refuses = Some(("web-0".into(), "pods \"web-0\" is forbidden: no".into()));
    world.create(web(1, "OrderedReady"));
    world.settle(CONTROLLER);
    let told = "FailedCreate create Pod web-0 in StatefulSet web failed error: \
                pods \"web-0\" is forbidden: no";
    assert!(!world.notes.is_empty() && world.notes.iter().all(|note| note == told));
    assert_eq!(world.status()["observedGeneration"], 1);
    assert_eq!(world.status()["replicas"], 0);
}

#[test]
fn a_set_that_is_being_deleted_only_counts() {
    let mut world = world(web(2, "OrderedReady"));
    world.play();
    world.delete("statefulsets.apps", "web", Some(Propagation::Foreground));
    world.delete("pods", "web-0", None);
    world.settle(CONTROLLER);
    world.gone("web-0");
    assert_eq!(world.pods(), ["web-1"]);
    assert_eq!(world.status()["replicas"], 1);
}

#[test]
fn nothing_is_written_at_rest() {
    for policy in ["OrderedReady", "Parallel"] {
        let mut world = world(web(3, policy));
        world.play();
        let revision = world.store.snapshot().revision();
        let set = world.get("statefulsets.apps", "web");
        let plan = world.decide(&super::CONTROLLER, set.key());
        assert!(plan.writes_nothing() && plan.notes.is_empty() && plan.because.is_none());
        assert_eq!(world.store.snapshot().revision(), revision);
    }
}

#[test]
fn revisions_keep_their_names_from_release_to_release() {
    let world = world(web(0, "OrderedReady"));
    assert_eq!(world.names("controllerrevisions.apps"), ["web-7f5c69787"]);
}
