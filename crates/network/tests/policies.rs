//! Network policies, as pods, the node and the host meet them: real namespaces, real packets.

#![allow(clippy::unwrap_used, reason = "in tests a failed unwrap is the assertion")]

mod world;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use coracle_network::{Kernel, PodLink, PolicyFold, PolicyPod, ServiceMap};
use serde_json::{Value, json};
use world::{Cluster, inside, run, serve_on, services, target};

/// Long enough for what gets through, on the busiest machine; what does not costs a test this much.
const SHORT: Duration = Duration::from_millis(700);

/// A cluster whose pods serve their names on ports 80 and 81, and what its policies say.
struct Policed {
    cluster: Cluster,
    fold: PolicyFold,
    services: ServiceMap,
}

impl Policed {
    fn up() -> Self {
        let cluster = Cluster::up();
        let mut fold = PolicyFold::new(cluster.config.dns_ip());
        for name in ["x", "y", "kube-system"] {
            let label = ("kubernetes.io/metadata.name".to_owned(), name.to_owned());
            fold.set_namespace(name, Some(&[label].into()));
        }
        Self { cluster, fold, services: ServiceMap::default() }
    }

    fn pod(&mut self, namespace: &str, name: &str, ip: &str) -> PodLink {
        let link = self.cluster.client_pod(&format!("{namespace}-{name}"), ip);
        for port in [80, 81] {
            let address = SocketAddr::from((link.ip, port));
            serve_on(inside(&link.netns, || TcpListener::bind(address).unwrap()), &link.uid);
        }
        let ports = json!([{"name": "serve-80", "containerPort": 80}]);
        let pod = serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name, "labels": {"pod": name}},
            "spec": {"containers": [{"name": "c", "ports": ports}]}}))
        .unwrap();
        self.fold.set_pod(&link.uid, PolicyPod::of(&pod, link.ip));
        link
    }

    /// The policy of the name `p` in namespace `x`, alone from now on.
    fn policy(&mut self, spec: &Value) {
        let metadata = json!({"namespace": "x", "name": "p"});
        let policy = json!({"metadata": metadata, "spec": spec});
        let policy = serde_json::from_value(policy).unwrap();
        self.fold.set_policy(("x", "p"), Some(&policy));
        self.apply();
    }

    fn apply(&self) {
        self.cluster.kernel.apply(&self.services, self.fold.table()).unwrap();
    }

    fn reaches(&self, pod: &PodLink, address: &str) -> bool {
        self.cluster.kernel.connect_in(&pod.netns, address.parse().unwrap(), SHORT).is_ok()
    }

    fn host_reaches(&self, address: &str) -> bool {
        let host = std::path::Path::new("/proc/thread-self/ns/net");
        self.cluster.kernel.connect_in(host, address.parse().unwrap(), SHORT).is_ok()
    }

    fn node_reaches(&self, address: &str) -> bool {
        self.cluster.kernel.connect_tcp(address.parse().unwrap(), SHORT).is_ok()
    }
}

#[test]
fn an_isolated_pod_hears_whom_rules_name_and_its_node() {
    let mut world = Policed::up();
    let a = world.pod("x", "a", "10.244.0.2");
    let b = world.pod("x", "b", "10.244.0.3");
    let c = world.pod("y", "c", "10.244.0.4");
    world
        .policy(&json!({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress"]}));
    for pod in [&b, &c] {
        assert!(!world.reaches(pod, "10.244.0.2:80"));
    }
    assert!(world.node_reaches("10.244.0.2:80"));
    assert!(world.reaches(&a, "10.244.0.3:80") && world.reaches(&c, "10.244.0.3:80"));
    // The host is outside.
    assert!(!world.host_reaches("10.244.0.2:80") && world.host_reaches("10.244.0.3:80"));

    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}], "ports": [{"port": "serve-80"}]},
        {"from": [{"ipBlock": {"cidr": "10.244.255.254/32"}}], "ports": [{"port": 81, "endPort": 90}]},
    ]}));
    assert!(world.reaches(&b, "10.244.0.2:80") && !world.reaches(&b, "10.244.0.2:81"));
    assert!(!world.host_reaches("10.244.0.2:80") && world.host_reaches("10.244.0.2:81"));
    assert!(!world.reaches(&a, "10.244.0.3:80") && !world.reaches(&c, "10.244.0.2:80"));

    world.fold.set_policy(("x", "p"), None);
    world.apply();
    assert!(world.reaches(&c, "10.244.0.2:80"));
    let listed = inside(&world.cluster.link.netns, || run("nft list ruleset"));
    assert!(!listed.contains("elements"), "{listed}");
}

#[test]
fn connections_are_judged_behind_services() {
    let mut world = Policed::up();
    let a = world.pod("x", "a", "10.244.0.2");
    let b = world.pod("x", "b", "10.244.0.3");
    world.services = services(&[
        ("10.96.7.7:8000", target(&["10.244.0.2:80"])),
        ("10.244.255.253:30080", target(&["10.244.0.2:80"])),
        ("10.96.7.8:80", target(&["10.244.0.2:81"])),
    ]);
    let to = |cidr: &str| {
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": cidr}}]}]})
    };
    world.policy(&to("10.244.0.0/24"));
    assert!(world.reaches(&b, "10.96.7.7:8000") && world.reaches(&b, "10.244.255.253:30080"));
    assert!(!world.reaches(&b, "10.96.7.8:80"));
    // A Service's address is nobody's.
    world.policy(&to("10.96.0.0/12"));
    assert!(!world.reaches(&b, "10.96.7.7:8000"));
    // Whatever is denied, a pod reaches itself.
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    assert!(world.reaches(&a, "10.96.7.7:8000") && world.reaches(&a, "10.244.0.2:80"));
    assert!(!world.reaches(&b, "10.96.7.7:8000"));
}

