//! Which of the volumes that exist would do for a claim.

use std::sync::Arc;

use coracle_api::{Index, Key, Object, Quantity, Selector, index};
use coracle_store::Snapshot;
use serde_json::Value;

use super::{VOLUMES, claim_of, class_name, is_kept_for};

/// The volumes that would do for the claim: one kept for it, else the free ones, smallest first.
pub(crate) fn offers(snapshot: &Snapshot, claim: &Object) -> Vec<Arc<Object>> {
    let asked = Asked::by(claim);
    let Key { namespace, name, .. } = claim.key();
    let kept = snapshot.indexed(Index::VolumeClaim, &index::claim(namespace, name), VOLUMES, None);
    let free = snapshot.indexed(Index::VolumeClaim, "", VOLUMES, None);
    let mut all: Vec<_> =
        kept.chain(free).filter(|volume| asked.is_met_by(volume, claim)).collect();
    all.sort_by_cached_key(|volume| {
        (!is_kept_for(volume, claim), size(volume), volume.key().clone())
    });
    all.into_iter().map(Arc::clone).collect()
}

/// The size of a volume.
pub(super) fn size(volume: &Object) -> Quantity {
    quantity(volume.value().pointer("/spec/capacity/storage"))
}

/// The size that a claim asks for.
pub(super) fn wanted_size(claim: &Object) -> Quantity {
    quantity(claim.value().pointer("/spec/resources/requests/storage"))
}

fn quantity(value: Option<&Value>) -> Quantity {
    value.and_then(|value| Quantity::from_json(value).ok()).unwrap_or(Quantity::ZERO)
}

struct Asked {
    class: String,
    size: Quantity,
    modes: Vec<Value>,
    volume_mode: String,
    /// `None` when any volume would do.
    selector: Option<Selector>,
}

impl Asked {
    fn by(claim: &Object) -> Self {
        let selector = claim.value()["spec"].get("selector").filter(|value| !value.is_null());
        let nothing = |_| Selector::nothing();
        Self {
            class: class_name(claim).to_owned(),
            size: wanted_size(claim),
            modes: access_modes(claim),
            volume_mode: volume_mode(claim).to_owned(),
            selector: selector.map(|json| Selector::from_json(Some(json)).unwrap_or_else(nothing)),
        }
    }

    fn is_met_by(&self, volume: &Object, claim: &Object) -> bool {
        if volume.metadata().is_deleting() {
            return false;
        }
        if claim_of(volume).is_some() {
            return is_kept_for(volume, claim);
        }
        let modes = access_modes(volume);
        let selected = |selector: &Selector| selector.matches(&volume.metadata().labels);
        class_name(volume) == self.class
            && volume_mode(volume) == self.volume_mode
            && self.modes.iter().all(|mode| modes.contains(mode))
            && size(volume) >= self.size
            && self.selector.as_ref().is_none_or(selected)
    }
}

fn access_modes(object: &Object) -> Vec<Value> {
    object.value()["spec"]["accessModes"].as_array().cloned().unwrap_or_default()
}

fn volume_mode(object: &Object) -> &str {
    object.str_at("/spec/volumeMode").unwrap_or("Filesystem")
}
