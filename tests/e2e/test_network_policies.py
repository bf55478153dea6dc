"""Upstream's matrix of network policies: three namespaces of three pods, everybody to everybody."""

import glob
import itertools
import json
import os
import socket
import subprocess
import sys

import pytest

from cluster import ROOT, eventually

NAMESPACES, PODS, PORTS, PROTOCOLS = "xyz", "abc", (80, 81), ("TCP", "UDP")
AGENT = ROOT / "tests/e2e/policy_agent.py"
SERVE = "mkdir /www; echo in > /www/index.html; exec busybox httpd -f -p 8080 -h /www"
TYPES = {"in": ["Ingress"], "out": ["Egress"], "both": ["Ingress", "Egress"]}


class Agent:
    """A process in the network of a pod."""

    def __init__(self, namespace, pid):
        self.process = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, str(AGENT)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "up\n", namespace

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Matrix:
    """The pods, who reaches whom, and what policies say of it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.names = {short: f"policies-{short}" for short in NAMESPACES}
        self.agents, self.addresses, self.services = {}, {}, {}

    def up(self):
        for short, name in self.names.items():
            self.apply({"apiVersion": "v1", "kind": "Namespace",
                        "metadata": {"name": name, "labels": {"ns": short}}})
        self.apply(*[one for space, pod in itertools.product(NAMESPACES, PODS)
                     for one in (self.pod(space, pod), self.service(space, pod))])
        for space, pod in itertools.product(NAMESPACES, PODS):
            eventually(lambda: self.get(space, "pod", pod)["status"].get("podIP"), f"{space}/{pod} runs")
            inode = eventually(lambda: self.kubectl(space, "exec", pod, "--", "busybox", "readlink",
                                                    "/proc/self/ns/net", check=False).strip(), "it runs")
            self.agents[space, pod] = Agent(f"{space}/{pod}", process_in(inode))
            self.addresses[space, pod] = self.get(space, "pod", pod)["status"]["podIP"]
            self.services[space, pod] = self.get(space, "service", pod)["spec"]["clusterIP"]
        # Their probes begin to succeed now; then Services lead to them.
        self.wait_ready()

    def wait_ready(self):
        for space in NAMESPACES:
            self.kubectl(space, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")

    def down(self):
        for agent in self.agents.values():
            agent.end()
        self.cluster.kubectl("delete", "namespace", *self.names.values(), "--wait=false")

    def pod(self, space, name):
        ports = [{"containerPort": port, "protocol": protocol, "name": f"serve-{port}-{protocol.lower()}"}
                 for port, protocol in itertools.product(PORTS, PROTOCOLS)]
        probe = {"tcpSocket": {"port": 81}, "periodSeconds": 1, "failureThreshold": 1}
        return {"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": self.names[space], "labels": {"pod": name}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                    "name": "c", "image": "busybox:1.36", "command": ["sleep", "1000000"],
                    "ports": ports, "readinessProbe": probe}]}}

    def service(self, space, name):
        ports = [{"port": port, "protocol": protocol, "name": f"s-{port}-{protocol.lower()}"}
                 for port, protocol in itertools.product(PORTS, PROTOCOLS)]
        return {"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": self.names[space]},
                "spec": {"selector": {"pod": name}, "ports": ports}}

    def apply(self, *objects):
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self.cluster.kubectl_process("apply", "-f", "-", input=json.dumps(items))

    def kubectl(self, space, *arguments, **options):
        return self.cluster.kubectl("-n", self.names[space], *arguments, **options)

    def get(self, space, *arguments):
        return self.cluster.get(*arguments, "-n", self.names[space])

    def policy(self, space, name, pods, types, ingress=None, egress=None):
        spec = {"podSelector": pods, "policyTypes": TYPES[types]}
        spec |= {"ingress": ingress} if ingress is not None else {}
        spec |= {"egress": egress} if egress is not None else {}
        done = self.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                           "metadata": {"name": name, "namespace": self.names[space]}, "spec": spec})
        assert "Warning" not in done.stderr, done.stderr

    def lift(self):
        for space in NAMESPACES:
            self.kubectl(space, "delete", "networkpolicy", "--all")

    def reached(self):
        """Everything that gets through: (from, to, port, protocol), by Service."""
        ways = list(itertools.product(self.services, PORTS, PROTOCOLS))
        targets = [[protocol, self.services[to], port] for to, port, protocol in ways]
        for agent in self.agents.values():
            agent.ask(targets)
        return {(sender, *way) for sender, agent in self.agents.items()
                for way, answered in zip(ways, agent.hear(), strict=True) if answered}

    def expect(self, what, passes):
        """That what passes is what `passes(from, to, port, protocol)` says; everybody reaches itself."""
        ways = itertools.product(self.services, self.services, PORTS, PROTOCOLS)
        wanted = {way for way in ways if way[0] == way[1] or passes(*way)}
        wrong = None

        def holds():
            nonlocal wrong
            wrong = self.reached() ^ wanted
            return not wrong

        try:
            eventually(holds, what, timeout=20)
        except AssertionError:
            shown = [f"{way} {'is kept' if way in wanted else 'passes'}" for way in sorted(wrong)]
            raise AssertionError(f"{what}: {len(shown)} wrong\n" + "\n".join(shown[:40])) from None


def process_in(namespace):
    """A process of the machine whose network this is (`net:[NUMBER]`)."""
    for path in glob.glob("/proc/[0-9]*/ns/net"):
        try:
            if os.readlink(path) == namespace:
                return path.split("/")[2]
        except OSError:
            pass
    raise AssertionError(f"nobody is in {namespace}")


@pytest.fixture(scope="module")
def pods(cluster):
    matrix = Matrix(cluster)
    try:
        matrix.up()
        yield matrix
    finally:
        matrix.down()


@pytest.fixture
def matrix(pods):
    """The pods, with no policies before and after."""
    yield pods
    pods.lift()


ALL = {}
POD = lambda *names: {"matchExpressions": [{"key": "pod", "operator": "In", "values": list(names)}]}
NS = lambda *names: {"matchExpressions": [{"key": "ns", "operator": "In", "values": list(names)}]}
OUTSIDE = lambda *names: {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": list(names)}]}
TCP = lambda *ports: [{"protocol": "TCP", "port": port} for port in ports]
IN = lambda peers=None, ports=None: [{**({"from": peers} if peers else {}), **({"ports": ports} if ports else {})}]
OUT = lambda peers=None, ports=None: [{**({"to": peers} if peers else {}), **({"ports": ports} if ports else {})}]
XA = ("x", "a")


def cases(m):
    """Name, policies of namespace x (pods, types, ingress, egress), what passes."""
    block = lambda way, *outside: {"ipBlock": {"cidr": way, "except": list(outside)} if outside else {"cidr": way}}
    za, yb = m.addresses["z", "a"], m.addresses["y", "b"]
    to_a = lambda allowed: lambda f, t, port, protocol: t != XA or allowed(f, port, protocol)
    from_a = lambda allowed: lambda f, t, port, protocol: f != XA or allowed(t, port, protocol)
    a = POD("a")
    return [
        ("nobody gets in", [(ALL, "in")], lambda f, t, *_: t[0] != "x"),
        ("nobody gets in or out", [(ALL, "both")], lambda f, t, *_: "x" not in (f[0], t[0])),
        ("nobody gets out", [(ALL, "out")], lambda f, t, *_: f[0] != "x"),
        ("allow-all wins", [(ALL, "in"), (ALL, "in", [{}])], lambda *_: True),
        ("a pod of the namespace", [(a, "in", IN([{"podSelector": {"matchLabels": {"pod": "b"}}}]))],
         to_a(lambda f, *_: f == ("x", "b"))),
        ("pods by expression", [(a, "in", IN([{"podSelector": POD("b", "c")}]))],
         to_a(lambda f, *_: f in [("x", "b"), ("x", "c")])),
        ("all pods of the namespace", [(ALL, "in", IN([{"podSelector": ALL}]))],
         lambda f, t, *_: t[0] != "x" or f[0] == "x"),
        ("a namespace", [(a, "in", IN([{"namespaceSelector": {"matchLabels": {"ns": "y"}}}]))],
         to_a(lambda f, *_: f[0] == "y")),
        ("all namespaces but one", [(a, "in", IN([{"namespaceSelector": OUTSIDE("z")}]))],
         to_a(lambda f, *_: f[0] != "z")),
        ("a namespace and a pod", [(a, "in", IN([{"namespaceSelector": NS("y"), "podSelector": POD("b")}]))],
         to_a(lambda f, *_: f == ("y", "b"))),
        ("a namespace or a pod", [(a, "in", IN([{"namespaceSelector": NS("y")}, {"podSelector": POD("b")}]))],
         to_a(lambda f, *_: f[0] == "y" or f == ("x", "b"))),
        ("a port", [(a, "in", IN(None, TCP(81)))],
         to_a(lambda f, port, protocol: (port, protocol) == (81, "TCP"))),
        ("ports from the first to the last",
         [(a, "in", IN([{"namespaceSelector": ALL}], [{"port": 81, "endPort": 90}, {"protocol": "UDP", "port": 70, "endPort": 80}]))],
         to_a(lambda f, port, protocol: (port, protocol) in [(81, "TCP"), (80, "UDP")])),
        ("two rules", [(a, "in", IN([{"namespaceSelector": NS("y")}], TCP(80)) + IN([{"namespaceSelector": NS("z")}], TCP(81)))],
         to_a(lambda f, port, protocol: (f[0], port, protocol) in [("y", 80, "TCP"), ("z", 81, "TCP")])),
        ("two policies", [(a, "in", IN([{"namespaceSelector": NS("y")}], TCP(80))), (a, "in", IN([{"namespaceSelector": NS("z")}], TCP(81)))],
         to_a(lambda f, port, protocol: (f[0], port, protocol) in [("y", 80, "TCP"), ("z", 81, "TCP")])),
        ("a port by name", [(a, "in", IN(None, [{"port": "serve-80-tcp"}, {"protocol": "UDP", "port": "serve-81-udp"}]))],
         to_a(lambda f, port, protocol: (port, protocol) in [(80, "TCP"), (81, "UDP")])),
        ("a port of the other end by name", [(a, "out", None, OUT([{"namespaceSelector": NS("y")}], [{"port": "serve-81-tcp"}]))],
         from_a(lambda t, port, protocol: (t[0], port, protocol) == ("y", 81, "TCP"))),
        ("a port of anybody by name", [(a, "out", None, OUT(None, [{"port": "serve-81-tcp"}]))],
         from_a(lambda t, port, protocol: (port, protocol) == (81, "TCP"))),
        ("out to a pod of a namespace", [(a, "out", None, OUT([{"namespaceSelector": NS("y"), "podSelector": POD("b")}]))],
         from_a(lambda t, *_: t == ("y", "b"))),
        ("in and out are apart",
         [(a, "in", IN([{"namespaceSelector": NS("y")}])), (a, "out", None, OUT([{"namespaceSelector": NS("z")}]))],
         lambda f, t, *_: (t != XA or f[0] == "y") and (f != XA or t[0] == "z")),
        ("out to an address", [(a, "out", None, OUT([block(f"{za}/32")]))], from_a(lambda t, *_: t == ("z", "a"))),
        ("out to all addresses but one", [(a, "out", None, OUT([block("10.0.0.0/8", f"{za}/32")]))],
         from_a(lambda t, *_: t != ("z", "a"))),
        ("a second block over an exception",
         [(a, "out", None, OUT([block("10.0.0.0/8", f"{za}/32")], TCP(80)) + OUT([block(f"{za}/32")], TCP(80, 81)))],
         from_a(lambda t, port, protocol: protocol == "TCP" and (port == 80 or t == ("z", "a")))),
        ("in from an address, at a port", [(a, "in", IN([block(f"{yb}/32")], TCP(80)))],
         to_a(lambda f, port, protocol: (f, port, protocol) == (("y", "b"), 80, "TCP"))),
        ("UDP is not TCP", [(ALL, "in", IN(None, [{"protocol": "UDP", "port": 80}]))],
         lambda f, t, port, protocol: t[0] != "x" or (port, protocol) == (80, "UDP")),
        ("SCTP isolates, and is neither", [(ALL, "in", IN(None, [{"protocol": "SCTP", "port": 80}]))],
         lambda f, t, *_: t[0] != "x"),
        ("a Service's address is nobody's",
         [(a, "out", None, OUT([block(f"{one}/32") for one in m.services.values()]))], from_a(lambda *_: False)),
    ]


def test_everybody_to_everybody(matrix):
    everything = lambda *_: True
    matrix.expect("nothing is kept without policies", everything)
    for name, policies, passes in cases(matrix):
        for number, policy in enumerate(policies):
            matrix.policy("x", f"p{number}", *policy)
        matrix.expect(name, passes)
        matrix.kubectl("x", "delete", "networkpolicy", "--all")
    matrix.expect("a deletion lifts", everything)


def test_changes_of_policies_pods_and_namespaces(matrix):
    to_a = lambda allowed: lambda f, t, port, protocol: t != XA or allowed(f)
    matrix.policy("x", "p", POD("a"), "in", IN([{"podSelector": POD("b")}]))
    matrix.expect("b", to_a(lambda f: f == ("x", "b")))
    matrix.policy("x", "p", POD("a"), "in", IN([{"podSelector": POD("c")}]))
    matrix.expect("c, after the policy has changed", to_a(lambda f: f == ("x", "c")))
    matrix.kubectl("x", "label", "pod", "b", "also=c")
    matrix.policy("x", "p", POD("a"), "in", IN([{"podSelector": {"matchLabels": {"also": "c"}}}]))
    matrix.expect("b has the label", to_a(lambda f: f == ("x", "b")))
    matrix.kubectl("x", "label", "pod", "b", "also-")
    matrix.expect("nobody has it", to_a(lambda f: False))
    # A pod that is selected no more is isolated no more.
    matrix.policy("x", "p", {"matchLabels": {"quiet": "yes"}}, "in")
    matrix.expect("nobody is selected", lambda *_: True)
    matrix.kubectl("x", "label", "pod", "a", "quiet=yes")
    matrix.expect("a is selected", to_a(lambda f: False))
    matrix.kubectl("x", "label", "pod", "a", "quiet-")
    matrix.expect("a is not", lambda *_: True)
    matrix.policy("x", "p", POD("a"), "in", IN([{"namespaceSelector": {"matchLabels": {"team": "t"}}}]))
    matrix.expect("no namespace has it", to_a(lambda f: False))
    matrix.cluster.kubectl("label", "namespace", matrix.names["y"], "team=t")
    matrix.expect("y has it", to_a(lambda f: f[0] == "y"))
    matrix.cluster.kubectl("label", "namespace", matrix.names["y"], "team-")
    matrix.expect("y has it no more", to_a(lambda f: False))


def host_reaches(address):
    try:
        socket.create_connection((address, 80), timeout=2).close()
        return True
    except OSError:
        return False


def test_the_node_gets_in_the_host_is_outside_and_names_are_asked_for(matrix):
    address = matrix.addresses["x", "a"]
    assert host_reaches(address)
    matrix.policy("x", "p", ALL, "both")
    eventually(lambda: not host_reaches(address), "the host is outside")
    look = lambda: matrix.kubectl("x", "exec", "a", "--", "sh", "-c",
                                  "timeout 2 busybox nslookup kubernetes.default.svc.cluster.local",
                                  check=False)
    api = matrix.cluster.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    assert f"{api}\n" not in look()
    # A new pod becomes Ready: its probe comes from the node.
    matrix.apply({"apiVersion": "v1", "kind": "Pod",
                  "metadata": {"name": "probed", "namespace": matrix.names["x"]},
                  "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                      "name": "c", "image": "busybox:1.36", "command": ["sh", "-c", SERVE],
                      "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]}})
    matrix.kubectl("x", "wait", "--for=condition=Ready", "pod/probed", "--timeout=60s")
    proxied = f"/api/v1/namespaces/{matrix.names['x']}/pods/probed:8080/proxy/index.html"
    assert matrix.cluster.kubectl("get", "--raw", proxied) == "in\n"
    names = [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                      "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
              "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]
    matrix.policy("x", "names", ALL, "out", None, names)
    eventually(lambda: f"{api}\n" in look(), "names are found")
    host = matrix.cluster.get("endpoints", "kubernetes")["subsets"][0]["addresses"][0]["ip"]
    matrix.policy("x", "host", ALL, "in", IN([{"ipBlock": {"cidr": f"{host}/32"}}]))
    eventually(lambda: host_reaches(address), "the host is a block")
    matrix.kubectl("x", "delete", "pod", "probed")


def test_a_pod_sends_nothing_before_policies_hold(matrix):
    matrix.policy("x", "p", ALL, "out")
    # The one address lets it through, and tells that the pod has tried the other before.
    heard, unheard = matrix.addresses["z", "b"], matrix.addresses["y", "a"]
    matrix.policy("x", "one", ALL, "out", None, OUT([{"ipBlock": {"cidr": f"{heard}/32"}}]))
    send = f"for to in {unheard} {heard}; do nc -w 1 $to 80 </dev/null; done; exec sleep 1000000"
    names = [f"early-{number}" for number in range(12)]
    matrix.apply(*[{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": matrix.names["x"]},
                    "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                        {"name": "c", "image": "busybox:1.36", "command": ["sh", "-c", send]}]}}
                   for name in names])

    def ask(agent):
        agent.ask("heard")
        return set(agent.hear())

    def addresses():
        pods = [matrix.get("x", "pod", name) for name in names]
        return {pod["status"].get("podIP") for pod in pods}

    eventually(lambda: addresses() <= ask(matrix.agents["z", "b"]), "all have sent")
    assert not addresses() & ask(matrix.agents["y", "a"])
    # One that is deleted at once is isolated as long as its processes run.
    matrix.kubectl("x", "delete", "pod", *names, "--force")
