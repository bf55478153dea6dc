//! The kubelet: pod planner, pod worker, probes, volumes, images, logs, exec.
//!
//! What must happen to a pod is decided in [`planner`], which is pure; a task per pod carries it
//! out on the machine through [`coracle_runtime::Containers`] and [`coracle_network::Kernel`].
//! A newcomer starts with [`planner::plan`], then `worker`.

mod addresses;
mod client;
mod context;
mod dial;
mod follow;
mod growth;
pub mod images;
mod last_words;
mod logs;
pub mod names;
mod node;
mod node_object;
mod persistent;
pub mod planner;
pub mod pods;
mod probe;
mod proxy;
mod reserve;
mod stop;
mod streams;
mod tasks;
mod volumes;
mod worker;

pub use node::{Node, NodeConfig, NodeError, clean_up};
pub use reserve::limits_of_all_pods;
pub use stop::Ending;
pub use volumes::VolumeError;

/// The largest volume of the class `standard`, in bytes, that the data directory can hold.
#[must_use]
pub fn largest_volume(data_dir: &std::path::Path) -> u64 {
    volumes::image::largest(data_dir)
}
