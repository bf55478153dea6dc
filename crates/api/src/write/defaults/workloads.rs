//! What makes pods: sets, deployments, jobs.

use serde_json::{Map, Value, json};

use super::core::claim;
use super::pod::pod_template;
use super::{each, ensure, is_set, set, set_zero, text, within};

fn spec_and_template(object: &mut Value) -> Option<&mut Value> {
    let spec = ensure(object, "spec")?;
    if let Some(template) = ensure(spec, "template") {
        pod_template(template);
    }
    Some(spec)
}

/// A StatefulSet. A client that names the strategy but not its parameters keeps it so: the
/// controller treats that differently.
pub fn stateful_set(object: &mut Value) {
    let Some(spec) = spec_and_template(object) else { return };
    set_zero(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            set_zero(strategy, "type", "RollingUpdate");
            set(strategy, "rollingUpdate", Map::new());
        }
        if text(strategy, "type") == "RollingUpdate" {
            within(strategy, "rollingUpdate", |rolling| set(rolling, "partition", 0));
        }
    }
    if let Some(policy) = ensure(spec, "persistentVolumeClaimRetentionPolicy") {
        set_zero(policy, "whenDeleted", "Retain");
        set_zero(policy, "whenScaled", "Retain");
    }
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    each(spec, "volumeClaimTemplates", |template| {
        if let Value::Object(map) = template {
            // Whatever the client says: it can be nothing else.
            map.insert("apiVersion".into(), "v1".into());
            map.insert("kind".into(), "PersistentVolumeClaim".into());
        }
        claim(template);
    });
}

/// A Deployment.
pub fn deployment(object: &mut Value) {
    let Some(spec) = spec_and_template(object) else { return };
    set(spec, "replicas", 1);
    if let Some(strategy) = ensure(spec, "strategy") {
        set_zero(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            set(rolling, "maxUnavailable", "25%");
            set(rolling, "maxSurge", "25%");
        }
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
}

/// A DaemonSet.
pub fn daemon_set(object: &mut Value) {
    let Some(spec) = spec_and_template(object) else { return };
    if let Some(strategy) = ensure(spec, "updateStrategy") {
        set_zero(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = ensure(strategy, "rollingUpdate")
        {
            set(rolling, "maxUnavailable", 1);
            set(rolling, "maxSurge", 0);
        }
    }
    set(spec, "revisionHistoryLimit", 10);
}

/// A ReplicaSet.
pub fn replica_set(object: &mut Value) {
    if let Some(spec) = spec_and_template(object) {
        set(spec, "replicas", 1);
    }
}

/// A ReplicationController: selector and labels come from the template.
pub fn replication_controller(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    within(spec, "template", pod_template);
    set(spec, "replicas", 1);
    let labels = spec.pointer("/template/metadata/labels").cloned().unwrap_or_default();
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        set(spec, "selector", labels.clone());
        if let Some(metadata) = ensure(object, "metadata") {
            set(metadata, "labels", labels);
        }
    }
}

/// A Job.
pub fn job(object: &mut Value) {
    let Some(spec) = spec_and_template(object) else { return };
    if !is_set(spec, "completions") && !is_set(spec, "parallelism") {
        set(spec, "completions", 1);
        set(spec, "parallelism", 1);
    }
    set(spec, "parallelism", 1);
    let limit = if is_set(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    set(spec, "backoffLimit", limit);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    let replacement =
        if is_set(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set(spec, "podReplacementPolicy", replacement);
    within(spec, "podFailurePolicy", |policy| {
        each(policy, "rules", |rule| {
            each(rule, "onPodConditions", |condition| set_zero(condition, "status", "True"));
        });
    });
    set(spec, "manualSelector", false);
    let labels = spec.pointer("/template/metadata/labels").cloned().unwrap_or_default();
    if labels.as_object().is_some_and(|labels| !labels.is_empty())
        && let Some(metadata) = ensure(object, "metadata")
    {
        set(metadata, "labels", labels);
    }
}

/// A CronJob.
pub fn cron_job(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    set_zero(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = ensure(spec, "jobTemplate") {
        spec_and_template(job);
    }
}

/// A HorizontalPodAutoscaler of any version.
pub fn autoscaler(object: &mut Value) {
    let is_v1 = text(object, "apiVersion") == "autoscaling/v1";
    let Some(spec) = ensure(object, "spec") else { return };
    set(spec, "minReplicas", 1);
    if is_v1 {
        return;
    }
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty)
        && let Value::Object(spec) = spec
    {
        let cpu = json!([{"type": "Resource", "resource":
            {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        spec.insert("metrics".into(), cpu);
    }
    within(spec, "behavior", behavior);
}

/// Where something is said of one direction, all of both is.
fn behavior(behavior: &mut Value) {
    let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15}]);
    let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
    for (direction, policies) in [("scaleUp", up), ("scaleDown", down)] {
        let Some(rules) = ensure(behavior, direction) else { continue };
        if direction == "scaleUp" {
            set(rules, "stabilizationWindowSeconds", 0);
        }
        set(rules, "selectPolicy", "Max");
        set(rules, "policies", policies);
    }
}
