//! What is served besides objects: discovery, OpenAPI, version, health, keys, figures.

pub(crate) mod discovery;
pub(crate) mod metrics;
