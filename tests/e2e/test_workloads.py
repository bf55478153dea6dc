"""Deployments, DaemonSets, Jobs and CronJobs with stock kubectl and helm, on real containers."""

import json

from cluster import eventually

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: {image}
          command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
          env: [{{name: VERSION, value: "{version}"}}]
"""

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  completions: {completions}
  parallelism: 2
  completionMode: {mode}
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: main
          image: busybox:1.36
          command: [sh, -c, "{command}"]
"""

DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: busybox:1.36
          command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
"""

HOOK = """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-setup
  annotations: {helm.sh/hook: pre-install, helm.sh/hook-delete-policy: hook-succeeded}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "busybox:1.36", command: [sh, -c, "echo set up"]}]
"""


def in_namespace(cluster, namespace):
    return lambda *arguments, **options: cluster.kubectl("-n", namespace, *arguments, **options)


def deploy(kubectl, replicas=2, version="1", image="busybox:1.36"):
    text = DEPLOYMENT.format(replicas=replicas, version=version, image=image)
    kubectl("apply", "-f", "-", input=text)


def test_a_deployment_rolls_out_back_and_to_another_size(cluster, namespace):
    kubectl = in_namespace(cluster, namespace)
    deploy(kubectl)
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    deploy(kubectl, version="2")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    history = kubectl("rollout", "history", "deploy/web")
    assert "1 " in history and "2 " in history
    assert kubectl("exec", "deploy/web", "--", "sh", "-c", "echo $VERSION").strip() == "2"
    kubectl("rollout", "undo", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    assert kubectl("exec", "deploy/web", "--", "sh", "-c", "echo $VERSION").strip() == "1"
    kubectl("scale", "deploy/web", "--replicas=3")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    row = kubectl("get", "deploy", "web", "--no-headers").split()
    assert row[:4] == ["web", "3/3", "3", "3"]
    kubectl("rollout", "restart", "deploy/web")
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    assert "ScalingReplicaSet" in kubectl("describe", "deploy", "web")
    kubectl("delete", "deploy", "web")
    kubectl("wait", "--for=delete", "pods", "-l", "app=web", "--timeout=60s")
    assert kubectl("get", "rs,pods", "-l", "app=web", "-o", "name") == ""


def test_a_broken_template_leaves_the_old_pods_and_why_says_so(cluster, namespace):
    kubectl = in_namespace(cluster, namespace)
    deploy(kubectl)
    kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    deploy(kubectl, version="2", image="nowhere.invalid/none:1")
    new = lambda: [one for one in cluster.get("rs", "-n", namespace)["items"]
                   if "none:1" in json.dumps(one["spec"])]
    eventually(new, "the set of the broken template")
    kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
    why = cluster.coracle("why", "deploy/web", "-n", namespace).stdout
    assert "nowhere.invalid/none:1" in why, why


def test_a_set_beyond_its_quota_says_what_failed(cluster, namespace):
    kubectl = in_namespace(cluster, namespace)
    kubectl("create", "quota", "few", "--hard=pods=1")
    deploy(kubectl)
    failure = lambda: [one for one in cluster.get("deploy", "web", "-n", namespace)["status"]
                       .get("conditions", []) if one["type"] == "ReplicaFailure"]
    eventually(failure, "ReplicaFailure")
    assert "exceeded quota: few" in failure()[0]["message"]
    why = lambda: cluster.coracle("why", "deploy/web", "-n", namespace).stdout
    eventually(lambda: "exceeded quota: few" in why(), "why names the quota")
    kubectl("delete", "quota", "few")
    kubectl("rollout", "status", "deploy/web", "--timeout=90s")


def test_a_daemon_set_has_a_pod_on_the_node(cluster, namespace):
    kubectl = in_namespace(cluster, namespace)
    kubectl("apply", "-f", "-", input=DAEMON_SET)
    kubectl("rollout", "status", "ds/agent", "--timeout=60s")
    row = kubectl("get", "ds", "agent", "--no-headers").split()
    assert row[:6] == ["agent", "1", "1", "1", "1", "1"]
    kubectl("set", "env", "ds/agent", "A=B")
    kubectl("rollout", "status", "ds/agent", "--timeout=60s")
    kubectl("rollout", "undo", "ds/agent")
    kubectl("rollout", "status", "ds/agent", "--timeout=60s")


def test_jobs_end_well_or_not(cluster, namespace):
    kubectl = in_namespace(cluster, namespace)
    run = lambda **values: kubectl("apply", "-f", "-", input=JOB.format(**values))
    run(name="good", completions=3, mode="Indexed", command="echo index $JOB_COMPLETION_INDEX")
    kubectl("wait", "--for=condition=Complete", "job/good", "--timeout=60s")
    good = cluster.get("job", "good", "-n", namespace)["status"]
    assert (good["succeeded"], good["completedIndexes"]) == (3, "0-2")
    logs = kubectl("logs", "-l", "job-name=good", "--tail=-1")
    assert sorted(logs.split("\n"))[-3:] == ["index 0", "index 1", "index 2"]
    run(name="bad", completions=1, mode="NonIndexed", command="exit 3")
    kubectl("wait", "--for=condition=Failed", "job/bad", "--timeout=60s")
    bad = cluster.get("job", "bad", "-n", namespace)["status"]
    assert bad["failed"] == 1
    assert bad["conditions"][-1]["reason"] == "BackoffLimitExceeded"
    kubectl("delete", "job", "good", "bad")
    kubectl("wait", "--for=delete", "pods", "-l", "job-name", "--timeout=60s")


def test_a_cron_job_starts_jobs_by_hand_and_by_the_clock(cluster, namespace):
    kubectl = in_namespace(cluster, namespace)
    kubectl("create", "cronjob", "tick", "--image=busybox:1.36", "--schedule=@every 2s",
            "--", "sh", "-c", "echo tick")
    kubectl("create", "job", "by-hand", "--from=cronjob/tick")
    kubectl("wait", "--for=condition=Complete", "job/by-hand", "--timeout=60s")
    succeeded = lambda: [job["metadata"]["name"] for job in cluster.get("jobs", "-n", namespace)["items"]
                         if job["status"].get("succeeded")]
    eventually(lambda: any(name.startswith("tick-") for name in succeeded()),
               "a job of the clock has succeeded")
    kubectl("delete", "cronjob", "tick")
    kubectl("wait", "--for=delete", "pods", "--all", "--timeout=60s")


def test_helm_waits_for_hooks_and_workloads(cluster, namespace, tmp_path):
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: app\nversion: 0.1.0\n")
    (chart / "templates" / "hook.yaml").write_text(HOOK)
    deployment = DEPLOYMENT.format(replicas=2, version="1", image="busybox:1.36")
    (chart / "templates" / "web.yaml").write_text(deployment)
    cluster.helm("-n", namespace, "install", "app", str(chart), "--wait", "--timeout", "90s")
    status = cluster.get("deploy", "web", "-n", namespace)["status"]
    assert status["availableReplicas"] == 2
    assert cluster.get("jobs", "-n", namespace)["items"] == []
    cluster.helm("-n", namespace, "uninstall", "app", "--wait", "--timeout", "60s")
