//! The API as a client sees it, over TLS: durable writers, get, a list of 10,000 pods. One event to
//! 1,000 watchers is in `fan_out.rs`, what many write together in `together.rs`.

use std::path::Path;
use std::time::Instant;

use hyper::Method;
use serde_json::json;

use crate::client::{Access, Client};
use crate::objects::{NAMESPACE, config_map, pod};
use crate::report::{figure, milliseconds, percentile};
use crate::writers::{self, OBJECT_BYTES, Writer, noise};
use crate::{Failure, fan_out, together};

const PODS: usize = 10_000;
/// What a stored config map has beside its noise.
const AROUND: usize = 400;
/// As much as a small deployment tool would open.
const CREATORS: usize = 16;

/// Measures all of it, in a namespace of its own; the engine's data is on the disk of `directory`.
pub async fn run(directory: &Path, address: &str, pems: &Path) -> Result<(), Failure> {
    let access = Access::new(address, pems)?;
    let mut client = access.connect().await?;
    let namespace = json!({"metadata": {"name": "bench"}});
    client.call(Method::POST, "/api/v1/namespaces", namespace.to_string()).await?;
    for count in writers::WRITERS {
        let mut writers = Vec::new();
        for number in 0..count {
            writers.push(OverHttp::new(&access, format!("writer-{count}-{number}")).await?);
        }
        writers::measure("API: durable write", directory, writers).await?;
    }
    get(&mut client).await?;
    fan_out::run(&access, &mut client).await?;
    together::run(&access, directory).await?;
    create_pods(&access).await?;
    list(&mut client).await
}

/// Replaces a config map of its own again and again.
struct OverHttp {
    client: Client,
    name: String,
}

impl OverHttp {
    async fn new(access: &Access, name: String) -> Result<Self, Failure> {
        let mut client = access.connect().await?;
        config_map(&mut client, &name).await?;
        Ok(Self { client, name })
    }
}

impl Writer for OverHttp {
    async fn write(&mut self, number: u64) -> Result<(), Failure> {
        let data = json!({"noise": noise(number, OBJECT_BYTES - AROUND)});
        let body = json!({"metadata": {"name": self.name}, "data": data}).to_string();
        let path = format!("{NAMESPACE}/configmaps/{}", self.name);
        self.client.call(Method::PUT, &path, body).await?;
        Ok(())
    }
}

async fn get(client: &mut Client) -> Result<(), Failure> {
    config_map(client, "read").await?;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let mut times = Vec::new();
        for _ in 0..2_000 {
            let start = Instant::now();
            client.length(&format!("{NAMESPACE}/configmaps/read")).await?;
            times.push(start.elapsed());
        }
        p50.push(percentile(&mut times, 50));
        p99.push(percentile(&mut times, 99));
    }
    figure("API: get, p50", "ms", &p50);
    figure("API: get, p99", "ms", &p99);
    Ok(())
}

/// Pods that no scheduler feels responsible for, so that they stay what they are.
async fn create_pods(access: &Access) -> Result<(), Failure> {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for creator in 0..CREATORS {
        let mut client = access.connect().await?;
        tasks.push(tokio::spawn(async move {
            for number in (creator..PODS).step_by(CREATORS) {
                let body = pod(number).to_string();
                client.call(Method::POST, &format!("{NAMESPACE}/pods"), body).await?;
            }
            Ok::<_, Failure>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    figure("API: 10,000 pods created", "/s", &[PODS as f64 / start.elapsed().as_secs_f64()]);
    Ok(())
}

async fn list(client: &mut Client) -> Result<(), Failure> {
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let start = Instant::now();
        let length = client.length(&format!("{NAMESPACE}/pods")).await?;
        rates.push(length as f64 / start.elapsed().as_secs_f64() / 1e6);
        times.push(milliseconds(start.elapsed()));
    }
    figure("API: list of 10,000 pods", "MB/s", &rates);
    figure("API: list of 10,000 pods, time", "ms", &times);
    Ok(())
}
