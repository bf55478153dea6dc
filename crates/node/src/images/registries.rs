//! Where images are asked for, and as whom: what k3s calls `registries.yaml`.
//!
//! <https://docs.k3s.io/installation/private-registry> has the format. What is written there and
//! means nothing is refused, with its line.

mod place;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coracle_api::null_as_default;
use coracle_store::files;
use serde::Deserialize;

use place::{Place, RegistryName};
use yaml::{Checked, Rewrites};

use super::Reference;
use super::access::{Auth, Tls, client};

/// What the file may have in it.
const BYTES_MAX: u64 = 1 << 20;
/// The host that has what is called `docker.io`.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A file that cannot be used: the sentence says which, where in it, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct RegistriesError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// Mirrors of registries, and how hosts are spoken to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// By registry, as in the names of images; `*` for those that are not there.
    #[serde(default, deserialize_with = "null_as_default")]
    mirrors: BTreeMap<Checked<RegistryName>, Option<Mirror>>,
    /// By host, as in endpoints; `*` for those that are not there.
    #[serde(default, deserialize_with = "null_as_default")]
    configs: BTreeMap<Checked<RegistryName>, Option<HostConfig>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mirror {
    #[serde(default, deserialize_with = "null_as_default")]
    endpoint: Vec<Checked<Place>>,
    #[serde(default, deserialize_with = "null_as_default")]
    rewrite: Rewrites,
}

/// How a host is spoken to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostConfig {
    /// As whom.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Whom it must prove to be.
    #[serde(default, deserialize_with = "null_as_default")]
    pub tls: Tls,
}

/// A place that may have an image.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Where its API begins: `https://mirror.example.com:5000/v2`.
    pub base: String,
    /// Its host, with the port that was written.
    pub host: String,
    /// What the image is called there.
    pub repository: String,
    /// Of a mirror: the registry that it stands for.
    pub mirrors: Option<String>,
    /// How it is spoken to.
    pub config: HostConfig,
}

impl Registries {
    /// Reads the file and looks at all that it names.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn checked(path: &Path) -> Result<Self, RegistriesError> {
        let registries = Self::read(path)?;
        let failed = |why| RegistriesError { path: path.to_owned(), why };
        registries.check_files().map_err(failed)?;
        Ok(registries)
    }

    /// Reads the file; what it names is looked at when it is used.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub(super) fn read(path: &Path) -> Result<Self, RegistriesError> {
        let failed = |why| RegistriesError { path: path.to_owned(), why };
        let text = files::read_text(path, BYTES_MAX).map_err(|error| failed(error.to_string()))?;
        let registries = Self::parse(&text).map_err(failed)?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(registries.beside(absolute.parent().unwrap_or(Path::new("/"))))
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_norway::from_str(text).map_err(|error| error.to_string())
    }

    /// With the files that it names taken from `directory`, where they are not absolute.
    fn beside(mut self, directory: &Path) -> Self {
        for config in self.configs.values_mut().flatten() {
            config.tls.files().into_iter().flatten().for_each(|file| *file = directory.join(&file));
        }
        self
    }

    fn check_files(&self) -> Result<(), String> {
        for (name, config) in &self.configs {
            let tls = config.iter().map(|config| &config.tls);
            let checked = tls.map(|tls| client(tls).map(drop));
            let mut checked = checked.filter_map(Result::err);
            if let Some(why) = checked.next() {
                return Err(format!("configs: {}: tls: {why}", name.0));
            }
        }
        Ok(())
    }

    /// The places that are asked for an image, in their order; the last is its registry itself.
    pub(super) fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let registry = &reference.registry;
        let mirror = of(&self.mirrors, &[registry]);
        let places = mirror.iter().flat_map(|mirror| &mirror.endpoint);
        let mut endpoints: Vec<_> = places
            .map(|Checked(place)| Endpoint {
                base: place.base(),
                host: place.host.clone(),
                repository: mirror
                    .map_or_else(String::new, |mirror| mirror.rewrite.apply(&reference.repository)),
                mirrors: Some(registry.clone()),
                config: of(&self.configs, &[&place.host]).cloned().unwrap_or_default(),
            })
            .collect();
        let host = if registry == HUB.0 { HUB.1 } else { registry };
        let place = Place::bare(host);
        endpoints.push(Endpoint {
            base: place.base(),
            host: host.to_owned(),
            repository: reference.repository.clone(),
            mirrors: None,
            config: of(&self.configs, &[host, registry]).cloned().unwrap_or_default(),
        });
        endpoints
    }
}

