//! The claims of a set's pods: made before the pod, kept after it, owned as the retention policy
//! says.

use std::sync::Arc;

pub(super) use coracle_api::resources::PERSISTENT_VOLUME_CLAIMS as RESOURCE;
use coracle_api::{Key, Object, Quantity};
use coracle_store::Snapshot;
use serde_json::{Map, Value, json};

use super::identity::claim_name;
use super::set::Set;
use crate::json;
use crate::plan::{Note, Write};

/// The claim of each template for a pod: its name and the template.
pub(super) fn names<'a>(
    set: &'a Set,
    pod: &'a str,
) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    let templates = set.object().value()["spec"]["volumeClaimTemplates"].as_array();
    templates.into_iter().flatten().map(move |template| {
        (claim_name(template["metadata"]["name"].as_str().unwrap_or_default(), pod), template)
    })
}

/// The stored claims of a pod.
pub(super) fn stored<'a>(
    snapshot: &'a Snapshot,
    set: &'a Set,
    pod: &'a str,
) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
    names(set, pod).filter_map(|(name, _)| snapshot.find(RESOURCE, &set.namespace, &name))
}

/// Where a claim of `name` is.
pub(super) fn key(set: &Set, name: &str) -> Key {
    Key::new(RESOURCE, set.namespace.as_str(), name)
}

/// A new claim from its template, owned by the set when deletion of the set should delete it.
pub(super) fn new_claim(set: &Set, name: &str, template: &Value) -> Value {
    let mut claim = template.clone();
    json::set(&mut claim, &["status"], Value::Null);
    json::set(&mut claim, &["apiVersion"], json!("v1"));
    json::set(&mut claim, &["kind"], json!("PersistentVolumeClaim"));
    json::set(&mut claim, &["metadata", "name"], json!(name));
    json::set(&mut claim, &["metadata", "namespace"], json!(set.namespace));
    let labels: Map<_, _> =
        set.match_labels.iter().map(|(label, value)| (label.clone(), json!(value))).collect();
    json::map_at(&mut claim, &["metadata", "labels"]).extend(labels);
    if set.policy.when_deleted {
        let owner = json::controller_reference(set.object());
        json::set(&mut claim, &["metadata", "ownerReferences"], json!([owner]));
    }
    claim
}

/// The name of a pod that is gone, or of a set of this one's name, that the claim still belongs to:
/// the garbage collector will take it, and a new pod must not start on it.
pub(super) fn stale_owner(set: &Set, claim: &Object, pod: &str) -> Option<String> {
    let names = |reference: &&Value, kind: &str, name: &str| {
        reference["kind"] == *kind && reference["name"] == *name
    };
    let is_stale = |reference: &&Value| {
        (set.policy.when_scaled && names(reference, "Pod", pod))
            || (names(reference, "StatefulSet", &set.name) && reference["uid"] != *set.uid())
    };
    references(claim).find(is_stale)?["name"].as_str().map(str::to_owned)
}

/// Whether the claim carries other owner references than the retention policy wants for the pod
/// `name`, which is there as `pod` or is about to be made; if so, what must be said and written.
///
/// A claim that still names an earlier pod of this name belongs to the garbage collector, unless
/// the policy has become to keep it before the pod is made anew: then the new pod has it.
pub(super) fn settle_owner(
    set: &Set,
    claim: &Arc<Object>,
    name: &str,
    pod: Option<&Object>,
    is_condemned: bool,
) -> (Option<Write>, Option<Note>) {
    let (set_owns, pod_owns) = wanted(set, is_condemned);
    let names = |kind: &str, name: &str, reference: &Value| {
        reference["kind"] == *kind && reference["name"] == *name
    };
    let is_ours = |reference: &Value| {
        reference["uid"] == *set.uid()
            || match pod {
                Some(pod) => reference["uid"] == *pod.metadata().uid,
                None => names("Pod", name, reference),
            }
    };
    let is_same_name = |reference: &Value| {
        names("StatefulSet", &set.name, reference) || names("Pod", name, reference)
    };
    if references(claim).any(|reference| is_same_name(reference) && !is_ours(reference)) {
        return (None, None);
    }
    let foreign = |reference: &Value| reference["controller"] == true && !is_ours(reference);
    let keeps = !set.policy.when_deleted && !set.policy.when_scaled;
    let conflict = !keeps && references(claim).any(foreign);
    let mut owners = json::owner_references(claim);
    owners.retain(|reference| !is_ours(reference));
    if !conflict {
        owners.extend(set_owns.then(|| json::controller_reference(set.object())));
        owners.extend(pod.filter(|_| pod_owns).map(json::controller_reference));
    }
    let changed = !same_owners(&owners, &json::owner_references(claim));
    let write = changed.then(|| Write::Update(json::with_owner_references(claim, owners)));
    (write, conflict.then(|| conflict_note(set, claim)))
}

/// The claim as its template wants it, when the template asks for more.
pub(super) fn grown(claim: &Object, template: &Value) -> Option<Value> {
    const SIZE: [&str; 4] = ["spec", "resources", "requests", "storage"];
    let size = |value: &Value| {
        let size = SIZE.iter().try_fold(value, |at, field| at.get(field))?;
        Quantity::from_json(size).ok().map(|amount| (amount, size.clone()))
    };
    let ((has, _), (wanted, text)) = (size(claim.value())?, size(template)?);
    (has < wanted && !claim.metadata().is_deleting()).then(|| json::with(claim, &SIZE, text))
}

/// Whether the set, and whether the pod, should own the pod's claims.
fn wanted(set: &Set, is_condemned: bool) -> (bool, bool) {
    let pod_owns = set.policy.when_scaled && is_condemned;
    (set.policy.when_deleted && !pod_owns, pod_owns)
}

fn references(claim: &Object) -> impl Iterator<Item = &Value> {
    claim.value()["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

fn same_owners(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().all(|reference| b.contains(reference))
}

fn conflict_note(set: &Set, claim: &Object) -> Note {
    let name = &claim.metadata().name;
    // "acts as a manging controller" is upstream's own wording, and tools look for it.
    let message = format!(
        "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging \
         controller, the retention policy is ignored for this claim"
    );
    Note::warning(set.object(), "ConflictingController", message)
}
