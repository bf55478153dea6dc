//! Images: named, verified, unpacked once, shared.
//!
//! Below the store's directory:
//!
//! ```text
//! index.json           which name means which image
//! configs/HEX.json     an image's configuration, by its digest: the image's identity
//! layers/HEX/          a layer in overlayfs form, by the digest of its uncompressed archive
//! tmp/                 what is not finished; removed at start
//! ```

mod archive;
mod config;
mod digest;
mod error;
mod pull;
mod reference;
mod store;
mod unpack;

pub use archive::{Loaded, Progress};
pub use config::{ImageConfig, RunConfig};
pub(crate) use digest::hex;
pub use error::ImageError;
pub use pull::Credentials;
pub use reference::Reference;
pub use store::{Image, ImageStore};

#[cfg(test)]
mod tests;
