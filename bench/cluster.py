"""The engine: how fast it starts, what it needs at rest, how fast pods and sets run."""

import functools
import threading
import time

from bench import machine
from bench.engine import Engine, directory, measured, started, until
from bench.table import Table

PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
VOLUMES = "/api/v1/persistentvolumes"
LEASES = "/apis/coordination.k8s.io/v1/leases"
AT_REST = 12
# Until the engine has dropped what it made of objects while they were written.
SETTLED = 15
BUSYBOX = "/bin/busybox"
BARE_POD = "bare pod (clone, veth, overlay, exec)"


def measure(table):
    starts(table)
    with started("busybox") as engine:
        at_rest(table, engine)
        pods(table, engine)
        memory(table, engine)
        # The kernel takes the namespaces of 100 pods down in the background, and is slow at it.
        time.sleep(5)
        sets(table, engine.client)
        resting_sets(table, engine.client)


def starts(table):
    """On a data directory that is new, and on one that was used."""
    new, again = [], []
    for _ in range(7):
        with directory() as home:
            engine = Engine(home)
            try:
                new.append(engine.start())
                engine.down()
                again.append(engine.start())
            finally:
                engine.delete()
    table.add("up: API answers", "ms", [answered for answered, _ in new])
    table.add("up: node Ready", "ms", [ready for _, ready in new])
    table.add("up again: API answers", "ms", [answered for answered, _ in again])
    table.add("up again: node Ready", "ms", [ready for _, ready in again])


def at_rest(table, engine):
    """A cluster in which nothing happens, for 30 s."""
    table.add("binary, stripped", "MiB", engine.program.stat().st_size / 2**20)
    # The node tells of the image that was loaded with its next sign of life.
    time.sleep(12)
    table.add("writes at rest", f"in {AT_REST} s", writes(engine.client))
    pid, _ = engine.processes()
    machine.cpu_at_rest(table, "engine at rest: CPU", pid, engine.home)
    table.add("engine at rest: resident", "MiB", machine.resident(pid))
    table.add("engine at rest: proportional (PSS)", "MiB", machine.proportional(pid))


def pod(name, image="busybox:1.36"):
    """A pod whose container is ready as soon as it runs."""
    return {"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": pod_spec(image)}


def pod_spec(image="busybox:1.36"):
    return {"terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": image, "command": ["sleep", "100000"]}]}


def is_running(pod):
    """Whether its status says that its container runs."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return bool(statuses) and all("running" in status["state"] for status in statuses)


def pods(table, engine):
    """One after the other beside the bare cost, then 100 at once."""
    client, times, whole, bare, one = engine.client, [], [], [], Table()
    for number in range(20):
        measured(one, "bare-pod", engine.home, BUSYBOX)
        bare.append(one.rows[BARE_POD].value)
        name = f"one-{number}"
        events = client.watch(PODS, f"fieldSelector=metadata.name%3D{name}")
        begin = time.monotonic()
        client.post(PODS, pod(name))
        created = time.monotonic()
        next(True for _, seen in events if is_running(seen))
        end = time.monotonic()
        times.append((end - created) * 1e3)
        whole.append((end - begin) * 1e3)
        events.close()
        gone(client, PODS)
        time.sleep(0.1)
    table.add(BARE_POD, "ms", bare)
    table.add("pod: created to running", "ms", times, BARE_POD, bare)
    table.add("pod: asked for to running", "ms", whole)


def many(client, count):
    """Create so many pods; seconds until the last runs."""
    events, waiting = client.watch(PODS), {f"many-{number}" for number in range(count)}
    begin = time.monotonic()
    for name in sorted(waiting):
        client.post(PODS, pod(name))
    while waiting:
        _, seen = next(events)
        if is_running(seen):
            waiting.discard(seen["metadata"]["name"])
    events.close()
    return time.monotonic() - begin


def memory(table, engine):
    """What a pod costs: the engine's growth and the shim, the container's own process not counted.
    PSS: all shims share the program's pages."""
    client = engine.client
    before = machine.proportional(engine.processes()[0])
    for count in (10, 100):
        took = many(client, count)
        if count == 100:
            table.add("100 pods at once", "s", took)
        time.sleep(SETTLED)
        pid, shims = engine.processes()
        assert len(shims) == count, f"{len(shims)} shims for {count} pods"
        used = machine.proportional(pid)
        of_shims = sum(map(machine.proportional, shims))
        table.add(f"memory a pod, {count} pods", "MiB", (used - before + of_shims) / count)
        table.add(f"engine's part of it, {count} pods", "KiB", (used - before) / count * 1024)
        table.add(f"shim, {count} pods (PSS)", "MiB", of_shims / count)
        table.add(f"engine with {count} pods: resident", "MiB", machine.resident(pid))
        gone(client, PODS)


