//! node.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at};
use crate::resources::RUNTIME_CLASSES;
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.node.v1", [runtime_classes()])
}

fn runtime_classes() -> Kind {
    cluster("RuntimeClass", RUNTIME_CLASSES)
        .put_creates()
        .guarded()
        .validate(validation::runtime_class)
        .validate_update(validation::runtime_class_update)
        .columns(const { &[NAME, at("Handler", "/handler"), AGE] })
}
