"""Redis and PostgreSQL from Debian packages: their data outlive pod, engine and release."""

import signal
import os

from cluster import eventually

REDIS = """
apiVersion: v1
kind: Service
metadata: {name: redis}
spec: {clusterIP: None, selector: {app: redis}, ports: [{name: redis, port: 6379}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: redis}
spec:
  serviceName: redis
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec:
      securityContext: {fsGroup: 999}
      containers:
        - name: redis
          image: redis:7
          ports: [{name: redis, containerPort: 6379}]
          readinessProbe: {exec: {command: [redis-cli, ping]}, periodSeconds: 1}
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 128Mi}}}
"""

POSTGRES = """
apiVersion: v1
kind: Service
metadata: {name: postgres}
spec: {clusterIP: None, selector: {app: postgres}, ports: [{name: sql, port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: postgres}
spec:
  serviceName: postgres
  selector: {matchLabels: {app: postgres}}
  template:
    metadata: {labels: {app: postgres}}
    spec:
      securityContext: {fsGroup: 999}
      containers:
        - name: postgres
          image: postgres:15
          ports: [{name: sql, containerPort: 5432}]
          readinessProbe: {exec: {command: [pg_isready, -U, postgres]}, periodSeconds: 1}
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 512Mi}}}
"""


def test_data_outlive_pod_engine_and_release(own_cluster):
    cluster = own_cluster
    cluster.up()
    cluster.load("redis", "postgres")

    def apply():
        cluster.kubectl("apply", "-f", "-", input=REDIS + "---" + POSTGRES)
        ready()

    def ready():
        for name in ["redis", "postgres"]:
            cluster.kubectl("rollout", "status", f"sts/{name}", "--timeout=110s")

    def redis(*command):
        return cluster.kubectl("exec", "redis-0", "--", "redis-cli", *command).strip()

    def sql(text):
        return cluster.kubectl("exec", "postgres-0", "--", "psql", "-U", "postgres", "-tAc",
                               text).strip()

    def data_are_there():
        return redis("get", "colour") == "green" and sql("select count(*) from visits") == "3"

    apply()
    redis("set", "colour", "green")
    sql("create table visits(n int); insert into visits values (1), (2), (3)")

    cluster.kubectl("delete", "pod", "redis-0", "postgres-0")
    ready()
    assert data_are_there()

    uids = [pod["metadata"]["uid"] for pod in cluster.get("pods")["items"]]
    os.kill(cluster.engine_pid(), signal.SIGKILL)
    eventually(lambda: cluster.coracle("status", check=False).returncode != 0, "engine is dead")
    cluster.up()
    assert data_are_there(), "the pods ran on without the engine"
    assert [pod["metadata"]["uid"] for pod in cluster.get("pods")["items"]] == uids
    assert all(status["restartCount"] == 0 for pod in cluster.get("pods")["items"]
               for status in pod["status"]["containerStatuses"])

    cluster.kubectl("delete", "sts,svc", "redis", "postgres")
    eventually(lambda: not cluster.get("pods")["items"], "pods gone")
    apply()
    assert data_are_there()

    cluster.down()
    cluster.up()
    ready()
    assert data_are_there()
