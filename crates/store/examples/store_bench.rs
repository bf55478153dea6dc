//! What the store costs, beside what the disk costs: `store_bench [DIRECTORY]`.
//!
//! Durable writes of 1 KiB objects with 1, 8 and 64 writers beside a bare append and fdatasync;
//! one event to 1,000 watchers; a list of 10,000 objects; opening them; memory.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::{Key, Object};
use coracle_store::{Expect, Store, Transaction, Write};
use serde_json::json;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const RUN: Duration = Duration::from_secs(3);
const OBJECT_BYTES: usize = 1024;

fn main() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(directory)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    bare_sync(directory.path())?;
    for writers in [1, 8, 64] {
        runtime.block_on(durable_writes(directory.path(), writers))?;
    }
    let path = directory.path().join("ten-thousand");
    runtime.block_on(fill(&path, 10_000))?;
    let store = open(&path)?;
    list(&store);
    runtime.block_on(fan_out(&store, 1_000))?;
    runtime.block_on(peak_memory(&store))?;
    Ok(())
}

/// An object of 1 KiB whose content differs with `salt`.
fn object(name: &str, salt: u64) -> Result<Object, Failure> {
    let noise: String =
        (0..80).map(|i| format!("{:010x}", (salt + i) * 0x9e37_79b9 % (1 << 40))).collect();
    let value = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "uid": format!("{name}-uid"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "bench"}},
        "data": {"noise": &noise[..OBJECT_BYTES - 230]},
    });
    Ok(Object::with_resource("configmaps", value)?)
}

fn put(name: &str, salt: u64) -> Result<Transaction, Failure> {
    Ok(Transaction::of([Write::put(object(name, salt)?, Expect::Any)]))
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:>8.1?}  p99 {:>8.1?}", at(50), at(99))
}

fn bare_sync(directory: &Path) -> Result<(), Failure> {
    let mut file = File::create(directory.join("bare"))?;
    let data = [7; OBJECT_BYTES];
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < RUN {
        let one = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        times.push(one.elapsed());
    }
    println!(
        "bare append + fdatasync  {:>7.0}/s  {}",
        rate(times.len(), start),
        percentiles(times)
    );
    Ok(())
}

fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

async fn durable_writes(directory: &Path, writers: usize) -> Result<(), Failure> {
    let store = Store::open(&directory.join(format!("writers-{writers}")))?;
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < RUN {
                    let salt = times.len() as u64;
                    let transaction = put(&format!("writer-{writer}-{}", salt % 50), salt)?;
                    let one = Instant::now();
                    store.commit(transaction).await?;
                    times.push(one.elapsed());
                }
                Ok::<_, Failure>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    println!(
        "{writers:>2} writers               {:>7.0}/s  {}",
        rate(times.len(), start),
        percentiles(times)
    );
    Ok(())
}

async fn fill(path: &Path, count: u64) -> Result<(), Failure> {
    let store = Store::open(path)?;
    for first in (0..count).step_by(500) {
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
    println!(
        "open of 10,000 objects   {:.1?}, {} KiB more resident, file {} KiB",
        start.elapsed(),
        resident_kib()?.saturating_sub(before),
        std::fs::metadata(path)?.len() / 1024
    );
    Ok(store)
}

fn list(store: &Store) {
    let mut rates = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let mut out = Vec::with_capacity(16 << 20);
        for object in store.snapshot().list("configmaps", None) {
            out.extend_from_slice(object.bytes());
            out.push(b',');
        }
        rates.push(out.len() as f64 / start.elapsed().as_secs_f64() / 1e6);
    }
    rates.sort_by(f64::total_cmp);
    println!("list of 10,000 objects   {:.0} MB/s (median)", rates[rates.len() / 2]);
}

async fn fan_out(store: &Store, watchers: usize) -> Result<(), Failure> {
    let mut times = Vec::new();
    for round in 0..30 {
        let from = store.snapshot().revision();
        let tasks: Vec<_> = (0..watchers)
            .map(|_| {
                let mut watch = store.watch_resource("configmaps", from)?;
                Ok(tokio::spawn(async move {
                    let event = watch.next().await?;
                    Ok::<_, Failure>((Instant::now(), event.last.bytes().len()))
                }))
            })
            .collect::<Result<_, Failure>>()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let transaction = put("object-00001", 1_000_000 + round)?;
        store.commit(transaction).await?;
        let published = Instant::now();
        let mut last = published;
        for task in tasks {
            last = last.max(task.await??.0);
        }
        times.push(last - published);
    }
    println!(
        "event to {watchers} watchers   {} (last one, after the commit returned)",
        percentiles(times)
    );
    Ok(())
}

/// Memory while the watch log is full of old versions.
async fn peak_memory(store: &Store) -> Result<(), Failure> {
    for salt in 0..12_000 {
        let name = format!("object-{:05}", salt % 10_000);
        let transaction = put(&name, 7_000_000 + salt)?;
        if salt % 64 == 63 {
            store.commit(transaction).await?;
        } else {
            tokio::spawn({
                let store = store.clone();
                async move { store.commit(transaction).await.map(drop) }
            });
        }
    }
    let key = Key::new("configmaps", "default", "object-00001");
    let object = store.snapshot().get(&key).map(Arc::clone);
    println!("12,000 updates later     {} KiB resident ({object:?})", resident_kib()?);
    Ok(())
}

fn resident_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
