use std::collections::BTreeMap;

use coracle_api::resources::DEPLOYMENTS;
use coracle_api::usage::{Amount, Measured};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::world::World;

const NAMES: &[&str] = &["horizontal-pod-autoscaler"];

/// A deployment of so many pods, each of which asks for a tenth of a processor; they have been Ready
/// for an hour.
fn world(replicas: usize) -> World {
    let mut world = World::new();
    world.create(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"replicas": replicas},
    }));
    (0..replicas).for_each(|index| pod(&mut world, &format!("web-{index}")));
    pass(&mut world, 3600);
    world
}

fn pod(world: &mut World, name: &str) {
    let resources = json!({"requests": {"cpu": "100m", "memory": "100Mi"}});
    world.create(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [
            {"name": "main", "image": "a:1", "resources": resources},
            {"name": "side", "image": "a:1", "resources": resources},
        ]},
    }));
    world.runs(name, true);
}

/// Both containers of a pod use so many thousandths of a processor together, and memory.
fn uses(world: &mut World, name: &str, milli: u64, mebibytes: u64) {
    let uid = world.get("pods", name).metadata().uid.clone();
    let main = Amount { nanocores: milli * 1_000_000, bytes: mebibytes << 20 };
    let used = [("main".to_owned(), main), ("side".to_owned(), Amount::default())].into();
    let window = SignedDuration::from_secs(15);
    world.usage.pods.insert(uid, Measured { at: world.now, window, used });
}

fn all_use(world: &mut World, milli: u64) {
    let names: Vec<String> = world.names("pods");
    names.iter().for_each(|name| uses(world, name, milli, 10));
}

fn pass(world: &mut World, seconds: i64) {
    let now = world.now;
    let kept: BTreeMap<_, _> = std::mem::take(&mut world.usage.pods)
        .into_iter()
        .map(|(uid, measured)| (uid, Measured { at: time::after(now, seconds), ..measured }))
        .collect();
    world.usage.pods = kept;
    world.pass(seconds, NAMES);
}

fn autoscaler(world: &mut World, spec: Value) {
    let mut whole = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1, "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource":
            {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
    });
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    world.create(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"}, "spec": whole,
    }));
    world.settle(NAMES);
    world.notes.clear();
}

fn replicas(world: &World) -> i64 {
    world.get(DEPLOYMENTS, "web").value()["spec"]["replicas"].as_i64().unwrap()
}

fn status(world: &World) -> Value {
    world.get(AUTOSCALERS, "web").value()["status"].clone()
}

/// `AbleToScale=True ReadyForNewScale`, and so on.
fn conditions(world: &World) -> Vec<String> {
    let status = status(world);
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    let all = status["conditions"].as_array().unwrap().iter();
    all.map(|it| format!("{}={} {}", text(it, "type"), text(it, "status"), text(it, "reason")))
        .collect()
}

fn message(world: &World, of: &str) -> String {
    let status = status(world);
    let mut all = status["conditions"].as_array().unwrap().iter();
    all.find(|condition| condition["type"] == of).unwrap()["message"].as_str().unwrap().to_owned()
}

#[test]
fn busy_pods_get_company_and_idle_ones_lose_it_after_five_minutes() {
    let mut world = world(2);
    all_use(&mut world, 200);
    autoscaler(&mut world, json!({}));
    assert_eq!((world.asked, replicas(&world)), (0, 2), "nothing in the first 15 seconds");
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 4, "{:?}", status(&world));
    let reason = "cpu resource utilization (percentage of request) above target";
    assert_eq!(world.notes, [format!("SuccessfulRescale New size: 4; reason: {reason}")]);
    assert_eq!(
        conditions(&world),
        [
            "AbleToScale=True SucceededRescale",
            "ScalingActive=True ValidMetricFound",
            "ScalingLimited=False DesiredWithinRange",
        ]
    );
    let shown = status(&world);
    assert_eq!((&shown["currentReplicas"], &shown["desiredReplicas"]), (&json!(2), &json!(4)));
    let current = json!({"averageUtilization": 100, "averageValue": "200m"});
    assert_eq!(shown["currentMetrics"][0]["resource"]["current"], current);
    assert_eq!(shown["lastScaleTime"], crate::rfc3339(world.now));
    assert_eq!(
        message(&world, "AbleToScale"),
        "the HPA controller was able to update the target scale to 4"
    );

    pod(&mut world, "web-2");
    pod(&mut world, "web-3");
    all_use(&mut world, 0);
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 4);
    assert!(conditions(&world)[0].ends_with("ScaleDownStabilized"), "{:?}", conditions(&world));
    (0..19).for_each(|_| pass(&mut world, 15));
    assert_eq!(replicas(&world), 4);
    (0..2).for_each(|_| pass(&mut world, 15));
    assert_eq!(replicas(&world), 1);
    assert_eq!(
        world.notes.last().unwrap(),
        "SuccessfulRescale New size: 1; reason: All metrics below target"
    );
}

