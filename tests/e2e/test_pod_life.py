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
        # A pod of no controller is Ready for the instant that it runs.
        told = {one["type"]: one.get("message") for one in status.get("conditions", [])}
        return status if restarts == [2] and told.get("Ready") else None

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


def test_debug_with_ephemeral_containers(cluster, namespace):
    def kubectl(*arguments, **options):
        return cluster.kubectl_process("-n", namespace, *arguments, **options)

    create(cluster, namespace,
           pod_of("web", script("c", "sleep 1234567 & wait"), terminationGracePeriodSeconds=1),
           pod_of("begins", script("c", FOR_EVER), terminationGracePeriodSeconds=0, initContainers=[
               script("setup", FOR_EVER)]))
    ready(cluster, namespace, "web")
    # Attached, in the target's process namespace.
    shown = kubectl("debug", "web", "-i", "-q", f"--image={IMAGE}", "--target=c", "-c", "look", "--profile=general",
                    "--", "sh", "-c", "read line; ps | grep -c '[s]leep 1234567'; echo heard $line; exit 3",
                    input="polo\n", check=False)
    assert shown.stdout.splitlines()[-2:] == ["2", "heard polo"], shown.stdout + shown.stderr

    def status(pod, name):
        found = cluster.get("pod", pod, "-n", namespace)["status"].get("ephemeralContainerStatuses", [])
        return next((one for one in found if one["name"] == name), None)

    def state(pod, name):
        one = status(pod, name)
        return one["state"] if one else {}

    ended = eventually(lambda: state("web", "look").get("terminated"), "it has ended")
    assert ended["exitCode"] == 3 and status("web", "look")["restartCount"] == 0
    pod = cluster.get("pod", "web", "-n", namespace)
    assert pod["metadata"]["generation"] == 2 == pod["status"]["observedGeneration"]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "heard polo" in kubectl("logs", "web", "-c", "look").stdout
    # A second one, which runs, and that one can run commands in; without a target it sees its own.
    kubectl("debug", "web", f"--image={IMAGE}", "-c", "again", "--", "sh", "-c", FOR_EVER)
    eventually(lambda: "running" in state("web", "again"), "it runs")
    assert kubectl("exec", "web", "-c", "again", "--", "sh", "-c", "ps | grep -c '[s]leep 1234567'",
                   check=False).stdout == "0\n"
    # While an init container runs, and with a target that does not.
    kubectl("debug", "begins", f"--image={IMAGE}", "-c", "early", "--", "sh", "-c", FOR_EVER)
    eventually(lambda: "running" in state("begins", "early"), "it does not wait for init containers")
    kubectl("debug", "begins", f"--image={IMAGE}", "-c", "blind", "--target=c", "--", "sh", "-c", FOR_EVER)
    waiting = eventually(lambda: state("begins", "blind").get("waiting"), "there is nothing to look at")
    eventually(lambda: state("begins", "blind")["waiting"]["reason"] == "CreateContainerConfigError", "why")
    # What is there stays as it is.
    for change, told in [
            ([{"name": "look", "image": "other"}], 'existing ephemeral containers "look" may not be changed'),
            ([{"name": "bad", "image": "i", "ports": [{"containerPort": 80}]}],
             "cannot be set for an Ephemeral Container"),
            ([{"name": "bad", "image": "i", "targetContainerName": "nobody"}], "Not found"),
            ([{"name": "c", "image": "i"}], "Duplicate value")]:
        patch = json.dumps({"spec": {"ephemeralContainers": change}})
        refused = kubectl("patch", "pod", "web", "--subresource=ephemeralcontainers", "-p", patch, check=False)
        assert told in refused.stderr, refused.stderr
    refused = kubectl("patch", "pod", "web", "-p", json.dumps(
        {"spec": {"ephemeralContainers": [{"name": "bad", "image": "i"}]}}), check=False)
    assert "pod updates may not change fields other than" in refused.stderr
    # They end with the pod.
    kubectl("delete", "pod", "web", "begins", "--timeout=60s")


def test_debug_with_copies_and_on_the_node(cluster, namespace):
    def kubectl(*arguments, **options):
        return cluster.kubectl_process("-n", namespace, *arguments, **options)

    create(cluster, namespace, pod_of("web", script("c", "sleep 7654321 & wait", image="no/such:image"),
                                      terminationGracePeriodSeconds=0))
    kubectl("debug", "web", "--copy-to=copy", "--share-processes", f"--set-image=c={IMAGE}",
            f"--image={IMAGE}", "-c", "look", "--", "sh", "-c", FOR_EVER)
    ready(cluster, namespace, "copy")
    seen = kubectl("exec", "copy", "-c", "look", "--", "sh", "-c", "ps | grep -c '[s]leep 7654321'", check=False)
    assert seen.stdout == "2\n", seen.stdout + seen.stderr
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    done = kubectl("debug", f"node/{node}", "-i", "-q", f"--image={IMAGE}", "--", "sh", "-c",
                   "read line; ls /host", input="now\n", check=False)
    assert {"etc", "proc", "usr"} < set(done.stdout.split()), done.stdout + done.stderr
    pods = cluster.get("pods", "-n", namespace)["items"]
    debugger = next(one for one in pods if one["metadata"]["name"].startswith("node-debugger-"))
    assert debugger["spec"]["hostPID"] and debugger["spec"]["hostNetwork"]
    kubectl("delete", "pod", "--all", "--now")


