"""Running pods that are given other resources, as `kubectl patch --subresource resize` asks for it."""

import json
import pathlib
import shlex

from cluster import eventually
from test_pod_life import FOR_EVER, create, events, pod_of, ready, script

# What a container finds of its own control group, by the hierarchies' version.
FILES = {1: ("cpu/cpu.shares", "cpu/cpu.cfs_quota_us", "memory/memory.limit_in_bytes"),
         2: ("cpu.weight", "cpu.max", "memory.max")}


def version():
    return 2 if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


def amounts(cpu, memory, limit=None):
    return {"requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
            "limits": {"cpu": f"{limit or cpu}m", "memory": f"{memory}Mi"}}


def expected(resources):
    """What `FILES` hold for a container with these resources."""
    memory = str(int(resources["limits"]["memory"].rstrip("Mi")) << 20)
    request, limit = (int(resources[of]["cpu"].rstrip("m")) for of in ("requests", "limits"))
    shares = request * 1024 // 1000
    if version() == 2:
        return [str(1 + (shares - 2) * 9999 // 262142), f"{limit * 100} 100000", memory]
    return [str(shares), str(limit * 100), memory]


class Pods:
    """Pods of one namespace, and what they are told and have."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    def kubectl(self, *arguments, **options):
        return self.cluster.kubectl_process("-n", self.namespace, *arguments, **options)

    def resize(self, name, container="c", check=True, **resources):
        patch = {"spec": {"containers": [{"name": container, "resources": resources}]}}
        return self.kubectl("patch", "pod", name, "--subresource=resize", "-p", json.dumps(patch), check=check)

    def get(self, name):
        return self.cluster.get("pod", name, "-n", self.namespace)

    def container(self, name, index=0):
        return self.get(name)["status"]["containerStatuses"][index]

    def conditions(self, name):
        all = self.get(name)["status"].get("conditions", [])
        return {one["type"]: one for one in all if "Resize" in one["type"]}

    def has(self, name, container="c"):
        """What the control group of a container says, within it."""
        files = " ".join(f"/sys/fs/cgroup/{file}" for file in FILES[version()])
        done = self.kubectl("exec", name, "-c", container, "--", "sh", "-c", f"cat {files}", check=False)
        return done.stdout.splitlines()

    def is_resized(self, name, resources, index=0):
        status = self.container(name, index)
        return (not self.conditions(name) and status.get("resources") == resources
                and status.get("allocatedResources") == resources["requests"]
                and self.has(name, status["name"]) == expected(resources))

    def group(self, name):
        """The limit of memory of the pod's own control group, on the machine."""
        group = f"coracle-{self.cluster.name}/pod{self.get(name)['metadata']['uid']}"
        root = pathlib.Path("/sys/fs/cgroup")
        files = [root / "memory" / group / "memory.limit_in_bytes", root / group / "memory.max"]
        return [int(file.read_text()) for file in files if file.exists()]


def test_resources_change_while_a_container_runs(cluster, namespace):
    pods = Pods(cluster, namespace)
    small, big, tiny = amounts(100, 32), amounts(200, 64, 300), amounts(50, 24)
    tough = {"resources": amounts(100, 32, 200), "restartPolicy": "Always"}
    create(cluster, namespace, pod_of(
        "web", script("c", FOR_EVER, resources=amounts(100, 32, 200)),
        initContainers=[script("side", FOR_EVER, **tough)], terminationGracePeriodSeconds=0))
    ready(cluster, namespace, "web")
    assert pods.is_resized("web", amounts(100, 32, 200))
    generation = pods.get("web")["metadata"]["generation"]
    # Up, down, and by the whole object.
    for step, resources in enumerate([big, tiny], start=1):
        pods.resize("web", **resources)
        eventually(lambda: pods.is_resized("web", resources), "the container has what it is to have")
        status = pods.get("web")
        assert status["metadata"]["generation"] == generation + step
        eventually(lambda: pods.get("web")["status"]["observedGeneration"] == generation + step, "it is seen")
    assert pods.group("web") == [(24 + 32) << 20]
    whole = pods.get("web")
    whole["spec"]["containers"][0]["resources"] = small | {"limits": amounts(100, 32, 150)["limits"]}
    cluster.kubectl("replace", "-n", namespace, "--subresource=resize", "-f", "-", input=json.dumps(whole))
    eventually(lambda: pods.is_resized("web", amounts(100, 32, 150)), "PUT resizes, too")
    # A sidecar is resized as containers are.
    patch = {"spec": {"initContainers": [{"name": "side", "resources": amounts(150, 48, 250)}]}}
    pods.kubectl("patch", "pod", "web", "--subresource=resize", "-p", json.dumps(patch))
    eventually(lambda: pods.has("web", "side") == expected(amounts(150, 48, 250)), "the sidecar is resized")
    assert pods.container("web")["restartCount"] == 0
    told = [reason for _, reason, _ in events(cluster, namespace, "web")]
    assert {"ResizeStarted", "ResizeCompleted"} <= set(told) and "Killing" not in told
    # What may not be said, and where it may not.
    for resources, why in [
            ({"requests": {"memory": "16Mi"}, "limits": {"cpu": None}}, "resource limits cannot be removed"),
            ({"limits": amounts(100, 32)["limits"]}, "Pod QOS Class may not change"),
            ({"requests": {"ephemeral-storage": "1Gi"}}, "only cpu and memory resources are mutable")]:
        if why.startswith("Pod QOS"):
            side = {"name": "side", "resources": amounts(150, 48)}
            patch = {"spec": {"containers": [{"name": "c", "resources": amounts(100, 32)}],
                              "initContainers": [side]}}
            refused = pods.kubectl("patch", "pod", "web", "--subresource=resize", "-p", json.dumps(patch),
                                   check=False)
        else:
            refused = pods.resize("web", check=False, **resources)
        assert refused.returncode == 1 and why in refused.stderr, refused.stderr
    patch = {"spec": {"containers": [{"name": "c", "resources": big}]}}
    refused = pods.kubectl("patch", "pod", "web", "-p", json.dumps(patch), check=False)
    assert "pod updates may not change fields other than" in refused.stderr


def test_a_policy_restarts_the_container_that_is_resized(cluster, namespace):
    pods = Pods(cluster, namespace)
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    create(cluster, namespace, pod_of(
        "web", script("c", FOR_EVER, resources=amounts(100, 32, 200), resizePolicy=policy),
        script("other", FOR_EVER, resources=amounts(50, 32))))
    ready(cluster, namespace, "web")
    pods.resize("web", **amounts(150, 32, 200))
    eventually(lambda: pods.is_resized("web", amounts(150, 32, 200)), "the processor needs no restart")
    assert pods.container("web")["restartCount"] == 0
    pods.resize("web", **amounts(150, 48, 200))
    eventually(lambda: pods.is_resized("web", amounts(150, 48, 200)), "it is resized")
    assert [pods.container("web", index)["restartCount"] for index in (0, 1)] == [1, 0]
    assert pods.group("web") == [(48 + 32) << 20]
    told = [message for _, reason, message in events(cluster, namespace, "web") if reason == "Killing"]
    assert told == ["Container c resize requires restart"]


def test_a_resize_waits_for_room_and_for_memory(cluster, namespace):
    pods = Pods(cluster, namespace)
    node = cluster.get("nodes")["items"][0]["status"]["allocatable"]
    cores = int(node["cpu"]) * 1000 if not node["cpu"].endswith("m") else int(node["cpu"][:-1])
    asks = {"requests": {"cpu": "100m", "memory": "16Mi"}}
    holds = script("c", FOR_EVER, resources={"requests": {"cpu": f"{cores * 6 // 10}m", "memory": "16Mi"}})
    create(cluster, namespace, pod_of("holds", holds, terminationGracePeriodSeconds=0),
           pod_of("waits", script("c", FOR_EVER, resources=asks), terminationGracePeriodSeconds=0))
    ready(cluster, namespace, "holds", "waits")
    # More than there is at all.
    never = pods.resize("waits", requests={"cpu": f"{cores + 1}m"}, check=False)
    why = f"node didn't have enough allocatable resources: cpu, requested: {cores + 1}, allocatable: {cores}"
    assert never.returncode == 1 and why in never.stderr, never.stderr
    # More than there is beside the other.
    pods.resize("waits", requests={"cpu": f"{cores * 6 // 10}m"})
    pending = eventually(lambda: pods.conditions("waits").get("PodResizePending"), "it is deferred")
    assert pending["reason"] == "Deferred" and pending["status"] == "True"
    assert pending["message"].startswith("Node didn't have enough resource: cpu, requested: ")
    assert pods.container("waits")["allocatedResources"]["cpu"] == "100m"
    why = cluster.coracle("why", "pod/waits", "-n", namespace).stdout
    assert "Deferred" in why and "Node didn't have enough resource: cpu" in why, why
    assert any(reason == "ResizeDeferred" for _, reason, _ in events(cluster, namespace, "waits"))
    cluster.kubectl("delete", "pod", "holds", "-n", namespace)
    eventually(lambda: not pods.conditions("waits"), "there is room")
    assert pods.container("waits")["allocatedResources"]["cpu"] == f"{cores * 6 // 10}m"
    pods.kubectl("delete", "pod", "waits", "--now")
    # Memory that is in use stays.
    eats = "dd if=/dev/zero of=/dev/shm/full bs=1M count=24; " + FOR_EVER
    create(cluster, namespace, pod_of("full", script("c", eats, resources=amounts(50, 64)),
                                      terminationGracePeriodSeconds=0))
    ready(cluster, namespace, "full")
    used = shlex.split("exec full -- sh -c 'test $(du -m /dev/shm/full | cut -f1) -ge 24'")
    eventually(lambda: pods.kubectl(*used, check=False).returncode == 0, "it uses its memory")
    pods.resize("full", **amounts(50, 16))

    def failed():
        condition = pods.conditions("full").get("PodResizeInProgress", {})
        return condition.get("reason") == "Error" and condition["message"]

    message = eventually(failed, "memory in use is not taken away")
    assert message.startswith("cannot decrease memory limits: [attempting to set pod memory limit (16777216) below")
    assert pods.container("full")["resources"]["limits"]["memory"] == "64Mi"
    pods.kubectl("exec", "full", "--", "rm", "/dev/shm/full")
    eventually(lambda: pods.is_resized("full", amounts(50, 16)), "it is tried again")
    assert pods.container("full")["restartCount"] == 0


def test_quotas_and_limit_ranges_bound_a_resize(cluster, namespace):
    pods = Pods(cluster, namespace)
    create(cluster, namespace, {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"},
        "spec": {"hard": {"requests.cpu": "300m"}}})
    create(cluster, namespace, {
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "range"},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}})
    create(cluster, namespace, pod_of("web", script("c", FOR_EVER, resources=amounts(100, 32)),
                                      terminationGracePeriodSeconds=0))
    ready(cluster, namespace, "web")
    refused = pods.resize("web", check=False, **amounts(400, 32))
    assert "exceeded quota: few, requested: requests.cpu=300m, used: requests.cpu=100m" in refused.stderr
    refused = pods.resize("web", check=False, **amounts(100, 128))
    assert "maximum memory usage per Container is 64Mi, but limit is 128Mi" in refused.stderr
    pods.resize("web", **amounts(250, 32))
    eventually(lambda: pods.is_resized("web", amounts(250, 32)), "what is within them is done")
    used = cluster.get("resourcequota", "few", "-n", namespace)["status"]["used"]
    assert used == {"requests.cpu": "250m"}


