//! The road of a request, from HTTP to commit and back.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod aggregation;
pub mod audit;
pub mod auth;
pub mod dial;
mod documents;
mod edge;
mod fairness;
pub mod pipeline;
mod reach;
mod streams;
mod webhooks;

pub use aggregation::{Aggregator, follow_others};
pub use audit::Auditor;
pub use auth::{Pki, bootstrap, pki};
pub use coracle_api::kinds::Kinds;
pub use edge::server::Server;
pub use pipeline::api::Api;
pub use pipeline::cluster::Cluster;
pub use pipeline::outside::Outside;
pub use pipeline::reply::{Answer, Deleted, ObjectList, Reply};
pub use pipeline::request::{Body, Content, Options, Request, User};
pub use pipeline::source::{Source, System};
pub use pipeline::watch::{Frame, WatchStream};
pub use pipeline::write::calls::{Call, Given};
pub use streams::node::{Duplex, ExecOptions, LogOptions, NodeStreams, Session, TerminalSize};
pub use webhooks::Webhooks;

#[cfg(test)]
mod tests;
