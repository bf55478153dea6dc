//! Claims and volumes from first use to the last byte.

use serde_json::{Value, json};

use super::{grown, waits_for_resize};
use crate::plan::Propagation;
use crate::world::World;

const ALL: &[&str] = &[
    "default-scheduler",
    "persistentvolume-controller",
    "coracle.dev/local",
    "volume-expand",
    "pvc-protection-controller",
    "pv-protection-controller",
];
const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";

fn class(name: &str, provisioner: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": mode,
        "allowVolumeExpansion": true,
    })
}

fn claim(class: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "www", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": class,
        },
    })
}

fn pod() -> Value {
    let volume = json!({"name": "www", "persistentVolumeClaim": {"claimName": "www"}});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web"}], "volumes": [volume]},
    })
}

fn volume(name: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "manual",
            "hostPath": {"path": "/data"},
        },
    })
}

fn world(claim_class: &str) -> World {
    let mut world = World::new();
    world.create(json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1"}},
        "status": {
            "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }));
    world.create(class("standard", "coracle.dev/local", "WaitForFirstConsumer"));
    world.create(class("eager", "coracle.dev/local", "Immediate"));
    world.create(claim(json!(claim_class)));
    world.settle(ALL);
    world
}

impl World {
    fn phase_of(&self, resource: &str, name: &str) -> String {
        self.get(resource, name).str_at("/status/phase").unwrap_or_default().to_owned()
    }

    /// The node removes the data of a volume that is being deleted.
    fn remove_data(&mut self, volume: &str) {
        self.edit(VOLUMES, volume, |volume| volume["metadata"]["finalizers"] = json!([]));
        self.settle(ALL);
    }
}

#[test]
fn a_claim_waits_for_its_first_pod_and_gets_a_volume_on_its_node() {
    let mut world = world("standard");
    assert_eq!(world.phase_of(CLAIMS, "www"), "Pending");
    let told = "WaitForFirstConsumer waiting for first consumer to be created before binding";
    assert!(world.notes.iter().any(|note| note == told));
    world.create(pod());
    world.settle(ALL);
    assert_eq!(world.phase_of(CLAIMS, "www"), "Bound");
    assert_eq!(world.get("pods", "web").str_at("/spec/nodeName"), Some("node-1"));
    let uid = world.get(CLAIMS, "www").metadata().uid.clone();
    let volume = world.get(VOLUMES, &format!("pvc-{uid}"));
    let spec = &volume.value()["spec"];
    assert_eq!(spec["capacity"]["storage"], "1Gi");
    let source = json!({"driver": "coracle.dev/local", "volumeHandle": format!("pvc-{uid}")});
    assert_eq!((&spec["csi"], &spec["hostPath"]), (&source, &Value::Null));
    assert_eq!(spec["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(spec["claimRef"]["uid"], *uid);
    assert_eq!(volume.str_at("/status/phase"), Some("Bound"));
}

#[test]
fn an_immediate_class_waits_for_nobody() {
    let world = world("eager");
    assert_eq!(world.phase_of(CLAIMS, "www"), "Bound");
}

#[test]
fn a_volume_goes_when_its_node_has_removed_the_data() {
    let mut world = world("eager");
    let name = world.names(VOLUMES).remove(0);
    world.delete(CLAIMS, "www", None);
    world.settle(ALL);
    assert_eq!(world.names(CLAIMS), [""; 0]);
    assert_eq!(world.phase_of(VOLUMES, &name), "Released");
    let volume = world.get(VOLUMES, &name);
    assert!(volume.metadata().is_deleting());
    assert_eq!(volume.metadata().finalizers, ["coracle.dev/volume-data"]);
    world.remove_data(&name);
    assert_eq!(world.names(VOLUMES), [""; 0]);
}

#[test]
fn a_claim_in_use_stays_until_its_pod_is_gone() {
    let mut world = world("standard");
    world.create(pod());
    world.settle(ALL);
    world.delete(CLAIMS, "www", None);
    world.settle(ALL);
    assert!(world.get(CLAIMS, "www").metadata().is_deleting());
    world.stopped("web");
    world.settle(ALL);
    assert_eq!(world.names(CLAIMS), [""; 0]);
}

#[test]
fn a_class_of_attributes_stays_while_a_claim_has_it() {
    const CLASSES: &str = "volumeattributesclasses.storage.k8s.io";
    const ALL: &[&str] = &["volumeattributesclass-protection-controller"];
    let mut world = World::new();
    for name in ["used", "free"] {
        world.create(json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttributesClass",
            "metadata": {"name": name},
            "driverName": "example.com/driver",
        }));
    }
    let mut claim = claim(json!("standard"));
    claim["spec"]["volumeAttributesClassName"] = json!("used");
    world.create(claim);
    world.settle(ALL);
    world.delete(CLASSES, "used", None);
    world.delete(CLASSES, "free", None);
    world.settle(ALL);
    assert_eq!(world.names(CLASSES), ["used"]);
    world.edit(CLAIMS, "www", |it| it["spec"]["volumeAttributesClassName"] = Value::Null);
    world.settle(ALL);
    assert_eq!(world.names(CLASSES), [""; 0]);
}

/// With `Foreground`, a pod waits for the claims that it owns, and they must not wait for the pod.
#[test]
fn a_claim_does_not_wait_for_a_pod_that_only_a_finalizer_holds() {
    for (phase, kept) in [("Running", true), ("Failed", false)] {
        let mut world = world("standard");
        world.create(pod());
        world.settle(ALL);
        world.delete("pods", "web", Some(Propagation::Foreground));
        world.delete(CLAIMS, "www", None);
        world.settle(ALL);
        assert!(world.get(CLAIMS, "www").metadata().is_deleting());
        world.edit("pods", "web", |pod| {
            pod["status"]["phase"] = json!(phase);
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        });
        world.settle(ALL);
        assert_eq!(world.find(CLAIMS, "www").is_some(), kept, "{phase}");
    }
}

#[test]
fn a_claim_takes_the_smallest_volume_that_will_do_and_the_volume_is_kept() {
    let mut world = World::new();
    for (name, size) in [("large", "10Gi"), ("small", "500Mi"), ("right", "2Gi")] {
        world.create(volume(name, size));
    }
    world.settle(ALL);
    assert_eq!(world.phase_of(VOLUMES, "right"), "Available");
    world.create(claim(json!("manual")));
    world.settle(ALL);
    assert_eq!(world.get(CLAIMS, "www").str_at("/spec/volumeName"), Some("right"));
    assert_eq!(world.get(CLAIMS, "www").value()["status"]["capacity"]["storage"], "2Gi");
    world.delete(CLAIMS, "www", None);
    world.settle(ALL);
    assert_eq!(world.phase_of(VOLUMES, "right"), "Released");
    world.create(claim(json!("manual")));
    world.settle(ALL);
    assert_eq!(world.get(CLAIMS, "www").str_at("/spec/volumeName"), Some("large"));
}

#[test]
fn a_claim_without_a_class_or_with_an_unknown_one_says_so() {
    for (name, told) in [
        (
            "",
            "FailedBinding no persistent volumes available for this claim and no storage class is set",
        ),
        ("nope", "ProvisioningFailed storageclass.storage.k8s.io \"nope\" not found"),
    ] {
        let world = world(name);
        assert_eq!(world.phase_of(CLAIMS, "www"), "Pending");
        assert!(world.notes.iter().any(|note| note == told), "{:?}", world.notes);
    }
}

#[test]
fn a_claim_without_a_word_gets_the_default_class_when_there_is_one() {
    let mut world = World::new();
    let mut unclassed = claim(Value::Null);
    unclassed["spec"].as_object_mut().unwrap().remove("storageClassName");
    world.create(unclassed);
    world.settle(ALL);
    let mut default = class("standard", "coracle.dev/local", "WaitForFirstConsumer");
    default["metadata"]["annotations"] =
        json!({"storageclass.kubernetes.io/is-default-class": "true"});
    world.create(default);
    world.settle(ALL);
    assert_eq!(world.get(CLAIMS, "www").str_at("/spec/storageClassName"), Some("standard"));
}

#[test]
fn a_claim_that_lost_its_volume_says_so() {
    let mut world = world("eager");
    let name = world.names(VOLUMES).remove(0);
    let gone = world.get(VOLUMES, &name).key().clone();
    world.remove(&gone);
    world.settle(ALL);
    assert_eq!(world.phase_of(CLAIMS, "www"), "Lost");
}

#[test]
fn a_claim_that_asks_for_more_grows() {
    let mut world = world("eager");
    world.edit(CLAIMS, "www", |claim| {
        claim["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
    });
    world.settle(ALL);
    let name = world.names(VOLUMES).remove(0);
    assert_eq!(world.get(VOLUMES, &name).value()["spec"]["capacity"]["storage"], "2Gi");
    let claim = world.get(CLAIMS, "www");
    assert_eq!(claim.value()["status"]["capacity"]["storage"], "1Gi", "not before it is so");
    let pending = &claim.value()["status"]["conditions"][0];
    assert_eq!(
        (&pending["type"], &pending["status"]),
        (&json!("FileSystemResizePending"), &json!("True"))
    );

    let snapshot = world.store.snapshot();
    let volume = waits_for_resize(&snapshot, &claim).unwrap();
    let status = grown(&claim, volume)["status"].clone();
    world.edit(CLAIMS, "www", |claim| claim["status"] = status);
    world.settle(ALL);
    let claim = world.get(CLAIMS, "www");
    assert_eq!(claim.value()["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(claim.value()["status"]["conditions"], Value::Null);
    assert!(waits_for_resize(&world.store.snapshot(), &claim).is_none());
}

#[test]
fn what_no_file_can_hold_is_not_promised() {
    let mut world = world("eager");
    let mut huge = claim(json!("eager"));
    huge["metadata"]["name"] = json!("huge");
    huge["spec"]["resources"]["requests"]["storage"] = json!("500Ti");
    world.create(huge);
    world.edit(CLAIMS, "www", |claim| {
        claim["spec"]["resources"]["requests"]["storage"] = json!("1e30");
    });
    world.settle(ALL);
    assert_eq!(world.phase_of(CLAIMS, "huge"), "Pending");
    let why = "a volume of 500Ti cannot be made: the data directory holds files of at most 16384Gi";
    let told = |reason: &str, why: &str| {
        world.notes.iter().any(|note| note.starts_with(reason) && note.ends_with(why))
    };
    assert!(told("ProvisioningFailed ", why), "{:?}", world.notes);
    assert!(told("VolumeResizeFailed ", "at most 16384Gi"), "{:?}", world.notes);
    assert_eq!(world.get(CLAIMS, "www").value()["status"]["capacity"]["storage"], "1Gi");
}

#[test]
fn another_provisioner_is_told_and_waited_for() {
    let mut world = world("standard");
    world.create(class("csi", "csi.example.com", "Immediate"));
    let mut other = claim(json!("csi"));
    other["metadata"]["name"] = json!("other");
    world.create(other);
    world.settle(ALL);
    let annotations = world.get(CLAIMS, "other").metadata().annotations.clone();
    assert_eq!(annotations["volume.kubernetes.io/storage-provisioner"], "csi.example.com");
    assert!(world.notes.iter().any(|note| note.starts_with("ExternalProvisioning ")));
}
