//! Secrets at rest: the keys, the file beside the store that holds them, and how a record is sealed.
//!
//! AES-256-GCM with a random nonce for each record; what a record is of (resource, namespace, name,
//! revision) is authenticated with it, so that no record can take the place of another. The key is
//! beside the store and not in it: a copy of the store alone tells no Secret.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::files;

/// What a sealed record begins with; JSON begins with a brace.
const MARK: u8 = 1;
const ID_LEN: usize = 8;
const KEY_LEN: usize = 32;
const HEADER_LEN: usize = 1 + ID_LEN + NONCE_LEN;

/// The first lines of the file, for whoever opens it.
const PREAMBLE: &str = "\
# The keys with which Secrets in the store beside this file are encrypted, the newest first.
# Keep it as safe as the Secrets, and keep it: without it they are lost.
";

/// Whether objects of `resource` are sealed.
pub(crate) fn is_secret(resource: &str) -> bool {
    resource == resources::SECRETS
}

/// The name of a key, in the file and in each record that it sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId([u8; ID_LEN]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    bytes: [u8; KEY_LEN],
}

impl Key {
    fn cipher(&self) -> Result<LessSafeKey, Unsealable> {
        let key = UnboundKey::new(&AES_256_GCM, &self.bytes).map_err(|_| Unsealable::Cipher)?;
        Ok(LessSafeKey::new(key))
    }
}

/// The keys: the first seals, all of them open. Without any, everything is in clear: for stores in
/// memory.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Vec<Key>);

/// Why a record cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unsealable {
    /// The key is not there.
    NoKey(String),
    /// It is not what was sealed.
    Forged,
    /// The library or the system's randomness refused.
    Cipher,
}

/// Where a record stands: resource, namespace, name; and its revision.
pub(crate) struct Seat<'a> {
    pub(crate) place: (&'a str, &'a str, &'a str),
    pub(crate) revision: u64,
}

impl Seat<'_> {
    fn authenticated(&self) -> Vec<u8> {
        let mut bytes = self.revision.to_le_bytes().to_vec();
        for part in [self.place.0, self.place.1, self.place.2] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

impl Keyring {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are keys that only open what they sealed before.
    pub(crate) fn has_old(&self) -> bool {
        self.0.len() > 1
    }

    /// The same with a new key that seals from now on.
    pub(crate) fn with_new(&self) -> io::Result<Self> {
        let (mut id, mut bytes) = ([0; ID_LEN], [0; KEY_LEN]);
        let random = SystemRandom::new();
        let filled = random.fill(&mut id).and_then(|()| random.fill(&mut bytes));
        filled.map_err(|_| io::Error::other("the system gave no random bytes"))?;
        let new = Key { id: KeyId(id), bytes };
        Ok(Self(std::iter::once(new).chain(self.0.iter().cloned()).collect()))
    }

    /// The same without the keys that seal no more.
    pub(crate) fn without_old(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// `json` as it is stored at `seat`: as it is unless it is a Secret's and there is a key.
    pub(crate) fn seal(&self, seat: &Seat<'_>, json: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let Some(key) = self.0.first().filter(|_| is_secret(seat.place.0)) else {
            return Ok(json.to_vec());
        };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Unsealable::Cipher)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + json.len() + AES_256_GCM.tag_len());
        sealed.push(MARK);
        sealed.extend_from_slice(&key.id.0);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(json);
        let aad = Aad::from(seat.authenticated());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text = sealed.get_mut(HEADER_LEN..).ok_or(Unsealable::Cipher)?;
        let tag = key.cipher()?.seal_in_place_separate_tag(nonce, aad, text);
        sealed.extend_from_slice(tag.map_err(|_| Unsealable::Cipher)?.as_ref());
        Ok(sealed)
    }

    /// The JSON of the record `body` at `seat`, and whether it stands there as it would be sealed now.
    pub(crate) fn open(&self, seat: &Seat<'_>, body: &[u8]) -> Result<(Vec<u8>, bool), Unsealable> {
        let newest = self.0.first().filter(|_| is_secret(seat.place.0));
        let Some((&MARK, rest)) = body.split_first() else {
            return Ok((body.to_vec(), newest.is_none()));
        };
        let (id, rest) = rest.split_first_chunk::<ID_LEN>().ok_or(Unsealable::Forged)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable::Forged)?;
        let id = KeyId(*id);
        let key = self.0.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| Unsealable::NoKey(id.to_string()))?;
        let (mut text, aad) = (text.to_vec(), Aad::from(seat.authenticated()));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.cipher()?.open_in_place(nonce, aad, &mut text);
        let length = opened.map_err(|_| Unsealable::Forged)?.len();
        text.truncate(length);
        Ok((text, newest.is_some_and(|newest| newest.id == id)))
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let keys: Vec<Key> = lines.map(key).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self(keys))
    }
}

