"""The two applications: by themselves, and installed by helm."""

import contextlib
import json
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.request

from bench import machine
from bench.client import resolves
from bench.cluster import CLAIMS, PODS, SETS
from bench.engine import ROOT, directory, measured, started, until
from bench.table import Table

CHARTS = ROOT / ".cache/charts"
LISTEN = "127.0.0.1:18080"
VISITORS = 64


def measure(table):
    for name in ("app_rust", "app_python"):
        by_itself(table, name)
    with started("app-rust", "app-python") as engine:
        for name, replicas in [("app-rust", 2), ("app-python", 3)]:
            for policy in ("OrderedReady", "Parallel"):
                installs(table, engine, name, replicas, policy)
        rolling_update(table, engine)


# --- by itself ----------------------------------------------------------------------------------


def by_itself(table, name):
    """What its image runs, outside any cluster."""
    with directory() as base:
        home = base / "root"
        home.mkdir()
        entrypoint, environment = unpack(ROOT / f".cache/images/{name.replace('_', '-')}.tar", home)
        starts = []
        for _ in range(7):
            with running(home, entrypoint, environment) as (_, took):
                starts.append(took * 1e3)
        table.add(f"{name}: ready", "ms", starts)
        with running(home, entrypoint, environment) as (process, _):
            table.add(f"{name}: resident before visits", "MiB", machine.resident(process.pid))
            before = count(home)
            found = Table()
            measured(found, "load", base, LISTEN, "/", VISITORS, 3, 3)
            found = found.rows
            table.add(f"{name}: resident", "MiB", machine.resident(process.pid))
            counted = count(home) - before
            answered = found["answered"].value
            assert counted == answered, f"{counted} counted of {answered}"
        visits = f"{name}: visits, {VISITORS} clients"
        rates = found["requests"]
        table.add(visits, "/s", rates.values, rates.yardstick, rates.beside)
        table.add(f"{visits}, p50", "ms", found["p50"].values)
        table.add(f"{visits}, p99", "ms", found["p99"].values)
        table.add(f"{name}: visits a bare fdatasync", "x",
                  [one / bare for one, bare in zip(rates.values, rates.beside, strict=True)])


def unpack(archive, folder):
    """The image's files into a folder; what it runs, in which environment."""
    with tarfile.open(archive) as image:
        (manifest,) = json.load(image.extractfile("manifest.json"))
        config = json.load(image.extractfile(manifest["Config"]))["config"]
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                files.extractall(folder, filter="fully_trusted")
    return config["Entrypoint"], dict(item.split("=", 1) for item in config["Env"])


@contextlib.contextmanager
def running(root, entrypoint, environment):
    """The application on a root of its own, once it is ready, and how long that took in seconds."""
    environment = {**environment, "LISTEN": LISTEN, "VISITS_FILE": "/www/visits.txt",
                   "POD_NAME": "app-0"}
    begin = time.monotonic()
    with subprocess.Popen(["chroot", "--userspec", "1000:1000", root, *entrypoint],
                          env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: is_ready() or process.poll() is not None, pause=0.0005)
            yield process, time.monotonic() - begin
        finally:
            process.terminate()


def is_ready():
    try:
        with urllib.request.urlopen(f"http://{LISTEN}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def count(root):
    try:
        return int((root / "www/visits.txt").read_text())
    except FileNotFoundError:
        return 0


# --- by helm ------------------------------------------------------------------------------------


class Watcher(threading.Thread):
    """Notes when the set appears, when all replicas are Ready, when all names are in the DNS."""

    def __init__(self, client, name, replicas):
        super().__init__(daemon=True)
        self.events = client.watch(SETS, f"fieldSelector=metadata.name%3D{name}")
        self.names = [f"{name}-{i}.{name}-headless.default.svc.cluster.local"
                      for i in range(replicas)] + [f"{name}.default.svc.cluster.local"]
        self.replicas = replicas
        self.created = self.ready = self.named = None

    def run(self):
        for _, seen in self.events:
            self.created = self.created or time.monotonic()
            if seen.get("status", {}).get("readyReplicas") == self.replicas:
                break
        self.ready = time.monotonic()
        until(lambda: all(map(resolves, self.names)), pause=0.001)
        self.named = time.monotonic()


def installs(table, engine, name, replicas, policy):
    """`helm install` again and again; the claims go, too, so that each is a first one."""
    whole, after = [], []
    for _ in range(5):
        watcher = Watcher(engine.client, name, replicas)
        watcher.start()
        begin = time.monotonic()
        engine.helm("install", name, CHARTS / f"{name}-0.1.0.tgz",
                    "--set", f"podManagementPolicy={policy}")
        watcher.join()
        whole.append((watcher.named - begin) * 1e3)
        after.append((watcher.named - watcher.created) * 1e3)
        removed(engine, name)
    order = "ordered" if policy == "OrderedReady" else "parallel"
    state = f"{replicas}/{replicas} Ready and in DNS, {order}"
    table.add(f"{name}: helm install to {state}", "ms", whole)
    table.add(f"{name}: set created to {state}", "ms", after)


def removed(engine, name):
    engine.helm("uninstall", name)
    until(lambda: not engine.client.get(PODS)["items"])
    engine.client.delete(CLAIMS)
    until(lambda: not engine.client.get(CLAIMS)["items"])


def rolling_update(table, engine):
    """`helm upgrade` of app-python until all three replicas are of the new revision and Ready."""
    name, times, upgrades = "app-python", [], []
    chart = CHARTS / f"{name}-0.1.0.tgz"
    engine.helm("install", name, chart, "--wait")
    for run in range(5):
        events = engine.client.watch(SETS, f"fieldSelector=metadata.name%3D{name}")
        begin = time.monotonic()
        seen_at = []
        waiting = threading.Thread(target=lambda: seen_at.extend(updated(events)), daemon=True)
        waiting.start()
        engine.helm("upgrade", name, chart, "--reuse-values", "--set", f"env.VERSION=run-{run}")
        waiting.join()
        changed, done = seen_at
        upgrades.append((done - begin) * 1e3)
        times.append((done - changed) * 1e3)
    table.add("app-python: helm upgrade to 3/3 updated and Ready", "ms", upgrades)
    table.add("app-python: rolling update of 3", "ms", times)
    removed(engine, name)


def updated(events):
    """(when the new template was seen, when all had it)."""
    changed = None
    for _, seen in events:
        status = seen["status"]
        changed = changed or time.monotonic()
        current = status.get("observedGeneration") == seen["metadata"]["generation"]
        if current and status.get("updatedReplicas") == status.get("readyReplicas") == 3 \
                and status.get("currentRevision") == status.get("updateRevision"):
            break
    return changed, time.monotonic()
