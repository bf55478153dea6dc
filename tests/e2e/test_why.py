"""`coracle why` for every workload and for releases of Helm: one chain down to what is in the way."""

import contextlib
import json
import subprocess

import pytest
import yaml

from cluster import HELMS, TOOLS, eventually


def container(**more):
    return {"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000000"], **more}


def template(name, restart="Always", **spec):
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container()], **spec}
    return {"metadata": {"labels": {"app": name}}, "spec": {**spec, "restartPolicy": restart}}


def workload(kind, name, pods, **spec):
    spec = {"selector": {"matchLabels": {"app": name}}, "template": pods, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def job(name, pods, **spec):
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": pods, **spec}}


def cron_job(name, **spec):
    work = {"spec": {"template": template(name, restart="Never")}}
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": work, **spec}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}


MANY = [container(resources={"requests": {"cpu": "64"}})]
FAILS = [container(command=["sh", "-c", "echo no table; exit 3"])]
MISSING = [container(envFrom=[{"configMapRef": {"name": "settings"}}])]

OBJECTS = [
    workload("Deployment", "large", template("large", containers=MANY)),
    workload("Deployment", "paused", template("paused"), paused=True),
    workload("ReplicaSet", "gated", template("gated", schedulingGates=[{"name": "example.com/ready"}])),
    workload("DaemonSet", "agent", template("agent", containers=MISSING)),
    job("fails", template("fails", restart="Never", containers=FAILS), backoffLimit=0),
    job("later", template("later", restart="Never"), suspend=True),
    cron_job("yearly", timeZone="Europe/Berlin"),
    cron_job("never", suspend=True),
    {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "large"},
     "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "large"}}}},
    {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
     "metadata": {"name": "lost"},
     "spec": {"maxReplicas": 3, "scaleTargetRef": {
         "apiVersion": "apps/v1", "kind": "Deployment", "name": "nothing"}}},
]

# What is asked, and what is said, each behind what is said before it.
CHAINS = [
    ("deploy/large", ["deployment large: 0 of 1 pods of large-", "replicaset large-", "pod large-",
                      "Insufficient cpu", "it asks for cpu 64"]),
    ("Deployment large", ["Insufficient cpu"]),
    ("deployments.v1.apps/large", ["Insufficient cpu"]),
    ("deploy paused", ["it is paused"]),
    ("rs/gated", ["pod gated-", "scheduling gates", "example.com/ready"]),
    ("ds/agent", ["pod agent-", 'configmap "settings" not found']),
    ("jobs/fails", ["BackoffLimitExceeded", "pod fails-", "exited with code 3", "no table"]),
    ("job later", ["it is suspended"]),
    ("cj/yearly", ["its next start is at ", "-12-31T23:00:00Z"]),
    ("cronjob/never", ["it is suspended"]),
    ("pdb/large", ["blocks every eviction", "0 of 1", "pod large-", "Insufficient cpu"]),
    ("hpa/lost", ["FailedGetScale", 'deployments.apps "nothing" not found']),
]


def is_said(text, words):
    at = 0
    for word in words:
        at = text.find(word, at)
        if at < 0:
            return False
    return True


def says(ask, *words):
    """Wait until an answer has the words, one behind the other."""
    last = []
    try:
        eventually(lambda: last.append(ask()) or is_said(last[-1], words), words)
    except AssertionError:
        raise AssertionError(f"{words} not in:\n{last[-1]}") from None


def test_every_workload_says_what_it_waits_for(cluster, namespace):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump_all(OBJECTS))
    why = lambda *words: cluster.coracle("why", *words, "-n", namespace).stdout
    for asked, words in CHAINS:
        says(lambda: why(*asked.split()), *words)
    assert is_said(why("cj", "yearly", "never"), ["yearly", "never: it is suspended"])
    unwell = json.loads(cluster.coracle("why", "jobs", "-n", namespace, "-o", "json").stdout)
    assert {chain[0]["object"] for chain in unwell} == {"job fails", "job later"}
    lost = cluster.coracle("why", "deploy/large", check=False)
    assert f'no deployment "large" in default: there is one in {namespace}' in lost.stderr


# --- Releases -------------------------------------------------------------------------------------

HOOK = job("setup", template("setup", restart="Never", containers=[
    container(command=["true"], envFrom=[{"configMapRef": {"name": "settings"}}])]))
HOOK["metadata"]["annotations"] = {"helm.sh/hook": "pre-install"}
BROKEN = workload("Deployment", "web", template("web", containers=[
    container(image="nowhere.invalid/none:1")]))


@pytest.fixture
def chart(tmp_path):
    (tmp_path / "templates").mkdir()
    about = {"apiVersion": "v2", "name": "app", "version": "1.0.0"}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(about))
    (tmp_path / "templates/all.yaml").write_text(yaml.safe_dump_all([HOOK, BROKEN]))
    return tmp_path


@contextlib.contextmanager
def at_work(*command, environment):
    """A command that is still at work, and is ended then."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*map(str, command)], env=environment, **quiet)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("version", HELMS)
def test_an_install_that_hangs_is_explained(cluster, namespace, chart, version):
    def release(name, **options):
        return cluster.coracle("why", "release", name, "-n", namespace, **options)

    told = lambda: release("app").stdout
    install = ["install", "app", chart, "-n", namespace, "--wait", "--timeout", "120s"]
    with at_work(TOOLS / f"helm-{version}/helm", *install, environment=cluster.environment()):
        eventually(lambda: release("app", check=False).returncode == 0, "the release")
        says(told, "revision 1 is pending-install", "job setup: the pre-install hook has not ended",
             "pod setup-", 'configmap "settings" not found')
        assert "deployment web" not in release("app").stdout, "what comes after the hook"
        cluster.kubectl("create", "configmap", "settings", "-n", namespace)
        says(told, "revision 1 is pending-install", "deployment web: 0 of 1", "replicaset web-",
             "pod web-", "nowhere.invalid/none:1")
        unwell = cluster.coracle("why", "releases", "-n", namespace).stdout
        assert is_said(unwell, ["release app", "deployment web"]), unwell
    wrong = release("apps", check=False)
    assert wrong.returncode == 1
    assert f'there is no release "apps" in {namespace}: there are app' in wrong.stderr
