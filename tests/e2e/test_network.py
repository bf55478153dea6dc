"""Services and names, as pods and the host see them."""

import json
import subprocess
import urllib.error
import urllib.request

import pytest

from cluster import ROOT, eventually

# Three pods answer with their names: two of a set whose Service has an address, one of a set whose
# Service has none.
OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: none}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: node}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: lb}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: plain.NS.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: plain
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: busybox:1.36
          command: [sh, -c, "mkdir /www; hostname > /www/index.html; exec busybox httpd -f -p 8080 -h /www"]
          ports: [{name: http, containerPort: 8080}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: none
  replicas: 1
  selector: {matchLabels: {app: web, part: db}}
  template:
    metadata: {labels: {app: web, part: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: web, image: "busybox:1.36", command: [sh, -c, "mkdir /www; hostname > /www/index.html; exec busybox httpd -f -p 8080 -h /www"]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "busybox:1.36", command: [sleep, "1000000"]}]
"""


def fetch(address):
    """What the host gets from there."""
    with urllib.request.urlopen(f"http://{address}", timeout=60) as answer:
        return answer.read().decode().strip()


def is_refused(address):
    try:
        fetch(address)
    except urllib.error.URLError:
        return True
    return False


@pytest.fixture
def client(cluster, namespace):
    """Runs a shell's script in a pod beside the services; gives all that it says."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=OBJECTS.replace("NS", namespace))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod", "--all", "--timeout=60s")

    def run(script):
        done = cluster.kubectl_process("exec", "-n", namespace, "client", "--", "sh", "-c", script,
                                       check=False)
        return done.stdout + done.stderr

    return run


def test_services_of_every_type_from_pods_and_host(cluster, namespace, client):
    get = lambda *what: cluster.get(*what, "-n", namespace)
    names = {"web-0", "web-1", "db-0"}
    services = {one["metadata"]["name"]: one for one in get("services")["items"]}
    address = {name: one["spec"].get("clusterIP") for name, one in services.items()}
    eventually(lambda: len(get("endpoints", "lb")["subsets"][0]["addresses"]) == 3, "all are in")

    def all_answer(ask):
        """Whether every pod answers sooner or later: which one is chance."""
        heard = set()
        eventually(lambda: heard.add(ask()) or heard == names, "all pods answer")

    balanced = services["lb"]["status"]["loadBalancer"]["ingress"][0]
    assert "ipMode" not in balanced
    node = get("nodes")["items"][0]["status"]["addresses"][0]["address"]
    port = services["node"]["spec"]["ports"][0]["nodePort"]
    for one in [address["lb"], balanced["ip"], f"{node}:{port}"]:
        all_answer(lambda: fetch(one))
        all_answer(lambda: client(f"wget -qO- http://{one}").strip())
    assert len({fetch(address["sticky"]) for _ in range(8)}) == 1, "one client, one pod"
    assert len(set(client(f"for i in 1 2 3 4 5 6 7 8; do wget -qO- http://sticky; done").split())) == 1
    assert client("wget -qO- http://alias").strip() in {"web-0", "web-1"}
    assert client("wget -qO- http://db-0.none:8080") == "db-0\n"

    # Without endpoints a service refuses at once; endpoints made by hand are as good as others.
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(address["elsewhere"])
    pod = get("pod", "db-0")["status"]["podIP"]
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "mine", "labels": {"kubernetes.io/service-name": "elsewhere"}},
        "ports": [{"port": 8080}], "endpoints": [{"addresses": [pod]}]}))
    eventually(lambda: client("wget -qO- http://elsewhere").strip() == "db-0", "it leads there")

    # A pod that is not ready any more gets no requests; a deleted service has no address.
    cluster.kubectl("delete", "service", "node", "-n", namespace)
    eventually(lambda: is_refused(f"{node}:{port}"), "the node port is closed")
    cluster.kubectl("scale", "sts/db", "--replicas=0", "-n", namespace)
    eventually(lambda: "db-0" not in {fetch(address["lb"]) for _ in range(12)}, "db-0 is left out")


def test_names(cluster, namespace, client):
    pods = cluster.get("pods", "-n", namespace)["items"]
    ip = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}
    spec = cluster.get("service", "plain", "-n", namespace)["spec"]
    zone = f"{namespace}.svc.cluster.local"

    def lookup(name, kind="a"):
        """The data of the answer's records."""
        option = "" if kind == "ptr" else f"-type={kind}"
        lines = client(f"busybox nslookup {option} {name}").split("\n\n", 1)[1].splitlines()
        words = {"a": "Address: ", "srv": "service = ", "ptr": "name = ", "cname": "canonical name = "}
        return {line.split(words[kind])[1] for line in lines if words[kind] in line}

    assert lookup(f"plain.{zone}") == {spec["clusterIP"]}
    assert lookup(f"none.{zone}") == {ip["web-0"], ip["web-1"], ip["db-0"]}
    assert lookup(f"db-0.none.{zone}") == {ip["db-0"]}
    # The names are stable too where the set's Service has an address.
    assert lookup(f"web-1.plain.{zone}") == {ip["web-1"]}
    assert lookup(f"{ip['web-0'].replace('.', '-')}.{namespace}.pod.cluster.local") == {ip["web-0"]}
    assert lookup(f"_http._tcp.plain.{zone}", "srv") == {f"0 100 80 plain.{zone}"}
    dashed = [ip[name].replace(".", "-") for name in ["web-0", "web-1"]]
    assert lookup(f"_http._tcp.none.{zone}", "srv") == {
        f"0 33 8080 {host}.none.{zone}" for host in ["db-0", *dashed]}
    assert f"db-0.none.{zone}" in lookup(ip["db-0"], "ptr")
    assert f"web-0.plain.{zone}" in lookup(ip["web-0"], "ptr")
    assert lookup(spec["clusterIP"], "ptr") == {f"plain.{zone}"}
    assert lookup(f"alias.{zone}", "cname") == {f"plain.{zone}"}
    assert "NXDOMAIN" in client(f"busybox nslookup db-1.none.{zone}")
    resolv = client("cat /etc/resolv.conf")
    assert f"search {zone} svc.cluster.local cluster.local" in resolv and "ndots:5" in resolv
    # From any namespace, and by short names through the search list.
    for name in ["plain", f"plain.{namespace}", f"plain.{namespace}.svc", f"plain.{zone}"]:
        assert client(f"wget -qO- http://{name}").strip() in {"web-0", "web-1"}