#[test]
fn at_rest_nothing_is_written_and_nobody_is_asked_more_often() {
    let mut world = world(2);
    all_use(&mut world, 100);
    autoscaler(&mut world, json!({}));
    pass(&mut world, 15);
    pass(&mut world, 15);
    let (revision, asked) = (world.store.snapshot().revision(), world.asked);
    (0..20).for_each(|_| pass(&mut world, 15));
    assert_eq!((world.store.snapshot().revision(), world.asked), (revision, asked + 20));
    // A user's note on it is no reason to look at the target now.
    world.edit(AUTOSCALERS, "web", |it| it["metadata"]["annotations"] = json!({"a": "b"}));
    world.settle(NAMES);
    assert_eq!(world.asked, asked + 20);
    // Without an autoscaler nothing wakes.
    world.delete(AUTOSCALERS, "web", None);
    pass(&mut world, 60);
    assert_eq!(world.asked, asked + 20);
}

#[test]
fn inside_its_tolerance_a_metric_changes_nothing() {
    let cases = [(109, json!(null), 4), (112, json!(null), 5), (91, json!(null), 4)];
    let narrow = json!({"scaleUp": {"tolerance": "10m", "selectPolicy": "Max",
        "stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}});
    for (milli, behavior, expected) in cases.into_iter().chain([(102, narrow, 5)]) {
        let mut world = world(4);
        all_use(&mut world, milli);
        autoscaler(&mut world, json!({"behavior": behavior}));
        pass(&mut world, 15);
        assert_eq!(replicas(&world), expected, "{milli}");
    }
}

#[test]
fn the_average_of_a_resource_may_be_the_target() {
    let mut world = world(2);
    (0..2).for_each(|index| uses(&mut world, &format!("web-{index}"), 0, 150));
    let target = json!({"type": "AverageValue", "averageValue": "100Mi"});
    let metrics = json!([{"type": "Resource", "resource": {"name": "memory", "target": target}}]);
    autoscaler(&mut world, json!({"metrics": metrics}));
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 3);
    assert_eq!(
        status(&world)["currentMetrics"][0]["resource"]["current"],
        json!({"averageValue": "157286400"})
    );
    assert_eq!(
        world.notes,
        ["SuccessfulRescale New size: 3; reason: memory resource above target"]
    );
}

#[test]
fn one_container_may_be_the_measure() {
    let metric = |container: &str| {
        let target = json!({"type": "Utilization", "averageUtilization": 50});
        let source = json!({"name": "cpu", "container": container, "target": target});
        json!({"metrics": [{"type": "ContainerResource", "containerResource": source}]})
    };
    let mut busy = world(2);
    all_use(&mut busy, 100);
    autoscaler(&mut busy, metric("main"));
    pass(&mut busy, 15);
    assert_eq!(replicas(&busy), 4);
    assert_eq!(status(&busy)["currentMetrics"][0]["containerResource"]["container"], "main");

    let mut without = world(2);
    all_use(&mut without, 100);
    autoscaler(&mut without, metric("nope"));
    pass(&mut without, 15);
    assert_eq!(conditions(&without)[1], "ScalingActive=False FailedGetContainerResourceMetric");
    assert!(message(&without, "ScalingActive").ends_with(
        "failed to get container metrics: container nope not present in metrics for pod default/web-0"
    ));
}

#[test]
fn pods_of_which_nothing_is_known_never_turn_the_direction() {
    // Two of three at 100 %, target 50: with the third at nothing, 66 % is still above.
    let mut up = world(3);
    ["web-0", "web-1"].iter().for_each(|name| uses(&mut up, name, 200, 1));
    autoscaler(&mut up, json!({}));
    pass(&mut up, 15);
    assert_eq!(replicas(&up), 4);
    // Two of three idle: with the third at 100 %, 33 % of 50 %, three pods need two.
    let mut down = world(3);
    ["web-0", "web-1"].iter().for_each(|name| uses(&mut down, name, 0, 1));
    autoscaler(
        &mut down,
        json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}}),
    );
    pass(&mut down, 15);
    assert_eq!(replicas(&down), 2);
    // One of three at 60 %: without the others more, with them at nothing less: neither.
    let mut turned = world(3);
    uses(&mut turned, "web-0", 120, 1);
    autoscaler(&mut turned, json!({}));
    pass(&mut turned, 15);
    assert_eq!(replicas(&turned), 3);
}

