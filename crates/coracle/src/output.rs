//! What a command prints.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

/// In which form a command prints.
#[derive(Clone, Copy, ValueEnum)]
pub enum Output {
    /// For programs.
    Json,
}

/// One line of progress: rewritten on a terminal, plain in a pipe.
pub fn progress(text: &str) {
    let mut error = std::io::stderr();
    let end = if error.is_terminal() { "\x1b[K\r" } else { "\n" };
    // Progress that cannot be shown is no reason to fail.
    drop(write!(error, "{text}{end}").and_then(|()| error.flush()));
}

/// Print to standard output; a closed pipe is no error (`coracle status | head`).
pub fn print(text: &str) {
    let mut output = std::io::stdout();
    drop(output.write_all(text.as_bytes()).and_then(|()| output.flush()));
}
