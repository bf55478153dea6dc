//! Paths with `..` while others rename.

use std::io::{self, ErrorKind};

/// How often the kernel is asked. Each time somebody has renamed or mounted something, anywhere on the
/// machine, in the moment in which the kernel looked: whoever does nothing else meets it now and then.
const TRIES: usize = 128;

/// What `open` opens by `openat2` with `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH`. The kernel answers
/// `EAGAIN` when it cannot tell whether a `..` led out of the root (openat2(2)); then it is asked again.
///
/// # Errors
/// Those of `open`.
pub fn despite_renames<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let is_disturbed =
        |result: &io::Result<T>| matches!(result, Err(e) if e.kind() == ErrorKind::WouldBlock);
    let mut tries = (1..TRIES).map(|_| open());
    tries.find(|result| !is_disturbed(result)).unwrap_or_else(open)
}
