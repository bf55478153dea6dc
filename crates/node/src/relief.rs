//! What becomes of pods that write too much, and of a node that is short of memory or disk: measured
//! here and carried out; decided in [`crate::evictions`].
//!
//! At rest that is a look at two files and one system call every ten seconds. Only pods with limits
//! are measured, and those the less often the longer it takes; all of them only when the node is
//! short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::pods::AnyPod;
use coracle_api::resources::NODES;
use coracle_api::{Object, pod_resources};
use coracle_runtime::Used;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::context::Context;
use crate::evictions::choice::{self, Consumer, Use};
use crate::evictions::images::{Candidate, Uses, missing};
use crate::evictions::own_limits::{self, Written};
use crate::evictions::pressure::{DISK_PRESSURE, MEMORY_PRESSURE, Reading, Signal};
use crate::measure::{Taken, taken};
use crate::meter::running;
use crate::planner::{Eviction, Note};
use crate::pods::PodId;
use crate::reserve;
use crate::tasks::blocking;
use crate::volumes::image_volume;
use crate::volumes::sized::Sized;
use crate::worker::Message;

/// Between two looks; and when it will be short soon.
const PERIOD: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(1);
/// Between two looks at what one pod has written: so many times as long as the last one took.
const REST: u32 = 100;
const REST_MAX: Duration = Duration::from_mins(5);
/// Between two looks at which images are used.
const IMAGES_PERIOD: Duration = Duration::from_mins(5);
/// Files of one container or volume that are looked at.
const FILES_MAX: usize = 1 << 20;

/// What is remembered from look to look.
#[derive(Default)]
struct Rounds {
    /// When pods with limits are measured next, by UID.
    due: BTreeMap<String, Instant>,
    images: Uses,
    images_at: Option<Instant>,
}

/// Looks after the node, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let (began, mut rounds) = (Instant::now(), Rounds::default());
    let mut pause = PERIOD;
    loop {
        tokio::time::sleep(pause).await;
        context.keep_limits(&mut rounds.due).await;
        let readings = context.readings().await;
        let now = began.elapsed();
        let short = context.observe(&readings, now);
        context.look_at_images(&mut rounds, &readings, now).await;
        if let Some(first) = short.first() {
            context.relieve(*first, &rounds.images, now).await;
        }
        let is_near = readings.iter().any(Reading::is_near);
        pause = if is_near && short.is_empty() { SOON } else { PERIOD };
    }
}

impl Context {
    /// What there is of everything that the node can be short of.
    async fn readings(self: &Arc<Self>) -> Vec<Reading> {
        let pods = self.runtime.usage(Vec::new()).await.all;
        let context = Arc::clone(self);
        blocking(move || {
            let bytes = |number: i64| u64::try_from(number).unwrap_or_default();
            let machine = Reading {
                signal: Signal::Memory,
                available: bytes(reserve::meminfo("MemAvailable:")),
                capacity: bytes(reserve::memory_of_machine()),
            };
            let mut readings = vec![machine];
            if let Some(pods) = pods {
                let capacity = bytes(context.allocatable.memory);
                let available = capacity.saturating_sub(pods.working_set);
                readings.push(Reading { available, capacity, ..machine });
            }
            // Of a disk that cannot be asked nothing is known.
            if let Ok(disk) = rustix::fs::statvfs(&context.places.data) {
                let of_blocks = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
                readings.push(Reading {
                    signal: Signal::Disk,
                    available: of_blocks(disk.f_bavail),
                    capacity: of_blocks(disk.f_blocks),
                });
                let (available, capacity) = (disk.f_favail, disk.f_files);
                readings.push(Reading { signal: Signal::Inodes, available, capacity });
            }
            readings
        })
        .await
    }

    /// Takes readings in, and has the node say what has changed.
    fn observe(&self, readings: &[Reading], now: Duration) -> Vec<Reading> {
        let mut pressure = self.pressure();
        let before = pressure.conditions();
        let short = pressure.observe(readings, now);
        let after = pressure.conditions();
        drop(pressure);
        if before != after {
            self.tell_of_pressure(&before, &after);
            self.pressure_changed.notify_one();
        }
        short
    }

