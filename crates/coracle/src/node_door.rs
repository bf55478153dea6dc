//! The node's port, as kubelets have it: on the node's own address, which no other cluster has.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Timestamp;
use coracle_network::{ClusterLink, Kernel};
use coracle_node::KUBELET_PORT;
use coracle_server::pki::{PkiError, Serving};
use coracle_server::{Pki, Server};
use tokio::task::JoinHandle;

/// Between two attempts to have the port: a pod in the node's network may have taken it.
const AGAIN: Duration = Duration::from_secs(10);
/// How often the age of the certificate is looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(12 * 60 * 60);

/// Serves the node called `name` on its port, for as long as the engine runs.
///
/// # Errors
/// When there is no certificate.
pub fn serve(
    name: &'static str,
    server: &Arc<Server>,
    pki: &Arc<Pki>,
    kernel: &Arc<dyn Kernel>,
    link: &ClusterLink,
) -> Result<JoinHandle<Infallible>, PkiError> {
    let (tls, certificate) = pki.serving_node(name, link.node_ip.into())?;
    let address = SocketAddr::new(link.node_ip.into(), KUBELET_PORT);
    let (server, pki, kernel) = (Arc::clone(server), Arc::clone(pki), Arc::clone(kernel));
    let serving = async move {
        let mut told = String::new();
        loop {
            let kernel = Arc::clone(&kernel);
            let listening = tokio::task::spawn_blocking(move || kernel.listen_tcp(address)).await;
            let ended = match listening {
                Ok(Ok(listener)) => server.serve_node(name, listener, Arc::clone(&tls)).await,
                Ok(Err(error)) => Err(std::io::Error::other(error)),
                Err(error) => Err(error.into()),
            };
            let why = ended.err().map(|error| error.to_string()).unwrap_or_default();
            // A pod may have the port for weeks.
            if !why.is_empty() && why != told {
                tracing::warn!("the node is not served on its port: {why}");
            }
            told = why;
            tokio::time::sleep(AGAIN).await;
        }
    };
    Ok(tokio::spawn(async move {
        tokio::select! {
            never = serving => never,
            never = renew(&pki, &certificate) => never,
        }
    }))
}

async fn renew(pki: &Pki, certificate: &Serving) -> Infallible {
    loop {
        tokio::time::sleep(CERTIFICATE_LOOK).await;
        if let Err(error) = pki.renew(certificate, Timestamp::now()) {
            tracing::error!(%error, "the node's certificate stays as it is");
        }
    }
}
