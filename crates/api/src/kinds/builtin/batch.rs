//! batch/v1.

use super::row::{Row as _, namespaced, version};
use crate::defaults::initial;
use crate::kind::Kind;
use crate::print::columns::{AGE, CONTAINERS, IMAGES, NAME, at, column, count, text, wide};
use crate::print::{Cell, workloads};
use crate::resources::{CRON_JOBS, JOBS};
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.batch.v1", [cron_jobs(), jobs()])
}

fn cron_jobs() -> Kind {
    namespaced("CronJob", CRON_JOBS)
        .validate_create(validation::cron_job_create)
        .short(&["cj"])
        .all()
        .status()
        .counted()
        .defaults(defaults::cron_job)
        .prepare(initial::empty)
        .validate(validation::cron_job)
        .columns(
            const {
                &[
                    NAME,
                    at("Schedule", "/spec/schedule"),
                    text("Timezone", Cell::Text("/spec/timeZone", "<none>")),
                    column("Suspend", "boolean", Cell::Code(workloads::cron_suspend)),
                    count("Active", "/status/active"),
                    text("Last Schedule", Cell::Since("/status/lastScheduleTime", "<none>")),
                    AGE,
                    wide(text(
                        "Containers",
                        Cell::Each("/spec/jobTemplate/spec/template/spec/containers", "name"),
                    )),
                    wide(text(
                        "Images",
                        Cell::Each("/spec/jobTemplate/spec/template/spec/containers", "image"),
                    )),
                    wide(text("Selector", Cell::Selector("/spec/jobTemplate/spec/selector"))),
                ]
            },
        )
}

fn jobs() -> Kind {
    namespaced("Job", JOBS)
        .all()
        .status()
        .counted()
        .orphans()
        .select(&[("status.successful", "/status/succeeded")])
        .defaults(defaults::job)
        .prepare(initial::job)
        .validate(validation::job)
        .validate_update(validation::job_update)
        .columns(
            const {
                &[
                    NAME,
                    text("Status", Cell::Code(workloads::job_status)),
                    text("Completions", Cell::Code(workloads::job_completions)),
                    text("Duration", Cell::Code(workloads::job_duration)),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Selector("/spec/selector"))),
                ]
            },
        )
}
