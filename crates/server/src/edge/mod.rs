//! The edge: connections, TLS, and from an HTTP request to its response.

pub(crate) mod connections;
mod gathered;
mod gzip;
mod large_bodies;
pub(crate) mod negotiate;
mod node_door;
mod pieces;
pub(crate) mod render;
pub(crate) mod response;
mod seats;
pub mod server;
mod watching;
