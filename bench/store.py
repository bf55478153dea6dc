"""The store in process and through the API, beside a bare fdatasync and etcd doing the same work."""

import contextlib
import shutil
import subprocess

from bench import machine
from bench.engine import directory, measured, started, until

ETCD = "127.0.0.1:23790"


def measure(table):
    with directory() as home:
        measured(table, "store", home)
        if shutil.which("etcd"):
            with etcd(home):
                measured(table, "etcd", home, ETCD)


@contextlib.contextmanager
def etcd(home):
    """Debian's etcd, on the same disk as our store."""
    peer = "http://127.0.0.1:23800"
    command = ["etcd", "--data-dir", home / "etcd", "--listen-client-urls", f"http://{ETCD}",
               "--advertise-client-urls", f"http://{ETCD}", "--listen-peer-urls", peer,
               "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            until(lambda: healthy() or running.poll() is not None, pause=0.05)
            yield
        finally:
            running.terminate()


def healthy():
    asked = subprocess.run(["curl", "-sf", f"http://{ETCD}/health"], capture_output=True, check=False)
    return b"true" in asked.stdout


def api(table):
    with started() as engine:
        measured(table, "api", engine.home, engine.client.address, engine.client.pems)
        pid, _ = engine.processes()
        table.add("engine with 10,000 stored pods: resident", "MiB", machine.resident(pid))