def test_a_resize_outlives_the_engine(own_cluster):
    cluster = own_cluster
    cluster.up()
    cluster.load("busybox")
    pods = Pods(cluster, "default")
    node = cluster.get("nodes")["items"][0]["status"]["allocatable"]["cpu"]
    half = f"{int(float(node[:-1]) if node.endswith('m') else float(node) * 1000) * 6 // 10}m"
    create(cluster, "default",
           pod_of("web", script("c", FOR_EVER, resources=amounts(100, 32)), terminationGracePeriodSeconds=0),
           pod_of("big", script("c", FOR_EVER, resources={"requests": {"cpu": half}})),
           pod_of("waits", script("c", FOR_EVER, resources={"requests": {"cpu": "100m"}})))
    ready(cluster, "default", "web", "big", "waits")
    pods.resize("web", **amounts(200, 48))
    pods.resize("waits", requests={"cpu": half})
    cluster.kill_engine()
    cluster.up()
    eventually(lambda: pods.is_resized("web", amounts(200, 48)), "what was asked for is done")
    deferred = eventually(lambda: pods.conditions("waits").get("PodResizePending"), "the other still waits")
    assert deferred["reason"] == "Deferred"
    assert pods.container("waits")["allocatedResources"] == {"cpu": "100m"}
    assert [pods.container(name)["restartCount"] for name in ("web", "waits")] == [0, 0]
