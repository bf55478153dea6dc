//! The road of a request from what it asks to what is committed: one way for every kind and for
//! every caller. Nobody here sees a URL, a header or a socket.

pub mod actions;
pub mod admission;
pub mod api;
pub mod cluster;
pub mod content;
pub(crate) mod conversion;
mod defined;
pub mod options;
pub mod outside;
mod pages;
pub mod parse;
pub mod reply;
pub mod request;
pub mod source;
pub(crate) mod sweep;
pub mod verbs;
pub mod watch;
pub mod write;
