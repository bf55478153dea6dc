//! Connections, judged by the table as the kernel's rules do it, and by a naive reading of the policies.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use coracle_api::Selector;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Protocol;
use crate::services::port_number;

const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const OUTSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 3, 1)];

/// A cluster, as objects.
#[derive(Default)]
struct World {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pods: BTreeMap<String, Pod>,
    policies: BTreeMap<(String, String), NetworkPolicy>,
}

/// A connection that somebody tries.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    client: Ipv4Addr,
    server: Ipv4Addr,
    protocol: u8,
    port: u16,
}

/// What the kernel's rules make of the attempt: see `linux/policing.rs`.
fn passes(table: &PolicyTable, it: Attempt) -> bool {
    let allows = |class: u32, peer: Ipv4Addr| {
        let identity = table.identities.get(&peer).copied().unwrap_or(0);
        let is_allowed = |allowed: &&Allowed| {
            let is_peer = allowed.class == class && [0, identity].contains(&allowed.identity);
            is_peer
                && allowed.ports.is_none_or(|(protocol, first, last)| {
                    protocol.number() == it.protocol && (first..=last).contains(&it.port)
                })
        };
        let blocks = table.blocks.iter().filter(|block| {
            block.class == class
                && (block.addresses.0..=block.addresses.1).contains(&peer)
                && (block.protocols.0..=block.protocols.1).contains(&it.protocol)
                && (block.ports.0..=block.ports.1).contains(&it.port)
        });
        let boxes = blocks.count();
        assert!(boxes <= 1, "boxes overlap");
        boxes > 0 || table.allowed.iter().any(|allowed| is_allowed(&allowed))
    };
    it.client == it.server
        || (table.egress.get(&it.client).is_none_or(|class| allows(*class, it.server))
            && table.ingress.get(&it.server).is_none_or(|class| allows(*class, it.client)))
}

impl World {
    fn pod_at(&self, ip: Ipv4Addr) -> Option<&Pod> {
        self.pods.values().find(|pod| is_seen(pod) && address(pod) == Some(ip))
    }

    /// What the policies say of the attempt, read one by one.
    fn allows(&self, it: Attempt) -> bool {
        let client = self.pod_at(it.client);
        let server = self.pod_at(it.server);
        it.client == it.server
            || (self.side_allows("Egress", client, it.server, server, it)
                && self.side_allows("Ingress", server, it.client, server, it))
    }

    fn side_allows(
        &self,
        direction: &str,
        subject: Option<&Pod>,
        peer: Ipv4Addr,
        server: Option<&Pod>,
        it: Attempt,
    ) -> bool {
        let Some(subject) = subject else { return true };
        let on = |policy: &&NetworkPolicy| {
            let spec = policy.spec.as_ref().unwrap();
            policy.metadata.namespace == subject.metadata.namespace
                && spec.policy_types.iter().flatten().any(|ty| ty == direction)
                && selects(spec.pod_selector.as_ref(), subject.metadata.labels.as_ref())
        };
        let mut on = self.policies.values().filter(on).peekable();
        if on.peek().is_none() {
            return true;
        }
        on.any(|policy| {
            let spec = policy.spec.as_ref().unwrap();
            let rules: Vec<_> = match direction {
                "Ingress" => {
                    spec.ingress.iter().flatten().map(|it| (&it.from, &it.ports)).collect()
                }
                _ => spec.egress.iter().flatten().map(|it| (&it.to, &it.ports)).collect(),
            };
            rules.into_iter().any(|(peers, ports)| {
                let peers = peers.as_deref().unwrap_or_default();
                let ports = ports.as_deref().unwrap_or_default();
                let namespace = policy.metadata.namespace.as_deref().unwrap();
                (peers.is_empty() || peers.iter().any(|one| self.is_peer(one, namespace, peer)))
                    && (ports.is_empty() || ports.iter().any(|port| has_port(port, server, it)))
            })
        })
    }

