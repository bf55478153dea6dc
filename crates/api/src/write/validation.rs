//! What is wrong with an object beyond the shape of its fields, kind by kind, in upstream's words
//! (`pkg/apis/*/validation`).
//!
//! Objects that come here have their types checked and their defaults set.

mod access;
mod certificate;
mod config;
mod container;
mod cursor;
mod endpoints;
mod parts;
mod pod;
mod probe;
mod scheduling;
mod security;
mod service;
mod storage;
mod volume;
mod workload;

pub use access::{
    SYSTEM_PRIORITY_CLASSES, cluster_role, cluster_role_binding, disruption_budget, event, lease,
    named_event, named_event_create, named_event_update, namespace, priority_class,
    priority_class_update, role, role_binding, role_binding_update, runtime_class,
    runtime_class_update,
};
pub use certificate::{certificate_signing_request, certificate_signing_request_status};
pub use config::{config_map, config_map_update, secret, secret_update};
pub use endpoints::{endpoint_slice, endpoint_slice_update, endpoints};
pub use parts::{annotations, labels};
pub use pod::{pod, pod_create, pod_template_object, pod_update};
pub use service::{service, service_update};
pub use storage::{
    persistent_volume, persistent_volume_claim, persistent_volume_claim_update,
    persistent_volume_update, storage_class, storage_class_update,
};
pub use workload::{
    controller_revision, controller_revision_update, cron_job, daemon_set, deployment, job,
    job_update, replica_set, replication_controller, selector_update, stateful_set,
    stateful_set_create, stateful_set_status, stateful_set_update, stateful_set_warnings,
};

#[cfg(test)]
mod tests;
