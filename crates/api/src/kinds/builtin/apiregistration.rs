//! apiregistration.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::defaults;
use crate::kind::{Kind, NameRule};
use crate::print::columns::{AGE, NAME, text};
use crate::print::{Cell, cluster};
use crate::resources::API_SERVICES;
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1", [api_services()])
}

fn api_services() -> Kind {
    cluster("APIService", API_SERVICES)
        .names(NameRule::PathSegment)
        .defaults(defaults::api_service)
        .validate(validation::api_service)
        .validate_status(validation::api_service_status)
        .extends_api()
        .status()
        .guarded()
        .columns(
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
