//! Connections that the engine makes, with errors in Go's words; and TLS to whoever shows any
//! certificate, as containers do, for which nobody vouches.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The least time for one of several addresses, where there is as much.
const SHARE_MIN: Duration = Duration::from_secs(2);

/// How to connect from somewhere else than the host; blocks.
pub type Dial = Arc<dyn Fn(SocketAddr, Duration) -> io::Result<std::net::TcpStream> + Send + Sync>;

/// A connection by `dial`.
///
/// # Errors
/// Why there is none.
pub async fn tcp_by(
    dial: &Dial,
    address: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, String> {
    let dial = Arc::clone(dial);
    let dialled = tokio::task::spawn_blocking(move || dial(address, limit)).await;
    let stream = dialled
        .unwrap_or_else(|error| Err(error.into()))
        .and_then(|stream| stream.set_nonblocking(true).map(|()| stream))
        .and_then(TcpStream::from_std);
    stream.map_err(|error| refused(address, &error))
}

/// A connection from the host.
///
/// # Errors
/// Why there is none.
pub async fn tcp(address: SocketAddr, limit: Duration) -> Result<TcpStream, String> {
    let late = || Err(ErrorKind::TimedOut.into());
    let connected = timeout(limit, TcpStream::connect(address)).await.unwrap_or_else(|_| late());
    connected.map_err(|error| refused(address, &error))
}

/// A connection from the host to the first of `addresses`, those of one name, that takes it. Each has its
/// share of the time that is left, as with Go's dialler; the error is the first's.
///
/// # Errors
/// Why there is none; nothing when there are no addresses.
pub async fn tcp_to_any(
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<TcpStream, Option<String>> {
    let (began, mut error) = (Instant::now(), None);
    for (address, untried) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let left = limit.saturating_sub(began.elapsed());
        let share = left.div_f64(untried as f64).max(left.min(SHARE_MIN));
        match tcp(*address, share).await {
            Ok(stream) => return Ok(stream),
            Err(refused) => {
                error.get_or_insert(refused);
            }
        }
    }
    Err(error)
}

fn refused(address: SocketAddr, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::TimedOut => return format!("dial tcp {address}: i/o timeout"),
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::HostUnreachable => "no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ if error.raw_os_error().is_none() => return format!("dial tcp {address}: {error}"),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: connect: {why}")
}

/// Trusts any certificate; whoever shows it must have its key.
#[derive(Debug)]
pub(crate) struct Anyone(CryptoProvider);

impl Default for Anyone {
    fn default() -> Self {
        Self(ring::default_provider())
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

static CONFIG: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone::default()))
        .with_no_client_auth();
    Ok(Arc::new(config))
});

/// TLS over a connection, whatever certificate the other end shows.
///
/// # Errors
/// Why there is none.
pub async fn tls(address: SocketAddr, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let config = CONFIG.as_ref().map_err(ToString::to_string)?;
    let connector = TlsConnector::from(Arc::clone(config));
    let name = ServerName::from(address.ip());
    connector.connect(name, stream).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn free() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_name_with_several_addresses_is_reached_at_the_one_that_answers() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = open.local_addr().unwrap();
        let nobody = [free().await, free().await];
        let limit = Duration::from_secs(10);
        let reached = tcp_to_any(&[nobody[0], nobody[1], there], limit).await.unwrap();
        assert_eq!(reached.peer_addr().unwrap(), there);
        let refused = tcp_to_any(&nobody, limit).await.unwrap_err().unwrap();
        assert_eq!(refused, format!("dial tcp {}: connect: connection refused", nobody[0]));
        assert_eq!(tcp_to_any(&[], limit).await.unwrap_err(), None);
    }
}
