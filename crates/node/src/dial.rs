//! Connections to containers, from the node's own namespace.

use std::io;
use std::sync::Arc;

use coracle_network::{Kernel, NetworkError};
pub(crate) use coracle_server::dial::{Dial, tcp_by, tls};

/// From the node's own namespace: what listens on the host's loopback is not there, and Services are.
pub fn from_node(kernel: &Arc<dyn Kernel>) -> Dial {
    let kernel = Arc::clone(kernel);
    Arc::new(move |address, limit| {
        kernel.connect_tcp(address, limit).map_err(|error| match error {
            NetworkError::Connect { source, .. } => source,
            error => io::Error::other(error),
        })
    })
}
