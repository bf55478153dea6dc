"""Kills at the worst moment, and a host that is as it was before."""

import concurrent.futures
import json
import os
import pathlib
import random
import signal

from cluster import CHARTS, eventually

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

    mounts = sorted(line.split(" - ")[0].split(" ", 4)[4] for line in
                    pathlib.Path("/proc/self/mountinfo").read_text().splitlines())
    cgroups = sorted(str(path) for path in pathlib.Path("/sys/fs/cgroup").rglob(f"coracle-{cluster.name}*"))
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


def test_after_down_the_host_is_as_before(own_cluster):
    cluster = own_cluster
    cluster.data_dir.mkdir(parents=True)
    before = host(cluster)
    cluster.up()
    cluster.load("busybox")
    cluster.helm("install", "app", CHARTS / "visits", "--wait", "--timeout", "60s")
    assert host(cluster) != before
    cluster.down()
    assert host(cluster) == before

    cluster.up()
    eventually(lambda: "3/3" in cluster.kubectl("get", "sts", "app"), "pods are back after `up`")
    os.kill(cluster.engine_pid(), signal.SIGKILL)
    eventually(lambda: cluster.coracle("status", check=False).returncode != 0, "engine is dead")
    cluster.down()
    assert host(cluster) == before, "also after an engine that was killed"


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
    assert cluster.kubectl("exec", "sleeper", "--", "hostname").strip() == "sleeper" and pid


def test_a_killed_shim_means_a_new_container_and_nothing_twice(cluster, namespace):
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


def test_a_hundred_kills_among_a_thousand_writes_lose_nothing(own_cluster):
    """Every acknowledged write is there after each `kill -9` of the engine."""
    cluster = own_cluster
    cluster.up()
    kills, per_kill = 100, 10
    acknowledged = {}
    chance = random.Random(4)

    def write(n):
        done = cluster.kubectl_process("create", "configmap", f"c{n}", f"--from-literal=n={n}",
                                       "--request-timeout=2s", check=False)
        return n if done.returncode == 0 else None

    with concurrent.futures.ThreadPoolExecutor(per_kill + 1) as pool:
        for kill in range(kills):
            pid = cluster.engine_pid()
            writes = [pool.submit(write, kill * per_kill + i) for i in range(per_kill)]
            concurrent.futures.wait(writes, timeout=chance.uniform(0.0, 0.25))
            os.kill(pid, signal.SIGKILL)
            acknowledged.update({n: True for n in (w.result() for w in writes) if n is not None})
            eventually(lambda: cluster.coracle("status", check=False).returncode != 0, "dead")
            cluster.up("--no-kubeconfig")
    names = {item["metadata"]["name"]: item["data"]["n"] for item in
             json.loads(cluster.kubectl("get", "configmaps", "-o", "json"))["items"]
             if item["metadata"]["name"].startswith("c")}
    lost = [n for n in acknowledged if names.get(f"c{n}") != str(n)]
    assert not lost and len(acknowledged) > kills, (lost, len(acknowledged))
