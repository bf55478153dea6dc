use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::certificates::{self, CertificateRequest, NameKind};
use coracle_api::der::{OBJECT_ID, OCTET_STRING, SEQUENCE, SET, element};
use coracle_api::resources::CERTIFICATE_SIGNING_REQUESTS as REQUESTS;
use coracle_api::{Status, time};
use serde_json::{Value, json};

use super::rules;
use crate::world::World;

const NAMES: &[&str] = &[
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-signing-controller",
    "certificatesigningrequest-cleaner-controller",
];
const KUBELET: [&str; 3] = ["client auth", "digital signature", "key encipherment"];
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// A request in DER, with a signature of nothing; other names by tag.
fn request(name: &str, groups: &[&str], others: &[(u8, &[u8])]) -> Vec<u8> {
    let attribute = |id: u8, text: &str| {
        let id = element(OBJECT_ID, &[&[0x55, 0x04, id]]);
        element(SET, &[&element(SEQUENCE, &[&id, &element(0x0c, &[text.as_bytes()])])])
    };
    let groups: Vec<Vec<u8>> = groups.iter().map(|group| attribute(0x0a, group)).collect();
    let subject = element(SEQUENCE, &[&attribute(0x03, name), &groups.concat()]);
    let others: Vec<Vec<u8>> = others.iter().map(|(tag, value)| element(*tag, &[value])).collect();
    let names = element(OCTET_STRING, &[&element(SEQUENCE, &[&others.concat()])]);
    let extension =
        element(SEQUENCE, &[&element(OBJECT_ID, &[certificates::ALTERNATIVE_NAMES]), &names]);
    let asked = element(OBJECT_ID, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]]);
    let extensions = element(SET, &[&element(SEQUENCE, &[&extension])]);
    let attributes = match others.is_empty() {
        true => element(0xa0, &[]),
        false => element(0xa0, &[&element(SEQUENCE, &[&asked, &extensions])]),
    };
    let information =
        element(SEQUENCE, &[&[2, 1, 0], &subject, &element(SEQUENCE, &[]), &attributes]);
    element(SEQUENCE, &[&information, &element(SEQUENCE, &[]), &[3, 1, 0]])
}

fn create(world: &mut World, signer: &str, usages: &[&str], der: &[u8], more: Value) {
    let pem = certificates::to_pem(der, certificates::REQUEST);
    let mut spec = json!({
        "request": STANDARD.encode(pem), "signerName": signer, "usages": usages,
        "username": "system:node:node-1", "groups": ["system:nodes"],
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    world.create(json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "csr"}, "spec": spec,
    }));
    world.settle(NAMES);
}

fn decide(world: &mut World, of: &str) {
    let mut value = world.get(REQUESTS, "csr").value().clone();
    let now = crate::rfc3339(world.now);
    value["status"]["conditions"] = json!([{"type": of, "status": "True", "lastUpdateTime": now}]);
    world.replace(value);
    world.settle(NAMES);
}

fn status(world: &World) -> Value {
    world.get(REQUESTS, "csr").value()["status"].clone()
}

fn pass(world: &mut World, seconds: i64) {
    world.pass(seconds, NAMES);
}

#[test]
fn a_request_is_read_as_it_is_written() {
    let der = request("anna", &["a", "b"], &[(0x82, b"x.y"), (0x87, &[10, 0, 0, 1]), (0x88, &[1])]);
    let read = CertificateRequest::from_der(&der).unwrap();
    assert_eq!(
        (read.common_name.as_str(), read.organizations),
        ("anna", vec!["a".into(), "b".into()])
    );
    let kinds: Vec<_> = read.names.iter().map(|name| name.kind).collect();
    assert_eq!(kinds, [NameKind::Dns, NameKind::Ip]);
    (0..der.len()).for_each(|end| assert_eq!(CertificateRequest::from_der(&der[..end]), None));
}

#[test]
fn a_kubelets_own_request_is_approved_and_signed() {
    for (right, name, message) in [
        (
            "\"selfnodeclient\"",
            "node-1",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ),
        (
            "\"nodeclient\"",
            "node-2",
            "Auto approving kubelet client certificate after SubjectAccessReview.",
        ),
    ] {
        let mut world = World::new();
        world.allowed.push(right);
        let der = request(&format!("system:node:{name}"), &["system:nodes"], &[]);
        create(&mut world, KUBELET_CLIENT, &KUBELET, &der, json!({}));
        let status = status(&world);
        assert_eq!(status["conditions"][0]["reason"], "AutoApproved");
        assert_eq!(status["conditions"][0]["message"], message);
        assert!(status["certificate"].is_string(), "{status}");
    }
}

