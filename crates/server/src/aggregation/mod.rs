//! Other API servers, which APIServices stand for: their requests are handed on to them, and what
//! they say of themselves is part of what we say of ourselves.

mod client;
mod followed;
mod headers;
mod lent;
mod proxy;
mod said;
mod target;

pub use client::Aggregator;
pub use followed::follow_others;
pub(crate) use proxy::{Handed, serve};
pub(crate) use target::of_path;
