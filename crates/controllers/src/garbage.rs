//! Garbage collection: what has lost its owners goes.
//!
//! Ownership is decided by UID, and the store knows where every UID is, so there is no graph to
//! keep: an owner exists or it does not. An owner that is being deleted with `Foreground` waits for
//! the dependents that block it; with `Orphan` its dependents forget it first. The finalizers
//! `foregroundDeletion` and `orphan`, which the API sets, say which.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::kinds::split_api_version;
use coracle_api::{Key, Object, OwnerReference, Timestamp, time};
use coracle_store::{Event, Snapshot};
use serde_json::Value;

use crate::plan::{Because, DeleteOptions, Note, Plan, Propagation, Step, Write};
use crate::served::Served;
use crate::table::{ANY, Controller};
use crate::{Context, json};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// How long it takes until an owner's kind is looked for again.
const UNKNOWN_SECONDS: i64 = 60;

/// The row of the table.
pub(crate) const CONTROLLER: Controller =
    Controller { name: "garbage-collector", serial: false, watches: &[(ANY, concerned)], decide };

/// An object whose owners changed; the dependents of one that goes; the owners that wait for it.
fn concerned(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let object = &event.last;
    let owners = &object.metadata().owner_references;
    let before = event.old.as_ref().map(|old| &old.metadata().owner_references);
    let goes = event.new.is_none() || object.metadata().is_deleting();
    let mut keys = Vec::new();
    if event.new.is_some() && (goes || (!owners.is_empty() && before != Some(owners))) {
        keys.push(event.key.clone());
    }
    if goes {
        let dependents = snapshot.dependents(&object.metadata().uid);
        keys.extend(dependents.map(|dependent| dependent.key().clone()));
    }
    if event.new.is_none() || before.is_some_and(|before| before != owners) {
        let uids = owners.iter().chain(before.into_iter().flatten()).map(|owner| &owner.uid);
        let waiting = uids.filter_map(|uid| snapshot.by_uid(uid));
        keys.extend(waiting.filter(|o| o.metadata().is_deleting()).map(|o| o.key().clone()));
    }
    keys
}

fn has(object: &Object, finalizer: &str) -> bool {
    object.metadata().finalizers.iter().any(|name| name == finalizer)
}

/// What should happen to the object at `key` for its owners' or its dependents' sake.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(object) = snapshot.get(key) else { return Plan::default() };
    if !object.metadata().is_deleting() {
        return follow_owners(snapshot, object, context.now);
    }
    if has(object, ORPHAN) {
        return orphan(snapshot, object);
    }
    if has(object, FOREGROUND) {
        return wait_for_dependents(snapshot, object);
    }
    Plan::default()
}

/// The dependents forget an owner that goes without them.
fn orphan(snapshot: &Snapshot, owner: &Object) -> Plan {
    let uid = &owner.metadata().uid;
    let forget = snapshot.dependents(uid).map(|dependent| without(dependent, |owner| owner == uid));
    let release = Write::Update(json::without_finalizer(owner, ORPHAN));
    let mut plan = Plan::each(forget);
    plan.steps.push(Step { needs_earlier: true, ..Step::of(release) });
    plan
}

/// The owner goes when nothing that blocks it is left; each dependent sees to its own deletion.
/// What waits for the owner in its turn does not block it: a circle would wait forever.
fn wait_for_dependents(snapshot: &Snapshot, owner: &Object) -> Plan {
    let uid = &owner.metadata().uid;
    let blocks = |dependent: &&Arc<Object>| !waits_for(snapshot, dependent, uid);
    if let Some(dependent) = blocking(snapshot, uid).find(blocks) {
        let why = format!("{} is still there", dependent.metadata().name);
        let because = Some(Because::of(dependent.key().clone(), why));
        return Plan { because, ..Plan::default() };
    }
    Plan::each([Write::Update(json::without_finalizer(owner, FOREGROUND))])
}

/// The dependents of the owner `uid` that go before it.
fn blocking<'a>(snapshot: &'a Snapshot, uid: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
    let blocks = move |dependent: &&Arc<Object>| {
        let owners = &dependent.metadata().owner_references;
        owners.iter().any(|o| o.uid == *uid && o.block_owner_deletion == Some(true))
    };
    snapshot.dependents(uid).filter(blocks)
}

/// Whether the object `uid` is, directly or not, among the dependents that `object` waits for.
fn waits_for(snapshot: &Snapshot, object: &Arc<Object>, uid: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut left = vec![object];
    while let Some(object) = left.pop() {
        let own = &object.metadata().uid;
        if own == uid {
            return true;
        }
        if is_waiting(object) && seen.insert(own) {
            left.extend(blocking(snapshot, own));
        }
    }
    false
}

