"""Certificate requests, as openssl makes them: approved with kubectl, signed by the cluster."""

import base64
import json

from cluster import eventually

REQUEST = """
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: {name}}}
spec:
  request: {request}
  signerName: kubernetes.io/{signer}
  expirationSeconds: {seconds}
  usages: [{usages}]
"""


def ask(cluster, directory, name, subject, key=("-newkey", "rsa:2048"), signer="kube-apiserver-client",
        seconds=3600, usages="client auth, digital signature"):
    """Have openssl make a key and a request, and send that; give the files of key and certificate."""
    private, request = directory / f"{name}.key", directory / f"{name}.csr"
    cluster.run("openssl", "req", "-new", *key, "-nodes", "-keyout", private, "-out", request,
                "-subj", subject)
    encoded = base64.b64encode(request.read_bytes()).decode()
    cluster.kubectl("apply", "-f", "-", input=REQUEST.format(
        name=name, request=encoded, signer=signer, seconds=seconds, usages=usages))
    return private, directory / f"{name}.crt"


def issued(cluster, name, path):
    """Wait for the certificate of a request and write it down."""
    def certificate():
        return cluster.get("csr", name)["status"].get("certificate")
    path.write_bytes(base64.b64decode(eventually(certificate, f"{name} is issued")))


def as_client(cluster, private, certificate, *arguments, **options):
    return cluster.kubectl_process(
        "--user", "nobody-else", f"--client-key={private}", f"--client-certificate={certificate}",
        *arguments, **options)


def test_an_approved_request_is_a_client_with_its_groups(cluster, namespace, tmp_path):
    private, certificate = ask(cluster, tmp_path, "anna", "/CN=anna/O=dev/O=ops")
    table = cluster.kubectl("get", "csr", "anna")
    assert "kubernetes.io/kube-apiserver-client" in table and "60m" in table and "Pending" in table
    why = cluster.coracle("why", "csr", "anna").stdout
    assert "it waits for approval: `kubectl certificate approve anna`" in why, why
    cluster.kubectl("certificate", "approve", "anna")
    issued(cluster, "anna", certificate)
    assert "Approved,Issued" in cluster.kubectl("get", "csr", "anna")

    shown = cluster.run("openssl", "x509", "-in", certificate, "-noout", "-text").stdout
    assert "CA:FALSE" in shown and "TLS Web Client Authentication" in shown, shown
    authority = tmp_path / "ca.crt"
    root = cluster.get("configmap", "kube-root-ca.crt", "-n", namespace)
    authority.write_text(root["data"]["ca.crt"])
    cluster.run("openssl", "verify", "-purpose", "sslclient", "-CAfile", authority, certificate)

    config = cluster.kubeconfig.read_text()
    assert "nobody-else" not in config
    cluster.kubectl("config", "set-credentials", "nobody-else")
    try:
        whoami = as_client(cluster, private, certificate, "auth", "whoami", "-o", "json")
        user = json.loads(whoami.stdout)["status"]["userInfo"]
        assert user["username"] == "anna", user
        assert {"dev", "ops", "system:authenticated"} <= set(user["groups"]), user
        refused = as_client(cluster, private, certificate, "get", "pods", "-n", namespace, check=False)
        assert 'User "anna" cannot list resource "pods"' in refused.stderr, refused.stderr
        cluster.kubectl("create", "rolebinding", "ops", "-n", namespace, "--clusterrole=view", "--group=ops")
        as_client(cluster, private, certificate, "get", "pods", "-n", namespace)
    finally:
        cluster.kubeconfig.write_text(config)
        cluster.kubectl("delete", "csr", "anna")


def test_a_denied_or_unfit_request_gets_no_certificate(cluster, tmp_path):
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    ask(cluster, tmp_path, "bob", "/CN=bob", key=curve)
    cluster.kubectl("certificate", "deny", "bob")
    ask(cluster, tmp_path, "eve", "/CN=eve", key=curve, usages="server auth")
    cluster.kubectl("certificate", "approve", "eve")
    cluster.kubectl("wait", "csr/eve", "--for=condition=Failed")
    described = cluster.kubectl("describe", "csr", "eve")
    assert "Failed" in described, described
    [failed] = [one for one in cluster.get("csr", "eve")["status"]["conditions"] if one["type"] == "Failed"]
    assert failed["message"] == "invalid usage for client certificate: server auth", failed
    assert "Denied" in cluster.kubectl("get", "csr", "bob")
    assert "certificate" not in cluster.get("csr", "bob")["status"]
    cluster.kubectl("delete", "csr", "bob", "eve")


def test_a_nodes_request_is_approved_by_rule(cluster, tmp_path):
    """The administrator may have any kubelet's certificate approved, as on any cluster."""
    _, certificate = ask(cluster, tmp_path, "kubelet", "/O=system:nodes/CN=system:node:node-9",
                         signer="kube-apiserver-client-kubelet",
                         usages="client auth, digital signature, key encipherment")
    issued(cluster, "kubelet", certificate)
    [approved] = cluster.get("csr", "kubelet")["status"]["conditions"]
    assert approved["reason"] == "AutoApproved", approved
    cluster.kubectl("delete", "csr", "kubelet")


def test_a_kubeconfig_for_somebody_else(cluster, namespace, tmp_path):
    config = tmp_path / "anna.kubeconfig"
    config.write_text(cluster.coracle("kubeconfig", "--user", "anna", "--group", "dev",
                                      "--group", "ops").stdout)
    as_anna = ("--kubeconfig", config)
    assert cluster.kubectl("config", "current-context", *as_anna).startswith("anna@coracle")
    user = json.loads(cluster.kubectl("auth", "whoami", "-o", "json", *as_anna))["status"]["userInfo"]
    assert user["username"] == "anna", user
    assert {"dev", "ops", "system:authenticated"} <= set(user["groups"]), user
    assert cluster.kubectl("auth", "can-i", "list", "pods", "-n", namespace, *as_anna,
                           check=False).strip() == "no"
    cluster.kubectl("create", "rolebinding", "dev", "-n", namespace, "--clusterrole=view", "--group=dev")
    cluster.kubectl("get", "pods", "-n", namespace, *as_anna)
    refused = cluster.coracle("kubeconfig", "--group", "dev", check=False)
    assert refused.returncode == 2 and "--user" in refused.stderr, refused
