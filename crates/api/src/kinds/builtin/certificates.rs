//! certificates.k8s.io/v1.

use super::row::{READ_WRITE, Row as _, cluster, namespaced, version};
use crate::kind::{Kind, NameRule, Subresource};
use crate::print::columns::{AGE, NAME, at, text};
use crate::print::{Cell, cluster};
use crate::resources::{
    CERTIFICATE_SIGNING_REQUESTS, CLUSTER_TRUST_BUNDLES, POD_CERTIFICATE_REQUESTS,
};
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.certificates.v1",
        [certificate_signing_requests(), cluster_trust_bundles(), pod_certificate_requests()],
    )
}

fn certificate_signing_requests() -> Kind {
    cluster("CertificateSigningRequest", CERTIFICATE_SIGNING_REQUESTS)
        .short(&["csr"])
        .sub(Subresource::Approval, READ_WRITE)
        .status()
        .names(NameRule::PathSegment)
        .select(&[("spec.signerName", "/spec/signerName")])
        .validate(validation::certificate_signing_request)
        .validate_create(validation::certificate_signing_request_create)
        .validate_status(validation::certificate_signing_request_status)
        .columns(
            const {
                &[
                    NAME,
                    AGE,
                    at("SignerName", "/spec/signerName"),
                    at("Requestor", "/spec/username"),
                    text("RequestedDuration", Cell::Code(cluster::certificate_duration)),
                    text("Condition", Cell::Code(cluster::certificate_condition)),
                ]
            },
        )
}

fn cluster_trust_bundles() -> Kind {
    cluster("ClusterTrustBundle", CLUSTER_TRUST_BUNDLES)
        .guarded()
        .names(NameRule::PathSegment)
        .select(&[("spec.signerName", "/spec/signerName")])
}

fn pod_certificate_requests() -> Kind {
    namespaced("PodCertificateRequest", POD_CERTIFICATE_REQUESTS).status().guarded().select(&[
        ("spec.signerName", "/spec/signerName"),
        ("spec.podName", "/spec/podName"),
        ("spec.nodeName", "/spec/nodeName"),
    ])
}