#[test]
fn what_goes_to_the_node_is_egress_and_names_are_a_peer() {
    let mut world = Policed::up();
    let a = world.pod("x", "a", "10.244.0.2");
    let kernel = &world.cluster.kernel;
    for (address, name) in [("10.96.0.10:53", "dns"), ("10.244.255.253:10250", "kubelet")] {
        serve_on(kernel.listen_tcp(address.parse().unwrap()).unwrap(), name);
    }
    assert!(world.reaches(&a, "10.96.0.10:53") && world.reaches(&a, "10.244.255.253:10250"));
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Egress"]}));
    assert!(!world.reaches(&a, "10.96.0.10:53") && !world.reaches(&a, "10.244.255.253:10250"));
    let names = json!({"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [{"port": "dns-tcp"}]});
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [names]}));
    assert!(world.reaches(&a, "10.96.0.10:53") && !world.reaches(&a, "10.244.255.253:10250"));
    let node = json!({"to": [{"ipBlock": {"cidr": "10.244.255.253/32"}}]});
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [node]}));
    assert!(!world.reaches(&a, "10.96.0.10:53") && world.reaches(&a, "10.244.255.253:10250"));
    // What the node sends a pod is not asked for, nor is the answer.
    assert!(world.node_reaches("10.244.0.2:80"));
}

#[test]
fn what_is_forbidden_ends_also_when_it_was_established() {
    let mut world = Policed::up();
    let a = world.pod("x", "a", "10.244.0.2");
    let c = world.pod("y", "c", "10.244.0.4");
    let bound = |pod: &PodLink| {
        let address = SocketAddr::from((pod.ip, 5000));
        let socket = inside(&pod.netns, || UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(SHORT)).unwrap();
        socket
    };
    let (server, client) = (bound(&a), bound(&c));
    client.connect((a.ip, 5000)).unwrap();
    server.connect((c.ip, 5000)).unwrap();
    let hears = |from: &UdpSocket, to: &UdpSocket| {
        from.send(b"x").unwrap();
        to.recv(&mut [0; 8]).is_ok()
    };
    assert!(hears(&client, &server) && hears(&server, &client));
    // Answers pass with their questions, though nobody may speak to the client.
    let deny = json!({"metadata": {"namespace": "y", "name": "p"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    let deny = serde_json::from_value(deny).unwrap();
    world.fold.set_policy(("y", "p"), Some(&deny));
    world.apply();
    assert!(hears(&client, &server) && hears(&server, &client));
    // Then the question is forbidden, and with it the answer.
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    assert!(!hears(&client, &server) && !hears(&server, &client));
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}));
    assert!(hears(&client, &server) && hears(&server, &client));
}

#[test]
fn policies_hold_before_a_pod_is_attached() {
    let mut world = Policed::up();
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Egress"]}));
    let b = world.pod("y", "b", "10.244.0.3");
    let link = world.cluster.world.pod("x-late", "10.244.0.9");
    let pod = json!({"metadata": {"namespace": "x", "name": "late"}, "spec": {"containers": []}});
    let pod = serde_json::from_value(pod).unwrap();
    world.fold.set_pod("x-late", PolicyPod::of(&pod, link.ip));
    world.apply();
    world.cluster.kernel.attach_pod(&link).unwrap();
    assert!(!world.reaches(&link, "10.244.0.3:80") && world.reaches(&b, "10.244.0.3:81"));
}

#[test]
fn ports_and_blocks_of_every_protocol() {
    let mut world = Policed::up();
    let a = world.pod("x", "a", "10.244.0.2");
    let c = world.pod("y", "c", "10.244.0.4");
    let ping = |pod: &PodLink, to: Ipv4Addr| {
        inside(&pod.netns, || {
            let address = to.to_string();
            let ping = ["ping", "-c", "1", "-W", "1", &address];
            std::process::Command::new("busybox").args(ping).output().unwrap().status.success()
        })
    };
    assert!(ping(&c, a.ip));
    let all_but = |ip: &str| json!({"ipBlock": {"cidr": "10.244.0.0/16", "except": [ip]}});
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [all_but("10.244.0.4/32")]}]}));
    assert!(!ping(&c, a.ip) && !world.reaches(&c, "10.244.0.2:80"));
    // A second block brings back what the first leaves out.
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [all_but("10.244.0.4/32")]}, {"from": [all_but("10.244.0.5/32")]}]}));
    assert!(ping(&c, a.ip) && world.reaches(&c, "10.244.0.2:80"));
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"protocol": "UDP"}, {"port": 81}]}]}));
    assert!(!ping(&c, a.ip) && !world.reaches(&c, "10.244.0.2:80"));
    assert!(world.reaches(&c, "10.244.0.2:81"));
}

#[test]
fn nft_reads_the_rules_as_they_are_meant() {
    let mut world = Policed::up();
    world.pod("x", "a", "10.244.0.2");
    world.policy(&json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}, {"port": 90, "endPort": 99}]}],
        "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}]}));
    let listed = inside(&world.cluster.link.netns, || run("nft --numeric-protocol list ruleset"));
    for line in [
        "meta mark set ct original ip saddr map @isolated-egress goto leaving",
        "meta mark . meta priority @allowed-peers goto arriving",
    ] {
        assert!(listed.contains(line), "missing: {line}\n{listed}");
    }
}
