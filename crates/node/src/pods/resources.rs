//! Requests and limits: QoS class, cgroup values, OOM score.

use coracle_api::Quantity;
use coracle_api::pods::is_sidecar;
use coracle_runtime::Resources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

/// Microseconds of a scheduling period.
const PERIOD_MICROS: i64 = 100_000;
/// Processes and threads of a pod: more than any database needs, and few enough that a container
/// which forks without end hurts nobody else.
const PIDS_MAX: i64 = 4096;
/// Weight of one core, and the least weight there is.
const SHARES: (i64, i64) = (1024, 2);

/// `status.qosClass`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

fn amount(container: &Container, limits: bool, name: &str) -> Option<Quantity> {
    wanted(container.resources.as_ref()?, limits, name)
}

/// A limit, or a request, which is the limit when only that is told.
fn wanted(resources: &ResourceRequirements, limits: bool, name: &str) -> Option<Quantity> {
    let map = if limits { &resources.limits } else { &resources.requests };
    let own = map.as_ref().and_then(|map| map.get(name));
    let text = own.or_else(|| resources.limits.as_ref()?.get(name).filter(|_| !limits))?;
    Quantity::parse(&text.0).ok().filter(|amount| amount.signum() > 0)
}

/// What the pod as a whole is told to have, if it is told.
fn of_pod(pod: &Pod) -> Option<&ResourceRequirements> {
    pod.spec.as_ref()?.resources.as_ref().filter(|it| it.limits.is_some() || it.requests.is_some())
}

/// The pod's class by its own CPU and memory, or else its containers'.
pub(crate) fn qos(pod: &Pod) -> Qos {
    let containers = super::containers(pod);
    let each = containers.iter().filter_map(|container| container.resources.as_ref());
    let named: Vec<_> = match of_pod(pod) {
        Some(own) => vec![own],
        None => each.collect(),
    };
    let mut any = false;
    let mut all_limited = of_pod(pod).is_some() || named.len() == containers.len();
    for resources in named {
        for name in ["cpu", "memory"] {
            let (request, limit) = (wanted(resources, false, name), wanted(resources, true, name));
            any |= request.is_some() || limit.is_some();
            all_limited &= limit.is_some() && request == limit;
        }
    }
    match (any, all_limited) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// What the container's cgroup is set to.
#[must_use]
pub fn container_resources(container: &Container) -> Resources {
    group(container.resources.as_ref().unwrap_or(&ResourceRequirements::default()))
}

fn group(resources: &ResourceRequirements) -> Resources {
    let cpu_limit = wanted(resources, true, "cpu").map(Quantity::milli_value);
    let cpu_request = wanted(resources, false, "cpu").map_or(0, Quantity::milli_value);
    let shares = (cpu_request.saturating_mul(SHARES.0) / 1000).max(SHARES.1);
    let memory = wanted(resources, true, "memory").map(Quantity::value);
    Resources {
        memory_limit: memory.and_then(|bytes| u64::try_from(bytes).ok()),
        cpu_quota: cpu_limit.map(|milli| (milli.saturating_mul(PERIOD_MICROS) / 1000).max(1000)),
        cpu_period: cpu_limit.and_then(|_| u64::try_from(PERIOD_MICROS).ok()),
        cpu_shares: u64::try_from(shares).ok(),
        pids_limit: None,
    }
}

/// Limits of the whole pod: its own, and where it has none those of its containers together, when
/// each has one: of the app containers and the sidecars, or of an init container and the sidecars
/// before it, whatever is more.
pub(crate) fn pod_resources(pod: &Pod) -> Resources {
    let apps = pod.spec.iter().flat_map(|spec| &spec.containers);
    let apps: Vec<_> = apps.map(container_resources).collect();
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let inits: Vec<_> = inits.map(|it| (is_sidecar(it), container_resources(it))).collect();
    let total = |value: fn(&Resources) -> Option<u64>| -> Option<u64> {
        let (mut staying, mut most) = (0_u64, 0_u64);
        for (stays, init) in &inits {
            let together = staying.saturating_add(value(init)?);
            most = most.max(together);
            if *stays {
                staying = together;
            }
        }
        let add = |sum: u64, it: &Resources| Some(sum.saturating_add(value(it)?));
        let running = apps.iter().try_fold(staying, add)?;
        Some(running.max(most)).filter(|total| *total > 0)
    };
    let quota = total(|it| it.cpu_quota.and_then(|quota| u64::try_from(quota).ok()));
    let quota = quota.and_then(|quota| i64::try_from(quota).ok());
    let own = of_pod(pod);
    let set = own.map(group).unwrap_or_default();
    let cpu_quota = set.cpu_quota.or(quota);
    let says_cpu = own.is_some_and(|own| wanted(own, false, "cpu").is_some());
    Resources {
        memory_limit: set.memory_limit.or_else(|| total(|it| it.memory_limit)),
        cpu_quota,
        cpu_period: cpu_quota.and_then(|_| u64::try_from(PERIOD_MICROS).ok()),
        cpu_shares: set.cpu_shares.filter(|_| says_cpu).or_else(|| total(|it| it.cpu_shares)),
        pids_limit: Some(PIDS_MAX),
    }
}

/// The container's own, and its part of what the pod asks for beyond its containers.
fn memory_request(pod: &Pod, container: &Container) -> i64 {
    let of = |it: &Container| amount(it, false, "memory").map_or(0, Quantity::value);
    let containers = pod.spec.as_ref().map_or(&[][..], |spec| &spec.containers);
    let sum = containers.iter().fold(0_i64, |sum, it| sum.saturating_add(of(it)));
    let whole = of_pod(pod).and_then(|own| wanted(own, false, "memory")).map_or(0, Quantity::value);
    let count = i64::try_from(containers.len()).unwrap_or(i64::MAX).max(1);
    of(container).saturating_add(whole.saturating_sub(sum).max(0) / count)
}

/// A sidecar is killed no sooner than what it serves: it counts as the smallest app container does
/// where that asks for more.
fn least_of_apps(pod: &Pod, container: &Container) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let mut inits = spec.init_containers.iter().flatten();
    if !inits.any(|init| init.name == container.name && is_sidecar(init)) {
        return 0;
    }
    let requests = spec.containers.iter().map(|it| amount(it, false, "memory"));
    requests.map(|request| request.map_or(0, Quantity::value)).min().unwrap_or(0)
}

/// How willingly the kernel kills the container, by class and by its share of the memory.
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, memory_of_node: i64) -> i32 {
    match qos(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = memory_request(pod, container).max(least_of_apps(pod, container));
            let share = request.saturating_mul(1000) / memory_of_node.max(1);
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    }
}
