//! The kubelet: pod planner, pod worker, probes, volumes, images, logs, exec.
//!
//! What must happen to a pod is decided in [`planner`], and what is asked of the machine when in
//! [`worker`]: both are pure. The [`hands`] carry it out, a task per pod, through
//! [`coracle_runtime::Containers`] and [`coracle_network::Kernel`]. A newcomer starts with
//! [`planner::plan`], then [`worker::Worker::turn`].

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod addresses;
mod board;
mod broken;
mod client;
mod config;
mod context;
mod dial;
mod doors;
mod error;
mod evictions;
mod follow;
mod growth;
mod grpc;
pub mod hands;
mod hook;
pub mod images;
mod last_words;
pub mod ledger;
mod letters;
mod lock;
mod logs;
mod measure;
mod meter;
mod moves;
pub mod names;
mod node;
mod node_object;
mod persistent;
pub mod planner;
pub mod pods;
mod probe;
mod proxy;
mod readings;
pub mod referred;
mod relief;
mod removal;
mod reserve;
mod shown;
mod simulated;
mod stop;
mod streams;
mod tasks;
pub mod templates;
mod usage;
mod volumes;
pub mod worker;

pub use config::NodeConfig;
pub use dial::from_node;
pub use error::NodeError;
pub use node::{IMAGE_ARCHIVES, Node, clean_up};
pub use node_object::KUBELET_PORT;
pub use reserve::limits_of_all_pods;
pub use stop::Ending;
pub use volumes::VolumeError;

/// The largest volume of the class `standard`, in bytes, that the data directory can hold.
#[must_use]
pub fn largest_volume(data_dir: &std::path::Path) -> u64 {
    volumes::image::largest(data_dir)
}
