"""Every kubectl command that works on objects, as people use it, with each kubectl."""

import json

import pytest

from cluster import KUBECTLS, eventually

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {color: red, size: "1"}
"""

STATEFUL_SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: busybox:1.36
          command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
          env: [{name: COLOR, value: red}]
"""


@pytest.fixture(params=KUBECTLS)
def kubectl(request, cluster, namespace):
    """kubectl of one version, in a namespace of the test's own."""

    def run(*arguments, **options):
        return cluster.kubectl("-n", namespace, *arguments, version=request.param, **options)

    def process(*arguments, **options):
        return cluster.kubectl_process("-n", namespace, *arguments, version=request.param, **options)

    run.process = process
    run.json = lambda *arguments: json.loads(run("get", *arguments, "-o", "json"))
    return run


def test_apply_on_both_sides_and_diff(kubectl):
    assert "configmap/settings created" in kubectl("apply", "-f", "-", input=CONFIG_MAP)
    assert "configmap/settings unchanged" in kubectl("apply", "-f", "-", input=CONFIG_MAP)
    changed = CONFIG_MAP.replace("red", "blue").replace(', size: "1"', "")
    diff = kubectl.process("diff", "-f", "-", input=changed, check=False)
    assert diff.returncode == 1, diff.stderr
    assert "-  color: red" in diff.stdout and "+  color: blue" in diff.stdout
    assert "configmap/settings configured" in kubectl("apply", "-f", "-", input=changed)
    assert kubectl.json("configmap", "settings")["data"] == {"color": "blue"}

    mine = CONFIG_MAP.replace("settings", "mine")
    kubectl("apply", "--server-side", "-f", "-", input=mine)
    kubectl("patch", "configmap", "mine", "--type=merge", "-p", '{"data":{"color":"green"}}')
    conflict = kubectl.process("apply", "--server-side", "-f", "-", input=mine, check=False)
    assert conflict.returncode == 1
    assert 'conflict with "kubectl-patch" using v1' in conflict.stderr
    assert ".data.color" in conflict.stderr
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=mine)
    assert kubectl.json("configmap", "mine")["data"]["color"] == "red"


def test_defaults_do_not_show_as_drift(kubectl):
    kubectl("apply", "-f", "-", input=STATEFUL_SET)
    diff = kubectl.process("diff", "-f", "-", input=STATEFUL_SET, check=False)
    assert diff.returncode == 0, diff.stdout + diff.stderr
    assert "unchanged" in kubectl("apply", "-f", "-", input=STATEFUL_SET)


