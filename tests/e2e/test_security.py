"""Who a container runs as and what it may do, seen from inside."""

import base64
import http.server
import json
import pathlib
import threading

from cluster import eventually
from images import layer, saved

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


def sleeper(name, container=None, **spec):
    main = {"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000000"], **(container or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [main], **spec}}


def start(cluster, namespace, pod):
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod))
    name = pod["metadata"]["name"]
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=60s")


def test_a_number_is_no_name(cluster, namespace, tmp_path):
    """An image may call a user 1000 that is root."""
    archive = tmp_path / "numbers.tar"
    busybox = pathlib.Path("/bin/busybox").read_bytes()
    archive.write_bytes(saved("numbers:1", layer({
        "bin/busybox": busybox, "etc/passwd": b"1000:x:0:0::/:/bin/sh\n", "etc/group": b"1000:x:0:\n"})))
    cluster.coracle("image", "load", archive)
    start(cluster, namespace, sleeper(
        "careful", {"image": "numbers:1", "command": ["/bin/busybox", "sleep", "1000000"]},
        securityContext={"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True}))
    said = cluster.kubectl("exec", "-n", namespace, "careful", "--", "/bin/busybox", "id")
    assert "uid=1000" in said and "gid=1000" in said and "uid=0" not in said


def test_a_fifo_in_a_container_holds_nobody_up(cluster, namespace):
    script = "rm /etc/passwd /dev/ptmx; mknod /etc/passwd p; mknod /dev/ptmx p; exec sleep 1000000"
    start(cluster, namespace, sleeper("odd", {"command": ["sh", "-c", script]}))
    assert cluster.kubectl("exec", "-n", namespace, "odd", "--", "sh", "-c", "echo $HOME") == "/\n"
    cluster.kubectl("exec", "-n", namespace, "odd", "--", "true")
    cluster.kubectl("delete", "pod", "odd", "-n", namespace, "--timeout=30s")


def test_a_probe_reaches_nothing_of_the_hosts(cluster, namespace):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        get = {"host": "127.0.0.1", "port": server.server_port, "path": "/secret"}
        probe = {"httpGet": get, "periodSeconds": 1}
        pod = sleeper("spy", {"readinessProbe": probe})
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod))
        eventually(lambda: "connection refused" in cluster.kubectl("get", "events", "-n", namespace),
                   "the probe fails")
    finally:
        server.shutdown()
    assert asked == []


def test_pod_security_labels_are_read_or_refused(cluster, namespace):
    label = lambda level: cluster.kubectl_process(
        "label", "--overwrite", "namespace", namespace,
        f"pod-security.kubernetes.io/enforce={level}", check=False)
    assert "must be one of privileged, baseline, restricted" in label("Restricted").stderr
    assert label("baseline").returncode == 0
    spy = sleeper("spy", {"livenessProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 1}}})
    refused = cluster.kubectl_process("create", "-n", namespace, "-f", "-", input=json.dumps(spy),
                                      check=False)
    assert ('violates PodSecurity "baseline:latest": probe or lifecycle host (container "main" uses '
            'probe or lifecycle host "10.0.0.1")') in refused.stderr


def test_what_the_node_cannot_do_yet_is_said(cluster, namespace):
    made = cluster.kubectl_process("create", "-n", namespace, "-f", "-",
                                   input=json.dumps(sleeper("apart", hostUsers=False)))
    told = "spec.hostUsers: coracle does not act on this yet: the pod's users are the machine's"
    assert told in made.stderr


def test_limits_of_a_pod_as_a_whole_hold(cluster, namespace):
    pod = sleeper("whole", resources={"limits": {"cpu": "300m", "memory": "48Mi"}})
    start(cluster, namespace, pod)
    uid = cluster.get("pod", "whole", "-n", namespace)["metadata"]["uid"]
    group = f"coracle-{cluster.name}/pod{uid}"
    root = pathlib.Path("/sys/fs/cgroup")
    files = [root / "memory" / group / "memory.limit_in_bytes", root / group / "memory.max"]
    values = [int(file.read_text()) for file in files if file.exists()]
    assert values == [48 << 20]


def test_a_secret_may_ask_for_a_token_that_lasts_as_long_as_it(cluster, namespace):
    def kubectl(*arguments, **options):
        return cluster.kubectl("-n", namespace, *arguments, **options)

    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "rolebinding", "robot", "--clusterrole=view", f"--serviceaccount={namespace}:robot")
    kubectl("apply", "-f", "-", input=json.dumps({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "robot"}}}))

    def data():
        return cluster.get("secret", "robot", "-n", namespace).get("data", {})

    eventually(lambda: set(data()) == {"ca.crt", "namespace", "token"}, "the secret is filled in")
    token = base64.b64decode(data()["token"]).decode()
    assert base64.b64decode(data()["namespace"]).decode() == namespace

    def ask():
        # A certificate would be believed before the token.
        server = kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        return cluster.kubectl_process(
            "-n", namespace, "--token", token, "get", "pods", "--kubeconfig=/dev/null",
            "--server", server, "--insecure-skip-tls-verify", check=False)

    assert ask().returncode == 0, ask().stderr
    kubectl("delete", "secret", "robot")
    assert "Unauthorized" in ask().stderr or "must be logged in" in ask().stderr
    # Without its account a secret of that type does not stay.
    kubectl("apply", "-f", "-", input=json.dumps({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "late", "annotations": {"kubernetes.io/service-account.name": "nobody"}}}))
    eventually(lambda: cluster.kubectl_process("-n", namespace, "get", "secret", "late", check=False).returncode,
               "it is deleted")
