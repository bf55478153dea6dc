"""What a StatefulSet promises, on real containers: the checks of upstream's end-to-end tests."""

import json
import re
import time

import pytest

from cluster import eventually

# The pod is ready while /data/ready exists on its own volume... here: while the file is there.
SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: ss}}
spec:
  serviceName: ss
  replicas: {replicas}
  podManagementPolicy: {policy}
  {extra}
  selector: {{matchLabels: {{app: ss}}}}
  template:
    metadata: {{labels: {{app: ss}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: busybox:1.36
          command: [sh, -c, "trap 'exit 0' TERM; touch /tmp/ready; sleep 1000000 & wait"]
          env: [{{name: VERSION, value: "{version}"}}]
          readinessProbe:
            exec: {{command: [test, -e, /tmp/ready]}}
            periodSeconds: 1
            failureThreshold: 1
"""


class Set:
    """The set `ss` in a namespace."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    def kubectl(self, *arguments, **options):
        return self.cluster.kubectl("-n", self.namespace, *arguments, **options)

    def kubectl_process(self, *arguments):
        return self.cluster.kubectl_process("-n", self.namespace, *arguments, check=False)

    def apply(self, replicas=3, policy="OrderedReady", extra="", version="1"):
        text = SET.format(replicas=replicas, policy=policy, extra=extra, version=version)
        self.kubectl("apply", "-f", "-", input=text)

    def get(self):
        return self.cluster.get("sts", "ss", "-n", self.namespace)

    def pods(self):
        """{name: pod} of the pods that are not being deleted."""
        items = self.cluster.get("pods", "-n", self.namespace, "-l", "app=ss")["items"]
        return {pod["metadata"]["name"]: pod for pod in items
                if "deletionTimestamp" not in pod["metadata"]}

    def revisions(self):
        return {name: pod["metadata"]["labels"]["controller-revision-hash"]
                for name, pod in self.pods().items()}

    def ready(self, count):
        eventually(lambda: self.get()["status"].get("readyReplicas", 0) == count, f"{count} ready")

    def rolled_out(self):
        self.kubectl("rollout", "status", "sts/ss", "--timeout=60s")

    def unready(self, name):
        self.kubectl("exec", name, "--", "rm", "/tmp/ready")
        eventually(lambda: not is_ready(self.pods()[name]), f"{name} not ready")

    def mend(self, name):
        self.kubectl("exec", name, "--", "touch", "/tmp/ready")


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in pod["status"].get("conditions", []))


@pytest.fixture
def ss(cluster, namespace):
    return Set(cluster, namespace)


def test_pods_come_in_order_and_go_in_reverse(ss):
    ss.apply(3)
    ss.rolled_out()
    pods = ss.pods()
    created = [pods[f"ss-{i}"]["metadata"]["creationTimestamp"] for i in range(3)]
    assert created == sorted(created)
    for i in range(1, 3):
        before = [c for c in pods[f"ss-{i-1}"]["status"]["conditions"] if c["type"] == "Ready"][0]
        assert before["lastTransitionTime"] <= pods[f"ss-{i}"]["metadata"]["creationTimestamp"]
    assert pods["ss-1"]["spec"]["hostname"] == "ss-1"
    assert ss.kubectl("exec", "ss-2", "--", "sh", "-c", "hostname").strip() == "ss-2"
    ss.kubectl("scale", "sts/ss", "--replicas=1")
    eventually(lambda: list(ss.pods()) == ["ss-0"], "one pod left")
    events = ss.kubectl("get", "events", "--sort-by=.metadata.creationTimestamp", "-o",
                        "jsonpath={range .items[?(@.reason==\"SuccessfulDelete\")]}{.message}{\"\\n\"}{end}")
    assert "ss-2" in events and "ss-1" in events


def test_an_unready_pod_holds_scaling(ss):
    ss.apply(1)
    ss.ready(1)
    ss.unready("ss-0")
    ss.kubectl("scale", "sts/ss", "--replicas=3")
    time.sleep(5)
    assert list(ss.pods()) == ["ss-0"], "nothing is created behind a pod that is not ready"
    ss.mend("ss-0")
    ss.ready(3)
    for i in range(3):
        ss.unready(f"ss-{i}")
    ss.kubectl("scale", "sts/ss", "--replicas=0")
    time.sleep(5)
    assert len(ss.pods()) == 3, "nothing is removed while a lower pod is not ready"
    for i in range(3):
        ss.mend(f"ss-{i}")
    eventually(lambda: not ss.pods(), "no pods left")


def test_parallel_scaling_does_not_wait(ss):
    ss.apply(3, policy="Parallel")
    ss.ready(3)
    ss.unready("ss-1")
    ss.kubectl("scale", "sts/ss", "--replicas=5")
    eventually(lambda: len(ss.pods()) == 5, "five pods although one is not ready")
    ss.kubectl("scale", "sts/ss", "--replicas=0")
    eventually(lambda: not ss.pods(), "all gone")


def test_rolling_update_from_the_top_and_rollback_to_the_same_revision(ss):
    ss.apply(3)
    ss.rolled_out()
    first = ss.get()["status"]["currentRevision"]
    # Whether a pod was ever Ready is read from times in whole seconds: let it have been so a while.
    time.sleep(3)
    ss.unready("ss-1")
    ss.apply(3, version="2")
    eventually(lambda: ss.get()["status"].get("updateRevision") != first, "a new revision")
    # OrderedReady: a pod of the old revision that was ready once and is not now holds everything.
    time.sleep(3)
    assert set(ss.revisions().values()) == {first}
    ss.mend("ss-1")
    ss.rolled_out()
    status = ss.get()["status"]
    assert status["currentRevision"] == status["updateRevision"] != first
    assert set(ss.revisions().values()) == {status["updateRevision"]}
    history = ss.kubectl("rollout", "history", "sts/ss")
    assert [line.split()[0] for line in history.split("\n")[2:] if line] == ["1", "2"]
    ss.kubectl("rollout", "undo", "sts/ss")
    ss.rolled_out()
    assert ss.get()["status"]["currentRevision"] == first, "the old revision, not a copy"
    ss.kubectl("rollout", "restart", "sts/ss")
    ss.rolled_out()


def test_canary_and_phased_update(ss):
    partition = "updateStrategy: {{type: RollingUpdate, rollingUpdate: {{partition: {}}}}}"
    ss.apply(3, extra=partition.format(3))
    ss.rolled_out()
    old = ss.get()["status"]["currentRevision"]
    ss.apply(3, extra=partition.format(3), version="2")
    eventually(lambda: ss.get()["status"]["updateRevision"] != old, "a new revision")
    new = ss.get()["status"]["updateRevision"]
    time.sleep(2)
    assert set(ss.revisions().values()) == {old}
    ss.apply(3, extra=partition.format(2), version="2")
    expected = {"ss-0": old, "ss-1": old, "ss-2": new}
    eventually(lambda: ss.revisions() == expected, "only the canary is new")
    ss.ready(3)
    ss.kubectl("delete", "pod", "ss-0", "ss-2")
    eventually(lambda: ss.revisions() == expected, "deleted pods come back at their revisions")
    ss.ready(3)
    for i in [1, 0]:
        ss.apply(3, extra=partition.format(i), version="2")
        ss.rolled_out()
        expected[f"ss-{i}"] = new
        assert ss.revisions() == expected
    eventually(lambda: ss.get()["status"]["currentRevision"] == new, "the roll-out is complete")


def test_on_delete_changes_nothing_until_a_pod_is_deleted(ss):
    strategy = "updateStrategy: {type: OnDelete}"
    ss.apply(2, extra=strategy)
    ss.ready(2)
    old = ss.revisions()["ss-0"]
    ss.apply(2, extra=strategy, version="2")
    time.sleep(2)
    assert set(ss.revisions().values()) == {old}
    ss.kubectl("delete", "pod", "ss-1")
    ss.ready(2)
    assert ss.revisions()["ss-0"] == old != ss.revisions()["ss-1"]


def test_a_broken_rollout_is_cured_by_the_fixed_template(ss):
    """kubernetes#67250: a stock cluster waits here for ever."""
    ss.apply(2)
    ss.rolled_out()
    ss.kubectl("set", "image", "sts/ss", "main=busybox:missing")
    waiting = "ImagePullBackOff", "ErrImagePull"
    eventually(lambda: any(
        state.get("state", {}).get("waiting", {}).get("reason") in waiting
        for pod in ss.pods().values() for state in pod["status"].get("containerStatuses", [])),
        "the new pod cannot start")
    ss.kubectl("set", "image", "sts/ss", "main=busybox:1.36")
    ss.rolled_out()
    ss.ready(2)


def test_a_template_that_ends_at_once_stops_at_its_first_pod(ss):
    """Without a readiness probe a stock kubelet shows each run as Ready for an instant: all pods are
    made, and `rollout status` says that it worked."""
    probe = re.compile(r" {10}readinessProbe:\n(?: {12}.*\n)+")
    template = probe.sub("", SET.format(replicas=3, policy="OrderedReady", extra="", version="1"))
    ends = re.sub(r"command: .*", 'command: [sh, -c, "sleep 0.05; exit 1"]', template)
    ss.kubectl("apply", "-f", "-", input=ends)
    eventually(lambda: ss.pods().get("ss-0", {}).get("status", {}).get("containerStatuses", [{}])[0]
               .get("restartCount", 0) >= 2, "it was started three times")
    assert list(ss.pods()) == ["ss-0"]
    for says in [["rollout", "status", "sts/ss", "--timeout=2s"],
                 ["wait", "pod/ss-0", "--for=condition=Ready", "--timeout=2s"]]:
        assert ss.kubectl_process(*says).returncode != 0, says
    # It was never Ready, so that the corrected template takes its place.
    ss.kubectl("apply", "-f", "-", input=template)
    ss.rolled_out()
    ss.ready(3)


def test_claims_follow_their_ordinals_and_the_retention_policy(ss):
    claims = """volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}"""
    ss.apply(2, extra=claims)
    ss.ready(2)

    def names():
        return sorted(c["metadata"]["name"] for c in
                      ss.cluster.get("pvc", "-n", ss.namespace)["items"])

    assert names() == ["data-ss-0", "data-ss-1"]
    ss.kubectl("scale", "sts/ss", "--replicas=1")
    eventually(lambda: names() == ["data-ss-0"], "the claim of the removed pod is deleted")
    ss.kubectl("delete", "sts", "ss")
    eventually(lambda: not ss.pods(), "pods gone")
    assert names() == ["data-ss-0"], "whenDeleted: Retain"


def test_a_rejected_pod_is_replaced_until_it_fits(ss):
    """Upstream's 'Should recreate evicted statefulset': a host port is taken, then free."""
    node = ss.cluster.get("nodes")["items"][0]["metadata"]["name"]
    blocker = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "blocker"}, "spec": {
        "nodeName": node, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "busybox:1.36", "command": ["sleep", "1000000"],
                        "ports": [{"containerPort": 21017, "hostPort": 21017}]}]}}
    ss.kubectl("create", "-f", "-", input=json.dumps(blocker))
    eventually(lambda: ss.cluster.get("pod", "blocker", "-n", ss.namespace)["status"]["phase"]
               == "Running", "blocker runs")
    text = SET.format(replicas=1, policy="OrderedReady", extra="", version="1").replace(
        "      containers:", f"      nodeName: {node}\n      containers:").replace(
        "          env:", "          ports: [{containerPort: 21017, hostPort: 21017}]\n          env:")
    ss.kubectl("apply", "-f", "-", input=text)

    def uid():
        pod = ss.pods().get("ss-0")
        return pod and pod["metadata"]["uid"]

    first = eventually(uid, "the pod exists")
    eventually(lambda: uid() not in (None, first), "it is rejected and re-created")
    ss.kubectl("delete", "pod", "blocker")
    ss.ready(1)


