"""exec, attach, cp and port-forward, with each kubectl."""

import concurrent.futures
import contextlib
import hashlib
import os
import re
import shlex
import socket
import subprocess

import pytest

from cluster import KUBECTLS, TOOLS, eventually

# The container echoes what it is attached to, and says back what it hears on port 8000.
POD = """
apiVersion: v1
kind: Pod
metadata: {name: main}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox:1.36
      stdin: true
      command: [sh, -c, "nc -ll -p 8000 -e busybox cat & while read line; do echo heard $line; done; wait"]
    - name: side
      image: busybox:1.36
      command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
"""
MEGABYTE = 1 << 20


class Pod:
    """The pod, as one kubectl sees it."""

    def __init__(self, cluster, namespace, version):
        self.cluster, self.namespace, self.version = cluster, namespace, version

    def kubectl(self, *arguments, **options):
        return self.cluster.kubectl_process("-n", self.namespace, *arguments,
                                            version=self.version, **options)

    def exec(self, *command, flags=(), **options):
        return self.kubectl("exec", "main", "-c", "main", *flags, "--", *command, **options)

    def command(self, *arguments):
        return [str(TOOLS / f"kubectl-{self.version}/kubectl"), "-n", self.namespace, *arguments]

    @contextlib.contextmanager
    def forwarding(self, port):
        """The local port that leads to `port`, and the process that leads there."""
        process = subprocess.Popen(self.command("port-forward", "pod/main", f":{port}"), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=self.cluster.environment())
        try:
            line = process.stdout.readline()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", line)
            assert found, line + process.stderr.read()
            yield int(found[1]), process
        finally:
            process.terminate()
            process.communicate(timeout=30)


# The last one speaks SPDY, as all did before 1.31 and as older libraries do.
@pytest.fixture(params=[*KUBECTLS, "SPDY"])
def pod(request, cluster, namespace):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=POD)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/main", "--timeout=60s")
    if request.param != "SPDY":
        yield Pod(cluster, namespace, request.param)
        return
    off = ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"]
    cluster.extra = dict.fromkeys(off, "false")
    try:
        yield Pod(cluster, namespace, KUBECTLS[-1])
    finally:
        cluster.extra = {}


def test_exec_input_output_and_exit_code(pod):
    assert pod.exec("sh", "-c", "echo $0 $1", "one", "two words").stdout == "one two words\n"
    assert pod.exec("sh", "-c", "sort", flags=["-i"], input="b\na\n").stdout == "a\nb\n"
    failed = pod.exec("sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    assert (failed.returncode, failed.stdout) == (3, "out\n")
    assert failed.stderr == "err\ncommand terminated with exit code 3\n"
    missing = pod.exec("no-such-command", check=False)
    assert missing.returncode != 0 and "no-such-command" in missing.stderr


def test_much_output_and_much_input_go_through(pod):
    many = "x" * (8 * MEGABYTE)
    assert pod.exec("sh", "-c", "wc -c", flags=["-i"], input=many).stdout.strip() == str(len(many))
    zeros = pod.exec("sh", "-c", f"head -c {len(many)} /dev/zero | tr '\\0' x")
    assert zeros.stdout == many


def test_a_terminal_has_the_size_of_the_client_s(pod):
    """`script` is the terminal that kubectl asks for the size of."""
    kubectl = shlex.join(pod.command("exec", "-it", "main", "-c", "main"))
    # As upstream, the command may begin before it is told the size.
    inside = "tty; until stty size 2>/dev/null | grep .; do sleep 0.1; done; exit 4"
    line = f"stty cols 91 rows 33; exec {kubectl} -- sh -c {shlex.quote(inside)}"
    done = pod.cluster.run("script", "-q", "-e", "-c", line, "/dev/null", check=False)
    assert done.returncode == 4, done.stdout
    assert "/dev/pts/" in done.stdout or "/dev/console" in done.stdout
    assert "33 91" in done.stdout


def test_attach_hears_and_speaks(pod):
    attached = subprocess.Popen(pod.command("attach", "-i", "main", "-c", "main"), text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, env=pod.cluster.environment())
    try:
        attached.stdin.write("hello\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == "heard hello\n"
    finally:
        attached.kill()
        attached.communicate(timeout=30)
    # Who leaves takes nothing along.
    status = pod.cluster.get("pod", "main", "-n", pod.namespace)["status"]
    assert [c["restartCount"] for c in status["containerStatuses"]] == [0, 0]


def test_files_are_copied_both_ways(pod, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(20 * MEGABYTE))
    pod.kubectl("cp", source, "main:/tmp/copied", "-c", "main")
    pod.kubectl("cp", "main:/tmp/copied", back, "-c", "main")
    assert back.read_bytes() == source.read_bytes()


def test_mistakes_get_upstreams_words(pod):
    for arguments, message in [
        (["nothing", "--", "ls"], 'Error from server (NotFound): pods "nothing" not found\n'),
        (["main", "-c", "no", "--", "ls"], "container no is not valid for pod main"),
    ]:
        failed = pod.kubectl("exec", *arguments, check=False)
        assert failed.returncode == 1 and message in failed.stderr


def say_and_hear(port, data):
    """What a connection says back when it is told `data`."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with concurrent.futures.ThreadPoolExecutor(1) as speaking:
            said = speaking.submit(connection.sendall, data)
            heard = bytearray()
            while len(heard) < len(data):
                some = connection.recv(MEGABYTE)
                assert some, f"ended after {len(heard)} of {len(data)} bytes"
                heard += some
            said.result()
    return bytes(heard)


def test_connections_are_forwarded_side_by_side(pod):
    sizes = [100 * MEGABYTE, 1, 5 * MEGABYTE, 1000, 20 * MEGABYTE]
    with pod.forwarding(8000) as (port, process):
        with concurrent.futures.ThreadPoolExecutor(len(sizes)) as pool:
            sent = [os.urandom(size) for size in sizes]
            heard = pool.map(lambda data: say_and_hear(port, data), sent)
            for mine, theirs in zip(sent, heard):
                assert hashlib.sha256(theirs).digest() == hashlib.sha256(mine).digest()
        assert say_and_hear(port, b"again") == b"again"
        assert process.poll() is None


def test_a_port_where_nobody_listens_is_refused(pod):
    with pod.forwarding(8001) as (port, process):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            assert connection.recv(1) == b""
        # kubectl gives up then, with the server's words.
        eventually(lambda: process.poll() is not None, "kubectl ends")
        said = process.stderr.read()
        assert "error forwarding port 8001 to pod main" in said and "refused" in said
