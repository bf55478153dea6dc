//! apps/v1.

use super::row::{Row as _, namespaced, replica_columns, version};
use crate::defaults::initial;
use crate::kind::{Kind, NameRule};
use crate::print::columns::{AGE, CONTAINERS, IMAGES, NAME, number, text, wide};
use crate::print::{Cell, workloads};
use crate::resources::{
    CONTROLLER_REVISIONS, DAEMON_SETS, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS,
};
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    let sets = [daemon_sets(), deployments(), replica_sets(), stateful_sets()];
    of_version([controller_revisions()].into_iter().chain(sets))
}

/// What is another row where StatefulSets may have the strategy `Recreate`.
pub(super) fn with_recreate() -> Vec<Kind> {
    let sets = stateful_sets()
        .validate(validation::recreatable_set)
        .validate_create(validation::stateful_set_create)
        .validate_update(validation::stateful_set_update)
        .warnings(validation::stateful_set_warnings);
    of_version([sets])
}

fn of_version(rows: impl IntoIterator<Item = Kind>) -> Vec<Kind> {
    version("v1", "io.k8s.api.apps.v1", rows)
}

fn controller_revisions() -> Kind {
    namespaced("ControllerRevision", CONTROLLER_REVISIONS)
        .validate(validation::controller_revision)
        .validate_update(validation::controller_revision_update)
        .columns(
            const {
                &[
                    NAME,
                    text("Controller", Cell::Code(workloads::controller)),
                    text("Revision", Cell::Number("/revision")),
                    AGE,
                ]
            },
        )
}

fn daemon_sets() -> Kind {
    namespaced("DaemonSet", DAEMON_SETS)
        .short(&["ds"])
        .all()
        .status()
        .counted()
        .defaults(defaults::daemon_set)
        .prepare(initial::daemon_set)
        .prepare_update(initial::daemon_set_update)
        .validate(validation::daemon_set)
        .validate_update(validation::selector_update)
        .columns(
            const {
                &[
                    NAME,
                    number("Desired", "/status/desiredNumberScheduled"),
                    number("Current", "/status/currentNumberScheduled"),
                    number("Ready", "/status/numberReady"),
                    number("Up-to-date", "/status/updatedNumberScheduled"),
                    number("Available", "/status/numberAvailable"),
                    text("Node Selector", Cell::Labels("/spec/template/spec/nodeSelector")),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Selector("/spec/selector"))),
                ]
            },
        )
}

fn deployments() -> Kind {
    namespaced("Deployment", DEPLOYMENTS)
        .validate_status(validation::replicas_status)
        .short(&["deploy"])
        .all()
        .scale()
        .status()
        .counted_with_annotations()
        .defaults(defaults::deployment)
        .prepare(initial::empty)
        .validate(validation::deployment)
        .validate_update(validation::selector_update)
        .columns(
            const {
                &[
                    NAME,
                    text("Ready", Cell::Ratio("/status/readyReplicas", "/spec/replicas")),
                    text("Up-to-date", Cell::Number("/status/updatedReplicas")),
                    text("Available", Cell::Number("/status/availableReplicas")),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Selector("/spec/selector"))),
                ]
            },
        )
}

fn replica_sets() -> Kind {
    namespaced("ReplicaSet", REPLICA_SETS)
        .short(&["rs"])
        .replicates(const { &replica_columns(Cell::Selector("/spec/selector")) })
        .defaults(defaults::replica_set)
        .validate(validation::replica_set)
        .validate_update(validation::selector_update)
}

fn stateful_sets() -> Kind {
    namespaced("StatefulSet", STATEFUL_SETS)
        .short(&["sts"])
        .all()
        .scale()
        .status()
        .counted()
        .names(NameRule::DnsLabel)
        .defaults(defaults::stateful_set)
        .prepare(initial::stateful_set)
        .validate(validation::stateful_set)
        .validate_update(validation::fixed_set_update)
        .validate_create(validation::fixed_set_create)
        .validate_status(validation::stateful_set_status)
        .warnings(validation::fixed_set_warnings)
        .columns(
            const {
                &[
                    NAME,
                    text("Ready", Cell::Ratio("/status/readyReplicas", "/spec/replicas")),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                ]
            },
        )
}
