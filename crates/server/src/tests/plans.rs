//! Several requests as one transaction.

use std::sync::atomic::Ordering::Relaxed;

use coracle_api::Timestamp;
use serde_json::json;

use super::Harness;
use crate::pipeline::cluster::Cluster;
use crate::pipeline::write::Facts;
use crate::pipeline::write::calls::{Answers, Moment};
use crate::pipeline::write::plan::Planning;
use crate::{Body, Kinds, Request};

/// How often an object is looked at to plan that `count` pods are made.
fn visits(count: u8) -> usize {
    let harness = Harness::new();
    let request = |number: u8| {
        let pod = json!({"metadata": {"name": format!("p{number}")},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
        let request = harness.request(coracle_api::Verb::Create, "pods", "default", "");
        Request { body: Body::Object(pod), ..request }
    };
    let requests: Vec<_> = (0..count).map(request).collect();
    let (snapshot, visits) = harness.api.snapshot().counted();
    let facts = Facts { kinds: &Kinds::builtin(), cluster: &Cluster::default() };
    let (mut planning, mut answers) = (Planning::new(&snapshot, &requests, &[], facts), Vec::new());
    while let Some(unmet) = planning.go_on(&answers).unwrap() {
        assert!(unmet.calls.is_empty() && unmet.request == answers.len());
        let seed = [u8::try_from(answers.len()).unwrap(); 32];
        answers.push(Answers::new(Moment { now: Timestamp::UNIX_EPOCH, seed }));
    }
    assert_eq!(planning.finish().prepared.len(), usize::from(count));
    visits.load(Relaxed)
}

#[test]
fn a_plan_costs_as_much_as_its_requests() {
    let (few, many) = (visits(10), visits(100));
    assert!(few > 0 && many <= 10 * few, "{few} for 10, {many} for 100");
}