#[test]
fn a_pod_that_has_just_begun_tells_nothing_of_the_processor() {
    let mut world = world(1);
    uses(&mut world, "web-0", 200, 1);
    autoscaler(&mut world, json!({}));
    world.now = time::after(world.now, 5);
    pod(&mut world, "web-new");
    uses(&mut world, "web-new", 2000, 1);
    pass(&mut world, 10);
    // Measured over 15 s, Ready for 10: it counts as a pod that uses nothing.
    assert_eq!(replicas(&world), 1, "{:?}", status(&world));
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 4, "and a whole window later as what it uses: twice, at most 4");
    assert_eq!(conditions(&world)[2], "ScalingLimited=True ScaleUpLimit");
}

#[test]
fn what_is_missing_is_said_once_and_scales_nothing() {
    let mut world = world(2);
    autoscaler(&mut world, json!({}));
    pass(&mut world, 15);
    let why = "failed to get cpu utilization: unable to get metrics for resource cpu: \
               no metrics returned from resource metrics API";
    assert_eq!(
        world.notes,
        [
            format!("FailedGetResourceMetric {why}"),
            format!(
                "FailedComputeMetricsReplicas invalid metrics (1 invalid out of 1), first error is: {why}"
            ),
        ]
    );
    assert_eq!(
        message(&world, "ScalingActive"),
        format!("the HPA was unable to compute the replica count: {why}")
    );
    assert_eq!(
        conditions(&world),
        ["AbleToScale=True SucceededGetScale", "ScalingActive=False FailedGetResourceMetric"]
    );
    let revision = world.store.snapshot().revision();
    pass(&mut world, 15);
    assert_eq!((replicas(&world), world.notes.len()), (2, 2));
    assert_eq!(world.store.snapshot().revision(), revision);
    // Measured, but what is a hundred percent?
    all_use(&mut world, 10);
    world.edit("pods", "web-1", |pod| pod["spec"]["containers"][1]["resources"] = json!({}));
    pass(&mut world, 15);
    let asked = "missing request for cpu in container side of Pod web-1";
    assert!(message(&world, "ScalingActive").ends_with(asked));
    // Only unready pods.
    world.edit("pods", "web-1", |pod| {
        pod["spec"]["containers"][1]["resources"] = json!({"requests": {"cpu": "1"}});
    });
    ["web-0", "web-1"].iter().for_each(|name| {
        world.edit("pods", name, |pod| pod["status"]["conditions"] = json!([]));
    });
    pass(&mut world, 15);
    let unready = "did not receive metrics for targeted pods (pods might be unready)";
    assert!(message(&world, "ScalingActive").ends_with(unready));
}

