"""Every kind of volume, from inside a container."""

import json

from cluster import eventually

# `www` is larger than the claim allows; `shared` is written by one container, read by the other.
OBJECTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red, size: "1"}
binaryData: {raw: AAEC}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: s3cret}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: www}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 32Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: main, labels: {tier: front}, annotations: {note: hello}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
    - name: first
      image: busybox:1.36
      command: [sh, -c, "echo prepared > /shared/init; mkdir -p /www/deep; echo below > /www/deep/file"]
      volumeMounts: [{name: shared, mountPath: /shared}, {name: www, mountPath: /www}]
  containers:
    - name: main
      image: busybox:1.36
      command: [sleep, "1000000"]
      env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
      resources: {limits: {memory: 64Mi}, requests: {cpu: 100m}}
      volumeMounts:
        - {name: shared, mountPath: /shared}
        - {name: memory, mountPath: /memory}
        - {name: settings, mountPath: /settings}
        - {name: settings, mountPath: /etc/color, subPath: color}
        - {name: some, mountPath: /some}
        - {name: absent, mountPath: /absent}
        - {name: hidden, mountPath: /hidden, readOnly: true}
        - {name: about, mountPath: /about}
        - {name: all, mountPath: /all}
        - {name: host, mountPath: /host}
        - {name: www, mountPath: /www}
        - {name: www, mountPath: /deep, subPath: deep}
        - {name: www, mountPath: /own, subPathExpr: "of-$(POD)"}
    - name: other
      image: busybox:1.36
      command: [sleep, "1000000"]
      volumeMounts: [{name: shared, mountPath: /shared, readOnly: true}]
  volumes:
    - {name: shared, emptyDir: {}}
    - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
    - {name: settings, configMap: {name: settings}}
    - {name: some, configMap: {name: settings, defaultMode: 256, items: [{key: size, path: a/b}]}}
    - {name: absent, configMap: {name: nothing, optional: true}}
    - {name: hidden, secret: {secretName: hidden, defaultMode: 384}}
    - name: about
      downwardAPI:
        items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: memory, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1Mi}}
    - name: all
      projected:
        sources:
          - serviceAccountToken: {path: token, audience: somewhere, expirationSeconds: 600}
          - configMap: {name: settings, items: [{key: color, path: color}]}
          - secret: {name: hidden}
          - downwardAPI: {items: [{path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}]}
    - {name: host, hostPath: {path: HOST, type: DirectoryOrCreate}}
    - {name: www, persistentVolumeClaim: {claimName: www}}
