//! A client of the API as light as it gets: one connection over TLS, HTTP/1.1 with one request at a
//! time or HTTP/2 with many.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::client::conn::http2;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;

/// Where the API is, and how to be its administrator.
#[derive(Clone)]
pub struct Access {
    address: String,
    tls: TlsConnector,
    /// That offers HTTP/2.
    shared_tls: TlsConnector,
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
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates, key)?;
        let tls = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let shared_tls = TlsConnector::from(Arc::new(config));
        Ok(Self { address: address.to_owned(), tls, shared_tls })
    }

    /// A connection.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client { sender: self.sender().await?, access: self.clone() })
    }

    /// A connection for many requests at once.
    pub async fn shared(&self) -> Result<Shared, Failure> {
        let stream = TokioIo::new(self.stream(&self.shared_tls).await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        Ok(Shared { sender, address: self.address.clone() })
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let (sender, connection) = handshake(TokioIo::new(self.stream(&self.tls).await?)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn stream(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let host = self.address.split(':').next().unwrap_or_default().to_owned();
        Ok(tls.connect(ServerName::try_from(host)?, stream).await?)
    }
}

/// A connection that many requests share.
pub struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    address: String,
}

impl Shared {
    /// What comes in answer to a GET; an error unless it is a success.
    pub async fn get(&mut self, path: &str) -> Result<Incoming, Failure> {
        let uri = format!("https://{}{path}", self.address);
        let request = Request::get(uri).body(Full::default())?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        match response.status() {
            status if status.is_success() => Ok(response.into_body()),
            status => Err(format!("{path}: {status}").into()),
        }
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
