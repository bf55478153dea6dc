//! The images on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::{ImageConfig, architecture, json};
use super::credentials::Credentials;
use super::digest::{digest_of, same};
use super::entitled::{Entitled, Shown};
use super::near::near;
use super::pulling::{Pulling, Pulls};
use super::reference::is_digest;
use super::unpack::{Limits, unpack};
use super::{ImageError, Reference};
use crate::lock::locked;

/// An image that is here whole.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:…`, the digest of its configuration.
    pub id: String,
    /// All its names.
    pub names: Vec<String>,
    /// `REGISTRY/REPOSITORY@DIGEST`, as it was pulled.
    pub pulled_as: Vec<String>,
    /// Bytes of its unpacked layers.
    pub size: u64,
    /// How to run it.
    pub config: Arc<ImageConfig>,
    /// Its unpacked layers, topmost first.
    pub layers: Vec<PathBuf>,
}

/// The store; cloning it is cheap.
#[derive(Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    index: Mutex<Index>,
    /// Held while a layer is unpacked, so that none is unpacked twice.
    unpacking: Mutex<()>,
    /// How many images are on their way; held while what no image has is removed.
    arriving: Mutex<usize>,
    configs: Mutex<BTreeMap<String, Arc<ImageConfig>>>,
    pulls: Pulls,
}

/// Where the index is.
const INDEX: &str = "index.json";

/// `index.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Index {
    /// Full name to image ID.
    names: BTreeMap<String, String>,
    images: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    pulled_as: BTreeSet<String>,
    /// Digest of each layer with its bytes, lowest first.
    layers: Vec<(String, u64)>,
    entitled: Entitled,
}

/// While it exists no layer is removed: what no image has may be of one that is not whole yet.
pub(crate) struct Arriving(Arc<Inner>);

