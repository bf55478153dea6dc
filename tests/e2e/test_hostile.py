"""Bad input on the command line, hostile images, and containers that misbehave."""

import hashlib
import io
import json
import os
import subprocess
import tarfile

import pytest
import yaml

from cluster import CORACLE, IMAGES, TOOLS, eventually


# --- The command line ------------------------------------------------------------------------


def refused(done, *words):
    """The command failed with one sentence that holds `words`."""
    assert done.returncode == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert done.stderr.startswith("coracle: ") and "panicked" not in done.stderr, done.stderr


def test_what_is_not_ours_is_left_alone(own_cluster, tmp_path):
    cluster = own_cluster
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    for command in ["up", "delete"]:
        done = cluster.coracle("--data-dir", precious, command, *["--yes"][:command == "delete"],
                               check=False)
        refused(done, str(precious), "holds no cluster")
    assert [path.name for path in precious.iterdir()] == ["file"]
    for command in ["up", "delete", "down"]:
        done = cluster.coracle("--data-dir", precious / "file", command,
                               *["--yes"][:command == "delete"], check=False)
        refused(done, "is not a directory", "--data-dir")
    assert (precious / "file").read_text() == "mine"
    refused(cluster.coracle("--data-dir", "/proc/none", "up", check=False), "/proc/none", "--data-dir")


def test_a_port_in_use_leaves_nothing_behind(own_cluster):
    cluster = own_cluster
    with subprocess.Popen([*cluster.prefix, "python3", "-c",
                           "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 7443));"
                           "s.listen(); print('up', flush=True); sys.stdin.read()"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        refused(cluster.up(check=False), "127.0.0.1:7443", "--api-port")
        other.stdin.close()
    assert "cor-own" not in cluster.run("ip", "link").stdout
    refused(cluster.coracle("status", check=False), "coracle up")
    cluster.up()


def test_a_second_engine_or_another_name_is_refused(own_cluster):
    cluster = own_cluster
    cluster.up()
    refused(cluster.up("--foreground", check=False), "in use by process", "stop that engine first")
    for command in [["up"], ["down"], ["delete", "--yes"]]:
        done = cluster.coracle("--name", "other", *command, check=False)
        refused(done, f"holds the cluster \"{cluster.name}\"", f"--name {cluster.name}")
    for flags in [["--lb-range", "10.97.200.0/24"], ["--api-port", "6999"]]:
        again = cluster.coracle("up", *flags)
        assert "is already up as it was started" in again.stdout
    assert cluster.coracle("status").returncode == 0


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "a directory"])
def test_a_damaged_store_is_refused_and_not_touched(own_cluster, damage):
    cluster = own_cluster
    cluster.up()
    cluster.down()
    store = cluster.data_dir / "store.redb"
    whole = store.read_bytes()
    if damage == "a directory":
        store.unlink()
        store.mkdir()
    else:
        store.write_bytes({"cut": whole[:100_000], "garbage": b"x" * len(whole), "empty": b""}[damage])
    found = store.is_file() and store.read_bytes()
    refused(cluster.up(check=False), "store.redb", "engine.log")
    assert (store.is_file() and store.read_bytes()) == found
    if damage == "a directory":
        store.rmdir()
    store.write_bytes(whole)
    cluster.up()


def test_without_a_cluster_every_command_says_how_to_make_one(own_cluster):
    for command in [["status"], ["why", "sts/web"], ["image", "ls"], ["image", "pull", "redis:7"],
                    ["kubeconfig"], ["logs"]]:
        refused(own_cluster.coracle(*command, check=False), "coracle up")
    for flags in [["--api-port", "0"], ["--api-port", "70000"], ["--lb-range", "bogus"],
                  ["--api-address", "x"], ["--frob"]]:
        done = own_cluster.coracle("up", *flags, check=False)
        assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    refused(own_cluster.coracle("up", "--service-cidr", "10.96.0.0/12", "--lb-range", "10.96.7.0/24",
                                check=False),
            "overlaps", "10.96.0.0/12", "--lb-range")
    refused(own_cluster.coracle("up", "--api-address", "192.0.2.1", check=False),
            "192.0.2.1 is no address of this host")


