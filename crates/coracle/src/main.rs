//! The command line and the wiring of everything else.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::process::ExitCode;

mod arguments;
mod cli;
mod cluster;
mod clusters;
mod control;
mod control_server;
mod data_dir;
mod down;
mod engine;
mod explain;
mod feature_gates;
mod files;
mod helm;
mod image;
mod kubeconfig;
mod logs;
#[cfg(test)]
mod manual;
mod node_door;
mod output;
mod outside;
mod paths;
mod people;
mod questions;
mod releases;
mod show;
mod supervisor;
mod up;

fn main() -> ExitCode {
    // A pod's shim is this same program: it must stay tiny, so nothing else is touched before.
    if std::env::args_os().nth(1).is_some_and(|first| first == "shim") {
        return coracle_runtime::shim::main();
    }
    cli::run()
}
