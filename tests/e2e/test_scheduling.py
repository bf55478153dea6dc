"""Where pods go, whose place they take and what they wait for, with stock kubectl on real containers."""

import json

import pytest
from cluster import eventually

TOKEN = "example.com/token"

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}, finalizers: [{finalizers}]}}
spec:
  terminationGracePeriodSeconds: 5
  priorityClassName: {priority}
  containers:
    - name: main
      image: busybox:1.36
      command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
      resources: {{requests: {requests}, limits: {requests}}}
"""


@pytest.fixture
def kubectl(cluster, namespace):
    return lambda *arguments, **options: cluster.kubectl("-n", namespace, *arguments, **options)


@pytest.fixture
def priorities(cluster):
    """The classes `low`, `middle` and `high`."""
    values = {"low": 1, "middle": 100, "high": 1000}
    for name, value in values.items():
        cluster.kubectl("create", "priorityclass", name, f"--value={value}")
    yield
    cluster.kubectl("delete", "priorityclass", *values)


@pytest.fixture
def node(cluster):
    (node,) = cluster.get("nodes")["items"]
    return node["metadata"]["name"]


@pytest.fixture
def tokens(cluster, node):
    """A resource that somebody else than the node says there is: five of it."""

    def write(amount):
        amounts = {TOKEN: amount}
        patch = json.dumps({"status": {"capacity": amounts, "allocatable": amounts}})
        cluster.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)

    write("5")
    yield
    write(None)


def pod(kubectl, name, requests, priority='""', finalizers=""):
    text = POD.format(
        name=name, requests=json.dumps(requests), priority=priority, finalizers=finalizers
    )
    kubectl("apply", "-f", "-", input=text)


def ready(kubectl, name):
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")


def get(kubectl, *what):
    return json.loads(kubectl("get", *what, "-o", "json"))


def scheduled(kubectl, name):
    conditions = get(kubectl, "pod", name).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "PodScheduled"), {})


def waits(kubectl, name, message):
    def says():
        condition = scheduled(kubectl, name)
        return (condition.get("reason"), condition.get("message")) == ("Unschedulable", message)

    eventually(says, f"{name} says why it waits: {message}")


def events(kubectl, name, reason):
    selector = f"involvedObject.name={name},reason={reason}"
    return [event["message"] for event in get(kubectl, "events", "--field-selector", selector)["items"]]


def test_an_important_pod_takes_the_place_of_the_least_important(
    kubectl, priorities, node, tokens
):
    pod(kubectl, "middle", {TOKEN: 3}, "middle")
    ready(kubectl, "middle")
    pod(kubectl, "low", {TOKEN: 2}, "low", finalizers="example.com/hold")
    ready(kubectl, "low")
    pod(kubectl, "polite", {TOKEN: 2})
    without = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    before = f"0/1 nodes are available: 1 Insufficient {TOKEN}."
    waits(kubectl, "polite", f"{before} {without}")

    pod(kubectl, "high", {TOKEN: 2}, "high")
    ready(kubectl, "high")
    # The one that went is still to be seen, because something holds it.
    low = get(kubectl, "pod", "low")
    target = next(one for one in low["status"]["conditions"] if one["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "PreemptionByScheduler")
    assert low["metadata"]["deletionTimestamp"]
    uid = get(kubectl, "pod", "high")["metadata"]["uid"]
    assert events(kubectl, "low", "Preempted") == [f"Preempted by pod {uid} on node {node}"]
    assert before in events(kubectl, "high", "FailedScheduling")
    assert "nominatedNodeName" not in get(kubectl, "pod", "high")["status"]
    assert get(kubectl, "pod", "middle")["status"]["phase"] == "Running"
    # Nobody else got the place meanwhile.
    assert scheduled(kubectl, "polite")["status"] == "False"
    kubectl("patch", "pod", "low", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl("wait", "--for=delete", "pod/low", "--timeout=30s")


def test_a_critical_pod_takes_the_processors_of_others(cluster, kubectl, node):
    cpu = get(kubectl, "node", node)["status"]["allocatable"]["cpu"]
    most = {"cpu": f"{int(cpu) * 600}m"}
    pod(kubectl, "ordinary", most)
    ready(kubectl, "ordinary")
    pod(kubectl, "never", {"cpu": f"{int(cpu) + 1}"})
    waits(
        kubectl,
        "never",
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 "
        "Preemption is not helpful for scheduling.",
    )

    def in_system(*arguments, **options):
        return cluster.kubectl("-n", "kube-system", *arguments, **options)

    pod(in_system, "critical", most, "system-cluster-critical")
    try:
        ready(in_system, "critical")
        kubectl("wait", "--for=delete", "pod/ordinary", "--timeout=30s")
    finally:
        in_system("delete", "pod", "critical", "--ignore-not-found")


def test_a_gated_pod_waits_until_it_is_let_go(kubectl):
    gated = json.dumps({"spec": {"schedulingGates": [{"name": "example.com/wait"}]}})
    kubectl("run", "gated", "--image=busybox:1.36", "--overrides", gated, "--", "sleep", "1000000")
    assert "SchedulingGated" in kubectl("get", "pod", "gated", "--no-headers")
    condition = scheduled(kubectl, "gated")
    assert (condition["status"], condition["reason"]) == ("False", "SchedulingGated")
    assert condition["message"] == "Scheduling is blocked due to non-empty scheduling gates"
    assert events(kubectl, "gated", "FailedScheduling") == []
    lift = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
    kubectl("patch", "pod", "gated", "--type=json", "-p", lift)
    ready(kubectl, "gated")
    kubectl("delete", "pod", "gated", "--grace-period=1")


def test_taints_labels_and_ports_of_the_node_are_heeded(cluster, kubectl, namespace, node):
    later = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."

    def waits_for(name, reason):
        waits(kubectl, name, f"0/1 nodes are available: 1 {reason}. {later}")

    cluster.kubectl("taint", "node", node, "example.com/busy=yes:NoSchedule")
    try:
        kubectl("run", "shy", "--image=busybox:1.36", "--", "sleep", "1000000")
        waits_for("shy", "node(s) had untolerated taint(s)")
    finally:
        cluster.kubectl("taint", "node", node, "example.com/busy-")
    ready(kubectl, "shy")

    choosy = json.dumps({"spec": {"nodeSelector": {"example.com/disk": "fast"}}})
    kubectl("run", "choosy", "--image=busybox:1.36", "--overrides", choosy, "--", "sleep", "1000000")
    waits_for("choosy", "node(s) didn't match Pod's node affinity/selector")
    cluster.kubectl("label", "node", node, "example.com/disk=fast")
    try:
        ready(kubectl, "choosy")
    finally:
        cluster.kubectl("label", "node", node, "example.com/disk-")
    assert events(kubectl, "choosy", "Scheduled") == [
        f"Successfully assigned {namespace}/choosy to {node}"
    ]
    kubectl("delete", "pod", "shy", "choosy", "--grace-period=1")
