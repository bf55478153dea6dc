//! `hostPath`: what is on the machine already.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{VolumeError, failed};

/// Checks what is at the path, or makes it, as the source says; where it is.
///
/// # Errors
/// When it is of another type.
pub(crate) fn check(source: &HostPathVolumeSource) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    if kind == "DirectoryOrCreate" && !path.exists() {
        fs::create_dir_all(&path).map_err(failed("create", &path))?;
        set_mode(&path, 0o755)?;
    }
    if kind == "FileOrCreate" && !path.exists() {
        fs::write(&path, []).map_err(failed("create", &path))?;
        set_mode(&path, 0o644)?;
    }
    let found = fs::metadata(&path).map(|metadata| metadata.file_type());
    let fits = |wanted: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(wanted);
    let (ok, wanted) = match kind {
        // A directory is made where there is nothing, as runtimes have always done.
        "" => {
            if found.is_err() {
                fs::create_dir_all(&path).map_err(failed("create", &path))?;
            }
            (true, "")
        }
        "Directory" | "DirectoryOrCreate" => (fits(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (fits(fs::FileType::is_file), "a file"),
        "Socket" => (fits(fs::FileType::is_socket), "a socket file"),
        "CharDevice" => (fits(fs::FileType::is_char_device), "a character device"),
        "BlockDevice" => (fits(fs::FileType::is_block_device), "a block device"),
        other => {
            let why = format!("{other} is an invalid volume type");
            return Err(VolumeError::Unsupported(why));
        }
    };
    if !ok {
        let why = format!("hostPath type check failed: {} is not {wanted}", path.display());
        return Err(VolumeError::Unsupported(why));
    }
    Ok(path)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("chmod", path))
}
