//! Image archives: what `docker save` writes, and the OCI image layout in a tar file; either may
//! be compressed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::config::{Descriptor, JSON_BYTES_MAX, Manifest, SavedImage, architecture, json};
use super::digest::{verify, verify_stream};
use super::entitled::Shown;
use super::reference::is_digest;
use super::store::ImageStore;
use super::unpack::Bounded;
use super::{Image, ImageError, Reference};

/// What is compressed may unpack to.
const BYTES_MAX: u64 = 128 << 30;
/// All that stands in an archive before its members' content, which is read into memory.
const HEADERS_MAX: u64 = 64 << 20;
/// Manifests within manifests.
pub(super) const INDEX_DEPTH_MAX: usize = 4;

/// Told what is being done, for people who wait.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Where a member's content is in the archive.
#[derive(Clone, Copy)]
struct Span {
    offset: u64,
    size: u64,
}

/// An image of an archive: its names, its configuration, and where its layers are.
struct Found {
    names: Vec<Reference>,
    manifest_digest: Option<String>,
    config: Vec<u8>,
    layers: Vec<(Span, Option<String>)>,
}

/// An image of an archive, and the names that the archive gave it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// With all its names, older ones too.
    pub image: Image,
    /// Those of the archive; there may be none.
    pub names: Vec<String>,
}

impl ImageStore {
    /// Stores the images of an archive (of `docker save`, or an OCI layout), which may be
    /// compressed. Blocks.
    ///
    /// # Errors
    /// When the archive is no image, is damaged or hostile; nothing of it is then visible.
    pub fn load(&self, file: &Path, progress: Progress<'_>) -> Result<Vec<Loaded>, ImageError> {
        load(self, file, progress)
    }
}

/// Stores every image of the archive `file`; the images in the archive's order.
fn load(
    store: &ImageStore,
    file: &Path,
    progress: Progress<'_>,
) -> Result<Vec<Loaded>, ImageError> {
    let failed = |source| ImageError::Store { path: file.to_owned(), source };
    // A pipe or a device could keep us for ever.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(ImageError::NotAnImage(format!("{} is no regular file", file.display())));
    }
    let mut source = File::open(file).map_err(failed)?;
    let mut magic = [0; 4];
    let count = read_start(&mut source, &mut magic)?;
    if Compression::of(&magic[..count]) != Compression::None {
        progress("decompressing");
        source = decompressed(store, source)?;
    }
    let members = Members::index(source)?;
    let found = members.images()?;
    let mut images = Vec::with_capacity(found.len());
    let _arriving = store.arriving();
    for image in found {
        let names = image.names.iter().map(ToString::to_string).collect();
        images.push(Loaded { image: members.store(store, image, progress)?, names });
    }
    Ok(images)
}

fn read_start(file: &mut File, magic: &mut [u8; 4]) -> Result<usize, ImageError> {
    let count = file.read(magic).map_err(ImageError::Read)?;
    file.seek(SeekFrom::Start(0)).map_err(ImageError::Read)?;
    Ok(count)
}

/// A copy without compression, in a file that goes when it is closed.
fn decompressed(store: &ImageStore, source: File) -> Result<File, ImageError> {
    let mut copy = store.scratch_file()?;
    let mut reader = decompress(BufReader::new(source))?;
    if io::copy(&mut reader, &mut copy).map_err(ImageError::Read)? >= BYTES_MAX {
        return Err(ImageError::NotAnImage("it is too large".to_owned()));
    }
    copy.seek(SeekFrom::Start(0)).map_err(ImageError::Read)?;
    Ok(copy)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The content without its compression, whichever it is; of what has no end, the beginning.
pub(crate) fn decompress<'a>(
    mut source: impl io::BufRead + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, ImageError> {
    let start = source.fill_buf().map_err(ImageError::Read)?;
    match Compression::of(&start[..start.len().min(4)]) {
        Compression::None => Ok(Box::new(source)),
        Compression::Gzip => Ok(Box::new(MultiGzDecoder::new(source).take(BYTES_MAX))),
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(source);
            let decoder = decoder.map_err(|error| ImageError::Read(io::Error::other(error)))?;
            Ok(Box::new(decoder.take(BYTES_MAX)))
        }
    }
}

