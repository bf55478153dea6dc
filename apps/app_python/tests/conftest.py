"""Replicas as processes, ended with their test."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from replica import Replica  # noqa: E402


@pytest.fixture
def start(tmp_path):
    """start(NAME=VALUE…): a replica in the test's folder."""
    replicas = []

    def start(command=(), **environment):
        replicas.append(Replica(tmp_path, environment, command))
        return replicas[-1]

    yield start
    for replica in replicas:
        replica.process.kill()
        replica.process.communicate()
