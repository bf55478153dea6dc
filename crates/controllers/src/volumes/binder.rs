//! The controller that brings claims and volumes together and says how they are.

use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};

use super::{CLAIMS, CLASSES, VOLUMES, claim, claim_of, is_bound, volume};
use crate::table::Controller;
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "persistentvolume-controller",
    watches: &[
        (CLAIMS, claim_and_its_volume),
        (VOLUMES, volume_and_its_claims),
        (CLASSES, unbound_claims),
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
        let volumes = snapshot.list(VOLUMES, None);
        let for_it =
            |volume: &&std::sync::Arc<Object>| claim_of(volume).as_ref() == Some(&event.key);
        volumes.filter(for_it).map(|volume| volume.key().clone()).collect::<Vec<_>>()
    });
    let own = std::iter::once(event.key.clone());
    own.chain(volume).chain(kept.into_iter().flatten()).collect()
}

/// A volume concerns the claim that it is kept for; a free one all that have none.
fn volume_and_its_claims(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let mut keys = match claim_of(&event.last) {
        Some(claim) => vec![claim],
        None => unbound_claims(event, snapshot),
    };
    keys.push(event.key.clone());
    keys
}

fn unbound_claims(_: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let claims = snapshot.list(CLAIMS, None).filter(|claim| !is_bound(claim));
    claims.map(|claim| claim.key().clone()).collect()
}
