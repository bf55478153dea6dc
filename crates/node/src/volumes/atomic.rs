//! Files that change all at once.
//!
//! As the kubelet does it: the files are in a directory with a unique name, `..data` is a link to
//! it that is replaced in one step, and what a container opens are links through `..data`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::FileType;

use super::inside::{Inside, path_of};
use super::payload::{File, Payload};
use super::{VolumeError, failed};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes the files in `directory` those of `payload`, readable for `group` when there is one;
/// whether anything changed.
///
/// # Errors
/// When a path leads outside, or a file cannot be written.
pub(crate) fn write(
    directory: &Path,
    payload: &Payload,
    group: Option<u32>,
) -> Result<bool, VolumeError> {
    for path in payload.keys() {
        if !is_inside(Path::new(path)) {
            let why = format!("invalid path {path:?} in a volume");
            return Err(VolumeError::Unsupported(why));
        }
    }
    let replaced = Inside::of(directory).and_then(|inside| replace(&inside, payload, group));
    replaced.map_err(failed("write the files of", directory))
}

fn is_inside(path: &Path) -> bool {
    path.components().count() > 0
        && path.components().all(|part| matches!(part, Component::Normal(_)))
        && !path.to_string_lossy().starts_with("..")
}

fn replace(inside: &Inside, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    let old = inside.read_link(OsStr::new(DATA)).unwrap_or_default();
    let old = Some(OsStr::from_bytes(&old)).filter(|name| is_version(name));
    if old.is_some_and(|old| is_same(inside, Path::new(old), payload)) {
        return Ok(false);
    }
    let name = new_version(inside)?;
    write_files(&inside.directory(Path::new(&name))?, payload, group)?;
    inside.unlink(Path::new(NEW_DATA))?;
    inside.link(Path::new(&name), Path::new(NEW_DATA))?;
    inside.rename(Path::new(NEW_DATA), Path::new(DATA))?;
    link_up(inside, payload)?;
    if let Some(old) = old {
        inside.remove(old)?;
    }
    Ok(true)
}

/// Whether the link `..data` leads to a directory of ours, beside it.
fn is_version(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.starts_with(b"..") && bytes.len() > 2 && !bytes.contains(&b'/')
}

/// A directory that was not there.
fn new_version(inside: &Inside) -> io::Result<String> {
    let mut number = 0_u64;
    loop {
        number += 1;
        let name = format!("..{number}");
        match inside.make_alike(Path::new(&name), 0o755) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| name),
        }
    }
}

fn is_same(inside: &Inside, version: &Path, payload: &Payload) -> bool {
    let content = |path: &String| inside.read(&version.join(path)).ok();
    count(inside, version).is_ok_and(|count| count == payload.len())
        && payload.iter().all(|(path, file)| content(path).as_ref() == Some(&file.content))
}

/// How many files there are below `path`.
fn count(inside: &Inside, path: &Path) -> io::Result<usize> {
    let directory = inside.directory(path)?;
    let mut files = 0;
    for name in directory.names()? {
        let name = name?;
        files += match directory.find(path_of(&name))?.kind() {
            FileType::Directory => count(inside, &path.join(path_of(&name)))?,
            _ => 1,
        };
    }
    Ok(files)
}

fn write_files(version: &Inside, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    for (path, file) in payload {
        let path = Path::new(path);
        let directory = version.make(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or_default();
        write_file(&directory, Path::new(name), file, group)?;
    }
    Ok(())
}

fn write_file(directory: &Inside, name: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let written = directory.write(name, &file.content)?;
    if group.is_some() || file.owner.is_some() {
        written.set_owner(file.owner, group)?;
    }
    written.set_mode(if group.is_some() { file.mode | 0o440 } else { file.mode })
}

/// The visible names: a link for every first part of a path, none for what is gone.
fn link_up(inside: &Inside, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let target = Path::new(DATA).join(name);
        match inside.read_link(OsStr::new(name)) {
            Ok(found) if found == target.as_os_str().as_bytes() => {}
            Ok(_) => {
                inside.unlink(Path::new(name))?;
                inside.link(&target, Path::new(name))?;
            }
            Err(_) => inside.link(&target, Path::new(name))?,
        }
    }
    for name in inside.names()? {
        let name = name?;
        let bytes = name.to_bytes();
        let is_wanted = std::str::from_utf8(bytes).is_ok_and(|name| wanted.contains(name));
        if !bytes.starts_with(b"..") && !is_wanted {
            inside.unlink(path_of(&name))?;
        }
    }
    Ok(())
}
