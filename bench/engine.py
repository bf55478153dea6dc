"""An engine of the benchmark's own, with a copy of the program, so that its processes are known."""

import contextlib
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from cluster import CORACLE, ROOT, Cluster  # noqa: E402

from bench import machine  # noqa: E402
from bench.client import Client  # noqa: E402

PROGRAM = ROOT / "target/x86_64-unknown-linux-gnu/release/coracle-bench"
PORT = 6443
PATIENCE = 120


class Engine(Cluster):
    """A cluster whose start and processes are watched."""

    def __init__(self, home):
        # A name of its own, so that it disturbs no cluster that is called as it would be.
        super().__init__(f"bench-{os.getpid()}", home, api_port=PORT)
        self.program = home / "coracle"
        shutil.copy2(CORACLE, self.program)
        self.client = None

    def coracle(self, *arguments, **options):
        return self.run(self.program, *arguments, **options)

    def start(self, *flags):
        """`coracle up`; from its execution on, when the API answered and the node was Ready, in ms."""
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        begin = time.monotonic()
        with subprocess.Popen([self.program, "up", "--api-port", str(PORT), *flags], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=self.environment()) as up:
            until(lambda: answers(anybody) or died(up), pause=0.001)
            answered = time.monotonic()
            # Written by then, or a moment later.
            until((self.data_dir / "admin.kubeconfig").exists, pause=0.001)
            self.client = Client(self.data_dir / "admin.kubeconfig", self.home, self.program)
            until(lambda: self.ready_nodes() or died(up), pause=0.001)
            ready = time.monotonic()
        return (answered - begin) * 1e3, (ready - begin) * 1e3

    def ready_nodes(self):
        """How many there are for kubectl."""
        nodes = self.client.get("/api/v1/nodes")["items"]
        conditions = [condition for node in nodes
                      for condition in node.get("status", {}).get("conditions", [])]
        return sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def processes(self):
        """(the engine's process, those of the shims)."""
        return self.engine_pid(), machine.running(self.program, "shim")


def died(process):
    """Raise with what it said, when the process failed."""
    if process.poll():
        raise RuntimeError(f"coracle up failed: {process.stdout.read()}")
    return False


def answers(context):
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{PORT}/readyz", context=context, timeout=5) as it:
            return it.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def until(condition, pause=0.01):
    """Wait for a state."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("this took too long")
        time.sleep(pause)


@contextlib.contextmanager
def directory():
    """A directory on a disk (not in memory), where durable writes cost what they cost."""
    base = ROOT / ".cache/bench"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as path:
        yield pathlib.Path(path)


@contextlib.contextmanager
def started(*images, flags=()):
    """A running engine that is deleted afterwards."""
    with directory() as home:
        engine = Engine(home)
        try:
            engine.start(*flags)
            engine.load(*images)
            yield engine
        finally:
            engine.delete()


def measured(table, *arguments):
    """Put into the table what our bench program prints, as it does; give the rows' names."""
    command, names = [PROGRAM, *map(str, arguments)], []
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as running:
        names += [table.add_line(line.rstrip("\n")) for line in running.stdout]
    if running.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {running.returncode}")
    return names
