//! flowcontrol.apiserver.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::defaults;
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at, text};
use crate::print::{Cell, cluster};
use crate::resources::{FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS};
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.flowcontrol.v1", [flow_schemas(), priority_level_configurations()])
}

fn flow_schemas() -> Kind {
    cluster("FlowSchema", FLOW_SCHEMAS)
        .defaults(defaults::flow_schema)
        .validate(validation::flow_schema)
        .status()
        .counted()
        .columns(
            const {
                &[
                    NAME,
                    at("PriorityLevel", "/spec/priorityLevelConfiguration/name"),
                    text("MatchingPrecedence", Cell::Number("/spec/matchingPrecedence")),
                    text(
                        "DistinguisherMethod",
                        Cell::Text("/spec/distinguisherMethod/type", "<none>"),
                    ),
                    AGE,
                    text("MissingPL", Cell::Code(cluster::missing_level)),
                ]
            },
        )
}

fn priority_level_configurations() -> Kind {
    cluster("PriorityLevelConfiguration", PRIORITY_LEVEL_CONFIGURATIONS)
        .defaults(defaults::priority_level)
        .validate(validation::priority_level)
        .status()
        .counted()
        .columns(
            const {
                &[
                    NAME,
                    at("Type", "/spec/type"),
                    text(
                        "NominalConcurrencyShares",
                        Cell::Text("/spec/limited/nominalConcurrencyShares", "<none>"),
                    ),
                    text(
                        "Queues",
                        Cell::Text("/spec/limited/limitResponse/queuing/queues", "<none>"),
                    ),
                    text(
                        "HandSize",
                        Cell::Text("/spec/limited/limitResponse/queuing/handSize", "<none>"),
                    ),
                    text(
                        "QueueLengthLimit",
                        Cell::Text(
                            "/spec/limited/limitResponse/queuing/queueLengthLimit",
                            "<none>",
                        ),
                    ),
                    AGE,
                ]
            },
        )
}