def test_patch_of_every_type(kubectl):
    kubectl("create", "-f", "-", input=STATEFUL_SET)
    strategic = '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"SIZE","value":"2"}]}]}}}}'
    kubectl("patch", "sts", "web", "-p", strategic)
    container = kubectl.json("sts", "web")["spec"]["template"]["spec"]["containers"][0]
    assert {e["name"] for e in container["env"]} == {"COLOR", "SIZE"}
    assert container["image"] == "busybox:1.36"
    kubectl("patch", "sts", "web", "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}')
    kubectl("patch", "sts", "web", "--type=json", "-p",
            '[{"op":"test","path":"/metadata/labels/a","value":"b"},'
            '{"op":"replace","path":"/spec/replicas","value":1}]')
    web = kubectl.json("sts", "web")
    assert web["spec"]["replicas"] == 1 and web["metadata"]["labels"] == {"a": "b"}
    wrong = kubectl.process("patch", "sts", "web", "--type=json", "-p",
                            '[{"op":"test","path":"/metadata/labels/a","value":"c"}]', check=False)
    assert wrong.returncode == 1


def test_edit_replace_label_annotate_and_set(kubectl, cluster, monkeypatch):
    kubectl("create", "-f", "-", input=CONFIG_MAP)
    cluster.extra = {"KUBE_EDITOR": "sed -i s/red/yellow/"}
    try:
        assert "configmap/settings edited" in kubectl("edit", "configmap", "settings")
    finally:
        cluster.extra = {}
    assert kubectl.json("configmap", "settings")["data"]["color"] == "yellow"
    kubectl("label", "configmap", "settings", "tier=front", "app-")
    kubectl("annotate", "configmap", "settings", "note=hello")
    metadata = kubectl.json("configmap", "settings")["metadata"]
    assert metadata["labels"] == {"tier": "front"}
    assert metadata["annotations"]["note"] == "hello"
    assert kubectl("get", "configmap", "-l", "tier in (front)", "-o", "name") == "configmap/settings\n"
    kubectl("replace", "-f", "-", input=CONFIG_MAP)
    assert kubectl.json("configmap", "settings")["data"]["color"] == "red"
    kubectl("create", "-f", "-", input=STATEFUL_SET)
    kubectl("set", "env", "sts/web", "COLOR=blue")
    kubectl("set", "image", "sts/web", "web=busybox:1.37")
    container = kubectl.json("sts", "web")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "busybox:1.37" and container["env"][0]["value"] == "blue"


def test_generators_send_protobuf_and_are_understood(kubectl):
    kubectl("create", "configmap", "one", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "two", "--from-literal=password=x y")
    kubectl("create", "serviceaccount", "three")
    kubectl("create", "role", "four", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "five", "--role=four", "--serviceaccount=default:three")
    kubectl("create", "service", "clusterip", "six", "--tcp=80:8080")
    kubectl("create", "quota", "seven", "--hard=pods=10")
    kubectl("create", "poddisruptionbudget", "eight", "--selector=app=web", "--min-available=50%")
    kubectl("create", "deployment", "nine", "--image=busybox:1.36", "--replicas=0")
    kubectl("create", "job", "ten", "--image=busybox:1.36")
    kubectl("create", "cronjob", "eleven", "--image=busybox:1.36", "--schedule=* * * * *")
    kubectl("create", "ingress", "twelve", "--rule=a.example/*=six:80")
    assert kubectl.json("configmap", "one")["data"] == {"a": "b"}
    assert kubectl.json("secret", "two")["data"] == {"password": "eCB5"}
    assert kubectl.json("pdb", "eight")["spec"]["minAvailable"] == "50%"
    assert kubectl.json("deployment", "nine")["spec"]["replicas"] == 0
    assert kubectl.json("service", "six")["spec"]["clusterIP"].startswith("10.")
    token = kubectl("create", "token", "three", "--duration=10m").strip()
    assert token.count(".") == 2
    who = kubectl("auth", "whoami", "--token", token, "-o", "json", "--kubeconfig=/dev/null",
                  check=False)
    assert who is not None


def test_explain_api_resources_and_auth(kubectl):
    assert "serviceName" in kubectl("explain", "sts.spec")
    assert "<[]Container>" in kubectl("explain", "pod.spec.containers", "--recursive=false")
    resources = kubectl("api-resources", "-o", "wide")
    assert "statefulsets" in resources and "sts" in resources
    assert "apps/v1" in kubectl("api-versions")
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    refused = kubectl.process("auth", "can-i", "create", "pods", "--as=nobody", check=False)
    assert refused.stdout.strip() == "no" and refused.returncode == 1
    denied = kubectl.process("get", "pods", "--as=nobody", check=False)
    assert 'User "nobody" cannot list resource "pods" in API group "" in the namespace' in denied.stderr


def test_the_parts_of_the_control_plane_are_printed(kubectl, cluster):
    shown = kubectl("get", "cs", "--no-headers").splitlines()
    healthy = {line.split()[0] for line in shown if line.split()[1:] == ["Healthy", "ok"]}
    assert healthy == {"controller-manager", "etcd-0", "scheduler"}, shown
    said = cluster.kubectl_process("get", "componentstatuses", "etcd-0").stderr
    assert "v1 ComponentStatus is deprecated in v1.19+" in said


def test_mistakes_get_upstreams_words(kubectl):
    unknown = kubectl.process("apply", "-f", "-", input=CONFIG_MAP.replace("\ndata:", "\ndate:"), check=False)
    assert 'strict decoding error: unknown field "date"' in unknown.stderr
    missing = kubectl.process("get", "sts", "nothing", check=False)
    assert 'Error from server (NotFound): statefulsets.apps "nothing" not found' in missing.stderr
    wrong = STATEFUL_SET.replace("labels: {app: web}", "labels: {app: other}")
    invalid = kubectl.process("create", "-f", "-", input=wrong, check=False)
    assert 'The StatefulSet "web" is invalid: spec.template.metadata.labels: Invalid value:' in invalid.stderr
    assert "`selector` does not match template `labels`" in invalid.stderr
    kubectl("create", "-f", "-", input=STATEFUL_SET)
    again = kubectl.process("create", "-f", "-", input=STATEFUL_SET, check=False)
    assert 'Error from server (AlreadyExists): error when creating "STDIN": statefulsets.apps "web" already exists' in again.stderr
    immutable = kubectl.process("patch", "sts", "web", "--type=merge", "-p",
                                '{"spec":{"serviceName":"other"}}', check=False)
    assert "updates to statefulset spec for fields other than 'replicas'" in immutable.stderr


def test_what_nothing_acts_on_is_told(kubectl, cluster):
    made = kubectl.process("create", "ingress", "idle", "--rule=a/b=c:80")
    told = "coracle does not act on objects of kind Ingress yet: no requests are routed"
    assert f"Warning: {told}" in made.stderr
    namespace = kubectl.json("ingress", "idle")["metadata"]["namespace"]
    assert told in cluster.coracle("why", "ingress/idle", "-n", namespace).stdout
    apart = STATEFUL_SET.replace("      containers:", "      hostUsers: false\n      containers:")
    set_apart = kubectl.process("apply", "-f", "-", input=apart.replace("replicas: 2", "replicas: 0"))
    assert "Warning: spec.template.spec.hostUsers: coracle" in set_apart.stderr
    plain = kubectl.process("apply", "-f", "-", input=STATEFUL_SET.replace("replicas: 2", "replicas: 0"))
    assert "Warning" not in plain.stderr


def test_typed_clients_update_pods_with_ephemeral_volumes(kubectl):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "typed"}, "spec": {
        "nodeSelector": {"nowhere": "x"}, "containers": [{"name": "a", "image": "busybox:1.36"}],
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}}}]}}
    kubectl("create", "-f", "-", input=json.dumps(pod))
    stored = kubectl.json("pod", "typed")
    # As Go writes it: a struct that holds nothing is there all the same.
    stored["spec"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["metadata"] = {}
    stored["metadata"]["labels"] = {"a": "b"}
    # The scheduler may have said meanwhile that no node fits.
    del stored["metadata"]["resourceVersion"]
    kubectl("replace", "-f", "-", input=json.dumps(stored))
    assert kubectl.json("pod", "typed")["metadata"]["labels"] == {"a": "b"}


def test_delete_with_every_cascade(kubectl):
    for cascade in ["background", "foreground", "orphan"]:
        kubectl("create", "-f", "-", input=STATEFUL_SET)
        eventually(lambda: kubectl("get", "pods", "-l", "app=web", "-o", "name"), "a pod exists")
        kubectl("delete", "sts", "web", f"--cascade={cascade}")
        assert kubectl("get", "sts", "-o", "name") == ""
        if cascade == "orphan":
            pods = kubectl.json("pods", "-l", "app=web")["items"]
            assert pods and all("ownerReferences" not in pod["metadata"] for pod in pods)
            kubectl("delete", "pods", "-l", "app=web")
        eventually(lambda: not kubectl("get", "pods", "-l", "app=web", "-o", "name"), "pods gone")


def test_formats_and_watch(kubectl):
    kubectl("create", "-f", "-", input=CONFIG_MAP)
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data.color}") == "red"
    assert "color: red" in kubectl("get", "cm", "settings", "-o", "yaml")
    assert kubectl("get", "cm", "settings", "-o", "custom-columns=C:.data.color") == "C\nred\n"
    wide = kubectl("get", "cm", "settings", "-o", "wide", "--show-labels")
    assert wide.splitlines()[0].split() == ["NAME", "DATA", "AGE", "LABELS"]
    kubectl("wait", "cm/settings", "--for=jsonpath={.data.color}=red", "--timeout=10s")
    describe = kubectl("describe", "cm", "settings")
    assert "color:\n----\nred" in describe


