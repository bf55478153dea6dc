//! scheduling.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at, flag, number};
use crate::resources::PRIORITY_CLASSES;
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.scheduling.v1", [priority_classes()])
}

fn priority_classes() -> Kind {
    cluster("PriorityClass", PRIORITY_CLASSES)
        .short(&["pc"])
        .counted()
        .defaults(defaults::priority_class)
        .validate(validation::priority_class)
        .validate_update(validation::priority_class_update)
        .columns(
            const {
                &[
                    NAME,
                    number("Value", "/value"),
                    flag("Global-Default", "/globalDefault", false),
                    AGE,
                    at("PreemptionPolicy", "/preemptionPolicy"),
                ]
            },
        )
}
