//! Finalizers that keep an object while something uses it.

use coracle_api::Object;

use crate::json;
use crate::plan::{Because, Plan, Write};

/// An object gets its finalizer, and keeps it until nobody uses the object that is being deleted.
pub(crate) fn protect(
    object: &Object,
    finalizer: &str,
    user: impl FnOnce(&Object) -> Option<Because>,
) -> Plan {
    let metadata = object.metadata();
    let has = metadata.finalizers.iter().any(|name| name == finalizer);
    let mut plan = Plan::default();
    match (metadata.is_deleting(), has) {
        (false, false) => {
            plan.write(Write::Update(json::with_finalizer(object, finalizer)));
        }
        (true, true) => match user(object) {
            Some(because) => plan.because = Some(because),
            None => plan.write(Write::Update(json::without_finalizer(object, finalizer))),
        },
        _ => {}
    }
    plan
}
