"""Operators that others' libraries make, with all that such libraries ask of an API."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from cluster import TOOLS, eventually
from issuer import openssl

OPERATOR = pathlib.Path(__file__).parent / "kopf_operator.py"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "memos.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"kind": "Memo", "plural": "memos", "singular": "memo"},
        "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["text"], "properties": {
                    "text": {"type": "string"}, "colour": {"type": "string"}}},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}}]}}


class Operator:
    """`kopf run`, until it is ended."""

    def __init__(self, cluster, namespace, directory):
        self.cluster, self.namespace, self.directory = cluster, namespace, directory
        certificate, key = directory / "hook.crt", directory / "hook.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", certificate, "-days", "2", "-subj", "/CN=hook", "-addext", "subjectAltName=IP:127.0.0.1")
        self.environment = {**cluster.environment(), "KUBECTL": str(TOOLS / "kubectl-1.37/kubectl"),
                            "CERTIFICATE": str(certificate), "KEY": str(key), "PORT": "9443"}
        self.process = None

    def start(self):
        with open(self.directory / "operator.log", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kopf", "run", "--standalone", "-n", self.namespace, str(OPERATOR)],
                env=self.environment, stdout=log, stderr=log)

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def until(self, condition):
        """Wait until the operator has brought `condition` about; tell what it wrote when it does not."""
        try:
            return eventually(condition, "the operator has done it")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(self.directory / 'operator.log').read_text()}") from error


@pytest.fixture
def operator(cluster, namespace, tmp_path):
    cluster.kubectl("apply", "-f", "-", input=json.dumps(DEFINITION))
    cluster.kubectl("wait", "--for=condition=Established", "crd/memos.example.com", "--timeout=30s")
    one = Operator(cluster, namespace, tmp_path)
    one.start()
    yield one
    one.end(signal.SIGKILL)
    for kind in ["validating", "mutating"]:
        cluster.kubectl("delete", f"{kind}webhookconfiguration", "kopf.example.com", "--ignore-not-found")
    for memo in cluster.get("memos", "-n", namespace)["items"]:
        cluster.kubectl("patch", "memo", memo["metadata"]["name"], "-n", namespace, "--type=merge", "-p",
                        '{"metadata": {"finalizers": null}}')
    cluster.kubectl("delete", "crd", "memos.example.com")


def memo(name, text):
    return json.dumps({"apiVersion": "example.com/v1", "kind": "Memo", "metadata": {"name": name},
                       "spec": {"text": text}})


def test_an_operator_of_kopf_is_at_home(cluster, namespace, operator):
    """Its webhooks admit, its handlers make, change and bid farewell, also when it was killed meanwhile."""
    def create(name, text):
        return cluster.kubectl_process("create", "-n", namespace, "-f", "-", input=memo(name, text), check=False)

    def shown(name):
        found = cluster.kubectl("get", "configmap", name, "-n", namespace, "--ignore-not-found", "-o", "json")
        return found and json.loads(found)["data"].get("text")

    def told(name):
        return cluster.get("memo", name, "-n", namespace).get("status", {}).get("show", {}).get("characters")

    def configured(kind):
        name = "kopf.example.com"
        found = cluster.kubectl("get", f"{kind}webhookconfiguration", name, "--ignore-not-found", "-o", "json")
        return found and json.loads(found).get("webhooks")
    operator.until(lambda: configured("validating") and configured("mutating"))

    empty = create("empty", " ")
    assert empty.returncode != 0 and "denied the request: a memo says something" in empty.stderr, empty.stderr
    done = create("first", "the first of all that were written")
    assert "Warning: nobody reads a memo that long" in done.stderr, done.stderr
    operator.until(lambda: shown("first") == "the first of all that were written")
    assert cluster.get("memo", "first", "-n", namespace)["spec"]["colour"] == "blue"
    operator.until(lambda: told("first") == 34)
    owner = cluster.get("configmap", "first", "-n", namespace)["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("Memo", "first")
    cluster.kubectl("patch", "memo", "first", "-n", namespace, "--type=merge", "-p", '{"spec": {"text": "short"}}')
    operator.until(lambda: shown("first") == "short" and told("first") == 5)

    operator.end(signal.SIGKILL)
    down = create("second", "two")
    assert down.returncode != 0 and "failed calling webhook" in down.stderr, down.stderr
    cluster.kubectl("delete", "memo", "first", "-n", namespace, "--wait=false")
    assert cluster.get("memo", "first", "-n", namespace)["metadata"]["finalizers"] == ["example.com/farewell"]
    operator.start()
    operator.until(lambda: cluster.kubectl("get", "memos", "-n", namespace, "-o", "name") == "")
    assert cluster.get("configmap", "farewell-first", "-n", namespace)["data"] == {"to": "first"}
    operator.until(lambda: shown("first") == "")
    assert create("second", "two").returncode == 0
    operator.until(lambda: shown("second") == "two")
