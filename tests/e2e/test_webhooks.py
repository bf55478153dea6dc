"""Webhooks that admit and convert: a real one in a pod, reached through its Service, and stock kubectl."""

import base64
import json
import pathlib

import pytest

from cluster import eventually

SERVER = pathlib.Path(__file__).parent / "hook_server.py"
WORKLOAD = """
apiVersion: v1
kind: Service
metadata: {name: hook}
spec: {selector: {app: hook}, ports: [{port: 8443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: hook}
spec:
  selector: {matchLabels: {app: hook}}
  template:
    metadata: {labels: {app: hook}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: app-python:0.1.0
          command: [/usr/bin/python3, -S, /hook/hook_server.py]
          readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
          volumeMounts: [{name: hook, mountPath: /hook}, {name: tls, mountPath: /tls}]
      volumes:
        - {name: hook, configMap: {name: hook}}
        - {name: tls, secret: {secretName: hook}}
"""


class Hooks:
    """Webhooks of one namespace, about objects in that namespace."""

    def __init__(self, cluster, namespace, bundle):
        self.cluster, self.namespace, self.bundle = cluster, namespace, bundle
        self.made = []

    def configuration(self, kind, name, paths, **more):
        hooks = []
        for path in paths:
            hooks.append({
                "name": f"{path}.example.com",
                "clientConfig": {"caBundle": self.bundle, "service": {
                    "namespace": self.namespace, "name": "hook", "path": f"/{path}", "port": 8443}},
                "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
                           "resources": ["configmaps"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
                "sideEffects": "None", "admissionReviewVersions": ["v1"], **more})
        return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}WebhookConfiguration",
                "metadata": {"name": f"{self.namespace}-{name}"}, "webhooks": hooks}

    def apply(self, kind, name, *paths, **more):
        configuration = self.configuration(kind, name, paths, **more)
        self.made.append((kind, configuration["metadata"]["name"]))
        return self.cluster.kubectl_process("apply", "-f", "-", input=json.dumps(configuration))

    def clear(self):
        for kind, name in self.made:
            self.cluster.kubectl("delete", f"{kind}WebhookConfiguration", name, "--ignore-not-found")
        self.made.clear()

    def config(self, name, *arguments, **data):
        """Create a ConfigMap; give the finished process."""
        value = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        return self.cluster.kubectl_process("create", "-n", self.namespace, "-f", "-", *arguments,
                                            input=json.dumps(value), check=False)

    def refused(self, name, *arguments, **data):
        done = self.config(name, *arguments, **data)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def hooks(cluster, namespace, tmp_path):
    """A webhook that runs, with a certificate that vouches for itself as `openssl req -x509` makes it."""
    cluster.load("app-python")
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    cluster.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
                certificate, "-subj", "/CN=hook", "-days", "2", "-addext",
                f"subjectAltName=DNS:hook.{namespace}.svc")
    cluster.kubectl("create", "secret", "tls", "hook", "-n", namespace, f"--cert={certificate}",
                    f"--key={key}")
    cluster.kubectl("create", "configmap", "hook", "-n", namespace, f"--from-file={SERVER}")
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=WORKLOAD)
    cluster.kubectl("rollout", "status", "deployment/hook", "-n", namespace, "--timeout=60s")
    hooks = Hooks(cluster, namespace, base64.b64encode(certificate.read_bytes()).decode())
    try:
        yield hooks
    finally:
        hooks.clear()


