//! A server on loopback and a client that sends what it likes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Timestamp, Verb};
use coracle_server::pki::{self, Identity};
use coracle_server::{
    Api, Body, Cluster, Kinds, Options, Pki, Request, Server, System, User, bootstrap,
};
use coracle_store::Store;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use redb::backends::InMemoryBackend;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A running server.
pub struct Running {
    pub api: Api,
    pub server: Arc<Server>,
    pub address: SocketAddr,
    pub pki: Pki,
    pub stop: oneshot::Sender<()>,
    pub served: JoinHandle<std::io::Result<()>>,
    pub directory: tempfile::TempDir,
}

pub async fn start() -> Running {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_on(InMemoryBackend::new()).unwrap();
    let api = Api::new(store, Kinds::builtin(), Cluster::default(), Arc::new(System));
    let pki = Pki::open(directory.path(), Timestamp::now()).unwrap();
    let tokens = Arc::new(pki.tokens().unwrap());
    api.set_tokens(Arc::clone(&tokens));
    let kind = Arc::clone(api.kinds().resource("", "v1", "namespaces").unwrap());
    for name in ["default", "kube-system"] {
        let namespace = Request {
            user: User::system("test"),
            verb: Verb::Create,
            kind: Arc::clone(&kind),
            namespace: String::new(),
            name: String::new(),
            subresource: None,
            options: Options::default(),
            body: Body::Object(json!({"metadata": {"name": name}})),
        };
        api.call(namespace).await.unwrap();
    }
    bootstrap::bootstrap(&api).await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let tls = pki.server_config(&pki::server_names("cluster.local")).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(api.clone(), tokens);
    let serving = Arc::clone(&server);
    let served = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        serving.serve(vec![listener], tls, stopped).await
    });
    Running { api, server, address, pki, stop, served, directory }
}

impl Running {
    pub fn admin(&self) -> Identity {
        self.pki.client("admin", &["system:masters"]).unwrap()
    }

    /// A connection, as whoever `identity` is.
    pub async fn connect(&self, identity: Option<Identity>) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pki.authority().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain =
                    vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// As [`Running::connect`], for requests.
    pub async fn speak(&self, identity: Option<Identity>) -> http1::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(identity).await);
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender
    }

    pub async fn ask(
        &self,
        identity: Option<Identity>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> http::Response<Incoming> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::from(body.to_vec()))
            .unwrap();
        self.speak(identity).await.send_request(request).await.unwrap()
    }
}

pub async fn text(response: http::Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub async fn status(response: http::Response<Incoming>) -> (u16, String) {
    let code = response.status().as_u16();
    let status: Value = serde_json::from_str(&text(response).await).unwrap();
    (code, status["message"].as_str().unwrap_or_default().to_owned())
}
