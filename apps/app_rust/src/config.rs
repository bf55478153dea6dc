//! Configuration, from the environment alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be set. See the README for the variables.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve (`LISTEN`, default `0.0.0.0:8080`).
    pub listen: SocketAddr,
    /// The file that holds the count (`VISITS_FILE`, default `visits.txt` in the working directory).
    pub visits_file: PathBuf,
    /// This replica (`POD_NAME`, default the host's name).
    pub pod_name: String,
    /// What follows a replica's name in the DNS: the headless Service (`PEERS_DOMAIN`); empty for
    /// no peers.
    pub peers_domain: String,
    /// How many replicas there are (`REPLICAS`, default 1).
    pub replicas: u32,
    /// A file that says so and may change later (`REPLICAS_FILE`): scaling needs no restart.
    pub replicas_file: Option<PathBuf>,
    /// Port of the peers (`PEERS_PORT`, default the port of `LISTEN`).
    pub peers_port: u16,
    /// What the page shows (`VERSION`).
    pub version: String,
    /// How long requests in flight may take after SIGTERM (`GRACE_SECONDS`, default 10).
    pub grace: Duration,
}

impl Config {
    /// Read the variables through `get`.
    ///
    /// # Errors
    /// A sentence that names the variable that does not fit.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let listen: SocketAddr = parse(&get, "LISTEN", "0.0.0.0:8080")?;
        let hostname = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self {
            listen,
            visits_file: parse(&get, "VISITS_FILE", "visits.txt")?,
            pod_name: get("POD_NAME").unwrap_or_else(|| hostname().trim().to_string()),
            peers_domain: get("PEERS_DOMAIN").unwrap_or_default(),
            replicas: parse(&get, "REPLICAS", "1")?,
            replicas_file: get("REPLICAS_FILE").map(PathBuf::from),
            peers_port: parse(&get, "PEERS_PORT", &listen.port().to_string())?,
            version: get("VERSION").unwrap_or_else(|| env!("CARGO_PKG_VERSION").into()),
            grace: Duration::from_secs(parse(&get, "GRACE_SECONDS", "10")?),
        })
    }

    /// `app-rust` and 2, for the replica `app-rust-2`; `None` when the name has no ordinal.
    pub fn set_and_ordinal(&self) -> Option<(&str, u32)> {
        let (set, ordinal) = self.pod_name.rsplit_once('-')?;
        Some((set, ordinal.parse().ok()?))
    }
}

fn parse<T: std::str::FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: &str,
) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    let text = get(name).unwrap_or_else(|| default.to_string());
    text.parse().map_err(|error| format!("{name}={text:?} does not fit: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_does_not_fit_is_named() {
        let error = Config::from_environment(|name| (name == "REPLICAS").then(|| "two".into()));
        assert!(error.unwrap_err().starts_with("REPLICAS=\"two\""));
    }

    #[test]
    fn the_ordinal_is_the_end_of_the_name() {
        let config =
            Config::from_environment(|name| (name == "POD_NAME").then(|| "app-rust-2".into()));
        assert_eq!(config.unwrap().set_and_ordinal(), Some(("app-rust", 2)));
    }
}
