//! Images from registries.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::sync::Once;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{ImageIndexEntry, OciDescriptor};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use super::archive::decompress;
use super::config::architecture;
use super::digest::{verify, verify_stream};
use super::{Image, ImageError, ImageStore, Reference};

/// Names and passwords by registry, as pull secrets hold them.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    by_host: BTreeMap<String, (String, String)>,
}

/// `.dockerconfigjson`; `.dockercfg` is what stands below `auths` in it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerAuth {
    auth: String,
    username: String,
    password: String,
}

impl Credentials {
    /// Adds what a secret's `.dockerconfigjson` (or `.dockercfg`, when `legacy`) says; for a
    /// registry that is known already, the first one stays.
    ///
    /// # Errors
    /// When it is not the JSON that it should be.
    pub fn add(&mut self, json: &[u8], legacy: bool) -> Result<(), serde_json::Error> {
        let auths = match legacy {
            true => serde_json::from_slice(json)?,
            false => serde_json::from_slice::<DockerConfig>(json)?.auths,
        };
        for (server, auth) in auths {
            let pair = STANDARD.decode(auth.auth.trim()).unwrap_or_default();
            let pair = String::from_utf8(pair).unwrap_or_default();
            let pair = pair.split_once(':').map(|(user, pass)| (user.to_owned(), pass.to_owned()));
            let pair = pair.unwrap_or((auth.username, auth.password));
            self.by_host.entry(host_of(&server)).or_insert(pair);
        }
        Ok(())
    }

    fn for_registry(&self, registry: &str) -> RegistryAuth {
        match self.by_host.get(registry) {
            Some((user, password)) => RegistryAuth::Basic(user.clone(), password.clone()),
            None => RegistryAuth::Anonymous,
        }
    }
}

/// The registry that a key of `auths` means: `https://index.docker.io/v1/` is `docker.io`.
fn host_of(server: &str) -> String {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    match bare.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

/// Registries on this machine are spoken to without TLS, as other engines do.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.starts_with("127.")
}