#[test]
fn nothing_else_is_approved_by_rule() {
    let nodes: &[&str] = &["system:nodes"];
    let dns: &[(u8, &[u8])] = &[(0x82, b"x")];
    let cases = [
        (CLIENT, request("system:node:node-1", nodes, &[]), &KUBELET[..]),
        (KUBELET_CLIENT, request("anna", nodes, &[]), &KUBELET[..]),
        (
            KUBELET_CLIENT,
            request("system:node:node-1", &["system:nodes", "system:masters"], &[]),
            &KUBELET[..],
        ),
        (KUBELET_CLIENT, request("system:node:node-1", nodes, dns), &KUBELET[..]),
        (KUBELET_CLIENT, request("system:node:node-1", nodes, &[]), &["server auth"][..]),
    ];
    for (signer, der, usages) in cases {
        let mut world = World::new();
        world.allowed.push("nodeclient");
        create(&mut world, signer, usages, &der, json!({}));
        assert_eq!((status(&world), world.asked), (Value::Null, 0), "{signer} {usages:?}");
    }
    // Fit, and without the right: looked at again.
    let mut world = World::new();
    create(
        &mut world,
        KUBELET_CLIENT,
        &KUBELET,
        &request("system:node:node-1", nodes, &[]),
        json!({}),
    );
    assert_eq!(status(&world), Value::Null);
    let key = world.get(REQUESTS, "csr").key().clone();
    let because = world.decide(&super::APPROVER, &key).because.unwrap().sentence;
    assert_eq!(
        because,
        "recognized csr \"csr\" as [selfnodeclient nodeclient] but subject access review was not approved"
    );
    world.allowed.push("nodeclient");
    pass(&mut world, 60);
    assert!(status(&world)["certificate"].is_string());
}

fn asked(signer: &str, usages: &[&str], der: &[u8]) -> String {
    let request = CertificateRequest::from_der(der).unwrap();
    match rules::check(signer, &request, usages) {
        None => "another's".to_owned(),
        Some(checked) => checked.err().unwrap_or_default(),
    }
}

#[test]
fn each_signer_signs_what_is_its_own() {
    let nodes: &[&str] = &["system:nodes"];
    let node = request("system:node:a", nodes, &[]);
    let served = request("system:node:a", nodes, &[(0x87, &[10, 0, 0, 1])]);
    let with = |tag: u8| request("system:node:a", nodes, &[(0x82, b"a"), (tag, b"b")]);
    let usages = ["digital signature", "client auth"];
    let serving = ["digital signature", "server auth"];
    assert_eq!(asked(CLIENT, &["client auth"], &node), "");
    assert_eq!(asked(CLIENT, &KUBELET, &request("anna", &[], &[])), "");
    assert_eq!(
        asked(CLIENT, &["server auth"], &node),
        "invalid usage for client certificate: server auth"
    );
    let missing = "missing required usage for client certificate: client auth";
    assert_eq!(asked(CLIENT, &["key encipherment"], &node), missing);
    assert_eq!(asked(KUBELET_CLIENT, &usages, &node), "");
    assert_eq!(
        asked(KUBELET_CLIENT, &usages, &request("system:node:a", &[], &[])),
        "subject organization is not system:nodes"
    );
    assert_eq!(
        asked(KUBELET_CLIENT, &usages, &request("a", nodes, &[])),
        "subject common name does not begin with system:node:"
    );
    for (tag, name) in [(0x82, "DNS"), (0x81, "Email"), (0x87, "IP"), (0x86, "URI")] {
        let other = request("system:node:a", nodes, &[(tag, b"a")]);
        assert_eq!(
            asked(KUBELET_CLIENT, &usages, &other),
            format!("{name} subjectAltNames are not allowed")
        );
    }
    assert_eq!(
        asked(KUBELET_CLIENT, &serving, &node),
        "usages did not match [client auth digital signature key encipherment]"
    );
    assert_eq!(asked(KUBELET_SERVING, &serving, &served), "");
    assert_eq!(asked(KUBELET_SERVING, &serving, &node), "DNS or IP subjectAltName is required");
    assert_eq!(
        asked(KUBELET_SERVING, &serving, &with(0x81)),
        "Email subjectAltNames are not allowed"
    );
    assert_eq!(
        asked(KUBELET_SERVING, &serving, &with(0x86)),
        "URI subjectAltNames are not allowed"
    );
    assert_eq!(
        asked(KUBELET_SERVING, &usages, &served),
        "usages did not match [digital signature key encipherment server auth]"
    );
    assert_eq!(asked("kubernetes.io/legacy-unknown", &["any"], &node), "");
    assert_eq!(asked("example.com/mine", &["any"], &node), "another's");
}