    fn is_peer(&self, peer: &NetworkPolicyPeer, namespace: &str, ip: Ipv4Addr) -> bool {
        if let Some(block) = &peer.ip_block {
            let within = |text: &String| text.parse::<ipnet::Ipv4Net>().unwrap().contains(&ip);
            return within(&block.cidr) && !block.except.iter().flatten().any(within);
        }
        let (theirs, labels) = match self.pod_at(ip) {
            Some(pod) => (pod.metadata.namespace.clone().unwrap(), pod.metadata.labels.clone()),
            None if ip == DNS => {
                let labels = [("k8s-app".to_owned(), "kube-dns".to_owned())];
                ("kube-system".to_owned(), Some(labels.into()))
            }
            None => return false,
        };
        let is_there = match &peer.namespace_selector {
            None => theirs == namespace,
            selector => self
                .namespaces
                .get(&theirs)
                .is_some_and(|labels| selects(selector.as_ref(), Some(labels))),
        };
        is_there && peer.pod_selector.as_ref().is_none_or(|it| selects(Some(it), labels.as_ref()))
    }

    fn attempts(&self) -> Vec<Attempt> {
        let mut ends: Vec<_> = self.pods.values().filter_map(address).collect();
        ends.extend(OUTSIDE);
        ends.push(DNS);
        let mut found = Vec::new();
        for client in &ends {
            for server in &ends {
                for (protocol, port) in
                    [(6, 80), (6, 81), (6, 82), (17, 80), (17, 53), (132, 80), (1, 8)]
                {
                    found.push(Attempt { client: *client, server: *server, protocol, port });
                }
            }
        }
        found
    }
}

fn selects(
    selector: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let none = BTreeMap::new();
    Selector::from_typed(selector).unwrap().matches(labels.unwrap_or(&none))
}

fn has_port(port: &NetworkPolicyPort, server: Option<&Pod>, it: Attempt) -> bool {
    if Protocol::parse(port.protocol.as_deref()).unwrap().number() != it.protocol {
        return false;
    }
    match &port.port {
        None => true,
        Some(IntOrString::Int(first)) => {
            (*first..=port.end_port.unwrap_or(*first)).contains(&i32::from(it.port))
        }
        Some(IntOrString::String(name)) if it.server == DNS => {
            let known = [("dns", 17), ("dns-tcp", 6)].contains(&(name.as_str(), it.protocol));
            known && it.port == 53
        }
        Some(IntOrString::String(name)) => {
            let containers = server.iter().flat_map(|pod| &pod.spec.as_ref().unwrap().containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.any(|port| {
                port.name.as_ref() == Some(name)
                    && Protocol::parse(port.protocol.as_deref()).unwrap().number() == it.protocol
                    && port_number(port.container_port) == Some(it.port)
            })
        }
    }
}

fn is_seen(pod: &Pod) -> bool {
    pod.spec.as_ref().unwrap().host_network != Some(true)
}

fn address(pod: &Pod) -> Option<Ipv4Addr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

fn pod(namespace: &str, number: u8, more: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {"namespace": namespace, "labels": more["labels"]},
        "spec": {"hostNetwork": more["host"], "containers": [{"name": "c", "ports": more["ports"]}]},
        "status": {"podIP": format!("10.244.0.{number}")},
    });
    pod["metadata"]["name"] = json!(format!("p{number}"));
    serde_json::from_value(pod).unwrap()
}

