//! `/metrics`: figures of the engine in Prometheus' text format, under upstream's names where it has
//! the same figure.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use coracle_api::Timestamp;
use coracle_store::Snapshot;

use crate::Kinds;

/// The media type of the format.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
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

/// One figure: its name, what it is, and its values by labels.
fn family(text: &mut String, name: &str, kind: &str, help: &str, values: &[(String, f64)]) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    for (labels, value) in values {
        text.push_str(&format!("{name}{labels} {value}\n"));
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
    let one = |value: f64| vec![(String::new(), value)];
    let requests: Vec<(String, f64)> = counters
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .map(|((verb, code), count)| {
            (format!("{{verb=\"{verb}\",code=\"{code}\"}}"), *count as f64)
        })
        .collect();
    let help = "Requests that were answered, by method and code.";
    family(&mut text, "apiserver_request_total", "counter", help, &requests);
    let mut stored: Vec<String> =
        kinds.iter().filter(|kind| kind.is_stored()).map(|kind| kind.storage_resource()).collect();
    stored.sort();
    stored.dedup();
    let objects: Vec<(String, f64)> = stored
        .iter()
        .map(|resource| {
            let count = snapshot.list(resource, None).count();
            (format!("{{resource=\"{resource}\"}}"), count as f64)
        })
        .collect();
    let help = "Objects in the store, by resource.";
    family(&mut text, "apiserver_storage_objects", "gauge", help, &objects);
    let help = "The revision of the newest write.";
    family(&mut text, "coracle_store_revision", "counter", help, &one(snapshot.revision() as f64));
    let help = "Connections to the API.";
    family(&mut text, "coracle_connections", "gauge", help, &one(connections as f64));
    let started = counters.started.as_second() as f64;
    let help = "When the process started, in seconds since 1970.";
    family(&mut text, "process_start_time_seconds", "gauge", help, &one(started));
    if let Some(bytes) = resident() {
        let help = "Resident memory in bytes.";
        family(&mut text, "process_resident_memory_bytes", "gauge", help, &one(bytes));
    }
    if let Some(seconds) = processor() {
        let help = "Processor time in seconds.";
        family(&mut text, "process_cpu_seconds_total", "counter", help, &one(seconds));
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        let help = "Open files.";
        family(&mut text, "process_open_fds", "gauge", help, &one(files.count() as f64));
    }
    text
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
