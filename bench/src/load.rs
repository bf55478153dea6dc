//! Many clients of a plain HTTP server, each on a connection of its own that stays open.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;
use crate::report::{beside, figure, percentile, rate};
use crate::yardsticks::{SYNC, bare_sync};

/// Asks `path` of `address` all the time; `numbers` are clients, seconds a run, and runs. Each run is
/// beside bare flushes in `directory`.
pub async fn run(
    directory: &Path,
    address: &str,
    path: &str,
    numbers: [&str; 3],
) -> Result<(), Failure> {
    let [clients, seconds, runs] = numbers;
    let (clients, runs): (usize, usize) = (clients.parse()?, runs.parse()?);
    let length = Duration::from_secs_f64(seconds.parse()?);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (mut rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let (mut answered, mut bare) = (0, Vec::new());
    for _ in 0..runs {
        bare.push(bare_sync(directory)?.0);
        let start = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..clients {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            tasks.push(tokio::spawn(ask_until(stream, request.clone(), start + length)));
        }
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        answered += times.len();
        rates.push(rate(times.len(), start.elapsed()));
        p50.push(percentile(&mut times, 50));
        p99.push(percentile(&mut times, 99));
    }
    beside("requests", "/s", &rates, SYNC, &bare);
    figure("p50", "ms", &p50);
    figure("p99", "ms", &p99);
    figure("answered", "", &[answered as f64]);
    Ok(())
}

async fn ask_until(
    mut stream: TcpStream,
    request: String,
    end: Instant,
) -> Result<Vec<Duration>, Failure> {
    let (mut times, mut buffer) = (Vec::new(), Vec::with_capacity(16 << 10));
    while Instant::now() < end {
        let start = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        answer(&mut stream, &mut buffer).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// Reads one answer with a `Content-Length`; an error unless it is 200.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), Failure> {
    buffer.clear();
    let mut whole = None;
    while whole.is_none_or(|length| buffer.len() < length) {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed a connection".into());
        }
        if whole.is_none() {
            whole = length_of(buffer)?;
        }
    }
    Ok(())
}

/// How long the answer that begins with `bytes` is, once its headers are there.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("an answer that is none: {}", head.lines().next().unwrap_or("")).into());
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("an answer without a length")?;
    Ok(Some(end + 4 + length.1.trim().parse::<usize>()?))
}