fn policy(namespace: &str, name: &str, spec: &Value) -> NetworkPolicy {
    let metadata = json!({"namespace": namespace, "name": name});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn folded(world: &World) -> PolicyFold {
    let mut fold = PolicyFold::new(DNS);
    world.namespaces.iter().for_each(|(name, labels)| fold.set_namespace(name, Some(labels)));
    for (uid, pod) in &world.pods {
        fold.set_pod(uid, address(pod).and_then(|ip| PolicyPod::of(pod, ip)));
    }
    for ((namespace, name), policy) in &world.policies {
        fold.set_policy((namespace, name), Some(policy));
    }
    fold
}

/// Two namespaces of two pods each, and these policies in the first.
fn small(policies: &[Value]) -> World {
    let mut world = World::default();
    for name in ["x", "y", "kube-system"] {
        let label = ("kubernetes.io/metadata.name".to_owned(), name.to_owned());
        world.namespaces.insert(name.to_owned(), [label].into());
    }
    let ports = json!([{"name": "web", "containerPort": 80}]);
    for (namespace, number, app) in [("x", 1, "a"), ("x", 2, "b"), ("y", 3, "a"), ("y", 4, "b")] {
        let more = json!({"labels": {"app": app}, "ports": ports});
        world.pods.insert(format!("p{number}"), pod(namespace, number, &more));
    }
    for (number, spec) in policies.iter().enumerate() {
        let name = format!("n{number}");
        world.policies.insert(("x".to_owned(), name.clone()), policy("x", &name, spec));
    }
    world
}

fn at(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 0, number)
}

/// Whether TCP to port 80 passes.
fn web(world: &World, client: Ipv4Addr, server: Ipv4Addr) -> bool {
    let it = Attempt { client, server, protocol: 6, port: 80 };
    let passed = passes(folded(world).table(), it);
    assert_eq!(passed, world.allows(it), "{it:?}");
    passed
}

#[test]
fn without_policies_the_kernel_is_told_nothing() {
    assert_eq!(*folded(&small(&[])).table(), PolicyTable::default());
    // What allows everything isolates nobody.
    let open = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]});
    assert_eq!(*folded(&small(&[open])).table(), PolicyTable::default());
}

#[test]
fn denying_everything_denies_names_too() {
    let world = small(&[json!({"podSelector": {}, "policyTypes": ["Egress"]})]);
    let dns = Attempt { client: at(1), server: DNS, protocol: 17, port: 53 };
    assert!(!passes(folded(&world).table(), dns));
    assert!(web(&world, at(3), at(1)));
    let names = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [{"protocol": "UDP", "port": 53}]}]});
    let world = small(&[names]);
    assert!(passes(folded(&world).table(), dns) && world.allows(dns));
    assert!(!web(&world, at(1), at(2)));
}

#[test]
fn a_peer_that_is_not_understood_allows_nothing() {
    for peer in [
        json!({}),
        json!({"ipBlock": {"cidr": "2001:db8::/32"}}),
        json!({"ipBlock": {"cidr": "10.244.0.0/24", "except": ["2001:db8::/32"]}}),
        json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}}),
    ] {
        let spec =
            json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]});
        let table = folded(&small(&[spec])).table().clone();
        let it = Attempt { client: at(2), server: at(1), protocol: 6, port: 80 };
        assert!(!passes(&table, it), "{peer}");
    }
    for port in
        [json!({"protocol": "QUIC"}), json!({"port": 90, "endPort": 70}), json!({"port": -1})]
    {
        let spec =
            json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [port]}]});
        let table = folded(&small(&[spec])).table().clone();
        let it = Attempt { client: at(2), server: at(1), protocol: 6, port: 80 };
        assert!(!passes(&table, it), "{port}");
    }
}

#[test]
fn a_pod_more_of_a_kind_is_an_address_in_three_maps() {
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": "web"}]}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]});
    let world = small(&[spec]);
    let mut fold = folded(&world);
    let before = fold.table().clone();
    let ports = json!([{"name": "web", "containerPort": 80}]);
    let labels = json!({"app": "a", "statefulset.kubernetes.io/pod-name": "p9"});
    let new = pod("x", 9, &json!({"labels": labels, "ports": ports}));
    fold.set_pod("p9", PolicyPod::of(&new, at(9)));
    let table = fold.table();
    assert_eq!((&table.allowed, &table.blocks), (&before.allowed, &before.blocks));
    assert_eq!(table.identities.len(), before.identities.len() + 1);
    assert_eq!(table.ingress.get(&at(9)), before.ingress.get(&at(1)));
    fold.set_pod("p9", None);
    assert_eq!(*fold.table(), before);
}