fn is_waiting(object: &Object) -> bool {
    object.metadata().is_deleting() && has(object, FOREGROUND)
}

/// How an owner is.
enum Owner {
    /// It stays.
    Solid,
    /// It is gone, or never was.
    Absent,
    /// It is being deleted and waits for its dependents.
    Waiting,
    /// Nobody can say: its kind is not served, or an object of the cluster names one of a namespace.
    Unknown,
}

fn look_up(snapshot: &Snapshot, dependent: &Object, reference: &OwnerReference) -> Owner {
    let served = Served::find(snapshot, &reference.api_version, &reference.kind);
    let in_cluster = dependent.metadata().namespace.is_empty();
    if served.is_none_or(|kind| in_cluster && kind.is_namespaced()) {
        return Owner::Unknown;
    }
    let Some(owner) = snapshot.by_uid(&reference.uid) else { return Owner::Absent };
    let namespace = &owner.metadata().namespace;
    let in_reach = namespace.is_empty() || *namespace == dependent.metadata().namespace;
    if !in_reach || owner.metadata().name != reference.name || !is_of_kind(owner, reference) {
        return Owner::Absent;
    }
    if is_waiting(owner) { Owner::Waiting } else { Owner::Solid }
}

/// The version may be another.
fn is_of_kind(owner: &Object, reference: &OwnerReference) -> bool {
    let version = owner.str_at("/apiVersion").unwrap_or_default();
    owner.value()["kind"] == *reference.kind
        && split_api_version(version).0 == split_api_version(&reference.api_version).0
}

/// An object goes when it has owners and none is left; while one of them is of a kind that nobody
/// knows, nothing happens to it.
fn follow_owners(snapshot: &Snapshot, object: &Arc<Object>, now: Timestamp) -> Plan {
    let (mut solid, mut waiting, mut lost) = (0, 0, Vec::new());
    let mut plan = Plan::default();
    for reference in &object.metadata().owner_references {
        match look_up(snapshot, object, reference) {
            Owner::Unknown => {
                plan.look_again_at(time::after(now, UNKNOWN_SECONDS));
                return plan;
            }
            Owner::Solid => solid += 1,
            Owner::Waiting => {
                waiting += 1;
                lost.push(reference.uid.clone());
            }
            Owner::Absent => {
                plan.notes.extend(out_of_reach(snapshot, object, reference));
                lost.push(reference.uid.clone());
            }
        }
    }
    if lost.is_empty() {
        return plan;
    }
    if solid > 0 {
        plan.write(without(object, |uid| lost.contains(uid)));
        return plan;
    }
    let blocked = waiting > 0 && snapshot.dependents(&object.metadata().uid).next().is_some();
    let propagation = match blocked {
        true => Propagation::Foreground,
        false => inherited(object),
    };
    let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
    plan.write(Write::delete_with(object, options));
    plan
}

