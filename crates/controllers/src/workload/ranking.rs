//! Which pods go first when there are too many.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use coracle_api::{Timestamp, pods};
use k8s_openapi::api::core::v1::ContainerStatus;

use super::replica::Replica;

/// What users write how much they would miss a pod with: an `i32`, 0 when absent or unreadable.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// How pods compare; the first goes first. Upstream's `ActivePodsWithRanks` and `ActivePods`, and
/// before any cost, what has been ready for too short a time to be available: whoever shrinks a set
/// by what is not available counts on that.
pub(crate) enum Rule {
    /// Ages count by their order of magnitude, costs and crowded nodes count too.
    Spread {
        /// Pods of the same application on each node.
        crowds: BTreeMap<String, usize>,
        /// `spec.minReadySeconds`
        min_ready_seconds: i64,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Ages count exactly, nothing else does.
    Plain,
}

/// `pods` in the order in which they go.
pub(crate) fn sort(pods: &mut [Replica], rule: &Rule) {
    pods.sort_by_cached_key(|pod| rank(pod, rule));
}

/// What pods compare by, in this order: one value a pod, so that the order is total whatever their
/// times are. (Of pods that are about as old, upstream's comparison looks at identities when their
/// times differ and at restarts when they do not, which is no order: here restarts count for both.)
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    has_node: bool,
    phase: u8,
    is_ready: bool,
    is_available: bool,
    spread: (i32, Reverse<usize>),
    ready: Option<i128>,
    restarts: Reverse<(i32, i32)>,
    made: Option<i128>,
    /// Where only the order of magnitude of ages counts: the same of all else.
    uid: Option<String>,
    name: String,
}

fn rank(pod: &Replica, rule: &Rule) -> Rank {
    let (is_available, uid) = match rule {
        Rule::Spread { min_ready_seconds, now, .. } => {
            (pod.is_available(*min_ready_seconds, *now), Some(pod.uid().to_owned()))
        }
        Rule::Plain => (true, None),
    };
    Rank {
        has_node: pod.node().is_some(),
        phase: phase(pod),
        is_ready: pod.is_ready(),
        is_available,
        spread: spread(pod, rule),
        ready: age(ready_since(pod), rule),
        restarts: Reverse(restarts(pod)),
        made: age(pod.object.metadata().creation_timestamp, rule),
        uid,
        name: pod.name().to_owned(),
    }
}

fn phase(pod: &Replica) -> u8 {
    match pod.phase() {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    }
}

fn spread(pod: &Replica, rule: &Rule) -> (i32, Reverse<usize>) {
    let Rule::Spread { crowds, .. } = rule else { return (0, Reverse(0)) };
    let cost = pod.annotation(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0);
    let crowd = pod.node().and_then(|node| crowds.get(node)).copied().unwrap_or(0);
    (cost, Reverse(crowd))
}

/// Since when it is ready, if it is.
fn ready_since(pod: &Replica) -> Option<Timestamp> {
    let ready = pods::condition(&pod.pod, "Ready").filter(|_| pod.is_ready());
    ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0)
}

/// What is younger goes first, what has no time before all: an age in nanoseconds, or its logarithm
/// where pods of about the same age are the same (-1: in the future).
fn age(since: Option<Timestamp>, rule: &Rule) -> Option<i128> {
    let since = since?;
    Some(match rule {
        Rule::Plain => since.as_nanosecond().saturating_neg(),
        Rule::Spread { now, .. } => {
            let age = u128::try_from(now.duration_since(since).as_nanos());
            age.ok().and_then(u128::checked_ilog2).map_or(-1, i128::from)
        }
    })
}

/// The most restarts of one of its containers, and of one of its sidecars.
fn restarts(pod: &Replica) -> (i32, i32) {
    let most = |count: Option<i32>| count.unwrap_or(0);
    let sidecars = pod.init_statuses().filter(|status| is_sidecar(pod, status));
    (
        most(pod.container_statuses().map(|status| status.restart_count).max()),
        most(sidecars.map(|status| status.restart_count).max()),
    )
}

fn is_sidecar(pod: &Replica, status: &ContainerStatus) -> bool {
    let spec = pod.pod.spec.as_ref();
    let mut inits = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    inits.any(|init| init.name == status.name && pods::is_sidecar(init))
}
