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

#[test]
fn an_autoscaler_is_answered_every_fifteen_seconds_and_not_more_often() {
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
        "horizontalpodautoscalers.autoscaling",
        "default",
        json!({"metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": reference, "maxReplicas": 5, "metrics": [rps, memory],
        }}),
    );
    let replicas =
        |world: &World| world.get("deployments.apps", "web").value()["spec"]["replicas"].clone();
    assert_eq!((*asked.lock().unwrap(), replicas(&world)), (0, json!(1)));
    let later = |world: &mut World, seconds: i64| {
        let at = time::after(world.api.source().now(), seconds);
        while now(world.looped.step(&world.api, at)) {}
        now(world.events.flush(&world.api));
    };
    later(&mut world, 14);
    assert_eq!(*asked.lock().unwrap(), 0);
    later(&mut world, 15);
    assert_eq!((*asked.lock().unwrap(), replicas(&world)), (1, json!(3)));
    later(&mut world, 20);
    assert_eq!(*asked.lock().unwrap(), 1);
    let autoscaler = world.get("horizontalpodautoscalers.autoscaling", "web");
    let status = &autoscaler.value()["status"];
    assert_eq!(status["currentMetrics"][0], json!({"type": ""}));
    assert_eq!(status["desiredReplicas"], 3, "{status}");
    assert_eq!(world.looped.panicked(), None);
}