def test_webhooks_change_refuse_and_warn(cluster, namespace, hooks):
    # By name: the first is asked again, as the second has changed the object after it.
    hooks.apply("Mutating", "a", "mutate", reinvocationPolicy="IfNeeded")
    hooks.apply("Mutating", "b", "other")
    hooks.apply("Validating", "c", "warn", "deny")
    assert "mind the gap" in hooks.config("plain", a="1").stderr
    data = cluster.get("configmap", "plain", "-n", namespace)["data"]
    assert data == {"a": "1", "seen": "2", "other": "1"}

    told = 'admission webhook "deny.example.com" denied the request: it is forbidden'
    said = hooks.refused("bad", forbidden="yes")
    assert "(Forbidden)" in said and told in said, said
    change = json.dumps({"data": {"forbidden": "yes"}})
    patched = cluster.kubectl_process("patch", "configmap", "plain", "-n", namespace, "--type=merge",
                                      f"--patch={change}", check=False)
    assert told in patched.stderr, patched.stderr
    assert told in hooks.refused("bad", "--dry-run=server", forbidden="yes")

    # Pods of controllers go the same road, and get what every container has.
    hooks.clear()
    cluster.kubectl("delete", "configmap", "plain", "-n", namespace)
    pods = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]
    hooks.apply("Mutating", "a", "side", rules=pods)
    cluster.kubectl("create", "deployment", "web", "-n", namespace, "--image=busybox:1.36", "--",
                    "sleep", "1000000")
    cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    pod = cluster.get("pods", "-n", namespace, "-l", "app=web")["items"][0]
    side = pod["spec"]["containers"][1]
    assert side["name"] == "side" and side["terminationMessagePolicy"] == "File"

    # So do connections.
    hooks.clear()
    connect = [{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["pods/exec"]}]
    hooks.apply("Validating", "c", "no-shell", rules=connect)
    done = cluster.kubectl_process("exec", "-n", namespace, "deploy/web", "-c", "side", "--", "true",
                                   check=False)
    assert f"CONNECT of {pod['metadata']['name']}" in done.stderr, done.stderr


def test_a_webhook_that_fails_stops_writes_or_does_not_and_can_be_mended(cluster, namespace, hooks):
    failed = 'Error from server (InternalError)'
    hooks.apply("Validating", "a", "slow", timeoutSeconds=1)
    said = hooks.refused("x")
    url = f"https://hook.{namespace}.svc:8443/slow?timeout=1s"
    assert failed in said and f'Post "{url}": context deadline exceeded' in said, said
    hooks.apply("Validating", "a", "slow", timeoutSeconds=1, failurePolicy="Ignore")
    assert hooks.config("x").returncode == 0

    for path, why in [
            ("other-uid", "received invalid webhook response: expected response.uid="),
            ("garbage", "failed to call webhook: couldn't get version/kind; json parse error"),
            ("redirect", "the server responded with the status code 302"),
            ("huge", "the answer has more than 8388608 bytes"),
            ("error", 'an error on the server ("oops") has prevented the request from succeeding')]:
        hooks.apply("Validating", "a", path)
        said = hooks.refused("y")
        assert f'failed calling webhook "{path}.example.com": ' in said and why in said, said

    # Nobody vouches for it.
    hooks.bundle, bundle = "", hooks.bundle
    hooks.apply("Validating", "a", "warn")
    assert "x509: certificate signed by unknown authority" in hooks.refused("y")
    hooks.bundle = bundle

    # It is down, and back again.
    hooks.apply("Validating", "a", "warn")
    assert "mind the gap" in hooks.config("y").stderr
    cluster.kubectl("scale", "deployment/hook", "-n", namespace, "--replicas=0")
    eventually(lambda: not cluster.get("pods", "-n", namespace, "-l", "app=hook")["items"], "it is down")
    said = hooks.refused("z")
    assert failed in said and "connection refused" in said, said
    cluster.kubectl("scale", "deployment/hook", "-n", namespace, "--replicas=1")
    cluster.kubectl("rollout", "status", "deployment/hook", "-n", namespace, "--timeout=60s")
    assert "mind the gap" in eventually(lambda: hooks.config("z").stderr, "it is back")

    # Whoever shuts everybody out can be taken away by whom it shuts out.
    cluster.kubectl("scale", "deployment/hook", "-n", namespace, "--replicas=0")
    everything = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]
    hooks.apply("Validating", "a", "warn", rules=everything, timeoutSeconds=1)
    assert "failed calling webhook" in hooks.refused("last")
    hooks.clear()
    assert hooks.config("last").returncode == 0


def boats(namespace, bundle):
    """A definition of boats, stored in version 1 and served in version 2 as well."""
    def version(name, *fields):
        spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
        return {"name": name, "served": True, "storage": name == "v1", "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}
    client = {"caBundle": bundle, "service": {
        "namespace": namespace, "name": "hook", "path": "/convert", "port": 8443}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "boats.example.com"}, "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
                "versions": [version("v1", "hostPort"), version("v2", "host", "port")],
                "conversion": {"strategy": "Webhook", "webhook": {
                    "clientConfig": client, "conversionReviewVersions": ["v1"]}}}}