#[test]
fn only_what_was_approved_is_signed_and_what_is_unfit_fails() {
    let der = request("anna", &["staff"], &[]);
    let mut world = World::new();
    create(&mut world, CLIENT, &["client auth"], &der, json!({}));
    assert_eq!(status(&world), Value::Null);
    decide(&mut world, "Denied");
    assert!(status(&world)["certificate"].is_null());

    let mut unfit = World::new();
    create(&mut unfit, CLIENT, &["server auth"], &der, json!({}));
    decide(&mut unfit, "Approved");
    let failed = &status(&unfit)["conditions"][1];
    assert_eq!((&failed["type"], &failed["status"]), (&json!("Failed"), &json!("True")));
    assert_eq!(failed["reason"], "SignerValidationFailure");
    assert_eq!(failed["message"], "invalid usage for client certificate: server auth");
    assert_eq!(unfit.asked, 0);

    let mut foreign = World::new();
    create(&mut foreign, "example.com/mine", &["any"], &der, json!({}));
    decide(&mut foreign, "Approved");
    assert!(status(&foreign)["certificate"].is_null() && foreign.asked == 0);
}

#[test]
fn a_certificate_lives_as_long_as_is_asked_within_bounds() {
    let cases = [
        (json!(null), 365 * 86_400 - 300),
        (json!(600), 600),
        (json!(1), 600),
        (json!(8 * 3600 - 1), 8 * 3600 - 1),
        (json!(8 * 3600), 8 * 3600 - 300),
        (json!(i32::MAX), 365 * 86_400 - 300),
    ];
    for (seconds, life) in cases {
        let mut world = World::new();
        let der = request("anna", &[], &[]);
        create(&mut world, CLIENT, &["client auth"], &der, json!({"expirationSeconds": seconds}));
        decide(&mut world, "Approved");
        let now = world.now.as_second();
        let signed = STANDARD.decode(status(&world)["certificate"].as_str().unwrap()).unwrap();
        assert_eq!(String::from_utf8(signed).unwrap(), format!("{} {}", now - 300, now + life));
    }
}

#[test]
fn a_signature_that_cannot_be_made_now_is_asked_for_again() {
    let mut world = World::new();
    world.signs = Err(Status::internal("the disk is gone"));
    create(&mut world, CLIENT, &["client auth"], &request("anna", &[], &[]), json!({}));
    decide(&mut world, "Approved");
    assert_eq!(status(&world)["conditions"].as_array().unwrap().len(), 1);
    world.signs = Ok(());
    pass(&mut world, 60);
    assert!(status(&world)["certificate"].is_string());

    let mut forged = World::new();
    forged.signs = Err(Status::bad_request("not its key"));
    create(&mut forged, CLIENT, &["client auth"], &request("anna", &[], &[]), json!({}));
    decide(&mut forged, "Approved");
    assert_eq!(status(&forged)["conditions"][1]["message"], "not its key");
}

#[test]
fn requests_go_when_nobody_needs_them() {
    let hour = 3600;
    let cases = [
        ("", "example.com/a", 24 * hour),
        ("Denied", "example.com/a", hour),
        ("Failed", "example.com/a", hour),
        ("Approved", "example.com/a", 24 * hour),
        // Issued by the cluster's own.
        ("Approved", CLIENT, hour),
    ];
    for (decision, signer, seconds) in cases {
        let mut world = World::new();
        create(&mut world, signer, &["client auth"], &request("anna", &[], &[]), json!({}));
        if !decision.is_empty() {
            decide(&mut world, decision);
        }
        pass(&mut world, seconds - 1);
        assert!(world.find(REQUESTS, "csr").is_some(), "{decision} {signer}");
        pass(&mut world, 1);
        assert!(world.find(REQUESTS, "csr").is_none(), "{decision} {signer}");
    }
}

#[test]
fn a_request_whose_certificate_is_over_goes_at_once() {
    let mut world = World::new();
    create(&mut world, "example.com/a", &["any"], &request("anna", &[], &[]), json!({}));
    let end = element(0x17, &[b"260101003000Z"]);
    let validity = element(SEQUENCE, &[&end, &end]);
    let empty = element(SEQUENCE, &[]);
    let signed = element(SEQUENCE, &[&[2, 1, 1], &empty, &empty, &validity, &empty]);
    let pem =
        certificates::to_pem(&element(SEQUENCE, &[&signed, &empty]), certificates::CERTIFICATE);
    let mut value = world.get(REQUESTS, "csr").value().clone();
    value["status"] = json!({"certificate": STANDARD.encode(pem)});
    world.replace(value);
    world.settle(NAMES);
    pass(&mut world, 1799);
    assert!(world.find(REQUESTS, "csr").is_some());
    assert_eq!(time::after(world.now, 1).to_string(), "2026-01-01T00:30:00Z");
    pass(&mut world, 1);
    assert!(world.find(REQUESTS, "csr").is_none());
}
