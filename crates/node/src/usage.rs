//! What containers use: counted by the kernel all the time, looked at only when somebody asks.
//!
//! The processor's time is a rate between two readings. The earlier one is that of whoever asked
//! before; who asks first, or after a long while, waits a moment for the second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::Usage;
use k8s_openapi::api::core::v1::Pod;

use crate::context::Context;
use crate::meter::{APART_MIN, Running, Sample, rates, running};

/// Between two readings at most: a rate over hours would tell nothing of now.
const APART_MAX: Duration = Duration::from_secs(60);

impl Context {
    /// What the node's pods use now.
    pub async fn usage(&self) -> Arc<Usage> {
        let mut last = self.meter.last.lock().await;
        let earlier = match last.take() {
            Some((sample, usage)) if sample.at.elapsed() < APART_MIN => {
                *last = Some((sample, Arc::clone(&usage)));
                return usage;
            }
            Some((sample, _)) if sample.at.elapsed() <= APART_MAX => sample,
            _ => {
                let first = self.sample(&self.running()).await;
                tokio::time::sleep(APART_MIN).await;
                first
            }
        };
        let running = self.running();
        let later = self.sample(&running).await;
        let usage = Arc::new(rates(&self.config.name, &earlier, &later, running));
        *last = Some((later, Arc::clone(&usage)));
        usage
    }

    /// The containers that run.
    pub fn running(&self) -> Vec<Running> {
        let snapshot = self.client.api.snapshot();
        let pods = self.pods(&snapshot).filter_map(|object| object.view::<Pod>().ok());
        pods.flat_map(|pod| running(&pod)).collect()
    }

    /// What they have used until now.
    pub async fn sample(&self, running: &[Running]) -> Sample {
        let asked = running.iter().map(|one| (one.pod.clone(), one.id.clone())).collect();
        let (at, time) = (Instant::now(), self.client.now());
        let reading = self.runtime.usage(asked).await;
        let ids = running.iter().map(|one| one.id.clone());
        let found = ids.zip(reading.containers).filter_map(|(id, used)| Some((id, used?)));
        Sample { at, time, all: reading.all, containers: found.collect() }
    }
}
