//! The kubelet: pod planner, pod worker, probes, volumes, images, logs, exec.

pub mod images;
pub mod planner;
pub mod pods;
mod volumes;
