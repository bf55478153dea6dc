//! What is wrong with an object beyond the shape of its fields, kind by kind, in upstream's words
//! (`pkg/apis/*/validation`).
//!
//! Objects that come here have their types checked and their defaults set.

mod access;
mod admission;
mod admission_policy;
mod autoscaling;
mod certificate;
mod cluster;
mod config;
mod container;
mod csi;
mod cursor;
mod definition;
mod devices;
mod endpoints;
mod flow_control;
mod jobs;
mod networking;
mod parts;
mod pod;
mod pod_parts;
mod probe;
mod recreate;
mod references;
mod resize;
mod scheduling;
mod security;
mod service;
mod sources;
mod storage;
mod volume;
mod workload;

pub use access::{
    SYSTEM_PRIORITY_CLASSES, cluster_role, cluster_role_binding, disruption_budget, event, lease,
    named_event, named_event_create, named_event_update, namespace, priority_class,
    priority_class_update, role, role_binding, role_binding_update, runtime_class,
    runtime_class_update,
};
pub use admission::webhook_configuration;
pub use admission_policy::{
    ANNOTATION_MAX, mutating_binding, mutating_policy, validating_binding, validating_policy,
};
pub use autoscaling::{autoscaler, autoscaler_status, autoscaler_v1};
pub use certificate::{
    certificate_signing_request, certificate_signing_request_create,
    certificate_signing_request_status,
};
pub use cluster::{
    api_service, api_service_status, limit_range, node, node_update, resource_quota,
};
pub use config::{config_map, config_map_update, secret, secret_update};
pub use csi::{
    csi_driver, csi_driver_update, csi_node, csi_node_update, csi_storage_capacity,
    csi_storage_capacity_update, volume_attachment, volume_attachment_update,
    volume_attributes_class, volume_attributes_class_update,
};
pub use definition::custom_resource_definition;
pub use devices::{
    device_class, resource_claim_create, resource_claim_status, resource_claim_template,
    resource_claim_template_update, resource_claim_update, resource_slice, resource_slice_update,
};
pub use endpoints::{endpoint_slice, endpoint_slice_update, endpoints};
pub use flow_control::{flow_schema, priority_level};
pub use jobs::{JOB_LABELS, cron_job, cron_job_create, job, job_update};
pub use networking::{
    ingress, ingress_class, ingress_class_update, ingress_create, ingress_status, ip_address,
    ip_address_update, network_policy, service_cidr_create, service_cidr_update,
};
pub use parts::{annotations, labels};
pub use pod::{pod, pod_create, pod_template_object, pod_update};
pub use pod_parts::{pod_debugged, pod_status};
pub use recreate::{fixed_set_create, fixed_set_update, fixed_set_warnings};
pub use resize::pod_resize;
pub use service::{service, service_update};
pub use storage::{
    persistent_volume, persistent_volume_claim, persistent_volume_claim_update,
    persistent_volume_update, storage_class, storage_class_update,
};
pub use workload::{
    controller_revision, controller_revision_update, daemon_set, deployment, recreatable_set,
    replica_set, replicas_status, replication_controller, selector_update, stateful_set,
    stateful_set_create, stateful_set_status, stateful_set_update, stateful_set_warnings,
};

#[cfg(test)]
mod tests;
