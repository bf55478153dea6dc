"""Another API server in a pod, registered with an APIService, and stock kubectl."""

import base64
import json
import pathlib
import subprocess

import pytest

from cluster import TOOLS, eventually

SERVER = pathlib.Path(__file__).parent / "api_server.py"
GROUP = "boats.example.com"
NAME = f"v1.{GROUP}"
WORKLOAD = """
apiVersion: v1
kind: Service
metadata: {name: boats}
spec: {selector: {app: boats}, ports: [{name: https, port: 7443, targetPort: 8443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: boats}
spec:
  selector: {matchLabels: {app: boats}}
  template:
    metadata: {labels: {app: boats}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: app-python:0.1.0
          command: [/usr/bin/python3, -S, /server/api_server.py]
          readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
          volumeMounts:
            - {name: server, mountPath: /server}
            - {name: tls, mountPath: /tls}
            - {name: proxy, mountPath: /proxy}
      volumes:
        - {name: server, configMap: {name: server}}
        - {name: proxy, configMap: {name: proxy}}
        - {name: tls, secret: {secretName: tls}}
"""


class Boats:
    """The server in one namespace, and its APIService."""

    def __init__(self, cluster, namespace, bundle):
        self.cluster, self.namespace, self.bundle = cluster, namespace, bundle

    def register(self, **spec):
        service = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                   "metadata": {"name": NAME}, "spec": {
                       "group": GROUP, "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200,
                       "caBundle": self.bundle,
                       "service": {"namespace": self.namespace, "name": "boats", "port": 7443}, **spec}}
        applied = self.cluster.kubectl_process("apply", "-f", "-", input=json.dumps(service))
        assert applied.returncode == 0 and not applied.stderr, applied.stderr

    def available(self):
        conditions = self.cluster.get("apiservice", NAME).get("status", {}).get("conditions", [])
        found = [one for one in conditions if one["type"] == "Available"]
        return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else None

    def wait(self, reason):
        def reached():
            found = self.available()
            return found if found and found[1] == reason else None
        return eventually(reached, f"{reason}; it is {self.available()}")

    def mode(self, text):
        code = f"open('/tmp/mode', 'w').write({text!r})"
        self.cluster.kubectl("exec", "-n", self.namespace, "deploy/boats", "--", "/usr/bin/python3", "-S",
                             "-c", code)

    def raw(self, path, *arguments, **options):
        return self.cluster.kubectl_process("get", "--raw", f"/apis/{GROUP}/v1{path}", *arguments, **options)


def boat(name, sails):
    return json.dumps({"apiVersion": f"{GROUP}/v1", "kind": "Boat", "metadata": {"name": name},
                       "spec": {"sails": sails}})


@pytest.fixture
def boats(cluster, namespace, tmp_path):
    cluster.load("app-python")
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    cluster.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
                certificate, "-subj", "/CN=boats", "-days", "2", "-addext",
                f"subjectAltName=DNS:boats.{namespace}.svc")
    cluster.kubectl("create", "secret", "tls", "tls", "-n", namespace, f"--cert={certificate}",
                    f"--key={key}")
    trust = cluster.get("configmap", "extension-apiserver-authentication", "-n", "kube-system")["data"]
    authority = trust["requestheader-client-ca-file"]
    assert trust["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert authority != trust["client-ca-file"]
    cluster.kubectl("create", "configmap", "proxy", "-n", namespace, f"--from-literal=ca.crt={authority}")
    cluster.kubectl("create", "configmap", "server", "-n", namespace, f"--from-file={SERVER}")
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=WORKLOAD)
    cluster.kubectl("rollout", "status", "deployment/boats", "-n", namespace, "--timeout=60s")
    boats = Boats(cluster, namespace, base64.b64encode(certificate.read_bytes()).decode())
    try:
        yield boats
    finally:
        cluster.kubectl("delete", "apiservice", NAME, "--ignore-not-found")


