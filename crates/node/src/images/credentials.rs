//! What pull secrets say: names and passwords, and for which images.

use std::collections::BTreeMap;

use coracle_api::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::access;

/// Where Docker Hub's login stands in old files.
const HUB: &str = "index.docker.io";

/// A pull secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub(super) username: String,
    pub(super) password: String,
    /// Where it stands.
    pub(super) secret: SecretRef,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Login {
    /// Known by, where it must not be written down.
    pub(super) fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for part in [&self.username, &self.password] {
            hasher.update(part.len().to_le_bytes());
            hasher.update(part);
        }
        hex(&hasher.finalize())
    }
}

/// What the pull secrets of a pod say.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Host and beginning of the path, which may have wildcards in the host, with its logins.
    by_place: BTreeMap<String, Vec<Login>>,
}

/// `.dockerconfigjson`; `.dockercfg` is what stands below `auths` in it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerAuth {
    auth: String,
    username: String,
    password: String,
}

impl Credentials {
    /// Adds what a secret's `.dockerconfigjson` (or `.dockercfg`, when `legacy`) says.
    ///
    /// # Errors
    /// When it is not what it should be; then nothing of it is added.
    pub fn add(&mut self, secret: &SecretRef, json: &[u8], legacy: bool) -> Result<(), String> {
        let read = |error: serde_json::Error| error.to_string();
        let auths = match legacy {
            true => serde_json::from_slice(json).map_err(read)?,
            false => serde_json::from_slice::<DockerConfig>(json).map_err(read)?.auths,
        };
        let mut found = Vec::new();
        for (server, auth) in auths {
            let (username, password) = match auth.auth.is_empty() {
                true => (auth.username, auth.password),
                false => access::login(&auth.auth).ok_or(
                    "unable to parse auth field, must be formatted as base64(username:password)",
                )?,
            };
            let login = Login { username, password, secret: secret.clone() };
            found.push((place_of(&server), login));
        }
        for (place, login) in found {
            self.by_place.entry(place).or_default().push(login);
        }
        Ok(())
    }

    /// All logins.
    pub(super) fn all(&self) -> impl Iterator<Item = &Login> {
        self.by_place.values().flatten()
    }

    /// The logins for what is called `name` (`docker.io/library/busybox`), in the order in which they
    /// are tried: those of the longest paths first, as upstream's kubelet has it.
    pub(super) fn for_name(&self, name: &str) -> Vec<&Login> {
        let matching = self.by_place.iter().rev().filter(|(place, _)| matches(place, name));
        let found: Vec<_> = matching.flat_map(|(_, logins)| logins).collect();
        if found.is_empty() && name.starts_with("docker.io/") {
            return self.by_place.get(HUB).into_iter().flatten().collect();
        }
        found
    }
}

/// What a key of `auths` means: a host, and the beginning of a path unless that is only the API's.
fn place_of(server: &str) -> String {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://"));
    let bare = bare.unwrap_or(server);
    let (host, path) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
    let is_api = path.starts_with("/v1/") || path.starts_with("/v2/");
    let path = if is_api { &path[3..] } else { path };
    format!("{host}{}", if path == "/" { "" } else { path })
}

/// Whether the place, whose host may have wildcards within its parts, has the name.
fn matches(place: &str, name: &str) -> bool {
    let split = |text: &str| -> (String, String, String) {
        let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let (host, port) = host.split_once(':').unwrap_or((host, ""));
        (host.to_owned(), port.to_owned(), path.to_owned())
    };
    let ((pattern, port, path), (host, its_port, its_path)) = (split(place), split(name));
    let (patterns, parts) = (pattern.split('.'), host.split('.'));
    port == its_port
        && patterns.clone().count() == parts.clone().count()
        && its_path.starts_with(&path)
        && patterns.zip(parts).all(|(pattern, part)| fits(pattern.as_bytes(), part.as_bytes()))
}

/// `*` is anything, `?` any one character.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    // Of a star only the last place to go back to counts: so it is quick whatever is written.
    let (mut at, mut seen, mut back) = (0, 0, None);
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                back = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => {
                let Some((star, from)) = back else { return false };
                back = Some((star, from + 1));
                (at, seen) = (star + 1, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn credentials(auths: &serde_json::Value) -> Credentials {
        let mut credentials = Credentials::default();
        let json = json!({ "auths": auths }).to_string();
        credentials.add(&SecretRef::default(), json.as_bytes(), false).unwrap();
        credentials
    }

    fn users<'a>(credentials: &'a Credentials, name: &str) -> Vec<&'a str> {
        credentials.for_name(name).into_iter().map(|login| &*login.username).collect()
    }

    fn with(places: &[&str]) -> Credentials {
        let auths = places
            .iter()
            .map(|place| ((*place).to_owned(), json!({"username": place, "password": "p"})));
        credentials(&auths.collect::<serde_json::Map<_, _>>().into())
    }

    #[test]
    fn logins_are_written_in_several_ways() {
        let auth = STANDARD.encode("me:pass:word");
        let known = credentials(&json!({
            "https://index.docker.io/v1/": {"auth": auth, "username": "not-me"},
            "r.example.com:5000": {"username": "u", "password": "p"},
        }));
        let login = known.for_name("docker.io/library/busybox")[0];
        assert_eq!((&*login.username, &*login.password), ("me", "pass:word"));
        assert_eq!(users(&known, "r.example.com:5000/x"), ["u"]);
        assert!(users(&known, "ghcr.io/x").is_empty());
        let mut legacy = Credentials::default();
        let json = br#"{"x.example.com": {"username": "u", "password": "p"}}"#;
        legacy.add(&SecretRef::default(), json, true).unwrap();
        assert_eq!(users(&legacy, "x.example.com/a"), ["u"]);
        let wrong = br#"{"auths": {"x.example.com": {"auth": "bm9jb2xvbg=="}}}"#;
        let error = legacy.add(&SecretRef::default(), wrong, false).unwrap_err();
        assert!(error.contains("base64(username:password)"), "{error}");
    }

    #[test]
    fn places_match_as_upstreams_do() {
        for (place, name, is_match) in [
            ("x.example.com", "x.example.com/a", true),
            ("x.example.com", "y.example.com/a", false),
            ("x.example.com", "x.example.com:443/a", false),
            ("x.example.com:443", "x.example.com:443/a", true),
            ("*.example.com", "x.example.com/a", true),
            ("*.example.com", "a.b.example.com/a", false),
            ("*.*.example.com", "a.b.example.com/a", true),
            ("x*y.example.com", "x12y.example.com/a", true),
            ("x?.example.com", "x1.example.com/a", true),
            ("x?.example.com", "x12.example.com/a", false),
            ("https://x.example.com/team", "x.example.com/team/app", true),
            ("x.example.com/team", "x.example.com/other/app", false),
            ("http://x.example.com/v2/", "x.example.com/a", true),
            ("https://x.example.com/v1/team", "x.example.com/team/app", true),
            ("docker.io", "docker.io/library/busybox", true),
            ("index.docker.io", "docker.io/library/busybox", true),
            ("index.docker.io", "x.example.com/a", false),
        ] {
            let found = !users(&with(&[place]), name).is_empty();
            assert_eq!(found, is_match, "{place} {name}");
        }
    }

    #[test]
    fn longer_paths_are_tried_first_and_all_that_match() {
        let known = with(&["x.example.com", "x.example.com/team", "*.example.com"]);
        assert_eq!(
            users(&known, "x.example.com/team/app"),
            ["x.example.com/team", "x.example.com", "*.example.com"]
        );
    }
}
