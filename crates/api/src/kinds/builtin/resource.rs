//! resource.k8s.io/v1.

use super::row::{Row as _, cluster, namespaced, version};
use crate::defaults;
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at, text};
use crate::print::{Cell, storage};
use crate::resources::{
    DEVICE_CLASSES, DEVICE_TAINT_RULES, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS, RESOURCE_SLICES,
};
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.resource.v1",
        [
            device_classes(),
            device_taint_rules(),
            resource_claims(),
            resource_claim_templates(),
            resource_slices(),
        ],
    )
}

fn device_classes() -> Kind {
    cluster("DeviceClass", DEVICE_CLASSES)
        .answers_with_object()
        .validate(validation::device_class)
        .counted()
        .columns(const { &[NAME, AGE] })
}

fn device_taint_rules() -> Kind {
    cluster("DeviceTaintRule", DEVICE_TAINT_RULES).status().counted()
}

fn resource_claims() -> Kind {
    namespaced("ResourceClaim", RESOURCE_CLAIMS)
        .answers_with_object()
        .defaults(defaults::resource_claim)
        .validate_create(validation::resource_claim_create)
        .validate_update(validation::resource_claim_update)
        .validate_status(validation::resource_claim_status)
        .status()
        .columns(const { &[NAME, text("State", Cell::Code(storage::resource_claim_state)), AGE] })
}

fn resource_claim_templates() -> Kind {
    namespaced("ResourceClaimTemplate", RESOURCE_CLAIM_TEMPLATES)
        .answers_with_object()
        .defaults(defaults::resource_claim_template)
        .validate(validation::resource_claim_template)
        .validate_update(validation::resource_claim_template_update)
        .columns(const { &[NAME, AGE] })
}

fn resource_slices() -> Kind {
    cluster("ResourceSlice", RESOURCE_SLICES)
        .answers_with_object()
        .validate(validation::resource_slice)
        .validate_update(validation::resource_slice_update)
        .counted()
        .select(&[("spec.nodeName", "/spec/nodeName"), ("spec.driver", "/spec/driver")])
        .columns(
            const {
                &[
                    NAME,
                    text("Node", Cell::Code(storage::slice_node)),
                    at("Driver", "/spec/driver"),
                    at("Pool", "/spec/pool/name"),
                    AGE,
                ]
            },
        )
}