def test_kubectl_uses_the_kinds_of_another_server(cluster, namespace, boats):
    boats.register()
    assert boats.wait("Passed")[2] == "all checks passed"

    def shown():
        return cluster.kubectl("api-resources", f"--api-group={GROUP}", "--no-headers", "-o", "wide")
    listed = eventually(shown, "its kinds are listed")
    assert listed.split()[:5] == ["boats", "bt", f"{GROUP}/v1", "true", "Boat"], listed
    assert f"{GROUP}/v1\n" in cluster.kubectl("api-versions")

    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=boat("a", 1))
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=boat("a", 2))
    assert cluster.get("bt", "a", "-n", namespace)["spec"] == {"sails": 2}
    command = [TOOLS / "kubectl-1.37/kubectl", "get", "boats", "-n", namespace, "-w",
               "--output-watch-events", "-o", 'jsonpath={.type} {.object.spec.sails}{"\\n"}']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                          env=cluster.environment()) as watching:
        try:
            assert watching.stdout.readline() == "ADDED 2\n"
            cluster.kubectl("patch", "boat", "a", "-n", namespace, "--type=merge", "-p",
                            '{"spec":{"sails":3}}')
            assert watching.stdout.readline() == "MODIFIED 3\n"
            cluster.kubectl("delete", "boat", "a", "-n", namespace)
            assert watching.stdout.readline() == "DELETED 3\n"
        finally:
            watching.kill()
    gone = cluster.kubectl_process("get", "boat", "a", "-n", namespace, check=False)
    assert 'boats "a" not found' in gone.stderr, gone.stderr

    def explained():
        said = cluster.kubectl_process("explain", "boat.spec.sails", check=False)
        return said.stdout if "Sails is how many it has." in said.stdout else None
    eventually(explained, "its documents are read")
    swagger = json.loads(cluster.kubectl("get", "--raw", "/openapi/v2"))
    assert "Boat" in swagger["definitions"] and "io.k8s.api.core.v1.Pod" in swagger["definitions"]
    # A client of some age that knows no other form of discovery.
    assert f'"{GROUP}/v1"' in cluster.kubectl("get", "--raw", "/apis")


def test_another_server_learns_who_asks_and_only_that(cluster, namespace, boats):
    boats.register()
    boats.wait("Passed")
    seen = json.loads(boats.raw("/whoami?a=b").stdout)
    headers = seen["headers"]
    assert seen["path"] == f"/apis/{GROUP}/v1/whoami?a=b"
    assert headers["x-remote-user"] == ["kubernetes-admin"]
    assert headers["x-remote-group"] == ["kubeadm:cluster-admins", "system:authenticated"]
    assert "authorization" not in headers
    as_anna = json.loads(boats.raw("/whoami", "--as=anna", "--as-group=system:masters", "--as-uid=7").stdout)
    headers = as_anna["headers"]
    assert headers["x-remote-user"] == ["anna"] and headers["x-remote-uid"] == ["7"]
    assert not [name for name in headers if name.startswith("impersonate")]
    # Rights are ours to look at.
    refused = boats.raw("/whoami", "--as=eve", check=False)
    assert "forbidden" in refused.stderr, refused.stderr


def test_a_server_that_is_hostile_slow_or_dead_hinders_nobody_else(cluster, namespace, boats):
    def others_work():
        cluster.kubectl("get", "pods", "-n", namespace)
        assert "deployments" in cluster.kubectl("api-resources", "--api-group=apps")

    boats.register(caBundle="", insecureSkipTLSVerify=False)
    assert "certificate signed by unknown authority" in boats.wait("FailedDiscoveryCheck")[2]
    boats.register(caBundle="", insecureSkipTLSVerify=True)
    cluster.kubectl("patch", "apiservice", NAME, "--type=merge", "-p", '{"spec":{"caBundle":null}}')
    boats.wait("Passed")
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=boat("a", 1))

    # It cannot send clients elsewhere, or fill memory with a head.
    boats.mode("redirect")
    refused = boats.raw("/whoami", check=False)
    assert refused.returncode != 0 and "not permitted" in refused.stderr, refused.stderr
    boats.mode("head")
    assert boats.raw("/whoami", check=False).returncode != 0
    others_work()

    # What it says of itself is nonsense: nobody else's is less for it.
    boats.mode("garbage")
    cluster.kubectl("patch", "apiservice", NAME, "--type=merge", "-p", '{"spec":{"versionPriority":300}}')

    def is_unknown():
        listed = cluster.kubectl_process("api-resources", "-o", "name", check=False).stdout
        return "deployments.apps" in listed and f"boats.{GROUP}" not in listed
    eventually(is_unknown, "nothing is known of its kinds")
    others_work()

    # It does not answer.
    boats.mode("broken")
    cluster.kubectl("patch", "apiservice", NAME, "--type=merge", "-p", '{"spec":{"versionPriority":200}}')
    said = boats.wait("FailedDiscoveryCheck")[2]
    assert said.endswith(f"/apis/{GROUP}/v1: 503") and "bad status from https://" in said, said
    refused = boats.raw("/whoami", check=False)
    assert "ServiceUnavailable" in refused.stderr, refused.stderr
    others_work()

    # A namespace that has something there cannot go before it is back.
    cluster.kubectl("create", "namespace", f"{namespace}-more")
    cluster.kubectl("delete", "namespace", f"{namespace}-more", "--wait=false")

    def held():
        shown = cluster.get("namespace", f"{namespace}-more")["status"].get("conditions", [])
        return [one for one in shown if one["type"] == "NamespaceDeletionDiscoveryFailure"
                and one["status"] == "True" and NAME.split(".", 1)[1] in one["message"]]
    eventually(held, "the namespace says why it stays")
    boats.mode("legacy")
    boats.wait("Passed")
    cluster.kubectl("wait", "--for=delete", f"namespace/{namespace}-more", "--timeout=60s")
    assert cluster.get("boat", "a", "-n", namespace)["spec"] == {"sails": 1}

    # It is gone.
    cluster.kubectl("scale", "deployment/boats", "-n", namespace, "--replicas=0")
    boats.wait("MissingEndpoints")
    cluster.kubectl("delete", "service", "boats", "-n", namespace)
    assert boats.wait("ServiceNotFound")[2] == f'service/boats in "{namespace}" is not present'
    others_work()
    cluster.kubectl("delete", "apiservice", NAME)
    said = cluster.kubectl_process("get", "boats", check=False).stderr
    assert "the server doesn't have a resource type" in said, said


