"""What mounts of volumes ask for: what is below them, who sees later ones, whose certificates."""

import json
import os
import subprocess

import pytest

from cluster import eventually


@pytest.fixture
def shared_directory(tmp_path):
    """A directory of the host whose mounts may be seen elsewhere, with one below it."""
    top = tmp_path / "top"
    below = top / "below"
    below.mkdir(parents=True)
    run = lambda *command: subprocess.run(command, check=True)
    run("mount", "--bind", top, top)
    run("mount", "--make-shared", top)
    run("mount", "-t", "tmpfs", "tmpfs", below)
    try:
        yield top
    finally:
        run("umount", "--lazy", "--recursive", top)


def pod_of(name, directory, mounts, **more):
    container = {"name": "c", "image": "busybox:1.36", "command": ["sleep", "1000000"],
                 "volumeMounts": [{"name": "v", **mount} for mount in mounts], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [container],
        "volumes": [{"name": "v", "hostPath": {"path": str(directory)}}]}}


def create(cluster, namespace, pod):
    return cluster.kubectl_process("create", "-n", namespace, "-f", "-", input=json.dumps(pod), check=False)


def runs(cluster, namespace, name):
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=60s")

    def sh(script):
        return cluster.kubectl_process("exec", "-n", namespace, name, "--", "sh", "-c", script, check=False)
    return sh


def test_what_is_below_a_read_only_volume_is_too(cluster, namespace, shared_directory):
    modes = {"/plain": {"readOnly": True}, "/all": {"readOnly": True, "recursiveReadOnly": "Enabled"},
             "/maybe": {"readOnly": True, "recursiveReadOnly": "IfPossible"}, "/free": {}}
    mounts = [{"mountPath": path, **mode} for path, mode in modes.items()]
    assert create(cluster, namespace, pod_of("reader", shared_directory, mounts)).returncode == 0
    sh = runs(cluster, namespace, "reader")
    for path in ["/plain", "/all", "/maybe"]:
        assert "Read-only file system" in sh(f"touch {path}/x").stderr
    for path, works in [("/plain", True), ("/all", False), ("/maybe", False), ("/free", True)]:
        done = sh(f"touch {path}/below/x")
        assert (done.returncode == 0) == works, (path, done)
    status = cluster.get("pod", "reader", "-n", namespace)["status"]["containerStatuses"][0]
    told = {one["mountPath"]: one.get("recursiveReadOnly") for one in status["volumeMounts"]
            if one["name"] == "v"}
    assert told == {"/plain": "Disabled", "/all": "Enabled", "/maybe": "Enabled", "/free": None}

    for mode, words in [
            ({"recursiveReadOnly": "Enabled"}, "Forbidden: may only be specified when readOnly is true"),
            ({"readOnly": True, "recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"},
             "Forbidden: may only be specified when mountPropagation is None or not specified"),
            ({"readOnly": True, "recursiveReadOnly": "Yes"},
             'Unsupported value: "Yes": supported values: "Disabled", "Enabled", "IfPossible"')]:
        refused = create(cluster, namespace, pod_of("wrong", shared_directory, [{"mountPath": "/a", **mode}]))
        assert refused.returncode != 0 and words in refused.stderr, refused


def test_later_mounts_are_seen_as_was_asked(cluster, namespace, shared_directory):
    mounts = [{"mountPath": "/none"}, {"mountPath": "/down", "mountPropagation": "HostToContainer"}]
    assert create(cluster, namespace, pod_of("watcher", shared_directory, mounts)).returncode == 0
    both = pod_of("mounter", shared_directory, [{"mountPath": "/both", "mountPropagation": "Bidirectional"}])
    refused = create(cluster, namespace, both)
    assert "Bidirectional mount propagation is available only to privileged containers" in refused.stderr
    both["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    assert create(cluster, namespace, both).returncode == 0
    watcher = runs(cluster, namespace, "watcher")
    mounter = runs(cluster, namespace, "mounter")

    late = shared_directory / "late"
    late.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", late], check=True)
    (late / "mark").write_text("")
    assert watcher("ls /down/late").stdout == "mark\n"
    assert watcher("ls /none/late").stdout == ""
    assert mounter("ls /both/late").stdout == "mark\n"

    done = mounter("mkdir /both/own && mount -t tmpfs tmpfs /both/own && touch /both/own/sign")
    assert done.returncode == 0, done
    assert os.listdir(shared_directory / "own") == ["sign"]
    assert watcher("ls /down/own").stdout == "sign\n"
    assert watcher("ls /none/own").stdout == ""


def test_certificates_come_from_trust_bundles(cluster, namespace, tmp_path):
    def certificate(name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-keyout", tmp_path / "key", "-out", tmp_path / name, "-days", "2",
                        "-subj", f"/CN={name}"], check=True, capture_output=True)
        return (tmp_path / name).read_text()

    def bundle(name, *certificates, signer=None, labels=None):
        spec = {"trustBundle": "".join(certificates)} | ({"signerName": signer} if signer else {})
        cluster.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
            "metadata": {"name": name, "labels": labels or {}}, "spec": spec}))

    one, two, three = (certificate(name) for name in ["one", "two", "three"])
    signer = "example.com/trusted"
    names = ["e2e-plain", "example.com:trusted:a", "example.com:trusted:b"]
    bundle(names[0], one)
    bundle(names[1], one, two, signer=signer, labels={"live": "yes"})
    bundle(names[2], two, signer=signer)
    sources = [{"clusterTrustBundle": {"path": "named.pem", "name": names[0]}},
               {"clusterTrustBundle": {"path": "all.pem", "signerName": signer, "labelSelector": {}}},
               {"clusterTrustBundle": {"path": "live.pem", "signerName": signer,
                                       "labelSelector": {"matchLabels": {"live": "yes"}}}},
               {"clusterTrustBundle": {"path": "none.pem", "name": "e2e-missing", "optional": True}}]

    def pod(name, sources):
        pod = pod_of(name, "/", [{"mountPath": "/trust"}])
        pod["spec"]["volumes"] = [{"name": "v", "projected": {"sources": sources}}]
        return create(cluster, namespace, pod)

    try:
        assert pod("trusting", sources).returncode == 0
        sh = runs(cluster, namespace, "trusting")
        count = lambda file: sh(f"grep -c BEGIN /trust/{file}").stdout.strip()
        assert [count(f"{file}.pem") for file in ["named", "all", "live", "none"]] == ["1", "2", "2", "0"]
        assert sh("cat /trust/named.pem").stdout.strip() == one.strip()
        bundle(names[2], three, signer=signer)
        eventually(lambda: count("all.pem") == "3", "the new certificate comes to the pod")
        refused = pod("wrong", [{"clusterTrustBundle": {"path": "a", "name": "x", "signerName": signer}}])
        assert "only one of name and signerName may be used" in refused.stderr
        assert pod("waiting", [{"clusterTrustBundle": {"path": "a", "name": "e2e-late"}}]).returncode == 0
        eventually(lambda: any('"e2e-late" not found' in event["message"] for event in cluster.get(
            "events", "-n", namespace, "--field-selector", "involvedObject.name=waiting")["items"]),
            "it says what it waits for")
        bundle("e2e-late", one)
        runs(cluster, namespace, "waiting")
    finally:
        cluster.kubectl("delete", "clustertrustbundle", *names, "e2e-late", "--ignore-not-found")
