//! What a node is made from.

use std::path::PathBuf;

use coracle_network::NetworkConfig;

use crate::images::Pulling;

/// What a node is made from.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `metadata.name` of the Node.
    pub name: String,
    /// The cluster's data directory.
    pub data_dir: PathBuf,
    /// The network that the [`coracle_network::Kernel`] was made with.
    pub network: NetworkConfig,
    /// How many pods it may run.
    pub max_pods: usize,
    /// How many simulated nodes there are to be beside it; as many as there are when nobody says.
    pub simulated_nodes: Option<u16>,
    /// How it pulls images.
    pub pulling: Pulling,
}
