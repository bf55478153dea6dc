"""The same work on other clusters for one machine, where they are installed: how long until the node
is Ready, and what an empty cluster needs of memory."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

NAME = "coracle-bench"
PATIENCE = 600
# Seconds until what a cluster starts last has started.
SETTLE = 10
# Which processes are a peer's, by the name of their program, when it runs on the machine itself.
K3S = ("k3s", "k3s-server", "containerd", "containerd-shim-runc-v2", "coredns", "pause",
       "local-path-provisioner", "metrics-server", "traefik", "entry")


@dataclasses.dataclass
class Peer:
    """How a peer is driven: `create` returns when the node is Ready, or `ready` asks for that."""

    create: list
    delete: list
    memory: object
    ready: list = dataclasses.field(default_factory=list)


def containers(prefix):
    """Memory of the Docker containers whose names begin so, in MiB, without the page cache."""
    listed = output(["docker", "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"])
    ids = [line.split()[0] for line in listed.splitlines() if line.split()[1].startswith(prefix)]
    return sum(used(json.loads(output(["docker", "inspect", one]))[0]["State"]["Pid"]) for one in ids)


def used(pid):
    """The proportional memory of a process and all below it, in MiB."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    (pss,) = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]
    return pss / 1024 + sum(map(used, children))


def of_programs(names):
    """The proportional memory of all processes of these programs, in MiB."""
    total = 0
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text().strip() in names:
                rollup = (process / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def peers(home):
    """Every peer that we know, its files under `home` as far as it can be told so."""
    kubeconfig = str(home / "kubeconfig")
    return {
        "k3s": Peer(["k3s", "server", "--data-dir", str(home / "k3s"),
                     "--write-kubeconfig", kubeconfig],
                    [], lambda: of_programs(K3S),
                    ["k3s", "kubectl", "--kubeconfig", kubeconfig, "get", "nodes",
                     "--no-headers"]),
        "kind": Peer(["kind", "create", "cluster", "--name", NAME, "--kubeconfig", kubeconfig,
                      "--wait", f"{PATIENCE}s"],
                     ["kind", "delete", "cluster", "--name", NAME, "--kubeconfig", kubeconfig],
                     lambda: containers(f"{NAME}-")),
        "k3d": Peer(["k3d", "cluster", "create", NAME, "--wait", "--kubeconfig-update-default=false"],
                    ["k3d", "cluster", "delete", NAME], lambda: containers(f"k3d-{NAME}-")),
        "minikube": Peer(["minikube", "start", "--profile", NAME, "--driver", "docker", "--force",
                          "--keep-context", "--wait", "all"],
                         ["minikube", "delete", "--profile", NAME], lambda: containers(NAME)),
    }


def output(command):
    done = subprocess.run(command, text=True, capture_output=True, check=True, timeout=PATIENCE)
    return done.stdout


def measure(table, say):
    """Each that is on the PATH; a line for each that is not, or that fails."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        for name, peer in peers(pathlib.Path(home)).items():
            if not shutil.which(name):
                say(f"{name} is not installed: not measured")
                continue
            try:
                one(table, name, peer)
            except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
                say(f"{name} could not be measured: {error} {getattr(error, 'stderr', '') or ''}")


def one(table, name, peer):
    """Create, time, weigh, delete."""
    begin = time.monotonic()
    with contextlib.ExitStack() as undo:
        if peer.delete:
            undo.callback(subprocess.run, peer.delete, capture_output=True, check=False)
        if peer.ready:
            undo.callback(ended, subprocess.Popen(peer.create, stdout=subprocess.DEVNULL,
                                                  stderr=subprocess.DEVNULL))
            while not is_ready(peer.ready):
                if time.monotonic() - begin > PATIENCE:
                    raise RuntimeError("its node never became Ready")
                time.sleep(0.05)
        else:
            output(peer.create)
        table.add(f"{name}: created to node Ready", "s", time.monotonic() - begin)
        time.sleep(SETTLE)
        table.add(f"{name}: memory of an empty cluster (PSS)", "MiB", peer.memory())


def ended(process):
    process.terminate()
    process.wait(timeout=60)


def is_ready(command):
    asked = subprocess.run(command, text=True, capture_output=True, check=False)
    return asked.returncode == 0 and " Ready" in asked.stdout
