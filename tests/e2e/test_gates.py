"""Feature gates: off unless told, kept with the cluster, and what they switch on."""

import json

from cluster import eventually

SET = {
    "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"},
    "spec": {
        "replicas": 2, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
        "updateStrategy": {"type": "Recreate"},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                {"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000000"]}]}}}}


def test_sets_are_recreated_where_the_gate_is_on(own_cluster):
    kubectl = own_cluster.kubectl

    def apply(*options, **more):
        return own_cluster.kubectl_process("apply", "-f", "-", *options, input=json.dumps(SET), **more)

    unknown = own_cluster.up("--feature-gates", "Nothing=true", check=False)
    assert unknown.returncode == 2
    assert "unrecognized feature gate: Nothing (there are: StatefulSetRecreateStrategy)" in unknown.stderr
    own_cluster.up("--feature-gates", "StatefulSetRecreateStrategy=true")
    own_cluster.load("busybox")
    apply()
    progressing = lambda reason: any(
        one["type"] == "Progressing" and one["reason"] == reason
        for one in own_cluster.get("sts", "web")["status"].get("conditions", []))
    eventually(lambda: progressing("RecreateComplete"), "both pods are there")
    kubectl("wait", "--for=condition=Ready", "pod/web-1", "--timeout=60s")

    # A template that cannot work, and then one that does: nobody has to delete a pod by hand.
    kubectl("set", "image", "sts/web", "main=nowhere.invalid/none:1")
    uids = lambda: {pod["metadata"]["uid"] for pod in own_cluster.get("pods")["items"]}
    before = uids()
    eventually(lambda: uids() and not uids() & before, "the old pods are gone")
    why = lambda: own_cluster.coracle("why", "sts/web").stdout
    eventually(lambda: "nowhere.invalid/none:1" in why(), "why names the image")
    kubectl("set", "image", "sts/web", "main=busybox:1.36")
    status = lambda: own_cluster.get("sts", "web")["status"]
    eventually(lambda: status().get("readyReplicas") == 2 and progressing("RecreateComplete")
               and status()["currentRevision"] == status()["updateRevision"], "it serves again")
    assert "RecreateStarted" in kubectl("get", "events")

    # The gate is kept, until somebody says otherwise.
    own_cluster.down()
    own_cluster.up()
    SET["metadata"]["name"] = "other"
    apply("--dry-run=server")
    own_cluster.down()
    own_cluster.up("--feature-gates", "StatefulSetRecreateStrategy=false")
    refused = apply("--dry-run=server", check=False)
    assert "must be 'RollingUpdate' or 'OnDelete'" in refused.stderr, refused.stderr
    kept = own_cluster.kubectl_process("annotate", "sts", "web", "a=b")
    assert "the feature gate StatefulSetRecreateStrategy is off" in kept.stderr, kept.stderr
