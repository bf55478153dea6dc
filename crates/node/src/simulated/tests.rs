//! A simulated pod by itself: what it wants done, and when.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Object;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use super::pod::{Deed, Fact, SimulatedPod};
use super::recover::recovered;
use crate::worker::{End, Found, Message, Moment, Worker};

const IP: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 7);

/// A pod whose API is here, and whose time passes when nothing else is left.
struct World {
    pod: SimulatedPod,
    value: Value,
    revision: u64,
    began: Timestamp,
    passed: SignedDuration,
    due: Vec<(SignedDuration, Fact)>,
    deleted: bool,
}

fn object(value: &Value, revision: u64) -> Arc<Object> {
    let mut value = value.clone();
    value["metadata"]["resourceVersion"] = revision.to_string().into();
    Arc::new(Object::with_resource("pods", value).unwrap())
}

impl World {
    fn new(annotations: Value, spec: Value) -> Self {
        Self::of(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "annotations": annotations},
            "spec": spec,
        }))
    }

    fn of(value: Value) -> Self {
        let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let read: Arc<Pod> = Arc::new(serde_json::from_value(value.clone()).unwrap());
        let sandbox = recovered(&read, began);
        let running = sandbox.iter().flat_map(|it| it.containers.clone()).collect();
        let found = Found { sandbox, ..Found::default() };
        let worker = Worker::new(object(&value, 1), read, found, began);
        let pod = SimulatedPod::new(worker, "simulated-1".into(), running);
        let passed = SignedDuration::ZERO;
        let (due, deleted) = (Vec::new(), false);
        let mut world = Self { pod, value, revision: 1, began, passed, due, deleted };
        // First it is looked at.
        world.tell(None);
        for deed in world.pod.goes_on(began) {
            world.act(deed);
        }
        world
    }

    fn now(&self) -> Timestamp {
        self.began + self.passed
    }

    fn tell(&mut self, fact: Option<Fact>) {
        let steady = Duration::try_from(self.passed).unwrap();
        let moment = Moment { clock: self.now(), steady };
        for deed in self.pod.turn(fact, moment, || Some(IP)) {
            self.act(deed);
        }
    }

    fn act(&mut self, deed: Deed) {
        let at_once = self.passed;
        match deed {
            Deed::Later(after, fact) => self.due.push((self.passed + after, fact)),
            Deed::Write(_, status) => {
                self.value["status"] = json!(*status);
                self.revision += 1;
                let written = object(&self.value, self.revision);
                let end = End::StatusWritten(Ok(written));
                self.due.push((at_once, Fact::told(Message::Ended(end))));
            }
            Deed::Delete => {
                self.deleted = true;
                self.due.push((at_once, Fact::told(Message::Ended(End::Deleted(true)))));
            }
            Deed::Note(..) | Deed::GiveBack => {}
        }
    }

    /// Lets that time pass.
    fn run(&mut self, seconds: i64) {
        let end = self.passed + SignedDuration::from_secs(seconds);
        self.tell(None);
        for _ in 0..10_000 {
            let wake = self.pod.wake.map(|at| at.duration_since(self.began).max(self.passed));
            let first = (0..self.due.len()).min_by_key(|index| self.due[*index].0);
            let next = first.map(|index| self.due[index].0);
            match (next, wake) {
                (Some(at), wake) if at <= end && wake.is_none_or(|wake| at <= wake) => {
                    self.passed = self.passed.max(at);
                    let (_, fact) = self.due.remove(first.unwrap());
                    self.tell(Some(fact));
                }
                (_, Some(wake)) if wake <= end => {
                    self.passed = wake;
                    self.tell(None);
                }
                _ => {
                    self.passed = end;
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }

    fn delete(&mut self) {
        let end = self.now() + SignedDuration::from_secs(30);
        self.value["metadata"]["deletionTimestamp"] = end.to_string().into();
        self.value["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        self.revision += 1;
        let changed = Message::Changed(object(&self.value, self.revision));
        self.tell(Some(Fact::told(changed)));
    }

    fn status(&self) -> PodStatus {
        serde_json::from_value(self.value["status"].clone()).unwrap()
    }

    fn phase(&self) -> String {
        self.status().phase.unwrap_or_default()
    }

    fn restarts(&self) -> i32 {
        self.status().container_statuses.unwrap()[0].restart_count
    }
}

fn spec(restart: &str) -> Value {
    json!({"restartPolicy": restart, "containers": [{"name": "c", "image": "i"}]})
}

#[test]
fn a_pod_runs_with_an_address_and_ends_when_it_is_told_to() {
    let mut world = World::new(json!({}), spec("Always"));
    world.run(3600);
    assert_eq!((world.phase().as_str(), world.restarts()), ("Running", 0));
    assert_eq!(world.status().pod_ip.as_deref(), Some("10.244.0.7"));
    world.delete();
    world.run(1);
    assert!(world.deleted);
}

#[test]
fn a_pod_that_waits_for_its_start_can_be_deleted() {
    let mut world =
        World::new(json!({"pod-create.stage.kwok.x-k8s.io/delay": "1h"}), spec("Always"));
    world.run(3599);
    assert_eq!(world.phase(), "Pending");
    world.delete();
    world.run(0);
    assert!(world.deleted);
    let mut world =
        World::new(json!({"pod-ready.stage.kwok.x-k8s.io/delay": "1h"}), spec("Always"));
    world.run(3601);
    assert_eq!(world.phase(), "Running");
}

#[test]
fn what_is_slow_to_end_has_its_grace_and_no_more() {
    for (delay, seconds) in [("10s", 10), ("1h", 30)] {
        let mut world =
            World::new(json!({"pod-delete.stage.kwok.x-k8s.io/delay": delay}), spec("Always"));
        world.run(60);
        world.delete();
        world.run(seconds - 1);
        assert!(!world.deleted, "{delay}");
        world.run(2);
        assert!(world.deleted, "{delay}");
    }
}

#[test]
fn containers_end_and_fail_as_annotations_say() {
    let ends = json!({"pod-complete.stage.kwok.x-k8s.io/delay": "5s"});
    let mut world = World::new(ends, spec("Never"));
    world.run(4);
    assert_eq!(world.phase(), "Running");
    world.run(2);
    assert_eq!(world.phase(), "Succeeded");
    let mut world = World::new(json!({"coracle.dev/simulated-failures": "1"}), spec("Never"));
    world.run(1);
    assert_eq!(world.phase(), "Failed");
    let mut world = World::new(json!({"coracle.dev/simulated-failures": "1"}), spec("Always"));
    world.run(40);
    assert_eq!(world.restarts(), 3, "at once, after ten and after twenty seconds");
}

#[test]
fn the_next_engine_finds_a_pod_as_it_was() {
    let ends = json!({"pod-complete.stage.kwok.x-k8s.io/delay": "5s"});
    for (annotations, phase) in [(json!({}), "Running"), (ends, "Succeeded")] {
        let mut world = World::new(annotations, spec("Never"));
        world.run(2);
        assert_eq!(world.phase(), "Running");
        let mut next = World::of(world.value.clone());
        next.run(10);
        assert_eq!((next.phase().as_str(), next.restarts()), (phase, 0));
    }
}