def claims_of(ss):
    items = ss.cluster.get("pvc", "-n", ss.namespace)["items"]
    return {claim["metadata"]["name"]: claim for claim in items}


def claims(**policy):
    lines = ", ".join(f"{when}: {what}" for when, what in policy.items())
    return f"""volumeClaimTemplates:
    - metadata: {{name: data}}
      spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 16Mi}}}}}}
  persistentVolumeClaimRetentionPolicy: {{{lines}}}"""


def owners(claim):
    return [(owner["kind"], owner["name"]) for owner in claim["metadata"].get("ownerReferences", [])]


def test_identity_and_data_outlive_the_pods(ss):
    ss.apply(2, extra=claims())
    mount = '[{"op":"add","path":"/spec/template/spec/containers/0/volumeMounts","value":' \
            '[{"name":"data","mountPath":"/data"}]}]'
    ss.kubectl("patch", "sts", "ss", "--type=json", "-p", mount)
    ss.rolled_out()
    for name in ["ss-0", "ss-1"]:
        ss.kubectl("exec", name, "--", "sh", "-c", "hostname > /data/name")
    before = {name: pod["metadata"]["uid"] for name, pod in ss.pods().items()}
    ss.kubectl("scale", "sts/ss", "--replicas=0")
    eventually(lambda: not ss.pods(), "all gone")
    ss.kubectl("scale", "sts/ss", "--replicas=2")
    ss.ready(2)
    for name, pod in ss.pods().items():
        labels = pod["metadata"]["labels"]
        assert pod["metadata"]["uid"] != before[name]
        assert labels["apps.kubernetes.io/pod-index"] == name[-1]
        assert labels["statefulset.kubernetes.io/pod-name"] == name == pod["spec"]["hostname"]
        assert pod["spec"]["subdomain"] == "ss"
        assert ss.kubectl("exec", name, "--", "cat", "/data/name") == name + "\n"


