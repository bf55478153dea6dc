"""Images from a registry: Debian's docker-registry on the host, images pushed by its HTTP API."""

import base64
import hashlib
import json
import subprocess
import tarfile
import urllib.request

import pytest

from cluster import IMAGES, eventually
from images import layer

OPEN, CLOSED, ENCRYPTED, NOBODY = [f"127.0.0.1:{port}" for port in [5000, 5001, 5002, 5009]]
USER, PASSWORD = "visitor", "s3cret"
# What htpasswd -B makes of the password.
HTPASSWD = USER + ":$2b$04$t.DIPYC.AfRVJJzVbShgG.xh09tVHlQ9/qw6C9FKMCoH2NRyFAZha\n"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def serve(address, directory, auth="", tls=""):
    """A registry; several may have one directory."""
    directory.mkdir(exist_ok=True)
    config = directory / f"{address}.yml"
    config.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
                      f"http: {{addr: '{address}'{tls}}}\n{auth}")
    return subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def request(method, url, body=None, **headers):
    headers["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return urllib.request.urlopen(
        urllib.request.Request(url, body, headers, method=method), timeout=60)


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def image():
    """The test image with one more layer: its configuration, and its layers."""
    with tarfile.open(IMAGES / "busybox.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
        layers = [archive.extractfile(one).read() for one in manifest["Layers"]]
    # Without it, each name here would be one more of the image that all tests run, which other tests want
    # to be the only one; and no layer would be fetched, for that one's are there.
    layers.append(layer({"pushed": b"to a registry"}))
    config["rootfs"]["diff_ids"].append(digest_of(layers[-1]))
    return json.dumps(config).encode(), layers


def push(address, name):
    """Push `image` under `name:1`; its digest."""
    config, layers = image()

    def stored(kind, blob):
        begun = request("POST", f"http://{address}/v2/{name}/blobs/uploads/", b"")
        url, digest = begun.headers["Location"], digest_of(blob)
        url += ("&" if "?" in url else "?") + f"digest={digest}"
        request("PUT", url, blob, **{"Content-Type": "application/octet-stream"})
        return {"mediaType": f"application/vnd.oci.image.{kind}", "size": len(blob), "digest": digest}

    body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST,
                       "config": stored("config.v1+json", config),
                       "layers": [stored("layer.v1.tar", one) for one in layers]}).encode()
    request("PUT", f"http://{address}/v2/{name}/manifests/1", body, **{"Content-Type": MANIFEST})
    return digest_of(body)


@pytest.fixture
def registries(tmp_path):
    """Two registries: one open, one with a password; gives how to stop the open one."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = f"auth: {{htpasswd: {{realm: here, path: {tmp_path}/htpasswd}}}}\n"
    running = [serve(OPEN, tmp_path / "open"), serve(CLOSED, tmp_path / "closed", auth)]

    def answers(address):
        try:
            return request("GET", f"http://{address}/v2/").status == 200
        except OSError:
            return False

    def stop():
        running[0].kill()
        running[0].wait()

    try:
        for address in [OPEN, CLOSED]:
            eventually(lambda: answers(address), f"the registry {address} answers")
        yield stop
    finally:
        for process in running:
            process.kill()
            process.wait()


class Pods:
    """Pods of one image each, and what is said of them."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    def create(self, name, image, **spec):
        policy = spec.pop("policy", None)
        container = {"name": "main", "image": image, "command": ["sleep", "1000000"]}
        container |= {"imagePullPolicy": policy} if policy else {}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [container], **spec}}
        self.cluster.kubectl("create", "-n", self.namespace, "-f", "-", input=json.dumps(pod))

    def runs(self, name):
        self.cluster.kubectl("wait", "-n", self.namespace, "--for=condition=Ready", f"pod/{name}",
                             "--timeout=60s")
        pod = self.cluster.get("pod", name, "-n", self.namespace)
        return pod["status"]["containerStatuses"][0]

    def refused(self, name, reasons, words):
        """The pod waits, and an event says why."""
        def waits():
            status = self.cluster.get("pod", name, "-n", self.namespace)["status"]
            states = [one["state"].get("waiting", {}) for one in status.get("containerStatuses", [])]
            return any(state.get("reason") in reasons for state in states)
        eventually(waits, f"{name} waits with one of {reasons}")
        eventually(lambda: any(words in message for message in self.said(name)),
                   f"{name}: {words}", timeout=20)

    def said(self, name):
        events = self.cluster.get("events", "-n", self.namespace, "--field-selector",
                                  f"involvedObject.name={name}")["items"]
        return [event["message"] for event in events]


