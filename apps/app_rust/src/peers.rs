//! The other replicas, asked by their stable names.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::Config;

/// How long a peer may take before it is shown as missing.
const PATIENCE: Duration = Duration::from_millis(200);
/// An answer has at most so many bytes.
const ANSWER_MAX: u64 = 4096;
/// So many replicas are asked at most.
const REPLICAS_MAX: u32 = 100;

/// A replica and its count; `None` when it did not answer in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// `app-rust-0`
    pub name: String,
    /// Its visits.
    pub visits: Option<u64>,
}

/// All replicas in the order of their ordinals; this one has `own` visits.
pub async fn all(config: &Config, own: Option<u64>) -> Vec<Replica> {
    let Some((set, ordinal)) = config.set_and_ordinal().filter(|_| !config.peers_domain.is_empty())
    else {
        return vec![Replica { name: config.pod_name.clone(), visits: own }];
    };
    let count = config.replicas.clamp(1, REPLICAS_MAX).max(ordinal + 1);
    let mut replicas: Vec<Replica> =
        (0..count).map(|i| Replica { name: format!("{set}-{i}"), visits: None }).collect();
    let mut asks = JoinSet::new();
    for (index, replica) in replicas.iter_mut().enumerate() {
        if replica.name == config.pod_name {
            replica.visits = own;
        } else {
            let host = format!("{}.{}", replica.name, config.peers_domain);
            let port = config.peers_port;
            asks.spawn(async move {
                (index, tokio::time::timeout(PATIENCE, ask(&host, port)).await.ok().flatten())
            });
        }
    }
    while let Some(answer) = asks.join_next().await {
        if let Ok((index, visits)) = answer {
            replicas[index].visits = visits;
        }
    }
    replicas
}

/// `GET /visits` of a peer.
async fn ask(host: &str, port: u16) -> Option<u64> {
    let mut stream = TcpStream::connect((host, port)).await.ok()?;
    let request = format!("GET /visits HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.split(' ').nth(1)?.starts_with('2') {
        return None;
    }
    serde_json::from_str::<serde_json::Value>(body).ok()?.get("visits")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        Config::from_environment(|name| {
            variables.iter().find(|(have, _)| *have == name).map(|(_, value)| value.to_string())
        })
        .unwrap()
    }

    #[tokio::test]
    async fn a_missing_peer_is_shown_as_missing() {
        let config = config(&[
            ("POD_NAME", "app-rust-1"),
            ("REPLICAS", "2"),
            ("PEERS_DOMAIN", "nowhere.invalid"),
        ]);
        let replicas = all(&config, Some(5)).await;
        assert_eq!(
            replicas,
            [
                Replica { name: "app-rust-0".into(), visits: None },
                Replica { name: "app-rust-1".into(), visits: Some(5) },
            ]
        );
    }
}
