//! The rows that are compiled in, a file a group: everything that Kubernetes 1.37 serves by default.
//!
//! That is every generally available version. No beta is on by default any more, so left out are:
//! admissionregistration.k8s.io v1beta1 and v1alpha1, certificates.k8s.io v1beta1,
//! coordination.k8s.io v1beta1 and v1alpha2 (LeaseCandidate), internal.apiserver.k8s.io v1alpha1,
//! lifecycle.k8s.io v1alpha1 (EvictionRequest), resource.k8s.io v1beta2, v1beta1 and v1alpha3,
//! scheduling.k8s.io v1beta1 and v1alpha3 (Workload, PodGroup), storagemigration.k8s.io v1beta1.
//! metrics.k8s.io, which elsewhere a server beside has, comes last.

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod convert;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod metrics;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod row;
mod scheduling;
mod storage;
mod storagemigration;

use crate::gates::{Gate, Gates};
use crate::kind::Kind;

/// All rows, groups and versions in upstream's order of priority.
pub(super) fn rows() -> Vec<Kind> {
    [
        core::rows(),
        apiregistration::rows(),
        apps::rows(),
        events::rows(),
        authentication::rows(),
        authorization::rows(),
        autoscaling::rows(),
        batch::rows(),
        certificates::rows(),
        networking::rows(),
        policy::rows(),
        rbac::rows(),
        storage::rows(),
        admissionregistration::rows(),
        apiextensions::rows(),
        scheduling::rows(),
        coordination::rows(),
        node::rows(),
        discovery::rows(),
        resource::rows(),
        flowcontrol::rows(),
        storagemigration::rows(),
        metrics::rows(),
    ]
    .concat()
}

/// The rows that take the places of others of their names where these gates are on.
pub(super) fn gated(gates: &Gates) -> Vec<Kind> {
    match gates.is_on(Gate::StatefulSetRecreateStrategy) {
        true => apps::with_recreate(),
        false => Vec::new(),
    }
}
