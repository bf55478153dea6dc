"""Lifecycle hooks, sidecars and what else a pod may ask of its start and its end."""

import json
import subprocess

from cluster import TOOLS, eventually

IMAGE = "busybox:1.36"
FOR_EVER = "trap 'exit 0' TERM; sleep 1000000 & wait"


def pod_of(name, *containers, **spec):
    """A pod of busybox containers, as JSON."""
    spec = {"terminationGracePeriodSeconds": 20, **spec}
    for one in [*containers, *spec.get("initContainers", [])]:
        one.setdefault("image", IMAGE)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": list(containers), **spec}}


def script(name, text, **more):
    return {"name": name, "command": ["sh", "-c", text], **more}


def create(cluster, namespace, *objects):
    for one in objects:
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(one))


def ready(cluster, namespace, *names):
    pods = [f"pod/{name}" for name in names]
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=90s", *pods)


def events(cluster, namespace, name):
    found = cluster.get("events", "-n", namespace, f"--field-selector=involvedObject.name={name}")
    return [(one["type"], one["reason"], one["message"]) for one in found["items"]]


def witness(cluster, namespace):
    """A pod whose log has a line for each request; its address."""
    create(cluster, namespace, pod_of("witness", {
        "name": "c", "command": ["busybox", "httpd", "-f", "-vv", "-p", "8080"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}},
        terminationGracePeriodSeconds=0))
    ready(cluster, namespace, "witness")
    return cluster.get("pod", "witness", "-n", namespace)["status"]["podIP"]


def seen(cluster, namespace):
    """What the witness was asked for, in order."""
    log = cluster.kubectl("logs", "-n", namespace, "witness")
    return [line.split("url:/")[1].strip() for line in log.splitlines() if "url:/" in line]


def follow(cluster, namespace, name, container="c"):
    """The log of a container, as a process that reads it to its end."""
    command = [TOOLS / "kubectl-1.37/kubectl", "logs", "-f", "-n", namespace, name, "-c", container]
    return subprocess.Popen([*cluster.prefix, *map(str, command)], stdout=subprocess.PIPE, text=True,
                            env=cluster.environment())


def test_hooks_run_beside_the_start_and_before_the_stop_signal(cluster, namespace):
    ip = witness(cluster, namespace)
    get = {"host": ip, "port": 8080}
    hooks = {"postStart": {"exec": {"command": ["sh", "-c", "sleep 1; echo post >/proc/1/fd/1"]}},
             "preStop": {"exec": {"command": ["sh", "-c", "echo pre >/proc/1/fd/1; sleep 1"]}}}
    told = {"postStart": {"httpGet": {**get, "path": "/post"}},
            "preStop": {"httpGet": {**get, "path": "/pre"}}}
    sleeps = {"preStop": {"sleep": {"seconds": 1}}}
    loud = "trap 'echo term; exit 0' TERM; echo began; sleep 1000000 & wait"
    create(cluster, namespace,
           pod_of("exec", script("c", loud, lifecycle=hooks), script("after", FOR_EVER)),
           pod_of("http", script("c", FOR_EVER, lifecycle=told)),
           pod_of("sleep", script("c", FOR_EVER, lifecycle=sleeps)))
    ready(cluster, namespace, "exec", "http", "sleep")
    status = cluster.get("pod", "exec", "-n", namespace)["status"]
    by_name = {one["name"]: one["state"]["running"]["startedAt"] for one in status["containerStatuses"]}
    assert by_name["after"] > by_name["c"], "the next container waits for the hook"
    with follow(cluster, namespace, "exec") as log:
        cluster.kubectl("delete", "pod", "-n", namespace, "exec", "http", "sleep")
        assert log.stdout.read().splitlines() == ["began", "post", "pre", "term"]
    eventually(lambda: seen(cluster, namespace) == ["post", "pre"], "both hooks asked the witness")


