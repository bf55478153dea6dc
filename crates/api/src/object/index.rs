//! The table of indexes, beside the table of kinds: by what, other than its key, an object is found
//! without a look at all others.
//!
//! A row is a pure function from an object to its terms; the store keeps the terms of every object
//! with the state. A row may be *unique*: then no two objects share a term of it, which the store
//! refuses to commit. What is given out to one holder at a time (an address, a port) is such a row,
//! and nobody needs a lock to choose one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::custom::names::terms as defined_names;
use crate::pods::{self, AnyPod};
use crate::resources::{
    CONFIG_MAPS, CONTROLLER_REVISIONS, CUSTOM_RESOURCE_DEFINITIONS, JOBS, PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES, PODS, REPLICA_SETS, SECRETS, SERVICE_ACCOUNTS, SERVICES,
};
use crate::selector::{Operator, Requirement};
use crate::{Object, Selector, selectors};

/// What objects are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Index {
    /// `metadata.uid`.
    Uid,
    /// The UID of one of the owners.
    Owner,
    /// The namespace, over all resources.
    Namespace,
    /// The namespace of an object that is not being deleted.
    Staying,
    /// A label: [`label`], and its key alone.
    Label,
    /// One label that the object's own selector demands of what it selects: see [`demanded`].
    Demand,
    /// Nothing controls the object: the empty term.
    Orphan,
    /// The node a pod is on; empty while it waits for one.
    PodNode,
    /// A port of its node that a pod has: [`host_port`].
    PodHostPort,
    /// One label that a pod demands not to have around: as [`Index::Demand`], of what its required
    /// anti-affinity selects.
    PodAvoids,
    /// One label that a pod would like, or would rather not like, to have around: as
    /// [`Index::PodAvoids`], of what its affinity and its preferences select.
    PodPrefers,
    /// Node and priority of a pod that is on a node and has not ended: [`rank`].
    PodRank,
    /// The node that is kept free for a pod that waits: `status.nominatedNodeName`.
    PodNominated,
    /// The claim that one of a pod's volumes stands for, of the pod's namespace.
    PodClaim,
    /// A ConfigMap, Secret or ServiceAccount of its namespace that a pod is made from: [`reference`].
    PodRefers,
    /// The claim that a volume is kept for, as `namespace/name`; empty for a free volume.
    VolumeClaim,
    /// The StorageClass of a claim that has no volume yet.
    UnboundClaimClass,
    /// `TCP/30080`, of a Service.
    NodePort,
    /// A cluster address of a Service.
    ClusterAddress,
    /// A Service of type LoadBalancer that the engine gave no address yet: the empty term.
    WaitingForAddress,
    /// An address that the engine gave a Service of type LoadBalancer.
    LoadBalancerAddress,
    /// A name under which a CustomResourceDefinition was accepted, in its group.
    DefinedName,
}

/// One row of [`INDEXES`].
pub struct Row {
    /// Which index.
    pub index: Index,
    /// The GroupResources that it is about; empty for all.
    pub of: &'static [&'static str],
    /// The object's terms.
    pub terms: Terms,
    /// What is wrong with a second holder of a term; `None` where there may be many.
    pub unique: Option<Unique>,
}

/// How the terms of an object follow from it.
pub enum Terms {
    /// From its metadata.
    OfMetadata(fn(&Object) -> Vec<String>),
    /// From the whole object.
    OfWhole(fn(&Object, &Value) -> Vec<String>),
}

/// What a second holder of a term is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    /// `spec.clusterIPs`
    pub field: &'static str,
    /// The sentence.
    pub message: &'static str,
    /// Whether it is for users to choose one, who are then told that the value is invalid. A
    /// controller's choice is one that somebody was faster with.
    pub is_asked_for: bool,
}

/// What controllers adopt.
const ADOPTED: &[&str] = &[PODS, CONTROLLER_REVISIONS, REPLICA_SETS, JOBS];

