//! The jobs that a CronJob has started and that have not ended, as its status lists them.

use std::sync::Arc;

use coracle_api::resources::JOBS;
use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;
use serde_json::{Map, Value, json};

use super::cron_job::{CronJob, SCHEDULED, job_time};
use crate::job::finished;
use crate::plan::{Note, Write};
use crate::rfc3339;
use crate::workload::status;

/// What the status says.
pub(super) struct Active {
    /// References to jobs.
    pub list: Vec<Value>,
    pub last_schedule: Option<Timestamp>,
    last_success: Option<Timestamp>,
    /// What users are told of the differences.
    pub notes: Vec<Note>,
}

impl Active {
    /// The list as it should be.
    pub fn of(snapshot: &Snapshot, cron_job: &CronJob) -> Self {
        let object = &cron_job.owner.object;
        let listed = object.value()["status"]["active"].as_array().cloned().unwrap_or_default();
        let mut active = Self {
            list: listed,
            last_schedule: cron_job.time("lastScheduleTime"),
            last_success: cron_job.time("lastSuccessfulTime"),
            notes: Vec::new(),
        };
        for job in cron_job.jobs(snapshot) {
            active.look_at(object, job);
        }
        active.forget_vanished(snapshot, object);
        active
    }

    fn look_at(&mut self, object: &Arc<Object>, job: &Arc<Object>) {
        let (name, uid) = (&job.metadata().name, &job.metadata().uid);
        let is_listed = self.list.iter().any(|listed| listed["uid"] == **uid);
        let Some((how, _)) = finished(job.value()) else {
            if !is_listed {
                self.list.push(reference(job));
            }
            if !is_listed && !job.metadata().annotations.contains_key(SCHEDULED) {
                let message =
                    format!("Saw a job that the controller did not create or forgot: {name}");
                self.notes.push(Note::warning(object, "UnexpectedJob", message));
            }
            return;
        };
        if is_listed {
            self.list.retain(|listed| listed["uid"] != **uid);
            let message = format!("Saw completed job: {name}, condition: {}", how.condition());
            self.notes.push(Note::normal(object, "SawCompletedJob", message));
        }
        self.last_success = self.last_success.max(job_time(job, "completionTime"));
    }

    fn forget_vanished(&mut self, snapshot: &Snapshot, object: &Arc<Object>) {
        let notes = &mut self.notes;
        self.list.retain(|listed| {
            let uid = listed["uid"].as_str().unwrap_or_default();
            let is_there = snapshot.by_uid(uid).is_some_and(|it| *it.key().resource == *JOBS);
            if !is_there {
                let name = listed["name"].as_str().unwrap_or_default();
                let message = format!("Active job went missing: {name}");
                notes.push(Note::normal(object, "MissingJob", message));
            }
            is_there
        });
    }

    /// The write of the status, when the stored one says something else.
    pub fn write(&self, cron_job: &CronJob) -> Option<Write> {
        let mut fields = Map::new();
        status::list(&mut fields, "active", self.list.clone());
        for (field, time) in
            [("lastScheduleTime", self.last_schedule), ("lastSuccessfulTime", self.last_success)]
        {
            if let Some(time) = time {
                fields.insert(field.into(), json!(rfc3339(time)));
            }
        }
        status::write(&cron_job.owner.object, Value::Object(fields))
    }
}

/// An `ObjectReference` to a job.
pub(super) fn reference(job: &Object) -> Value {
    let metadata = job.metadata();
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "namespace": metadata.namespace,
        "name": metadata.name, "uid": metadata.uid, "resourceVersion": metadata.resource_version,
    })
}