#[test]
fn an_edited_rule_is_its_elements_alone() {
    let spec = |port: u16| {
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": port}]}]})
    };
    let mut fold = folded(&small(&[spec(80)]));
    let before = fold.table().clone();
    fold.set_policy(("x", "n0"), Some(&policy("x", "n0", &spec(81))));
    let table = fold.table();
    assert_eq!((&table.identities, &table.ingress), (&before.identities, &before.ingress));
    assert_eq!(table.allowed.len(), 1);
    fold.set_policy(("x", "n0"), None);
    assert_eq!(*fold.table(), PolicyTable::default());
}

#[test]
fn an_address_that_is_given_on_is_the_new_pods() {
    let world =
        small(&[json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"]})]);
    let mut fold = folded(&world);
    let heir = pod("x", 1, &json!({"labels": {"app": "b"}}));
    fold.set_pod("heir", PolicyPod::of(&heir, at(1)));
    assert!(fold.table().ingress.is_empty());
    fold.set_pod("p1", None);
    let known = pod("x", 1, &json!({"labels": {"app": "a"}}));
    fold.set_pod("heir", PolicyPod::of(&known, at(1)));
    assert_eq!(fold.table().ingress.len(), 1);
}

fn any_labels() -> impl Strategy<Value = Value> {
    let app = prop::option::of(prop::sample::select(&["a", "b", "c"][..]));
    (app, prop::option::of(Just("t"))).prop_map(|(app, tier)| {
        let mut labels = json!({});
        app.iter().for_each(|app| labels["app"] = json!(app));
        tier.iter().for_each(|tier| labels["tier"] = json!(tier));
        labels
    })
}

fn any_selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        prop::sample::select(&["a", "b"][..]).prop_map(|app| json!({"matchLabels": {"app": app}})),
        prop::sample::select(&["In", "NotIn"][..])
            .prop_map(|operator| json!({"matchExpressions": [
            {"key": "app", "operator": operator, "values": ["a", "c"]}]})),
        Just(json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]})),
    ]
}

fn any_peer() -> impl Strategy<Value = Value> {
    let space = || {
        prop_oneof![
            Just(json!({})),
            Just(json!({"matchLabels": {"team": "t"}})),
            Just(json!({"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}})),
        ]
    };
    prop_oneof![
        any_selector().prop_map(|pods| json!({"podSelector": pods})),
        space().prop_map(|spaces| json!({"namespaceSelector": spaces})),
        (any_selector(), space())
            .prop_map(|(pods, spaces)| json!({"podSelector": pods, "namespaceSelector": spaces})),
        Just(json!({"ipBlock": {"cidr": "192.0.2.0/23", "except": ["192.0.3.0/24"]}})),
        Just(json!({"ipBlock": {"cidr": "10.244.0.0/29", "except": ["10.244.0.2/31"]}})),
        Just(json!({"ipBlock": {"cidr": "10.244.0.2/32"}})),
    ]
}

fn any_port() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"protocol": "UDP"})),
        Just(json!({"port": 80})),
        Just(json!({"port": 80, "endPort": 81})),
        Just(json!({"port": 81, "endPort": 65535})),
        Just(json!({"protocol": "SCTP", "port": 80})),
        Just(json!({"port": "web"})),
        Just(json!({"port": "other"})),
        Just(json!({"protocol": "UDP", "port": "dns"})),
    ]
}

fn any_rules(peers: &'static str) -> impl Strategy<Value = Value> {
    let few = |of| prop::option::of(prop::collection::vec(of, 0..3));
    let rule = (few(any_peer().boxed()), few(any_port().boxed())).prop_map(move |(who, ports)| {
        let mut rule = json!({});
        who.iter().for_each(|who| rule[peers] = json!(who));
        ports.iter().for_each(|ports| rule["ports"] = json!(ports));
        rule
    });
    prop::collection::vec(rule, 0..3).prop_map(|rules| json!(rules))
}