FAILING = ["ErrImagePull", "ImagePullBackOff"]


def test_pulling(cluster, namespace, registries):
    digest = push(OPEN, "some/app")
    push(CLOSED, "secret/app")
    pods = Pods(cluster, namespace)
    create, runs, refused, said = pods.create, pods.runs, pods.refused, pods.said

    create("never-had", f"{OPEN}/some/app:1", policy="Never")
    refused("never-had", ["ErrImageNeverPull"],
            f'Container image "{OPEN}/some/app:1" is not present with pull policy of Never')

    create("by-tag", f"{OPEN}/some/app:1")
    assert runs("by-tag")["imageID"].endswith(digest)
    messages = said("by-tag")
    assert f'Pulling image "{OPEN}/some/app:1"' in messages
    assert any(f'Successfully pulled image "{OPEN}/some/app:1" in ' in one for one in messages)
    create("by-digest", f"{OPEN}/some/app@{digest}")
    assert runs("by-digest")["imageID"].endswith(digest)
    create("wrong-tag", f"{OPEN}/some/app:2")
    refused("wrong-tag", FAILING, f'Failed to pull image "{OPEN}/some/app:2"')
    refused("wrong-tag", FAILING, "not found")
    eventually(lambda: f'Back-off pulling image "{OPEN}/some/app:2"' in " ".join(said("wrong-tag")),
               "it backs off")
    create("wrong-name", "Not/An:Image:Name")
    refused("wrong-name", ["InvalidImageName"], "Failed to apply default image tag")

    # With a password: from the pod, or from its service account.
    create("stranger", f"{CLOSED}/secret/app:1")
    refused("stranger", FAILING, f'Failed to pull image "{CLOSED}/secret/app:1"')
    cluster.kubectl("create", "secret", "docker-registry", "login", "-n", namespace,
                    f"--docker-server={CLOSED}", f"--docker-username={USER}",
                    f"--docker-password={PASSWORD}")
    create("friend", f"{CLOSED}/secret/app:1", imagePullSecrets=[{"name": "login"}])
    runs("friend")
    cluster.kubectl("create", "serviceaccount", "known", "-n", namespace)
    cluster.kubectl("patch", "serviceaccount", "known", "-n", namespace, "-p",
                    '{"imagePullSecrets":[{"name":"login"}]}')
    create("guest", f"{CLOSED}/secret/app:1", serviceAccountName="known", policy="Always")
    runs("guest")

    # What was pulled with a secret is for those who show it, or the same login.
    create("without", f"{CLOSED}/secret/app:1")
    refused("without", FAILING, f'Failed to pull image "{CLOSED}/secret/app:1"')
    create("never-without", f"{CLOSED}/secret/app:1", policy="Never")
    refused("never-without", ["ErrImageNeverPull"], "is not present with pull policy of Never")
    create("missing", f"{CLOSED}/secret/app:1", imagePullSecrets=[{"name": "no-such"}])
    refused("missing", FAILING, "Unable to retrieve some image pull secrets (no-such); attempting to "
            "pull the image may not succeed.")
    create("never-with", f"{CLOSED}/secret/app:1", policy="Never", imagePullSecrets=[{"name": "login"}])
    runs("never-with")
    cluster.kubectl("create", "secret", "docker-registry", "other", "-n", namespace,
                    f"--docker-server={CLOSED}", f"--docker-username={USER}",
                    f"--docker-password={PASSWORD}")
    create("same-login", f"{CLOSED}/secret/app:1", policy="Never", imagePullSecrets=[{"name": "other"}])
    runs("same-login")

    # An image may be a volume, pulled as those of containers.
    mounts = {"name": "main", "image": f"{OPEN}/some/app:1", "command": ["sleep", "1000000"],
              "volumeMounts": [{"name": "v", "mountPath": "/image"}]}
    for name, reference in [("volume", "some/volume:1"), ("no-volume", "some/volume:2")]:
        push(OPEN, "some/volume")
        volume = {"name": "v", "image": {"reference": f"{OPEN}/{reference}", "pullPolicy": "Always"}}
        create(name, mounts["image"], containers=[mounts], volumes=[volume])
    runs("volume")
    assert "busybox" in cluster.kubectl("exec", "-n", namespace, "volume", "--", "ls", "/image/bin")
    assert f'Pulling image "{OPEN}/some/volume:1"' in said("volume")
    refused("no-volume", FAILING, f'Failed to pull image "{OPEN}/some/volume:2"')

    # Without the registry: what is there runs, unless it must be asked for.
    registries()
    create("present", f"{OPEN}/some/app:1")
    runs("present")
    assert any("already present on machine" in one for one in said("present"))
    create("never", f"{OPEN}/some/app:1", policy="Never")
    runs("never")
    create("always", f"{OPEN}/some/app:1", policy="Always")
    refused("always", FAILING, "onnection refused")
    assert f"{OPEN}/some/app:1" in cluster.coracle("image", "ls").stdout


