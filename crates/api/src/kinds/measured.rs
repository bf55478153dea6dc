//! NodeMetrics and PodMetrics: made from what was measured for whoever asks.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::kinds::computed::Seen;
use crate::pods::AnyPod;
use crate::resources::{NODES, PODS};
use crate::usage::{Amount, Measured};
use crate::{Object, Quantity};

/// `{"cpu": "123456n", "memory": "20480Ki"}`
fn resource_list(amount: Amount) -> Value {
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    json!({
        "cpu": Quantity::from_nanos(signed(amount.nanocores)).to_string(),
        "memory": Quantity::from_bytes(signed(amount.bytes)).to_string(),
    })
}

/// `nodes.metrics.k8s.io`: nodes that are there and were measured.
pub(super) fn node_metrics(seen: &Seen<'_>) -> Vec<Value> {
    let metrics = |node: &Arc<Object>| {
        let measured = seen.usage.nodes.get(&node.metadata().name)?;
        let mut value = head("NodeMetrics", node, measured);
        value["usage"] = resource_list(measured.used);
        Some(value)
    };
    asked(seen, NODES).filter_map(metrics).collect()
}

/// `pods.metrics.k8s.io`: pods that run and were measured.
pub(super) fn pod_metrics(seen: &Seen<'_>) -> Vec<Value> {
    let metrics = |pod: &Arc<Object>| {
        let measured = seen.usage.pods.get(&pod.metadata().uid)?;
        if pod.value().phase() != "Running" {
            return None;
        }
        let containers = measured.used.iter();
        let containers: Vec<Value> = containers
            .map(|(name, amount)| json!({"name": name, "usage": resource_list(*amount)}))
            .collect();
        let mut value = head("PodMetrics", pod, measured);
        value["containers"] = containers.into();
        Some(value)
    };
    asked(seen, PODS).filter_map(metrics).collect()
}

fn asked<'a>(
    seen: &'a Seen<'a>,
    resource: &'a str,
) -> impl Iterator<Item = &'a std::sync::Arc<Object>> {
    let named =
        move |object: &&Arc<Object>| seen.name.is_none_or(|name| object.metadata().name == name);
    seen.objects.look(resource, seen.namespace).filter(named)
}

/// What metrics of both kinds begin with.
fn head<T>(kind: &str, of: &Object, measured: &Measured<T>) -> Value {
    let at = measured.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let metadata = of.metadata();
    let mut value = json!({
        "apiVersion": "metrics.k8s.io/v1beta1",
        "kind": kind,
        "metadata": {"name": metadata.name, "creationTimestamp": at},
        "timestamp": at,
        "window": window_text(measured.window),
    });
    if !metadata.namespace.is_empty() {
        value["metadata"]["namespace"] = json!(metadata.namespace);
    }
    if !metadata.labels.is_empty() {
        value["metadata"]["labels"] = json!(metadata.labels);
    }
    value
}

/// As Go writes a duration, in whole milliseconds: `15s`, `1.004s`, `1m0.5s`.
fn window_text(window: SignedDuration) -> String {
    let millis = window.as_millis().max(0);
    if millis < 1000 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let (seconds, fraction) = (rest / 1000, rest % 1000);
    let fraction = format!(".{fraction:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, minutes) => format!("{minutes}m{seconds}{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_read_as_go_writes_them() {
        let cases = [
            (0, "0s"),
            (40, "40ms"),
            (1004, "1.004s"),
            (15_000, "15s"),
            (15_250, "15.25s"),
            (60_500, "1m0.5s"),
            (3_600_000, "1h0m0s"),
        ];
        for (millis, text) in cases {
            assert_eq!(window_text(SignedDuration::from_millis(millis)), text);
        }
    }

    #[test]
    fn amounts_read_as_quantities() {
        let of = |nanocores, bytes| resource_list(Amount { nanocores, bytes });
        assert_eq!(of(123_456, 20 << 20), json!({"cpu": "123456n", "memory": "20Mi"}));
        assert_eq!(of(0, 4096), json!({"cpu": "0", "memory": "4Ki"}));
        assert_eq!(of(250_000_000, 1001), json!({"cpu": "250m", "memory": "1001"}));
        assert_eq!(of(u64::MAX, u64::MAX)["memory"], "9223372036854775807");
    }
}
