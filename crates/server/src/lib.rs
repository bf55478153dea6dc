//! The road of a request, from HTTP to commit and back.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod admission;
pub mod api;
pub mod auth;
pub mod bootstrap;
mod channels;
mod connections;
pub mod content;
mod defined;
mod endpoints;
mod forwarding;
mod gathered;
pub mod http;
mod json;
mod logs;
mod metrics;
pub mod negotiate;
mod pages;
pub mod parse;
mod pieces;
pub mod pki;
mod pods;
mod port_channels;
mod port_forward;
pub mod prepare;
mod proxy;
mod remote_command;
mod render;
pub mod reply;
pub mod request;
pub mod source;
mod spdy;
pub mod streaming;
mod subresources;
mod unreadable;
pub mod verbs;
mod websocket;
mod yaml;

pub use api::{Api, Cluster};
pub use coracle_api::kinds::Kinds;
pub use http::Server;
pub use pki::Pki;
pub use reply::{Answer, Deleted, ObjectList, Reply};
pub use request::{Body, Content, Options, Request, User};
pub use source::{Source, System};
pub use streaming::{ExecOptions, LogOptions, NodeStreams, Session, TerminalSize};
pub use verbs::watch::{Frame, WatchStream};

#[cfg(test)]
mod tests;