"""


def test_every_volume(cluster, namespace, tmp_path):
    def inside(script, container="main", pod="main"):
        done = cluster.kubectl_process("exec", "-n", namespace, pod, "-c", container, "--",
                                       "sh", "-c", script, check=False)
        return done.stdout + done.stderr

    def says(script, wanted):
        eventually(lambda: inside(script) == wanted, f"{script} says {wanted}", timeout=120)

    host = tmp_path / "made"
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=OBJECTS.replace("HOST", str(host)))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/main", "--timeout=60s")

    assert inside("cat /shared/init") == "prepared\n"
    assert "Read-only file system" in inside("touch /shared/x", container="other")
    assert inside("cd /settings; cat color size; wc -c < raw") == "red13\n"
    assert inside("cat /etc/color; stat -c %a /some/a/b; ls /some /absent") == \
        "red400\n/absent:\n\n/some:\na\n"
    assert inside("cat /hidden/password; stat -L -c %a /hidden/password") == "s3cret600\n"
    assert "Read-only file system" in inside("touch /hidden/x")
    assert inside("cat /about/labels; echo; cat /about/memory") == 'tier="front"\n64'
    assert inside("cd /all; cat color password note") == "reds3crethello"
    assert inside("cat /all/token").count(".") == 2
    assert host.is_dir()
    (host / "file").write_text("from the host")
    assert inside("cat /host/file; echo back > /host/answer") == "from the host"
    assert (host / "answer").read_text() == "back\n"

    # Sizes hold: of memory, and of the claim.
    fill = "dd if=/dev/zero of={}/fill bs=64k count=1000 2>&1; stat -c %s {}/fill; rm {}/fill"
    assert "No space left" in inside(fill.format(*["/memory"] * 3))
    filled = inside(fill.format(*["/www"] * 3))
    assert "No space left" in filled and 30 << 20 < int(filled.split()[-1]) < 34 << 20
    assert inside("cat /deep/file; echo mine > /own/file; cat /www/of-main/file") == "below\nmine\n"

    # What objects say reaches the files, except through a subPath.
    cluster.kubectl("patch", "configmap", "settings", "-n", namespace, "-p", '{"data":{"color":"blue"}}')
    cluster.kubectl("patch", "secret", "hidden", "-n", namespace, "-p", '{"stringData":{"password":"new"}}')
    cluster.kubectl("label", "pod", "main", "-n", namespace, "--overwrite", "tier=back")
    says("cat /settings/color /all/color", "blueblue")
    says("cat /hidden/password /about/labels", 'newtier="back"')
    assert inside("cat /etc/color") == "red"

    # The claim outlives its pod, and is kept from deletion while one uses it.
    cluster.kubectl("delete", "pvc", "www", "-n", namespace, "--wait=false")
    assert cluster.get("pvc", "www", "-n", namespace)["metadata"]["deletionTimestamp"]
    assert inside("cat /deep/file") == "below\n"
    cluster.kubectl("delete", "pod", "main", "-n", namespace)
    eventually(lambda: not cluster.get("pvc", "-n", namespace)["items"], "the claim is gone")


def test_what_cannot_be_mounted_is_said(cluster, namespace):
    volumes = {"no-config": {"configMap": {"name": "nothing"}},
               "no-file": {"hostPath": {"path": "/no/such/file", "type": "File"}},
               "no-claim": {"persistentVolumeClaim": {"claimName": "nothing"}}}
    for name, volume in volumes.items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", **volume}],
            "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000"],
                            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}}
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod))

    def event(pod, text):
        events = cluster.get("events", "-n", namespace, "--field-selector",
                             f"involvedObject.name={pod}")["items"]
        return any(text in one["message"] for one in events)

    eventually(lambda: event("no-config", 'configmap "nothing" not found'), "a missing config map")
    eventually(lambda: event("no-file", "hostPath type check failed"), "a missing file")
    eventually(lambda: event("no-claim", 'persistentvolumeclaim "nothing" not found'), "a missing claim")
    cluster.kubectl("create", "configmap", "nothing", "-n", namespace, "--from-literal=a=b")
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/no-config", "--timeout=120s")


# A user that is not root, whose home is a part of each volume, and who keeps a file to itself.
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
"""
OWNER = CLAIM + """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red}
---
apiVersion: v1
kind: Pod
metadata: {name: owner, labels: {tier: front}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1001, runAsGroup: 1001, fsGroup: 1001, runAsNonRoot: true}
  containers:
    - name: main
      image: busybox:1.36
      env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
      command:
        - sh
        - -ec
        - |
          echo $(($(cat /data/starts 2>/dev/null || echo 0) + 1)) > /data/starts
          cat /color > /data/color
          for place in /data /expr /empty; do echo mine > $place/own; chmod 600 $place/own; done
          sleep 1000000
      volumeMounts:
        - {name: data, mountPath: /data, subPath: a/b}
        - {name: data, mountPath: /expr, subPathExpr: of/$(POD)}
        - {name: empty, mountPath: /empty, subPath: a/b}
        - {name: settings, mountPath: /color, subPath: color}
        - {name: settings, mountPath: /settings}
  volumes:
    - {name: data, persistentVolumeClaim: {claimName: data}}
    - {name: empty, emptyDir: {}}
    - {name: settings, configMap: {name: settings}}
"""