fn client(registry: &str) -> oci_client::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error says that there is one already, which is as good.
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    });
    let protocol = if is_local(registry) { ClientProtocol::Http } else { ClientProtocol::Https };
    oci_client::Client::new(ClientConfig {
        protocol,
        platform_resolver: Some(Box::new(for_this_machine)),
        connect_timeout: Some(std::time::Duration::from_secs(30)),
        read_timeout: Some(std::time::Duration::from_secs(60)),
        user_agent: concat!("coracle/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

fn for_this_machine(entries: &[ImageIndexEntry]) -> Option<String> {
    let fits = |entry: &&ImageIndexEntry| {
        entry.platform.as_ref().is_some_and(|platform| {
            platform.os.to_string() == "linux"
                && platform.architecture.to_string() == architecture()
        })
    };
    entries.iter().find(fits).map(|entry| entry.digest.clone())
}

impl ImageStore {
    /// Pulls `name` from its registry; what of it is here already is not fetched again.
    ///
    /// # Errors
    /// [`ImageError::InvalidName`], [`ImageError::Pull`] with the registry's words, and whatever
    /// is wrong with the image itself.
    pub async fn pull(
        &self,
        name: &str,
        credentials: &Credentials,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Image, ImageError> {
        let reference = Reference::parse(name)?;
        let auth = credentials.for_registry(&reference.registry);
        let client = client(&reference.registry);
        let remote = remote(&reference);
        let failed = |error| failure(&reference, &error);
        progress("resolving");
        let (manifest, digest, config, list) = client
            .pull_manifest_and_config_and_list_digest(&remote, &auth)
            .await
            .map_err(failed)?;
        verify("the configuration", &manifest.config.digest, config.as_bytes())?;
        let layers = self.read_config(config.as_bytes())?.rootfs.diff_ids;
        if layers.len() != manifest.layers.len() {
            let why = "its manifest and its configuration name different layers".to_owned();
            return Err(ImageError::NotAnImage(why));
        }
        let _arriving = self.arriving();
        for (number, (diff_id, layer)) in layers.iter().zip(&manifest.layers).enumerate() {
            if self.has_layer(diff_id) {
                continue;
            }
            let (number_from_1, count) = (number + 1, layers.len());
            progress(&format!("layer {number_from_1} of {count}, {} bytes", layer.size));
            let file = self.fetch(&client, &remote, layer, &reference).await?;
            let (store, diff_id, packed) = (self.clone(), diff_id.clone(), layer.digest.clone());
            let remark = blocking(move || store.take_in(number, &diff_id, &packed, file)).await?;
            remark.iter().for_each(|text| progress(text));
        }
        self.add_image(&[reference], Some(list.unwrap_or(digest)), config.as_bytes())
    }

    async fn fetch(
        &self,
        client: &oci_client::Client,
        remote: &oci_client::Reference,
        layer: &OciDescriptor,
        reference: &Reference,
    ) -> Result<File, ImageError> {
        let mut file = self.scratch_file()?;
        let failed = |error| failure(reference, &error);
        let blob = client.pull_blob_stream(remote, layer).await.map_err(failed)?;
        let (mut stream, mut size) = (blob.stream, 0u64);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| failed(error.into()))?;
            size += chunk.len() as u64;
            if i64::try_from(size).unwrap_or(i64::MAX) > layer.size {
                let why = "a layer is larger than the manifest says".to_owned();
                return Err(ImageError::Pull { name: reference.to_string(), why });
            }
            file.write_all(&chunk).map_err(ImageError::Read)?;
        }
        Ok(file)
    }

    fn take_in(
        &self,
        number: usize,
        diff_id: &str,
        packed: &str,
        mut file: File,
    ) -> Result<Option<String>, ImageError> {
        file.seek(SeekFrom::Start(0)).map_err(ImageError::Read)?;
        verify_stream(number, packed, BufReader::with_capacity(1 << 16, &file))?;
        file.seek(SeekFrom::Start(0)).map_err(ImageError::Read)?;
        self.add_layer(number, diff_id, decompress(BufReader::with_capacity(1 << 16, file))?)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ImageError::Read(std::io::Error::other(error))))
}

fn remote(reference: &Reference) -> oci_client::Reference {
    let (registry, repository) = (reference.registry.clone(), reference.repository.clone());
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => {
            oci_client::Reference::with_digest(registry, repository, digest.clone())
        }
        (None, tag) => {
            let tag = tag.clone().unwrap_or_else(|| "latest".to_owned());
            oci_client::Reference::with_tag(registry, repository, tag)
        }
    }
}

/// The words that people know from other engines, where there are such.
fn failure(reference: &Reference, error: &OciDistributionError) -> ImageError {
    let missing = match error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 404,
        OciDistributionError::RegistryError { envelope, .. } => {
            let gone = [OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown];
            envelope.errors.iter().any(|error| gone.contains(&error.code))
        }
        _ => false,
    };
    let why = match missing {
        true => format!("failed to resolve reference \"{reference}\": {reference}: not found"),
        false => format!("failed to resolve reference \"{reference}\": {}", chain(error)),
    };
    ImageError::Pull { name: reference.to_string(), why }
}

/// An error with what caused it: the outermost says only that a request failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_secrets_name_registries_in_several_ways() {
        let mut credentials = Credentials::default();
        let auth = STANDARD.encode("me:pass:word");
        let json = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{auth}"}},
                "r.example.com:5000": {{"username": "u", "password": "p"}}}}}}"#
        );
        credentials.add(json.as_bytes(), false).unwrap();
        let RegistryAuth::Basic(user, password) = credentials.for_registry("docker.io") else {
            panic!("no credentials for docker.io")
        };
        assert_eq!((user.as_str(), password.as_str()), ("me", "pass:word"));
        let basic = credentials.for_registry("r.example.com:5000");
        assert!(matches!(basic, RegistryAuth::Basic(user, _) if user == "u"));
        assert!(matches!(credentials.for_registry("ghcr.io"), RegistryAuth::Anonymous));
    }
}