def test_a_namespace_takes_what_another_server_has_with_it(cluster, namespace, boats):
    boats.register()
    boats.wait("Passed")
    more = f"{namespace}-more"
    cluster.kubectl("create", "namespace", more)
    eventually(lambda: cluster.kubectl("api-resources", f"--api-group={GROUP}", "--no-headers"), "listed")
    cluster.kubectl("apply", "-n", more, "-f", "-", input=boat("a", 1))
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=boat("stays", 1))
    cluster.kubectl("delete", "namespace", more, "--timeout=60s")
    left = json.loads(boats.raw("/boats").stdout)["items"]
    assert [one["metadata"]["name"] for one in left] == ["stays"]


def test_a_registration_is_changed_in_every_way(cluster, namespace, boats):
    """As upstream's conformance spec does."""
    boats.register()
    boats.wait("Passed")
    assert cluster.get("apiservice", NAME)["status"]["conditions"][0]["message"] == "all checks passed"
    cluster.kubectl("patch", "apiservice", NAME, "--type=merge", "-p", '{"spec":{"versionPriority":400}}')
    cluster.kubectl("patch", "apiservice", NAME, "--type=strategic", "-p", '{"metadata":{"labels":{"e2e":"1"}}}')
    theirs = {"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set by e2e test"}
    change = [{"op": "add", "path": "/status/conditions/-", "value": theirs}]
    cluster.kubectl("patch", "apiservice", NAME, "--subresource=status", "--type=json", "-p", json.dumps(change))
    wrong = [{"op": "add", "path": "/status/conditions/-", "value": {**theirs, "type": "Odd", "status": "Maybe"}}]
    refused = cluster.kubectl_process("patch", "apiservice", NAME, "--subresource=status", "--type=json", "-p",
                                      json.dumps(wrong), check=False)
    assert 'Unsupported value: "Maybe": supported values: "True", "False", "Unknown"' in refused.stderr
    cluster.kubectl("scale", "deployment/boats", "-n", namespace, "--replicas=0")
    boats.wait("MissingEndpoints")
    service = cluster.get("apiservice", NAME)
    assert service["spec"]["versionPriority"] == 400 and service["metadata"]["labels"] == {"e2e": "1"}
    assert [one["type"] for one in service["status"]["conditions"]] == ["Available", "StatusUpdated"]
    cluster.kubectl("delete", "apiservice", "-l", "e2e=1")
    assert GROUP not in cluster.kubectl("api-versions")


def test_what_the_cluster_serves_itself_is_registered_too(cluster):
    listed = cluster.kubectl("get", "apiservices", "--no-headers").splitlines()
    by_name = {line.split()[0]: line.split()[1:3] for line in listed}
    assert by_name["v1."] == ["Local", "True"] and by_name["v1.apps"] == ["Local", "True"]
    assert by_name["v2.autoscaling"] == ["Local", "True"]
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                  "metadata": {"name": "rafts.wood.example.com"}, "spec": {
                      "group": "wood.example.com", "scope": "Namespaced",
                      "names": {"plural": "rafts", "kind": "Raft"},
                      "versions": [{"name": "v1", "served": True, "storage": True,
                                    "schema": {"openAPIV3Schema": {"type": "object"}}}]}}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(definition))
    made = eventually(lambda: cluster.kubectl("get", "apiservice", "v1.wood.example.com",
                                              "--ignore-not-found", "-o", "json"), "it is registered")
    made = json.loads(made)
    assert made["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert made["status"]["conditions"][0]["message"] == "Local APIServices are always available"
    cluster.kubectl("delete", "crd", "rafts.wood.example.com")
    cluster.kubectl("wait", "--for=delete", "apiservice/v1.wood.example.com", "--timeout=30s")
