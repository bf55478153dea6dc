//! `fsGroup`: a volume belongs to a group, and new files in it do as well.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::inside::{Found, Inside, is_elsewhere, path_of};

const FILE: u32 = 0o660;
/// New files get the directory's group.
const DIRECTORY: u32 = 0o2770;

/// The volume at `root` belongs to the group. Nothing outside of it is touched, whatever a process
/// does in it meanwhile. The root comes last: it shows that all else is done.
///
/// # Errors
/// When the machine refuses, or a path in it is longer than the kernel takes.
pub(crate) fn give(root: &Path, group: u32) -> io::Result<()> {
    let root = Inside::of(root)?;
    let mut below = vec![PathBuf::new()];
    while let Some(path) = below.pop() {
        let directory = match root.directory(&path) {
            Err(error) if is_elsewhere(&error) => continue,
            other => other?,
        };
        for name in directory.names()? {
            let name = name?;
            let found = match directory.find(path_of(&name)) {
                Err(error) if is_elsewhere(&error) => continue,
                other => other?,
            };
            give_one(&found, group)?;
            if found.kind() == FileType::Directory {
                below.push(path.join(path_of(&name)));
            }
        }
    }
    give_one(&root.found()?, group)
}

/// Whether the root of a volume shows that all of it belongs to the group
/// (`fsGroupChangePolicy: OnRootMismatch`).
pub(crate) fn is_given(root: &Path, group: u32) -> io::Result<bool> {
    let found = Inside::of(root)?.found()?;
    Ok(found.group() == group && found.mode() & DIRECTORY == DIRECTORY)
}

fn give_one(found: &Found, group: u32) -> io::Result<()> {
    let is_link = found.kind() == FileType::Symlink;
    let wanted = match found.kind() {
        FileType::Directory => found.mode() | DIRECTORY,
        _ => found.mode() | FILE,
    };
    let changes_group = found.group() != group;
    if changes_group {
        found.set_owner(None, Some(group))?;
    }
    // A change of group may have cost a file its set-user-ID bit, as it does upstream's.
    if !is_link && (changes_group || wanted != found.mode()) {
        found.set_mode(wanted)?;
    }
    Ok(())
}
