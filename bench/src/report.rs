//! What a run found, as lines for the driver.

use std::time::Duration;

/// Prints one figure: its value in each run.
pub fn figure(name: &str, unit: &str, values: &[f64]) {
    println!("{name}\t{unit}\t{}", joined(values));
}

/// Prints one figure with a yardstick that was taken just before each of its values.
pub fn beside(name: &str, unit: &str, values: &[f64], yardstick: &str, others: &[f64]) {
    println!("{name}\t{unit}\t{}\t{yardstick}\t{}", joined(values), joined(others));
}

fn joined(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.6}")).collect::<Vec<_>>().join(" ")
}

/// The time that `percent` of the times do not exceed, in milliseconds.
pub fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| milliseconds(*time))
}

/// As the driver wants times.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// So many in so long.
pub fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
