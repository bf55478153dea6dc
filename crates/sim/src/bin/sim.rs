//! Runs seeds: `sim --seeds 0..2000 [--steps N] [--bug NAME] [--cast NAME] [--loud]`. Fails when one
//! of them does, and says how to run it again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use coracle_sim::{Bug, Cast, Options, run};

const USAGE: &str = "sim --seeds FROM..TO [--steps N] [--bug NAME] [--cast NAME] [--loud]";

fn main() -> ExitCode {
    let (seeds, options) = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let (next, failed, writes) =
        (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match run(seed, &options) {
                        Ok(summary) => {
                            writes.fetch_add(summary.writes, Ordering::Relaxed);
                        }
                        Err(failure) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            eprintln!("{failure}\n");
                        }
                    }
                }
            });
        }
    });
    let (count, failed) = (seeds.end - seeds.start, failed.into_inner());
    let (writes, took) = (writes.into_inner(), began.elapsed().as_secs_f64());
    println!("seeds {}..{}: {writes} writes, {took:.1} s", seeds.start, seeds.end);
    println!("{} passed, {failed} failed", count - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Result<(std::ops::Range<u64>, Options), String> {
    let (mut seeds, mut options) = (0..100, Options::default());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--loud" {
            options.loud = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{argument} wants a value"))?;
        let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
        match argument.as_str() {
            "--seeds" => {
                seeds = match value.split_once("..") {
                    Some((from, to)) => number(from)?..number(to)?,
                    None => number(&value)?..number(&value)? + 1,
                };
            }
            "--steps" => options.steps = number(&value)?,
            "--bug" => {
                let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == value);
                options.bug = Some(bug.ok_or_else(|| format!("there is no bug {value}"))?);
            }
            "--cast" => {
                let cast = Cast::ALL.into_iter().find(|cast| format!("{cast:?}") == value);
                options.cast = Some(cast.ok_or_else(|| format!("there is no cast {value}"))?);
            }
            _ => return Err(format!("{argument} is not known")),
        }
    }
    Ok((seeds, options))
}
