"""Disks that are full or die, and machines that lose everything but their disk."""

import os
import pathlib
import signal
import subprocess

from cluster import IMAGES, control_groups, eventually
from disk import mounts_below

# Counts its starts on its volume, so that a start too many or a volume lost shows.
COUNTER = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: counter}
spec:
  serviceName: counter
  replicas: 2
  selector: {matchLabels: {app: counter}}
  template:
    metadata: {labels: {app: counter}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: busybox:1.36
          command:
            - sh
            - -c
            - |
              trap 'exit 0' TERM
              echo $(($(cat /data/starts 2>/dev/null || echo 0) + 1)) > /data/starts
              sync
              sleep 1000000 & wait
          readinessProbe: {exec: {command: [test, -s, /data/starts]}, periodSeconds: 1}
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 16Mi}}
"""
PODS = ["counter-0", "counter-1"]


def create(cluster, name, large=False, check=True):
    value = "x" * (100_000 if large else 1)
    return cluster.kubectl_process("create", "configmap", name, f"--from-literal=a={value}", check=check)


def starts(cluster):
    """What the pods of the set counted."""
    return [int(cluster.kubectl("exec", pod, "--", "cat", "/data/starts")) for pod in PODS]


def restarts(cluster):
    statuses = [cluster.get("pod", pod)["status"]["containerStatuses"][0] for pod in PODS]
    return [status["restartCount"] for status in statuses]


def install(cluster):
    cluster.up()
    cluster.load("busybox")
    cluster.kubectl("apply", "-f", "-", input=COUNTER)
    cluster.kubectl("rollout", "status", "sts/counter", "--timeout=60s")


def engine_dies(cluster):
    cluster.kill_engine()


def test_a_full_disk_refuses_writes_and_loses_none(own_cluster, disk):
    cluster = own_cluster
    install(cluster)
    create(cluster, "before")
    engine = cluster.engine_pid()
    disk.fill()
    # What the store's file has room for still fits.
    made = [create(cluster, f"large-{number}", large=True, check=False) for number in range(30)]
    refused = made[-1]
    assert refused.returncode != 0
    assert "the disk is full: nothing was stored" in refused.stderr
    unloaded = cluster.coracle("image", "load", IMAGES / "redis.tar", check=False)
    assert unloaded.returncode == 1 and "No space left" in unloaded.stderr
    names = {item["metadata"]["name"] for item in cluster.get("configmaps")["items"]}
    acknowledged = {f"large-{n}" for n, done in enumerate(made) if done.returncode == 0}
    assert {name for name in names if name.startswith("large")} == acknowledged
    assert "before" in names
    # The volumes are sparse files on the same disk: what they take now fails in them alone.
    cluster.kubectl_process("exec", "counter-0", "--", "sh", "-c",
                            "dd if=/dev/zero of=/data/big bs=1M count=12; sync", check=False)

    disk.free()
    create(cluster, "after")
    assert cluster.engine_pid() == engine
    # A container that starts anew has its volume as it should be.
    cluster.kubectl("delete", "pod", "counter-0")
    cluster.kubectl("rollout", "status", "sts/counter", "--timeout=60s")
    cluster.kubectl("exec", "counter-0", "--", "sh", "-c", "rm -f /data/big; echo ok > /data/ok; sync")
    assert starts(cluster) == [2, 1]


def test_a_disk_that_dies_keeps_what_was_acknowledged(own_cluster, disk):
    cluster = own_cluster
    cluster.up()
    create(cluster, "before")
    disk.die()
    refused = create(cluster, "refused", check=False)
    assert refused.returncode != 0
    assert "the disk failed" in refused.stderr
    assert "before" in cluster.kubectl("get", "configmaps"), "what is in memory can be read"
    engine_dies(cluster)
    disk.unmount()
    disk.mount()
    cluster.up()
    names = {item["metadata"]["name"] for item in cluster.get("configmaps")["items"]}
    assert "before" in names and "refused" not in names


def test_a_read_only_disk_is_named(own_cluster, disk):
    cluster = own_cluster
    cluster.up()
    cluster.down()
    subprocess.run(["mount", "-o", "remount,ro", disk.target], check=True)
    refused = cluster.up(check=False)
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr and str(disk.target) in refused.stderr
    assert len(refused.stderr.splitlines()) <= 2, refused.stderr
    subprocess.run(["mount", "-o", "remount,rw", disk.target], check=True)
    cluster.up()


def processes_of(cluster):
    """Ids of the cluster's own processes and of all in its containers."""
    found = set()
    # A shim says of which pod it is, and not where the cluster's data is: its containers see that.
    pods = [path.name for path in (cluster.data_dir / "run/sandboxes").glob("*")]
    for line in cluster.run("ps", "-eo", "pid,args").stdout.splitlines()[1:]:
        pid, args = line.split(None, 1)
        if args.startswith("coracle") and any(word in args for word in [str(cluster.data_dir), *pods]):
            found.add(int(pid))
    for group in control_groups(f"coracle-{cluster.name}"):
        for directory, _, _ in os.walk(group):
            found.update(map(int, pathlib.Path(directory, "cgroup.procs").read_text().split()))
    return found


