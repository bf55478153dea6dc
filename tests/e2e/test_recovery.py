"""Kills at the worst moment, and a host that is as it was before."""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import signal
import ssl

import pytest

from cluster import CHARTS, TOOLS, Cluster, control_groups, eventually

SLEEPER = """
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox:1.36
      command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
"""


def host(cluster):
    """Everything of the host that a cluster could leave something in."""
    def lines(*command):
        return sorted(cluster.run(*command).stdout.splitlines())

    # Not those of the other tests' cluster, whose pods come and go at the same time.
    mounts = sorted(line.split(" - ")[0].split(" ", 4)[4] for line in
                    pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                    if str(cluster.home) in line or "/run/coracle" in line)
    cgroups = control_groups(f"coracle-{cluster.name}")
    processes = sorted(
        line for line in cluster.run("ps", "-eo", "args").stdout.splitlines()
        if str(cluster.data_dir) in line and "pytest" not in line)
    return {
        "mounts": mounts,
        "links": [line.split(":")[1] for line in lines("ip", "-o", "link")],
        "routes": lines("ip", "route", "show", "table", "all"),
        "rules": lines("ip", "rule"),
        "nft": lines("nft", "list", "ruleset"),
        "forwarding": lines("cat", "/proc/sys/net/ipv4/ip_forward"),
        "cgroups": cgroups,
        "processes": processes,
    }


def split(found):
    """The host without the routes that make a cluster's ranges unreachable, and how many those are."""
    own = [line for line in found["routes"] if line.startswith("unreachable ") and "4294967294" in line]
    return {**found, "routes": [line for line in found["routes"] if line not in own]}, len(own)


def test_after_down_the_host_is_as_before(own_cluster):
    cluster = own_cluster
    cluster.data_dir.mkdir(parents=True)
    before = host(cluster)
    cluster.up()
    cluster.load("busybox")
    cluster.helm("install", "app", CHARTS / "visits", "--wait", "--timeout", "60s")
    assert host(cluster) != before
    cluster.down()
    assert split(host(cluster)) == (before, 3), "all but what keeps the cluster's addresses here"

    cluster.up()
    eventually(lambda: "3/3" in cluster.kubectl("get", "sts", "app"), "pods are back after `up`")
    cluster.kill_engine()
    cluster.down()
    assert split(host(cluster)) == (before, 3), "also after an engine that was killed"
    cluster.delete()
    assert host(cluster) == before


def test_pods_run_on_while_the_engine_is_down(own_cluster):
    cluster = own_cluster
    cluster.up()
    cluster.load("busybox")
    cluster.kubectl("apply", "-f", "-", input=SLEEPER)
    cluster.kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=30s")
    pid = cluster.kubectl("exec", "sleeper", "--", "sh", "-c", "echo $PPID; hostname").split()
    started = cluster.get("pod", "sleeper")["status"]["containerStatuses"][0]["containerID"]
    cluster.down("--keep-pods")
    cluster.up()
    pod = cluster.get("pod", "sleeper")
    assert pod["status"]["containerStatuses"][0]["containerID"] == started
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert cluster.kubectl("exec", "sleeper", "--", "sh", "-c", "hostname").strip() == "sleeper" and pid


def test_an_engine_that_is_killed_is_started_again(own_cluster):
    cluster = own_cluster
    cluster.up()
    killed = cluster.engine_pid()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: cluster.coracle("status", check=False).returncode == 0
               and cluster.engine_pid() != killed, "the supervisor has started another")
    cluster.kubectl("get", "nodes")
    os.kill(cluster.engine_pid(), signal.SIGKILL)
    cluster.up()
    assert "kubernetes" in cluster.kubectl("get", "services")
    os.kill(cluster.engine_pid(), signal.SIGKILL)
    cluster.down()
    assert not [line for line in cluster.run("ps", "-eo", "args").stdout.splitlines()
                if line.startswith("coracle") and str(cluster.data_dir) in line]


def test_what_begins_a_cluster_comes_back_and_a_pod_follows_its_namespace(own_cluster):
    cluster = own_cluster
    cluster.up()
    cluster.kubectl("delete", "all", "--all")
    eventually(lambda: cluster.kubectl_process("get", "svc", "kubernetes", check=False).returncode == 0,
               "the Service of the API is back")
    both = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n" + SLEEPER.replace(
        "metadata: {name: sleeper}", "metadata: {name: sleeper, namespace: shop}")
    assert "namespace: shop" in both
    cluster.kubectl("apply", "-f", "-", input=both)


def test_a_killed_shim_means_a_new_container_and_nothing_twice(own_cluster):
    cluster, namespace = own_cluster, "default"
    cluster.up()
    cluster.load("busybox")
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=SLEEPER)
    cluster.kubectl("wait", "-n", namespace, "pod/sleeper", "--for=condition=Ready", "--timeout=30s")
    uid = cluster.get("pod", "sleeper", "-n", namespace)["metadata"]["uid"]
    shims = [int(line.split()[0]) for line in cluster.run("ps", "-eo", "pid,args").stdout.splitlines()
             if " shim " in line and uid in line]
    assert len(shims) == 1, shims
    os.kill(shims[0], signal.SIGKILL)
    eventually(lambda: cluster.get("pod", "sleeper", "-n", namespace)["status"]
               ["containerStatuses"][0]["restartCount"] >= 1, "it is started again")
    cluster.kubectl("wait", "-n", namespace, "pod/sleeper", "--for=condition=Ready", "--timeout=60s")


