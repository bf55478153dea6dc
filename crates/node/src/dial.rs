//! Connections to containers, whose certificates nobody vouches for.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use coracle_network::{Kernel, NetworkError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tasks::blocking;

/// How to connect from somewhere else than the host; blocks.
pub(crate) type Dial =
    Arc<dyn Fn(SocketAddr, Duration) -> Result<std::net::TcpStream, NetworkError> + Send + Sync>;

/// From the node's own namespace: what listens on the host's loopback is not there.
pub(crate) fn from_node(kernel: &Arc<dyn Kernel>) -> Dial {
    let kernel = Arc::clone(kernel);
    Arc::new(move |address, limit| kernel.connect_tcp(address, limit))
}

/// A connection by `dial`, or the error in Go's words.
pub(crate) async fn tcp_by(
    dial: &Dial,
    address: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, String> {
    let dial = Arc::clone(dial);
    match blocking(move || dial(address, limit)).await {
        Ok(stream) => {
            let ours = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            ours.map_err(|error| format!("dial tcp {address}: {error}"))
        }
        Err(NetworkError::Connect { source, .. }) if source.kind() == ErrorKind::TimedOut => {
            Err(format!("dial tcp {address}: i/o timeout"))
        }
        Err(NetworkError::Connect { source, .. }) => {
            Err(format!("dial tcp {address}: connect: {}", reason(&source)))
        }
        Err(error) => Err(format!("dial tcp {address}: {error}")),
    }
}

/// A connection from the host, or the error in Go's words.
pub(crate) async fn tcp(address: SocketAddr, limit: Duration) -> Result<TcpStream, String> {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("dial tcp {address}: connect: {}", reason(&error))),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

#[derive(Debug)]
struct Anyone(CryptoProvider);

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
        .with_custom_certificate_verifier(Arc::new(Anyone(ring::default_provider())))
        .with_no_client_auth();
    Ok(Arc::new(config))
});

/// TLS over a connection, whatever certificate the other end shows.
pub(crate) async fn tls(
    address: SocketAddr,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let config = CONFIG.as_ref().map_err(ToString::to_string)?;
    let connector = TlsConnector::from(Arc::clone(config));
    let name = ServerName::from(address.ip());
    connector.connect(name, stream).await.map_err(|error| error.to_string())
}
