//! The JSON of images: as much of it as running one needs.

use std::collections::BTreeMap;

use coracle_api::null_as_default;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ImageError;

/// Manifests, configurations and what else is read whole.
pub(crate) const JSON_BYTES_MAX: u64 = 8 << 20;

/// An image's configuration (`application/vnd.oci.image.config.v1+json`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `amd64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// How to run it.
    pub config: RunConfig,
    /// Its layers.
    pub rootfs: RootFs,
}

/// What runs when a pod does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunConfig {
    /// `USER`, `USER:GROUP`, by name or number.
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// The program.
    #[serde(deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// Its arguments.
    #[serde(deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// Where it starts.
    pub working_dir: String,
    /// Paths that want a volume.
    #[serde(deserialize_with = "null_as_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// `SIGQUIT`, `3`.
    pub stop_signal: String,
}

/// The layers, by the digest of their uncompressed archive, lowest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// `sha256:…`
    pub diff_ids: Vec<String>,
}

/// An entry of `manifest.json` in an archive of `docker save`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct SavedImage {
    pub config: String,
    #[serde(deserialize_with = "null_as_default")]
    pub repo_tags: Vec<String>,
    pub layers: Vec<String>,
}

/// An index or a manifest: the fields of both, told apart by which are there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub manifests: Vec<Descriptor>,
    pub config: Option<Descriptor>,
    pub layers: Vec<Descriptor>,
}

/// Content by digest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub platform: Option<Platform>,
    #[serde(deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub architecture: String,
    pub os: String,
}

/// This machine's architecture in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Descriptor {
    /// Whether it may be an image for this machine; what says nothing may be.
    pub fn fits(&self) -> bool {
        self.platform.as_ref().is_none_or(|platform| {
            platform.os == "linux" && platform.architecture == architecture()
        })
    }
}

/// Reads a document; `what` names it in an error.
pub(crate) fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|source| ImageError::Json { what: what.to_owned(), source })
}
