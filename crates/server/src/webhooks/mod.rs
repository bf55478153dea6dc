//! How webhooks are reached: over HTTPS, through a Service or by a URL, on connections that are kept.

mod address;
mod answer;
mod client;
mod tls;

pub use client::Webhooks;
