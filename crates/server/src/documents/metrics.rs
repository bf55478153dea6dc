//! `/metrics`: figures of the engine in Prometheus' text format, under upstream's names where it has
//! the same figure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Mutex, PoisonError};

use coracle_api::Timestamp;
pub(crate) use coracle_api::text::prometheus::MEDIA_TYPE;
use coracle_api::text::prometheus::{head, sample};
use coracle_store::Snapshot;

use crate::Kinds;

/// Ticks a second in `/proc/self/stat`; Linux shows programs 100, whatever it uses itself.
const TICKS: f64 = 100.0;

/// What was asked since the start.
pub(crate) struct Counters {
    started: Timestamp,
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

impl Counters {
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { started, requests: Mutex::default() }
    }

    /// Counts a request by its method and the code of its answer.
    pub(crate) fn count(&self, method: &http::Method, code: u16) {
        // Methods of clients' own making are one.
        let known = [
            http::Method::GET,
            http::Method::POST,
            http::Method::PUT,
            http::Method::PATCH,
            http::Method::DELETE,
            http::Method::HEAD,
            http::Method::OPTIONS,
        ];
        let method = if known.contains(method) { method.as_str() } else { "other" };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((method.to_owned(), code)).or_default() += 1;
    }
}

/// All figures.
pub(crate) fn text(
    counters: &Counters,
    snapshot: &Snapshot,
    kinds: &Kinds,
    connections: usize,
) -> String {
    let mut text = String::new();
    requests(&mut text, counters);
    objects(&mut text, snapshot, kinds);
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        head(&mut text, name, kind, help);
        sample(&mut text, name, &[], value, None);
    };
    let revision = snapshot.revision() as f64;
    one("coracle_store_revision", "counter", "The revision of the newest write.", revision);
    one("coracle_connections", "gauge", "Connections to the API.", connections as f64);
    let started = counters.started.as_second() as f64;
    let help = "When the process started, in seconds since 1970.";
    one("process_start_time_seconds", "gauge", help, started);
    if let Some(bytes) = resident() {
        one("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", bytes);
    }
    if let Some(seconds) = processor() {
        one("process_cpu_seconds_total", "counter", "Processor time in seconds.", seconds);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        one("process_open_fds", "gauge", "Open files.", files.count() as f64);
    }
    text
}

fn requests(text: &mut String, counters: &Counters) {
    let name = "apiserver_request_total";
    head(text, name, "counter", "Requests that were answered, by method and code.");
    let requests = counters.requests.lock().unwrap_or_else(PoisonError::into_inner);
    for ((verb, code), count) in requests.iter() {
        sample(text, name, &[("verb", verb), ("code", &code.to_string())], count, None);
    }
}

fn objects(text: &mut String, snapshot: &Snapshot, kinds: &Kinds) {
    let name = "apiserver_storage_objects";
    head(text, name, "gauge", "Objects in the store, by resource.");
    let stored = kinds.iter().filter(|kind| kind.is_stored()).map(|kind| kind.storage_resource());
    for resource in stored.collect::<BTreeSet<String>>() {
        let count = snapshot.list(&resource, None).count();
        sample(text, name, &[("resource", &resource)], count, None);
    }
}

fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// User and system time, fields 14 and 15; the name before them may hold anything, in brackets.
fn processor() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_type_and_a_value() {
        let counters = Counters::new(Timestamp::UNIX_EPOCH);
        counters.count(&http::Method::GET, 200);
        counters.count(&http::Method::GET, 200);
        counters.count(&http::Method::from_bytes(b"FROB").unwrap(), 405);
        let text = text(&counters, &Snapshot::default(), &Kinds::builtin(), 3);
        for line in [
            "apiserver_request_total{verb=\"GET\",code=\"200\"} 2",
            "apiserver_request_total{verb=\"other\",code=\"405\"} 1",
            "apiserver_storage_objects{resource=\"pods\"} 0",
            "coracle_connections 3",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}");
        }
        assert!(processor().is_some() && resident().is_some_and(|bytes| bytes > 0.0));
    }
}