@pytest.fixture
def near_cluster(tmp_path):
    """An engine in the network of the tests themselves, which then talk to it without kubectl."""
    cluster = Cluster(f"near-{os.getpid()}", tmp_path, api_port=7443)
    try:
        yield cluster
    finally:
        cluster.delete()


def test_a_hundred_kills_among_a_thousand_writes_lose_nothing(near_cluster):
    """Every acknowledged write is there after each `kill -9` of the engine."""
    cluster = near_cluster
    cluster.up()
    kills, per_kill = 100, 10
    client = Client(cluster)
    acknowledged = set()
    chance = random.Random(4)
    with concurrent.futures.ThreadPoolExecutor(per_kill) as pool:
        for kill in range(kills):
            pid = cluster.engine_pid()
            numbers = range(kill * per_kill, (kill + 1) * per_kill)
            writes = {n: pool.submit(client.create, n) for n in numbers}
            concurrent.futures.wait(writes.values(), timeout=chance.uniform(0.01, 0.2))
            os.kill(pid, signal.SIGKILL)
            acknowledged.update(n for n, write in writes.items() if write.result())
            eventually(lambda: cluster.coracle("status", check=False).returncode != 0, "dead")
            cluster.up("--no-kubeconfig")
            client = Client(cluster)
    stored = {item["metadata"]["name"]: item.get("data", {}).get("n")
              for item in cluster.get("configmaps")["items"]}
    lost = [n for n in acknowledged if stored.get(f"c{n}") != str(n)]
    assert not lost, lost
    assert len(acknowledged) > kills, "the kills left hardly a write: nothing was tried"


class Client:
    """The administrator over plain HTTPS: kubectl takes longer to start than a kill to come."""

    def __init__(self, cluster):
        config = json.loads(cluster.run(
            TOOLS / "kubectl-1.37/kubectl", "config", "view", "--raw", "-o", "json", "--kubeconfig",
            cluster.data_dir / "admin.kubeconfig").stdout)
        user, server = config["users"][0]["user"], config["clusters"][0]["cluster"]
        pem = cluster.home / "admin.pem"
        pem.write_bytes(base64.b64decode(user["client-certificate-data"])
                        + base64.b64decode(user["client-key-data"]))
        authority = base64.b64decode(server["certificate-authority-data"]).decode()
        self.tls = ssl.create_default_context(cadata=authority)
        self.tls.load_cert_chain(pem)
        self.port = cluster.api_port

    def create(self, number):
        """Whether the ConfigMap was acknowledged."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"},
                "data": {"n": str(number)}}
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=self.tls)
        try:
            connection.request("POST", "/api/v1/namespaces/default/configmaps", json.dumps(body),
                               {"Content-Type": "application/json"})
            return connection.getresponse().status == 201
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


LAST_WORDS = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: main
          image: busybox:1.36
          command: [sh, -c, "trap 'sleep 0.3; hostname >> /common/words; exit' TERM; sleep 1000 & wait"]
          volumeMounts: [{{name: common, mountPath: /common}}]
      volumes: [{{name: common, hostPath: {{path: {path}}}}}]
"""


def test_down_ends_a_set_from_its_highest_ordinal(own_cluster, tmp_path):
    cluster = own_cluster
    cluster.up()
    cluster.load("busybox")
    common = tmp_path / "common"
    common.mkdir()
    cluster.kubectl("apply", "-f", "-", input=LAST_WORDS.format(path=common))
    cluster.kubectl("rollout", "status", "sts/web", "--timeout=60s")
    cluster.down()
    assert (common / "words").read_text() == "web-2\nweb-1\nweb-0\n"


def test_secrets_are_encrypted_with_a_key_that_a_command_changes(own_cluster):
    cluster = own_cluster
    cluster.up()
    word = "correct-horse-battery-staple"
    cluster.kubectl("create", "secret", "generic", "word", f"--from-literal=word={word}")
    store, key = cluster.data_dir / "store.redb", cluster.data_dir / "store.redb.key"
    assert key.stat().st_mode & 0o777 == 0o600
    first = key.read_text()
    cluster.coracle("secrets", "rotate")
    assert key.read_text() != first
    os.kill(cluster.engine_pid(), signal.SIGKILL)
    eventually(lambda: cluster.up(check=False).returncode == 0, "the next engine is up")
    encoded = base64.b64encode(word.encode()).decode()
    assert cluster.get("secret", "word")["data"]["word"] == encoded
    cluster.down()
    assert encoded.encode() not in store.read_bytes()
    key.rename(cluster.home / "key")
    assert "put back the key file" in cluster.up(check=False).stderr
    (cluster.home / "key").rename(key)
    cluster.up()
    assert cluster.get("secret", "word")["data"]["word"] == encoded
