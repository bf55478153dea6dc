//! The controller that brings claims and volumes together and says how they are.

use coracle_api::{Index, Key, index};
use coracle_store::{Event, Snapshot};

use super::{CLAIMS, CLASSES, VOLUMES, claim, claim_of, volume};
use crate::table::Controller;
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "persistentvolume-controller",
    serial: false,
    watches: &[
        (CLAIMS, claim_and_its_volume),
        (VOLUMES, volume_and_its_claims),
        (CLASSES, claims_of_class),
    ],
    decide,
};

/// What should happen to the claim or the volume at `key` now.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(object) = snapshot.get(key) else { return Plan::default() };
    match &*key.resource {
        CLAIMS => claim::decide(snapshot, object),
        _ => volume::decide(snapshot, object, context.now),
    }
}

fn claim_and_its_volume(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let named = event.last.str_at("/spec/volumeName").filter(|name| !name.is_empty());
    let volume = named.map(|name| Key::new(VOLUMES, "", name));
    // A claim that comes again under the name of one that a volume was kept for.
    let freed = event.old.is_none() && named.is_none();
    let kept = freed.then(|| {
        let Key { namespace, name, .. } = &event.key;
        let term = index::claim(namespace, name);
        let volumes = snapshot.indexed(Index::VolumeClaim, &term, VOLUMES, None);
        volumes.map(|volume| volume.key().clone()).collect::<Vec<_>>()
    });
    let own = std::iter::once(event.key.clone());
    own.chain(volume).chain(kept.into_iter().flatten()).collect()
}

/// A volume concerns the claim that it is kept for; a free one all that have none.
fn volume_and_its_claims(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let mut keys = match claim_of(&event.last) {
        Some(claim) => vec![claim],
        None => unbound_claims(snapshot, super::class_name(&event.last)),
    };
    keys.push(event.key.clone());
    keys
}

fn claims_of_class(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    // A class that becomes the default is for claims that name none.
    let mut keys = unbound_claims(snapshot, &event.key.name);
    keys.extend(unbound_claims(snapshot, ""));
    keys
}

/// The claims of a class that have no volume yet.
pub(super) fn unbound_claims(snapshot: &Snapshot, class: &str) -> Vec<Key> {
    let claims = snapshot.indexed(Index::UnboundClaimClass, class, CLAIMS, None);
    claims.map(|claim| claim.key().clone()).collect()
}