/// The entry of a registry or host under the first of its names that has one, or else that of all. One
/// that is left empty is one.
fn of<'a, T>(all: &'a BTreeMap<Checked<RegistryName>, Option<T>>, names: &[&str]) -> Option<&'a T> {
    names.iter().chain(&["*"]).find_map(|name| all.get(*name))?.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(registries: &Registries, image: &str) -> Vec<String> {
        let reference = Reference::parse(image).unwrap();
        let endpoints = registries.endpoints(&reference);
        endpoints.iter().map(|it| format!("{}/{}", it.base, it.repository)).collect()
    }

    const FILE: &str = r#"
mirrors:
  docker.io:
    endpoint: ["https://one.example.com", "http://two.example.com:5000/v2/hub/"]
    rewrite:
      "^library/(.*)": "official/$1"
      "^(.*)$": "other/$1"
  "plain.example.com:5000":
    endpoint:
      - http://plain.example.com:5000
  none.example.com:
  "*":
    endpoint: [catch.example.com]
configs:
  one.example.com:
    auth: {username: me, password: secret}
  docker.io:
    auth: {auth: bWU6aHVi}
  empty.example.com:
  "*":
    tls: {insecure_skip_verify: true}
"#;

    #[test]
    fn mirrors_come_before_the_registry_itself() {
        let registries = Registries::parse(FILE).unwrap();
        assert_eq!(
            asked(&registries, "busybox"),
            [
                "https://one.example.com/v2/official/busybox",
                "http://two.example.com:5000/v2/hub/official/busybox",
                "https://registry-1.docker.io/v2/library/busybox",
            ]
        );
        assert_eq!(asked(&registries, "a/b")[0], "https://one.example.com/v2/other/a/b");
        assert_eq!(
            asked(&registries, "plain.example.com:5000/x"),
            ["http://plain.example.com:5000/v2/x", "https://plain.example.com:5000/v2/x"]
        );
        assert_eq!(asked(&registries, "none.example.com/x"), ["https://none.example.com/v2/x"]);
        assert_eq!(
            asked(&registries, "ghcr.io/x"),
            ["https://catch.example.com/v2/x", "https://ghcr.io/v2/x"]
        );
        let empty = Registries::parse("# nothing\n").unwrap();
        assert_eq!(asked(&empty, "localhost:5000/x"), ["http://localhost:5000/v2/x"]);
        assert_eq!(asked(&empty, "127.0.0.2:5000/x"), ["http://127.0.0.2:5000/v2/x"]);
        // Its name only begins like an address of this machine.
        assert_eq!(asked(&empty, "127.example.com/x"), ["https://127.example.com/v2/x"]);
    }

    #[test]
    fn hosts_are_spoken_to_as_the_file_says() {
        let registries = Registries::parse(FILE).unwrap();
        let of_hub = registries.endpoints(&Reference::parse("busybox").unwrap());
        let logins: Vec<_> = of_hub.iter().map(|it| it.config.auth.clone()).collect();
        let login = |user: &str, password: &str| {
            Some(Auth::Login { username: user.to_owned(), password: password.to_owned() })
        };
        assert_eq!(logins, [login("me", "secret"), None, login("me", "hub")]);
        let skips: Vec<_> = of_hub.iter().map(|it| it.config.tls.insecure_skip_verify).collect();
        assert_eq!(skips, [false, true, false]);
        let of_empty = registries.endpoints(&Reference::parse("empty.example.com/x").unwrap());
        let skips: Vec<_> = of_empty.iter().map(|it| it.config.tls.insecure_skip_verify).collect();
        assert_eq!(skips, [true, false], "only who has no entry is spoken to as all are");
    }

    #[test]
    fn hosts_are_called_as_they_are_written() {
        for (endpoint, host) in [
            ("https://x.example.com", "x.example.com"),
            ("https://x.example.com:443/v2", "x.example.com:443"),
            ("http://x.example.com:80", "x.example.com:80"),
            ("http://[::1]:5000", "[::1]:5000"),
            ("x.example.com:443/all", "x.example.com:443"),
        ] {
            assert_eq!(endpoint.parse::<Place>().unwrap().host, host, "{endpoint}");
        }
    }

    #[test]
    fn mistakes_are_said_without_what_is_secret() {
        for text in [
            "configs:\n  x.example.com:\n    auth: hush\n",
            "configs:\n  x.example.com:\n    auth: {username: me, password: [hush]}\n",
            "mirrors:\n  docker.io:\n    endpoint: [\"ftp://me:hush@x.example.com\"]\n",
            "mirrors:\n  docker.io:\n    endpoint: [\"https://me:hush@x.example.com\"]\n",
        ] {
            let error = Registries::parse(text).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn mistakes_are_said_with_their_line() {
        for (text, words) in [
            (
                "mirrors:\n  docker.io:\n    endpoints: []\n",
                "unknown field `endpoints`, expected `endpoint` or `rewrite` at line 3 column 5",
            ),
            ("mirror: {}\n", "unknown field `mirror`, expected `mirrors` or `configs`"),
            (
                "mirrors:\n  docker.io:\n    endpoint:\n    - ftp://x.example.com\n",
                "\"ftp://x.example.com\" is no endpoint: write for example https://mirror.example.com:5000 at line 4 column 7",
            ),
            (
                "mirrors:\n  docker.io:\n    endpoint: https://x\n",
                "invalid type: string \"https://x\", expected a sequence at line 3",
            ),
            (
                "mirrors:\n  docker.io:\n    endpoint: [\"https://me:secret@x.example.com\"]\n",
                "credentials belong below configs",
            ),
            (
                "mirrors:\n  https://docker.io:\n    endpoint: []\n",
                "\"https://docker.io\" is no registry: write it as in the names of images",
            ),
            (
                "mirrors:\n  docker.io:\n    rewrite:\n      \"(\": x\n",
                "\"(\" is no regular expression",
            ),
            (
                "configs:\n  x.example.com:\n    auth:\n      username: me\n",
                "username without password",
            ),
            (
                "configs:\n  x.example.com:\n    auth: {auth: \"!!\"}\n",
                "auth must be base64 of username:password",
            ),
            ("configs:\n  x.example.com:\n    auth: {token: abc}\n", "unknown field `token`"),
            (
                "configs:\n  x.example.com:\n    auth: {identity_token: abc, username: u, password: p}\n",
                "either username and password, or auth, or identity_token",
            ),
            (
                "configs:\n  x.example.com:\n    tls: {cert_file: a}\n",
                "cert_file and key_file belong together",
            ),
            ("mirrors: [\n", "expected a map at line 1 column 10"),
        ] {
            let error = Registries::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}\n{error}");
        }
    }

    #[test]
    fn files_are_found_beside_the_file_and_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.yaml");
        std::fs::write(&path, "configs:\n  x.example.com:\n    tls: {ca_file: ca.crt}\n").unwrap();
        let error = Registries::checked(&path).unwrap_err().to_string();
        let ca = folder.path().join("ca.crt");
        let place =
            format!("{}: configs: x.example.com: tls: ca_file: {}", path.display(), ca.display());
        assert!(error.starts_with(&place), "{error}");
        std::fs::write(&ca, "no certificate").unwrap();
        let error = Registries::checked(&path).unwrap_err().to_string();
        assert!(error.contains("it has no certificate in PEM form"), "{error}");
        let missing = Registries::read(&folder.path().join("other.yaml")).unwrap_err().to_string();
        assert!(missing.contains("other.yaml: No such file"), "{missing}");
    }
}