#[test]
fn of_two_metrics_one_that_fails_stops_only_what_would_shrink() {
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "rps"},
        "target": {"type": "AverageValue", "averageValue": "10"}}});
    let cpu = json!({"type": "Resource", "resource":
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let spec = json!({"metrics": [pods, cpu]});
    let mut up = world(2);
    all_use(&mut up, 200);
    autoscaler(&mut up, spec.clone());
    pass(&mut up, 15);
    assert_eq!(replicas(&up), 4);
    assert_eq!(status(&up)["currentMetrics"][0], json!({"type": ""}));
    assert_eq!(status(&up)["currentMetrics"][1]["type"], "Resource");
    let mut down = world(2);
    all_use(&mut down, 0);
    autoscaler(&mut down, spec);
    (0..30).for_each(|_| pass(&mut down, 15));
    assert_eq!(replicas(&down), 2);
    assert_eq!(conditions(&down)[1], "ScalingActive=False FailedGetPodsMetric");
}

#[test]
fn metrics_that_another_server_would_have_are_said_to_be_missing() {
    let selector = json!({"matchLabels": {"queue": "worker"}});
    let cases = [
        (
            json!({"type": "Pods", "pods": {"metric": {"name": "rps"},
                "target": {"type": "AverageValue", "averageValue": "10"}}}),
            "FailedGetPodsMetric",
            "unable to get metric rps: unable to fetch metrics from custom metrics API: \
             no custom metrics API (custom.metrics.k8s.io) registered",
        ),
        (
            json!({"type": "Object", "object": {"metric": {"name": "hits"},
                "describedObject": {"kind": "Ingress", "name": "main"},
                "target": {"type": "Value", "value": "10"}}}),
            "FailedGetObjectMetric",
            "unable to get metric hits: Ingress on default main/unable to fetch metrics from \
             custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered",
        ),
        (
            json!({"type": "External", "external": {"metric": {"name": "depth", "selector": selector},
                "target": {"type": "Value", "value": "10"}}}),
            "FailedGetExternalMetric",
            "unable to get external metric default/depth/&LabelSelector{MatchLabels:map[string]string\
             {queue: worker,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics \
             from external metrics API: the server could not find the requested resource \
             (get depth.external.metrics.k8s.io)",
        ),
    ];
    for (metric, reason, why) in cases {
        let mut world = world(1);
        autoscaler(&mut world, json!({"metrics": [metric]}));
        pass(&mut world, 15);
        assert_eq!(world.asked, 0, "nothing to measure");
        assert_eq!(conditions(&world)[1], format!("ScalingActive=False {reason}"));
        assert!(
            message(&world, "ScalingActive").ends_with(why),
            "{}",
            message(&world, "ScalingActive")
        );
        assert_eq!(world.notes[0], format!("{reason} {why}"));
    }
}

#[test]
fn bounds_are_kept_without_a_look_at_metrics() {
    for (from, least, most, to, reason) in [
        (5, 1, 3, 3, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, 3, 2, "Current number of replicas below Spec.MinReplicas"),
    ] {
        let mut world = world(from);
        autoscaler(&mut world, json!({"minReplicas": least, "maxReplicas": most}));
        pass(&mut world, 15);
        assert_eq!((replicas(&world), world.asked), (to, 0));
        assert_eq!(world.notes, [format!("SuccessfulRescale New size: {to}; reason: {reason}")]);
    }
    let mut off = world(0);
    autoscaler(&mut off, json!({}));
    pass(&mut off, 15);
    assert_eq!((replicas(&off), off.asked), (0, 0));
    assert_eq!(conditions(&off)[1], "ScalingActive=False ScalingDisabled");
}

#[test]
fn more_than_the_bounds_allow_is_not_given() {
    let mut many = world(6);
    all_use(&mut many, 200);
    autoscaler(&mut many, json!({"maxReplicas": 7}));
    pass(&mut many, 15);
    assert_eq!(replicas(&many), 7);
    assert_eq!(conditions(&many)[2], "ScalingLimited=True TooManyReplicas");
    let mut few = world(4);
    all_use(&mut few, 0);
    autoscaler(&mut few, json!({"minReplicas": 2}));
    (0..22).for_each(|_| pass(&mut few, 15));
    assert_eq!(replicas(&few), 2);
    pass(&mut few, 15);
    assert_eq!(conditions(&few)[2], "ScalingLimited=True TooFewReplicas");
}

fn rules(policies: Value, select: &str, window: i64) -> Value {
    json!({"selectPolicy": select, "stabilizationWindowSeconds": window, "policies": policies})
}

#[test]
fn policies_say_how_fast() {
    let pods =
        |value: i64, period: i64| json!({"type": "Pods", "value": value, "periodSeconds": period});
    let percent = |value: i64| json!({"type": "Percent", "value": value, "periodSeconds": 60});
    let cases = [
        (json!([pods(1, 60)]), "Max", 5),
        (json!([pods(1, 60), percent(100)]), "Max", 8),
        (json!([pods(1, 60), percent(100)]), "Min", 5),
        (json!([percent(10)]), "Max", 5),
        (json!([pods(1, 60)]), "Disabled", 4),
    ];
    for (policies, select, expected) in cases {
        let mut world = world(4);
        all_use(&mut world, 400);
        let up = rules(policies.clone(), select, 0);
        autoscaler(&mut world, json!({"behavior": {"scaleUp": up}}));
        pass(&mut world, 15);
        assert_eq!(replicas(&world), expected, "{policies} {select}");
        assert_eq!(conditions(&world)[2], "ScalingLimited=True ScaleUpLimit");
        pass(&mut world, 30);
        assert_eq!(replicas(&world), expected, "{policies} {select}: once a minute");
    }
}

#[test]
fn a_decrease_has_policies_and_a_window_of_its_own() {
    let mut world = world(10);
    all_use(&mut world, 0);
    let policies = json!([{"type": "Percent", "value": 20, "periodSeconds": 60}]);
    autoscaler(&mut world, json!({"behavior": {"scaleDown": rules(policies, "Max", 30)}}));
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 10, "the size it had is a recommendation, too");
    pass(&mut world, 15);
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 8);
    assert_eq!(conditions(&world)[2], "ScalingLimited=True ScaleDownLimit");
    (0..3).for_each(|_| pass(&mut world, 15));
    assert_eq!(replicas(&world), 8, "a fifth of what there was a minute ago");
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 6);
}

