//! Words for the shim's own log.

/// Writes a line to standard error. It may lie on a disk that is full, and `eprintln!` would end
/// the thread then, and with it a pod's logs.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write;
        // There is nobody else to tell.
        drop(writeln!(std::io::stderr(), $($words)*));
    }};
}
