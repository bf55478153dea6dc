"""The life of containers: environment, order, probes, exit codes, restarts and their end."""

import json

from cluster import eventually

SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red, "not.a-name": x}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: s3cret}
"""

ENVIRONMENT = SETTINGS + """
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {selector: {app: near}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: main, labels: {tier: front}, annotations: {note: hello}}
spec:
  terminationGracePeriodSeconds: 0
  hostname: chosen
  hostAliases: [{ip: 192.0.2.1, hostnames: [elsewhere]}]
  initContainers:
    - {name: one, image: "busybox:1.36", command: [sh, -c, "echo one >> /shared/order"], volumeMounts: [{name: v, mountPath: /shared}]}
    - {name: two, image: "busybox:1.36", command: [sh, -c, "echo two >> /shared/order"], volumeMounts: [{name: v, mountPath: /shared}]}
  containers:
    - name: main
      image: busybox:1.36
      workingDir: /shared
      command: [sh, -c, "echo $(GREETING) '$$(GREETING)' '$(UNKNOWN)' $0 > args; exec sleep 1000000"]
      args: [first]
      resources: {requests: {cpu: 250m, memory: 16Mi}, limits: {memory: 32Mi}}
      envFrom:
        - {configMapRef: {name: settings}}
        - {prefix: S_, secretRef: {name: hidden}}
        - {configMapRef: {name: nothing, optional: true}}
      env:
        - {name: GREETING, value: "hello $(color)"}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: hidden, key: password}}}
        - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
        - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
        - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
        - {name: CPU, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
        - {name: GONE, valueFrom: {secretKeyRef: {name: hidden, key: gone, optional: true}}}
      volumeMounts: [{name: v, mountPath: /shared}]
  volumes: [{name: v, emptyDir: {}}]
"""


def test_environment_from_everything_and_init_containers_in_order(cluster, namespace):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=ENVIRONMENT)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/main", "--timeout=60s")

    def inside(script):
        return cluster.kubectl("exec", "-n", namespace, "main", "--", "sh", "-c", script)

    pod = cluster.get("pod", "main", "-n", namespace)
    env = cluster.kubectl("exec", "-n", namespace, "main", "--", "env")
    env = dict(line.split("=", 1) for line in env.splitlines())
    wanted = {"color": "red", "not.a-name": "x", "S_password": "s3cret", "GREETING": "hello red",
              "PASSWORD": "s3cret", "COLOR": "red", "NAME": "main", "IP": pod["status"]["podIP"],
              "HOST_IP": pod["status"]["hostIP"], "NODE": pod["spec"]["nodeName"],
              "ACCOUNT": "default", "TIER": "front", "MEMORY": str(32 << 20), "CPU": "250",
              "HOSTNAME": "chosen", "KUBERNETES_SERVICE_PORT": "443"}
    assert {name: env.get(name) for name in wanted} == wanted
    near = cluster.get("service", "near", "-n", namespace)["spec"]["clusterIP"]
    assert env["NEAR_SERVICE_HOST"] == near and env["NEAR_PORT_80_TCP_PORT"] == "80"
    assert "GONE" not in env
    assert inside("cat args order") == "hello red $(GREETING) $(UNKNOWN) first\none\ntwo\n"
    hosts = inside("cat /etc/hosts")
    assert f"{pod['status']['podIP']}\tchosen" in hosts and "192.0.2.1\telsewhere" in hosts
    states = [one["state"]["terminated"]["reason"] for one in pod["status"]["initContainerStatuses"]]
    assert states == ["Completed", "Completed"]


def pod_of(name, *containers, **spec):
    """A pod of busybox containers, as JSON."""
    containers = [{"image": "busybox:1.36", **container} for container in containers]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                       "spec": {"terminationGracePeriodSeconds": 0, "containers": containers, **spec}})


def test_exit_codes_oom_kills_messages_and_restarts(cluster, namespace):
    def script(text, **more):
        return {"name": "c", "command": ["sh", "-c", text], **more}

    small = {"limits": {"memory": "16Mi"}}
    eat = "x=a; while true; do x=$x$x; done"
    pods = [
        pod_of("fine", script("echo well > /dev/termination-log"), restartPolicy="Never"),
        pod_of("failed", script("echo some; echo why; exit 7", terminationMessagePolicy=
               "FallbackToLogsOnError"), restartPolicy="Never"),
        pod_of("hungry", script(eat, resources=small), restartPolicy="Never"),
        pod_of("again", script("exit 3")),
        pod_of("until", script("[ -e /v/x ] || { touch /v/x; exit 1; }",
                               volumeMounts=[{"name": "v", "mountPath": "/v"}]),
               restartPolicy="OnFailure", volumes=[{"name": "v", "emptyDir": {}}]),
        pod_of("long", script("sleep 1000000"), restartPolicy="Never", activeDeadlineSeconds=2),
        pod_of("early", script("sleep 1000000"), restartPolicy="Never", initContainers=[
            {"name": "i", "image": "busybox:1.36", "command": ["sh", "-c", "exit 9"]}]),
        pod_of("nothing", {"name": "c", "command": ["/no/such/program"]}),
    ]
    for pod in pods:
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=pod)

    def status(name):
        return cluster.get("pod", name, "-n", namespace)["status"]

    def over(name):
        found = eventually(lambda: (s := status(name))["phase"] in ("Succeeded", "Failed") and s,
                           f"{name} is over")
        ended = [one["state"]["terminated"] for one in found["containerStatuses"]
                 if "terminated" in one["state"]]
        return found, ended[0] if ended else {}

    found, end = over("fine")
    assert (found["phase"], end["exitCode"], end["reason"]) == ("Succeeded", 0, "Completed")
    assert end["message"] == "well\n"
    found, end = over("failed")
    assert (found["phase"], end["exitCode"], end["reason"]) == ("Failed", 7, "Error")
    assert end["message"] == "some\nwhy\n"
    end = over("hungry")[1]
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")
    found, _ = over("until")
    assert found["phase"] == "Succeeded" and found["containerStatuses"][0]["restartCount"] == 1
    found, _ = over("long")
    assert (found["phase"], found["reason"]) == ("Failed", "DeadlineExceeded")
    found, _ = over("early")
    assert found["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 9

    def waiting(name, reason):
        def found():
            states = [one["state"].get("waiting", {}) for one in status(name)["containerStatuses"]]
            return any(state.get("reason") == reason for state in states) and states[0]
        return eventually(found, f"{name} waits: {reason}")

    said = waiting("again", "CrashLoopBackOff")["message"]
    assert said.startswith("back-off ") and "restarting failed container=c pod=again_" in said
    last = status("again")["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 3
    ready = cluster.kubectl("get", "pods", "-n", namespace, "--no-headers").splitlines()
    shown = {line.split()[0]: line.split()[2] for line in ready}
    assert shown["fine"] == "Completed" and shown["hungry"] == "OOMKilled"
    assert shown["again"] == "CrashLoopBackOff" and shown["early"] == "Init:Error"
    eventually(lambda: status("nothing")["containerStatuses"][0]["restartCount"] > 0
               or "no such file" in json.dumps(status("nothing")), "a missing program is said")


def test_probes_of_every_kind(cluster, namespace):
    quick = {"periodSeconds": 1, "failureThreshold": 1}
    serve = "mkdir -p /www; echo ok > /www/ready; exec busybox httpd -f -p 8080 -h /www"
    http = {"httpGet": {"path": "/ready", "port": "web", "httpHeaders": [{"name": "X", "value": "y"}]}}
    main = {"name": "main", "command": ["sh", "-c", serve],
            "ports": [{"name": "web", "containerPort": 8080}],
            "startupProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 60},
            "readinessProbe": {**http, **quick},
            "livenessProbe": {"exec": {"command": ["test", "!", "-e", "/tmp/sick"]}, **quick}}
    late = {"name": "late", "command": ["sleep", "1000000"],
            "startupProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}}
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=pod_of("main", main))
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=pod_of("late", late))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/main", "--timeout=60s")

    def container(pod="main"):
        return cluster.get("pod", pod, "-n", namespace)["status"]["containerStatuses"][0]

    def inside(*command):
        cluster.kubectl("exec", "-n", namespace, "main", "--", *command)

    inside("rm", "/www/ready")
    eventually(lambda: not container()["ready"], "not ready without its page")
    assert container()["restartCount"] == 0 and container()["started"]
    inside("touch", "/www/ready")
    eventually(lambda: container()["ready"], "ready again")
    inside("touch", "/tmp/sick")
    eventually(lambda: container()["restartCount"] == 1 and container()["ready"], "restarted")
    eventually(lambda: container("late")["restartCount"] > 0, "what does not start is restarted")
    events = cluster.kubectl("get", "events", "-n", namespace)
    assert "Readiness probe failed: HTTP probe failed with statuscode: 404" in events
    assert "Liveness probe failed" in events and "Startup probe failed" in events
    assert "Container main failed liveness probe, will be restarted" in events


def test_a_container_gets_its_grace_and_then_ends(cluster, namespace):
    deaf = {"name": "deaf", "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]}
    polite = {"name": "polite", "command": [
        "sh", "-c", "trap 'echo bye > /v/bye; exit 0' TERM; touch /v/up; sleep 1000000 & wait"],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    host = cluster.home / "grace"
    volume = [{"name": "v", "hostPath": {"path": str(host), "type": "DirectoryOrCreate"}}]
    for name, container in [("deaf", deaf), ("polite", polite)]:
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=pod_of(
            name, container, terminationGracePeriodSeconds=2, volumes=volume))
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    eventually(lambda: (host / "up").exists(), "its trap is set")
    cluster.kubectl("delete", "pod", "deaf", "polite", "-n", namespace, "--timeout=60s")
    assert (host / "bye").read_text() == "bye\n"
    assert cluster.get("pods", "-n", namespace)["items"] == []
