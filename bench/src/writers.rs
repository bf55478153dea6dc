//! Writers that each wait for their write to be durable: the same loop for our store, our API and
//! etcd.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::report::{beside, figure, percentile, rate};
use crate::yardsticks::{SYNC, SYNC_P50, bare_sync};

pub use crate::yardsticks::OBJECT_BYTES;

const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(1);
/// How many writers at a time.
pub const WRITERS: [usize; 3] = [1, 8, 64];

/// One writer, with names of its own.
pub trait Writer: Send + 'static {
    /// Writes the `number`th time; done when it is durable.
    fn write(&mut self, number: u64) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Text of `length` bytes that no compression makes smaller, different for each `salt`.
pub fn noise(salt: u64, length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    let mut state = salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text.truncate(length);
    text
}

/// Rate, median and 99th percentile of `writers` that all write at once, each run beside bare flushes
/// in `directory`: the disk is not the same from one second to the next.
pub async fn measure<W: Writer>(
    what: &str,
    directory: &Path,
    mut writers: Vec<W>,
) -> Result<(), Failure> {
    let (mut rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_rates, mut bare_p50) = (Vec::new(), Vec::new());
    let count = writers.len();
    for run in 0..RUNS {
        let (rate_now, median_now) = bare_sync(directory)?;
        bare_rates.push(rate_now);
        bare_p50.push(median_now);
        let start = Instant::now();
        let tasks: Vec<_> = writers
            .drain(..)
            .map(|writer| tokio::spawn(write_until(writer, start + RUN, (run as u64) << 32)))
            .collect();
        let mut times = Vec::new();
        for task in tasks {
            let (writer, took) = task.await??;
            writers.push(writer);
            times.extend(took);
        }
        rates.push(rate(times.len(), start.elapsed()));
        p50.push(percentile(&mut times, 50));
        p99.push(percentile(&mut times, 99));
    }
    let several = if count == 1 { "1 writer".into() } else { format!("{count} writers") };
    beside(&format!("{what}, {several}"), "/s", &rates, SYNC, &bare_rates);
    beside(&format!("{what}, {several}, p50"), "ms", &p50, SYNC_P50, &bare_p50);
    figure(&format!("{what}, {several}, p99"), "ms", &p99);
    Ok(())
}

async fn write_until<W: Writer>(
    mut writer: W,
    end: Instant,
    first: u64,
) -> Result<(W, Vec<Duration>), Failure> {
    let mut times = Vec::new();
    while Instant::now() < end {
        let one = Instant::now();
        writer.write(first + times.len() as u64).await?;
        times.push(one.elapsed());
    }
    Ok((writer, times))
}