def test_pods_are_adopted_and_released_by_their_labels(ss):
    ss.apply(1)
    ss.ready(1)
    uid = ss.pods()["ss-0"]["metadata"]["uid"]
    ss.kubectl("delete", "sts", "ss", "--cascade=orphan")
    assert "ownerReferences" not in ss.pods()["ss-0"]["metadata"]
    ss.apply(1)
    eventually(lambda: owners(ss.pods()["ss-0"]) == [("StatefulSet", "ss")], "adopted")
    assert ss.pods()["ss-0"]["metadata"]["uid"] == uid
    # A pod that loses its label is let go, and stands in the way until it is gone.
    ss.kubectl("label", "pod", "ss-0", "app=other", "--overwrite")
    get = lambda: ss.cluster.get("pod", "ss-0", "-n", ss.namespace)
    eventually(lambda: not owners(get()), "released")
    ss.kubectl("label", "pod", "ss-0", "app=ss", "--overwrite")
    eventually(lambda: owners(get()) == [("StatefulSet", "ss")], "adopted again")
    assert get()["metadata"]["uid"] == uid


def test_a_failed_predecessor_is_replaced_before_its_successors(ss):
    """Upstream's 'should not deadlock when a pod's predecessor fails'."""
    ss.apply(2)
    ss.ready(2)
    ss.unready("ss-0")
    ss.kubectl("delete", "pod", "ss-1")
    eventually(lambda: "ss-1" not in ss.pods(), "ss-1 waits for ss-0")
    time.sleep(2)
    assert list(ss.pods()) == ["ss-0"]
    ss.kubectl("delete", "pod", "ss-0")
    ss.ready(2)


