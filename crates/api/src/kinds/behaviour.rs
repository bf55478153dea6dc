//! What writing a kind involves: the functions of each row's [`Strategy`](crate::Strategy).
//!
//! The facts of a strategy (names, generation, selectable fields) stand in the table; here, and
//! only here, a row gets its functions.

use serde_json::Value;

use crate::defaults::{self, initial};
use crate::kind::Kind;
use crate::kinds::custom;
use crate::{FieldError, validation};

/// Sets the functions of the row: defaults, what is prepared, validation, warnings.
pub(super) fn attach(kind: &mut Kind) {
    let (group, plural) = (kind.group.to_string(), kind.plural.to_string());
    let strategy = &mut kind.strategy;
    if let Some(default) = default_of(&group, &plural) {
        strategy.default = default;
    }
    if let Some(prepare) = prepare_of(&group, &plural) {
        strategy.prepare_create = prepare;
    }
    if let Some((validate, validate_update)) = checks_of(&group, &plural) {
        strategy.validate = validate;
        strategy.validate_update = validate_update;
    }
    match (group.as_str(), plural.as_str()) {
        ("", "pods") => {
            strategy.validate_create = validation::pod_create;
            strategy.grace_period = Some(termination_grace_period);
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            strategy.prepare_update = |new, _| custom::accept(new);
        }
        ("certificates.k8s.io", "certificatesigningrequests") => {
            strategy.validate_status = validation::certificate_signing_request_status;
        }
        ("events.k8s.io", "events") => strategy.validate_create = validation::named_event_create,
        ("apps", "statefulsets") => {
            strategy.validate_create = validation::stateful_set_create;
            strategy.validate_status = validation::stateful_set_status;
            strategy.warnings = validation::stateful_set_warnings;
        }
        _ => {}
    }
}

type Check = fn(&Value) -> Vec<FieldError>;
type CheckChange = fn(&Value, &Value) -> Vec<FieldError>;

/// What is checked of an object, and of a change.
fn checks_of(group: &str, plural: &str) -> Option<(Check, CheckChange)> {
    use validation as v;
    let any: CheckChange = |_, _| Vec::new();
    Some(match (group, plural) {
        ("", "configmaps") => (v::config_map, v::config_map_update),
        ("apiextensions.k8s.io", "customresourcedefinitions") => (custom::validate, any),
        ("", "endpoints") => (v::endpoints, any),
        ("", "events") => (v::event, any),
        ("", "namespaces") => (v::namespace, any),
        ("", "persistentvolumeclaims") => {
            (v::persistent_volume_claim, v::persistent_volume_claim_update)
        }
        ("", "persistentvolumes") => (v::persistent_volume, v::persistent_volume_update),
        ("", "pods") => (v::pod, v::pod_update),
        ("", "podtemplates") => (v::pod_template_object, any),
        ("", "replicationcontrollers") => (v::replication_controller, any),
        ("", "secrets") => (v::secret, v::secret_update),
        ("", "services") => (v::service, v::service_update),
        ("apps", "controllerrevisions") => (v::controller_revision, v::controller_revision_update),
        ("apps", "daemonsets") => (v::daemon_set, v::selector_update),
        ("apps", "deployments") => (v::deployment, v::selector_update),
        ("apps", "replicasets") => (v::replica_set, v::selector_update),
        ("apps", "statefulsets") => (v::stateful_set, v::stateful_set_update),
        ("batch", "cronjobs") => (v::cron_job, any),
        ("batch", "jobs") => (v::job, v::job_update),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            (v::certificate_signing_request, any)
        }
        ("coordination.k8s.io", "leases") => (v::lease, any),
        ("discovery.k8s.io", "endpointslices") => (v::endpoint_slice, v::endpoint_slice_update),
        ("events.k8s.io", "events") => (v::named_event, v::named_event_update),
        ("node.k8s.io", "runtimeclasses") => (v::runtime_class, v::runtime_class_update),
        ("policy", "poddisruptionbudgets") => (v::disruption_budget, any),
        ("rbac.authorization.k8s.io", "clusterrolebindings") => {
            (v::cluster_role_binding, v::role_binding_update)
        }
        ("rbac.authorization.k8s.io", "clusterroles") => (v::cluster_role, any),
        ("rbac.authorization.k8s.io", "rolebindings") => (v::role_binding, v::role_binding_update),
        ("rbac.authorization.k8s.io", "roles") => (v::role, any),
        ("scheduling.k8s.io", "priorityclasses") => (v::priority_class, v::priority_class_update),
        ("storage.k8s.io", "storageclasses") => (v::storage_class, v::storage_class_update),
        _ => return None,
    })
}

type Fill = fn(&mut Value);

fn default_of(group: &str, plural: &str) -> Option<Fill> {
    Some(match (group, plural) {
        ("", "endpoints") => defaults::endpoints,
        ("", "limitranges") => defaults::limit_range,
        ("", "namespaces") => defaults::namespace,
        ("", "persistentvolumeclaims") => defaults::persistent_volume_claim,
        ("", "persistentvolumes") => defaults::persistent_volume,
        ("", "pods") => defaults::pod,
        ("", "podtemplates") => defaults::pod_template_object,
        ("", "replicationcontrollers") => defaults::replication_controller,
        ("", "secrets") => defaults::secret,
        ("", "services") => defaults::service,
        ("apiextensions.k8s.io", "customresourcedefinitions") => custom::default,
        ("apps", "daemonsets") => defaults::daemon_set,
        ("apps", "deployments") => defaults::deployment,
        ("apps", "replicasets") => defaults::replica_set,
        ("apps", "statefulsets") => defaults::stateful_set,
        ("autoscaling", "horizontalpodautoscalers") => defaults::autoscaler,
        ("batch", "cronjobs") => defaults::cron_job,
        ("batch", "jobs") => defaults::job,
        ("discovery.k8s.io", "endpointslices") => defaults::endpoint_slice,
        ("networking.k8s.io", "networkpolicies") => defaults::network_policy,
        ("rbac.authorization.k8s.io", "clusterrolebindings" | "rolebindings") => {
            defaults::role_binding
        }
        ("scheduling.k8s.io", "priorityclasses") => defaults::priority_class,
        ("storage.k8s.io", "storageclasses") => defaults::storage_class,
        _ => return None,
    })
}

fn prepare_of(group: &str, plural: &str) -> Option<Fill> {
    Some(match (group, plural) {
        ("apiextensions.k8s.io", "customresourcedefinitions") => custom::accept,
        ("", "namespaces") => initial::namespace,
        ("", "persistentvolumeclaims" | "persistentvolumes") => initial::pending,
        ("", "pods") => initial::pod,
        ("", "services") => initial::service,
        ("", "replicationcontrollers") | ("apps", "replicasets") => initial::replicas,
        ("apps", "daemonsets") => initial::daemon_set,
        ("apps", "statefulsets") => initial::stateful_set,
        ("policy", "poddisruptionbudgets") => initial::disruption_budget,
        ("", "nodes" | "resourcequotas")
        | ("apps", "deployments")
        | ("batch", "jobs" | "cronjobs")
        | ("networking.k8s.io", "ingresses") => initial::empty,
        _ => return None,
    })
}

/// `spec.terminationGracePeriodSeconds`, which defaulting has set.
fn termination_grace_period(pod: &Value) -> i64 {
    let seconds = pod.pointer("/spec/terminationGracePeriodSeconds");
    seconds.and_then(Value::as_i64).unwrap_or(30)
}
