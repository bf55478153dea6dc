//! discovery.k8s.io/v1.

use super::row::{Row as _, namespaced, version};
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at, text};
use crate::print::{Cell, network};
use crate::resources::ENDPOINT_SLICES;
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.discovery.v1", [endpoint_slices()])
}

fn endpoint_slices() -> Kind {
    namespaced("EndpointSlice", ENDPOINT_SLICES)
        .counted()
        .defaults(defaults::endpoint_slice)
        .validate(validation::endpoint_slice)
        .validate_update(validation::endpoint_slice_update)
        .columns(
            const {
                &[
                    NAME,
                    at("AddressType", "/addressType"),
                    text("Ports", Cell::Code(network::slice_ports)),
                    text("Endpoints", Cell::Code(network::slice_endpoints)),
                    AGE,
                ]
            },
        )
}
