//! The server as clients meet it on the wire: TLS, HTTP, WebSockets and SPDY, on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure is the assertion"
)]
#![allow(missing_docs, reason = "tests")]

mod aggregated;
mod edge;
mod hostile;
mod port_forward;
mod proxy;
mod remote_command;
mod support;
mod websockets;