/// Every index.
pub const INDEXES: &[Row] = &[
    row(Index::Uid, &[], Terms::OfMetadata(uid)),
    row(Index::Owner, &[], Terms::OfMetadata(owners)),
    row(Index::Namespace, &[], Terms::OfMetadata(namespace)),
    row(Index::Staying, &[], Terms::OfMetadata(staying)),
    row(Index::Label, &[], Terms::OfMetadata(labels)),
    row(Index::Orphan, ADOPTED, Terms::OfMetadata(orphan)),
    row(Index::Demand, selectors::RESOURCES, Terms::OfWhole(demands)),
    row(Index::PodNode, &[PODS], Terms::OfWhole(pod_node)),
    row(Index::PodHostPort, &[PODS], Terms::OfWhole(pod_host_ports)),
    row(Index::PodAvoids, &[PODS], Terms::OfWhole(pod_avoids)),
    row(Index::PodPrefers, &[PODS], Terms::OfWhole(pod_prefers)),
    row(Index::PodRank, &[PODS], Terms::OfWhole(pod_rank)),
    row(Index::PodNominated, &[PODS], Terms::OfWhole(pod_nominated)),
    row(Index::PodClaim, &[PODS], Terms::OfWhole(pod_claims)),
    row(Index::PodRefers, &[PODS], Terms::OfWhole(pod_refers)),
    row(Index::VolumeClaim, &[PERSISTENT_VOLUMES], Terms::OfWhole(volume_claim)),
    row(Index::UnboundClaimClass, &[PERSISTENT_VOLUME_CLAIMS], Terms::OfWhole(unbound_class)),
    row(Index::WaitingForAddress, &[SERVICES], Terms::OfWhole(waiting_for_address)),
    unique(
        Index::NodePort,
        node_ports,
        "spec.ports[].nodePort",
        "provided port is already allocated",
    ),
    unique(
        Index::ClusterAddress,
        cluster_addresses,
        "spec.clusterIPs",
        "provided IP is already allocated",
    ),
    unique(
        Index::LoadBalancerAddress,
        balanced_addresses,
        "status.loadBalancer.ingress",
        "provided IP is already allocated",
    ),
    Row {
        index: Index::DefinedName,
        of: &[CUSTOM_RESOURCE_DEFINITIONS],
        terms: Terms::OfWhole(|_, definition| defined_names(definition)),
        unique: Some(Unique {
            field: "status.acceptedNames",
            message: "is already in use",
            is_asked_for: false,
        }),
    },
];

const fn row(index: Index, of: &'static [&'static str], terms: Terms) -> Row {
    Row { index, of, terms, unique: None }
}

/// A unique index over Services.
const fn unique(
    index: Index,
    terms: fn(&Object, &Value) -> Vec<String>,
    field: &'static str,
    message: &'static str,
) -> Row {
    let is_asked_for = !matches!(index, Index::LoadBalancerAddress);
    let unique = Some(Unique { field, message, is_asked_for });
    Row { index, of: &[SERVICES], terms: Terms::OfWhole(terms), unique }
}

impl Index {
    /// What is wrong with a second holder of a term; `None` where there may be many.
    pub fn unique(self) -> Option<Unique> {
        INDEXES.iter().find(|row| row.index == self)?.unique
    }
}

