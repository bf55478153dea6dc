//! Claims that pods use, volumes that claims have, and classes of attributes that either has, stay
//! until they are let go.

use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::resources::PODS;
use coracle_api::{Index, Key, Object, index};
use coracle_store::{Event, Snapshot};
use serde_json::Value;

use super::{ATTRIBUTES_CLASSES, CLAIMS, VOLUMES};
use crate::Context;
use crate::finalizers::protect;
use crate::plan::{Because, Plan};
use crate::table::{Controller, itself};

/// Finalizer of claims.
const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
/// Finalizer of volumes.
pub(crate) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Finalizer of classes of attributes.
const ATTRIBUTES_FINALIZER: &str = "kubernetes.io/vac-protection";

/// The row of the table for claims.
pub(crate) const CLAIM_PROTECTOR: Controller = Controller {
    name: "pvc-protection-controller",
    serial: false,
    watches: &[(CLAIMS, itself), (PODS, claims_of_pod)],
    decide: decide_claim,
};

/// The row of the table for volumes.
pub(crate) const VOLUME_PROTECTOR: Controller = Controller {
    name: "pv-protection-controller",
    serial: false,
    watches: &[(VOLUMES, itself)],
    decide: decide_volume,
};

/// The row of the table for classes of attributes.
pub(crate) const ATTRIBUTES_PROTECTOR: Controller = Controller {
    name: "volumeattributesclass-protection-controller",
    serial: false,
    watches: &[
        (ATTRIBUTES_CLASSES, itself),
        (CLAIMS, attributes_classes_of),
        (VOLUMES, attributes_classes_of),
    ],
    decide: decide_attributes_class,
};

/// The classes of attributes that a claim or a volume has or had.
fn attributes_classes_of(event: &Event, _: &Snapshot) -> Vec<Key> {
    let states = event.old.iter().chain([&event.last]);
    let names = states.flat_map(|object| attributes_class_names(object));
    names.map(|name| Key::new(ATTRIBUTES_CLASSES, "", name)).collect()
}

/// What a claim asks for, has, and is being given; what a volume has.
fn attributes_class_names(object: &Object) -> impl Iterator<Item = &str> {
    let places = [
        "/spec/volumeAttributesClassName",
        "/status/currentVolumeAttributesClassName",
        "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
    ];
    places.into_iter().filter_map(|place| object.str_at(place)).filter(|name| !name.is_empty())
}

/// The claims of a pod that goes or ends.
fn claims_of_pod(event: &Event, _: &Snapshot) -> Vec<Key> {
    if event.new.as_ref().is_some_and(|pod| !pod.metadata().is_deleting()) {
        return Vec::new();
    }
    let namespace = &event.key.namespace;
    claim_names(&event.last).map(|name| Key::new(CLAIMS, namespace.clone(), name)).collect()
}

/// The names of the claims that a pod's volumes stand for.
fn claim_names(pod: &Object) -> impl Iterator<Item = String> {
    let volumes = pod.value()["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| index::claim_name(&pod.metadata().name, volume))
}

fn decide_claim(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let user = |claim: &Object| {
        let Key { namespace, name, .. } = claim.key();
        let mut pods = snapshot.indexed(Index::PodClaim, name, PODS, Some(namespace));
        let uses =
            |pod: &&Arc<Object>| pod.str_at("/spec/nodeName").is_some() && !is_shut_down(pod);
        pods.find(uses).map(|pod| {
            Because::of(pod.key().clone(), format!("{} still uses it", pod.metadata().name))
        })
    };
    snapshot.get(key).map_or_else(Plan::default, |claim| protect(claim, CLAIM_FINALIZER, user))
}

/// Whether the node is done with a pod, and only a finalizer still holds its object. With
/// `Foreground`, the pod itself waits for the claims that it owns by a set's retention policy: they
/// must not wait for the pod. A pod that was deleted by force has no grace either, but no end yet.
fn is_shut_down(pod: &Object) -> bool {
    let no_grace = pod.value()["metadata"]["deletionGracePeriodSeconds"] == 0;
    pod.metadata().is_deleting() && no_grace && pod.has_ended()
}

fn decide_volume(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let user = |volume: &Object| {
        let is_bound = volume.value().pointer("/status/phase") == Some(&Value::from("Bound"));
        is_bound.then(|| Because::only("a claim still uses it"))
    };
    snapshot.get(key).map_or_else(Plan::default, |volume| protect(volume, VOLUME_PROTECTION, user))
}

fn decide_attributes_class(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let user = |class: &Object| {
        let objects = snapshot.list(CLAIMS, None).chain(snapshot.list(VOLUMES, None));
        let name = &*class.metadata().name;
        let has = |object: &&Arc<Object>| attributes_class_names(object).any(|it| it == name);
        objects.into_iter().find(has).map(|object| {
            Because::of(object.key().clone(), format!("{} still has it", object.metadata().name))
        })
    };
    snapshot.get(key).map_or_else(Plan::default, |class| protect(class, ATTRIBUTES_FINALIZER, user))
}
