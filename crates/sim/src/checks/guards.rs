//! Admission webhooks and policies: nothing is written that one of them forbids, nor what nobody could
//! ask about where that is no leave.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::{
    DEPLOYMENTS, VALIDATING_ADMISSION_POLICIES as POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS as BINDINGS, VALIDATING_WEBHOOK_CONFIGURATIONS as HOOKS,
};
use coracle_store::Snapshot;

use super::Change;
use super::owned::spec;
use crate::outside::FEW;
use crate::runtime::Runtime;

pub(super) fn check(
    before: &Snapshot,
    changes: &[Change],
    runtime: &Runtime,
) -> Result<(), String> {
    let size = |object: &Arc<Object>| spec(object, "replicas", 1);
    for change in changes.iter().filter(|it| *it.key.resource == *DEPLOYMENTS) {
        let Some(new) = &change.new else { continue };
        if change.old.as_ref().map(size) == Some(size(new)) {
            continue;
        }
        let few = size(new) <= FEW;
        for hook in before.list(HOOKS, None) {
            let fails = hook.str_at("/webhooks/0/failurePolicy") != Some("Ignore");
            let forbids = if runtime.hook_is_gone { fails } else { !few };
            if forbids {
                let gone = runtime.hook_is_gone;
                let why = format!("was written in spite of {}, which is gone: {gone}", hook.key());
                return Err(format!("{} {why}", change.key));
            }
        }
        for binding in before.list(BINDINGS, None) {
            let name = binding.str_at("/spec/policyName").unwrap_or_default();
            let Some(policy) = before.find(POLICIES, "", name) else { continue };
            // The other one cannot be judged of any Deployment.
            let fails = policy.str_at("/spec/failurePolicy") != Some("Ignore");
            if if name == "few" { !few } else { fails } {
                return Err(format!("{} was written in spite of {}", change.key, policy.key()));
            }
        }
    }
    Ok(())
}
