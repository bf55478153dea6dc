//! What the status of a set says: counts of its pods, and whether the last ones could be made.

use std::collections::BTreeMap;

use coracle_api::Timestamp;
use coracle_api::resources::REPLICA_SETS;
use serde_json::{Map, Value, json};

use crate::plan::Write;
use crate::workload::conditions::{self, Condition};
use crate::workload::owner::Owner;
use crate::workload::replica::Replica;
use crate::workload::status;

const FAILURE: &str = "ReplicaFailure";

/// The counts of a set's status.
#[derive(Debug)]
pub(super) struct Counts {
    pub min_ready_seconds: i64,
    replicas: i64,
    labeled: i64,
    ready: i64,
    available: i64,
    /// ReplicationControllers do not count those.
    terminating: Option<i64>,
    generation: i64,
}

impl Counts {
    /// Counts the pods as they are before anything is done.
    pub fn of(set: &Owner, active: &[Replica], ending: usize, now: Timestamp) -> Self {
        let min_ready_seconds = set.spec_number("minReadySeconds").unwrap_or(0);
        let template = labels(&set.object.value()["spec"]["template"]["metadata"]["labels"]);
        let has_all = |pod: &&Replica| {
            let own = &pod.object.metadata().labels;
            template.iter().all(|(key, value)| own.get(*key).is_some_and(|it| it == value))
        };
        let is_available = |pod: &&Replica| pod.is_available(min_ready_seconds, now);
        Self {
            min_ready_seconds,
            replicas: status::len(active.len()),
            labeled: status::len(active.iter().filter(has_all).count()),
            ready: status::len(active.iter().filter(|pod| pod.is_ready()).count()),
            available: status::len(active.iter().filter(is_available).count()),
            terminating: (*set.object.key().resource == *REPLICA_SETS).then(|| status::len(ending)),
            generation: set.generation(),
        }
    }

    /// The write of the status, when the stored one says something else. `failure` is the reason of
    /// the condition, which has its message still to come unless it is there already.
    pub fn write(&self, set: &Owner, failure: Option<&str>, now: Timestamp) -> Option<Write> {
        let mut conditions = conditions::of(set.object.value());
        match failure {
            None => conditions::remove(&mut conditions, FAILURE),
            Some(reason) => {
                let condition = Condition::new(FAILURE, "True", reason, "");
                conditions::add(&mut conditions, &condition, now);
            }
        }
        status::write(&set.object, self.to_json(conditions))
    }

    /// Where a new condition's message goes; `None` when the condition is there already.
    pub fn failure_at(&self, set: &Owner) -> Option<String> {
        let conditions = conditions::of(set.object.value());
        let is_new = conditions::find(&conditions, FAILURE).is_none();
        is_new.then(|| format!("/status/conditions/{}/message", conditions.len()))
    }

    fn to_json(&self, conditions: Vec<Value>) -> Value {
        let mut fields = Map::new();
        fields.insert("replicas".into(), json!(self.replicas));
        for (field, count) in [
            ("fullyLabeledReplicas", self.labeled),
            ("readyReplicas", self.ready),
            ("availableReplicas", self.available),
            ("observedGeneration", self.generation),
        ] {
            status::count(&mut fields, field, count);
        }
        if let Some(terminating) = self.terminating {
            fields.insert("terminatingReplicas".into(), json!(terminating));
        }
        status::list(&mut fields, "conditions", conditions);
        Value::Object(fields)
    }
}

fn labels(labels: &Value) -> BTreeMap<&str, &str> {
    let labels = labels.as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}
