//! What the status of a set says: counts of nodes.

use serde_json::{Map, Value, json};

use super::draft::Draft;
use crate::plan::Write;
use crate::workload::status;

impl Draft<'_> {
    /// The write of the status, when the stored one says something else.
    pub fn status(&self) -> Option<Write> {
        let mut counts = Counts::default();
        for place in &self.places {
            let first = self.members.get(&place.name).and_then(|pods| pods.first());
            if !place.should_run {
                counts.misscheduled =
                    counts.misscheduled.saturating_add(u32::from(first.is_some()));
                continue;
            }
            counts.desired = counts.desired.saturating_add(1);
            let Some(pod) = first else { continue };
            for (count, holds) in [
                (&mut counts.current, true),
                (&mut counts.ready, pod.is_ready()),
                (&mut counts.available, self.is_available(pod)),
                (&mut counts.updated, self.is_updated(pod)),
            ] {
                *count = count.saturating_add(u32::from(holds));
            }
        }
        let collisions = self.newest.collision_count;
        let object = &self.set.owner.object;
        let had = object.value()["status"].get("collisionCount").is_some();
        let collisions = (had || collisions != 0).then_some(collisions);
        status::write(object, counts.to_json(self.set.owner.generation(), collisions))
    }
}

#[derive(Default)]
struct Counts {
    desired: u32,
    current: u32,
    misscheduled: u32,
    ready: u32,
    available: u32,
    updated: u32,
}

impl Counts {
    fn to_json(&self, generation: i64, collisions: Option<i32>) -> Value {
        let mut fields = Map::new();
        for (field, count) in [
            ("currentNumberScheduled", self.current),
            ("numberMisscheduled", self.misscheduled),
            ("desiredNumberScheduled", self.desired),
            ("numberReady", self.ready),
        ] {
            fields.insert(field.into(), json!(count));
        }
        let unavailable = self.desired.saturating_sub(self.available);
        for (field, count) in [
            ("observedGeneration", generation),
            ("updatedNumberScheduled", i64::from(self.updated)),
            ("numberAvailable", i64::from(self.available)),
            ("numberUnavailable", i64::from(unavailable)),
        ] {
            status::count(&mut fields, field, count);
        }
        if let Some(collisions) = collisions {
            fields.insert("collisionCount".into(), json!(collisions));
        }
        Value::Object(fields)
    }
}
