//! Whatever users and nodes do, in whatever order: identity and order hold after every step, and
//! when they stop, the set becomes what it should be and rests.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{CONTROLLER, web, world};
use crate::world::World;
use coracle_api::pods::AnyPod;

/// Something that happens to a set or to one of its pods (by index, modulo how many there are).
#[derive(Clone, Debug)]
enum Act {
    Scale(i32),
    Image(u8),
    Partition(i32),
    Start(i32),
    Ready(usize),
    Unready(usize),
    End(usize),
    Delete(usize),
    Stop(usize),
    Lose(usize),
    Pass(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let pod = 0..8_usize;
    prop_oneof![
        2 => (0..5).prop_map(Act::Scale),
        2 => (0..4_u8).prop_map(Act::Image),
        1 => (0..5).prop_map(Act::Partition),
        1 => (0..3).prop_map(Act::Start),
        8 => pod.clone().prop_map(Act::Ready),
        2 => pod.clone().prop_map(Act::Unready),
        1 => pod.clone().prop_map(Act::End),
        2 => pod.clone().prop_map(Act::Delete),
        6 => pod.clone().prop_map(Act::Stop),
        1 => pod.prop_map(Act::Lose),
        1 => (0..30_i64).prop_map(Act::Pass),
    ]
}

fn set() -> impl Strategy<Value = Value> {
    let policy = prop_oneof![Just("OrderedReady"), Just("Parallel")];
    let rolling = prop_oneof![Just(Value::Null), Just(json!({"partition": 0}))];
    (0..5, policy, rolling).prop_map(|(replicas, policy, rolling)| {
        let mut set = web(replicas, policy);
        crate::json::set(&mut set, &["spec", "updateStrategy", "rollingUpdate"], rolling);
        set
    })
}

impl World {
    /// The pod with an index among those that fit.
    fn nth(&self, n: usize, fits: impl Fn(&coracle_api::Object) -> bool) -> Option<String> {
        let pods: Vec<_> = self.pods().into_iter().filter(|p| fits(&self.get("pods", p))).collect();
        (!pods.is_empty()).then(|| pods[n % pods.len()].clone())
    }

    fn perform(&mut self, act: &Act) {
        let lives = |pod: &coracle_api::Object| !pod.metadata().is_deleting();
        let works = |pod: &coracle_api::Object| lives(pod) && !pod.has_ended();
        match *act {
            Act::Scale(replicas) => self.scale(replicas),
            Act::Image(n) => self.image(&format!("web:{n}")),
            Act::Partition(n) => self.change(|spec| {
                spec["updateStrategy"]["rollingUpdate"] = json!({"partition": n});
            }),
            Act::Start(n) => self.change(|spec| spec["ordinals"] = json!({"start": n})),
            Act::Ready(n) => self.nth(n, works).into_iter().for_each(|pod| self.ready(&pod)),
            Act::Unready(n) => self.nth(n, works).into_iter().for_each(|pod| self.unready(&pod)),
            Act::End(n) => self.nth(n, works).into_iter().for_each(|pod| {
                self.phase(&pod, "Failed");
                self.settle(CONTROLLER);
            }),
            Act::Delete(n) => self.nth(n, lives).into_iter().for_each(|pod| {
                self.delete("pods", &pod, None);
                self.settle(CONTROLLER);
            }),
            Act::Stop(n) => {
                let gone = self.nth(n, |pod| pod.metadata().is_deleting());
                gone.into_iter().for_each(|pod| self.gone(&pod));
            }
            Act::Lose(n) => self.nth(n, |_| true).into_iter().for_each(|pod| self.gone(&pod)),
            Act::Pass(seconds) => self.pass(seconds, CONTROLLER),
        }
        self.check_invariants();
    }

    /// A node that works, and a user who has stopped changing things.
    fn recover(&mut self) {
        self.change(|spec| spec["updateStrategy"]["rollingUpdate"] = json!({"partition": 0}));
        for _ in 0..200 {
            let snapshot = self.store.snapshot();
            let ready = |pod: &coracle_api::Object| {
                pod.value().pointer("/status/conditions/0/status") == Some(&json!("True"))
                    && pod.str_at("/status/phase") == Some("Running")
            };
            let todo =
                snapshot.list("pods", None).find(|pod| pod.metadata().is_deleting() || !ready(pod));
            let Some(pod) = todo else { return };
            let name = pod.metadata().name.clone();
            if pod.metadata().is_deleting() { self.gone(&name) } else { self.ready(&name) }
        }
        panic!("the set never rests: {:?}", self.status());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_history_keeps_order_and_ends_well(
        set in set(),
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut world = world(set);
        let mut claims = Vec::new();
        for act in &acts {
            world.perform(act);
            let now = world.names("persistentvolumeclaims");
            prop_assert!(claims.iter().all(|claim| now.contains(claim)), "a claim vanished");
            claims = now;
        }
        world.recover();
        let spec = world.get("statefulsets.apps", "web").value()["spec"].clone();
        let start = spec["ordinals"]["start"].as_i64().unwrap_or(0);
        let replicas = spec["replicas"].as_i64().unwrap();
        let wanted: Vec<_> = (start..start + replicas).map(|n| format!("web-{n}")).collect();
        prop_assert_eq!(world.pods(), wanted);
        let image = spec["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
        prop_assert!(world.pods().iter().all(|pod| world.image_of(pod) == image));
        let status = world.status();
        prop_assert_eq!(&status["currentRevision"], &status["updateRevision"]);
        prop_assert_eq!(status["readyReplicas"].as_i64().unwrap_or(0), replicas);
    }
}
