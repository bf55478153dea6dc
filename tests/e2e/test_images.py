"""`coracle image`, as a user meets it."""

import json
import subprocess
import tarfile

from cluster import CORACLE
from images import layer, saved


def test_an_image_in_use_is_not_removed_and_nothing_hangs(cluster, namespace):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000000"]}]}}
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/user", "--timeout=60s")
    refused = cluster.coracle("image", "rm", "busybox:1.36", check=False, timeout=30)
    assert refused.returncode == 1 and "is used by" in refused.stderr
    assert cluster.coracle("status", timeout=30).returncode == 0


def test_several_files_are_loaded_each_for_itself(cluster, tmp_path):
    first, broken, last = (tmp_path / f"{name}.tar" for name in ["first", "broken", "last"])
    device = tarfile.TarInfo("dev/mem")
    device.type = tarfile.CHRTYPE
    first.write_bytes(saved("first:1", layer({"a": b"1"}, device)))
    broken.write_bytes(b"no archive")
    last.write_bytes(saved(None, layer({"a": b"2"})))
    done = cluster.coracle("image", "load", first, broken, last, check=False)
    assert done.returncode == 1
    assert f"coracle: not loaded: {broken}: not an image archive" in done.stderr
    assert "left out devices: dev/mem" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "loaded docker.io/library/first:1"
    assert lines[1].startswith("loaded sha256:") and "no name" in lines[1]
    # The same again, cut off: its layers are known, and yet it is not whole.
    first.write_bytes(first.read_bytes()[:1200])
    assert cluster.coracle("image", "load", first, check=False).returncode == 1
    image = lines[1].split()[1]
    for name in ["first:1", image]:
        cluster.coracle("image", "rm", name)


def test_a_directory_of_archives_is_loaded_at_the_start(cluster):
    """The fixture has put two there: one is an image, the other nothing."""
    assert "docker.io/library/preloaded:1" in cluster.coracle("image", "ls").stdout
    log = cluster.coracle("logs").stdout
    assert f"no image is loaded from {cluster.data_dir}/image-archives/second.tar" in log


def test_an_image_comes_by_standard_input_gets_names_and_goes(cluster, tmp_path):
    archive = saved("piped:1", layer({"a": b"piped"}))
    done = subprocess.run([CORACLE, "image", "load", "-"], input=archive, capture_output=True, timeout=60,
                          env=cluster.environment())
    assert done.stdout == b"loaded docker.io/library/piped:1\n", done.stderr
    empty = subprocess.run([CORACLE, "image", "load", "-"], input=b"", capture_output=True, timeout=60,
                           env=cluster.environment())
    assert empty.returncode == 1 and b"not loaded: standard input: not an image archive" in empty.stderr

    assert cluster.coracle("image", "tag", "piped:1", "example.com/team/piped").stdout == (
        "tagged example.com/team/piped:latest\n")
    listed = json.loads(cluster.coracle("image", "ls", "-o", "json").stdout)
    ids = {one["reference"]: one["id"] for one in listed}
    assert ids["docker.io/library/piped:1"] == ids["example.com/team/piped:latest"]
    wrong = cluster.coracle("image", "rm", "pipde:1", "piped:1", check=False)
    assert wrong.returncode == 1 and wrong.stdout == "removed piped:1\n"
    assert 'image "pipde:1" not found (there is docker.io/library/piped:1)' in wrong.stderr

    # The name goes to another image: the first one has none, and is in nobody's way.
    (tmp_path / "second.tar").write_bytes(saved("example.com/team/piped:latest", layer({"a": b"second"})))
    cluster.coracle("image", "load", tmp_path / "second.tar")
    first = ids["docker.io/library/piped:1"]
    assert cluster.coracle("image", "prune").stdout == f"removed {first}\n"
    assert cluster.coracle("image", "prune").stdout == ""
    assert cluster.coracle("image", "rm", "example.com/team/piped").stdout == "removed example.com/team/piped\n"


def test_without_a_cluster_nothing_is_read_from_standard_input(cluster, tmp_path):
    done = subprocess.run([CORACLE, "--data-dir", tmp_path / "none", "image", "load", "-"], input=b"x" * 1000,
                          capture_output=True, timeout=60, env=cluster.environment())
    assert done.returncode == 1 and b"no cluster is running" in done.stderr and b"coracle up" in done.stderr