impl Drop for Arriving {
    fn drop(&mut self) {
        *locked(&self.0.arriving) -= 1;
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ImageError + '_ {
    move |source| ImageError::Store { path: path.to_owned(), source }
}

impl ImageStore {
    /// Opens the store in `directory`, made when missing. What an earlier engine left half
    /// unpacked is removed.
    ///
    /// # Errors
    /// When the directory cannot be used or its index cannot be read.
    pub fn open(directory: &Path, pulling: Pulling) -> Result<Self, ImageError> {
        let scratch = directory.join("tmp");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(at(&scratch))?;
        }
        for path in [scratch, directory.join("layers"), directory.join("configs")] {
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let index = read(directory, INDEX)?;
        let inner = Inner {
            directory: directory.to_owned(),
            index: Mutex::new(index),
            unpacking: Mutex::default(),
            arriving: Mutex::default(),
            configs: Mutex::default(),
            pulls: pulling.into(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image that a pod means by `name`: a reference or an image ID.
    ///
    /// # Errors
    /// [`ImageError::InvalidName`] when it is no name; `None` when there is no such image.
    pub fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        let index = locked(&self.inner.index).clone();
        index.meant_by(name)?.map(|id| self.image(&index, &id)).transpose()
    }

    /// Whether the image that a pod means by `name` is here, and the pod with these pull secrets may
    /// have it without asking its registry.
    ///
    /// # Errors
    /// [`ImageError::InvalidName`] when it is no name.
    pub fn has_for(&self, name: &str, credentials: &Credentials) -> Result<bool, ImageError> {
        let index = locked(&self.inner.index);
        let entry = index.meant_by(name)?.and_then(|id| index.images.get(&id));
        Ok(entry.is_some_and(|entry| entry.entitled.may(name, credentials)))
    }

    /// All images, by ID.
    ///
    /// # Errors
    /// When a configuration cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let index = locked(&self.inner.index).clone();
        index.images.keys().map(|id| self.image(&index, id)).collect()
    }

    /// Removes a name, and the image with its last name; layers that no other image shares go
    /// with it. `user_of` names the pod that runs an image (by ID), if there is one.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::InUse`].
    pub fn remove(
        &self,
        name: &str,
        user_of: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ImageError> {
        loop {
            let before = locked(&self.inner.index).clone();
            let (next, unnamed) = before.without(name)?;
            // Nothing is locked while others are asked, for they look here.
            if let Some(by) = unnamed.and_then(|id| user_of(&id)) {
                return Err(ImageError::InUse { name: name.to_owned(), by });
            }
            let arriving = locked(&self.inner.arriving);
            let mut index = locked(&self.inner.index);
            if *index == before {
                self.write_index(&next)?;
                *index = next.clone();
                drop(index);
                // Otherwise it goes with the next image that is removed.
                return if *arriving == 0 { self.remove_unused(&next) } else { Ok(()) };
            }
        }
    }

    /// Gives an image a further name, under which it is for everybody; another that had the name
    /// loses it. The full name.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::InvalidName`].
    pub fn tag(&self, name: &str, further: &str) -> Result<String, ImageError> {
        let further = Reference::parse(further)?;
        if further.digest.is_some() {
            let why = "a digest cannot be given".to_owned();
            return Err(ImageError::InvalidName { name: further.to_string(), why });
        }
        let mut index = locked(&self.inner.index);
        let id = index.meant_by(name)?.ok_or_else(|| index.not_found(name))?;
        let mut next = index.clone();
        next.images.entry(id.clone()).or_default().entitled.add(&further, Shown::nothing());
        next.names.insert(further.to_string(), id);
        self.write_index(&next)?;
        *index = next;
        Ok(further.to_string())
    }

    /// Removes the images that no pod runs: those without a name, or `all`. What they were called, or
    /// their IDs.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn prune(
        &self,
        all: bool,
        user_of: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, ImageError> {
        let mut gone = Vec::new();
        for image in self.list()?.into_iter().filter(|image| all || image.names.is_empty()) {
            match self.remove(&image.id, &user_of) {
                Ok(()) if image.names.is_empty() => gone.push(image.id),
                Ok(()) => gone.extend(image.names),
                Err(ImageError::InUse { .. } | ImageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    pub(super) fn pulls(&self) -> &Pulls {
        &self.inner.pulls
    }

    /// An image begins to arrive. Blocks while others are removed.
    pub(crate) fn arriving(&self) -> Arriving {
        *locked(&self.inner.arriving) += 1;
        Arriving(Arc::clone(&self.inner))
    }

    fn remove_unused(&self, index: &Index) -> Result<(), ImageError> {
        let used: BTreeSet<PathBuf> = index
            .images
            .values()
            .flat_map(|entry| &entry.layers)
            .flat_map(|(digest, _)| [self.layer_path(digest), self.size_file(digest)])
            .chain(index.images.keys().map(|id| self.config_path(id)))
            .collect();
        for parent in ["layers", "configs"] {
            let parent = self.inner.directory.join(parent);
            for entry in fs::read_dir(&parent).map_err(at(&parent))? {
                let path = entry.map_err(at(&parent))?.path();
                if used.contains(&path) {
                    continue;
                }
                let removed = match path.is_dir() {
                    true => fs::remove_dir_all(&path),
                    false => fs::remove_file(&path),
                };
                removed.map_err(at(&path))?;
            }
        }
        Ok(())
    }

    fn image(&self, index: &Index, id: &str) -> Result<Image, ImageError> {
        let entry = index.images.get(id).cloned().unwrap_or_default();
        let names = index.names.iter().filter(|(_, named)| *named == id);
        Ok(Image {
            id: id.to_owned(),
            names: names.map(|(name, _)| name.clone()).collect(),
            pulled_as: entry.pulled_as.into_iter().collect(),
            size: entry.layers.iter().map(|(_, bytes)| bytes).sum(),
            config: self.config(id)?,
            layers: entry.layers.iter().rev().map(|(digest, _)| self.layer_path(digest)).collect(),
        })
    }

    fn config(&self, id: &str) -> Result<Arc<ImageConfig>, ImageError> {
        if let Some(config) = locked(&self.inner.configs).get(id) {
            return Ok(Arc::clone(config));
        }
        let path = self.config_path(id);
        let bytes = fs::read(&path).map_err(at(&path))?;
        let config = Arc::new(self.read_config(&bytes)?);
        locked(&self.inner.configs).insert(id.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    fn layer_path(&self, digest: &str) -> PathBuf {
        self.inner.directory.join("layers").join(digest.trim_start_matches("sha256:"))
    }

    fn config_path(&self, id: &str) -> PathBuf {
        let name = format!("{}.json", id.trim_start_matches("sha256:"));
        self.inner.directory.join("configs").join(name)
    }

    fn scratch(&self) -> PathBuf {
        self.inner.directory.join("tmp")
    }

    /// A file without a name.
    pub(crate) fn scratch_file(&self) -> Result<File, ImageError> {
        let scratch = self.scratch();
        tempfile::tempfile_in(&scratch).map_err(at(&scratch))
    }

    /// Checks what the bytes of a configuration say, before anything is done with it.
    pub(crate) fn read_config(&self, bytes: &[u8]) -> Result<ImageConfig, ImageError> {
        let config: ImageConfig = json("the configuration", bytes)?;
        let ids = &config.rootfs.diff_ids;
        if let Some(id) = ids.iter().find(|id| !is_digest(id)) {
            return Err(ImageError::NotAnImage(format!("{id:?} is no sha256 digest")));
        }
        let here = architecture();
        if !config.architecture.is_empty() && config.architecture != here {
            return Err(ImageError::Platform(here));
        }
        Ok(config)
    }

    pub(crate) fn has_layer(&self, digest: &str) -> bool {
        self.size_file(digest).exists() && self.layer_path(digest).is_dir()
    }

    /// A layer's bytes, beside it: `HEX.size`, written when the layer is complete.
    fn size_file(&self, digest: &str) -> PathBuf {
        self.layer_path(digest).with_extension("size")
    }

    /// Unpacks layer `number` (counted from 0) from its uncompressed archive; what there is to say
    /// about it.
    pub(crate) fn add_layer(
        &self,
        number: usize,
        digest: &str,
        archive: impl Read,
    ) -> Result<Option<String>, ImageError> {
        let _unpacking = locked(&self.inner.unpacking);
        if self.has_layer(digest) {
            return Ok(None);
        }
        let scratch = self.scratch();
        let directory = tempfile::tempdir_in(&scratch).map_err(at(&scratch))?;
        let root = directory.path().join("layer");
        fs::create_dir(&root).map_err(at(&root))?;
        let unpacked = unpack(archive, &root, Limits::default())?;
        let remark = unpacked.remark();
        same(&format!("layer {}", number + 1), digest, unpacked.digest)?;
        let target = self.layer_path(digest);
        sync(&root)?;
        if target.exists() {
            fs::remove_dir_all(&target).map_err(at(&target))?;
        }
        fs::rename(&root, &target).map_err(at(&target))?;
        self.write(&self.size_file(digest), unpacked.bytes.to_string().as_bytes())?;
        Ok(remark)
    }

    /// Makes an image whose layers are all here visible under `names`, to those who show the same.
    pub(super) fn add_image(
        &self,
        names: &[Reference],
        manifest_digest: Option<String>,
        config: &[u8],
        shown: &Shown,
    ) -> Result<Image, ImageError> {
        let id = digest_of(config);
        self.write(&self.config_path(&id), config)?;
        let mut entry = Entry::default();
        for digest in &self.read_config(config)?.rootfs.diff_ids {
            let path = self.size_file(digest);
            let size = fs::read_to_string(&path).map_err(at(&path))?;
            entry.layers.push((digest.clone(), size.trim().parse().unwrap_or(0)));
        }
        let mut index = locked(&self.inner.index);
        let mut next = index.clone();
        let stored = next.images.entry(id.clone()).or_default();
        stored.layers = entry.layers;
        for name in names {
            if let Some(digest) = &manifest_digest {
                stored.pulled_as.insert(format!("{}@{digest}", name.name()));
            }
            stored.entitled.add(name, shown.clone());
            next.names.insert(name.to_string(), id.clone());
        }
        self.write_index(&next)?;
        *index = next;
        self.image(&index, &id)
    }

    fn write_index(&self, index: &Index) -> Result<(), ImageError> {
        self.write_json(INDEX, index)
    }

    /// What the file of this name holds, or nothing.
    pub(super) fn read<T: Default + DeserializeOwned>(&self, name: &str) -> Result<T, ImageError> {
        read(&self.inner.directory, name)
    }

    /// Replaces the file of this name.
    pub(super) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|source| ImageError::Json { what: name.to_owned(), source })?;
        self.write(&self.inner.directory.join(name), &bytes)
    }

    /// Replaces a file as a whole, durably.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let scratch = self.scratch();
        let mut file = tempfile::NamedTempFile::new_in(&scratch).map_err(at(&scratch))?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_data()).map_err(at(path))?;
        file.persist(path).map_err(|error| at(path)(error.error))?;
        Ok(())
    }
}

impl Index {
    /// The ID of the image that a reference or an ID names.
    fn meant_by(&self, name: &str) -> Result<Option<String>, ImageError> {
        match self.by_id(name) {
            Some(id) => Ok(Some(id)),
            None => Ok(self.by_reference(&Reference::parse(name)?)),
        }
    }

    /// As it is without this name, or without all names of the image that it is the ID of; the image
    /// that is then without a name, and is gone.
    fn without(&self, name: &str) -> Result<(Self, Option<String>), ImageError> {
        let mut next = self.clone();
        let id = match next.by_id(name) {
            Some(id) => {
                next.names.retain(|_, named| *named != id);
                id
            }
            None => {
                let full = Reference::parse(name)?.to_string();
                next.names.remove(&full).ok_or_else(|| self.not_found(name))?
            }
        };
        let is_named = next.names.values().any(|named| *named == id);
        let unnamed = (!is_named).then(|| id.clone());
        if !is_named {
            next.images.remove(&id);
        }
        Ok((next, unnamed))
    }

    fn not_found(&self, name: &str) -> ImageError {
        ImageError::NotFound { name: name.to_owned(), near: near(name, self.names.keys()) }
    }

    /// The image whose ID `name` is: `sha256:HEX`, HEX, or at least 12 digits of it.
    fn by_id(&self, name: &str) -> Option<String> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let is_hex = hex.len() >= 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let prefix = format!("sha256:{hex}");
        let mut matching = self.images.keys().filter(|id| is_hex && id.starts_with(&prefix));
        matching.next().filter(|_| matching.next().is_none()).cloned()
    }

    fn by_reference(&self, reference: &Reference) -> Option<String> {
        if let Some(id) = self.names.get(&reference.to_string()) {
            return Some(id.clone());
        }
        let digest = reference.digest.as_ref()?;
        let pulled = format!("{}@{digest}", reference.name());
        let found = self.images.iter().find(|(_, entry)| entry.pulled_as.contains(&pulled));
        found.map(|(id, _)| id.clone())
    }
}

fn read<T: Default + DeserializeOwned>(directory: &Path, name: &str) -> Result<T, ImageError> {
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(bytes) => json(name, &bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(source) => Err(ImageError::Store { path, source }),
    }
}

/// What was written below `directory` is on the disk when this returns.
fn sync(directory: &Path) -> Result<(), ImageError> {
    let file = File::open(directory).map_err(at(directory))?;
    rustix::fs::syncfs(&file).map_err(|error| at(directory)(error.into()))
}
