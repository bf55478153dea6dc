"""A cluster for the tests, driven with stock kubectl and helm as a user would."""

import itertools
import os
import pathlib
import re
import subprocess

import pytest

from cluster import Cluster
from disk import Disk
from images import layer, saved

NUMBERS = itertools.count(1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows what the engines of the test wrote last, and what there was."""
    report = (yield).get_result()
    if report.failed:
        clusters = [one for one in getattr(item, "funcargs", {}).values() if isinstance(one, Cluster)]
        for one in clusters:
            pods = one.kubectl_process("get", "pods,events", "-A", "-o", "wide", check=False).stdout
            report.sections.append((f"cluster {one.name}", pods[-4000:] + one.log_tail()))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """One engine for all tests that do not stop it; deleted at the end, also after failures."""
    assert os.geteuid() == 0, "the end-to-end tests run real containers: run them as root"
    home = tmp_path_factory.mktemp("cluster")
    # Control groups are the machine's: the name tells two runs of the tests apart.
    cluster = Cluster(f"e2e-{os.getpid()}", pathlib.Path(home))
    cluster.registries.write_text("# Tests write here where images are pulled from.\n")
    archives = cluster.data_dir / "image-archives"
    archives.mkdir(parents=True)
    (archives / "first.tar").write_bytes(saved("preloaded:1", layer({"a": b"1"})))
    (archives / "second.tar").write_bytes(b"no archive")
    cluster.up("--registries", cluster.registries)
    try:
        cluster.load("busybox")
        yield cluster
    finally:
        cluster.delete()


@pytest.fixture
def own_cluster(tmp_path):
    """An engine for one test, which may stop or kill it; on a host network of its own, which can be
    compared with what it was before."""
    host = "ip link set lo up; echo 0 >/proc/sys/net/ipv4/ip_forward; echo up; exec cat"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", host],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as network:
        network.stdout.readline()
        cluster = Cluster(f"own-{os.getpid()}", tmp_path, api_port=7443,
                          prefix=["nsenter", f"--net=/proc/{network.pid}/ns/net"])
        try:
            yield cluster
        finally:
            cluster.delete()
            network.stdin.close()


@pytest.fixture
def disk(own_cluster, tmp_path):
    """The data directory of `own_cluster` on a disk of its own."""
    disk = Disk(tmp_path / "disk.img", own_cluster.data_dir, 160)
    try:
        yield disk
    finally:
        own_cluster.delete()
        disk.unmount()
        disk.target.rmdir()


@pytest.fixture
def namespace(cluster, request):
    """A namespace of the test's own, deleted afterwards."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    name = f"{words[:40].strip('-')}-{next(NUMBERS)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
