"""Volumes that are images."""

import tarfile

from cluster import eventually
from images import layer, saved
from test_pod_life import FOR_EVER, create, events, pod_of, ready, script


def test_an_image_is_a_volume_to_be_read(cluster, namespace, tmp_path):
    removed = tarfile.TarInfo("lib/.wh.old")
    lower = layer({"lib/tool": b"#!/bin/sh\necho run\n", "lib/old": b"old", "deep/below/file": b"below\n"})
    archive = tmp_path / "data.tar"
    archive.write_bytes(saved("volumes.test/data:1", lower, layer({"lib/new": b"new\n"}, removed)))
    cluster.coracle("image", "load", archive)
    one = tmp_path / "one.tar"
    one.write_bytes(saved("volumes.test/one:1", layer({"file": b"one\n"})))
    cluster.coracle("image", "load", one)

    def image(name, reference, **more):
        return {"name": name, "image": {"reference": f"volumes.test/{reference}", **more}}

    def mount(name, path, **more):
        return {"name": name, "mountPath": path, **more}

    create(cluster, namespace, pod_of(
        "reader", script("c", FOR_EVER, volumeMounts=[
            mount("data", "/data"), mount("data", "/part", subPath="deep/below"),
            mount("data", "/tool", subPath="lib/tool"), mount("one", "/one")]),
        script("other", FOR_EVER, volumeMounts=[mount("data", "/data")]),
        volumes=[image("data", "data:1"), image("one", "one:1", pullPolicy="Never")],
        securityContext={"fsGroup": 1234}, terminationGracePeriodSeconds=0))
    create(cluster, namespace, pod_of(
        "absent", script("c", FOR_EVER, volumeMounts=[mount("gone", "/data")]),
        volumes=[image("gone", "gone:1", pullPolicy="Never")]))
    create(cluster, namespace, pod_of(
        "lost", script("c", FOR_EVER, volumeMounts=[mount("data", "/data", subPath="no/such")]),
        volumes=[image("data", "data:1")]))
    ready(cluster, namespace, "reader")

    def inside(text, container="c"):
        done = cluster.kubectl_process("exec", "-n", namespace, "reader", "-c", container, "--", "sh", "-c", text,
                                       check=False)
        return (done.stdout + done.stderr).strip()

    assert inside("cat /data/lib/new /part/file /one/file; ls /data/lib").split() == [
        "new", "below", "one", "new", "tool"]
    assert inside("cat /data/lib/new", "other") == "new"
    for place in ["/data/x", "/part/x", "/one/x"]:
        assert "Read-only file system" in inside(f"echo x > {place}")
    for place in ["/data/lib/tool", "/tool"]:
        assert "Permission denied" in inside(place), "nothing in it is run"
    # Its owners and modes are the image's, whatever group the pod has.
    assert inside("stat -c %g /data/lib/new") == "0"
    told = events(cluster, namespace, "reader")
    text = 'Container image "volumes.test/data:1" already present on machine and can be accessed by the pod'
    assert ("Normal", "Pulled", text) in told

    def waiting(name):
        status = cluster.get("pod", name, "-n", namespace)["status"]["containerStatuses"][0]
        return status["state"].get("waiting", {})

    eventually(lambda: waiting("absent").get("reason") == "ErrImageNeverPull", "it says what is missing")
    message = 'Container image "volumes.test/gone:1" is not present with pull policy of Never'
    assert waiting("absent")["message"] == message
    eventually(lambda: "subPath" in waiting("lost").get("message", ""), "it says that there is no such part")
    # What the pod has of it goes with it.
    uid = cluster.get("pod", "reader", "-n", namespace)["metadata"]["uid"]
    assert (cluster.data_dir / "pods" / uid / "images").exists()
    cluster.kubectl("delete", "pod", "-n", namespace, "reader", "absent", "lost", "--grace-period=0", "--force")
    eventually(lambda: not (cluster.data_dir / "pods" / uid).exists(), "nothing is left")
    cluster.coracle("image", "rm", "volumes.test/data:1")
