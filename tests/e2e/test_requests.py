"""Requests on the wire: one client that asks without end, others that go on, and answers that are
long."""

import base64
import gzip
import http.client
import json
import ssl
import threading
import time
import urllib.request

import pytest
import yaml

from cluster import eventually

CONNECTIONS = 100
# Seconds for a handshake; for the head of a request more.
SERVER_WAITS = 10
UIDS = ["X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"]

LEVEL = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "PriorityLevelConfiguration",
    "metadata": {"name": "narrow"},
    "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 1, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": {
            "queues": 1, "handSize": 1, "queueLengthLimit": 4}},
    }},
}


def schema(account):
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
            "clusterScope": True}
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "noisy"},
        "spec": {
            "matchingPrecedence": 700,
            "priorityLevelConfiguration": {"name": "narrow"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": account}}],
                       "resourceRules": [rule]}],
        },
    }


class Noise:
    """Asks for lists on many connections at once, until it is closed, and keeps what was said."""

    def __init__(self, server, token, path):
        self.server, self.token, self.path = server, token, path
        self.answers, self.refusals, self.broken = {}, [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(CONNECTIONS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(60)

    def ask(self):
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(self.server, context=context, timeout=60)
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                connection.request("GET", self.path,
                                   headers={"Authorization": f"Bearer {self.token}"})
                answer = connection.getresponse()
                body = answer.read()
            except OSError as error:
                # On a busy machine a thread of ours comes to write later than the server waits for.
                is_late = time.monotonic() - begun > SERVER_WAITS
                if is_late and isinstance(error, http.client.RemoteDisconnected):
                    connection.close()
                    continue
                self.broken.append(error)
                return
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
            if answer.status == 429:
                self.refusals.append((dict(answer.headers), body))


@pytest.fixture
def noisy(cluster, namespace):
    """An account that may list what is in `namespace`, and nobody listens to its requests first."""
    kubectl = lambda *arguments, **options: cluster.kubectl("-n", namespace, *arguments, **options)
    kubectl("create", "serviceaccount", "noisy")
    kubectl("create", "rolebinding", "noisy", "--clusterrole=view",
            f"--serviceaccount={namespace}:noisy")
    objects = [LEVEL, schema(f"system:serviceaccount:{namespace}:noisy")]
    applied = cluster.kubectl_process("apply", "-f", "-", input=yaml.safe_dump_all(objects))
    assert "Warning" not in applied.stderr, applied.stderr
    server = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    yield Noise(server.removeprefix("https://"), kubectl("create", "token", "noisy").strip(),
                f"/api/v1/namespaces/{namespace}/configmaps")
    cluster.kubectl("delete", "flowschema/noisy", "prioritylevelconfiguration/narrow")


def test_one_noisy_client_is_refused_and_others_go_on(cluster, namespace, noisy):
    big = {"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"big-{number}"},
         "data": {"text": "x" * 100_000}} for number in range(20)]}
    cluster.kubectl("-n", namespace, "create", "-f", "-", input=json.dumps(big))
    uids = [cluster.get(kind, name)["metadata"]["uid"]
            for kind, name in [("flowschema", "noisy"), ("prioritylevelconfiguration", "narrow")]]
    eventually(lambda: cluster.get("flowschema", "noisy").get("status", {}).get("conditions"),
               "the schema says whether its level is there")
    with noisy:
        eventually(lambda: len(noisy.refusals) > 50 and noisy.answers.get(200, 0) > 50,
                   "some of the noise is refused, and some is answered")
        for number in range(10):
            cluster.kubectl("-n", namespace, "create", "configmap", f"small-{number}")
            assert cluster.kubectl("-n", namespace, "get", f"configmap/small-{number}", "-o", "name")
        levels = cluster.kubectl("get", "--raw",
                                 "/debug/api_priority_and_fairness/dump_priority_levels")
        queues = cluster.kubectl("get", "--raw", "/debug/api_priority_and_fairness/dump_queues")
        cluster.kubectl("get", "--raw", "/debug/api_priority_and_fairness/dump_requests")
        assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
    assert not noisy.broken, noisy.broken[:3]
    assert set(noisy.answers) == {200, 429}, noisy.answers
    headers, body = noisy.refusals[0]
    headers = {name.lower(): value for name, value in headers.items()}
    assert headers["retry-after"] == "1"
    assert [headers[name.lower()] for name in UIDS] == uids
    status = json.loads(body)
    assert (status["reason"], status["code"]) == ("TooManyRequests", 429)
    assert status["message"] == "Too many requests, please try again later."
    rows = {cells[0]: cells for cells in
            ([cell.strip() for cell in line.split(",")] for line in levels.splitlines())}
    assert int(rows["narrow"][rows["PriorityLevelName"].index("RejectedRequests")]) > 50
    assert int(rows["global-default"][rows["PriorityLevelName"].index("RejectedRequests")]) == 0
    assert "NextDispatchR" in queues
    metrics = cluster.kubectl("get", "--raw", "/metrics")
    labels = 'priority_level="narrow",flow_schema="noisy"'
    assert f'apiserver_flowcontrol_rejected_requests_total{{{labels},reason="queue-full"}}' in metrics
    # 1 of 246 shares of 600 seats, rounded up.
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="narrow"} 3' in metrics
    eventually(lambda: f"apiserver_flowcontrol_current_executing_requests{{{labels}}} 0" in
               cluster.kubectl("get", "--raw", "/metrics"), "every seat is given back")


@pytest.fixture
def administrator(cluster):
    """TLS as the administrator."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    user = config["users"][0]["user"]
    own = cluster.home / "own.pem"
    own.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"])
                             for part in ["certificate", "key"]))
    context = ssl._create_unverified_context()
    context.load_cert_chain(own)
    return context


def test_answers_say_of_which_schema_they_are(cluster, administrator):
    server = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    ask = lambda path: urllib.request.urlopen(server + path, context=administrator, timeout=60)
    uids = lambda schema, level: [
        cluster.get("flowschema", schema)["metadata"]["uid"],
        cluster.get("prioritylevelconfiguration", level)["metadata"]["uid"]]
    said = lambda path: [ask(path).headers[name] for name in UIDS]
    assert said("/api/v1/nodes") == uids("global-default", "global-default")
    assert said("/readyz") == uids("probes", "exempt")


def test_long_answers_are_compressed_for_who_is_elsewhere(cluster, namespace, administrator):
    big = {"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"big-{number}"},
         "data": {"text": "abc" * 30_000}} for number in range(4)]}
    cluster.kubectl("-n", namespace, "create", "-f", "-", input=json.dumps(big))
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    # Where pods reach the API: not loopback.
    [subset] = cluster.get("endpoints", "kubernetes")["subsets"]
    elsewhere = f"{subset['addresses'][0]['ip']}:{subset['ports'][0]['port']}"
    here = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]

    def ask(server, path):
        request = urllib.request.Request(server + path, headers={"Accept-Encoding": "gzip"})
        answer = urllib.request.urlopen(request, context=administrator, timeout=60)
        return answer.headers["Content-Encoding"], answer.read()

    encoding, sent = ask(f"https://{elsewhere}", path)
    assert encoding == "gzip" and len(sent) < 20_000
    listed = json.loads(gzip.decompress(sent))["items"]
    assert len([one for one in listed if one["metadata"]["name"].startswith("big-")]) == 4
    # One of them is short enough, and nothing is gained where nothing is sent.
    assert ask(f"https://{elsewhere}", f"{path}/big-0")[0] is None
    encoding, sent = ask(here, path)
    assert encoding is None and json.loads(sent)["items"]