def certificates(folder):
    """An authority, and a certificate of it for this host as server and client."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2",
            "-subj", "/CN=authority")
    openssl("req", *curve, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=host")
    (folder / "host.ext").write_text("subjectAltName = IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "host.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2",
            "-CAcreateserial", "-extfile", "host.ext", "-out", "host.crt")


def test_a_file_says_where_images_are(cluster, namespace, registries, tmp_path):
    """Mirrors that are down, that want a password, that have an authority of their own."""
    for address, name in [(OPEN, "some/app"), (CLOSED, "hub/app")]:
        push(address, name)
    certificates(tmp_path)
    tls = (f", tls: {{certificate: {tmp_path}/host.crt, key: {tmp_path}/host.key, "
           f"clientcas: [{tmp_path}/ca.crt]}}")
    pods = Pods(cluster, namespace)
    before = cluster.registries.read_text()
    encrypted = serve(ENCRYPTED, tmp_path / "open", tls=tls)
    try:
        cluster.registries.write_text(f"""
mirrors:
  images.example.com:
    endpoint: ["http://{NOBODY}", "http://{CLOSED}"]
    rewrite: {{"^team/(.*)": "hub/$1"}}
  encrypted.example.com:
    endpoint: ["https://{ENCRYPTED}"]
  stranger.example.com:
    endpoint: ["https://localhost:5002"]
  "*":
    endpoint: ["http://{OPEN}/v2"]
configs:
  "{CLOSED}":
    auth: {{username: {USER}, password: {PASSWORD}}}
  "{ENCRYPTED}":
    tls: {{ca_file: {tmp_path}/ca.crt, cert_file: {tmp_path}/host.crt, key_file: {tmp_path}/host.key}}
""")
        pods.create("mirrored", "images.example.com/team/app:1")
        pods.create("encrypted", "encrypted.example.com/some/app:1")
        pods.create("any", "other.example.com/some/app:1")
        pods.create("stranger", "stranger.example.com/some/app:1")
        for name in ["mirrored", "encrypted", "any"]:
            pods.runs(name)
        pods.refused("stranger", FAILING, "https://localhost:5002/v2: ")
        assert "pulled" in cluster.coracle("image", "pull", "other.example.com/some/app:1").stdout

        # A mistake is refused at the start, and said by pulls when it is made later.
        cluster.registries.write_text("mirrors:\n  docker.io:\n    endpoints: []\n")
        words = "unknown field `endpoints`, expected `endpoint` or `rewrite` at line 3 column 5"
        wrong = cluster.up("--registries", cluster.registries, check=False)
        assert wrong.returncode == 1 and words in wrong.stderr, wrong
        pods.create("mistaken", "other.example.com/some/app:1", policy="Always")
        pods.refused("mistaken", FAILING, words)
    finally:
        cluster.registries.write_text(before)
        encrypted.kill()
        encrypted.wait()