def test_drain_respects_budgets_and_says_so(kubectl, cluster):
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    kubectl("create", "-f", "-", input=STATEFUL_SET)
    kubectl("rollout", "status", "sts/web", "--timeout=60s")
    kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=2")
    eventually(lambda: kubectl.json("pdb", "web")["status"].get("currentHealthy") == 2, "counted")
    drain = ["drain", node, "--pod-selector=app=web", "--timeout=6s"]
    try:
        refused = kubectl.process(*drain, check=False)
        assert refused.returncode == 1
        assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.stderr
        assert "SchedulingDisabled" in kubectl("get", "node", node)
        kubectl("delete", "pdb", "web")
        assert "drained" in kubectl(*drain[:-1], "--timeout=60s")
    finally:
        assert "uncordoned" in kubectl("uncordon", node)
    kubectl("rollout", "status", "sts/web", "--timeout=60s")
    kubectl("taint", "node", node, "e2e=yes:NoSchedule")
    kubectl("taint", "node", node, "e2e-")


def test_pods_by_hand(kubectl):
    """run, expose, and what is not there yet and says so."""
    done = kubectl.process("run", "once", "--image=busybox:1.36", "--restart=Never", "-i", "--rm", "-q",
                           "--", "sh", "-c", "read line; echo got $line; exit 4", input="this\n", check=False)
    assert done.returncode == 4 and "got this" in done.stdout
    kubectl("run", "server", "--image=busybox:1.36", "--port=80", "--expose", "--labels=app=server",
            "--", "sleep", "1000000")
    assert kubectl.json("service", "server")["spec"]["selector"] == {"app": "server"}
    kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
    kubectl("debug", "server", "--image=busybox:1.36", "--copy-to=copy", "--", "sleep", "1000000")
    kubectl("wait", "--for=condition=Ready", "pod/copy", "--timeout=60s")
    old = kubectl.process("get", "endpoints")
    assert "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" in old.stderr
    kubectl("delete", "pod", "server", "copy", "--now")


