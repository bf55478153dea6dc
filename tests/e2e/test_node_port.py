"""The node's own port, as tools that scrape kubelets use it."""

import base64
import json
import ssl
import urllib.error
import urllib.request

from cluster import eventually

RULES = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
         "metadata": {"name": "node-port-scraper"},
         "rules": [{"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}]}


def test_the_node_is_scraped_on_its_port(cluster, namespace, tmp_path):
    kubectl = cluster.kubectl
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    user = config["users"][0]["user"]
    (tmp_path / "admin.pem").write_bytes(base64.b64decode(user["client-certificate-data"])
                                         + base64.b64decode(user["client-key-data"]))
    status = cluster.get("node", "node-1")["status"]
    address = next(one["address"] for one in status["addresses"] if one["type"] == "InternalIP")
    port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]

    def get(path, token=None, certificate=None):
        """Status and body; the node must prove to be itself."""
        context = ssl.create_default_context(cadata=authority)
        if certificate:
            context.load_cert_chain(certificate)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{address}:{port}/{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert get("healthz", certificate=tmp_path / "admin.pem") == (200, "ok")
    assert get("pods", certificate=tmp_path / "admin.pem")[0] == 200
    assert get("containerLogs/none/none/c", certificate=tmp_path / "admin.pem")[0] == 404
    assert get("no/such", certificate=tmp_path / "admin.pem")[0] == 404
    assert get("healthz")[0] == 401
    assert get("healthz", token="none") == (401, "Unauthorized")

    kubectl("create", "serviceaccount", "scraper", "-n", namespace)
    token = kubectl("create", "token", "scraper", "-n", namespace).strip()
    who = f"system:serviceaccount:{namespace}:scraper"
    assert get("metrics/resource", token=token) == (
        403, f"Forbidden (user={who}, verb=get, resource=nodes, subresource(s)=[metrics])\n")
    kubectl("apply", "-f", "-", input=json.dumps(RULES))
    kubectl("create", "clusterrolebinding", namespace, "--clusterrole=node-port-scraper",
            f"--serviceaccount={namespace}:scraper")
    try:
        code, text = get("metrics/resource", token=token)
        assert code == 200 and "node_memory_working_set_bytes" in text
        assert get("pods", token=token) == (
            403, f"Forbidden (user={who}, verb=get, resource=nodes, subresource(s)=[pods proxy])\n")
    finally:
        kubectl("delete", "clusterrolebinding", namespace)
        kubectl("delete", "clusterrole", "node-port-scraper")

    # Pods reach it too.
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "caller"}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "busybox:1.36", "command": ["sleep", "1000000"]}]}}
    kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(pod))
    kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/caller", "--timeout=60s")
    eventually(lambda: cluster.kubectl_process(
        "exec", "-n", namespace, "caller", "--", "sh", "-c", f"nc -w 5 {address} {port} </dev/null",
        check=False).returncode == 0, "a pod reaches the port")
