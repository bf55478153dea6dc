//! The store in process: durable writers, a list, one event to many watchers, opening, memory.

use std::path::Path;
use std::time::{Duration, Instant};

use coracle_api::Object;
use coracle_store::{Expect, Store, Transaction, Write};
use serde_json::json;

use crate::Failure;
use crate::report::{figure, milliseconds};
use crate::writers::{self, OBJECT_BYTES, Writer, noise};

const OBJECTS: u64 = 10_000;
const WATCHERS: usize = 1_000;
/// What the object has beside its noise.
const AROUND: usize = 230;

/// Measures all of it in a new directory inside `directory`.
pub async fn run(directory: &Path) -> Result<(), Failure> {
    let directory = tempfile::tempdir_in(directory)?;
    for count in writers::WRITERS {
        let store = Store::open(&directory.path().join(format!("writers-{count}")))?;
        let writers = (0..count).map(|number| InStore { store: store.clone(), number }).collect();
        writers::measure("store: durable write", directory.path(), writers).await?;
    }
    let path = directory.path().join("many");
    fill(&path).await?;
    let store = open(&path)?;
    list(&store);
    fan_out(&store).await
}

struct InStore {
    store: Store,
    number: usize,
}

impl Writer for InStore {
    async fn write(&mut self, number: u64) -> Result<(), Failure> {
        let name = format!("writer-{}-{}", self.number, number % 50);
        self.store.commit(put(&name, number)?).await?;
        Ok(())
    }
}

/// An object of 1 KiB whose content differs with `salt`.
fn object(name: &str, salt: u64) -> Result<Object, Failure> {
    let value = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "uid": format!("{name}-uid"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "bench"}},
        "data": {"noise": noise(salt, OBJECT_BYTES - AROUND)},
    });
    Ok(Object::with_resource("configmaps", value)?)
}

fn put(name: &str, salt: u64) -> Result<Transaction, Failure> {
    Ok(Transaction::of([Write::put(object(name, salt)?, Expect::Any)]))
}

async fn fill(path: &Path) -> Result<(), Failure> {
    let store = Store::open(path)?;
    for first in (0..OBJECTS).step_by(500) {
        let writes = (first..first + 500)
            .map(|i| Ok(Write::put(object(&format!("object-{i:05}"), i)?, Expect::Absent)))
            .collect::<Result<Vec<_>, Failure>>()?;
        store.commit(Transaction::of(writes)).await?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<Store, Failure> {
    let before = resident_kib()?;
    let start = Instant::now();
    let store = Store::open(path)?;
    figure("store: open 10,000 objects", "ms", &[milliseconds(start.elapsed())]);
    let more = resident_kib()?.saturating_sub(before);
    figure("store: memory of 10,000 objects", "MiB", &[more as f64 / 1024.0]);
    Ok(store)
}

fn list(store: &Store) {
    let rates: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            let mut out = Vec::with_capacity(16 << 20);
            for object in store.snapshot().list("configmaps", None) {
                out.extend_from_slice(object.bytes());
                out.push(b',');
            }
            out.len() as f64 / start.elapsed().as_secs_f64() / 1e6
        })
        .collect();
    figure("store: list of 10,000 objects", "MB/s", &rates);
}

async fn fan_out(store: &Store) -> Result<(), Failure> {
    let mut times = Vec::new();
    for round in 0..20 {
        let from = store.snapshot().revision();
        let tasks: Vec<_> = (0..WATCHERS)
            .map(|_| {
                let mut watch = store.watch_resource("configmaps", from)?;
                Ok(tokio::spawn(async move {
                    watch.next().await?;
                    Ok::<_, Failure>(Instant::now())
                }))
            })
            .collect::<Result<_, Failure>>()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = Instant::now();
        store.commit(put("object-00001", 1_000_000 + round)?).await?;
        let mut last = start;
        for task in tasks {
            last = last.max(task.await??);
        }
        times.push(milliseconds(last - start));
    }
    figure("store: write to the last of 1,000 watchers", "ms", &times);
    Ok(())
}

fn resident_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