def lose_power(cluster):
    """Everything that a reboot takes: processes, mounts, namespaces, links, rules, /run."""
    while processes := processes_of(cluster):
        for pid in processes:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    link = f"cor-{cluster.name}"
    cluster.run("ip", "link", "delete", link, check=False)
    cluster.run("nft", "flush", "ruleset")
    cluster.run("ip", "route", "flush", "type", "unreachable", check=False)
    for path in reversed(sorted(mounts_below(cluster.data_dir))):
        subprocess.run(["umount", path], check=True)
    for group in control_groups(f"coracle-{cluster.name}"):
        for directory, _, _ in os.walk(group, topdown=False):
            eventually(lambda: not os.path.isdir(directory) or remove_group(directory), "empty group")
    # Of /run, only what belongs to this cluster's network: other tests' clusters live on.
    inode = cluster.run("stat", "-Lc", "%i", "/proc/self/ns/net").stdout.strip()
    pathlib.Path(f"/run/coracle/forwarding-{inode}").unlink(missing_ok=True)


def remove_group(directory):
    try:
        os.rmdir(directory)
        return True
    except OSError:
        return False


def test_after_a_reboot_every_pod_runs_once_and_counts_on(own_cluster):
    cluster = own_cluster
    install(cluster)
    create(cluster, "acknowledged")
    before = {pod: cluster.get("pod", pod)["metadata"]["uid"] for pod in PODS}
    assert starts(cluster) == [1, 1]
    lose_power(cluster)
    assert cluster.coracle("status", check=False).returncode == 1

    cluster.up()
    eventually(lambda: restarts(cluster) == [1, 1], "their containers are started again")
    cluster.kubectl("rollout", "status", "sts/counter", "--timeout=60s")
    assert {pod: cluster.get("pod", pod)["metadata"]["uid"] for pod in PODS} == before
    assert starts(cluster) == [2, 2], "one start each, on the same volumes"
    assert "acknowledged" in cluster.kubectl("get", "configmaps")
    assert [len(shims_of(cluster, pod)) for pod in PODS] == [1, 1]


def test_kills_of_engine_shims_and_containers_leave_one_of_each_pod(own_cluster):
    cluster = own_cluster
    install(cluster)
    expected = 1
    for victim in ["container", "shim", "engine and shim", "engine and container"]:
        pid = cluster.engine_pid()
        shims = shims_of(cluster, "counter-0")
        if "engine" in victim:
            os.kill(pid, signal.SIGKILL)
        targets = shims if "shim" in victim else containers_of(shims)
        assert targets, victim
        for target in targets:
            os.kill(target, signal.SIGKILL)
        if "engine" in victim:
            eventually(lambda: cluster.coracle("status", check=False).returncode != 0, "dead")
            cluster.up("--no-kubeconfig")
        expected += 1
        eventually(lambda: restarts(cluster)[0] == expected - 1, f"a new container after {victim}")
        cluster.kubectl("wait", "pod/counter-0", "--for=condition=Ready", "--timeout=60s")
        assert starts(cluster) == [expected, 1], victim
        assert len(shims_of(cluster, "counter-0")) == 1, victim


def uid_of(cluster, pod):
    """The pod's UID; None, when there is no such pod."""
    uid = cluster.kubectl("get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
    return uid or None


def test_a_mute_shim_ends_with_its_pod_before_that_is_confirmed(own_cluster):
    cluster = own_cluster
    install(cluster)
    shims = shims_of(cluster, "counter-0")
    containers = containers_of(shims)
    assert containers
    os.kill(shims[0], signal.SIGSTOP)
    uid = cluster.get("pod", "counter-0")["metadata"]["uid"]
    cluster.kubectl("delete", "pod", "counter-0", "--wait=false")
    eventually(lambda: uid_of(cluster, "counter-0") not in (None, uid), "another pod")
    left = [pid for pid in [*shims, *containers] if pathlib.Path(f"/proc/{pid}/exe").exists()
            and "State:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()]
    assert not left
    cluster.kubectl("wait", "pod/counter-0", "--for=condition=Ready", "--timeout=60s")
    assert starts(cluster) == [2, 1]

    # What dies while its shim is silent does not stay Ready.
    shims = shims_of(cluster, "counter-1")
    dying = containers_of(shims)
    os.kill(shims[0], signal.SIGSTOP)
    for pid in dying:
        os.kill(pid, signal.SIGKILL)
    cluster.kubectl("wait", "pod/counter-1", "--for=condition=Ready=false", "--timeout=60s")
    os.kill(shims[0], signal.SIGCONT)
    cluster.kubectl("wait", "pod/counter-1", "--for=condition=Ready", "--timeout=60s")
    assert starts(cluster) == [2, 2]


def test_mute_shims_hold_no_engine_up(own_cluster):
    cluster = own_cluster
    install(cluster)
    stopped = [pid for pod in PODS for pid in shims_of(cluster, pod)]
    os.kill(cluster.engine_pid(), signal.SIGKILL)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: cluster.coracle("status", check=False).returncode != 0, "dead")
    cluster.up("--no-kubeconfig")
    for pod in PODS:
        cluster.kubectl("wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=60s")
    assert starts(cluster) == [2, 2]


def shims_of(cluster, pod):
    uid = cluster.get("pod", pod)["metadata"]["uid"]
    return [int(line.split()[0]) for line in cluster.run("ps", "-eo", "pid,args").stdout.splitlines()
            if " shim " in line and uid in line]


def containers_of(shims):
    """The first process of each container: the shim's child that has children of the pod's own."""
    table = [line.split(None, 2) for line in
             subprocess.run(["ps", "-eo", "pid,ppid,args"], text=True, capture_output=True,
                            check=True).stdout.splitlines()[1:]]
    return [int(pid) for pid, parent, args in table
            if int(parent) in shims and args.startswith("sh -c")]