/// What the object's finalizers ask for its own dependents.
fn inherited(object: &Object) -> Propagation {
    if has(object, ORPHAN) {
        Propagation::Orphan
    } else if has(object, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

/// An owner in another namespace is none; somebody should know.
fn out_of_reach(
    snapshot: &Snapshot,
    object: &Arc<Object>,
    reference: &OwnerReference,
) -> Option<Note> {
    let owner = snapshot.by_uid(&reference.uid)?;
    let namespace = &object.metadata().namespace;
    if owner.metadata().namespace.is_empty() || owner.metadata().namespace == *namespace {
        return None;
    }
    let OwnerReference { api_version, kind, name, uid, .. } = reference;
    let message = format!(
        "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does \
         not exist in namespace \"{namespace}\""
    );
    Some(Note::warning(object, "OwnerRefInvalidNamespace", message))
}

fn without(object: &Object, is_lost: impl Fn(&String) -> bool) -> Write {
    let mut references = json::owner_references(object);
    references.retain(|reference| {
        let uid = reference["uid"].as_str().unwrap_or_default().to_owned();
        !is_lost(&uid)
    });
    Write::Update(json::with_owner_references(object, references as Vec<Value>))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::World;

    const CONTROLLER: &[&str] = &["garbage-collector"];

    fn map(name: &str, owners: &[&Object]) -> Value {
        let owners: Vec<_> = owners.iter().map(|owner| json::controller_reference(owner)).collect();
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "ownerReferences": owners},
        })
    }

    /// `top` owns `middle`, which owns `bottom`.
    fn tower() -> World {
        let mut world = World::new();
        let top = world.create(map("top", &[]));
        let middle = world.create(map("middle", &[&top]));
        world.create(map("bottom", &[&middle]));
        world.settle(CONTROLLER);
        assert_eq!(world.names("configmaps").len(), 3);
        world
    }

    #[test]
    fn in_the_background_dependents_follow() {
        let mut world = tower();
        world.delete("configmaps", "top", None);
        assert_eq!(world.names("configmaps"), ["bottom", "middle"]);
        world.settle(CONTROLLER);
        assert_eq!(world.names("configmaps"), [""; 0]);
    }

    #[test]
    fn in_the_foreground_they_go_first() {
        let mut world = tower();
        world.edit("configmaps", "bottom", |map| {
            map["metadata"]["finalizers"] = json!(["example.com/hold"]);
        });
        world.delete("configmaps", "top", Some(Propagation::Foreground));
        world.settle(CONTROLLER);
        assert_eq!(world.names("configmaps"), ["bottom", "middle", "top"]);
        assert!(world.get("configmaps", "bottom").metadata().is_deleting());
        world.edit("configmaps", "bottom", |map| map["metadata"]["finalizers"] = json!([]));
        world.settle(CONTROLLER);
        assert_eq!(world.names("configmaps"), [""; 0]);
    }

    #[test]
    fn a_circle_of_owners_goes() {
        let mut world = World::new();
        let names = ["a", "b", "c"];
        let all: Vec<_> = names.iter().map(|name| world.create(map(name, &[]))).collect();
        for (name, owner) in names.iter().zip(all.iter().cycle().skip(2)) {
            let owners = json!([json::controller_reference(owner)]);
            world.edit("configmaps", name, |map| map["metadata"]["ownerReferences"] = owners);
        }
        world.delete("configmaps", "a", Some(Propagation::Foreground));
        world.settle(CONTROLLER);
        assert_eq!(world.names("configmaps"), [""; 0]);
    }

    #[test]
    fn orphans_stay_and_forget() {
        let mut world = tower();
        world.delete("configmaps", "top", Some(Propagation::Orphan));
        world.settle(CONTROLLER);
        assert_eq!(world.names("configmaps"), ["bottom", "middle"]);
        assert!(world.get("configmaps", "middle").metadata().owner_references.is_empty());
    }

    #[test]
    fn one_owner_that_stays_is_enough() {
        let mut world = World::new();
        let (a, b) = (world.create(map("a", &[])), world.create(map("b", &[])));
        world.create(map("shared", &[&a, &b]));
        world.delete("configmaps", "a", None);
        world.settle(CONTROLLER);
        let shared = world.get("configmaps", "shared");
        let owners: Vec<_> =
            shared.metadata().owner_references.iter().map(|owner| owner.name.as_str()).collect();
        assert_eq!(owners, ["b"]);
    }

    #[test]
    fn what_an_owner_of_an_unknown_kind_has_stays_until_the_kind_is_known() {
        let mut world = World::new();
        let mut dependent = map("dependent", &[]);
        dependent["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "example.com/v1", "kind": "Boat", "name": "a", "uid": "gone"}]);
        world.create(dependent);
        world.settle(CONTROLLER);
        assert_eq!(world.names("configmaps"), ["dependent"]);
        world.create(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "boats.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"kind": "Boat", "plural": "boats"}},
        }));
        world.pass(UNKNOWN_SECONDS, CONTROLLER);
        assert_eq!(world.names("configmaps"), [""; 0]);
    }

    #[test]
    fn an_object_of_the_cluster_has_no_owner_in_a_namespace() {
        let mut world = World::new();
        let owner = world.create(map("owner", &[]));
        world.create(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "role", "ownerReferences": [json::controller_reference(&owner)]}}));
        world.delete("configmaps", "owner", None);
        world.settle(CONTROLLER);
        assert_eq!(world.names("clusterroles.rbac.authorization.k8s.io"), ["role"]);
    }

    #[test]
    fn an_owner_must_be_what_the_reference_says() {
        let mut world = World::new();
        let owner = world.create(map("owner", &[]));
        for (field, value) in [("uid", "never"), ("name", "other"), ("kind", "Secret")] {
            let mut dependent = map("dependent", &[&owner]);
            dependent["metadata"]["ownerReferences"][0][field] = json!(value);
            world.create(dependent);
            world.settle(CONTROLLER);
            assert_eq!(world.names("configmaps"), ["owner"], "{field}");
        }
    }
}
