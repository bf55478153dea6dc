"""Nodes without a machine: their pods have the whole life of a pod, seen by stock kubectl."""

import json

import pytest

from cluster import eventually

# As kwok's documentation makes one.
KWOK_NODE = """
apiVersion: v1
kind: Node
metadata:
  name: kwok-node-0
  annotations: {node.alpha.kubernetes.io/ttl: "0", kwok.x-k8s.io/node: fake}
  labels: {kubernetes.io/hostname: kwok-node-0, kubernetes.io/os: linux, type: kwok}
spec:
  taints: [{effect: NoSchedule, key: kwok.x-k8s.io/node, value: fake}]
status:
  allocatable: {cpu: "4", memory: 8Gi, pods: "10"}
  capacity: {cpu: "4", memory: 8Gi, pods: "10"}
"""

SPREAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: spread}
spec:
  replicas: 6
  selector: {matchLabels: {app: spread}}
  template:
    metadata: {labels: {app: spread}}
    spec:
      nodeSelector: {type: kwok}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: spread}}
      containers:
        - name: main
          image: registry.example.com/that/nobody/has:1
          readinessProbe: {httpGet: {path: /, port: 80}}
"""

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {"nodeSelector": {"type": "kwok"}, "containers": [{"name": "main", "image": "none"}]},
}


def pod(name, annotations, **spec):
    metadata = {"name": name, "annotations": annotations}
    return json.dumps({**POD, "metadata": metadata, "spec": {**POD["spec"], **spec}})


def ready(cluster, count):
    def all_are():
        nodes = cluster.get("nodes")["items"]
        conditions = [c for node in nodes for c in node["status"].get("conditions", [])]
        return sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions) == count
    eventually(all_are, f"{count} nodes are Ready")


@pytest.fixture
def simulated(own_cluster):
    own_cluster.up("--simulated-nodes", "3")
    ready(own_cluster, 4)
    return own_cluster


def pods(cluster, *arguments):
    found = cluster.get("pods", *arguments)["items"]
    return {one["metadata"]["name"]: one for one in found}


def phase(cluster, name):
    return cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}")


def test_workloads_live_on_simulated_nodes_and_outlive_the_engine(simulated):
    simulated.kubectl("apply", "-f", "-", input=SPREAD)
    simulated.kubectl("rollout", "status", "deployment/spread", "--timeout=60s")
    before = pods(simulated)
    nodes = sorted(one["spec"]["nodeName"] for one in before.values())
    assert nodes == [f"simulated-{n}" for n in (1, 1, 2, 2, 3, 3)]
    addresses = {one["status"]["podIP"] for one in before.values()}
    assert len(addresses) == 6
    one = next(iter(before))
    for command in (["logs", one], ["exec", one, "--", "true"]):
        refused = simulated.kubectl_process(*command, check=False)
        assert "is simulated: it has no processes" in refused.stderr
    refused = simulated.kubectl_process("get", "--raw", "/api/v1/nodes/simulated-1/proxy/pods", check=False)
    assert "node simulated-1 has no machine here" in refused.stderr

    simulated.kill_engine()
    simulated.up()
    ready(simulated, 4)
    simulated.kubectl("rollout", "status", "deployment/spread", "--timeout=60s")

    def shown(found):
        return {(name, it["status"]["podIP"], it["status"]["containerStatuses"][0]["restartCount"])
                for name, it in found.items()}
    assert shown(pods(simulated)) == shown(before)

    simulated.kubectl("drain", "simulated-1", "--timeout=60s")
    eventually(lambda: len(pods(simulated)) == 6 and all(
        it["spec"].get("nodeName") in {"simulated-2", "simulated-3", None}
        for it in pods(simulated).values()), "the drained node's pods are elsewhere")


def test_pods_follow_their_annotations(simulated):
    create, complete = (f"pod-{stage}.stage.kwok.x-k8s.io/delay" for stage in ("create", "complete"))
    for manifest in (
        pod("slow", {create: "1h"}),
        pod("ends", {complete: "1s"}, restartPolicy="Never"),
        pod("fails", {"coracle.dev/simulated-failures": "1"}),
        pod("initialised", {}, initContainers=[{"name": "first", "image": "none"}]),
    ):
        simulated.kubectl("apply", "-f", "-", input=manifest)
    eventually(lambda: phase(simulated, "ends") == "Succeeded", "it ends")
    eventually(lambda: phase(simulated, "initialised") == "Running", "it runs after its first container")
    reasons = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    eventually(lambda: simulated.kubectl("get", "pod", "fails", "-o", reasons) == "CrashLoopBackOff",
               "it fails again and again")
    assert simulated.kubectl("get", "pod", "slow", "-o", reasons) == "ContainerCreating"
    simulated.kubectl("delete", "pod", "slow", "fails", "--timeout=60s")


def test_jobs_and_sets_come_to_their_end_in_order(simulated):
    simulated.kubectl("cordon", "node-1")
    simulated.kubectl("create", "job", "sum", "--image=none", "--", "true")
    simulated.kubectl("wait", "job/sum", "--for=condition=Complete", "--timeout=60s")
    manifest = {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                 "template": {"metadata": {"labels": {"app": "db"}},
                              "spec": {"containers": POD["spec"]["containers"]}},
                 "volumeClaimTemplates": [
                     {"metadata": {"name": "data"},
                      "spec": {"accessModes": ["ReadWriteOnce"],
                               "resources": {"requests": {"storage": "1Gi"}}}}]},
    }
    simulated.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    simulated.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    starts = [pods(simulated)[f"db-{n}"]["metadata"]["creationTimestamp"] for n in range(3)]
    assert starts == sorted(starts)
    claims = simulated.get("pvc")["items"]
    assert [claim["status"]["phase"] for claim in claims] == ["Bound"] * 3
    assert not (simulated.data_dir / "volumes").exists(), "nothing is made for them"
    simulated.kubectl("delete", "statefulset", "db", "--cascade=foreground", "--timeout=60s")
    assert not pods(simulated, "-l", "app=db")


def test_nodes_come_and_go(simulated):
    simulated.kubectl("apply", "-f", "-", input=KWOK_NODE)
    ready(simulated, 5)
    node = simulated.get("node", "kwok-node-0")
    assert node["status"]["allocatable"]["pods"] == "10"
    tolerates = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
    simulated.kubectl("apply", "-f", "-", input=pod(
        "there", {}, nodeName="kwok-node-0", tolerations=tolerates))
    eventually(lambda: phase(simulated, "there") == "Running", "it runs on kwok's node")
    told = simulated.up("--simulated-nodes", "1").stdout
    assert "for other flags" in told
    simulated.down()
    simulated.up("--simulated-nodes", "1")
    ready(simulated, 3)
    names = {node["metadata"]["name"] for node in simulated.get("nodes")["items"]}
    assert names == {"node-1", "simulated-1", "kwok-node-0"}
