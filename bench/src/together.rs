//! What pods cost that many write at once: under one quota, in their status, and when all of them
//! are deleted.

use std::path::Path;
use std::time::Instant;

use hyper::Method;
use serde_json::{Value, json};

use crate::Failure;
use crate::client::{Access, Client};
use crate::objects::pod;
use crate::report::figure;
use crate::writers::{self, Writer, noise};

/// Pods that are created with and without a quota.
const CREATED: usize = 1_000;
const CREATORS: usize = 16;
/// Whose status is written at once.
const WRITTEN: usize = 64;
/// Pods that are deleted together.
const DELETED: usize = 700;

/// Measures all of it; the engine's data is on the disk of `directory`.
pub async fn run(access: &Access, directory: &Path) -> Result<(), Failure> {
    let mut client = access.connect().await?;
    let free = create(access, &mut client, "bench-free", None).await?;
    let hard = json!({"pods": CREATED, "requests.cpu": "1000", "requests.memory": "1000Gi"});
    let bounded = create(access, &mut client, "bench-quota", Some(hard)).await?;
    figure("API: 1,000 pods created under one quota", "/s", &[bounded]);
    figure("API: pods created under one quota, to without", "x", &[bounded / free]);
    statuses(access, directory).await?;
    deletions(&mut client).await
}

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// Pods a second that many creators make in a new namespace, each of which must succeed.
async fn create(
    access: &Access,
    client: &mut Client,
    namespace: &str,
    hard: Option<Value>,
) -> Result<f64, Failure> {
    let body = json!({"metadata": {"name": namespace}});
    client.call(Method::POST, "/api/v1/namespaces", body.to_string()).await?;
    if let Some(hard) = hard {
        let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}});
        let path = format!("/api/v1/namespaces/{namespace}/resourcequotas");
        client.call(Method::POST, &path, quota.to_string()).await?;
    }
    let mut tasks = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..CREATORS {
        clients.push(access.connect().await?);
    }
    let start = Instant::now();
    for (creator, mut client) in clients.into_iter().enumerate() {
        let path = pods(namespace);
        tasks.push(tokio::spawn(async move {
            for number in (creator..CREATED).step_by(CREATORS) {
                client.call(Method::POST, &path, pod(number).to_string()).await?;
            }
            Ok::<_, Failure>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(CREATED as f64 / start.elapsed().as_secs_f64())
}

/// Writes one pod's status again and again, as its node does.
struct Status {
    client: Client,
    name: String,
}

impl Writer for Status {
    async fn write(&mut self, number: u64) -> Result<(), Failure> {
        let status = json!({"phase": "Running", "message": noise(number, 16)});
        let body = json!({"metadata": {"name": self.name}, "status": status}).to_string();
        let path = format!("{}/{}/status", pods("bench-free"), self.name);
        self.client.call(Method::PUT, &path, body).await?;
        Ok(())
    }
}

async fn statuses(access: &Access, directory: &Path) -> Result<(), Failure> {
    let mut writers = Vec::new();
    for number in 0..WRITTEN {
        let name = pod(number)["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        writers.push(Status { client: access.connect().await?, name });
    }
    writers::measure("API: status write", directory, writers).await
}

/// How many of those who watched before a burst of deletions are sent to a new list after it.
async fn deletions(client: &mut Client) -> Result<(), Failure> {
    let path = pods("bench-quota");
    let few = client.call(Method::GET, &format!("{path}?limit={DELETED}"), "").await?;
    let few: Value = serde_json::from_slice(&few)?;
    let revision = few["metadata"]["resourceVersion"].as_str().ok_or("a list has a revision")?;
    for pod in few["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().ok_or("a pod has a name")?;
        let now = json!({"gracePeriodSeconds": 0}).to_string();
        client.call(Method::DELETE, &format!("{path}/{name}"), now).await?;
    }
    let watch = format!("{path}?watch=true&resourceVersion={revision}&timeoutSeconds=2");
    let seen = String::from_utf8(client.call(Method::GET, &watch, "").await?.to_vec())?;
    let deleted = seen.matches("\"type\":\"DELETED\"").count();
    let resumed = deleted == DELETED && !seen.contains("\"type\":\"ERROR\"");
    let anew = if resumed { 0.0 } else { 1.0 };
    figure("API: watchers that list anew after 700 deletions", "", &[anew]);
    Ok(())
}
