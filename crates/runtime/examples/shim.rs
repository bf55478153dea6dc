//! The shim alone, for tests and measurements: the engine's own binary has it as a subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    coracle_runtime::shim::main()
}
