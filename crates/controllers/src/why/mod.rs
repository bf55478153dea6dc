//! What an object itself says it waits for: its deletion's finalizers, or what its status tells.

mod guard;
mod image;
mod outlook;
mod pod;
mod resources;
mod shortfall;
mod workload;

use coracle_api::resources::{
    CERTIFICATE_SIGNING_REQUESTS, CRON_JOBS, DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, JOBS,
    PERSISTENT_VOLUME_CLAIMS, POD_DISRUPTION_BUDGETS, PODS,
};
use coracle_api::{Object, conditions};
use coracle_store::Snapshot;

pub use self::outlook::outlook;
pub use self::shortfall::shortfall;

use crate::plan::Because;

/// Reason of the event that a container was killed because its volume refuses writes.
pub const VOLUME_FAILED: &str = "VolumeConditionAbnormal";

/// The reason that `object` itself gives for not being where it should be; `None` when it is, or
/// when its kind says nothing of the sort.
pub fn status_reason(snapshot: &Snapshot, object: &Object) -> Option<Because> {
    let of_kind = match &*object.key().resource {
        PODS => pod::reason(snapshot, object),
        PERSISTENT_VOLUME_CLAIMS => claim(object),
        DEPLOYMENTS => workload::deployment(object),
        JOBS => workload::job(snapshot, object),
        CRON_JOBS => workload::cron_job(snapshot, object),
        HORIZONTAL_POD_AUTOSCALERS => workload::autoscaler(snapshot, object),
        POD_DISRUPTION_BUDGETS => guard::budget(snapshot, object),
        CERTIFICATE_SIGNING_REQUESTS => guard::request(object),
        _ => None,
    };
    of_kind.or_else(|| deletion(object))
}

/// Whether `object` has come to an end of which its controller tells, if it matters: of a pod that
/// another has taken the place of, and of an old job of a CronJob, nobody has to hear.
pub fn is_told_by_its_controller(object: &Object) -> bool {
    let has_failed = match &*object.key().resource {
        PODS => object.str_at("/status/phase") == Some("Failed"),
        JOBS => conditions::status(object.value(), "Failed") == Some("True"),
        _ => false,
    };
    has_failed && object.metadata().controller().is_some()
}

/// A condition in one sentence: `Progressing is False (ProgressDeadlineExceeded): …`.
fn told(condition: &serde_json::Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    let reason = match text("reason") {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    let message = match text("message") {
        "" => String::new(),
        message => format!(": {message}"),
    };
    format!("{} is {}{reason}{message}", text("type"), text("status"))
}

/// Who holds up the end of an object that is being deleted.
fn deletion(object: &Object) -> Option<Because> {
    let metadata = object.metadata();
    if !metadata.is_deleting() {
        return None;
    }
    let of_spec = object.value().pointer("/spec/finalizers").and_then(|list| list.as_array());
    let of_spec = of_spec.into_iter().flatten().filter_map(|name| name.as_str());
    let held: Vec<&str> = metadata.finalizers.iter().map(String::as_str).chain(of_spec).collect();
    Some(Because::only(match held.as_slice() {
        [] => "is being deleted, and ends with its grace period".to_owned(),
        held => {
            format!("is being deleted, and waits for who set its finalizers: {}", held.join(", "))
        }
    }))
}

/// What a claim's conditions say: it is to grow, and waits for its pod or its node.
fn claim(object: &Object) -> Option<Because> {
    let conditions = object.value().pointer("/status/conditions")?.as_array()?;
    let holds = conditions.iter().find(|condition| condition["status"] == "True")?;
    let (what, message) = (holds["type"].as_str()?, holds["message"].as_str().unwrap_or_default());
    let more = if message.is_empty() { String::new() } else { format!(": {message}") };
    Some(Because::only(format!("{what}{more}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;
    use serde_json::{Value, json};

    fn said(resource: &str, value: Value) -> Option<String> {
        let object = Object::with_resource(resource, value).unwrap();
        status_reason(&World::new().store.snapshot(), &object).map(|because| because.sentence)
    }

    #[test]
    fn what_is_being_deleted_names_its_finalizers() {
        let gone = "2026-01-01T00:00:00Z";
        let namespace = json!({
            "metadata": {"name": "x", "deletionTimestamp": gone, "finalizers": ["example.com/hold"]},
            "spec": {"finalizers": ["kubernetes"]},
        });
        let held = "is being deleted, and waits for who set its finalizers: ";
        assert_eq!(
            said("namespaces", namespace).unwrap(),
            format!("{held}example.com/hold, kubernetes")
        );
        let map = json!({"metadata": {"name": "x", "namespace": "a", "finalizers": ["b.c/d"]}});
        assert_eq!(said("configmaps", map.clone()), None);
        let mut going = map;
        going["metadata"]["deletionTimestamp"] = json!(gone);
        assert_eq!(said("configmaps", going).unwrap(), format!("{held}b.c/d"));
    }

    #[test]
    fn a_claim_that_grows_says_what_that_waits_for() {
        let claim = json!({
            "metadata": {"name": "data", "namespace": "a"},
            "status": {"conditions": [{
                "type": "FileSystemResizePending", "status": "True", "message": "no pod uses it",
            }]},
        });
        let said = said("persistentvolumeclaims", claim);
        assert_eq!(said.unwrap(), "FileSystemResizePending: no pod uses it");
    }
}
