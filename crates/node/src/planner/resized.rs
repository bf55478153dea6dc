//! What is known of a pod that is resized: what it was promised, and what runs with something else.

use std::collections::BTreeMap;

use coracle_api::Quantity;
use coracle_runtime::Resources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde::{Deserialize, Serialize};

use super::retry::Retry;
use super::spec;

/// What a container asks for of one resource, and what bounds it: thousandths of `cpu`, bytes of
/// `memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Its request.
    pub request: Option<i64>,
    /// Its limit.
    pub limit: Option<i64>,
}

/// What of a container's resources may change while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Of the processors.
    pub cpu: Size,
    /// Of the memory.
    pub memory: Size,
}

/// By the containers' names.
pub type AllSizes = BTreeMap<String, Sizes>;

impl Sizes {
    /// Those in a container's resources.
    #[must_use]
    pub fn of(resources: Option<&ResourceRequirements>) -> Self {
        let amount = |limits: bool, name: &str| {
            let resources = resources?;
            let map = if limits { &resources.limits } else { &resources.requests };
            let amount = Quantity::parse(&map.as_ref()?.get(name)?.0).ok()?;
            Some(amount.figure(name))
        };
        let size = |name| Size { request: amount(false, name), limit: amount(true, name) };
        Self { cpu: size("cpu"), memory: size("memory") }
    }

    /// `resources` with these; what says the same stays as it is spelled.
    #[must_use]
    pub fn in_place(&self, resources: Option<&ResourceRequirements>) -> ResourceRequirements {
        let mut next = resources.cloned().unwrap_or_default();
        let before = Self::of(resources);
        for (name, size, was) in
            [("cpu", self.cpu, before.cpu), ("memory", self.memory, before.memory)]
        {
            put(&mut next.requests, name, size.request, was.request);
            put(&mut next.limits, name, size.limit, was.limit);
        }
        next
    }
}

fn put(
    amounts: &mut Option<BTreeMap<String, Text>>,
    name: &str,
    amount: Option<i64>,
    was: Option<i64>,
) {
    if amount == was {
        return;
    }
    let Some(amount) = amount else {
        if let Some(amounts) = amounts {
            amounts.remove(name);
        }
        *amounts = amounts.take().filter(|amounts| !amounts.is_empty());
        return;
    };
    let amount = match name {
        "cpu" => Quantity::from_millis(amount),
        _ => Quantity::from_bytes(amount),
    };
    amounts.get_or_insert_default().insert(name.to_owned(), Text(amount.to_string()));
}

/// What the containers of a pod ask for.
#[must_use]
pub fn sizes(pod: &Pod) -> AllSizes {
    let of = |container: &Container| Sizes::of(container.resources.as_ref());
    spec::all_containers(pod).map(|(_, it)| (it.name.clone(), of(it))).collect()
}

/// The pod as if its containers asked for `sizes`.
#[must_use]
pub fn with_sizes(pod: &Pod, sizes: &AllSizes) -> Pod {
    let mut pod = pod.clone();
    let spec = pod.spec.iter_mut();
    let containers =
        spec.flat_map(|spec| spec.init_containers.iter_mut().flatten().chain(&mut spec.containers));
    for container in containers {
        if let Some(sizes) = sizes.get(&container.name) {
            container.resources = Some(sizes.in_place(container.resources.as_ref()));
        }
    }
    pod
}

/// A pod whose containers do not all have what its spec asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    /// What the node has promised, and the next engine must know.
    pub record: Record,
    /// What is asked for and was not promised.
    pub pending: Option<Pending>,
    /// A promise that is being kept.
    pub in_progress: Option<InProgress>,
    /// Whether control groups were begun to be written and nobody knows how far that came: each may
    /// have what is recorded, or what was promised. Then all of it is written.
    pub is_unsure: bool,
}

/// What the node remembers of a pod's resize, whatever becomes of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What the containers were promised.
    pub allocated: AllSizes,
    /// What containers have that is not that, by the runtime's ids.
    pub actual: AllSizes,
    /// What the pod's control group has at most, where that is not what follows.
    pub group: Option<Resources>,
}

/// A resize that waits for room, or for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// The pod's generation that asks for it.
    pub generation: i64,
    /// What it asks for.
    pub wanted: AllSizes,
    /// When it is asked again even if nobody says that there is room.
    pub retry_at: jiff::Timestamp,
}

/// A resize that was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProgress {
    /// The pod's generation that asked for it.
    pub generation: i64,
    /// Why it is not carried out yet.
    pub error: Option<Retry>,
}

/// Whether a resize may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is promised.
    Granted,
    /// There is no room beside others now.
    Deferred(String),
    /// The node does not have so much at all.
    Infeasible(String),
}

/// One control group, and what is to change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The runtime's id of a container; `None` for the pod's own group.
    pub container: Option<String>,
    /// What is set; what is `None` stays.
    pub to: Resources,
}

/// Memory that is to become less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decrease {
    /// Name and runtime's id of the container; `None` for the pod.
    pub container: Option<(String, String)>,
    /// The limit, in bytes.
    pub limit: u64,
}

/// What is to be done to control groups, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The runtime's ids of all containers that run: what they use is the pod's.
    pub running: Vec<String>,
    /// What must be more than is used.
    pub decreases: Vec<Decrease>,
    /// What is written.
    pub changes: Vec<Change>,
    /// What is to be remembered when that is done.
    pub record: Record,
}

/// Upstream's sentence for limits of memory below what is used: `used` has the bytes of each of
/// `running`.
#[must_use]
pub fn too_little(changes: &Changes, used: &[u64]) -> Option<String> {
    let of_pod = used.iter().fold(0_u64, |sum, used| sum.saturating_add(*used));
    let of = |id: &str| {
        let mut all = changes.running.iter().zip(used);
        all.find(|(running, _)| *running == id).map_or(0, |(_, used)| *used)
    };
    let told = |decrease: &Decrease| {
        let limit = decrease.limit;
        let (what, used) = match &decrease.container {
            None => ("pod".to_owned(), of_pod),
            Some((name, id)) => (format!("container {name:?}"), of(id)),
        };
        (limit < used).then(|| {
            format!("attempting to set {what} memory limit ({limit}) below current usage ({used})")
        })
    };
    let all: Vec<String> = changes.decreases.iter().filter_map(told).collect();
    match all.as_slice() {
        [] => None,
        [one] => Some(format!("cannot decrease memory limits: {one}")),
        many => Some(format!("cannot decrease memory limits: [{}]", many.join(", "))),
    }
}
