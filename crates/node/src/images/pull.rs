//! Images from registries.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::access::client;
use super::archive::{INDEX_DEPTH_MAX, decompress};
use super::config::{Descriptor, Manifest, architecture, json};
use super::credentials::Login;
use super::digest::{digest_of, verify, verify_stream};
use super::entitled::Shown;
use super::reference::is_digest;
use super::registries::{Endpoint, Registries};
use super::remote::{Refusal, Remote};
use super::unpack::BYTES_MAX;
use super::{Credentials, Image, ImageError, ImageStore, Reference};

/// A registry that gives less than this in such a time stalls.
const LEAST: (u64, Duration) = (64 << 10, Duration::from_mins(2));

/// One place that is asked for one image.
struct Fetch<'a> {
    store: &'a ImageStore,
    reference: &'a Reference,
    remote: Remote<'a>,
    endpoint: &'a Endpoint,
}

impl ImageStore {
    /// Pulls `name` from its registry or a mirror of that; what of it is here already is not fetched
    /// again.
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
        let pull = |why| ImageError::Pull { name: reference.to_string(), why };
        let registries = match self.pulls().registries.clone() {
            Some(path) => blocking(move || Ok(Registries::read(&path))).await?,
            None => Ok(Registries::default()),
        };
        let registries = registries.map_err(|error| pull(error.to_string()))?;
        let _room = self.pulls().room().await;
        let store = self.clone();
        let _arriving = blocking(move || Ok(store.arriving())).await?;
        let mut refusals = Vec::new();
        for endpoint in registries.endpoints(&reference) {
            for login in logins(&endpoint, &reference, credentials) {
                let fetched = self.pull_from(&endpoint, login, &reference, progress).await;
                match fetched {
                    Ok(image) => return Ok(image),
                    Err(Failure::There(why)) => refusals.push((endpoint.base.clone(), why)),
                    // The registry itself may have a better one than its mirror.
                    Err(Failure::Here(
                        error @ (ImageError::NotAnImage(_)
                        | ImageError::Platform(_)
                        | ImageError::Hostile { .. }),
                    )) if endpoint.mirrors.is_some() => {
                        refusals.push((endpoint.base.clone(), error.to_string()));
                    }
                    Err(Failure::Here(error)) => return Err(error),
                }
            }
        }
        Err(pull(told(&reference, refusals)))
    }

    async fn pull_from(
        &self,
        endpoint: &Endpoint,
        login: Option<&Login>,
        reference: &Reference,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Image, Failure> {
        let refused = |refusal| Failure::There(words(reference, refusal));
        let tls = endpoint.config.tls.clone();
        let http = blocking(move || Ok(client(&tls))).await?;
        let http = http.map_err(|why| refused(Refusal::Other(why)))?;
        let remote = Remote::new(http, endpoint, login);
        let fetch = Fetch { store: self, reference, remote, endpoint };
        progress("resolving");
        let (digest, manifest) = fetch.manifest().await?;
        let Some(config) = &manifest.config else {
            return Err(Failure::Here(ImageError::Platform(architecture())));
        };
        let bytes = fetch.remote.small_blob(digest_in(config)?).await.map_err(refused)?;
        verify("the configuration", &config.digest, &bytes)?;
        let layers = self.read_config(&bytes)?.rootfs.diff_ids;
        if layers.len() != manifest.layers.len() {
            let why = "its manifest and its configuration name different layers".to_owned();
            return Err(Failure::Here(ImageError::NotAnImage(why)));
        }
        for (number, (diff_id, layer)) in layers.iter().zip(&manifest.layers).enumerate() {
            let turn = self.pulls().turn(endpoint, &layer.digest);
            let _turn = turn.lock().await;
            if self.has_layer(diff_id) {
                continue;
            }
            let (number_from_1, count) = (number + 1, layers.len());
            progress(&format!("layer {number_from_1} of {count}, {} bytes", layer.size));
            let file = fetch.layer(layer).await?;
            let (store, diff_id, packed) = (self.clone(), diff_id.clone(), layer.digest.clone());
            let remark = blocking(move || store.take_in(number, &diff_id, &packed, file)).await?;
            remark.iter().for_each(|text| progress(text));
        }
        let shown = login.map_or_else(Shown::nothing, Shown::login);
        let (store, reference) = (self.clone(), reference.clone());
        let added = move || store.add_image(&[reference], Some(digest), &bytes, &shown);
        Ok(blocking(added).await?)
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

/// As whom a place is asked: with what the pod's secrets have for it, one after the other; if they
/// have nothing, as the place's configuration says. What a secret has for a registry is not sent to
/// its mirrors, which may be anybody's.
fn logins<'a>(
    endpoint: &Endpoint,
    reference: &Reference,
    credentials: &'a Credentials,
) -> Vec<Option<&'a Login>> {
    let name = match endpoint.mirrors {
        Some(_) => format!("{}/{}", endpoint.host, endpoint.repository),
        None => reference.name(),
    };
    let found = credentials.for_name(&name);
    // A login without a name, as `docker login` leaves it where a helper keeps the password, is none.
    let shown = |login: &'a Login| Some(login).filter(|login| !login.username.is_empty());
    match found.is_empty() {
        true => vec![None],
        false => found.into_iter().map(shown).collect(),
    }
}

