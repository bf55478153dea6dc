"""docs/migrate.md, word for word, from one engine to another."""

import re

import yaml

from cluster import ROOT, TOOLS

CHART = ROOT / ".cache/charts/app-python-0.1.0.tgz"


def commands(heading):
    """The first shell block under a heading of the document."""
    text = (ROOT / "docs/migrate.md").read_text()
    section = text.split(f"## {heading}", 1)[1]
    return re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]


def merged(contexts):
    """One kubeconfig with a context of each name for each cluster."""
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, cluster in contexts.items():
        own = yaml.safe_load(cluster.kubeconfig.read_text())
        config["clusters"].append({"name": name, "cluster": own["clusters"][0]["cluster"]})
        config["users"].append({"name": name, "user": own["users"][0]["user"]})
        config["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    return yaml.safe_dump(config)


# The other cluster is on a network of its own, so its kubectl must be there too.
KUBECTL = """\
#!/bin/sh
case "$*" in
*"--context cluster"*) exec {prefix} {kubectl} "$@" ;;
*) exec {kubectl} "$@" ;;
esac
"""


def test_the_data_move_to_another_cluster(cluster, own_cluster, tmp_path):
    own_cluster.up()
    for one in (cluster, own_cluster):
        one.load("busybox", "app-python")
    cluster.helm("install", "app-python", CHART, "--wait")
    for i in range(3):
        cluster.kubectl("exec", f"app-python-{i}", "--", "sh", "-c", f"echo {i + 40} > visits.txt")
    (tmp_path / "both").write_text(merged({"coracle": cluster, "cluster": own_cluster}))
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin/kubectl"
    kubectl.write_text(KUBECTL.format(prefix=" ".join(own_cluster.prefix),
                                      kubectl=TOOLS / "kubectl-1.37/kubectl"))
    kubectl.chmod(0o755)
    script = "\n".join(["set -eu", f"cd {tmp_path}", f"export KUBECONFIG={tmp_path}/both",
                        f"PATH={tmp_path}/bin:{TOOLS}/helm-4:$PATH",
                        commands("1."), commands("2.")])
    try:
        out = cluster.run("sh", "-c", script).stdout
        assert [f"volume {i} is the same" in out for i in range(3)] == [True] * 3, out
        own_cluster.helm("install", "app-python", CHART, "--wait")
        assert [own_cluster.kubectl("exec", f"app-python-{i}", "--", "cat", "visits.txt").strip()
                for i in range(3)] == ["40", "41", "42"]
    finally:
        cluster.helm("uninstall", "app-python", "--ignore-not-found")
        cluster.kubectl("delete", "pvc", "--all", "--wait=false")
