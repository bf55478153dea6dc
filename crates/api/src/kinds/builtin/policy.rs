//! policy/v1.

use super::row::{Row as _, namespaced, version};
use crate::defaults::initial;
use crate::kind::{Kind, NameRule};
use crate::print::Cell;
use crate::print::columns::{AGE, NAME, number, text};
use crate::resources::POD_DISRUPTION_BUDGETS;
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.policy.v1", [pod_disruption_budgets()])
}

fn pod_disruption_budgets() -> Kind {
    namespaced("PodDisruptionBudget", POD_DISRUPTION_BUDGETS)
        .names(NameRule::PathSegment)
        .short(&["pdb"])
        .status()
        .counted()
        .guarded()
        .prepare(initial::disruption_budget)
        .validate(validation::disruption_budget)
        .columns(
            const {
                &[
                    NAME,
                    text("Min Available", Cell::Text("/spec/minAvailable", "N/A")),
                    text("Max Unavailable", Cell::Text("/spec/maxUnavailable", "N/A")),
                    number("Allowed Disruptions", "/status/disruptionsAllowed"),
                    AGE,
                ]
            },
        )
}
