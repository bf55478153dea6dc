//! A decision that asks the outside, and one that remembers.

use std::sync::Mutex;

use async_trait::async_trait;
use coracle_api::usage::{Amount, Measured};
use coracle_api::{Call, Given, Status, Usage, time};
use coracle_server::Outside;

use super::*;

/// Every pod uses so much memory; how often that was asked.
struct Scales {
    api: Api,
    asked: Arc<Mutex<usize>>,
}

#[async_trait]
impl Outside for Scales {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        assert_eq!(*call, Call::Measure);
        *self.asked.lock().unwrap() += 1;
        let (at, window) = (self.api.source().now(), jiff::SignedDuration::from_secs(15));
        let snapshot = self.api.snapshot();
        let used = |pod: &Arc<Object>| {
            let used = [("main".to_owned(), Amount { nanocores: 0, bytes: 250 << 20 })].into();
            (pod.metadata().uid.clone(), Measured { at, window, used })
        };
        let pods = snapshot.list("pods", None).map(used).collect();
        Ok(Given::Usage(Arc::new(Usage { pods, ..Usage::default() })))
    }
}

const AUTOSCALERS: &str = "horizontalpodautoscalers.autoscaling";

/// A Deployment of one pod that an autoscaler of this behavior wants to have three of, and how often
/// was asked what pods use.
fn scaled(behavior: &Value) -> (World, Arc<Mutex<usize>>) {
    let mut world = World::new();
    let asked = Arc::new(Mutex::new(0));
    let outside = Scales { api: world.api.clone(), asked: Arc::clone(&asked) };
    world.api.set_outside(Arc::new(outside));
    world.add_node();
    let labels = json!({"app": "web"});
    let container = json!({"name": "main", "image": "a:1"});
    world.create(
        "deployments.apps",
        "default",
        json!({"metadata": {"name": "web"}, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }}),
    );
    let pod = world.names("pods").pop().unwrap();
    world.ready(&pod);
    let target = json!({"type": "AverageValue", "averageValue": "100Mi"});
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": target}});
    let rps = json!({"type": "Pods", "pods": {"metric": {"name": "rps"},
        "target": {"type": "AverageValue", "averageValue": "1"}}});
    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    world.create(
        AUTOSCALERS,
        "default",
        json!({"metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": reference, "maxReplicas": 5, "metrics": [rps, memory],
            "behavior": behavior,
        }}),
    );
    (world, asked)
}

fn replicas(world: &World) -> Value {
    world.get("deployments.apps", "web").value()["spec"]["replicas"].clone()
}

fn after(world: &World, seconds: i64) -> Timestamp {
    time::after(world.api.source().now(), seconds)
}

fn later(world: &mut World, seconds: i64) {
    let at = after(world, seconds);
    while now(world.looped.step(&world.api, at)) {}
    now(world.events.flush(&world.api));
}

/// What is about to be written so many seconds later.
fn planned(world: &mut World, seconds: i64) -> Errand {
    let at = after(world, seconds);
    world.looped.catch_up(&world.api);
    loop {
        let job = world.looped.take(at).unwrap();
        let mut errand = world.looped.decide(&job, &world.api.snapshot(), at).unwrap();
        if !errand.plan.writes_nothing() {
            return errand;
        }
        let outcome = now(errand.carry_out(&world.api, world.looped.name(&job)));
        world.looped.finish(errand, outcome, &world.api.snapshot(), at);
    }
}

/// Somebody changes the autoscaler.
fn change(world: &World, change: impl FnOnce(&mut Value)) {
    let object = world.get(AUTOSCALERS, "web");
    let mut value = object.value().clone();
    change(&mut value);
    world.send(Verb::Update, object.key(), None, value);
}

#[test]
fn an_autoscaler_is_answered_every_fifteen_seconds_and_not_more_often() {
    let (mut world, asked) = scaled(&Value::Null);
    assert_eq!((*asked.lock().unwrap(), replicas(&world)), (0, json!(1)));
    later(&mut world, 14);
    assert_eq!(*asked.lock().unwrap(), 0);
    later(&mut world, 15);
    assert_eq!((*asked.lock().unwrap(), replicas(&world)), (1, json!(3)));
    later(&mut world, 20);
    assert_eq!(*asked.lock().unwrap(), 1);
    let autoscaler = world.get(AUTOSCALERS, "web");
    let status = &autoscaler.value()["status"];
    assert_eq!(status["currentMetrics"][0], json!({"type": ""}));
    assert_eq!(status["desiredReplicas"], 3, "{status}");
    assert_eq!(world.looped.panicked(), None);
}

#[test]
fn an_autoscaler_that_was_changed_meanwhile_is_asked_again_before_anything_is_scaled() {
    let (mut world, _) = scaled(&Value::Null);
    let mut errand = planned(&mut world, 15).singly();
    change(&world, |value| value["spec"]["maxReplicas"] = json!(1));
    let outcome = now(errand.carry_out(&world.api, "horizontal-pod-autoscaler"));
    assert!(matches!(outcome, Outcome::Outrun), "{outcome:?}");
    assert_eq!(replicas(&world), json!(1));
}

#[test]
fn what_was_scaled_is_remembered_though_the_status_was_not_written() {
    let policy = json!({"type": "Pods", "value": 1, "periodSeconds": 60});
    let (mut world, _) = scaled(&json!({"scaleUp": {"policies": [policy]}}));
    let mut errand = planned(&mut world, 15).singly();
    assert!(now(errand.turn(&world.api, "horizontal-pod-autoscaler")).is_none());
    assert_eq!(replicas(&world), json!(2));
    change(&world, |value| value["metadata"]["labels"] = json!({"a": "b"}));
    let outcome = now(errand.turn(&world.api, "horizontal-pod-autoscaler")).unwrap();
    assert!(matches!(outcome, Outcome::Outrun), "{outcome:?}");
    let at = after(&world, 15);
    world.looped.finish(errand, outcome, &world.api.snapshot(), at);
    later(&mut world, 60);
    assert_eq!(replicas(&world), json!(2));
    later(&mut world, 80);
    assert_eq!(replicas(&world), json!(3));
}