/// The terms of `object`, sorted, each once.
pub fn terms(object: &Object) -> Vec<(Index, String)> {
    let resource = &*object.key().resource;
    let concerns = |row: &&Row| row.of.is_empty() || row.of.contains(&resource);
    let mut found = Vec::new();
    let mut of_whole = Vec::new();
    for row in INDEXES.iter().filter(concerns) {
        match row.terms {
            Terms::OfMetadata(terms) => {
                found.extend(terms(object).into_iter().map(|term| (row.index, term)));
            }
            Terms::OfWhole(terms) => of_whole.push((row.index, terms)),
        }
    }
    if !of_whole.is_empty() {
        object.peek(|value| {
            for (index, terms) in of_whole {
                found.extend(terms(object, value).into_iter().map(|term| (index, term)));
            }
        });
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The term of a label.
pub fn label(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// The terms of a claim's name.
pub fn claim(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The term of a Service's node port.
pub fn node_port(protocol: &str, port: u16) -> String {
    format!("{protocol}/{port}")
}

fn uid(object: &Object) -> Vec<String> {
    let uid = &object.metadata().uid;
    if uid.is_empty() { Vec::new() } else { vec![uid.clone()] }
}

fn owners(object: &Object) -> Vec<String> {
    object.metadata().owner_references.iter().map(|owner| owner.uid.clone()).collect()
}

fn namespace(object: &Object) -> Vec<String> {
    let namespace = &object.metadata().namespace;
    if namespace.is_empty() { Vec::new() } else { vec![namespace.clone()] }
}

fn staying(object: &Object) -> Vec<String> {
    if object.metadata().is_deleting() { Vec::new() } else { namespace(object) }
}

fn labels(object: &Object) -> Vec<String> {
    let labels = object.metadata().labels.iter();
    labels.flat_map(|(key, value)| [key.clone(), label(key, value)]).collect()
}

fn orphan(object: &Object) -> Vec<String> {
    if object.metadata().controller().is_none() { vec![String::new()] } else { Vec::new() }
}

/// Under which terms [`Index::Demand`] has an object with this selector: whatever it selects has
/// one of them among its own ([`demands_on`]). One positive requirement is enough; a selector
/// without any stands under the empty term, one that selects nothing nowhere.
pub fn demanded(selector: &Selector) -> Vec<String> {
    let Some(requirements) = selector.demands() else { return Vec::new() };
    let pairs = |one: &Requirement| one.values.iter().map(|value| label(&one.key, value)).collect();
    let rank = |one: &&Requirement| match one.operator {
        Operator::Equals | Operator::DoubleEquals => 0,
        Operator::In => one.values.len(),
        _ => usize::MAX,
    };
    let positive = requirements.iter().filter(|one| one.operator.is_positive());
    match positive.min_by_key(rank) {
        None => vec![String::new()],
        Some(one) if rank(&one) == usize::MAX => vec![one.key.clone()],
        Some(one) => pairs(one),
    }
}

/// The terms of [`Index::Demand`] under which a selector of an object with `labels` can be.
pub fn demands_on(labels: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    let own = labels.iter().flat_map(|(key, value)| [key.clone(), label(key, value)]);
    std::iter::once(String::new()).chain(own)
}

fn demands(object: &Object, value: &Value) -> Vec<String> {
    selectors::parse(&object.key().resource, value).map_or_else(Vec::new, |it| demanded(&it))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn pod_node(_: &Object, pod: &Value) -> Vec<String> {
    vec![text(pod, "/spec/nodeName").to_owned()]
}

/// A port of the node that a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Empty for all addresses.
    pub address: String,
    /// `TCP`
    pub protocol: String,
    /// The number.
    pub port: u16,
}

impl HostPort {
    /// Whether a node cannot give both.
    pub fn clashes(&self, other: &Self) -> bool {
        let meets = |a: &str, b: &str| a == b || a.is_empty() || b.is_empty();
        (&self.protocol, self.port) == (&other.protocol, other.port)
            && meets(&self.address, &other.address)
    }
}

/// The ports of the node that a pod asks for.
pub fn host_ports(pod: &Value) -> impl Iterator<Item = HostPort> {
    let containers = items(pod, "/spec/containers").chain(items(pod, "/spec/initContainers"));
    containers.flat_map(|container| items(container, "/ports")).filter_map(|port| {
        let number = port["hostPort"].as_u64().and_then(|n| u16::try_from(n).ok());
        let address = text(port, "/hostIP");
        Some(HostPort {
            address: if address == "0.0.0.0" { String::new() } else { address.to_owned() },
            protocol: port["protocol"].as_str().unwrap_or("TCP").to_owned(),
            port: number.filter(|number| *number != 0)?,
        })
    })
}

/// The term of a pod's port on `node`.
pub fn host_port(node: &str, port: &HostPort) -> String {
    format!("{node}/{}/{}", port.protocol, port.port)
}

fn pod_host_ports(_: &Object, pod: &Value) -> Vec<String> {
    let node = text(pod, "/spec/nodeName");
    if !pod.is_placed() {
        return Vec::new();
    }
    host_ports(pod).map(|port| host_port(node, &port)).collect()
}

fn pod_avoids(_: &Object, pod: &Value) -> Vec<String> {
    let required = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    if !pod.is_placed() {
        return Vec::new();
    }
    items(pod, required).flat_map(demanded_by).collect()
}

/// What a term of a pod's affinity demands.
fn demanded_by(term: &Value) -> Vec<String> {
    Selector::from_json(term.get("labelSelector")).map_or_else(|_| Vec::new(), |it| demanded(&it))
}

fn pod_prefers(_: &Object, pod: &Value) -> Vec<String> {
    let affinity = &pod["spec"]["affinity"];
    if affinity.is_null() || !pod.is_placed() {
        return Vec::new();
    }
    let preferred = "/preferredDuringSchedulingIgnoredDuringExecution";
    let (with, without) = (&affinity["podAffinity"], &affinity["podAntiAffinity"]);
    let weighed = items(with, preferred).chain(items(without, preferred));
    let required = items(with, "/requiredDuringSchedulingIgnoredDuringExecution");
    let terms = required.chain(weighed.map(|one| &one["podAffinityTerm"]));
    terms.flat_map(demanded_by).collect()
}

/// The term of the pods of one priority on a node.
pub fn rank(node: &str, priority: i32) -> String {
    format!("{node}/{priority}")
}

fn pod_rank(_: &Object, pod: &Value) -> Vec<String> {
    let node = pod.node_name().filter(|_| pod.is_placed());
    node.map(|node| rank(node, pod.priority())).into_iter().collect()
}

fn pod_nominated(_: &Object, pod: &Value) -> Vec<String> {
    let node = text(pod, "/status/nominatedNodeName");
    let waits = pod.node_name().is_none() && !pod.has_ended();
    if waits && !node.is_empty() { vec![node.to_owned()] } else { Vec::new() }
}

fn pod_claims(object: &Object, pod: &Value) -> Vec<String> {
    items(pod, "/spec/volumes")
        .filter_map(|volume| claim_name(&object.metadata().name, volume))
        .collect()
}

/// The name of the claim that `volume` of the pod `pod` stands for, if it stands for one.
pub fn claim_name(pod: &str, volume: &Value) -> Option<String> {
    if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
        return Some(claim.to_owned());
    }
    let own = volume.get("ephemeral").filter(|source| !source.is_null());
    own.and(volume["name"].as_str()).map(|name| pods::ephemeral_claim(pod, name))
}

/// The term of the object `name` of `resource` that a pod refers to.
pub fn reference(resource: &str, name: &str) -> String {
    format!("{resource}/{name}")
}

fn pod_refers(_: &Object, pod: &Value) -> Vec<String> {
    references(pod).into_iter().map(|(resource, name)| reference(resource, name)).collect()
}

/// The ConfigMaps, Secrets and the ServiceAccount of its namespace that a pod's volumes, variables,
/// rights and images come from, by resource and name; claims apart: [`claim_name`].
pub fn references(pod: &Value) -> Vec<(&'static str, &str)> {
    let account = match text(pod, "/spec/serviceAccountName") {
        "" => "default",
        name => name,
    };
    let mut sources = Vec::new();
    for volume in items(pod, "/spec/volumes") {
        sources.extend([(CONFIG_MAPS, &volume["configMap"]), (SECRETS, &volume["secret"])]);
        for source in items(volume, "/projected/sources") {
            sources.extend([(CONFIG_MAPS, &source["configMap"]), (SECRETS, &source["secret"])]);
        }
        // Drivers' credentials, whichever the driver.
        for driver in volume.as_object().into_iter().flat_map(|volume| volume.values()) {
            sources.extend([(SECRETS, &driver["secretRef"])]);
            sources.extend([(SECRETS, &driver["nodePublishSecretRef"])]);
        }
    }
    let containers = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    for container in containers.iter().flat_map(|list| items(pod, list)) {
        for source in items(container, "/envFrom") {
            sources.extend([(CONFIG_MAPS, &source["configMapRef"])]);
            sources.extend([(SECRETS, &source["secretRef"])]);
        }
        for source in items(container, "/env").map(|variable| &variable["valueFrom"]) {
            sources.extend([(CONFIG_MAPS, &source["configMapKeyRef"])]);
            sources.extend([(SECRETS, &source["secretKeyRef"])]);
        }
    }
    sources.extend(items(pod, "/spec/imagePullSecrets").map(|source| (SECRETS, source)));
    // A volume's Secret has a `secretName`, everything else a `name`.
    let named = sources.into_iter().filter_map(|(of, source)| {
        let name = source["name"].as_str().or(source["secretName"].as_str())?;
        Some((of, name))
    });
    [(SERVICE_ACCOUNTS, account)].into_iter().chain(named).collect()
}

fn volume_claim(_: &Object, volume: &Value) -> Vec<String> {
    match text(volume, "/spec/claimRef/name") {
        "" => vec![String::new()],
        name => vec![claim(text(volume, "/spec/claimRef/namespace"), name)],
    }
}

fn unbound_class(object: &Object, value: &Value) -> Vec<String> {
    let bound = object.metadata().annotations.contains_key("pv.kubernetes.io/bind-completed")
        && !text(value, "/spec/volumeName").is_empty();
    let old = object.metadata().annotations.get("volume.beta.kubernetes.io/storage-class");
    let class = old.map_or_else(|| text(value, "/spec/storageClassName"), String::as_str);
    if bound { Vec::new() } else { vec![class.to_owned()] }
}

fn node_ports(_: &Object, service: &Value) -> Vec<String> {
    let number = |value: &Value| {
        value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|number| *number != 0)
    };
    let ports = items(service, "/spec/ports").filter_map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        Some(node_port(protocol, number(&port["nodePort"])?))
    });
    let health = number(&service["spec"]["healthCheckNodePort"]);
    ports.chain(health.map(|number| node_port("TCP", number))).collect()
}