def test_the_way_out_is_the_hosts(cluster, namespace, client):
    """A machine beyond the host sees the host's address; it cannot get in."""
    beyond = subprocess.Popen(
        ["unshare", "--net", str(ROOT / ".cache/venv/bin/python"), "-c", """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(self.client_address[0].encode())
    def log_message(self, *_): pass
print("up", flush=True)
sys.stdin.readline()
http.server.HTTPServer(("198.51.100.2", 80), Handler).serve_forever()"""],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        beyond.stdout.readline()
        there = ["nsenter", f"--net=/proc/{beyond.pid}/ns/net"]
        pod = cluster.get("pod", "web-0", "-n", namespace)["status"]["podIP"]
        for command in [
            ["ip", "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", str(beyond.pid)],
            ["ip", "address", "add", "198.51.100.1/24", "dev", "out0"],
            ["ip", "link", "set", "out0", "up"],
            [*there, "ip", "address", "add", "198.51.100.2/24", "dev", "in0"],
            [*there, "ip", "link", "set", "in0", "up"],
            [*there, "ip", "route", "add", "default", "via", "198.51.100.1"],
        ]:
            subprocess.run(command, check=True)
        beyond.stdin.write("\n")
        beyond.stdin.flush()
        eventually(lambda: client("wget -qO- http://198.51.100.2") == "198.51.100.1", "a pod gets out")
        got_in = subprocess.run([*there, "busybox", "wget", "-T", "2", "-qO-", f"http://{pod}:8080"],
                                capture_output=True, text=True, check=False)
        assert got_in.returncode != 0, got_in.stdout
    finally:
        beyond.kill()
        beyond.communicate()


def test_a_service_takes_nobody_elses_address(cluster, namespace, client):
    plain = cluster.get("service", "plain", "-n", namespace)["spec"]["clusterIP"]
    pod = cluster.get("pod", "db-0", "-n", namespace)["status"]["podIP"]
    thief = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a-thief"}, "spec": {
        "type": "LoadBalancer", "externalIPs": [plain, "203.0.113.9"], "selector": {"part": "db"},
        "ports": [{"port": 80, "targetPort": 8080}]}}
    made = cluster.kubectl_process("create", "-n", namespace, "-f", "-", input=json.dumps(thief))
    assert "Warning: spec.externalIPs[0]: no traffic is taken" in made.stderr
    assert "--external-ips" in made.stderr
    status = {"status": {"loadBalancer": {"ingress": [{"ip": plain}, {"ip": pod}, {"ip": "127.0.0.1"}]}}}
    written = cluster.kubectl_process("patch", "service", "a-thief", "-n", namespace, "--type=merge",
                                      "--subresource", "status", "-p", json.dumps(status))
    assert f"no traffic is taken for {plain}" in written.stderr
    heard = {client(f"wget -qO- http://{plain}").strip() for _ in range(12)}
    assert heard <= {"web-0", "web-1"}, heard


def test_host_ports_answer_where_they_are_bound(cluster, namespace):
    """As upstream's spec on host ports, but with a client of busybox."""
    node = next(one["address"] for one in cluster.get("node", "node-1")["status"]["addresses"]
                if one["type"] == "InternalIP")

    def server(name, host_ip, container_port=8080):
        port = {"containerPort": container_port, "hostPort": 54323, "protocol": "TCP"}
        port |= {"hostIP": host_ip} if host_ip else {}
        serve = "mkdir /www; hostname > /www/index.html; exec busybox httpd -f -p 8080 -h /www"
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "c", "image": "busybox:1.36", "command": ["sh", "-c", serve], "ports": [port],
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]}}

    asker = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asker"}, "spec": {
        "hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "busybox:1.36", "command": ["sleep", "1000000"]}]}}
    for one in [server("loopback", "127.0.0.1"), server("outer", node), asker]:
        cluster.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(one))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s",
                    "pod/loopback", "pod/outer", "pod/asker")

    def ask(address):
        command = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} 54323 | tail -n1"
        done = cluster.kubectl_process("exec", "-n", namespace, "asker", "--", "sh", "-c", command, check=False)
        return done.stdout.strip()

    eventually(lambda: ask("127.0.0.1") == "loopback", "127.0.0.1 answers")
    eventually(lambda: ask(node) == "outer", "the node's address answers")