impl fmt::Display for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREAMBLE)?;
        self.0.iter().try_for_each(|key| writeln!(f, "{} {}", key.id, STANDARD.encode(key.bytes)))
    }
}

/// A line of the file: the name in hexadecimal digits, the key in base64.
fn key(line: &str) -> Option<Key> {
    let (name, key) = line.trim().split_once(' ')?;
    let name = (name.len() == 2 * ID_LEN && name.is_ascii()).then_some(name)?;
    let mut id = [0; ID_LEN];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(name.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    let bytes = STANDARD.decode(key.trim()).ok()?.try_into().ok()?;
    Some(Key { id: KeyId(id), bytes })
}

/// The file of the keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    /// That of the store in the file `store`.
    pub(crate) fn beside(store: &Path) -> Self {
        let mut path = store.as_os_str().to_owned();
        path.push(".key");
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it; no keys when it is not there.
    pub(crate) fn read(&self) -> io::Result<Keyring> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Keyring::parse(&text).ok_or_else(|| {
                let why = "it does not hold the keys of a store: put the right file back";
                io::Error::new(io::ErrorKind::InvalidData, why)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Keyring::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, whole or not at all; durable when this returns.
    pub(crate) fn write(&self, keys: &Keyring) -> io::Result<()> {
        files::replace(&self.0, keys.to_string().as_bytes(), 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAT: Seat<'_> = Seat { place: ("secrets", "default", "a"), revision: 7 };
    const JSON: &[u8] = br#"{"data": {"password": "aHVudGVyMg=="}}"#;

    #[test]
    fn what_is_sealed_is_read_back_in_its_own_place_alone() {
        let keys = Keyring::default().with_new().unwrap();
        let sealed = keys.seal(&SEAT, JSON).unwrap();
        assert!(!sealed.windows(8).any(|part| JSON.windows(8).any(|json| json == part)));
        assert_eq!(keys.open(&SEAT, &sealed).unwrap(), (JSON.to_vec(), true));
        assert_ne!(sealed, keys.seal(&SEAT, JSON).unwrap());
        for other in [
            Seat { revision: 8, ..SEAT },
            Seat { place: ("secrets", "default", "b"), ..SEAT },
            Seat { place: ("secrets", "defaulta", ""), ..SEAT },
        ] {
            assert_eq!(keys.open(&other, &sealed), Err(Unsealable::Forged));
        }
        let mut torn = sealed.clone();
        *torn.last_mut().unwrap() ^= 1;
        assert_eq!(keys.open(&SEAT, &torn), Err(Unsealable::Forged));
        for end in 1..sealed.len() {
            assert!(keys.open(&SEAT, &sealed[..end]).is_err());
        }
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let old = Keyring::default().with_new().unwrap();
        let sealed = old.seal(&SEAT, JSON).unwrap();
        let both = old.with_new().unwrap();
        assert_eq!(both.open(&SEAT, &sealed).unwrap(), (JSON.to_vec(), false));
        let new = both.without_old();
        assert!(matches!(new.open(&SEAT, &sealed), Err(Unsealable::NoKey(_))));
        assert!(both.open(&SEAT, &both.seal(&SEAT, JSON).unwrap()).unwrap().1);
        assert_eq!(both.open(&SEAT, JSON).unwrap(), (JSON.to_vec(), false));
    }

    #[test]
    fn only_secrets_are_sealed() {
        let keys = Keyring::default().with_new().unwrap();
        let seat = Seat { place: ("configmaps", "default", "a"), ..SEAT };
        assert_eq!(keys.seal(&seat, JSON).unwrap(), JSON);
        assert_eq!(keys.open(&seat, JSON).unwrap(), (JSON.to_vec(), true));
        assert_eq!(Keyring::default().seal(&SEAT, JSON).unwrap(), JSON);
    }

    #[test]
    fn the_file_is_its_owner_s_and_reads_back_as_it_was_written() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::beside(&folder.path().join("store"));
        assert!(file.read().unwrap().is_empty());
        let keys = Keyring::default().with_new().unwrap().with_new().unwrap();
        file.write(&keys).unwrap();
        assert_eq!(file.read().unwrap().to_string(), keys.to_string());
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for wrong in ["", "x", "0102 AAAA", "zz02030405060708 AAAA"] {
            fs::write(file.path(), wrong).unwrap();
            assert!(file.read().is_err(), "{wrong}");
        }
    }
}
