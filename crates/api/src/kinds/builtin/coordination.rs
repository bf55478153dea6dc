//! coordination.k8s.io/v1.

use super::row::{Row as _, namespaced, version};
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at};
use crate::resources::LEASES;
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.coordination.v1", [leases()])
}

fn leases() -> Kind {
    namespaced("Lease", LEASES)
        .put_creates()
        .guarded()
        .validate(validation::lease)
        .columns(const { &[NAME, at("Holder", "/spec/holderIdentity"), AGE] })
}