#[test]
fn an_increase_can_be_held_back() {
    let mut world = world(2);
    all_use(&mut world, 100);
    let policies = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
    autoscaler(&mut world, json!({"behavior": {"scaleUp": rules(policies, "Max", 60)}}));
    pass(&mut world, 15);
    all_use(&mut world, 200);
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 2);
    assert_eq!(conditions(&world)[0], "AbleToScale=True ScaleUpStabilized");
    (0..4).for_each(|_| pass(&mut world, 15));
    assert_eq!(replicas(&world), 4);
}

#[test]
fn a_target_that_is_none_is_said_so() {
    let reference = |api_version: &str, kind: &str, name: &str| json!({"scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": name}});
    let cases = [
        (reference("apps/v1", "Deployment", "nope"), "deployments.apps \"nope\" not found"),
        (reference("x.y/v1", "Boat", "a"), "no matches for kind \"Boat\" in group \"x.y\""),
        (
            reference("apps/v1", "DaemonSet", "a"),
            "the server could not find the requested resource",
        ),
        (reference("a/b/c", "Boat", "a"), "unexpected GroupVersion string: a/b/c"),
    ];
    for (spec, why) in cases {
        let mut world = world(0);
        autoscaler(&mut world, spec);
        pass(&mut world, 15);
        assert_eq!(world.notes, [format!("FailedGetScale {why}")]);
        assert_eq!(conditions(&world), ["AbleToScale=False FailedGetScale"]);
        let said = "the HPA controller was unable to get the target's current scale";
        assert_eq!(message(&world, "AbleToScale"), format!("{said}: {why}"));
    }
}

