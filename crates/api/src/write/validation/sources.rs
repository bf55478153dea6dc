//! Where a volume's content is: what pods and persistent volumes have in common.

use super::cursor::{Errors, Field};
use super::parts::no_backsteps;

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// A `hostPath` of a pod or of a volume.
pub(super) fn host_path(errors: &mut Errors, source: &Field<'_>) {
    let path = source.child("path");
    if path.is_empty() {
        errors.required(&path, "");
        return;
    }
    no_backsteps(errors, &path);
    errors.one_of_if_set(&source.child("type"), &HOST_PATH_TYPES);
}

/// A directory that another machine shares.
pub(super) fn nfs(errors: &mut Errors, source: &Field<'_>) {
    errors.require_text(&source.child("server"));
    let path = source.child("path");
    errors.require_text(&path);
    if !path.text().starts_with('/') {
        errors.invalid(&path, "must be an absolute path");
    }
}
