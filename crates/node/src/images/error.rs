//! What can go wrong with an image, named by what was being done.

use std::io;
use std::path::PathBuf;

/// A failed operation on images.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is none.
    #[error("couldn't parse image name \"{name}\": {why}")]
    InvalidName {
        /// As written.
        name: String,
        /// `invalid reference format`…
        why: String,
    },
    /// There is no such image.
    #[error("image \"{name}\" not found{}", there_is(.near))]
    NotFound {
        /// As written.
        name: String,
        /// Names that are here and look like it.
        near: Vec<String>,
    },
    /// A container runs from it.
    #[error("image \"{name}\" is used by {by}")]
    InUse {
        /// The image.
        name: String,
        /// A pod, as `namespace/name`.
        by: String,
    },
    /// A file or directory of the store cannot be used.
    #[error("{path}: {source}")]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is no image.
    #[error("not an image archive: {0}")]
    NotAnImage(String),
    /// The archive cannot be read.
    #[error("read the image archive: {0}")]
    Read(#[source] io::Error),
    /// A file inside the image has a content that it must not have.
    #[error("{what} of the image is malformed: {source}")]
    Json {
        /// `manifest.json`…
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Content is not what its digest says.
    #[error("{what} has digest {found}, expected {expected}")]
    Digest {
        /// `layer 2`, `config`…
        what: String,
        /// What the manifest or configuration says.
        expected: String,
        /// What the content is.
        found: String,
    },
    /// A layer would do what no layer may.
    #[error("the layer is refused: {path:?}: {why}")]
    Hostile {
        /// The entry.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A layer's entry could not be unpacked.
    #[error("unpack {path:?}: {source}")]
    Unpack {
        /// The entry.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The image does not run here.
    #[error("no image for platform linux/{0}")]
    Platform(&'static str),
    /// The registry did not give it.
    #[error("failed to pull and unpack image \"{name}\": {why}")]
    Pull {
        /// The image.
        name: String,
        /// The registry's words.
        why: String,
    },
}

fn there_is(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(" (there is {})", names.join(", ")),
    }
}