def test_the_scale_and_status_subresources(ss):
    ss.apply(1)
    ss.ready(1)
    path = f"/apis/apps/v1/namespaces/{ss.namespace}/statefulsets/ss"
    scale = json.loads(ss.kubectl("get", "--raw", path + "/scale"))
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale", {"replicas": 1}, {"replicas": 1, "selector": "app=ss"})
    scale["spec"]["replicas"] = 2
    ss.kubectl("replace", "--raw", path + "/scale", "-f", "-", input=json.dumps(scale))
    ss.ready(2)
    stale = ss.kubectl("replace", "--raw", path + "/scale", "-f", "-", input=json.dumps(scale), check=False)
    assert stale == ""
    ss.kubectl("patch", "sts", "ss", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    eventually(lambda: list(ss.pods()) == ["ss-0"], "scaled down")

    # Conditions that others set stay until the controller has something to say.
    def conditions():
        return [one["type"] for one in ss.get()["status"].get("conditions", [])]

    eventually(lambda: ss.get()["status"]["replicas"] == 1, "counted")
    status = '{"status":{"conditions":[{"type":"Patched","status":"True"}]}}'
    ss.kubectl("patch", "sts", "ss", "--subresource=status", "--type=merge", "-p", status)
    assert conditions() == ["Patched"]
    whole = ss.get()
    whole["status"]["conditions"].append({"type": "Updated", "status": "True"})
    whole["spec"]["replicas"] = 7
    ss.kubectl("replace", "--raw", path + "/status", "-f", "-", input=json.dumps(whole))
    assert conditions() == ["Patched", "Updated"]
    assert ss.get()["spec"]["replicas"] == 1, "a status update changes nothing else"


def test_many_sets_are_found_and_deleted_by_label(ss):
    """List, patch and deletecollection across namespaces."""
    other = ss.namespace + "-b"
    ss.kubectl("create", "namespace", other)
    label = f"group={ss.namespace}"
    for namespace in [ss.namespace, other]:
        text = SET.format(replicas=1, policy="OrderedReady", extra="", version="1").replace(
            "{name: ss}", f"{{name: ss, labels: {{group: {ss.namespace}}}}}")
        ss.cluster.kubectl("create", "-n", namespace, "-f", "-", input=text)
    every = lambda *more: ss.cluster.get("sts", "-A", "-l", label, *more)["items"]
    assert {one["metadata"]["namespace"] for one in every()} == {ss.namespace, other}
    ss.kubectl("patch", "sts", "ss", "-p", '{"metadata":{"labels":{"more":"yes"}}}')
    assert [one["metadata"]["namespace"] for one in every("-l", label + ",more=yes")] == [ss.namespace]
    for namespace in [ss.namespace, other]:
        path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets?labelSelector=group%3D{ss.namespace}"
        ss.kubectl("delete", "--raw", path)
    assert every() == []
    eventually(lambda: not ss.pods(), "their pods go too")
    ss.kubectl("delete", "namespace", other, "--wait=false")


def test_ready_is_not_available_before_min_ready_seconds(ss):
    ss.apply(2, extra="minReadySeconds: 3600")
    ss.ready(1)
    status = ss.get()["status"]
    assert status["availableReplicas"] == 0 and list(ss.pods()) == ["ss-0"], "the next one waits"
    ss.kubectl("patch", "sts", "ss", "-p", '{"spec":{"minReadySeconds":0}}')
    eventually(lambda: ss.get()["status"]["availableReplicas"] == 2, "both are available")


def test_ordinals_start_where_they_are_told_to(ss):
    start = "ordinals: {{start: {}}}"
    ss.apply(2, extra=start.format(2) + "\n  " + claims())
    ss.ready(2)
    assert set(ss.pods()) == {"ss-2", "ss-3"}
    assert set(claims_of(ss)) == {"data-ss-2", "data-ss-3"}
    ss.apply(2, extra=start.format(3) + "\n  " + claims())
    eventually(lambda: set(ss.pods()) == {"ss-3", "ss-4"}, "the range moves up")
    ss.ready(2)
    ss.apply(2, extra=claims())
    eventually(lambda: set(ss.pods()) == {"ss-0", "ss-1"}, "and down to zero")
    ss.ready(2)


def test_claims_go_with_the_set_or_their_pod_only_if_asked(ss):
    ss.apply(2, extra=claims(whenDeleted="Delete"))
    ss.ready(2)
    eventually(lambda: all(owners(claim) == [("StatefulSet", "ss")] for claim in claims_of(ss).values()),
               "the set owns its claims")
    # Another owner of a claim is respected, and said to be in conflict.
    settings = ss.cluster.get("configmap", "kube-root-ca.crt", "-n", ss.namespace)["metadata"]
    foreign = '{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"%s",' \
              '"uid":"%s","controller":true}]}}' % (settings["name"], settings["uid"])
    ss.kubectl("patch", "pvc", "data-ss-1", "--type=merge", "-p", foreign)
    eventually(lambda: "ConflictingController" in ss.kubectl("get", "events"), "a warning")
    assert owners(claims_of(ss)["data-ss-1"]) == [("ConfigMap", settings["name"])]
    # The policy may change, and is applied to claims that are there.
    ss.apply(2, extra=claims(whenDeleted="Retain"))
    eventually(lambda: owners(claims_of(ss)["data-ss-0"]) == [], "kept from now on")
    ss.apply(2, extra=claims(whenDeleted="Delete", whenScaled="Delete"))
    eventually(lambda: owners(claims_of(ss)["data-ss-0"]) == [("StatefulSet", "ss")], "owned again")
    # After an orphaning deletion a new set takes the claims over.
    ss.kubectl("delete", "sts", "ss", "--cascade=orphan")
    assert owners(claims_of(ss)["data-ss-0"]) == []
    ss.apply(2, extra=claims(whenDeleted="Delete", whenScaled="Delete"))
    eventually(lambda: owners(claims_of(ss)["data-ss-0"]) == [("StatefulSet", "ss")], "adopted")
    ss.kubectl("scale", "sts/ss", "--replicas=0")
    eventually(lambda: set(claims_of(ss)) == {"data-ss-1"}, "the foreign one stays")
    ss.kubectl("scale", "sts/ss", "--replicas=1")
    ss.ready(1)
    ss.kubectl("delete", "sts", "ss")
    eventually(lambda: set(claims_of(ss)) == {"data-ss-1"}, "the set took its claim along")


def test_a_claim_deleted_while_its_pod_waits_is_made_again(ss):
    huge = "resources: {requests: {cpu: 10000}}\n          readinessProbe:"
    text = SET.format(replicas=1, policy="OrderedReady", extra=claims(), version="1")
    ss.kubectl("apply", "-f", "-", input=text.replace("readinessProbe:", huge))
    first = eventually(lambda: claims_of(ss).get("data-ss-0"), "a claim")["metadata"]["uid"]
    eventually(lambda: "FailedScheduling" in ss.kubectl("get", "events"), "the pod does not fit")
    ss.kubectl("delete", "pvc", "data-ss-0", "--wait=false")
    ss.kubectl("delete", "pod", "ss-0")
    eventually(lambda: claims_of(ss).get("data-ss-0", {"metadata": {"uid": first}})["metadata"]["uid"]
               != first, "a new claim")


def test_a_held_pod_does_not_hold_those_above_the_partition(ss):
    partition = "updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}"
    ss.apply(2, policy="Parallel", extra=partition)
    ss.ready(2)
    ss.kubectl("patch", "pod", "ss-0", "--type=merge", "-p", '{"metadata":{"finalizers":["e2e.test/hold"]}}')
    ss.kubectl("delete", "pod", "ss-0", "--wait=false")
    try:
        ss.apply(2, policy="Parallel", extra=partition, version="2")
        eventually(lambda: (s := ss.get()["status"])["updateRevision"] != s["currentRevision"]
                   and ss.revisions().get("ss-1") == s["updateRevision"], "ss-1 is updated")
    finally:
        ss.kubectl("patch", "pod", "ss-0", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    ss.ready(2)


# It does not hear SIGTERM, and says so when somebody else's heart beats on the claim's volume.
DEAF = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: deaf}
spec:
  serviceName: deaf
  selector: {matchLabels: {app: deaf}}
  template:
    metadata: {labels: {app: deaf}}
    spec:
      terminationGracePeriodSeconds: 6
      containers:
        - name: main
          image: busybox:1.36
          command:
            - sh
            - -c
            - |
              trap '' TERM
              before=$(cat /data/beat); sleep 2; after=$(cat /data/beat)
              test "$before" = "$after" || echo met >>/data/met
              echo up >>/data/starts
              beat=0
              while true; do beat=$((beat + 1)); echo $beat >/data/beat; sleep 1; done
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
"""


def test_a_forced_deletion_starts_nothing_beside_what_still_runs(cluster, namespace):
    def kubectl(*arguments, **options):
        return cluster.kubectl("-n", namespace, *arguments, **options)

    def starts():
        return kubectl("exec", "deaf-0", "--", "cat", "/data/starts", check=False).split()

    kubectl("apply", "-f", "-", input=DEAF)
    eventually(lambda: starts() == ["up"], "the first start")
    for count in (2, 3):
        kubectl("delete", "pod", "deaf-0", "--force", "--grace-period=0")
        eventually(lambda: starts() == ["up"] * count, f"start {count}")
    assert "met" not in kubectl("exec", "deaf-0", "--", "ls", "/data").split()


def test_claims_grow_with_their_template_where_the_set_asks_for_it(ss):
    def apply(size):
        extra = claims().replace("storage: 16Mi", f"storage: {size}")
        text = SET.format(replicas=2, policy="OrderedReady", extra=extra, version="1")
        grows = 'annotations: {statefulset.coracle.dev/grow-claims: "true"}'
        text = text.replace("{name: ss}", f"{{name: ss, {grows}}}", 1)
        return ss.cluster.kubectl_process("-n", ss.namespace, "apply", "-f", "-", input=text, check=False)

    assert apply("16Mi").returncode == 0
    ss.ready(2)
    grow = apply("48Mi")
    assert grow.returncode == 0, grow.stderr

    def sizes(of):
        return {of(claim) for claim in claims_of(ss).values()}

    eventually(lambda: sizes(lambda it: it["spec"]["resources"]["requests"]["storage"]) == {"48Mi"},
               "both claims ask for more")

    def is_settled(claim):
        waits = [one["type"] for one in claim["status"].get("conditions", [])]
        return claim["status"]["capacity"]["storage"] == "48Mi" or "FileSystemResizePending" in waits

    eventually(lambda: sizes(is_settled) == {True}, "both have grown, or wait for their pods")
    # Some machines let no file system grow while it is used.
    if sizes(lambda it: it["status"]["capacity"]["storage"]) != {"48Mi"}:
        ss.kubectl("delete", "pods", "-l", "app=ss")
    eventually(lambda: sizes(lambda it: it["status"]["capacity"]["storage"]) == {"48Mi"}, "both have grown")
    smaller = apply("16Mi")
    assert smaller.returncode != 0 and "are forbidden" in smaller.stderr
