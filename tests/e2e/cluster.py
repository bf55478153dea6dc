"""Coracle, kubectl and helm as commands, each with what a user would set."""

import json
import os
import pathlib
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORACLE = pathlib.Path(
    os.environ.get("CORACLE", ROOT / "target/x86_64-unknown-linux-gnu/release/coracle"))
TOOLS = ROOT / ".cache/tools"
IMAGES = ROOT / ".cache/images"
CHARTS = ROOT / "tests/charts"

KUBECTLS = ["1.37", "1.35"]
HELMS = ["4", "3"]


class CommandFailed(AssertionError):
    """A command that should have succeeded; shows everything it said."""


class Cluster:
    """One cluster under `home`, with a kubeconfig and caches of its own."""

    def __init__(self, name, home, api_port=None, prefix=()):
        """No `api_port`: the engine chooses. `prefix` is a command that runs the others, on another host for example."""
        self.name = name
        self.prefix = [str(part) for part in prefix]
        self.home = home
        self.data_dir = home / "data"
        self.kubeconfig = home / "kubeconfig"
        self.registries = home / "registries.yaml"
        self.api_port = api_port
        self.extra = {}

    def environment(self):
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "KUBECONFIG": str(self.kubeconfig),
            "CORACLE_NAME": self.name,
            "CORACLE_DATA_DIR": str(self.data_dir),
            **self.extra,
        }

    def run(self, *command, input=None, check=True, timeout=120):
        """Run a command; give the finished process, with text output."""
        done = subprocess.run([*self.prefix, *map(str, command)], input=input, text=True,
                              capture_output=True, env=self.environment(), timeout=timeout)
        if check and done.returncode != 0:
            raise CommandFailed(f"{' '.join(map(str, command))}: exit {done.returncode}\n"
                                f"{done.stdout}{done.stderr}{self.log_tail()}")
        return done

    def coracle(self, *arguments, **options):
        return self.run(CORACLE, *arguments, **options)

    def kubectl(self, *arguments, version="1.37", **options):
        """Run kubectl; give its standard output."""
        return self.kubectl_process(*arguments, version=version, **options).stdout

    def kubectl_process(self, *arguments, version="1.37", **options):
        return self.run(TOOLS / f"kubectl-{version}/kubectl", *arguments, **options)

    def helm(self, *arguments, version="4", **options):
        """Run helm; give its standard output."""
        return self.run(TOOLS / f"helm-{version}/helm", *arguments, **options).stdout

    def get(self, *arguments):
        """`kubectl get -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def up(self, *arguments, **options):
        port = [] if self.api_port is None else ["--api-port", self.api_port]
        return self.coracle("up", *port, *arguments, **options)

    def down(self, *arguments):
        return self.coracle("down", *arguments)

    def delete(self):
        return self.coracle("delete", "--yes")

    def load(self, *images):
        for image in images:
            self.coracle("image", "load", IMAGES / f"{image}.tar")

    def kill_engine(self):
        """The engine and the supervisor that would start it again, as an OOM kill of both."""
        engine = self.engine_pid()
        status = pathlib.Path(f"/proc/{engine}/status").read_text()
        parent = int(status.split("PPid:")[1].split()[0])
        if "--supervise" in pathlib.Path(f"/proc/{parent}/cmdline").read_text():
            os.kill(parent, signal.SIGKILL)
        os.kill(engine, signal.SIGKILL)
        eventually(lambda: self.coracle("status", check=False).returncode != 0, "the engine is dead")

    def engine_pid(self):
        return json.loads(self.coracle("status", "-o", "json").stdout)["pid"]

    def log_tail(self):
        log = self.data_dir / "engine.log"
        try:
            lines = log.read_text(errors="replace").splitlines()[-30:]
        except OSError:
            return ""
        return "\n--- engine.log ---\n" + "\n".join(lines)


def control_groups(name):
    """Control groups called `name…`. Those of other clusters may go while one looks."""
    found = (path for path, _, _ in os.walk("/sys/fs/cgroup"))
    return sorted(path for path in found if os.path.basename(path).startswith(name))


def eventually(condition, what, timeout=60):
    """Wait until `condition()` gives something true; give it. For states, never for speed."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.1)
