//! apiregistration.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, text};
use crate::print::{Cell, cluster};
use crate::resources::API_SERVICES;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1", [api_services()])
}

fn api_services() -> Kind {
    cluster("APIService", API_SERVICES).extends_api().status().guarded().columns(
        const {
            &[
                NAME,
                text("Service", Cell::Code(cluster::api_service)),
                text("Available", Cell::Code(cluster::api_available)),
                AGE,
            ]
        },
    )
}
