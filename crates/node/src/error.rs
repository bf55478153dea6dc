//! Why a node does not start, or its pods do not end.

use coracle_network::NetworkError;
use coracle_runtime::RuntimeError;

use crate::images::ImageError;
use crate::volumes::VolumeError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The network cannot be brought up.
    #[error("the cluster's network: {0}")]
    Network(#[source] NetworkError),
    /// The image store cannot be used.
    #[error("the image store: {0}")]
    Images(#[source] ImageError),
    /// What runs already cannot be found out.
    #[error("the containers: {0}")]
    List(#[source] RuntimeError),
    /// DNS cannot listen.
    #[error("the cluster's DNS: {0}")]
    Dns(#[source] NetworkError),
    /// A volume cannot be unmounted.
    #[error("the volumes: {0}")]
    Unmount(#[source] VolumeError),
}
