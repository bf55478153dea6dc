"""Who a container runs as and what it may do, seen from inside."""

import json

from cluster import eventually

POD = """
apiVersion: v1
kind: Pod
metadata: {name: main}
spec:
  terminationGracePeriodSeconds: 0
  securityContext:
    runAsUser: 1000
    runAsGroup: 3000
    fsGroup: 2000
    supplementalGroups: [4000]
    seccompProfile: {type: RuntimeDefault}
  volumes: [{name: data, emptyDir: {}}]
  containers:
    - name: closed
      image: busybox:1.36
      command: [sleep, "1000000"]
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
      volumeMounts: [{name: data, mountPath: /data}]
      resources: {limits: {memory: 64Mi, cpu: 500m}}
    - name: root
      image: busybox:1.36
      command: [sleep, "1000000"]
      securityContext: {runAsUser: 0, capabilities: {drop: [ALL], add: [NET_ADMIN]}}
    - name: unconfined
      image: busybox:1.36
      command: [sleep, "1000000"]
      securityContext: {seccompProfile: {type: Unconfined}}
    - name: privileged
      image: busybox:1.36
      command: [sleep, "1000000"]
      securityContext: {privileged: true, runAsUser: 0}
"""


def test_users_capabilities_seccomp_and_limits(cluster, namespace):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=POD)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/main", "--timeout=60s")

    def inside(container, script):
        """What a shell says, whether it succeeds or not."""
        done = cluster.kubectl_process("exec", "-n", namespace, "main", "-c", container, "--",
                                       "sh", "-c", script, check=False)
        return done.stdout + done.stderr

    def status(container):
        lines = inside(container, "cat /proc/self/status").splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    assert inside("closed", "id -u; id -g; id -G").split("\n")[:2] == ["1000", "3000"]
    assert set(inside("closed", "id -G").split()) == {"3000", "2000", "4000"}
    assert inside("closed", "stat -c %g /data").strip() == "2000"
    inside("closed", "touch /data/mine")
    assert inside("closed", "stat -c %u:%g /data/mine").strip() == "1000:2000"
    assert "Read-only file system" in inside("closed", "touch /mine")
    assert "Read-only file system" in inside("root", "echo 1 > /proc/sys/vm/swappiness")

    closed = status("closed")
    assert closed["CapEff"] == closed["CapBnd"] == "0" * 16
    assert closed["NoNewPrivs"] == "1" and closed["Seccomp"] == "2"
    assert status("root")["CapEff"] == f"{1 << 12:016x}", "NET_ADMIN alone"
    assert status("privileged")["Seccomp"] == "0"
    assert int(status("privileged")["CapEff"], 16) & 1 << 21, "SYS_ADMIN too"
    # A new user namespace needs no capability: it is the filter that forbids it.
    unshare = "busybox unshare -U true && echo allowed"
    assert "Operation not permitted" in inside("closed", unshare)
    assert "Operation not permitted" in inside("root", unshare)
    assert inside("unconfined", unshare) == "allowed\n"

    cgroups = "cd /sys/fs/cgroup; cat memory.max cpu.max memory/memory.limit_in_bytes " \
              "cpu/cpu.cfs_quota_us 2>/dev/null"
    assert inside("closed", cgroups).split()[:2] == [str(64 << 20), "50000"]
    # Nobody lifts their own limits.
    for group in ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"]:
        said = inside("root", f"[ ! -d {group} ] || mkdir {group}/mine")
        assert said == "" or "Read-only file system" in said or "denied" in said
    assert inside("root", "find /sys/fs/cgroup -name mine") == ""


def test_a_pod_that_must_not_be_root(cluster, namespace):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "careful"}, "spec": {
        "securityContext": {"runAsNonRoot": True}, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "1"]}]}}
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod))

    def waiting():
        status = cluster.get("pod", "careful", "-n", namespace)["status"]
        states = [one["state"] for one in status.get("containerStatuses", [])]
        return next((state["waiting"] for state in states if "message" in state.get("waiting", {})),
                    None)

    said = eventually(waiting, "the container is refused")
    assert said["reason"] == "CreateContainerConfigError"
    assert "container has runAsNonRoot and image will run as root" in said["message"]
