//! The loop in the engine: plans are carried out side by side, never two for one key.

use std::future::Future;
use std::time::Duration;

use coracle_api::Timestamp;
use coracle_api::computed::{CONTROLLER_MANAGER, SCHEDULER};
use coracle_server::Api;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::errand::{Errand, Outcome};
use crate::events::EventRecorder;
use crate::panics;
use crate::turn::Loop;

/// Drives the controllers and writes events until `stop` is ready.
pub async fn run(looped: Loop, api: Api, events: EventRecorder, stop: impl Future<Output = ()>) {
    // The scheduler is one of the controllers.
    for component in [CONTROLLER_MANAGER, SCHEDULER] {
        api.tell(component, Ok(()));
    }
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
            let snapshot = api.snapshot();
            match looped.decide(&job, &snapshot, now) {
                Ok(errand) if errand.is_idle() => {
                    looped.finish(errand, Outcome::Done, &snapshot, now);
                }
                Ok(errand) => running.push(under_way(api, looped.name(&job), errand)),
                Err(message) => looped.put_aside(&job, &message, &snapshot, now),
            }
        }
        let wake = until(looped.next_timer(), now);
        tokio::select! {
            () = looped.written(api) => {}
            Some((errand, outcome)) = running.next() => {
                looped.finish(errand, outcome, &api.snapshot(), api.source().now());
            }
            () = wake => {}
        }
    }
}

async fn under_way(api: &Api, name: &str, mut errand: Errand) -> (Errand, Outcome) {
    let outcome = panics::caught_async(errand.carry_out(api, name)).await;
    (errand, outcome.unwrap_or_else(Outcome::Panicked))
}

/// Ready at `when`; never, when there is no such time.
async fn until(when: Option<Timestamp>, now: Timestamp) {
    let Some(when) = when else { return std::future::pending().await };
    // A time that has passed is now.
    let wait = Duration::try_from(when.duration_since(now)).unwrap_or_default();
    tokio::time::sleep(wait).await;
}