/// Why an image is not here.
enum Failure {
    /// It is the fault of who was asked: another may have it.
    There(String),
    /// It is the image's, or our own.
    Here(ImageError),
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match error {
            // One that lies or breaks off.
            ImageError::Digest { .. } | ImageError::Json { .. } | ImageError::Read(_) => {
                Self::There(format!("failed to copy: {error}"))
            }
            error => Self::Here(error),
        }
    }
}

impl Fetch<'_> {
    /// The manifest for this machine, and the digest of what the reference names.
    async fn manifest(&self) -> Result<(String, Manifest), Failure> {
        let Reference { tag, digest, .. } = self.reference;
        let asked = digest.as_ref().or(tag.as_ref()).map_or("latest", String::as_str);
        let refused = |refusal| Failure::There(words(self.reference, refusal));
        let bytes = self.remote.manifest(asked).await.map_err(refused)?;
        let named = digest_of(&bytes);
        if is_digest(asked) {
            verify("the manifest", asked, &bytes)?;
        }
        let mut manifest: Manifest = json("the manifest", &bytes)?;
        for _ in 0..INDEX_DEPTH_MAX {
            if manifest.config.is_some() {
                break;
            }
            let Some(inner) = manifest.manifests.iter().find(|inner| inner.fits()) else {
                return Err(Failure::Here(ImageError::Platform(architecture())));
            };
            let bytes = self.remote.manifest(digest_in(inner)?).await.map_err(refused)?;
            verify("the manifest", &inner.digest, &bytes)?;
            manifest = json("the manifest", &bytes)?;
        }
        Ok((named, manifest))
    }

    async fn layer(&self, layer: &Descriptor) -> Result<File, Failure> {
        let digest = digest_in(layer)?;
        let failed =
            |refusal: Refusal| Failure::There(format!("failed to copy {digest}: {refusal}"));
        if layer.size > BYTES_MAX {
            let why = format!("it has {} bytes: more than {BYTES_MAX}", layer.size);
            return Err(failed(Refusal::Other(why)));
        }
        let mut file = self.store.scratch_file()?;
        let mut blob = self.remote.blob(digest).await.map_err(failed)?;
        let (mut size, mut before, mut since) = (0_u64, 0, Instant::now());
        while let Some(chunk) = blob.chunk().await.map_err(|error| failed(error.into()))? {
            size += chunk.len() as u64;
            if size > layer.size {
                let base = &self.endpoint.base;
                let why = format!("{base} gives more than the manifest says");
                return Err(failed(Refusal::Other(why)));
            }
            file.write_all(&chunk).map_err(|source| {
                let path = PathBuf::from("a scratch file of the images");
                Failure::Here(ImageError::Store { path, source })
            })?;
            if since.elapsed() > LEAST.1 {
                if size - before < LEAST.0 {
                    let why = format!("it stalls: {size} bytes of {} so far", layer.size);
                    return Err(failed(Refusal::Other(why)));
                }
                (before, since) = (size, Instant::now());
            }
        }
        Ok(file)
    }
}

/// By what the content is known. It becomes part of an address, where anything else could lead anywhere.
fn digest_in(descriptor: &Descriptor) -> Result<&str, Failure> {
    let why = "failed to copy: a manifest names content by something else than a sha256 digest";
    let digest = Some(descriptor.digest.as_str()).filter(|digest| is_digest(digest));
    digest.ok_or_else(|| Failure::There(why.to_owned()))
}

/// Beside what must not wait. A panic over what a stranger has packed is a failure of that image only.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ImageError::Read(std::io::Error::other(error))))
}

/// The words that people know from other engines, where there are such.
fn words(reference: &Reference, refusal: Refusal) -> String {
    match refusal {
        Refusal::Missing => {
            format!("failed to resolve reference \"{reference}\": {reference}: not found")
        }
        Refusal::Other(why) => format!("failed to resolve reference \"{reference}\": {why}"),
    }
}

/// What the registry itself said, which was asked last; and before it its mirrors.
fn told(reference: &Reference, mut refusals: Vec<(String, String)>) -> String {
    let Some((_, last)) = refusals.pop() else {
        return format!("failed to resolve reference \"{reference}\": nobody was asked");
    };
    let bare = format!("failed to resolve reference \"{reference}\": ");
    let others = refusals
        .iter()
        .map(|(base, why)| format!("; {base}: {}", why.strip_prefix(&bare).unwrap_or(why)));
    format!("{last}{}", others.collect::<String>())
}
