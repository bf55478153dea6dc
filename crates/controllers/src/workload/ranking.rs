//! Which pods go first when there are too many.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use coracle_api::{Timestamp, pods};
use k8s_openapi::api::core::v1::{Container, ContainerStatus};

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
    pods.sort_by(|a, b| compare(a, b, rule));
}

fn compare(a: &Replica, b: &Replica, rule: &Rule) -> Ordering {
    let available = |pod: &Replica| match rule {
        Rule::Spread { min_ready_seconds, now, .. } => pod.is_available(*min_ready_seconds, *now),
        Rule::Plain => true,
    };
    let first = |pod: &Replica| (pod.node().is_some(), phase(pod), pod.is_ready(), available(pod));
    first(a)
        .cmp(&first(b))
        .then_with(|| spread(a, rule).cmp(&spread(b, rule)))
        .then_with(|| by_ready_time(a, b, rule))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let made = |pod: &Replica| pod.object.metadata().creation_timestamp;
            younger(made(a), made(b), (a, b), rule)
        })
        .then_with(|| a.name().cmp(b.name()))
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

fn by_ready_time(a: &Replica, b: &Replica, rule: &Rule) -> Ordering {
    if !(a.is_ready() && b.is_ready()) {
        return Ordering::Equal;
    }
    let since = |pod: &Replica| {
        let ready = pods::condition(&pod.pod, "Ready");
        ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0)
    };
    younger(since(a), since(b), (a, b), rule)
}

/// What is younger goes first; what has no time before all.
fn younger(
    a: Option<Timestamp>,
    b: Option<Timestamp>,
    (pod, other): (&Replica, &Replica),
    rule: &Rule,
) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return a.cmp(&b) };
    match rule {
        _ if a == b => Ordering::Equal,
        Rule::Plain => b.cmp(&a),
        Rule::Spread { now, .. } => {
            magnitude(a, *now).cmp(&magnitude(b, *now)).then_with(|| pod.uid().cmp(other.uid()))
        }
    }
}

/// The logarithm of an age, so that pods of about the same age are the same.
fn magnitude(time: Timestamp, now: Timestamp) -> Option<u32> {
    let age = now.duration_since(time).as_nanos();
    u128::try_from(age).ok().and_then(u128::checked_ilog2)
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
    let always = |init: &Container| init.restart_policy.as_deref() == Some("Always");
    inits.any(|init| init.name == status.name && always(init))
}
