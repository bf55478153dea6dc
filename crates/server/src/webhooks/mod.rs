//! How webhooks are reached: over HTTPS, through a Service or by a URL, on connections that are kept.

mod answer;
mod client;

pub use client::Webhooks;
