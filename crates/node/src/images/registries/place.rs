//! Registries and endpoints as people write them.

use std::borrow::Borrow;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use reqwest::Url;

use super::super::reference::is_registry;

/// A registry or host, with its port if it has one; or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RegistryName(String);

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for super::Checked<RegistryName> {
    fn borrow(&self) -> &str {
        &self.0.0
    }
}

impl FromStr for RegistryName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text == "*" || is_registry(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "{text:?} is no registry: write it as in the names of images, for example \
                 registry.example.com:5000, or \"*\" for all others"
            )),
        }
    }
}

/// Where a registry's API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    scheme: &'static str,
    pub host: String,
    path: String,
}

impl Place {
    /// The host with the scheme that is usual there.
    pub fn bare(host: &str) -> Self {
        let scheme = if is_local(host) { "http" } else { "https" };
        Self { scheme, host: host.to_owned(), path: "/v2".to_owned() }
    }

    pub fn base(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }
}

/// Registries on this machine are spoken to without TLS, as other engines do.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What stands before an @ is a password, and the sentence comes into events.
        let shown = text.rsplit_once('@').map_or(text, |(_, place)| place);
        let refused = || {
            format!("{shown:?} is no endpoint: write for example https://mirror.example.com:5000")
        };
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => {
                format!("{}://{text}", Self::bare(text.split('/').next().unwrap_or(text)).scheme)
            }
        };
        let url = Url::parse(&whole).map_err(|_| refused())?;
        let scheme = match url.scheme() {
            "http" => "http",
            "https" => "https",
            _ => return Err(refused()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "{}: credentials belong below configs",
                url.host_str().unwrap_or("?")
            ));
        }
        // The usual port counts where it was written: it is then in the name below configs too.
        let written = whole.split('/').nth(2).unwrap_or_default();
        let usual = url.port_or_known_default().filter(|it| written.ends_with(&format!(":{it}")));
        let host = match (url.host_str(), url.port().or(usual)) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(refused()),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused());
        }
        let path = match url.path().trim_end_matches('/') {
            "" => "/v2".to_owned(),
            path => path.to_owned(),
        };
        Ok(Self { scheme, host, path })
    }
}