fn any_policy() -> impl Strategy<Value = Value> {
    let types = vec![&["Ingress"][..], &["Egress"], &["Ingress", "Egress"]];
    (any_selector(), prop::sample::select(types), any_rules("from"), any_rules("to"))
        .prop_map(|(pods, types, ingress, egress)| {
            json!({"podSelector": pods, "policyTypes": types, "ingress": ingress, "egress": egress})
        })
}

fn any_pod() -> impl Strategy<Value = Value> {
    let ports = [
        json!([{"name": "web", "containerPort": 80}]),
        json!([{"name": "web", "containerPort": 81}, {"name": "other", "containerPort": 82}]),
        json!([{"name": "web", "containerPort": 80, "protocol": "UDP"}]),
        json!([]),
    ];
    let host = prop::bool::weighted(0.1);
    (any_labels(), prop::sample::select(ports.to_vec()), host)
        .prop_map(|(labels, ports, host)| json!({"labels": labels, "ports": ports, "host": host}))
}

#[derive(Clone, Debug)]
enum Change {
    Namespace(&'static str, Option<bool>),
    Pod(u8, Option<Value>),
    Policy(&'static str, &'static str, Option<Value>),
}

fn any_change() -> impl Strategy<Value = Change> {
    let space = || prop::sample::select(&["x", "y", "kube-system"][..]);
    let name = prop::sample::select(&["n1", "n2", "n3"][..]);
    prop_oneof![
        1 => (space(), prop::option::weighted(0.8, any::<bool>())).prop_map(|(n, v)| Change::Namespace(n, v)),
        4 => (1..6_u8, prop::option::weighted(0.8, any_pod())).prop_map(|(n, v)| Change::Pod(n, v)),
        4 => (space(), name, prop::option::weighted(0.7, any_policy()))
            .prop_map(|(s, n, v)| Change::Policy(s, n, v)),
    ]
}

impl Change {
    fn apply(self, world: &mut World, fold: &mut PolicyFold) {
        match self {
            Self::Namespace(name, team) => {
                world.namespaces.remove(name);
                if let Some(team) = team {
                    let own = ("kubernetes.io/metadata.name".to_owned(), name.to_owned());
                    let team = team.then(|| ("team".to_owned(), "t".to_owned()));
                    let labels = [Some(own), team].into_iter().flatten().collect();
                    world.namespaces.insert(name.to_owned(), labels);
                }
                fold.set_namespace(name, world.namespaces.get(name));
            }
            Self::Pod(number, value) => {
                let uid = format!("p{number}");
                world.pods.remove(&uid);
                let new =
                    value.map(|value| pod(["x", "y"][usize::from(number % 2)], number, &value));
                fold.set_pod(&uid, new.as_ref().and_then(|pod| PolicyPod::of(pod, at(number))));
                new.map(|pod| world.pods.insert(uid, pod));
            }
            Self::Policy(namespace, name, value) => {
                let key = (namespace.to_owned(), name.to_owned());
                world.policies.remove(&key);
                let new = value.map(|spec| policy(namespace, name, &spec));
                fold.set_policy((namespace, name), new.as_ref());
                new.map(|policy| world.policies.insert(key, policy));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_table_says_what_the_policies_say(changes in prop::collection::vec(any_change(), 1..30)) {
        let mut world = World::default();
        let mut fold = PolicyFold::new(DNS);
        for change in changes {
            change.apply(&mut world, &mut fold);
            for it in world.attempts() {
                prop_assert_eq!(passes(fold.table(), it), world.allows(it), "{:?}", it);
            }
        }
        // As large as that of a cluster that has always been so.
        let (table, fresh) = (fold.table(), folded(&world));
        let fresh = fresh.table();
        let sizes = |it: &PolicyTable| {
            (it.identities.len(), it.ingress.len(), it.egress.len(), it.allowed.len(), it.blocks.len())
        };
        prop_assert_eq!(sizes(table), sizes(fresh));
        // Nothing is left of what is gone.
        for key in world.policies.keys() {
            fold.set_policy((&key.0, &key.1), None);
        }
        prop_assert_eq!(fold.table(), &PolicyTable::default());
    }
}
