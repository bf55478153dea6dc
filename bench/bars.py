"""What we promised, and what each figure is compared with."""

from bench.table import Bar

COPY = "memory copy"

BARS = {
    "up: API answers": Bar("<=", 100),
    "up: node Ready": Bar("<=", 250),
    # It and the binary were 20 and 22 before CEL, webhooks, audit, OpenID Connect and registries were served.
    "engine at rest: resident": Bar("<=", 22),
    # Three threads have a part in a sign of life.
    "engine at rest: CPU": Bar("<=", 0.1, 3),
    "binary, stripped": Bar("<=", 24),
    "memory a pod, 10 pods": Bar("<=", 1),
    "memory a pod, 100 pods": Bar("<=", 1),
    "engine's part of it, 100 pods": Bar("<=", 100),
    "pod: created to running": Bar("<=", 0, 6),
    # A new template has proved itself when its first pod has lived for a second.
    "set of 3, in order": Bar("<=", 1300),
    "set of 3, in order, proved": Bar("<=", 200),
    "set of 10, in order": Bar("<=", 2000),
    "set of 50, parallel": Bar("<=", 3000),
    "decision: replica set of 1,000 pods, one changed": Bar("<=", 1),
    "deployment of 50: created to Ready": Bar("<=", 1500),
    "deployment of 50: rolled out to a new template": Bar("<=", 3000),
    "1,000 jobs of one pod, 10 at a time": Bar(">=", 0, 0.6),
    "writes of 1,000 deployments and cron jobs at rest": Bar("<=", 0),
    "1,000 deployments and cron jobs at rest: CPU": Bar("<=", 0.1, 3),
    "10,000 simulated pods of 100 deployments: created to Ready": Bar("<=", 15),
    "engine with 10,000 simulated pods: resident": Bar("<=", 1229),
    "engine started again with 10,000 simulated pods: resident": Bar("<=", 1229),
    "writes at rest": Bar("<=", 0),
    "writes of 1,000 sets at rest": Bar("<=", 0),
    "store: durable write, 1 writer, p50": Bar("<=", 0, 2),
    "store: durable write, 64 writers": Bar(">=", 10_000),
    "API: get, p99": Bar("<=", 1),
    "API: list of 10,000 pods": Bar(">=", 500),
    "API: pods created under one quota, to without": Bar(">=", 0.5),
    "API: status write, 64 writers": Bar(">=", 2000),
    "API: watchers that list anew after 700 deletions": Bar("<=", 0),
    "engine with 10,000 stored pods: resident": Bar("<=", 1229),
    "API: write to the last of 1,000 watchers": Bar("<=", 10),
    "network: edit a policy of 1000 pods and 200 policies": Bar("<=", 20_000),
    "app_rust: visits, 64 clients": Bar(">=", 20_000),
    "app_rust: visits a bare fdatasync": Bar(">=", 3),
    "app_rust: visits, 64 clients, p99": Bar("<=", 10),
    "app_rust: resident": Bar("<=", 5),
    "app_rust: ready": Bar("<=", 20),
    "app_python: visits, 64 clients": Bar(">=", 2000),
    "app_python: resident": Bar("<=", 60),
    "app_python: ready": Bar("<=", 1000),
    "app-python: set created to 3/3 Ready and in DNS, ordered":
        Bar("<=", 300, 3),
    "app-rust: set created to 2/2 Ready and in DNS, ordered": Bar("<=", 400),
}

# Those that are not taken beside each value: another row of the run.
YARDSTICKS = {
    "store: list of 10,000 objects": COPY,
    "API: list of 10,000 pods": COPY,
    "app-python: set created to 3/3 Ready and in DNS, ordered": "app_python: ready",
    "app-python: set created to 3/3 Ready and in DNS, parallel": "app_python: ready",
    "app-rust: set created to 2/2 Ready and in DNS, ordered": "app_rust: ready",
    "app-rust: set created to 2/2 Ready and in DNS, parallel": "app_rust: ready",
}