    fn tell_of_pressure(&self, before: &BTreeSet<&str>, after: &BTreeSet<&str>) {
        let Some(node) = self.node_object() else { return };
        let words = [
            (MEMORY_PRESSURE, "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
            (DISK_PRESSURE, "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        ];
        for (condition, begins, ends) in words {
            let (was, is) = (before.contains(condition), after.contains(condition));
            if was != is {
                let reason = if is { begins } else { ends };
                let message = format!("Node {} status is now: {reason}", self.config.name);
                self.client.record(&node, Note::normal(reason, message));
            }
        }
    }

    fn node_object(&self) -> Option<Arc<Object>> {
        self.client.api.snapshot().find(NODES, "", &self.config.name).cloned()
    }

    /// The pods of the node that have not ended.
    pub fn living(&self) -> Vec<Arc<Object>> {
        let snapshot = self.client.api.snapshot();
        self.pods(&snapshot).filter(|pod| !pod.has_ended()).cloned().collect()
    }

    /// Evicts pods that have written more than they may.
    async fn keep_limits(self: &Arc<Self>, due: &mut BTreeMap<String, Instant>) {
        let living = self.living();
        due.retain(|uid, _| living.iter().any(|pod| pod.metadata().uid == *uid));
        for pod in living {
            let (uid, spec) = (pod.metadata().uid.clone(), &pod.value()["spec"]);
            let begun = Instant::now();
            if due.get(&uid).is_some_and(|at| *at > begun) || !own_limits::has_any(spec) {
                continue;
            }
            let written = self.written(&pod).await;
            let rest = begun.elapsed().saturating_mul(REST).clamp(PERIOD / 2, REST_MAX);
            due.extend(Instant::now().checked_add(rest).map(|at| (uid.clone(), at)));
            if let Some(message) = own_limits::exceeded(spec, &written) {
                let eviction = Eviction { message, is_disrupted: false };
                self.board.send(&uid, Message::Evicted(eviction));
            }
        }
    }

    /// What a pod has on the disk.
    pub async fn written(self: &Arc<Self>, pod: &Arc<Object>) -> Written {
        let (context, pod) = (Arc::clone(self), Arc::clone(pod));
        blocking(move || context.measure(&pod)).await
    }

    fn measure(&self, object: &Object) -> Written {
        let mut written = Written::default();
        let Ok(pod) = object.view::<Pod>() else { return written };
        let (id, shown) = (PodId::of(&pod), self.shown.get(&object.metadata().uid));
        let count = |path: &std::path::Path| {
            taken(path, FILES_MAX).unwrap_or_else(|error| {
                tracing::debug!(path = %path.display(), %error, "not measured");
                Taken::default()
            })
        };
        for (name, container) in shown.into_iter().flat_map(|shown| shown.containers) {
            let layer = container.current.and_then(|run| self.runtime.written(&id.uid, &run.id));
            let layer = layer.map(|path| count(&path)).unwrap_or_default();
            let logs = count(&self.places.logs(&id).join(&name));
            written.containers.insert(name, layer.bytes.saturating_add(logs.bytes));
            written.inodes = written.inodes.saturating_add(layer.inodes);
        }
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let Some(source) = &volume.empty_dir else { continue };
            if source.medium.as_deref().is_some_and(|medium| !medium.is_empty()) {
                continue;
            }
            let path = self.places.empty_dir(&id.uid, &volume.name);
            // Files in an image are not the disk's.
            let (bytes, inodes) = match source.size_limit {
                Some(_) => (Sized::of(&path).used().map_or(0, |(bytes, _)| bytes), 0),
                None => {
                    let taken = count(&path);
                    (taken.bytes, taken.inodes)
                }
            };
            written.volumes.insert(volume.name.clone(), bytes);
            written.inodes = written.inodes.saturating_add(inodes);
        }
        written
    }

    /// Takes note of which images are used, and removes some when the disk fills.
    async fn look_at_images(
        self: &Arc<Self>,
        rounds: &mut Rounds,
        readings: &[Reading],
        now: Duration,
    ) {
        if rounds.images_at.is_some_and(|at| at.elapsed() < IMAGES_PERIOD) {
            return;
        }
        rounds.images_at = Some(Instant::now());
        let images = self.candidates().await;
        rounds.images.observe(&images, now);
        let disk = readings.iter().find(|reading| reading.signal == Signal::Disk);
        let bytes = disk.map_or(0, missing);
        if bytes > 0 {
            self.remove_images(rounds.images.doomed(&images, bytes, false, now)).await;
        }
    }

    async fn candidates(self: &Arc<Self>) -> Vec<Candidate> {
        let context = Arc::clone(self);
        blocking(move || context.candidates_now()).await
    }

    /// Blocks.
    fn candidates_now(&self) -> Vec<Candidate> {
        let images = self.images.list().unwrap_or_default();
        let mut used = BTreeSet::new();
        for pod in self.living() {
            let Ok(pod) = pod.view::<Pod>() else { continue };
            let names = crate::pods::images(&pod);
            let found = names.iter().filter_map(|name| self.images.find(name).ok().flatten());
            used.extend(found.map(|image| image.id));
            let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            used.extend(
                volumes.filter_map(|it| image_volume::mounted(&self.places, uid, &it.name)),
            );
        }
        let candidate = |image: &crate::images::Image| Candidate {
            id: image.id.clone(),
            bytes: image.size,
            is_used: used.contains(&image.id),
            is_pulled: !image.pulled_as.is_empty(),
        };
        images.iter().map(candidate).collect()
    }

    async fn remove_images(self: &Arc<Self>, doomed: Vec<String>) {
        let context = Arc::clone(self);
        blocking(move || {
            for id in doomed {
                // A pod may have come meanwhile; one that comes later pulls it again.
                let used = context.candidates_now().iter().any(|it| it.id == id && it.is_used);
                match context.images.remove(&id, |_| used.then(|| "a pod".to_owned())) {
                    Ok(()) => tracing::info!(id, "an unused image is removed: the disk fills"),
                    Err(error) => tracing::warn!(id, %error, "an image is not removed"),
                }
            }
        })
        .await;
    }

    /// Does something about a shortage: images go first, then one pod.
    async fn relieve(self: &Arc<Self>, short: Reading, images: &Uses, now: Duration) {
        if let Some(node) = self.node_object() {
            let message = format!("Attempting to reclaim {}", short.signal.resource());
            self.client.record(&node, Note::warning("EvictionThresholdMet", message));
        }
        if short.signal != Signal::Memory {
            let doomed = images.doomed(&self.candidates().await, 0, true, now);
            if !doomed.is_empty() {
                self.remove_images(doomed).await;
                let is_still = |it: &Reading| it.signal == short.signal && it.is_short();
                if !self.readings().await.iter().any(is_still) {
                    return;
                }
            }
        }
        let consumers = self.consumers(short.signal).await;
        if let Some(first) = choice::first(short.signal, &consumers) {
            let eviction = Eviction { message: choice::message(&short, first), is_disrupted: true };
            self.board.send(&first.uid, Message::Evicted(eviction));
        }
    }

    /// What all pods have of something.
    async fn consumers(self: &Arc<Self>, signal: Signal) -> Vec<Consumer> {
        let living = self.living();
        let memory = match signal {
            Signal::Memory => self.memory(&living).await,
            Signal::Disk | Signal::Inodes => BTreeMap::new(),
        };
        let mut consumers = Vec::new();
        for pod in living {
            let (uid, spec) = (&pod.metadata().uid, &pod.value()["spec"]);
            let (total, containers) = match signal {
                Signal::Memory => {
                    let containers = memory.get(uid).cloned().unwrap_or_default();
                    (containers.values().sum(), containers)
                }
                Signal::Disk => {
                    let written = self.written(&pod).await;
                    (written.bytes(), written.containers)
                }
                Signal::Inodes => (self.written(&pod).await.inodes, BTreeMap::new()),
            };
            consumers.push(consumer(uid, spec, signal.resource(), total, &containers));
        }
        consumers
    }

    /// Bytes of memory by pods' UIDs and containers' names.
    async fn memory(&self, pods: &[Arc<Object>]) -> BTreeMap<String, BTreeMap<String, u64>> {
        let views = pods.iter().filter_map(|pod| pod.view::<Pod>().ok());
        let running: Vec<_> = views.flat_map(|pod| running(&pod)).collect();
        let asked = running.iter().map(|one| (one.pod.clone(), one.id.clone())).collect();
        let found: Vec<Option<Used>> = self.runtime.usage(asked).await.containers;
        let mut all = BTreeMap::<String, BTreeMap<String, u64>>::new();
        for (one, used) in running.into_iter().zip(found) {
            let bytes = used.map_or(0, |used| used.working_set);
            all.entry(one.pod).or_default().insert(one.name, bytes);
        }
        all
    }
}

fn consumer(
    uid: &str,
    spec: &Value,
    resource: &str,
    total: u64,
    used: &BTreeMap<String, u64>,
) -> Consumer {
    let requested = |amounts: &pod_resources::Amounts| {
        let amount = amounts.get(resource).map_or(0, |amount| amount.value());
        u64::try_from(amount).unwrap_or_default()
    };
    let of = |one: &Value| {
        let name = one["name"].as_str().unwrap_or_default();
        let asked = pod_resources::amounts(&one["resources"]["requests"]).collect();
        let used = *used.get(name)?;
        Some((name.to_owned(), Use { used, requested: requested(&asked) }))
    };
    let priority = spec["priority"].as_i64().and_then(|it| i32::try_from(it).ok());
    Consumer {
        uid: uid.to_owned(),
        priority: priority.unwrap_or_default(),
        pod: Use { used: total, requested: requested(&pod_resources::requests(spec)) },
        containers: own_limits::containers(spec).filter_map(of).collect(),
    }
}
