"""Volumes under torture: every line that a pod has synced is there.

`make torture VOLUMES=1` plays it for minutes, `make test` for a few rounds; TORTURE_SEED repeats one.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import time

from cluster import eventually
from disk import mounts_below
from test_faults import engine_dies, shims_of

SECONDS = int(os.environ.get("TORTURE_SECONDS", "45"))
SEED = int(os.environ.get("TORTURE_SEED", random.randrange(1 << 32)))

# Appends lines and syncs each; what was acknowledged goes to a disk that nobody tortures.
WRITER = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: writer}
spec:
  serviceName: writer
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: writer}}
  template:
    metadata: {labels: {app: writer}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {fsGroup: 4242}
      containers:
        - name: main
          image: busybox:1.36
          env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          command:
            - sh
            - -c
            - |
              trap 'exit 0' TERM
              run=$(cat /proc/sys/kernel/random/uuid)
              padding=$(printf '%0400d' 0)
              n=0
              while :; do
                n=$((n + 1))
                if printf '\\n%s %s %s\\n' $run $n $padding |
                    dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null; then
                  echo "$run $n $padding" >> /acks/$POD
                else
                  sleep 0.05
                fi
              done
          volumeMounts: [{name: data, mountPath: /data}, {name: acks, mountPath: /acks}]
      volumes: [{name: acks, hostPath: {path: ACKS}}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 256Mi}}
"""
PODS = ["writer-0", "writer-1"]


class Torture:
    """What may happen to a cluster whose data directory is on `disk`."""

    def __init__(self, cluster, disk, acks, chance):
        self.cluster, self.disk, self.acks, self.chance = cluster, disk, acks, chance
        self.foreigners = []

    def pause(self, most):
        time.sleep(self.chance.uniform(0.1, most))

    def full_disk(self):
        self.disk.fill()
        self.pause(3)
        self.disk.free()

    def disk_full_again_and_again(self):
        for _ in range(5):
            self.disk.fill()
            self.pause(0.5)
            self.disk.free()
            self.pause(0.5)

    def killed_engine(self):
        engine_dies(self.cluster)
        self.pause(1)
        self.cluster.up("--no-kubeconfig")

    def killed_engine_on_a_full_disk(self):
        self.disk.fill()
        engine_dies(self.cluster)
        self.pause(1)
        self.disk.free()
        self.cluster.up("--no-kubeconfig")

    def killed_shim(self):
        for shim in shims_of(self.cluster, self.chance.choice(PODS)):
            os.kill(shim, signal.SIGKILL)

    def deleted_pod(self):
        self.cluster.kubectl("delete", "pod", self.chance.choice(PODS), "--wait=false")

    def killed_engine_while_a_pod_ends(self):
        self.deleted_pod()
        self.pause(0.3)
        self.killed_engine()

    def foreign_mounts(self):
        """Another mount namespace keeps all volumes that are mounted now, beyond their pods."""
        foreigner = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                      "echo ready; exec cat"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        foreigner.stdout.readline()
        self.foreigners.append(foreigner)
        self.deleted_pod()
        self.pause(2)

    def foreigners_leave(self):
        for foreigner in self.foreigners:
            foreigner.communicate()
        self.foreigners = []

    def frozen_disk(self):
        with self.disk.frozen():
            self.pause(1)

    def frozen_processes(self):
        frozen = [self.cluster.engine_pid(), *shims_of(self.cluster, self.chance.choice(PODS))]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        self.pause(1)
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)

    ALL = [full_disk, full_disk, disk_full_again_and_again, killed_engine,
           killed_engine_on_a_full_disk, killed_shim, deleted_pod, killed_engine_while_a_pod_ends,
           foreign_mounts, frozen_disk, frozen_processes]

    def acknowledged(self, pod):
        try:
            return (self.acks / pod).read_bytes().splitlines()
        except FileNotFoundError:
            return []

    def all_write(self):
        """Every pod goes on: a volume that had to give up is repaired, and its pod is told of."""
        for pod in PODS:
            before = len(self.acknowledged(pod))
            eventually(lambda pod=pod, before=before: len(self.acknowledged(pod)) > before + 3,
                       f"{pod} writes again", timeout=120)

    def one_file_system_each(self):
        """No image is shown by two loop devices."""
        shown = self.shown()
        assert len(shown) == len(set(shown)), shown

    def shown(self):
        """The images that loop devices show."""
        paths = []
        for file in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                paths.append(file.read_text().strip())
            except OSError:
                pass  # It has just gone.
        return [path for path in paths if path.endswith("volume.img") and self.owns(path)]

    def owns(self, path):
        return any(f"/{volume.name}/" in path
                   for volume in (self.disk.target / "volumes").glob("*"))

    def check(self):
        """With everything unmounted and mounted anew, all that was acknowledged is there."""
        self.foreigners_leave()
        self.cluster.kubectl("scale", "sts/writer", "--replicas=0")
        eventually(lambda: not self.cluster.get("pods")["items"], "all pods are gone", timeout=120)
        eventually(lambda: not mounts_below(self.disk.target / "volumes"), "nothing is mounted")
        eventually(lambda: not self.shown(), "no loop device is left")
        eventually(lambda: not list((self.disk.target / "pods").glob("*")), "nothing of pods is left")
        lost = {pod: self.lost(pod) for pod in PODS}
        self.cluster.kubectl("scale", "sts/writer", "--replicas=2")
        self.cluster.kubectl("rollout", "status", "sts/writer", "--timeout=120s")
        for line in [line for lines in lost.values() for line in lines]:
            print(f"LOST {line}")
        assert not any(lost.values())

    def lost(self, pod):
        claim = self.cluster.get("pvc", f"data-{pod}")
        image = self.disk.target / "volumes" / claim["spec"]["volumeName"] / "volume.img"
        clean = subprocess.run(["e2fsck", "-f", "-n", image], capture_output=True, text=True)
        assert clean.returncode == 0, clean.stdout
        target = self.acks.parent / "looked-at"
        target.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", "loop", image, target], check=True)
        try:
            log = (target / "data/log").read_bytes()
        finally:
            subprocess.run(["umount", target], check=True)
        there = set(log.splitlines())
        lost = [line for line in self.acknowledged(pod) if line not in there]
        return [f"{line[:60]}: {around(log, line)}" for line in lost[:3]]


