"""What pods use, and how many of them there should be: kubectl top and kubectl autoscale."""

import json
import re

from cluster import eventually

BUSY = """
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: spins
      image: busybox:1.36
      command: [sh, -c, "while true; do true; done"]
      resources: {limits: {cpu: 200m, memory: 32Mi}}
    - name: rests
      image: busybox:1.36
      command: [sleep, "1000000"]
---
apiVersion: v1
kind: Pod
metadata: {name: idle, labels: {app: idle}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: busybox:1.36, command: [sleep, "1000000"]}]
"""


def rows(text):
    """The table that `kubectl top` prints, without its head."""
    return [line.split() for line in text.splitlines()[1:]]


def test_kubectl_top_shows_what_containers_use(cluster, namespace):
    """No metrics-server: the engine reads the control groups when somebody asks."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=BUSY)
    cluster.kubectl("wait", "-n", namespace, "pod", "--all", "--for=condition=Ready")

    def top(*arguments):
        return rows(cluster.kubectl("top", "pod", "-n", namespace, *arguments, check=False))

    # A container that has just begun is not known yet.
    eventually(lambda: len(top()) == 2, "both pods are measured")
    names = [row[0] for row in top("--sort-by=cpu")]
    assert names == ["busy", "idle"], names
    [[name, cpu, memory]] = top("-l", "app=busy")
    assert name == "busy" and int(cpu.removesuffix("m")) > 20 and memory.endswith("Mi"), (cpu, memory)
    by_container = {row[1]: row[2] for row in top("--containers", "busy")}
    assert by_container["rests"] == "0m" and by_container["spins"] != "0m", by_container
    everywhere = rows(cluster.kubectl("top", "pods", "-A"))
    assert {(namespace, "busy"), (namespace, "idle")} <= {(row[0], row[1]) for row in everywhere}
    [node] = rows(cluster.kubectl("top", "nodes"))
    assert re.fullmatch(r"\d+m", node[1]) and re.fullmatch(r"\d+%", node[2]), node

    missing = cluster.kubectl_process("top", "pod", "nope", "-n", namespace, check=False).stderr
    assert f'podmetrics.metrics.k8s.io "{namespace}/nope" not found' in missing, missing
    table = cluster.kubectl("get", "podmetrics", "-n", namespace)
    assert table.split()[:4] == ["NAME", "CPU", "MEMORY", "WINDOW"], table
    explained = cluster.kubectl("explain", "podmetrics.containers.usage")
    assert "VERSION:    v1beta1" in explained, explained
    raw = json.loads(cluster.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"))
    assert raw["kind"] == "NodeMetricsList" and raw["items"][0]["window"], raw


def test_viewers_may_see_what_pods_use(cluster, namespace):
    cluster.kubectl("create", "rolebinding", "see", "-n", namespace,
                    "--clusterrole=view", "--serviceaccount=default:default")
    account = "--as=system:serviceaccount:default:default"
    for verb in ["get", "list"]:
        answer = cluster.kubectl("auth", "can-i", verb, "pods.metrics.k8s.io", "-n", namespace, account)
        assert answer.strip() == "yes"
    refused = cluster.kubectl("auth", "can-i", "list", "nodes.metrics.k8s.io", account, check=False)
    assert refused.strip() == "no"


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: busybox:1.36
          command: [sh, -c, "while true; do true; done"]
          resources: {requests: {cpu: 20m}, limits: {cpu: 100m}}
"""


def test_a_busy_deployment_grows_and_its_autoscaler_says_why(cluster, namespace):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=DEPLOYMENT)
    cluster.kubectl("autoscale", "-n", namespace, "deployment/web",
                    "--cpu=50%", "--min=1", "--max=3")

    def replicas():
        return cluster.get("-n", namespace, "deployment/web")["spec"]["replicas"]

    eventually(lambda: replicas() == 3, "it grows to the most that it may have", timeout=120)
    cluster.kubectl("rollout", "status", "-n", namespace, "deployment/web")
    autoscaler = eventually(lambda: cluster.get("-n", namespace, "hpa/web"), "it is there")
    conditions = {one["type"]: one for one in autoscaler["status"]["conditions"]}
    assert conditions["ScalingActive"]["reason"] == "ValidMetricFound", conditions
    assert autoscaler["status"]["desiredReplicas"] == 3, autoscaler
    described = cluster.kubectl("describe", "-n", namespace, "hpa/web")
    assert "New size: 3; reason: cpu resource utilization (percentage of request) above target" in described
    table = cluster.kubectl("get", "-n", namespace, "hpa/web").splitlines()[1]
    assert re.search(r"cpu: \d+%/50%", table), table
    # A smaller bound is kept at the next look, without a word about metrics.
    cluster.kubectl("patch", "-n", namespace, "hpa/web", "-p", '{"spec": {"maxReplicas": 2}}')
    eventually(lambda: replicas() == 2, "no more than it may have now")
    events = cluster.kubectl("get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}")
    assert "Current number of replicas above Spec.MaxReplicas" in events


def test_an_autoscaler_without_its_metrics_says_which_it_lacks(cluster, namespace):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=DEPLOYMENT)
    made = cluster.kubectl_process("apply", "-n", namespace, "-f", "-", input="""
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
  metrics:
    - type: Pods
      pods: {metric: {name: rps}, target: {type: AverageValue, averageValue: "10"}}
""")
    assert "Warning" not in made.stderr, made.stderr
    cluster.kubectl("wait", "-n", namespace, "hpa/web", "--for=condition=ScalingActive=false")
    described = cluster.kubectl("describe", "-n", namespace, "hpa/web")
    assert "FailedGetPodsMetric" in described and "no custom metrics API" in described, described
