//! The command line and the wiring of everything else.

use std::process::ExitCode;

mod cli;
mod control;
mod control_server;
mod data_dir;
mod down;
mod engine;
mod kubeconfig;
mod logs;
mod paths;
mod questions;
mod show;
mod up;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // A pod's shim is this same program: it must stay tiny, so nothing else is touched before.
    if arguments.next().is_some_and(|first| first == "shim") {
        return coracle_runtime::shim::main(arguments);
    }
    cli::run()
}