def test_rules_for_exit_codes(cluster, namespace):
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    text = "[ -e /v/x ] && exit 7; touch /v/x; exit 42"
    create(cluster, namespace,
           pod_of("rules", script("c", text, restartPolicy="Never", restartPolicyRules=rules,
                                  volumeMounts=[{"name": "v", "mountPath": "/v"}]),
                  volumes=[{"name": "v", "emptyDir": {}}]))

    def container(name):
        status = cluster.get("pod", name, "-n", namespace)["status"]
        return status["phase"], status.get("containerStatuses", [{}])[0]

    phase, status = eventually(lambda: container("rules") if container("rules")[0] == "Failed" else None,
                               "it has ended for good")
    assert status["restartCount"] == 1 and status["state"]["terminated"]["exitCode"] == 7


def test_hooks_and_order_hold_when_the_engine_is_killed_and_when_the_cluster_goes_down(own_cluster):
    cluster = own_cluster
    cluster.up()
    cluster.load("busybox")
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "log"},
             "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}}
    at = {"volumeMounts": [{"name": "log", "mountPath": "/data"}]}
    log = {"volumes": [{"name": "log", "persistentVolumeClaim": {"claimName": "log"}}]}

    def tells(word):
        return f"trap 'echo {word} >>/data/log; exit 0' TERM; sleep 1000000 & wait"

    hook = "echo pre >>/data/log; sleep 4; echo done >>/data/log"
    hooks = {"preStop": {"exec": {"command": ["sh", "-c", hook]}}}

    def pod(name):
        return pod_of(name, script("app", tells("app"), lifecycle=hooks, **at),
                      initContainers=[sidecar("side", tells("side"), **at)], **log)

    def lines(name):
        text = cluster.kubectl("exec", name, "-c", "app", "--", "sh", "-c", "cat /data/log", check=False)
        return text.split()

    create(cluster, "default", claim, pod("first"))
    ready(cluster, "default", "first")
    cluster.kubectl("delete", "pod", "first", "--wait=false")
    eventually(lambda: lines("first") == ["pre"], "the hook has begun")
    cluster.kill_engine()
    cluster.up()
    gone = ("wait", "--for=delete", "pod/first", "--timeout=60s")
    cluster.kubectl(*gone)
    create(cluster, "default", pod("second"))
    ready(cluster, "default", "second")
    # The hook that nobody heard the end of was run once more, within the same grace.
    assert lines("second") == ["pre", "pre", "done", "app", "side"]
    cluster.down()
    cluster.up()
    ready(cluster, "default", "second")
    assert lines("second")[5:] == ["pre", "done", "app", "side"]


def test_a_container_has_all_of_its_pod_start_over(cluster, namespace):
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    once = "echo $HOSTNAME run >> /v/log; test -e /v/again || { touch /v/again; sleep 2; exit 42; }; " + FOR_EVER
    create(cluster, namespace, pod_of(
        "over", script("a", once, restartPolicy="Never", restartPolicyRules=rules, **mount),
        script("b", FOR_EVER), restartPolicy="Never",
        initContainers=[script("first", "echo first >> /v/log", **mount),
                        script("side", FOR_EVER, restartPolicy="Always")],
        volumes=[{"name": "v", "emptyDir": {}}], terminationGracePeriodSeconds=60))

    def counts():
        status = cluster.get("pod", "over", "-n", namespace)["status"]
        both = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
        return {one["name"]: one["restartCount"] for one in both}

    eventually(lambda: counts() == dict.fromkeys(["first", "side", "a", "b"], 1), "all of them ran once more")
    ready(cluster, namespace, "over")
    log = cluster.kubectl("exec", "-n", namespace, "over", "-c", "a", "--", "cat", "/v/log")
    assert log.splitlines() == ["first", "over run", "first", "over run"], "volumes stay, and the order"
    pod = cluster.get("pod", "over", "-n", namespace)
    by_name = {one["name"]: one for one in pod["status"]["containerStatuses"]}
    ended = by_name["b"]["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("RestartingAllContainers", 137)
    assert by_name["a"]["lastState"]["terminated"]["exitCode"] == 42
    assert "AllContainersRestarting" in [one["type"] for one in pod["status"]["conditions"]]