def gone(client, *collections):
    """Delete collections; return when all is gone."""
    for collection in collections:
        client.delete(collection)
    collections = [*collections, VOLUMES] if CLAIMS in collections else collections
    until(lambda: not any(client.get(collection)["items"] for collection in collections))
    ended(client)


def ended(client):
    """Return when no container runs: a pod that was deleted at once is given two seconds to end."""
    until(lambda: not machine.running(client.program, "shim"))


def stateful_set(name, replicas, policy):
    labels = {"app": name}
    claim = {"metadata": {"name": "www"},
             "spec": {"accessModes": ["ReadWriteOnce"],
                      "resources": {"requests": {"storage": "16Mi"}}}}
    spec = pod_spec()
    spec["containers"][0]["volumeMounts"] = [{"name": "www", "mountPath": "/www"}]
    return {"metadata": {"name": name},
            "spec": {"serviceName": name, "replicas": replicas, "podManagementPolicy": policy,
                     "selector": {"matchLabels": labels}, "volumeClaimTemplates": [claim],
                     "template": {"metadata": {"labels": labels}, "spec": spec}}}


def sets(table, client):
    """From asking for the set until its status says that all are ready: of a new template, and, for
    one of the sets, once more when the template has proved itself."""
    for replicas, policy, runs in [(3, "OrderedReady", 7), (3, "Parallel", 7),
                                   (10, "OrderedReady", 3), (50, "Parallel", 3)]:
        times, proved = [], []
        for run in range(runs):
            name = f"set-{run}"
            ask = functools.partial(client.post, SETS, stateful_set(name, replicas, policy))
            times.append(until_ready(client, name, replicas, ask))
            if (replicas, policy) == (3, "OrderedReady"):
                scale(client, name, 0)
                until(lambda: not client.get(PODS)["items"])
                ended(client)
                ask = functools.partial(scale, client, name, replicas)
                proved.append(until_ready(client, name, replicas, ask))
            gone(client, SETS, PODS, CLAIMS)
        order = "in order" if policy == "OrderedReady" else "parallel"
        table.add(f"set of {replicas}, {order}", "ms", times)
        if proved:
            table.add(f"set of {replicas}, {order}, proved", "ms", proved)


def until_ready(client, name, replicas, ask):
    def all_ready(seen):
        return seen.get("status", {}).get("readyReplicas") == replicas

    return until_seen(client, SETS, name, all_ready, ask)


def until_seen(client, collection, name, is_so, ask):
    """Milliseconds from asking until the object of that name is seen as it should be."""
    events = client.watch(collection, f"fieldSelector=metadata.name%3D{name}")
    begin = time.monotonic()
    ask()
    next(True for _, seen in events if is_so(seen))
    took = (time.monotonic() - begin) * 1e3
    events.close()
    return took


def scale(client, name, replicas):
    body = {"spec": {"replicas": replicas}}
    client.call("PATCH", f"{SETS}/{name}/scale", body, "application/merge-patch+json")


def resting_sets(table, client):
    """1,000 sets that are as they should be: how often is something written?"""
    begin = time.monotonic()
    for number in range(1000):
        client.post(SETS, stateful_set(f"rest-{number}", 0, "OrderedReady"))
    until(lambda: all(found["status"].get("observedGeneration") for found in client.get(SETS)["items"]),
          pause=0.2)
    table.add("1,000 sets of no replicas, until observed", "s", time.monotonic() - begin)
    settled(client)
    table.add("writes of 1,000 sets at rest", f"in {AT_REST} s", writes(client))
    gone(client, SETS)


def settled(client):
    """Wait, but not for ever, until what came before has come to its end."""
    for _ in range(10):
        before = client.revision()
        time.sleep(3)
        if client.revision() - before <= 1:  # the node's sign of life
            return


def writes(client):
    """How often something is written while nothing happens, beside the node's sign of life."""
    signs = []
    events = client.watch(LEASES)
    threading.Thread(target=lambda: signs.extend(events), daemon=True).start()
    before = client.revision()
    time.sleep(AT_REST)
    after = client.revision()
    # The last sign may still be on its way.
    time.sleep(1)
    of_signs = [int(seen["metadata"]["resourceVersion"]) for _, seen in signs]
    return after - before - sum(before < revision <= after for revision in of_signs)


