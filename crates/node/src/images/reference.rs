//! Names of images: `[HOST/]PATH[:TAG][@DIGEST]`.

use std::fmt;

use super::ImageError;

/// A full name: registry, repository, and tag or digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/busybox`.
    pub repository: String,
    /// `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// `sha256:…`
    pub digest: Option<String>,
}

const DEFAULT_REGISTRY: &str = "docker.io";
/// What Docker Hub is also called in old names.
const LEGACY_REGISTRY: &str = "index.docker.io";
const FORMAT: &str = "invalid reference format";

impl Reference {
    /// Parses a name as people write it: `busybox` is `docker.io/library/busybox:latest`.
    ///
    /// # Errors
    /// [`ImageError::InvalidName`] with the words that container tools use.
    pub fn parse(name: &str) -> Result<Self, ImageError> {
        parse(name).map_err(|why| ImageError::InvalidName { name: name.to_owned(), why })
    }

    /// Registry and repository: `docker.io/library/busybox`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn parse(name: &str) -> Result<Reference, String> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
        Some(_) => return Err(FORMAT.to_owned()),
        None => (name, None),
    };
    let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match rest[path_start..].find(':') {
        Some(colon) => (&rest[..path_start + colon], Some(&rest[path_start + colon + 1..])),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(FORMAT.to_owned());
    }
    let (registry, repository) = split_registry(path);
    if !repository.split('/').all(is_path_component) {
        let lower = repository.to_lowercase();
        return Err(match repository != lower && lower.split('/').all(is_path_component) {
            true => format!("{FORMAT}: repository name ({repository}) must be lowercase"),
            false => FORMAT.to_owned(),
        });
    }
    if !is_registry(&registry) {
        return Err(FORMAT.to_owned());
    }
    let tag = match (tag, &digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { registry, repository, tag, digest })
}

/// The first part is a registry when it looks like a host; else the name is one of Docker Hub's.
fn split_registry(path: &str) -> (String, String) {
    let host = path.split_once('/').filter(|(first, _)| {
        first.contains(['.', ':']) || *first == "localhost" || first.to_lowercase() != *first
    });
    match host {
        Some((LEGACY_REGISTRY | DEFAULT_REGISTRY, rest)) => on_hub(rest),
        Some((host, rest)) => (host.to_owned(), rest.to_owned()),
        None => on_hub(path),
    }
}

fn on_hub(path: &str) -> (String, String) {
    let repository = if path.contains('/') { path.to_owned() } else { format!("library/{path}") };
    (DEFAULT_REGISTRY.to_owned(), repository)
}

pub(super) fn is_registry(host: &str) -> bool {
    let (host, port) = host.split_once(':').unwrap_or((host, "1"));
    !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Whether it is `sha256:` and 64 hexadecimal digits.
pub(crate) fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or dashes.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    alphanumeric(*first)
        && alphanumeric(*last)
        && part.split(|c: char| alphanumeric(u8::try_from(c).unwrap_or(0))).all(|joint| {
            joint.is_empty()
                || joint.bytes().all(|b| b == b'-')
                || matches!(joint, "." | "_" | "__")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (name, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("user/app", "docker.io/user/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
            ("a__b/c-d--e.f_g", "docker.io/a__b/c-d--e.f_g:latest"),
        ] {
            assert_eq!(Reference::parse(name).unwrap().to_string(), full, "{name}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        let full = Reference::parse(&format!("busybox@{digest}")).unwrap();
        assert_eq!(full.to_string(), format!("docker.io/library/busybox@{digest}"));
        assert_eq!(full.tag, None);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in
            ["", ":", "a//b", "-a", "a-", "a:", "a:b c", "a@sha256:12", "a..b", "a:/b", "/a"]
        {
            let error = Reference::parse(name).unwrap_err().to_string();
            assert!(error.contains("invalid reference format"), "{name}: {error}");
        }
        assert_eq!(
            Reference::parse("x/Foo").unwrap_err().to_string(),
            "couldn't parse image name \"x/Foo\": invalid reference format: repository name (x/Foo) must be lowercase"
        );
    }
}
