//! What users, nodes and other signers do with CertificateSigningRequests.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources::{
    CERTIFICATE_SIGNING_REQUESTS as REQUESTS, CLUSTER_ROLE_BINDINGS as BINDINGS,
};
use coracle_api::{Object, Verb};
use coracle_server::{Api, Body};
use serde_json::{Value, json};

use super::{NAMES, Users, any};
use crate::checks::FITS;
use crate::client::{self, Place};
use crate::outside::certificate;
use crate::random::Random;

/// Requests in PEM: of a node as a client and as a server, and of a user.
const OF_CLIENT: &str = include_str!("requests/node_client.pem");
const OF_SERVER: &str = include_str!("requests/node_server.pem");
const OF_USER: &str = include_str!("requests/user.pem");

/// Who asks for what of whom, and whether that signer signs it.
const ASKED: [(&str, &str, &str, &[&str], bool); 6] = [
    (NODE, OF_CLIENT, "kubernetes.io/kube-apiserver-client-kubelet", CLIENT, true),
    (NODE, OF_USER, "kubernetes.io/kube-apiserver-client-kubelet", CLIENT, false),
    (NODE, OF_SERVER, "kubernetes.io/kubelet-serving", SERVER, true),
    (super::USER, OF_USER, "kubernetes.io/kube-apiserver-client", CLIENT, true),
    (super::USER, OF_USER, "kubernetes.io/kube-apiserver-client", SERVER, false),
    (super::USER, OF_USER, "example.com/signer", CLIENT, false),
];
const NODE: &str = "system:node:node-1";
const CLIENT: &[&str] = &["digital signature", "client auth"];
const SERVER: &[&str] = &["digital signature", "server auth"];

/// Lets nodes have their own requests approved.
const TRUST: &str = "trust-nodes";

impl Users {
    pub(super) fn ask_for_certificate(&mut self, api: &Api, random: &mut Random) {
        let (who, request, signer, usages, fits) = *random.pick(&ASKED);
        let name = *random.pick(&NAMES);
        let object = json!({
            "metadata": {"name": name, "labels": {FITS: fits.to_string()}},
            "spec": {
                "request": STANDARD.encode(request), "signerName": signer, "usages": usages,
                "expirationSeconds": *random.pick(&[None, Some(600), Some(86_400)]),
            },
        });
        let place = Place { resource: REQUESTS, namespace: "", name: "", subresource: "" };
        let done = client::call(api, who, Verb::Create, &place, Body::Object(object));
        let came = done.as_ref().map_or_else(|error| error.message.as_str(), |_| "done");
        self.said.push(format!("asks {signer} for {name}, which fits: {fits}: {came}"));
    }

    pub(super) fn approve(&mut self, api: &Api, random: &mut Random) {
        self.decide(api, "Approved", random);
    }

    pub(super) fn deny(&mut self, api: &Api, random: &mut Random) {
        self.decide(api, "Denied", random);
    }

    fn decide(&mut self, api: &Api, what: &str, random: &mut Random) {
        let Some(request) = any(api, REQUESTS, random) else { return };
        let condition = json!({"type": what, "status": "True", "reason": "ByHand"});
        self.patch(api, &request, "approval", &with_condition(&request, condition));
    }

    /// A signer that is not the cluster's, or somebody who takes himself for the cluster's.
    pub(super) fn sign_by_hand(&mut self, api: &Api, random: &mut Random) {
        let Some(request) = any(api, REQUESTS, random) else { return };
        let patch = match random.one_in(3) {
            true => with_condition(&request, json!({"type": "Failed", "status": "True"})),
            false => {
                let asked = request.str_at("/spec/request").unwrap_or_default();
                json!({"status": {"certificate": STANDARD.encode(certificate(asked))}})
            }
        };
        self.patch(api, &request, "status", &patch);
    }

    /// Nodes may have their requests approved, or not any more.
    pub(super) fn trust_nodes(&mut self, api: &Api, _: &mut Random) {
        if let Some(binding) = api.snapshot().find(BINDINGS, "", TRUST).cloned() {
            return self.delete(api, &binding, json!({}));
        }
        let group = "rbac.authorization.k8s.io";
        let role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
        let binding = json!({
            "metadata": {"name": TRUST},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:nodes"}],
        });
        self.create_in(api, BINDINGS, "", &binding);
    }

    pub(super) fn delete_request(&mut self, api: &Api, random: &mut Random) {
        let Some(request) = any(api, REQUESTS, random) else { return };
        self.delete(api, &request, json!({}));
    }
}

fn with_condition(request: &Arc<Object>, condition: Value) -> Value {
    let known = request.value()["status"]["conditions"].as_array().cloned();
    let mut all = known.unwrap_or_default();
    all.push(condition);
    json!({"status": {"conditions": all}})
}