def test_hooks_that_fail_or_hang_are_told_and_hold_nobody_up(cluster, namespace):
    fails = {"exec": {"command": ["sh", "-c", "echo oh; exit 3"]}}
    hangs = {"exec": {"command": ["busybox", "sleep", "1000000"]}}
    create(cluster, namespace,
           pod_of("post", script("c", FOR_EVER.replace("exit 0", "exit 5"), lifecycle={"postStart": fails}),
                  restartPolicy="Never"),
           pod_of("pre", script("c", FOR_EVER, lifecycle={"preStop": fails})),
           pod_of("hangs", script("c", FOR_EVER, lifecycle={"preStop": hangs}),
                  terminationGracePeriodSeconds=3),
           pod_of("never", script("c", FOR_EVER, lifecycle={"postStart": hangs}),
                  terminationGracePeriodSeconds=1),
           pod_of("tcp", script("c", FOR_EVER, lifecycle={"postStart": {"tcpSocket": {"port": 1}}})))
    ready(cluster, namespace, "pre", "hangs")

    def phase(name):
        return cluster.get("pod", name, "-n", namespace)["status"]["phase"]

    eventually(lambda: phase("post") == "Failed", "the container was killed for its hook")
    assert ("Warning", "FailedPostStartHook", "PostStartHook failed") in events(cluster, namespace, "post")
    assert ("Normal", "Killing", "FailedPostStartHook") in events(cluster, namespace, "post")
    eventually(lambda: ("Warning", "FailedPostStartHook", "PostStartHook failed")
               in events(cluster, namespace, "tcp"), "tcpSocket is no hook")
    waiting = cluster.get("pod", "never", "-n", namespace)["status"]["containerStatuses"][0]
    assert waiting["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert waiting["started"] is False and phase("never") == "Pending"
    cluster.kubectl("delete", "pod", "-n", namespace, "pre", "hangs", "never", "tcp", "--timeout=60s")
    assert ("Warning", "FailedPreStopHook", "PreStopHook failed") in events(cluster, namespace, "pre")


def sidecar(name, text, **more):
    return script(name, text, restartPolicy="Always", image=IMAGE, **more)


def test_a_job_completes_beside_its_sidecar(cluster, namespace):
    serve = sidecar("proxy", "mkdir /w && echo hello >/w/index.html && sleep 1 && exec busybox httpd -f -p 81 -h /w",
                    startupProbe={"tcpSocket": {"port": 81}, "periodSeconds": 1},
                    lifecycle={"preStop": {"exec": {"command": ["busybox", "true"]}}})
    flaps = sidecar("flaps", "exit 1")
    setup = script("setup", "wget -qO- http://127.0.0.1:81/", image=IMAGE)
    pod = pod_of("x", script("main", "wget -qO- http://127.0.0.1:81/"), restartPolicy="Never",
                 terminationGracePeriodSeconds=1)["spec"]
    # One that dies in a loop would hold up those after it, if it never started.
    pod["initContainers"] = [serve, setup]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"},
           "spec": {"template": {"spec": pod}}}
    create(cluster, namespace, job)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Complete", "job/job", "--timeout=90s")
    for container in ["setup", "main"]:
        assert cluster.kubectl("logs", "-n", namespace, "job/job", "-c", container) == "hello\n"
    done = cluster.get("pods", "-n", namespace, "-l", "job-name=job")["items"][0]["status"]
    assert done["phase"] == "Succeeded"
    assert "terminated" in done["initContainerStatuses"][0]["state"]

    create(cluster, namespace, pod_of("loops", script("c", FOR_EVER), initContainers=[flaps],
                                      terminationGracePeriodSeconds=0))

    def loops():
        status = cluster.get("pod", "loops", "-n", namespace)["status"]
        restarts = [one["restartCount"] for one in status.get("initContainerStatuses", [])]
        return status if restarts == [2] else None

    status = eventually(loops, "the sidecar is restarted")
    assert status["containerStatuses"][0]["restartCount"] == 0
    assert status["phase"] == "Running"
    conditions = {one["type"]: one for one in status["conditions"]}
    assert conditions["Ready"]["message"] == "containers with unready status: [flaps]"


def test_sidecars_begin_first_and_end_last(cluster, namespace):
    ip = witness(cluster, namespace)

    def tells(name, pause):
        tell = f"wget -qO- http://{ip}:8080/{name}-"
        return f"{tell}began; trap 'sleep {pause}; {tell}ended; exit 0' TERM; sleep 1000000 & wait"

    probe = {"exec": {"command": ["busybox", "true"]}, "periodSeconds": 1}
    create(cluster, namespace, pod_of(
        "p", script("app", tells("app", 2)),
        initContainers=[sidecar("one", tells("one", 0), startupProbe=probe, readinessProbe=probe),
                        sidecar("two", tells("two", 1), startupProbe=probe)]))
    ready(cluster, namespace, "p")
    status = cluster.get("pod", "p", "-n", namespace)["status"]
    assert [(one["ready"], one["started"]) for one in status["initContainerStatuses"]] == [(True, True)] * 2
    line = cluster.kubectl("get", "pod", "p", "-n", namespace, "--no-headers").split()
    assert line[1:3] == ["3/3", "Running"]
    eventually(lambda: len(seen(cluster, namespace)) == 3, "all have begun")
    cluster.kubectl("delete", "pod", "-n", namespace, "p")
    eventually(lambda: len(seen(cluster, namespace)) == 6, "all have ended")
    assert seen(cluster, namespace)[3:] == ["app-ended", "two-ended", "one-ended"]


def test_probes_by_grpc_are_made(cluster, namespace):
    probe = {"grpc": {"port": 81}, "periodSeconds": 1, "failureThreshold": 1}
    create(cluster, namespace,
           pod_of("closed", script("c", FOR_EVER, livenessProbe=probe), terminationGracePeriodSeconds=0),
           pod_of("other", {"name": "c", "command": ["busybox", "httpd", "-f", "-p", "81"], "readinessProbe": probe},
                  terminationGracePeriodSeconds=0))

    def told(name, what):
        return [message for _, reason, message in events(cluster, namespace, name)
                if reason == "Unhealthy" and what in message]

    eventually(lambda: told("closed", "failed to connect service"), "nobody listens")
    eventually(lambda: told("other", "health rpc"), "it speaks no gRPC")
    restarted = lambda: cluster.get("pod", "closed", "-n", namespace)["status"]["containerStatuses"][0]
    eventually(lambda: restarted()["restartCount"] > 0, "it is restarted")
