//! The loop in the engine: plans of different controllers are carried out side by side, those of
//! one controller one after the other.

use std::future::Future;
use std::time::Duration;

use coracle_api::Timestamp;
use coracle_controllers::Plan;
use coracle_server::Api;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::events::EventRecorder;
use crate::queue::Job;
use crate::turn::{Loop, Outcome, carry_out};

/// Drives the controllers and writes events until `stop` is ready.
pub async fn run(looped: Loop, api: Api, events: EventRecorder, stop: impl Future<Output = ()>) {
    tokio::select! {
        () = decide_forever(looped, &api) => {}
        () = events.run(&api) => {}
        () = stop => {}
    }
    events.flush(&api).await;
}

async fn decide_forever(mut looped: Loop, api: &Api) {
    let mut running = FuturesUnordered::new();
    loop {
        looped.catch_up(api);
        let now = api.source().now();
        while let Some(job) = looped.take(now) {
            let plan = looped.decide(&job, &api.snapshot(), now);
            if plan.writes.is_empty() {
                looped.finish(job, plan, Outcome::Done, now);
            } else {
                running.push(under_way(api, looped.name(&job), job, plan));
            }
        }
        let wake = until(looped.next_timer(), now);
        tokio::select! {
            () = looped.written(api) => {}
            Some((job, plan, outcome)) = running.next() => {
                looped.finish(job, plan, outcome, api.source().now());
            }
            () = wake => {}
        }
    }
}

async fn under_way(api: &Api, name: &str, job: Job, plan: Plan) -> (Job, Plan, Outcome) {
    let outcome = carry_out(api, name, &plan).await;
    (job, plan, outcome)
}

/// Ready at `when`; never, when there is no such time.
async fn until(when: Option<Timestamp>, now: Timestamp) {
    let Some(when) = when else { return std::future::pending().await };
    // A time that has passed is now.
    let wait = Duration::try_from(when.duration_since(now)).unwrap_or_default();
    tokio::time::sleep(wait).await;
}
