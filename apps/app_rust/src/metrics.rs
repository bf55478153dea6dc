//! Counters for Prometheus: requests, visits and latencies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency histogram, in microseconds.
const BOUNDS: [u64; 9] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000];

/// What was counted since the start.
#[derive(Default)]
pub struct Metrics {
    requests: AtomicU64,
    errors: AtomicU64,
    visits: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len()],
}

impl Metrics {
    /// One request was answered after `took`; `ok` when its status was below 500.
    pub fn request(&self, took: Duration, ok: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(!ok), Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        if let Some(bucket) = BOUNDS.iter().position(|bound| micros <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One visit was counted.
    pub fn visit(&self) {
        self.visits.fetch_add(1, Ordering::Relaxed);
    }

    /// The text that Prometheus reads; `total` is the durable count, when it can be read.
    pub fn render(&self, total: Option<u64>) -> String {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        metric(&mut text, "visits", "gauge", "Durable visits of this replica.", total);
        let counted = Some(load(&self.visits));
        metric(&mut text, "visits_counted_total", "counter", "Visits since the start.", counted);
        let errors = Some(load(&self.errors));
        metric(&mut text, "request_errors_total", "counter", "Answers of 500 and above.", errors);
        text += "# HELP request_seconds Time to answer.\n# TYPE request_seconds histogram\n";
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += load(bucket);
            let seconds = *bound as f64 / 1e6;
            push(&mut text, format_args!("request_seconds_bucket{{le=\"{seconds}\"}} {below}\n"));
        }
        let requests = load(&self.requests);
        let sum = load(&self.micros) as f64 / 1e6;
        push(
            &mut text,
            format_args!(
                "request_seconds_bucket{{le=\"+Inf\"}} {requests}\nrequest_seconds_sum {sum}\nrequest_seconds_count {requests}\n"
            ),
        );
        text
    }
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, value: Option<u64>) {
    if let Some(value) = value {
        push(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    *text += &arguments.to_string();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_all_that_is_faster() {
        let metrics = Metrics::default();
        metrics.request(Duration::from_micros(400), true);
        metrics.request(Duration::from_millis(4), false);
        let text = metrics.render(Some(7));
        assert!(text.contains("request_seconds_bucket{le=\"0.0005\"} 1\n"), "{text}");
        assert!(text.contains("request_seconds_bucket{le=\"0.005\"} 2\n"), "{text}");
        assert!(text.contains("request_seconds_count 2\n"), "{text}");
        assert!(text.contains("visits 7\n") && text.contains("request_errors_total 1\n"), "{text}");
    }
}
