//! What users do with Jobs and CronJobs alone.

use coracle_api::resources::{CRON_JOBS, JOBS};
use coracle_server::Api;
use serde_json::{Value, json};

use super::templates::task;
use super::{NAMES, Users, any};
use crate::random::Random;
use crate::runtime::{Behaviour, ODD_CODE};

impl Users {
    pub(super) fn create_job(&mut self, api: &Api, random: &mut Random) {
        let name = *random.pick(&NAMES);
        let image = self.task_image(random);
        let job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": job_spec(&image, random),
        });
        self.create(api, JOBS, &job);
    }

    fn task_image(&mut self, random: &mut Random) -> String {
        match random.one_in(20) {
            true => self.image(&[Behaviour::Missing], random),
            false => self.image(&Behaviour::TASKS, random),
        }
    }

    pub(super) fn suspend(&mut self, api: &Api, random: &mut Random) {
        let resource = if random.one_in(2) { JOBS } else { CRON_JOBS };
        let Some(object) = any(api, resource, random) else { return };
        let suspend = object.value()["spec"]["suspend"] != true;
        self.patch(api, &object, "", &json!({"spec": {"suspend": suspend}}));
    }

    pub(super) fn set_parallelism(&mut self, api: &Api, random: &mut Random) {
        let Some(job) = any(api, JOBS, random) else { return };
        self.patch(api, &job, "", &json!({"spec": {"parallelism": random.below(4)}}));
    }

    pub(super) fn create_cron_job(&mut self, api: &Api, random: &mut Random) {
        let name = *random.pick(&NAMES);
        let image = self.task_image(random);
        let cron_job = json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": name},
            "spec": {
                "schedule": *random.pick(&["* * * * *", "*/2 * * * *", "* * * * *", "@hourly"]),
                "timeZone": *random.pick(&[None, Some("Europe/Berlin"), Some("Asia/Kathmandu")]),
                "concurrencyPolicy": *random.pick(&["Allow", "Forbid", "Replace"]),
                "startingDeadlineSeconds": *random.pick(&[None, Some(30), Some(3600)]),
                "successfulJobsHistoryLimit": *random.pick(&[0, 1, 3]),
                "failedJobsHistoryLimit": *random.pick(&[0, 1]),
                "jobTemplate": {"spec": job_spec(&image, random)},
            },
        });
        self.create(api, CRON_JOBS, &cron_job);
    }

    pub(super) fn set_policy(&mut self, api: &Api, random: &mut Random) {
        let Some(cron_job) = any(api, CRON_JOBS, random) else { return };
        let policy = *random.pick(&["Allow", "Forbid", "Replace"]);
        self.patch(api, &cron_job, "", &json!({"spec": {"concurrencyPolicy": policy}}));
    }

    pub(super) fn change_task(&mut self, api: &Api, random: &mut Random) {
        let Some(cron_job) = any(api, CRON_JOBS, random) else { return };
        let image = self.task_image(random);
        self.patch(api, &cron_job, "", &super::templates::with_image(&cron_job, &image));
    }
}

fn job_spec(image: &str, random: &mut Random) -> Value {
    let restart_policy = if random.one_in(4) { "OnFailure" } else { "Never" };
    let mut spec = json!({
        "parallelism": 1 + random.below(3),
        "backoffLimit": *random.pick(&[0, 1, 2, 6]),
        "template": task(image, restart_policy, random),
    });
    if random.one_in(6) {
        spec["suspend"] = json!(true);
    }
    if random.one_in(6) {
        spec["activeDeadlineSeconds"] = json!(*random.pick(&[5, 60]));
    }
    if random.one_in(3) {
        spec["ttlSecondsAfterFinished"] = json!(*random.pick(&[0, 20]));
    }
    let is_indexed = random.one_in(2);
    if is_indexed || !random.one_in(4) {
        spec["completions"] = json!(1 + random.below(4));
    }
    if is_indexed {
        spec["completionMode"] = json!("Indexed");
    }
    if restart_policy == "Never" {
        tell_failures(&mut spec, is_indexed, random);
    }
    if is_indexed && random.one_in(6) {
        spec["successPolicy"] = json!({"rules": [{"succeededCount": 1}]});
    }
    spec
}

/// What becomes of failures.
fn tell_failures(spec: &mut Value, is_indexed: bool, random: &mut Random) {
    let per_index = is_indexed && random.one_in(3);
    if per_index {
        spec["backoffLimitPerIndex"] = json!(random.below(3));
    }
    let has_policy = random.one_in(3);
    if has_policy {
        let action = match random.below(4) {
            0 => "FailJob",
            1 => "Count",
            2 if per_index => "FailIndex",
            _ => "Ignore",
        };
        let codes = json!({"operator": "In", "values": [ODD_CODE]});
        let rule = json!({"action": action, "onExitCodes": codes});
        spec["podFailurePolicy"] = json!({"rules": [rule]});
    }
    if has_policy || random.one_in(4) {
        spec["podReplacementPolicy"] = json!("Failed");
    }
}
