//! Whether the node takes a pod at all. The scheduler has asked before, but whoever sets
//! `nodeName` goes past it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use coracle_api::pod_resources::Amounts;
use coracle_api::resources::PODS;
use coracle_api::{Quantity, sysctls};
use coracle_controllers::tolerates;
use k8s_openapi::api::core::v1::{Pod, Taint};

use super::observed::Rejection;
use super::spec;
use super::status::EVICTED;
use crate::evictions::choice::CRITICAL;
use crate::evictions::pressure::MEMORY_PRESSURE;
use crate::pods::resources::{Qos, qos};

/// What the node has for one more pod.
#[derive(Clone, Debug, Default)]
pub struct NodeRoom {
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// How many pods it takes.
    pub pods: usize,
    /// How many it has accepted already.
    pub others: usize,
    /// Whether one of them has a port of the node that the pod asks for.
    pub ports_taken: bool,
    /// What the pod asks for of which there is not enough beside them.
    pub lacks: Vec<Lack>,
    /// The conditions under which it takes no more pods, or few.
    pub pressure: BTreeSet<&'static str>,
}

/// A resource of which there is not enough: thousandths of `cpu`, whole units of everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Its name.
    pub resource: String,
    /// What the pod asks for.
    pub requested: i64,
    /// What others have.
    pub used: i64,
    /// What there is.
    pub capacity: i64,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, requested, used, capacity } = self;
        write!(
            f,
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, \
             capacity: {capacity}"
        )
    }
}

/// What `wanted` lacks beside `used` of `all`, in upstream's order. Resources that the node does not
/// know are nobody's, and not missed.
pub fn lacks(wanted: &Amounts, used: &Amounts, all: &Amounts) -> Vec<Lack> {
    let number = |name: &str, amount: Option<&Quantity>| {
        amount.copied().unwrap_or(Quantity::ZERO).figure(name)
    };
    let lack = |(name, amount): (&String, &Quantity)| {
        let requested = number(name, Some(amount));
        let capacity = number(name, Some(all.get(name)?));
        let used = number(name, used.get(name));
        let is_short = requested > 0 && used.saturating_add(requested) > capacity;
        is_short.then(|| Lack { resource: name.clone(), requested, used, capacity })
    };
    let counted = wanted.iter().filter(|(name, _)| *name != PODS);
    let mut lacks: Vec<Lack> = counted.filter_map(lack).collect();
    let place = |lack: &Lack| FIRST.iter().position(|name| *name == lack.resource);
    lacks.sort_by_key(|lack| place(lack).unwrap_or(FIRST.len()));
    lacks
}

/// The resources that are told first.
const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Whether the node can run `pod` beside those that it has accepted already.
///
/// # Errors
/// The reason and message for the pod's status.
pub fn admit(pod: &Pod, node: &NodeRoom) -> Result<(), Rejection> {
    if is_unwelcome(pod, &node.pressure) {
        let pressure = node.pressure.iter().copied().collect::<Vec<_>>().join(" ");
        let message = format!("The node had condition: [{pressure}]. ");
        return Err(Rejection { reason: EVICTED.to_owned(), message });
    }
    if let Some(name) = forbidden_parameter(pod) {
        let message = format!("forbidden sysctl: {name:?} not allowlisted");
        return Err(Rejection { reason: "SysctlForbidden".to_owned(), message });
    }
    if node.others >= node.pods {
        let (count, pods) = (node.others, node.pods);
        let message = format!(
            "Node didn't have enough resource: pods, requested: 1, used: {count}, capacity: {pods}"
        );
        return Err(Rejection { reason: "OutOfpods".to_owned(), message });
    }
    if let Some(lack) = node.lacks.first() {
        let (reason, message) = (format!("OutOf{}", lack.resource), lack.to_string());
        return Err(Rejection { reason, message });
    }
    let wanted = spec::spec(pod).node_selector.iter().flatten();
    if wanted.into_iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
        return Err(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    if node.ports_taken {
        return Err(predicate(
            "NodePorts",
            "node(s) didn't have free ports for the requested pod ports",
        ));
    }
    Ok(())
}

/// Whether a pod may not come while the node is short of something. As upstream: pods that the
/// cluster itself needs may; and if it is memory, those that have said how much they need, or that
/// they do not mind.
fn is_unwelcome(pod: &Pod, pressure: &BTreeSet<&'static str>) -> bool {
    let is_critical = spec::spec(pod).priority.is_some_and(|it| it >= CRITICAL);
    if pressure.is_empty() || is_critical {
        return false;
    }
    let memory_alone = pressure.iter().all(|condition| *condition == MEMORY_PRESSURE);
    let tolerations = spec::spec(pod).tolerations.as_deref().unwrap_or_default();
    let taint = Taint {
        key: "node.kubernetes.io/memory-pressure".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    !(memory_alone && (qos(pod) != Qos::BestEffort || tolerates(tolerations, &taint)))
}

/// A kernel parameter that may be the whole machine's.
fn forbidden_parameter(pod: &Pod) -> Option<String> {
    let context = spec::spec(pod).security_context.as_ref()?;
    let names = context.sysctls.iter().flatten().map(|sysctl| sysctl.name.replace('/', "."));
    names.into_iter().find(|name| !sysctls::SAFE.contains(&name.as_str()))
}

fn predicate(name: &str, message: &str) -> Rejection {
    Rejection { reason: name.to_owned(), message: format!("Predicate {name} failed: {message}") }
}
