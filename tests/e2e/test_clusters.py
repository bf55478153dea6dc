"""Several clusters on one host: each has ranges and a port of its own, and keeps them."""

import ipaddress
import json
import os
import subprocess
import urllib.request

import pytest

from cluster import CHARTS, Cluster, eventually


@pytest.fixture
def second(tmp_path):
    cluster = Cluster(f"second-{os.getpid()}", tmp_path)
    try:
        yield cluster
    finally:
        cluster.delete()


def page(cluster, namespace):
    """What the application's load balancer answers, asked from the host."""
    ingress = eventually(
        lambda: cluster.get("svc", "app", "-n", namespace)["status"]["loadBalancer"].get("ingress"),
        "the Service has an address")
    address = ingress[0]["ip"]
    with urllib.request.urlopen(f"http://{address}:80", timeout=10) as answer:
        return address, answer.read()


def facts(cluster):
    config = cluster.kubectl("config", "view", "-o", "jsonpath={.clusters[*].cluster.server}")
    node = cluster.get("nodes")["items"][0]
    api = cluster.get("svc", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    return config, node["spec"]["podCIDR"], api


def test_two_clusters_run_side_by_side(cluster, namespace, second):
    second.up()
    assert facts(second)[0] != facts(cluster)[0]
    networks = [ipaddress.ip_network(facts(one)[1]) for one in (cluster, second)]
    assert not networks[0].overlaps(networks[1])
    second.load("busybox")
    for one, place in ((cluster, namespace), (second, "default")):
        one.helm("install", "app", CHARTS / "visits", "--wait", "--timeout", "60s", "-n", place)
    first_address, _ = page(cluster, namespace)
    second_address, _ = page(second, "default")
    assert first_address != second_address
    pod = second.kubectl("exec", "app-0", "--", "nslookup", "kubernetes.default.svc.cluster.local")
    assert facts(second)[2] in pod

    shown = {one["name"]: one for one in json.loads(cluster.coracle("ls", "-o", "json").stdout)}
    for one in (cluster, second):
        found = shown[one.name]
        assert (found["state"], found["dataDir"]) == ("up", str(one.data_dir)), found
        assert found["server"] == facts(one)[0] and found["pods"][0] >= 1
    before = facts(second)
    said = second.down().stdout
    assert f"{before[1]}" in said and "stay unreachable on this host until `delete`" in said
    assert second.name not in cluster.coracle("ls").stdout, "nobody knows where it was"
    assert f"{second.name}   down" in second.coracle("ls").stdout
    lost = subprocess.run(["ip", "route", "get", before[2]], capture_output=True, text=True)
    assert "No route to host" in lost.stderr, "nothing leaves by the default route"
    assert page(cluster, namespace)[0] == first_address, "the first does not notice"
    second.up()
    assert facts(second) == before
    refused = second.coracle("down").returncode, second.coracle(
        "up", "--pod-cidr", "10.250.0.0/16", check=False)
    assert refused[1].returncode == 1 and "cannot become 10.250.0.0/16" in refused[1].stderr
    second.delete()
    kept = subprocess.run(["ip", "route", "show", "type", "unreachable"], capture_output=True, text=True)
    assert before[1] not in kept.stdout


def test_a_cluster_of_the_same_name_elsewhere_leaves_the_running_one_alone(cluster, namespace, tmp_path):
    cluster.kubectl("run", "stays", "-n", namespace, "--image=busybox:1.36", "--image-pull-policy=Never",
                    "--restart=Never", "--", "sleep", "1000")
    cluster.kubectl("wait", "pod/stays", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    other = Cluster(cluster.name, tmp_path)
    refused = other.up("--no-kubeconfig", check=False)
    assert refused.returncode == 1 and "choose another --name" in refused.stderr
    other.down()
    other.delete()
    assert not other.data_dir.exists()
    pod = cluster.get("pod", "stays", "-n", namespace)["status"]
    assert pod["phase"] == "Running" and pod["containerStatuses"][0]["restartCount"] == 0
    assert cluster.kubectl("exec", "stays", "-n", namespace, "--", "echo", "here") == "here\n"
