//! The shim alone, for tests: the engine's own binary has it as a subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    coracle_runtime::shim::main()
}
