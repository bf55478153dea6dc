//! metrics.k8s.io/v1beta1: what pods and nodes use now, measured for whoever asks.

use super::row::{Row as _, cluster, namespaced, version};
use crate::kind::Kind;
use crate::kinds::measured;
use crate::print::columns::{NAME, column, text};
use crate::print::{Cell, pods};
use crate::resources::{NODE_METRICS, POD_METRICS};

pub(super) fn rows() -> Vec<Kind> {
    let package = "io.k8s.metrics.pkg.apis.metrics.v1beta1";
    version("v1beta1", package, [node_metrics(), pod_metrics()])
}

fn node_metrics() -> Kind {
    cluster("NodeMetrics", NODE_METRICS).measured("nodemetrics", measured::node_metrics).columns(
        const {
            &[
                NAME,
                column("Cpu", "string", Cell::Text("/usage/cpu", "")),
                column("Memory", "string", Cell::Text("/usage/memory", "")),
                text("Window", Cell::Text("/window", "")),
            ]
        },
    )
}

fn pod_metrics() -> Kind {
    namespaced("PodMetrics", POD_METRICS).measured("podmetrics", measured::pod_metrics).columns(
        const {
            &[
                NAME,
                text("Cpu", Cell::Code(pods::used_cpu)),
                text("Memory", Cell::Code(pods::used_memory)),
                text("Window", Cell::Text("/window", "")),
            ]
        },
    )
}
