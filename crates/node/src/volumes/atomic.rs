//! Files that change all at once.
//!
//! As the kubelet does it: the files are in a directory with a unique name, `..data` is a link to
//! it that is replaced in one step, and what a container opens are links through `..data`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use super::payload::Payload;
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
    let data = directory.join(DATA);
    if data.exists() && is_same(&data, payload) {
        return Ok(false);
    }
    let old = fs::read_link(&data).ok();
    let version = tempfile::Builder::new()
        .prefix("..")
        .tempdir_in(directory)
        .map_err(failed("create", directory))?
        .keep();
    write_files(&version, payload, group)?;
    let name = PathBuf::from(version.file_name().unwrap_or_default());
    let new = directory.join(NEW_DATA);
    remove_file(&new)?;
    symlink(&name, &new).map_err(failed("link", &new))?;
    fs::rename(&new, &data).map_err(failed("rename", &new))?;
    link_up(directory, payload)?;
    if let Some(old) = old {
        let old = directory.join(old);
        fs::remove_dir_all(&old).map_err(failed("remove", &old))?;
    }
    Ok(true)
}

fn is_inside(path: &Path) -> bool {
    path.components().count() > 0
        && path.components().all(|part| matches!(part, Component::Normal(_)))
        && !path.to_string_lossy().starts_with("..")
}

fn is_same(data: &Path, payload: &Payload) -> bool {
    let count = walk(data).map_or(usize::MAX, |files| files.len());
    count == payload.len()
        && payload
            .iter()
            .all(|(path, file)| fs::read(data.join(path)).is_ok_and(|found| found == file.content))
}

fn walk(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(walk(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

fn write_files(version: &Path, payload: &Payload, group: Option<u32>) -> Result<(), VolumeError> {
    set_mode(version, 0o755)?;
    for (path, file) in payload {
        let target = version.join(path);
        let mut parent = version.to_owned();
        for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if !parent.exists() {
                fs::create_dir(&parent).map_err(failed("create", &parent))?;
                set_mode(&parent, 0o755)?;
            }
        }
        fs::write(&target, &file.content).map_err(failed("write", &target))?;
        set_mode(&target, if group.is_some() { file.mode | 0o040 } else { file.mode })?;
        if group.is_some() || file.owner.is_some() {
            chown(&target, file.owner, group).map_err(failed("chown", &target))?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("chmod", path))
}

/// The visible names: a link for every first part of a path, none for what is gone.
fn link_up(directory: &Path, payload: &Payload) -> Result<(), VolumeError> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = directory.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            continue;
        }
        symlink(&target, &link).map_err(failed("link", &link))?;
    }
    for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
        let name = entry.map_err(failed("read", directory))?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&*name) {
            remove_file(&directory.join(&*name))?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<(), VolumeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}