struct Members {
    file: File,
    spans: BTreeMap<PathBuf, Span>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Members {
    fn index(file: File) -> Result<Self, ImageError> {
        let left = Cell::new(HEADERS_MAX);
        let mut archive = tar::Archive::new(Bounded { inner: file, left: &left });
        let (mut spans, mut links) = (BTreeMap::new(), BTreeMap::new());
        for entry in archive.entries_with_seek().map_err(ImageError::Read)? {
            // The library's words quote the file, which may be anything.
            let no_tar = |_| match left.get() {
                0 => ImageError::NotAnImage("it has headers without end".into()),
                _ => ImageError::NotAnImage("it is no tar archive, or a damaged one".into()),
            };
            let entry = entry.map_err(no_tar)?;
            let path = normal(&entry.path().map_err(ImageError::Read)?);
            if let Ok(Some(link)) = entry.link_name() {
                let beside = path.parent().unwrap_or(Path::new("")).join(&link);
                let absolute = entry.header().entry_type().is_hard_link();
                links.insert(path, normal(if absolute { &link } else { &beside }));
            } else {
                spans.insert(path, Span { offset: entry.raw_file_position(), size: entry.size() });
            }
        }
        let file = archive.into_inner().inner;
        // A seek goes past the end without complaint; what is known already would not be read.
        let length = file.metadata().map_err(ImageError::Read)?.len();
        let is_cut = |span: &Span| span.offset.saturating_add(span.size) > length;
        if let Some((path, _)) = spans.iter().find(|(_, span)| is_cut(span)) {
            let why = format!("it is cut off within {}", path.display());
            return Err(ImageError::NotAnImage(why));
        }
        Ok(Self { file, spans, links })
    }

    /// Old archives link equal layers to each other.
    fn span(&self, name: &str) -> Result<Span, ImageError> {
        let path = normal(Path::new(name));
        let target = self.links.get(&path).unwrap_or(&path);
        let missing = || ImageError::NotAnImage(format!("{name} is missing"));
        self.spans.get(target).copied().ok_or_else(missing)
    }

    fn reader(&self, span: Span) -> Result<impl Read + use<>, ImageError> {
        let mut file = self.file.try_clone().map_err(ImageError::Read)?;
        file.seek(SeekFrom::Start(span.offset)).map_err(ImageError::Read)?;
        Ok(file.take(span.size))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let span = self.span(name)?;
        if span.size > JSON_BYTES_MAX {
            return Err(ImageError::NotAnImage(format!("{name} is too large")));
        }
        let mut bytes = Vec::new();
        self.reader(span)?.read_to_end(&mut bytes).map_err(ImageError::Read)?;
        Ok(bytes)
    }

    /// The content of a digest, verified.
    fn blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let bytes = self.bytes(&blob_path(digest)?)?;
        verify("a manifest", digest, &bytes)?;
        Ok(bytes)
    }

    fn images(&self) -> Result<Vec<Found>, ImageError> {
        if self.spans.contains_key(Path::new("manifest.json")) {
            let saved: Vec<SavedImage> = json("manifest.json", &self.bytes("manifest.json")?)?;
            return saved.iter().map(|image| self.saved(image)).collect();
        }
        if !self.spans.contains_key(Path::new("index.json")) {
            let why = "it has neither manifest.json nor index.json".to_owned();
            return Err(ImageError::NotAnImage(why));
        }
        let index: Manifest = json("index.json", &self.bytes("index.json")?)?;
        let mut found = Vec::new();
        for descriptor in index.manifests.iter().filter(|descriptor| descriptor.fits()) {
            found.extend(self.laid_out(descriptor, &names_of(descriptor), 0)?);
        }
        if found.is_empty() { Err(ImageError::Platform(architecture())) } else { Ok(found) }
    }

    fn saved(&self, image: &SavedImage) -> Result<Found, ImageError> {
        let names = image.repo_tags.iter().map(|tag| Reference::parse(tag));
        let layers = image.layers.iter().map(|layer| Ok((self.span(layer)?, None)));
        Ok(Found {
            names: names.collect::<Result<_, _>>()?,
            manifest_digest: None,
            config: self.bytes(&image.config)?,
            layers: layers.collect::<Result<_, ImageError>>()?,
        })
    }

    fn laid_out(
        &self,
        descriptor: &Descriptor,
        names: &[Reference],
        depth: usize,
    ) -> Result<Vec<Found>, ImageError> {
        if depth > INDEX_DEPTH_MAX {
            return Err(ImageError::NotAnImage("indexes within indexes".to_owned()));
        }
        let manifest: Manifest = json("a manifest", &self.blob(&descriptor.digest)?)?;
        let Some(config) = &manifest.config else {
            let mut found = Vec::new();
            for inner in manifest.manifests.iter().filter(|inner| inner.fits()) {
                found.extend(self.laid_out(inner, names, depth + 1)?);
            }
            return Ok(found);
        };
        let layers = manifest
            .layers
            .iter()
            .map(|layer| Ok((self.span(&blob_path(&layer.digest)?)?, Some(layer.digest.clone()))));
        Ok(vec![Found {
            names: names.to_vec(),
            manifest_digest: Some(descriptor.digest.clone()),
            config: self.blob(&config.digest)?,
            layers: layers.collect::<Result<_, ImageError>>()?,
        }])
    }

    fn store(
        &self,
        store: &ImageStore,
        found: Found,
        progress: Progress<'_>,
    ) -> Result<Image, ImageError> {
        let config = store.read_config(&found.config)?;
        let digests = &config.rootfs.diff_ids;
        if digests.len() != found.layers.len() {
            let (layers, ids) = (found.layers.len(), digests.len());
            let why = format!("it has {layers} layers, its configuration names {ids}");
            return Err(ImageError::NotAnImage(why));
        }
        for (number, (digest, (span, packed))) in digests.iter().zip(&found.layers).enumerate() {
            if store.has_layer(digest) {
                continue;
            }
            progress(&format!("unpacking layer {} of {}", number + 1, digests.len()));
            if let Some(packed) = packed {
                verify_stream(number, packed, self.reader(*span)?)?;
            }
            let reader = BufReader::with_capacity(1 << 16, self.reader(*span)?);
            let remark = store.add_layer(number, digest, decompress(reader)?)?;
            remark.iter().for_each(|text| progress(text));
        }
        store.add_image(&found.names, found.manifest_digest, &found.config, &Shown::nothing())
    }
}

fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn blob_path(digest: &str) -> Result<String, ImageError> {
    match digest.strip_prefix("sha256:").filter(|_| is_digest(digest)) {
        Some(hex) => Ok(format!("blobs/sha256/{hex}")),
        None => Err(ImageError::NotAnImage(format!("{digest:?} is no sha256 digest"))),
    }
}

fn names_of(descriptor: &Descriptor) -> Vec<Reference> {
    let keys = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let names = keys.iter().filter_map(|key| descriptor.annotations.get(*key));
    names.filter_map(|name| Reference::parse(name).ok()).take(1).collect()
}
