//! The road of a request, from HTTP to commit and back.

pub mod request;
pub mod streaming;

pub use request::{Body, Content, Options, Request, User};
pub use streaming::{ExecOptions, LogOptions, NodeStreams, Session, TerminalSize};
