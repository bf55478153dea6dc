//! The road of a request, from HTTP to commit and back.

pub mod admission;
pub mod api;
pub mod content;
mod json;
mod pages;
pub mod prepare;
pub mod reply;
pub mod request;
pub mod source;
pub mod streaming;
mod subresources;
pub mod verbs;

pub use api::{Api, Cluster};
pub use coracle_api::kinds::Kinds;
pub use reply::{Answer, Deleted, ObjectList, Reply};
pub use request::{Body, Content, Options, Request, User};
pub use source::{Source, System};
pub use streaming::{ExecOptions, LogOptions, NodeStreams, Session, TerminalSize};
pub use verbs::watch::{Frame, WatchStream};

#[cfg(test)]
mod tests;
