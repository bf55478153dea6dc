"""What the tests of charts and pages share: the packaged charts, helm, and the two services."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "apps/app_python/tests"))

APPLICATIONS = ["app-python", "app-rust"]
HELMS = ["4", "3"]


class Helm:
    """One release of helm, with caches of its own."""

    def __init__(self, version, home):
        self._program = ROOT / f".cache/tools/helm-{version}/helm"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home),
                             "KUBECONFIG": str(home / "none")}

    def run(self, *arguments):
        """The finished process, with text output."""
        return subprocess.run([str(self._program), *map(str, arguments)], text=True,
                              capture_output=True, env=self._environment, timeout=60)

    def __call__(self, *arguments):
        """The output of a command that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=HELMS)
def helm(request, tmp_path):
    return Helm(request.param, tmp_path)


@pytest.fixture(scope="session")
def packages():
    """{application: its packaged chart}"""
    subprocess.run([ROOT / "scripts/charts"], check=True)
    return {name: ROOT / f".cache/charts/{name}-0.1.0.tgz" for name in APPLICATIONS}
