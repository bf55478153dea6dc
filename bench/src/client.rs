//! A client of the API as light as it gets: one connection, HTTP/1.1 over TLS, one request at a time.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Failure;

/// Where the API is, and how to be its administrator.
#[derive(Clone)]
pub struct Access {
    address: String,
    tls: TlsConnector,
}

impl Access {
    /// The API at `address` (host and port); `pems` holds ca.pem, cert.pem and key.pem.
    pub fn new(address: &str, pems: &Path) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(pems.join("ca.pem"))? {
            roots.add(certificate?)?;
        }
        let certificates =
            CertificateDer::pem_file_iter(pems.join("cert.pem"))?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(pems.join("key.pem"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates, key)?;
        Ok(Self { address: address.to_owned(), tls: TlsConnector::from(Arc::new(config)) })
    }

    /// A connection.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client { sender: self.sender().await?, access: self.clone() })
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let host = self.address.split(':').next().unwrap_or_default().to_owned();
        let stream = self.tls.connect(ServerName::try_from(host)?, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// One connection at a time.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    access: Access,
}

impl Client {
    /// The answer to a request, its body still to be read; an error unless it is a success.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.access.address)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))?;
        if self.sender.ready().await.is_err() {
            // The server closes a connection on which nothing was asked for a while.
            self.sender = self.access.sender().await?;
        }
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.into_body().collect().await?.to_bytes();
        Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&text)).into())
    }

    /// As `send`, with the body.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, Failure> {
        Ok(self.send(method, path, body).await?.into_body().collect().await?.to_bytes())
    }

    /// The length of an answer that is read and thrown away, as a fast client would parse it.
    pub async fn length(&mut self, path: &str) -> Result<usize, Failure> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        debug_assert_eq!(response.status(), StatusCode::OK);
        let (mut body, mut length) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }
}