def test_who_is_not_root_is_told_so(own_cluster, tmp_path):
    cluster = own_cluster
    cluster.up()
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    binary = tmp_path / "coracle"
    os.link(CORACLE, binary) if os.stat(CORACLE).st_dev == os.stat(tmp_path).st_dev else \
        binary.write_bytes(CORACLE.read_bytes())
    binary.chmod(0o755)
    # Everyone may reach the data directory; nobody but its owner may look into it.
    path = tmp_path
    while path != path.parent:
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o001)
        path = path.parent
    for command in [["status"], ["down"], ["delete", "--yes"], ["kubeconfig"], ["logs"],
                    ["image", "ls"]]:
        done = cluster.run(*nobody, binary, *command, check=False)
        refused(done, "belongs to another user", "sudo")
    refused(cluster.run(*nobody, binary, "up", check=False), "run it as root")
    assert cluster.coracle("status").returncode == 0


# --- Images ----------------------------------------------------------------------------------


def tar(*entries):
    """A tar archive of (name, content) or TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                name, content = entry
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def saved(layer, digest=None):
    """What `docker save` would write for an image of one layer."""
    digest = digest or hashlib.sha256(layer).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["hostile:1"],
                            "Layers": ["layer.tar"]}]).encode()
    return tar(("manifest.json", manifest), ("config.json", config), ("layer.tar", layer))


def hostile_archives():
    whole = (IMAGES / "busybox.tar").read_bytes()
    return {
        "climbs out": (saved(tar(("../../escaped", b"x"))), "leads outside of the image"),
        "writes through a link": (
            saved(tar(special("out", tarfile.SYMTYPE, "/tmp"), ("out/escaped", b"x"))),
            "leads through a symbolic link"),
        "links to the outside": (
            saved(tar(special("passwd", tarfile.LNKTYPE, "../../../../etc/passwd"))),
            "leads outside of the image"),
        "is not what it says": (saved(tar(("a", b"x")), digest="0" * 64), "expected sha256:0000"),
        "is cut": (whole[:len(whole) // 2], "coracle: "),
        "is text": (b"root:x:0:0:\n" * 200, "not an image archive"),
        "is empty": (b"", "not an image archive"),
        "holds no image": (tar(("a", b"x")), "neither manifest.json nor index.json"),
        "shows colours": (saved(tar(("../\x1b[31mred", b"x"))), "leads outside of the image"),
    }


@pytest.mark.parametrize("name", hostile_archives().keys())
def test_a_hostile_archive_is_refused_and_leaves_nothing(cluster, tmp_path, name):
    content, words = hostile_archives()[name]
    archive = tmp_path / "hostile.tar"
    archive.write_bytes(content)
    before = cluster.coracle("image", "ls").stdout
    done = cluster.coracle("image", "load", archive, check=False)
    refused_after_progress(done, words)
    assert "\x1b" not in done.stderr.replace("\x1b[K", "")
    assert cluster.coracle("image", "ls").stdout == before
    assert not list((cluster.data_dir / "images/tmp").iterdir()), "half an image stays"
    assert not list(cluster.data_dir.rglob("escaped")) and not os.path.exists("/tmp/escaped")


def refused_after_progress(done, words):
    assert done.returncode == 1, done.stdout
    last = [line for line in done.stderr.splitlines() if line.startswith("coracle: ")]
    assert len(last) == 1 and words in last[0], done.stderr


def test_what_is_no_file_is_no_archive(cluster, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in [tmp_path / "pipe", tmp_path, "/dev/zero"]:
        refused(cluster.coracle("image", "load", path, check=False), "is no regular file")
    refused(cluster.coracle("image", "load", tmp_path / "none", check=False), "No such file")


# --- Pods that cannot start ------------------------------------------------------------------


def pod(name, container=None, **spec):
    main = {"name": "main", "image": "busybox:1.36", "command": ["sleep", "100000"], **(container or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [main], **spec}}


def volume(**source):
    return {"container": {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            "volumes": [{"name": "v", **source}]}


# Pod, reason of its container (or of the pod), reason and words of an event, words of `why`.
STUCK = [
    (pod("image", {"image": "none.invalid/x:1", "imagePullPolicy": "Never"}), "ErrImageNeverPull",
     "ErrImageNeverPull", "is not present with pull policy of Never", "ErrImageNeverPull"),
    (pod("pull", {"image": "localhost:1/x:1"}), "ImagePullBackOff",
     "BackOff", 'Back-off pulling image "localhost:1/x:1"', "ErrImagePull"),
    (pod("name", {"image": "Not A Name"}), "InvalidImageName",
     "InspectFailed", "couldn't parse image name", "InvalidImageName"),
    (pod("command", {"command": ["/no/such"]}), "CrashLoopBackOff",
     "Failed", 'exec: "/no/such": stat /no/such: no such file or directory', "/no/such"),
    (pod("config", {"envFrom": [{"configMapRef": {"name": "absent"}}]}), "CreateContainerConfigError",
     "Failed", 'configmap "absent" not found', 'configmap "absent" not found'),
    (pod("secret", {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {
        "name": "absent", "key": "a"}}}]}), "CreateContainerConfigError",
     "Failed", 'secret "absent" not found', 'secret "absent" not found'),
    (pod("files", **volume(configMap={"name": "absent"})), "ContainerCreating",
     "FailedMount", 'configmap "absent" not found', 'configmap "absent" not found'),
    (pod("claim", **volume(persistentVolumeClaim={"claimName": "absent"})), "Unschedulable",
     "FailedScheduling", 'persistentvolumeclaim "absent" not found', '"absent" not found'),
    (pod("ends", {"command": ["sh", "-c", "exit 3"]}), "CrashLoopBackOff",
     "BackOff", "Back-off restarting failed container main in pod ends", "exited with code 3"),
    (pod("speaks", {"command": ["sh", "-c", "echo first; echo no key; exit 4"]}), "CrashLoopBackOff",
     "BackOff", "Back-off restarting failed container", 'its last line was "no key"'),
    (pod("tag", {"image": "busybox:1.99", "imagePullPolicy": "Never"}), "ErrImageNeverPull",
     "ErrImageNeverPull", "is not present", "busybox:1.36: is the tag another one?"),
    (pod("large", {"resources": {"requests": {"cpu": "4000"}}}), "Unschedulable",
     "FailedScheduling", "Insufficient cpu", "it asks for cpu 4k, and node-1 has"),
    (pod("unready", {"readinessProbe": {"periodSeconds": 1, "exec": {
        "command": ["sh", "-c", "echo no index; exit 1"]}}}), None,
     "Unhealthy", "Readiness probe failed: no index", "Readiness probe failed: no index"),
    (pod("first", {}, initContainers=[{"name": "begin", "image": "busybox:1.36",
                                       "command": ["sleep", "1000"]}]), "PodInitializing",
     "Started", "Container started", "init container begin runs"),
    (pod("memory", {"command": ["sh", "-c", "x=a; while :; do x=$x$x; done"],
                    "resources": {"limits": {"memory": "20Mi"}}}), "CrashLoopBackOff",
     "BackOff", "Back-off restarting failed container", "exited with code 137 (OOMKilled)"),
]


def reason(status):
    """Why a pod waits, as `kubectl get pods` shows it."""
    for container in status.get("containerStatuses", []):
        if waiting := container["state"].get("waiting"):
            return waiting["reason"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return condition["reason"]
    return None


def test_a_pod_that_cannot_run_says_why_and_hurts_nobody(cluster, namespace):
    pods = [case[0] for case in STUCK]
    cluster.kubectl("apply", "-n", namespace, "-f", "-",
                    input=yaml.safe_dump_all([*pods, pod("neighbour")]))
    for object, expected, event, words, why in STUCK:
        name = object["metadata"]["name"]
        eventually(lambda: reason(cluster.get("pod", name, "-n", namespace)["status"]) == expected,
                   f"{name} is {expected}")
        eventually(lambda: any(
            it["reason"] == event and words in it["message"]
            for it in cluster.get("events", "-n", namespace, "--field-selector",
                                  f"involvedObject.name={name}")["items"]), f"{event} of {name}")
        # The node tells every few seconds which images it has.
        eventually(lambda: why in cluster.coracle("why", f"pod/{name}", "-n", namespace).stdout,
                   f"{why} of {name}")
    assert "init container begin" in cluster.coracle("why", "po", "first", "-n", namespace).stdout
    unwell = json.loads(cluster.coracle("why", "-n", namespace, "-o", "json").stdout)
    names = {chain[0]["object"] for chain in unwell}
    assert names >= {f"pod {it[0]['metadata']['name']}" for it in STUCK}, names
    assert "pod neighbour" not in names
    memory = cluster.get("pod", "memory", "-n", namespace)["status"]["containerStatuses"][0]
    assert memory["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert memory["lastState"]["terminated"]["exitCode"] == 137
    assert cluster.kubectl("exec", "-n", namespace, "neighbour", "--", "echo", "well") == "well\n"


# --- Containers that misbehave -----------------------------------------------------------------


def test_who_ignores_sigterm_is_killed_when_its_grace_is_over(cluster, namespace):
    stubborn = pod("stubborn", {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]})
    run(cluster, namespace, stubborn)
    cluster.kubectl("delete", "pod", "stubborn", "-n", namespace, "--timeout=60s")


def run(cluster, namespace, *pods):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump_all(pods))
    for object in pods:
        cluster.kubectl("wait", "-n", namespace, f"pod/{object['metadata']['name']}",
                        "--for=condition=Ready", "--timeout=60s")


def test_who_forks_without_end_is_bounded(cluster, namespace):
    forks = pod("forks", {"command": ["sh", "-c", "while :; do sleep 100000 & done"]})
    run(cluster, namespace, forks, pod("neighbour"))
    uid = cluster.get("pod", "forks", "-n", namespace)["metadata"]["uid"]

    def restarted():
        status = cluster.get("pod", "forks", "-n", namespace)["status"]["containerStatuses"][0]
        return status["restartCount"] > 0

    # busybox's shell gives up when it cannot fork any more.
    eventually(restarted, "the container met its limit")
    groups = subprocess.run(["find", "/sys/fs/cgroup", "-path", f"*{uid}*", "-name", "pids.max"],
                            text=True, capture_output=True, check=True).stdout.split()
    assert any(open(path).read().strip() == "4096" for path in groups), groups
    assert cluster.kubectl("exec", "-n", namespace, "neighbour", "--", "echo", "well") == "well\n"
    cluster.kubectl("delete", "pod", "forks", "-n", namespace, "--timeout=60s")


def test_who_fills_its_volume_fills_nothing_else(cluster, namespace):
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "small"},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}}
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump(claim))
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "e", "mountPath": "/e"}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "small"}},
               {"name": "e", "emptyDir": {"sizeLimit": "8Mi"}}]
    run(cluster, namespace, pod("filler", {"volumeMounts": mounts}, volumes=volumes), pod("neighbour"))
    for place in ["/v", "/e"]:
        done = cluster.kubectl_process("exec", "-n", namespace, "filler", "--", "dd", "if=/dev/zero",
                                       f"of={place}/x", "bs=1M", "count=100", check=False)
        assert done.returncode != 0 and "No space left on device" in done.stderr
    cluster.kubectl("exec", "-n", namespace, "neighbour", "--", "sh", "-c", "echo x > /tmp/x")
    cluster.kubectl("create", "configmap", "written", "-n", namespace)
    # A volume takes what it holds, for as long as somebody wants it; who wrote more than an emptyDir
    # may have goes (test_evictions.py).
    cluster.kubectl("exec", "-n", namespace, "filler", "--", "sh", "-c", "rm /v/x; echo 1 > /v/y; sync")


def test_who_fills_its_log_keeps_the_end_of_it(cluster, namespace):
    lines = pod("lines", {"command": ["sh", "-c", "i=0; yes 0123456789abcdef0123456789abcdef |"
                                      "head -c 40000000; echo; echo the end; sleep 100000"]})
    endless = pod("endless", {"command": ["sh", "-c", "head -c 40000000 /dev/zero | tr '\\0' x;"
                                          "echo; echo the end; sleep 100000"]})
    run(cluster, namespace, lines, endless)
    for name in ["lines", "endless"]:
        eventually(lambda: cluster.kubectl("logs", "-n", namespace, name, "--tail=1") == "the end\n",
                   f"{name} has written its log")
        logs = [path for path in (cluster.data_dir / "logs").rglob("*.log*")
                if f"{namespace}_{name}_" in str(path)]
        assert 0 < sum(path.stat().st_size for path in logs) < 25 << 20, logs


def test_a_follower_that_does_not_read_holds_nobody_up(cluster, namespace):
    run(cluster, namespace, pod("talker", {"command": [
        "sh", "-c", "yes 0123456789abcdef0123456789abcdef | head -c 30000000; echo; echo the end;"
                    "sleep 100000"]}))
    follow = [*cluster.prefix, TOOLS / "kubectl-1.37/kubectl", "logs", "-f", "-n", namespace, "talker"]
    followers = [subprocess.Popen(follow, stdout=subprocess.PIPE, env=cluster.environment())
                 for _ in range(5)]
    try:
        eventually(lambda: cluster.kubectl("logs", "-n", namespace, "talker", "--tail=1") == "the end\n",
                   "the container goes on")
    finally:
        for follower in followers:
            follower.kill()
            follower.communicate()


def test_a_crash_loop_does_not_grow_the_store(cluster, namespace):
    names = [f"crash-{number}" for number in range(5)]
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump_all(
        pod(name, {"command": ["false"]}) for name in names))

    def restarts():
        items = cluster.get("pods", "-n", namespace)["items"]
        return [status["restartCount"] for item in items
                for status in item["status"].get("containerStatuses", [])]

    eventually(lambda: len(restarts()) == 5 and min(restarts()) >= 2, "they crashed often")
    first = events(cluster, namespace)
    eventually(lambda: min(restarts()) >= 3, "they crashed again")
    assert events(cluster, namespace) == first, "the same events, counted"
    repeated = [item for item in cluster.get("events", "-n", namespace)["items"]
                if item["reason"] == "BackOff"]
    assert len(repeated) == 5 and all(item["count"] > 1 for item in repeated)


def events(cluster, namespace):
    return {item["metadata"]["name"] for item in cluster.get("events", "-n", namespace)["items"]}


# --- Clients ---------------------------------------------------------------------------------


def test_two_thousand_idle_connections_hinder_nobody(own_cluster):
    cluster = own_cluster
    cluster.up()
    hold = ("import resource, socket, sys\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
            "held = [socket.create_connection(('127.0.0.1', 7443)) for _ in range(2000)]\n"
            "print('held', flush=True); sys.stdin.read()\n")
    with subprocess.Popen([*cluster.prefix, "python3", "-c", hold], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as clients:
        assert clients.stdout.readline() == b"held\n"
        cluster.kubectl("create", "configmap", "written")
        cluster.load("busybox")
        cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(pod("started")))
        cluster.kubectl("wait", "pod/started", "--for=condition=Ready", "--timeout=60s")
        clients.stdin.close()


# --- Links -----------------------------------------------------------------------------------


def test_a_volume_gives_nothing_outside_of_it_to_its_group(cluster, namespace, tmp_path):
    """A pod exchanges a directory of its claim for a link to one of the host, again and again, while
    other pods start that make the claim their group's and want parts of it."""
    precious = tmp_path / "precious"
    (precious / "er").mkdir(parents=True)
    precious.chmod(0o700)
    (precious / "er/file").write_text("mine")
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shared"}, "spec": {
        "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "16Mi"}}}}
    swap = (f"while :; do mkdir -p /v/deep/er; mv /v/deep /v/aside; ln -s {precious} /v/deep;"
            " rm /v/deep; mv /v/aside /v/deep; done")

    def pod(name, script, sub_path=None):
        mount = {"name": "v", "mountPath": "/v", **({"subPath": sub_path} if sub_path else {})}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 4321, "runAsGroup": 4321, "fsGroup": 4321},
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "shared"}}],
            "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", script],
                            "volumeMounts": [mount]}]}}

    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(claim))
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod("swaps", swap)))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/swaps", "--timeout=60s")
    for number in range(6):
        # It may be told that its part is no place to be; it may not be shown another.
        name, sub_path = f"starts-{number}", f"deep/{number}" if number % 2 else None
        cluster.kubectl("create", "-n", namespace, "-f", "-",
                        input=json.dumps(pod(name, "sleep 1000000", sub_path)))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s",
                    *[f"pod/starts-{number}" for number in range(0, 6, 2)])
    cluster.kubectl("delete", "pods", "-n", namespace, "--all")
    assert (precious.stat().st_mode & 0o7777, precious.stat().st_gid) == (0o700, 0)
    assert (precious / "er").stat().st_gid == (precious / "er/file").stat().st_gid == 0
    assert sorted(path.name for path in precious.iterdir()) == ["er"]
