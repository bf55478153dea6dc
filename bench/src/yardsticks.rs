//! What the machine can do, for ratios within one run: a bare append and fdatasync, a memory copy.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::report::{figure, percentile, rate};

/// How large what they write is.
pub const OBJECT_BYTES: usize = 1024;

const RUNS: usize = 5;
const RUN: Duration = Duration::from_millis(400);
/// As large as the answer to a list of 10,000 pods.
const COPIED: usize = 32 << 20;
/// What its figures are called.
pub const SYNC: &str = "bare append and fdatasync";
/// The median of its times.
pub const SYNC_P50: &str = "bare append and fdatasync, p50";

/// Prints them.
pub fn run(directory: &Path) -> Result<(), Failure> {
    let (mut rates, mut p50) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (rate, median) = bare_sync(directory)?;
        rates.push(rate);
        p50.push(median);
    }
    figure(SYNC, "/s", &rates);
    figure(SYNC_P50, "ms", &p50);
    memory_copy();
    Ok(())
}

/// (How many a second, the median in milliseconds) of one process that appends 1 KiB and flushes.
pub fn bare_sync(directory: &Path) -> Result<(f64, f64), Failure> {
    let mut file = tempfile::tempfile_in(directory)?;
    let (start, data, mut times) = (Instant::now(), [7; OBJECT_BYTES], Vec::new());
    while start.elapsed() < RUN {
        let one = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        times.push(one.elapsed());
    }
    Ok((rate(times.len(), start.elapsed()), percentile(&mut times, 50)))
}

fn memory_copy() {
    let from = vec![7_u8; COPIED];
    let mut to = vec![0_u8; COPIED];
    let rates: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            to.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&mut to);
            COPIED as f64 / start.elapsed().as_secs_f64() / 1e6
        })
        .collect();
    figure("memory copy", "MB/s", &rates);
}
