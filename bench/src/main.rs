//! The part of `make bench` that needs a fast client, or the bare kernel: one subject a run, and one
//! line a figure: its name, its unit, and its value in each run, tab separated.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

mod api;
mod bare;
mod client;
mod decisions;
mod etcd;
mod fan_out;
mod load;
mod netlink;
mod objects;
mod report;
mod store;
mod together;
mod writers;
mod yardsticks;

use std::process::ExitCode;

/// Any error, with the text that says what failed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: coracle-bench yardsticks DIRECTORY
       coracle-bench bare-pod DIRECTORY BUSYBOX
       coracle-bench store DIRECTORY
       coracle-bench decisions
       coracle-bench api DIRECTORY HOST:PORT PEM-DIRECTORY
       coracle-bench etcd DIRECTORY HOST:PORT
       coracle-bench load DIRECTORY HOST:PORT PATH CLIENTS SECONDS RUNS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["yardsticks", directory] => yardsticks::run(directory.as_ref()),
        ["bare-pod", directory, busybox] => bare::run(directory.as_ref(), busybox.as_ref()),
        ["store", directory] => in_runtime(store::run(directory.as_ref())),
        ["decisions"] => decisions::run(),
        ["api", directory, address, pems] => {
            in_runtime(api::run(directory.as_ref(), address, pems.as_ref()))
        }
        ["etcd", directory, address] => in_runtime(etcd::run(directory.as_ref(), address)),
        ["load", directory, address, path, clients, seconds, runs] => {
            let numbers = [clients, seconds, runs];
            in_runtime(load::run(directory.as_ref(), address, path, numbers))
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coracle-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}
