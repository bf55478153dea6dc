//! Volumes: what a pod's `volumes` become on this machine.
//!
//! [`payload`] says which files a ConfigMap, Secret, downward API or projected volume holds, and
//! [`claims`] which volume a claim leads to (pure); [`atomic`] writes files so that a reader sees the
//! old ones or the new ones; [`sized`] makes filesystems of a size that holds, in an [`image`];
//! [`own`] gives a volume to a group; [`image_volume`] shows an image as one; [`uses`] keeps who uses
//! which persistent volume; [`mounter`] puts them all in place and takes them away.
//!
//! What containers can write to is touched by descriptors that cannot leave it: [`inside`].

pub(crate) mod atomic;
pub(crate) mod claims;
mod error;
mod host_path;
pub(crate) mod image;
pub(crate) mod image_volume;
pub(crate) mod inside;
pub(crate) mod mount_table;
pub(crate) mod mounter;
mod own;
pub(crate) mod payload;
mod places;
pub(crate) mod sized;
pub(crate) mod subpath;
mod trust;
pub(crate) mod uses;

#[cfg(test)]
mod tests;

pub use error::VolumeError;
pub(crate) use error::failed;
pub(crate) use places::Places;
