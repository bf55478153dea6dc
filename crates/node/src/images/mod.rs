//! Images: named, verified, unpacked once, shared.
//!
//! Below the store's directory:
//!
//! ```text
//! archives.json        which files of a directory of archives were loaded
//! index.json           which name means which image
//! configs/HEX.json     an image's configuration, by its digest: the image's identity
//! layers/HEX/          a layer in overlayfs form, by the digest of its uncompressed archive
//! tmp/                 what is not finished; removed at start
//! ```

mod access;
mod archive;
mod config;
mod credentials;
mod digest;
mod entitled;
mod error;
mod near;
mod preload;
mod pull;
mod pulling;
mod reference;
mod registries;
mod remote;
mod store;
mod unpack;

pub use archive::{Loaded, Progress};
pub use config::{ImageConfig, RunConfig};
pub use credentials::{Credentials, SecretRef};
pub use error::ImageError;
pub use preload::Preloaded;
pub use pulling::Pulling;
pub use reference::Reference;
pub use registries::{Registries, RegistriesError};
pub use store::{Image, ImageStore};

#[cfg(test)]
mod tests;
