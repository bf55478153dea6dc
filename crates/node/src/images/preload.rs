//! A directory of archives whose images are there before any pod asks.
//!
//! Each is loaded once, and again when its size or time has changed; which ones were, `archives.json`
//! in the store's directory says. An image that is removed afterwards stays away.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ImageError, ImageStore};

/// What archives are called.
const ENDINGS: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];
/// Where it says which were loaded.
const RECORD: &str = "archives.json";

/// A file as it was when it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Version {
    fn of(file: &Metadata) -> Self {
        let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
        Self { size: file.size(), seconds, nanoseconds }
    }
}

/// What came of a file.
#[derive(Debug)]
pub struct Preloaded {
    /// The file.
    pub file: PathBuf,
    /// The names of its images, or why there are none.
    pub result: Result<Vec<String>, ImageError>,
}

impl ImageStore {
    /// Loads what is new in `directory`, in the order of the files' names; nothing when there is no
    /// such directory. What is broken is told, and tried again the next time. Blocks.
    ///
    /// # Errors
    /// When the directory or the record cannot be read or written.
    pub fn preload(&self, directory: &Path) -> Result<Vec<Preloaded>, ImageError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ImageError::Store { path, source }
        };
        if !directory.exists() {
            return Ok(Vec::new());
        }
        let before: BTreeMap<String, Version> = self.read(RECORD)?;
        let (mut now, mut done) = (BTreeMap::new(), Vec::new());
        let entries = fs::read_dir(directory).map_err(at(directory))?;
        let files = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut files = files.collect::<Result<Vec<_>, _>>().map_err(at(directory))?;
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                continue;
            }
            let result = fs::metadata(&file).map_err(at(&file)).and_then(|metadata| {
                let version = Version::of(&metadata);
                if before.get(&name) == Some(&version) {
                    now.insert(name.clone(), version);
                    return Ok(None);
                }
                let images = self.load(&file, &mut |_| ())?;
                now.insert(name, version);
                Ok(Some(images.into_iter().flat_map(|image| image.names).collect()))
            });
            match result {
                Ok(None) => {}
                Ok(Some(names)) => done.push(Preloaded { file, result: Ok(names) }),
                Err(error) => done.push(Preloaded { file, result: Err(error) }),
            }
        }
        if now != before {
            self.write_json(RECORD, &now)?;
        }
        Ok(done)
    }
}