def around(log, line):
    """What is where a line was lost."""
    place = log.find(b" ".join(line.split()[:2]) + b" ")
    near = log[max(place - 40, 0):place + 500] if place >= 0 else b""
    return f"at {place} of {len(log)}: {near!r}; {log.count(0)} zeros from {log.find(0)}"


def test_what_pods_have_synced_survives(own_cluster, disk, tmp_path):
    chance = random.Random(SEED)
    print(f"TORTURE_SEED={SEED}")
    cluster, acks = own_cluster, tmp_path / "acks"
    acks.mkdir()
    cluster.up()
    cluster.load("busybox")
    cluster.kubectl("apply", "-f", "-", input=WRITER.replace("ACKS", str(acks)))
    cluster.kubectl("rollout", "status", "sts/writer", "--timeout=60s")
    torture = Torture(cluster, disk, acks, chance)
    end = time.monotonic() + SECONDS
    faults = []
    try:
        # All of them at least once, however short the time.
        while faults or time.monotonic() < end:
            faults = faults or chance.sample(Torture.ALL, len(Torture.ALL))
            fault = faults.pop()
            print(f"{time.monotonic() - end:8.1f}", fault.__name__, flush=True)
            fault(torture)
            if "disk" in fault.__name__:
                # A volume that had to give up is not repaired under others.
                torture.foreigners_leave()
            torture.one_file_system_each()
            torture.all_write()
            if chance.random() < 0.3:
                torture.foreigners_leave()
            if restarts(cluster) > 2:
                # A back-off of minutes is not what is tested here.
                cluster.kubectl("delete", "pods", "--all")
                cluster.kubectl("rollout", "status", "sts/writer", "--timeout=120s")
        torture.check()
        written = {pod: len(torture.acknowledged(pod)) for pod in PODS}
        print(f"acknowledged and there: {json.dumps(written)}")
    finally:
        torture.foreigners_leave()


def restarts(cluster):
    statuses = [pod["status"].get("containerStatuses", []) for pod in cluster.get("pods")["items"]]
    return max((one["restartCount"] for status in statuses for one in status), default=0)
