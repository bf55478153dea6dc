//! As whom a registry is spoken to, and whom it must prove to be.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Client, Identity};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

const CONNECT_WITHIN: Duration = Duration::from_secs(30);
const READ_WITHIN: Duration = Duration::from_secs(60);

/// As whom a host is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Auth {
    /// With name and password.
    Login { username: String, password: String },
    /// With a token that the host gives others for.
    Identity(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login { .. } => "a login",
            Self::Identity(_) => "an identity token",
        })
    }
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = Auth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("username and password, auth, or identity_token")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Auth, A::Error> {
                let fields = AuthFields::deserialize(MapAccessDeserializer::new(map))?;
                Auth::try_from(fields).map_err(A::Error::custom)
            }

            // The usual words would quote it, and they come into the events of pods.
            fn visit_str<E: Error>(self, _: &str) -> Result<Auth, E> {
                Err(E::custom("auth: username and password, or auth, belong below it"))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuthFields {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    identity_token: Option<String>,
}

impl TryFrom<AuthFields> for Auth {
    type Error = String;

    fn try_from(fields: AuthFields) -> Result<Self, String> {
        let AuthFields { username, password, auth, identity_token } = fields;
        match (username, password, auth, identity_token) {
            (Some(username), Some(password), None, None) => Ok(Self::Login { username, password }),
            (Some(_), None, None, None) => Err("auth: username without password".to_owned()),
            (None, Some(_), None, None) => Err("auth: password without username".to_owned()),
            (None, None, Some(auth), None) => {
                let (username, password) =
                    login(&auth).ok_or("auth: auth must be base64 of username:password")?;
                Ok(Self::Login { username, password })
            }
            (None, None, None, Some(token)) => Ok(Self::Identity(token)),
            _ => Err("auth: either username and password, or auth, or identity_token".to_owned()),
        }
    }
}

/// Name and password of the base64 form that has both.
pub(super) fn login(auth: &str) -> Option<(String, String)> {
    let bare = auth.trim().trim_end_matches('=');
    let padded = format!("{bare}{}", "=".repeat((4 - bare.len() % 4) % 4));
    let pair = String::from_utf8(STANDARD.decode(padded).ok()?).ok()?;
    let (username, password) = pair.split_once(':')?;
    // Docker once padded passwords with zeros.
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Whom a host must prove to be, and who we prove to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TlsFields")]
pub(super) struct Tls {
    pub ca_file: Option<PathBuf>,
    /// Certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub insecure_skip_verify: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsFields {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    insecure_skip_verify: Option<bool>,
}

impl TryFrom<TlsFields> for Tls {
    type Error = String;

    fn try_from(fields: TlsFields) -> Result<Self, String> {
        let identity = match (fields.cert_file, fields.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("tls: cert_file and key_file belong together".to_owned()),
        };
        let insecure_skip_verify = fields.insecure_skip_verify.unwrap_or_default();
        Ok(Self { ca_file: fields.ca_file, identity, insecure_skip_verify })
    }
}

impl Tls {
    /// All files that it names.
    pub fn files(&mut self) -> [Option<&mut PathBuf>; 3] {
        let (certificate, key) = match &mut self.identity {
            Some((certificate, key)) => (Some(certificate), Some(key)),
            None => (None, None),
        };
        [self.ca_file.as_mut(), certificate, key]
    }
}

/// What speaks with hosts as these files say. Reads them, and the machine's authorities: blocks.
pub(super) fn client(tls: &Tls) -> Result<Client, String> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error says that there is one already, which is as good.
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    });
    let mut builder = Client::builder()
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(READ_WITHIN)
        .tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    let read = |what: &str, path: &Path| {
        std::fs::read(path).map_err(|error| format!("{what}: {}: {error}", path.display()))
    };
    if let Some(path) = &tls.ca_file {
        let pem = read("ca_file", path)?;
        let authorities = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if authorities.is_empty() {
            let path = path.display();
            return Err(format!("ca_file: {path}: it has no certificate in PEM form"));
        }
        builder = builder.tls_certs_merge(authorities);
    }
    if let Some((certificate, key)) = &tls.identity {
        let mut pem = read("cert_file", certificate)?;
        pem.push(b'\n');
        pem.extend(read("key_file", key)?);
        let identity = Identity::from_pem(&pem).map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            let why = chain(&error);
            format!(
                "cert_file {certificate} and key_file {key} are no certificate and its key: {why}"
            )
        })?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| chain(&error))
}

/// An error with what caused it: the outermost says only that a request failed.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
