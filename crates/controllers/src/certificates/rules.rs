//! What the signers of a cluster sign.

use std::collections::BTreeSet;

use coracle_api::certificates::{CertificateRequest, NameKind};

/// Clients of the API.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Nodes as clients of the API.
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Nodes as servers.
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Whatever older versions of the API signed.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

const SIGNATURE: &str = "digital signature";
const ENCIPHERMENT: &str = "key encipherment";
const CLIENT_AUTH: &str = "client auth";
const SERVER_AUTH: &str = "server auth";

/// Whether `signer` is one of the cluster's own.
pub(crate) fn is_own_signer(signer: &str) -> bool {
    [CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&signer)
}

/// Whether `signer` is one of the cluster's own, and then what it holds against a request.
pub(super) fn check(
    signer: &str,
    request: &CertificateRequest,
    usages: &[&str],
) -> Option<Result<(), String>> {
    Some(match signer {
        CLIENT => client(usages),
        KUBELET_CLIENT => kubelet_client(request, usages),
        KUBELET_SERVING => kubelet_serving(request, usages),
        LEGACY => Ok(()),
        _ => return None,
    })
}

fn client(usages: &[&str]) -> Result<(), String> {
    let allowed = [SIGNATURE, ENCIPHERMENT, CLIENT_AUTH];
    if let Some(other) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    match usages.contains(&CLIENT_AUTH) {
        true => Ok(()),
        false => Err(format!("missing required usage for client certificate: {CLIENT_AUTH}")),
    }
}

/// Whether it is what a kubelet asks for to be a client.
pub(super) fn kubelet_client(request: &CertificateRequest, usages: &[&str]) -> Result<(), String> {
    of_nodes(request)?;
    let forbidden = [NameKind::Dns, NameKind::Email, NameKind::Ip, NameKind::Uri];
    forbidden.into_iter().try_for_each(|kind| without(request, kind))?;
    of_a_node(request)?;
    exactly(CLIENT_AUTH, usages)
}

fn kubelet_serving(request: &CertificateRequest, usages: &[&str]) -> Result<(), String> {
    of_nodes(request)?;
    if !request.has_name(NameKind::Dns) && !request.has_name(NameKind::Ip) {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    [NameKind::Email, NameKind::Uri].into_iter().try_for_each(|kind| without(request, kind))?;
    exactly(SERVER_AUTH, usages)?;
    of_a_node(request)
}

fn of_nodes(request: &CertificateRequest) -> Result<(), String> {
    match request.organizations.as_slice() {
        [only] if only == "system:nodes" => Ok(()),
        _ => Err("subject organization is not system:nodes".to_owned()),
    }
}

fn of_a_node(request: &CertificateRequest) -> Result<(), String> {
    match request.common_name.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".to_owned()),
    }
}

fn without(request: &CertificateRequest, kind: NameKind) -> Result<(), String> {
    let name = match kind {
        NameKind::Dns => "DNS",
        NameKind::Email => "Email",
        NameKind::Ip => "IP",
        NameKind::Uri => "URI",
    };
    match request.has_name(kind) {
        true => Err(format!("{name} subjectAltNames are not allowed")),
        false => Ok(()),
    }
}

/// To sign and to authenticate, and for keys of RSA to encipher.
fn exactly(purpose: &str, usages: &[&str]) -> Result<(), String> {
    let asked: BTreeSet<&str> = usages.iter().copied().collect();
    let without_rsa = BTreeSet::from([SIGNATURE, purpose]);
    let with_rsa = BTreeSet::from([SIGNATURE, ENCIPHERMENT, purpose]);
    if asked == without_rsa || asked == with_rsa {
        return Ok(());
    }
    let all: Vec<&str> = with_rsa.into_iter().collect();
    Err(format!("usages did not match [{}]", all.join(" ")))
}