def test_who_is_not_root_has_its_part_of_a_volume_and_keeps_it(cluster, namespace):
    def inside(script):
        done = cluster.kubectl_process("exec", "-n", namespace, "owner", "--", "sh", "-c", script,
                                       check=False)
        return done.stdout + done.stderr

    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=OWNER)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/owner", "--timeout=60s")
    modes = "stat -c %a:%g /data/own /expr/own /empty/own"
    eventually(lambda: inside(modes) == "600:1001\n" * 3, "it writes to each part")
    # Whatever changes about the pod, what it keeps to itself stays so.
    cluster.kubectl("label", "pod", "owner", "-n", namespace, "--overwrite", "tier=back")
    cluster.kubectl("patch", "configmap", "settings", "-n", namespace, "-p", '{"data":{"color":"blue"}}')
    eventually(lambda: inside("cat /settings/color") == "blue", "the new files are there", timeout=120)
    assert inside(modes) == "600:1001\n" * 3
    # A container that starts again has the part that is there now.
    inside("kill $(pidof sleep)")
    eventually(lambda: inside("cat /data/starts /data/color /color") == "2\nblueblue",
               "started again with what changed")
    assert inside(modes) == "600:1001\n" * 3


def test_a_claim_grows_and_says_when_it_has(cluster, namespace):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "grower"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000000"],
                        "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}}

    def start():
        cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(pod))
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/grower", "--timeout=60s")

    def mebibytes():
        return int(cluster.kubectl("exec", "-n", namespace, "grower", "--", "df", "-Pm", "/v").split()[-3])

    def claim():
        return cluster.get("pvc", "data", "-n", namespace)["status"]

    def is_pending():
        return "FileSystemResizePending" in [one["type"] for one in claim().get("conditions", [])]

    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=CLAIM)
    start()
    cluster.kubectl("exec", "-n", namespace, "grower", "--", "sh", "-c", "echo kept > /v/file")
    cluster.kubectl("patch", "pvc", "data", "-n", namespace, "-p",
                    '{"spec":{"resources":{"requests":{"storage":"64Mi"}}}}')
    eventually(lambda: is_pending() or claim()["capacity"]["storage"] == "64Mi", "it is on its way")
    if mebibytes() < 60:
        # This machine lets no file system grow while it is used.
        assert claim()["capacity"]["storage"] == "16Mi" and is_pending()
        cluster.kubectl("delete", "pod", "grower", "-n", namespace)
        start()
    eventually(lambda: claim()["capacity"]["storage"] == "64Mi" and not is_pending(), "it has grown")
    assert mebibytes() >= 60
    assert cluster.kubectl("exec", "-n", namespace, "grower", "--", "cat", "/v/file") == "kept\n"


def test_a_claim_that_cannot_be_is_not_bound(cluster, namespace):
    huge = CLAIM.replace("16Mi", "500Ti")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000000"]}]}}
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=huge)
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(pod))
    eventually(lambda: "a volume of 500Ti cannot be made" in
               cluster.kubectl("describe", "pvc", "data", "-n", namespace), "why it waits")
    assert cluster.get("pvc", "data", "-n", namespace)["status"]["phase"] == "Pending"


def test_a_pod_has_volumes_of_its_own(cluster, namespace):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {
            "metadata": {"labels": {"tier": "scratch"}},
            "spec": {"accessModes": ["ReadWriteOnce"],
                     "resources": {"requests": {"storage": "16Mi"}}}}}}],
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000000"],
                        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}]}}

    def apply(thing):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(thing))

    def claims():
        return cluster.get("pvc", "-n", namespace)["items"]

    # A claim of that name that is not the pod's is never taken for it.
    apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "own-scratch"},
           "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}})
    apply(pod)
    why = "was not created for pod"
    eventually(lambda: why in cluster.kubectl("get", "events", "-n", namespace), "it says why it waits")
    cluster.kubectl("delete", "pvc", "own-scratch", "-n", namespace)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/own", "--timeout=60s")
    [claim] = claims()
    assert claim["metadata"]["labels"]["tier"] == "scratch"
    assert [owner["name"] for owner in claim["metadata"]["ownerReferences"]] == ["own"]
    size = cluster.kubectl("exec", "-n", namespace, "own", "--", "df", "-Pm", "/scratch").split()[-5]
    assert int(size) < 20
    cluster.kubectl("delete", "pod", "own", "-n", namespace)
    eventually(lambda: not claims(), "the claim goes with its pod")
