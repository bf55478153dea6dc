//! Connections to such servers, with TLS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::tls::{self, Trust};
use crate::dial::{self, Dial};

/// How many bundles are remembered as they were read.
const BUNDLES_MAX: usize = 256;
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;

/// Whom a connection is to: where, under which name, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) address: Address,
    pub(crate) name: String,
    pub(crate) trust: Trust,
}

/// Makes connections.
pub(crate) struct Connector {
    dial: Dial,
    /// What it shows whoever asks who is there.
    identity: Option<Arc<dyn ResolvesClientCert>>,
    bundles: Mutex<BTreeMap<Trust, Arc<ClientConfig>>>,
}

impl Connector {
    /// `dial` is for connections inside the cluster.
    pub(crate) fn new(dial: Dial, identity: Option<Arc<dyn ResolvesClientCert>>) -> Self {
        Self { dial, identity, bundles: Mutex::default() }
    }

    /// A connection to `place`.
    ///
    /// # Errors
    /// Why there is none, in Go's words.
    pub(crate) async fn connect(
        &self,
        place: &Place,
        config: Arc<ClientConfig>,
        limit: Duration,
    ) -> Result<TlsStream<TcpStream>, String> {
        let stream = self.dialled(&place.address, limit).await?;
        let name = ServerName::try_from(place.name.clone()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(config);
        connector.connect(name, stream).await.map_err(|error| tls::words(&error))
    }

    async fn dialled(&self, address: &Address, limit: Duration) -> Result<TcpStream, String> {
        let stream = match address {
            Address::Host(name, port) => {
                let missing = || format!("dial tcp: lookup {name}: no such host");
                let found = tokio::net::lookup_host((name.as_str(), *port)).await;
                let found: Vec<_> = found.into_iter().flatten().take(ADDRESSES_MAX).collect();
                dial::tcp_to_any(&found, limit).await.map_err(|why| why.unwrap_or_else(missing))?
            }
            Address::Cluster(address, _) => dial::tcp_by(&self.dial, *address, limit).await?,
        };
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(stream)
    }

    /// How to talk TLS to whom `trust` trusts.
    ///
    /// # Errors
    /// When it is no bundle.
    pub(crate) fn config(&self, trust: &Trust) -> Result<Arc<ClientConfig>, String> {
        let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = bundles.get(trust) {
            return Ok(Arc::clone(known));
        }
        let config = tls::config(trust, self.identity.clone())?;
        if bundles.len() >= BUNDLES_MAX {
            bundles.clear();
        }
        bundles.insert(trust.clone(), Arc::clone(&config));
        Ok(config)
    }
}