def test_objects_are_converted(cluster, namespace, hooks):
    cluster.kubectl("apply", "-f", "-", input=json.dumps(boats(namespace, hooks.bundle)))
    cluster.kubectl("wait", "--for=condition=Established", "crd/boats.example.com", "--timeout=30s")

    def boat(version, name, **spec):
        return json.dumps({"apiVersion": f"example.com/{version}", "kind": "Boat",
                           "metadata": {"name": name}, "spec": spec})

    def specs(version):
        items = cluster.get(f"boats.{version}.example.com", "-n", namespace)["items"]
        assert all(item["apiVersion"] == f"example.com/{version}" for item in items)
        return [item["spec"] for item in items]

    try:
        cluster.kubectl("apply", "-n", namespace, "-f", "-", input=boat("v1", "a", hostPort="localhost:1"))
        cluster.kubectl("apply", "-n", namespace, "-f", "-", input=boat("v2", "b", host="there", port="2"))
        assert specs("v1") == [{"hostPort": "localhost:1"}, {"hostPort": "there:2"}]
        assert specs("v2") == [{"host": "localhost", "port": "1"}, {"host": "there", "port": "2"}]
        cluster.kubectl("apply", "-n", namespace, "-f", "-", input=boat("v2", "b", host="there", port="3"))
        patch = json.dumps({"spec": {"host": "here"}})
        cluster.kubectl("patch", "boats.v2.example.com", "b", "-n", namespace, "--type=merge", f"-p={patch}")
        cluster.kubectl("apply", "-n", namespace, "--server-side", "--field-manager=me", "-f", "-",
                        input=boat("v2", "c", host="new", port="4"))
        assert specs("v1")[1:] == [{"hostPort": "here:3"}, {"hostPort": "new:4"}]
        watched = cluster.kubectl("get", "boats.v2.example.com", "-n", namespace, "-w", "-o",
                                  "jsonpath={.spec.host} ", "--request-timeout=3s")
        assert watched.split() == ["localhost", "here", "new"]
        cluster.kubectl("delete", "boats.v2.example.com", "b", "-n", namespace)

        # Nobody converts any more: what is stored is still there, and can go.
        cluster.kubectl("scale", "deployment/hook", "-n", namespace, "--replicas=0")
        eventually(lambda: not cluster.get("pods", "-n", namespace, "-l", "app=hook")["items"], "it is down")
        assert specs("v1")[0] == {"hostPort": "localhost:1"}
        cluster.kubectl("label", "boats.v1.example.com", "a", "-n", namespace, "changed=yes")
        done = cluster.kubectl_process("get", "boats.v2.example.com", "a", "-n", namespace, check=False)
        told = 'conversion webhook for example.com/v1, Kind=Boat failed: Post "https://hook.'
        assert told in done.stderr, done.stderr
    finally:
        cluster.kubectl("delete", "crd", "boats.example.com", "--timeout=60s")


def test_a_cluster_comes_up_that_a_webhook_has_shut(own_cluster):
    """Nothing may be written, not even what the node says of itself: it comes up, and is mended."""
    own_cluster.up()
    everything = {"apiVersion": "admissionregistration.k8s.io/v1",
                  "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "all"}, "webhooks": [{
                      "name": "all.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                      "clientConfig": {"service": {"namespace": "default", "name": "nobody"}},
                      "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
                                 "resources": ["*/*"]}]}]}
    own_cluster.kubectl("create", "-f", "-", input=json.dumps(everything))
    own_cluster.down()
    told = own_cluster.up().stdout
    assert "the node is not Ready yet" in told, told
    said = own_cluster.kubectl_process("create", "configmap", "x", check=False).stderr
    assert 'service "nobody" not found' in said, said
    own_cluster.kubectl("delete", "validatingwebhookconfiguration", "all")
    own_cluster.kubectl("wait", "--for=condition=Ready", "node/node-1", "--timeout=60s")
    own_cluster.kubectl("create", "configmap", "x")
