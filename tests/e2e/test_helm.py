"""Helm 4 and 3, every command of a release's life."""

import json

import pytest

from cluster import CHARTS, HELMS, TOOLS, eventually


@pytest.mark.parametrize("version", HELMS)
def test_the_life_of_a_release(cluster, namespace, version):
    def helm(*arguments, **options):
        return cluster.helm(*arguments, "-n", namespace, version=version, **options)

    def greeting():
        return cluster.get("configmap", "app", "-n", namespace)["data"]["greeting"]

    def revision_of_pods():
        pods = cluster.get("pods", "-n", namespace, "-l", "app=app")["items"]
        return {pod["metadata"]["labels"]["controller-revision-hash"] for pod in pods}

    wait = ["--wait", "--timeout", "60s"]
    helm("install", "app", CHARTS / "visits", "--set", "replicas=2", *wait)
    first = revision_of_pods()
    assert len(first) == 1

    # A changed image name makes a new template; the pods are replaced one by one.
    helm("upgrade", "app", CHARTS / "visits", "--set", "replicas=2", "--set", "greeting=bye",
         "--set", "image=docker.io/library/busybox:1.36", *wait)
    assert greeting() == "bye"
    second = revision_of_pods()
    assert len(second) == 1 and second != first

    helm("rollback", "app", "1", *wait)
    assert greeting() == "hello"
    assert revision_of_pods() == first

    listed = json.loads(helm("list", "-o", "json"))
    assert [(row["name"], row["revision"], row["status"]) for row in listed] == [
        ("app", "3", "deployed")]
    status = json.loads(helm("status", "app", "-o", "json"))
    assert status["info"]["status"] == "deployed"
    history = json.loads(helm("history", "app", "-o", "json"))
    assert [row["status"] for row in history] == ["superseded", "superseded", "deployed"]
    assert "replicas: 2" in helm("get", "values", "app")

    helm("uninstall", "app", "--wait")
    assert json.loads(helm("list", "-o", "json")) == []
    eventually(lambda: not cluster.get("pods", "-n", namespace)["items"], "pods gone")
    assert len(cluster.get("pvc", "-n", namespace)["items"]) == 2, "claims are kept"


@pytest.mark.parametrize("version", HELMS)
def test_what_fails_is_rolled_back_and_said(cluster, namespace, version):
    def helm(*arguments, **options):
        return cluster.run(TOOLS / f"helm-{version}/helm", *arguments, "-n", namespace, **options)

    def fails(*arguments):
        done = helm(*arguments, check=False)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def statuses():
        return [row["status"] for row in json.loads(helm("history", "app", "-o", "json").stdout)]

    chart = CHARTS / "visits"
    undo = "--atomic" if version == "3" else "--rollback-on-failure"
    broken = ["--set", "image=busybox:missing", "--set", "replicas=1", undo, "--timeout", "4s"]
    assert "has been uninstalled" in fails("install", "bad", chart, *broken)
    assert cluster.get("sts", "-n", namespace)["items"] == []

    helm("install", "app", chart, "--set", "replicas=1", "--wait", "--timeout", "60s")
    in_use = fails("install", "app", chart)
    assert "a name that is still in use" in in_use
    assert "has been rolled back" in fails("upgrade", "app", chart, *broken)
    assert statuses() == ["superseded", "failed", "deployed"]
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in fails(
        "upgrade", "app", chart, "--set", "replicas=-1")
    assert 'kind: StatefulSet' in helm("install", "dry", chart, "--dry-run=server").stdout
    assert cluster.get("sts", "-n", namespace)["items"][0]["metadata"]["name"] == "app"

    # What is not the release's is not taken over, and what others changed is a conflict.
    cluster.kubectl("create", "configmap", "taken", "-n", namespace)
    assert 'ConfigMap "taken" in namespace' in fails("install", "taken", chart, "--set", "replicas=0")
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"},
            "data": {"greeting": "mine"}}
    apply = ["apply", "--server-side", "-n", namespace, "-f", "-"]
    conflict = cluster.kubectl_process(*apply, input=json.dumps(mine), check=False)
    assert 'conflict with "helm"' in conflict.stderr
    cluster.kubectl(*apply, "--force-conflicts", input=json.dumps(mine))
    change = ["upgrade", "app", chart, "--set", "replicas=1", "--set", "greeting=yours"]
    if version == "4":
        assert 'conflict with "kubectl": .data.greeting' in fails(*change)
        change.append("--force-conflicts")
    helm(*change)
    assert cluster.get("configmap", "app", "-n", namespace)["data"]["greeting"] == "yours"
    shown = helm("status", "app", *(["--show-resources"] if version == "3" else [])).stdout
    assert "v1/StatefulSet" in shown and "app-0" in shown

    helm("uninstall", "app", "--keep-history", "--wait")
    assert statuses()[-1] == "uninstalled"
    helm("uninstall", "app")
    assert "not found" in fails("uninstall", "app")
