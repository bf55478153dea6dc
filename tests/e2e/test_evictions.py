"""Pods that must leave the node: for what they have written, or because its disk fills."""

import os

from cluster import eventually
from test_pod_life import FOR_EVER, create, events, pod_of, ready, script


def storage(limit):
    return {"resources": {"limits": {"ephemeral-storage": limit}}}


def write(cluster, namespace, pod, megabytes, path):
    cluster.kubectl_process("exec", "-n", namespace, pod, "-c", "c", "--", "dd", "if=/dev/zero",
                            f"of={path}", "bs=1M", f"count={megabytes}", check=False)


def evicted(cluster, namespace, pod, within=60):
    """The status of a pod that is, or becomes, evicted."""
    def status():
        found = cluster.get("pod", pod, "-n", namespace)["status"]
        return found if found["phase"] == "Failed" and found.get("reason") == "Evicted" else None
    return eventually(status, f"{pod} is evicted", timeout=within)


def test_who_writes_more_than_it_may_goes(cluster, namespace):
    mounts = [{"name": "e", "mountPath": "/e"}]
    limited = [{"name": "e", "emptyDir": {"sizeLimit": "8Mi"}}]
    free = [{"name": "e", "emptyDir": {}}]
    create(cluster, namespace,
           pod_of("volume", script("c", FOR_EVER, volumeMounts=mounts), volumes=limited),
           pod_of("container", script("c", FOR_EVER, **storage("4Mi")), script("other", FOR_EVER)),
           pod_of("total", script("c", FOR_EVER, volumeMounts=mounts, **storage("4Mi")),
                  script("other", FOR_EVER, **storage("2Mi")), volumes=free),
           pod_of("modest", script("c", FOR_EVER, volumeMounts=mounts, **storage("32Mi")), volumes=limited))
    ready(cluster, namespace, "volume", "container", "total", "modest")
    write(cluster, namespace, "modest", 8, "/e/x")
    write(cluster, namespace, "volume", 9, "/e/x")
    write(cluster, namespace, "container", 5, "/tmp-x")
    write(cluster, namespace, "total", 7, "/e/x")
    expected = {
        "volume": 'Usage of EmptyDir volume "e" exceeds the limit "8Mi". ',
        "container": "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ",
        "total": "Pod ephemeral local storage usage exceeds the total limit of containers 6Mi. ",
    }
    for name, message in expected.items():
        status = evicted(cluster, namespace, name)
        assert status["message"] == message
        assert not [one for one in status["conditions"] if one["type"] == "DisruptionTarget"]
        assert ("Warning", "Evicted", message) in events(cluster, namespace, name)
        assert all("terminated" in one["state"] for one in status["containerStatuses"])
    # Who wrote what it may stays.
    assert cluster.get("pod", "modest", "-n", namespace)["status"]["phase"] == "Running"


def test_a_disk_that_fills_drives_out_who_fills_it(own_cluster, disk):
    cluster = own_cluster
    cluster.up()
    cluster.load("busybox")
    mounts = [{"name": "e", "mountPath": "/e"}]
    create(cluster, "default",
           pod_of("hog", script("c", FOR_EVER, volumeMounts=mounts), volumes=[{"name": "e", "emptyDir": {}}]),
           pod_of("modest", script("c", FOR_EVER)))
    ready(cluster, "default", "hog", "modest")
    found = os.statvfs(disk.target)
    megabytes = (found.f_bavail * found.f_frsize >> 20) - 9
    write(cluster, "default", "hog", megabytes, "/e/x")

    def pressed():
        node = cluster.get("node", "node-1")
        conditions = {one["type"]: one["status"] for one in node["status"]["conditions"]}
        taints = [one["key"] for one in node["spec"].get("taints", [])]
        return conditions["DiskPressure"], "node.kubernetes.io/disk-pressure" in taints

    eventually(lambda: pressed() == ("True", True), "the node says that its disk is full")
    create(cluster, "default", pod_of("late", script("c", FOR_EVER)))
    status = evicted(cluster, "default", "hog")
    assert status["message"].startswith("The node was low on resource: ephemeral-storage. Threshold quantity: ")
    target = [one for one in status["conditions"] if one["type"] == "DisruptionTarget"]
    assert [one["reason"] for one in target] == ["TerminationByKubelet"]
    # Room was made, and who took next to nothing is still there.
    eventually(lambda: pressed() == ("False", False), "the node has room again", timeout=90)
    ready(cluster, "default", "modest", "late")
    told = [reason for _, reason, _ in events(cluster, "default", "node-1")]
    assert {"NodeHasDiskPressure", "NodeHasNoDiskPressure", "EvictionThresholdMet"} <= set(told)
    assert cluster.get("pod", "modest")["status"]["containerStatuses"][0]["restartCount"] == 0
