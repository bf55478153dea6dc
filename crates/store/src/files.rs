//! Small files, which are read and replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces the file at `path`, which then has the permissions `mode`: whoever reads it finds the old
/// content or the new one, also after a kill or a power cut; the new one once this has returned.
///
/// # Errors
/// When it cannot be written; then it is as it was.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    install(&draft, path)
}

/// The text of the file at `path`, which may have `most` bytes.
///
/// # Errors
/// When it cannot be read, is longer, or is no plain file: a pipe could be waited for without end.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let refused = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    if !fs::metadata(path)?.is_file() {
        return Err(refused("expected a plain file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(refused(format!("it has more than {most} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| refused(format!("it is no text: {error}")))
}

/// Gives `draft`, whose content is durable, the name `path`; durable when this returns.
pub(crate) fn install(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Where a file is written that is to become `path`.
pub(crate) fn draft(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_text_is_read_to_its_end_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        let why = |path: &Path, most| read_text(path, most).unwrap_err().to_string();
        assert!(why(&path, 9).contains("No such file"));
        fs::write(&path, "123").unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "123");
        assert_eq!(why(&path, 2), "it has more than 2 bytes");
        fs::write(&path, "\u{e9}\u{e9}").unwrap();
        assert_eq!(why(&path, 2), "it has more than 2 bytes");
        fs::write(&path, b"a\xff").unwrap();
        assert!(why(&path, 9).starts_with("it is no text: invalid utf-8"));
        assert_eq!(why(directory.path(), 9), "expected a plain file");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(why(&pipe, 9), "expected a plain file");
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        fs::write(draft(&path), "what a kill has left, which is longer").unwrap();
        for content in ["one", "two"] {
            replace(&path, content.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(&directory.path().join("none/a"), b"", 0o600).is_err());
    }
}