def test_a_node_serves_what_a_kubelet_does(kubectl, namespace):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy"}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "busybox:1.36", "command": ["sh", "-c", "echo one; echo two; sleep 1000000"]}]}}
    kubectl("create", "-f", "-", input=json.dumps(pod))
    kubectl("wait", "--for=condition=Ready", "pod/busy", "--timeout=60s")
    uid = json.loads(kubectl("get", "pod", "busy", "-o", "json"))["metadata"]["uid"]

    def raw(path, node="node-1"):
        return kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}")

    assert raw("healthz") == raw("healthz", "https:node-1:10250") == "ok"
    pods = json.loads(raw("pods"))
    assert uid in [one["metadata"]["uid"] for one in pods["items"] if one["status"]["phase"] == "Running"]
    assert json.loads(raw("configz"))["kubeletconfig"]["maxPods"] == 110
    place = f"containerLogs/{namespace}/busy/c"
    eventually(lambda: raw(place) == "one\ntwo\n", "the log is there")
    assert raw(f"{place}?tailLines=1") == "two\n"
    wrong = kubectl.process("get", "--raw", f"/api/v1/nodes/node-1/proxy/{place}x", check=False)
    assert "container cx is not valid for pod busy" in wrong.stderr

    def summed():
        summary = json.loads(raw("stats/summary"))
        assert summary["node"]["nodeName"] == "node-1" and summary["node"]["fs"]["capacityBytes"] > 0
        mine = [one for one in summary["pods"] if one["podRef"]["uid"] == uid]
        return mine and mine[0]["containers"] and mine[0]["containers"][0]
    container = eventually(summed, "the pod is in the summary")
    assert container["name"] == "c" and container["memory"]["workingSetBytes"] > 0
    assert container["cpu"]["usageCoreNanoSeconds"] > 0
    for path, name in [("metrics/resource", "container_memory_working_set_bytes"),
                       ("metrics/cadvisor", "container_cpu_usage_seconds_total")]:
        assert any(line.startswith(name + "{") and 'pod="busy"' in line for line in raw(path).splitlines())
    assert "kubelet_running_pods" in raw("metrics")
