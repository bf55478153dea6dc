"""The session of the README, on a chart of the same shape, with every helm and kubectl."""

import re
import urllib.request

import pytest

from cluster import CHARTS, HELMS, eventually

IMAGE_TIMEOUT = 120


def ready_pods(cluster, namespace, release):
    pods = cluster.get("pods", "-n", namespace, "-l", f"app={release}")["items"]
    return [pod["metadata"]["name"] for pod in pods
            if any(c["type"] == "Ready" and c["status"] == "True"
                   for c in pod["status"].get("conditions", []))]


def visit(cluster, namespace, release):
    """One visit by the load balancer address, as the chart's NOTES print it."""
    template = "{{ range (index .status.loadBalancer.ingress 0) }}{{.}}{{ end }}"
    address = cluster.kubectl("get", "svc", "-n", namespace, release, "--template", template)
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", address), address
    # Nothing may leave the machine: the way there is the cluster's own link.
    assert f"dev cor-{cluster.name} " in cluster.run("ip", "route", "get", address).stdout
    with urllib.request.urlopen(f"http://{address}:80/", timeout=10) as page:
        return page.read().decode().split()


@pytest.mark.parametrize("helm", HELMS)
def test_install_visit_uninstall_and_find_the_counts_again(cluster, namespace, helm):
    release = "app"
    out = cluster.helm("install", release, CHARTS / "visits", "-n", namespace, "--wait",
                       "--timeout", "60s", version=helm)
    assert "STATUS: deployed" in out and "REVISION: 1" in out
    assert ready_pods(cluster, namespace, release) == ["app-0", "app-1", "app-2"]

    pages = [visit(cluster, namespace, release) for _ in range(30)]
    assert {page[0] for page in pages} == {"hello"}
    counts = [int(cluster.kubectl("exec", "-n", namespace, f"pod/app-{i}", "--", "cat", "visits.txt"))
              for i in range(3)]
    assert sum(counts) == 30

    cluster.helm("uninstall", release, "-n", namespace, "--wait", version=helm)
    eventually(lambda: not cluster.get("pods", "-n", namespace)["items"], "pods gone")
    claims = cluster.kubectl("get", "pvc", "-n", namespace)
    assert [line.split()[:2] for line in claims.splitlines()[1:]] == [
        [f"www-app-{i}", "Bound"] for i in range(3)]

    cluster.helm("install", release, CHARTS / "visits", "-n", namespace, "--wait",
                 "--timeout", "60s", version=helm)
    again = [int(cluster.kubectl("exec", "-n", namespace, f"pod/app-{i}", "--", "cat", "visits.txt"))
             for i in range(3)]
    assert again == counts
