"""An operator written with kopf: each Memo becomes a ConfigMap, is admitted by webhooks, and says farewell.

`kopf run` runs it on the host. KUBECTL is the program that it makes objects with; its webhooks have the
files CERTIFICATE and KEY, and PORT.
"""

import json
import os
import subprocess

import kopf


def apply(namespace, name, data, owner=None):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
              "data": data}
    if owner is not None:
        kopf.adopt(config, owner=owner)
    subprocess.run([os.environ["KUBECTL"], "apply", "--server-side", "-f", "-"], check=True, text=True,
                   input=json.dumps(config))


@kopf.on.startup()
def configure(settings, **_):
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1", host="127.0.0.1", port=int(os.environ["PORT"]), cafile=os.environ["CERTIFICATE"],
        certfile=os.environ["CERTIFICATE"], pkeyfile=os.environ["KEY"])
    settings.admission.managed = "kopf.example.com"
    settings.persistence.finalizer = "example.com/farewell"


@kopf.on.mutate("memos.example.com", operations=["CREATE", "UPDATE"])
def paint(spec, patch, **_):
    if "colour" not in spec:
        patch.spec["colour"] = "blue"


@kopf.on.validate("memos.example.com", operations=["CREATE", "UPDATE"])
def check(spec, warnings, **_):
    if not spec["text"].strip():
        raise kopf.AdmissionError("a memo says something", code=422)
    if len(spec["text"]) > 20:
        warnings.append("nobody reads a memo that long")


@kopf.on.create("memos.example.com")
@kopf.on.update("memos.example.com")
def show(name, namespace, spec, body, **_):
    apply(namespace, name, {"text": spec["text"]}, body)
    return {"characters": len(spec["text"])}


@kopf.on.delete("memos.example.com")
def farewell(name, namespace, **_):
    apply(namespace, f"farewell-{name}", {"to": name})