#[test]
fn a_custom_kind_with_a_scale_is_a_target_like_any_other() {
    let mut world = world(0);
    world.create(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.x.y"},
        "spec": {"group": "x.y", "names": {"kind": "Boat", "plural": "boats"}, "versions": [
            {"name": "v1", "served": true, "subresources": {"scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.crew",
                "labelSelectorPath": ".status.selector"}}}]},
    }));
    world.create(json!({
        "apiVersion": "x.y/v1", "kind": "Boat", "metadata": {"name": "a", "namespace": "default"},
        "spec": {"replicas": 1}, "status": {"crew": 1, "selector": "app=web"},
    }));
    pod(&mut world, "web-0");
    pass(&mut world, 3600);
    all_use(&mut world, 200);
    let target = json!({"apiVersion": "x.y/v1", "kind": "Boat", "name": "a"});
    autoscaler(&mut world, json!({"scaleTargetRef": target}));
    pass(&mut world, 15);
    assert_eq!(world.get("boats.x.y", "a").value()["spec"]["replicas"], 2);
    // Without a selector nobody knows its pods.
    let mut boat = world.get("boats.x.y", "a").value().clone();
    boat["status"] = json!({"crew": 1});
    world.replace(boat);
    pass(&mut world, 15);
    assert_eq!(conditions(&world)[1], "ScalingActive=False InvalidSelector");
    assert_eq!(message(&world, "ScalingActive"), "the HPA target's scale is missing a selector");
}

#[test]
fn two_autoscalers_of_the_same_pods_do_nothing() {
    let mut world = world(2);
    all_use(&mut world, 200);
    autoscaler(&mut world, json!({}));
    let mut other = world.get(AUTOSCALERS, "web").value().clone();
    other["metadata"] = json!({"name": "again", "namespace": "default"});
    world.create(other);
    world.settle(NAMES);
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 2);
    assert_eq!(conditions(&world)[1], "ScalingActive=False AmbiguousSelector");
    let why =
        "pods by selector app=web are controlled by multiple HPAs: [{again default} {web default}]";
    assert_eq!(message(&world, "ScalingActive"), why);
}

#[test]
fn a_size_that_is_refused_is_told_and_tried_again() {
    let mut world = world(2);
    all_use(&mut world, 200);
    autoscaler(&mut world, json!({}));
    world.refuses = Some(("web".into(), "no more".into()));
    pass(&mut world, 15);
    let reason = "cpu resource utilization (percentage of request) above target";
    assert_eq!(
        world.notes,
        [format!("FailedRescale New size: 4; reason: {reason}; error: no more")]
    );
    assert_eq!(conditions(&world)[0], "AbleToScale=False FailedUpdateScale");
    let said = "the HPA controller was unable to update the target scale: no more";
    assert_eq!(message(&world, "AbleToScale"), said);
    assert_eq!(status(&world)["desiredReplicas"], 0, "what was wanted before");
    world.refuses = None;
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 4);
}

#[test]
fn what_holds_an_increase_back_makes_nothing_smaller() {
    let mut world = world(4);
    let window = |seconds: i64| json!({"stabilizationWindowSeconds": seconds});
    autoscaler(&mut world, json!({"behavior": {"scaleUp": window(30), "scaleDown": window(60)}}));
    for milli in [100, 50, 100] {
        all_use(&mut world, milli);
        pass(&mut world, 15);
        assert_eq!(replicas(&world), 4, "at {milli}m a pod");
    }
}

#[test]
fn a_size_that_was_refused_takes_nothing_of_the_pace() {
    let mut world = world(2);
    all_use(&mut world, 200);
    let policy = json!({"type": "Pods", "value": 1, "periodSeconds": 60});
    autoscaler(&mut world, json!({"behavior": {"scaleUp": {"policies": [policy]}}}));
    world.refuses = Some(("web".into(), "no more".into()));
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 2);
    world.refuses = None;
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 3);
}

#[test]
fn a_new_engine_begins_with_the_size_that_there_is() {
    let mut world = world(8);
    all_use(&mut world, 0);
    autoscaler(&mut world, json!({}));
    pass(&mut world, 15);
    assert_eq!(replicas(&world), 8, "for five minutes nothing smaller");
    assert!(conditions(&world)[0].ends_with("ScaleDownStabilized"));
}

