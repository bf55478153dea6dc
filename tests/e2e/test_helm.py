"""Helm 4 and 3, every command of a release's life."""

import json

import pytest

from cluster import CHARTS, HELMS, eventually


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
