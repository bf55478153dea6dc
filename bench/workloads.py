"""What workloads cost: decisions about many pods, Deployments and their roll-outs, Jobs beside bare
pods, many of them at rest."""

import time

from bench import machine
from bench.cluster import PODS, gone, pod_spec, settled, until_seen, writes
from bench.engine import measured, started, until

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
CRON_JOBS = "/apis/batch/v1/namespaces/default/cronjobs"
# At a time, as a queue of work would have them.
ABREAST = 10
BARE_RATE = "bare pods that end, 10 at a time"


def measure(table):
    measured(table, "decisions")
    with started("busybox") as engine:
        deployments(table, engine.client)
        jobs(table, engine.client)
        resting(table, engine)
    simulated(table)


def deployment(name, replicas, marker):
    labels = {"app": name}
    spec = pod_spec()
    spec["containers"][0]["env"] = [{"name": "MARKER", "value": marker}]
    return {"metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": spec}}}


def is_rolled_out(seen, replicas):
    """As `kubectl rollout status` judges."""
    status = seen.get("status", {})
    counts = [status.get(f"{which}Replicas") for which in ("updated", "ready", "available")]
    return (status.get("observedGeneration") == seen["metadata"]["generation"]
            and counts == [replicas] * 3 and status["replicas"] == replicas)


def deployments(table, client, replicas=50):
    """A new template each time, and then a newer one, with a surge of a quarter."""
    created, rolled = [], []
    for run in range(3):
        name = f"deployment-{run}"

        def post():
            client.post(DEPLOYMENTS, deployment(name, replicas, "first"))

        def change():
            body = deployment(name, replicas, "second")
            client.call("PATCH", f"{DEPLOYMENTS}/{name}", body, "application/merge-patch+json")

        def over(seen):
            return is_rolled_out(seen, replicas)

        created.append(until_seen(client, DEPLOYMENTS, name, over, post))
        rolled.append(until_seen(client, DEPLOYMENTS, name, over, change))
        gone(client, DEPLOYMENTS, PODS)
        # The kernel takes the namespaces of many pods down in the background, and is slow at it.
        time.sleep(3)
    table.add(f"deployment of {replicas}: created to Ready", "ms", created)
    table.add(f"deployment of {replicas}: rolled out to a new template", "ms", rolled)


def ending_spec():
    spec = pod_spec()
    spec["containers"][0]["command"] = ["true"]
    return spec | {"restartPolicy": "Never"}


def pod_that_ends(number):
    return PODS, {"metadata": {"name": f"ends-{number}"}, "spec": ending_spec()}


def job(number):
    return JOBS, {"metadata": {"name": f"job-{number}"}, "spec": {"template": {"spec": ending_spec()}}}


def has_ended(seen):
    status = seen.get("status", {})
    conditions = {one["type"] for one in status.get("conditions", []) if one["status"] == "True"}
    return status.get("phase") == "Succeeded" or "Complete" in conditions


def rate(client, make, count):
    """How many a second come to their end, ten at a time."""
    collection, _ = make(0)
    events = client.watch(collection)
    begin, asked, ended = time.monotonic(), 0, set()
    while len(ended) < count:
        while asked < count and asked - len(ended) < ABREAST:
            client.post(*make(asked))
            asked += 1
        _, seen = next(events)
        if has_ended(seen):
            ended.add(seen["metadata"]["name"])
    took = time.monotonic() - begin
    events.close()
    return count / took


def jobs(table, client, count=1000):
    """In turns, a quarter each, since neighbours make machines slow and fast."""
    ours, bare = [], []
    for _ in range(4):
        bare.append(rate(client, pod_that_ends, count // 4))
        gone(client, PODS)
        ours.append(rate(client, job, count // 4))
        client.call("DELETE", JOBS, {"propagationPolicy": "Background"})
        until(lambda: not client.get(JOBS)["items"] and not client.get(PODS)["items"], pause=0.2)
    table.add(BARE_RATE, "/s", bare)
    table.add(f"{count:,} jobs of one pod, 10 at a time", "/s", ours, BARE_RATE, bare)


def resting(table, engine, count=1000):
    """Deployments and CronJobs that are as they should be: how often is something written, and what
    does it cost?"""
    client = engine.client
    for number in range(count):
        client.post(DEPLOYMENTS, deployment(f"rest-{number}", 0, "first"))
        schedule = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job(0)[1]["spec"]}}
        client.post(CRON_JOBS, {"metadata": {"name": f"rest-{number}"}, "spec": schedule})

    def observed():
        found = client.get(DEPLOYMENTS)["items"]
        return all(one["status"].get("observedGeneration") for one in found)

    until(observed, pause=0.5)
    settled(client)
    table.add("writes of 1,000 deployments and cron jobs at rest", "in 12 s", writes(client))
    pid, _ = engine.processes()
    machine.cpu_at_rest(table, "1,000 deployments and cron jobs at rest: CPU", pid, engine.home)
    gone(client, DEPLOYMENTS, CRON_JOBS)


def simulated(table, nodes=100, count=100, replicas=100):
    """Pods without processes: what the API, the decisions and the scheduler take for them."""
    with started(flags=("--simulated-nodes", str(nodes))) as engine:
        client = engine.client
        cordon = {"spec": {"unschedulable": True}}
        client.call("PATCH", "/api/v1/nodes/node-1", cordon, "application/merge-patch+json")
        until(lambda: engine.ready_nodes() == nodes + 1, pause=0.2)
        events, over = client.watch(DEPLOYMENTS), set()
        begin = time.monotonic()
        for number in range(count):
            client.post(DEPLOYMENTS, deployment(f"many-{number}", replicas, "first"))
        while len(over) < count:
            _, seen = next(events)
            if is_rolled_out(seen, replicas):
                over.add(seen["metadata"]["name"])
        took = time.monotonic() - begin
        events.close()
        pods = f"{count * replicas:,} simulated pods"
        table.add(f"{pods} of {count} deployments: created to Ready", "s", took)
        settled(client)
        pid, _ = engine.processes()
        table.add(f"engine with {pods}: resident", "MiB", machine.resident(pid))
        engine.down()
        engine.start()
        # What the start has made of the objects is dropped ten seconds later.
        time.sleep(15)
        pid, _ = engine.processes()
        table.add(f"engine started again with {pods}: resident", "MiB", machine.resident(pid))