fn cluster_addresses(_: &Object, service: &Value) -> Vec<String> {
    let addresses = items(service, "/spec/clusterIPs").filter_map(Value::as_str);
    addresses.filter(|ip| !ip.is_empty() && *ip != "None").map(str::to_owned).collect()
}

/// Whether the engine gives the Service its address; others that do so may let several share one.
fn is_balanced(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer"
        && text(service, "/spec/loadBalancerClass").is_empty()
}

fn balanced_addresses(_: &Object, service: &Value) -> Vec<String> {
    let addresses = items(service, "/status/loadBalancer/ingress");
    let addresses = addresses.filter_map(|entry| entry["ip"].as_str()).map(str::to_owned);
    if is_balanced(service) { addresses.collect() } else { Vec::new() }
}

fn waiting_for_address(object: &Object, service: &Value) -> Vec<String> {
    let waits = is_balanced(service) && balanced_addresses(object, service).is_empty();
    if waits { vec![String::new()] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(resource: &str, index: Index, value: Value) -> Vec<String> {
        let object = Object::with_resource(resource, value).unwrap();
        let all = terms(&object).into_iter();
        all.filter(|(at, _)| *at == index).map(|(_, term)| term).collect()
    }

    #[test]
    fn a_pod_is_found_by_node_claims_and_labels() {
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "x", "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "ephemeral": {}}, {"name": "c", "emptyDir": {}},
            ]},
        });
        assert_eq!(of("pods", Index::PodNode, pod.clone()), ["n"]);
        assert_eq!(of("pods", Index::PodClaim, pod.clone()), ["data", "web-0-b"]);
        assert_eq!(of("pods", Index::Label, pod.clone()), ["app", "app=web"]);
        assert_eq!(of("pods", Index::Orphan, pod.clone()), [""]);
        assert_eq!(of("things.example.com", Index::PodNode, pod), Vec::<String>::new());
    }

    #[test]
    fn a_pod_is_found_by_what_it_is_made_from() {
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "x"},
            "spec": {
                "serviceAccountName": "web",
                "imagePullSecrets": [{"name": "registry"}],
                "volumes": [
                    {"name": "a", "configMap": {"name": "files"}},
                    {"name": "b", "secret": {"secretName": "keys"}},
                    {"name": "c", "projected": {"sources": [
                        {"configMap": {"name": "root-ca"}}, {"secret": {"name": "more"}},
                        {"serviceAccountToken": {"path": "token"}}]}},
                    {"name": "d", "csi": {"nodePublishSecretRef": {"name": "disk"}}},
                ],
                "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "first"}}]}],
                "containers": [{"name": "c", "image": "files", "env": [
                    {"name": "A", "value": "unrelated"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}},
                    {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "vars", "key": "k"}}},
                ]}],
            },
        });
        let maps = ["files", "first", "root-ca", "vars"].map(|it| format!("configmaps/{it}"));
        let secrets = ["disk", "keys", "more", "registry"].map(|it| format!("secrets/{it}"));
        let account = "serviceaccounts/web".to_owned();
        let all: Vec<_> = maps.into_iter().chain(secrets).chain([account]).collect();
        assert_eq!(of("pods", Index::PodRefers, pod), all);
        let bare = json!({"metadata": {"name": "p"}, "spec": {}});
        assert_eq!(of("pods", Index::PodRefers, bare), ["serviceaccounts/default"]);
    }

    #[test]
    fn a_selector_stands_under_one_thing_that_it_demands() {
        let set = |selector: Value| {
            let set = json!({"metadata": {"name": "s"}, "spec": {"selector": selector}});
            of("statefulsets.apps", Index::Demand, set)
        };
        let labels = json!({"app": "web", "tier": "b"});
        let none = Vec::<String>::new();
        assert_eq!(set(json!({"matchLabels": labels})), ["app=web"]);
        assert_eq!(set(json!({})), [""]);
        assert_eq!(set(Value::Null), none);
        let one = |operator: &str, values: Value| {
            let expression = json!({"key": "k", "operator": operator, "values": values});
            set(json!({"matchExpressions": [expression]}))
        };
        assert_eq!(one("In", json!(["a", "b"])), ["k=a", "k=b"]);
        assert_eq!(one("Exists", json!([])), ["k"]);
        assert_eq!(one("NotIn", json!(["a"])), [""]);
        let service = |selector: Value| {
            let value = json!({"metadata": {"name": "s"}, "spec": {"selector": selector}});
            of("services", Index::Demand, value)
        };
        assert_eq!(service(json!({"app": "web"})), ["app=web"]);
        assert_eq!(service(json!({})), none);
    }
}
