//! How servers are reached that a Service stands for: webhooks, and other API servers.

pub(crate) mod address;
pub(crate) mod connect;
pub(crate) mod get;
pub(crate) mod pool;
pub(crate) mod tls;