#[test]
fn what_users_write_by_hand_into_the_status_is_put_right() {
    let mut world = world(2);
    all_use(&mut world, 100);
    autoscaler(&mut world, json!({}));
    pass(&mut world, 15);
    let mut nonsense = world.get(AUTOSCALERS, "web").value().clone();
    nonsense["status"] = json!({"desiredReplicas": 99, "currentReplicas": -3,
        "conditions": [{"type": "Foreign", "status": "True"}]});
    world.replace(nonsense);
    pass(&mut world, 15);
    assert_eq!((status(&world)["desiredReplicas"].as_i64(), replicas(&world)), (Some(2), 2));
    assert_eq!(status(&world)["conditions"][0]["type"], "Foreign", "and what is another's stays");
}

/// A server of metrics that says this.
fn metrics_server(world: &mut World, group: &str, items: &Value) {
    world.create(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1beta1.{group}")},
        "spec": {"group": group, "version": "v1beta1", "service": {"name": "adapter"}},
    }));
    world.remotes = Ok((200, json!({"items": items}).to_string()));
}

#[test]
fn metrics_of_other_servers_are_asked_for_and_heeded() {
    let of_pod = |name: &str, value: &str| json!({"describedObject": {"kind": "Pod", "name": name}, "value": value});
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "rps"},
        "target": {"type": "AverageValue", "averageValue": "10"}}});
    let object = |target: Value| {
        json!({"type": "Object", "object": {"metric": {"name": "hits"},
            "describedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "target": target}})
    };
    let external = |target: Value| json!({"type": "External", "external": {"metric": {"name": "depth"}, "target": target}});
    let value = |value: &str| json!({"type": "Value", "value": value});
    let share = |value: &str| json!({"type": "AverageValue", "averageValue": value});
    let one = json!([{"value": "90"}]);
    let several = json!([{"value": "40"}, {"value": "50"}]);
    let (custom, outside) = ("custom.metrics.k8s.io", "external.metrics.k8s.io");
    let cases = [
        (
            pods,
            custom,
            json!([of_pod("web-0", "16"), of_pod("web-1", "16500m")]),
            4,
            json!({"averageValue": "16250m"}),
        ),
        (object(value("60")), custom, one.clone(), 3, json!({"value": "90"})),
        (object(share("30")), custom, one, 3, json!({"averageValue": "45"})),
        (external(value("60")), outside, several.clone(), 3, json!({"value": "90"})),
        (external(share("30")), outside, several.clone(), 3, json!({"averageValue": "45"})),
        // Within the tolerance nothing is done.
        (external(share("45")), outside, several, 2, json!({"averageValue": "45"})),
    ];
    for (metric, group, items, wanted, current) in cases {
        let mut world = world(2);
        metrics_server(&mut world, group, &items);
        autoscaler(&mut world, json!({"metrics": [metric]}));
        pass(&mut world, 15);
        assert_eq!(replicas(&world), wanted, "{metric}: {:?}", conditions(&world));
        let shown = &status(&world)["currentMetrics"][0];
        let of = metric["type"].as_str().unwrap().to_lowercase();
        assert_eq!(shown[&of]["current"], current, "{shown}");
    }
}

#[test]
fn a_server_of_metrics_that_fails_changes_nothing() {
    let metric = json!({"type": "External", "external": {"metric": {"name": "depth"},
        "target": {"type": "Value", "value": "10"}}});
    for said in [
        Err("EOF".to_owned()),
        Ok((503, "down".to_owned())),
        Ok((200, "[".to_owned())),
        Ok((200, json!({"items": [{"value": {}}]}).to_string())),
        Ok((200, json!({"items": []}).to_string())),
    ] {
        let mut world = world(2);
        metrics_server(&mut world, "external.metrics.k8s.io", &json!([]));
        world.remotes = said;
        autoscaler(&mut world, json!({"metrics": [metric]}));
        pass(&mut world, 15);
        assert_eq!(replicas(&world), 2);
        assert_eq!(conditions(&world)[1], "ScalingActive=False FailedGetExternalMetric");
    }
}
