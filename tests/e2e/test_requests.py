"""Requests on the wire: one client that asks without end, others that go on, and answers that are
long."""

import base64
import gzip
import http.client
import json
import re
import socket
import ssl
import urllib.request

import pytest
import yaml

from cluster import eventually

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


class Connection:
    """One connection of the noisy account, which takes in as little as it may before it is read."""

    def __init__(self, server, token):
        host, port = server.split(":")
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(60)
        raw.connect((host, int(port)))
        self.http = http.client.HTTPConnection(server)
        self.http.sock = ssl._create_unverified_context().wrap_socket(raw)
        self.headers = {"Authorization": f"Bearer {token}"}

    def ask(self, path):
        self.http.request("GET", path, headers=self.headers)

    def answer(self):
        answer = self.http.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()


@pytest.fixture
def noisy(cluster, namespace):
    """Connects as an account that may list what is in `namespace`, and has three seats."""
    kubectl = lambda *arguments, **options: cluster.kubectl("-n", namespace, *arguments, **options)
    kubectl("create", "serviceaccount", "noisy")
    kubectl("create", "rolebinding", "noisy", "--clusterrole=view",
            f"--serviceaccount={namespace}:noisy")
    objects = [LEVEL, schema(f"system:serviceaccount:{namespace}:noisy")]
    applied = cluster.kubectl_process("apply", "-f", "-", input=yaml.safe_dump_all(objects))
    assert "Warning" not in applied.stderr, applied.stderr
    server = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    token = kubectl("create", "token", "noisy").strip()
    opened = []

    def connect():
        opened.append(Connection(server.removeprefix("https://"), token))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.http.close()
    cluster.kubectl("delete", "flowschema/noisy", "prioritylevelconfiguration/narrow")


def figure(cluster, name):
    """A figure of the noisy requests."""
    labels = 'priority_level="narrow",flow_schema="noisy"'
    metrics = cluster.kubectl("get", "--raw", "/metrics")
    found = re.search(rf"^apiserver_flowcontrol_{name}{{{labels}.*}} (\d+)$", metrics, re.M)
    return int(found[1]) if found else 0


def test_one_noisy_client_is_refused_and_others_go_on(cluster, namespace, noisy):
    # More than what is under way between a server and a client that does not read.
    for number in range(12):
        big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"big-{number}"},
               "data": {"text": "x" * 900_000}}
        cluster.kubectl("-n", namespace, "create", "-f", "-", input=json.dumps(big))
    uids = [cluster.get(kind, name)["metadata"]["uid"]
            for kind, name in [("flowschema", "noisy"), ("prioritylevelconfiguration", "narrow")]]
    eventually(lambda: cluster.get("flowschema", "noisy").get("status", {}).get("conditions"),
               "the schema says whether its level is there")
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    # Three seats are taken, by who does not read what it asked for.
    slow = [noisy() for _ in range(3)]
    for connection in slow:
        connection.ask(path)
    eventually(lambda: figure(cluster, "current_executing_requests") == 3, "the seats are taken")
    # Four more may wait.
    more = [noisy() for _ in range(12)]
    for connection in more:
        connection.ask(f"{path}/big-0")
    eventually(lambda: figure(cluster, "rejected_requests_total") >= 8, "the others are refused")
    # Whoever else there is goes on: an account of its own flow, and the administrator.
    other = ["--as", f"system:serviceaccount:{namespace}:other", "-n", namespace]
    cluster.kubectl("-n", namespace, "create", "rolebinding", "other", "--clusterrole=edit",
                    f"--serviceaccount={namespace}:other")
    for number in range(5):
        cluster.kubectl(*other, "create", "configmap", f"small-{number}")
        assert cluster.kubectl(*other, "get", f"configmap/small-{number}", "-o", "name")
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
    tables = "/debug/api_priority_and_fairness/dump_"
    levels = cluster.kubectl("get", "--raw", f"{tables}priority_levels")
    rows = {cells[0]: cells for cells in
            ([cell.strip() for cell in line.split(",")] for line in levels.splitlines())}
    refused = rows["PriorityLevelName"].index("RejectedRequests")
    assert int(rows["narrow"][refused]) >= 8
    assert rows["global-default"][refused] == rows["workload-low"][refused] == "0"
    assert "NextDispatchR" in cluster.kubectl("get", "--raw", f"{tables}queues")
    cluster.kubectl("get", "--raw", f"{tables}requests")

    for connection in slow:
        code, _, body = connection.answer()
        assert code == 200 and len(json.loads(body)["items"]) >= 12
    answers = [connection.answer() for connection in more]
    # Those that waited are answered, unless this machine was so slow that they waited for too long.
    [*refusals] = [(headers, body) for code, headers, body in answers if code == 429]
    assert len(refusals) >= 8 and {code for code, _, _ in answers} <= {200, 429}
    for headers, body in refusals:
        assert headers["retry-after"] == "1"
        assert [headers[name.lower()] for name in UIDS] == uids
        status = json.loads(body)
        assert (status["reason"], status["code"]) == ("TooManyRequests", 429)
        assert status["message"] == "Too many requests, please try again later."
    metrics = cluster.kubectl("get", "--raw", "/metrics")
    assert 'flow_schema="noisy",reason="queue-full"}' in metrics
    # 1 of 246 shares of 600 seats, rounded up.
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="narrow"} 3' in metrics
    eventually(lambda: figure(cluster, "current_executing_requests") == 0, "every seat is given back")


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
