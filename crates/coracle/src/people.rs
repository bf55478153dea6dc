//! Kubeconfigs for people and programs beside the administrator: a client certificate that the
//! cluster's authority signs here, without asking the engine.

use coracle_server::Pki;
use coracle_server::pki::PkiError;
use jiff::Timestamp;

use crate::cluster::Cluster;
use crate::kubeconfig::{Access, KubeconfigError};

/// Why there is no kubeconfig for somebody.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The administrator's, which says where the API is, cannot be read.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A certificate could not be signed.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// The kubeconfig of `user` in `groups`, whose context is `USER@CONTEXT`. What they may do is for
/// bindings of roles to say.
///
/// # Errors
/// Where no cluster was started yet, or its authority cannot be read.
pub fn kubeconfig(cluster: &Cluster, user: &str, groups: &[String]) -> Result<String, PeopleError> {
    let paths = cluster.paths();
    let administrator = Access::read(&paths.kubeconfig())?;
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let identity = Pki::open(&paths.pki(), Timestamp::now())?.client(user, &groups)?;
    let context = format!("{user}@{}", cluster.context());
    Ok(administrator.of_another(context, &identity.certificate, &identity.key).text())
}
