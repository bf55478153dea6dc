//! autoscaling/v2 and v1.

use super::convert;
use super::row::{Row as _, namespaced, version};
use crate::defaults::initial;
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, text};
use crate::print::{Cell, workloads};
use crate::resources::HORIZONTAL_POD_AUTOSCALERS;
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    let v1 = horizontal_pod_autoscalers()
        .validate(validation::autoscaler_v1)
        .stored(convert::autoscalers());
    let v2 = version("v2", "io.k8s.api.autoscaling.v2", [horizontal_pod_autoscalers()]);
    [v2, version("v1", "io.k8s.api.autoscaling.v1", [v1])].concat()
}

fn horizontal_pod_autoscalers() -> Kind {
    namespaced("HorizontalPodAutoscaler", HORIZONTAL_POD_AUTOSCALERS)
        .short(&["hpa"])
        .all()
        .status()
        .defaults(defaults::autoscaler)
        .prepare(initial::empty)
        .validate(validation::autoscaler)
        .validate_status(validation::autoscaler_status)
        .columns(
            const {
                &[
                    NAME,
                    text("Reference", Cell::Code(workloads::scale_target)),
                    text("Targets", Cell::Code(workloads::metric_targets)),
                    text("MinPods", Cell::Text("/spec/minReplicas", "<unset>")),
                    text("MaxPods", Cell::Number("/spec/maxReplicas")),
                    text("Replicas", Cell::Number("/status/currentReplicas")),
                    AGE,
                ]
            },
        )
}
