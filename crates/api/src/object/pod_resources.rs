//! What a pod asks for, and what bounds it: all its containers together.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Quantity;

/// An amount of each resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// The quantities in a map of resources; what is no quantity is passed over.
pub fn amounts(resources: &Value) -> impl Iterator<Item = (String, Quantity)> {
    let all = resources.as_object().into_iter().flatten();
    all.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?)))
}

/// What a pod with this `spec` asks for: its containers together, or the most that is asked for
/// while it starts, beside the init containers that stay; what is asked for the whole pod stands
/// for what its containers ask. As upstream's `PodRequests`.
pub fn requests(spec: &Value) -> Amounts {
    requests_by(spec, |container| asked(container, "requests"))
}

/// What bounds a pod with this `spec`. As upstream's `PodLimits`.
pub fn limits(spec: &Value) -> Amounts {
    limits_by(spec, |container| asked(container, "limits"))
}

/// What a pod takes or will: while it is resized, the most of what it asks for, what it was
/// promised and what it has. As upstream's `PodRequests` with `UseStatusResources`.
pub fn requests_held(pod: &Value) -> Amounts {
    let held = Held::of(pod);
    requests_by(&pod["spec"], |container| held.amounts(container, "requests"))
}

/// What bounds a pod, likewise.
pub fn limits_held(pod: &Value) -> Amounts {
    let held = Held::of(pod);
    limits_by(&pod["spec"], |container| held.amounts(container, "limits"))
}

fn requests_by(spec: &Value, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut sum = together(spec, "requests", of);
    add(&mut sum, amounts(&spec["overhead"]));
    sum
}

fn limits_by(spec: &Value, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut sum = together(spec, "limits", of);
    let bounded: Vec<_> =
        amounts(&spec["overhead"]).filter(|(name, _)| sum.contains_key(name)).collect();
    add(&mut sum, bounded);
    sum
}

fn asked(container: &Value, part: &str) -> Amounts {
    amounts(&container["resources"][part]).collect()
}

/// What a pod's status says of its containers' resources.
struct Held<'a> {
    statuses: Vec<&'a Value>,
    /// What is asked for will not be given.
    is_infeasible: bool,
}

impl<'a> Held<'a> {
    fn of(pod: &'a Value) -> Self {
        let status = &pod["status"];
        let mut conditions = each(status, "conditions");
        Self {
            statuses: statuses(pod).collect(),
            is_infeasible: conditions
                .any(|it| it["type"] == RESIZE_PENDING && it["reason"] == INFEASIBLE),
        }
    }

    fn amounts(&self, container: &Value, part: &str) -> Amounts {
        let mut statuses = self.statuses.iter().filter(|it| it["name"] == container["name"]);
        let Some(status) = statuses.next().filter(|it| !it["resources"].is_null()) else {
            return asked(container, part);
        };
        let (wanted, has) = (&container["resources"][part], &status["resources"][part]);
        let promised = if part == "requests" { &status["allocatedResources"] } else { has };
        // Parsed only where they differ, which is seldom.
        if has == wanted && promised == wanted {
            return asked(container, part);
        }
        let mut most: Amounts = amounts(has).collect();
        raise(&mut most, &amounts(promised).collect());
        if !self.is_infeasible {
            raise(&mut most, &amounts(wanted).collect());
        }
        most
    }
}

/// What is told of the containers of a pod that are more than a visit: `status.containerStatuses` and
/// `status.initContainerStatuses`.
pub fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["containerStatuses", "initContainerStatuses"];
    lists.into_iter().flat_map(|list| each(&pod["status"], list))
}

/// The condition of a pod that is not resized yet.
pub const RESIZE_PENDING: &str = "PodResizePending";
/// Its reason where it never will be.
pub const INFEASIBLE: &str = "Infeasible";

/// Thousandths of `cpu`, and bytes of `memory`, that are assumed of a container that asks for none
/// when nodes are compared, so that pods that ask for nothing do not pile up on one. As upstream's.
const ASSUMED: [(&str, i64); 2] = [("cpu", 100), ("memory", 200 << 20)];

/// What is assumed of those containers of a pod with this `spec` that ask for nothing, beside what
/// is asked for: thousandths of `cpu`, bytes of `memory`.
pub fn assumed(spec: &Value) -> BTreeMap<&'static str, i64> {
    let stays = |init: &&Value| init["restartPolicy"] == "Always";
    let asks = |asking: &Value, name: &str| !asking["resources"]["requests"][name].is_null();
    let silent = |name: &str| {
        let init = each(spec, "initContainers").filter(stays);
        let all = each(spec, "containers").chain(init);
        if asks(spec, name) { 0 } else { all.filter(|one| !asks(one, name)).count() }
    };
    let assumed = |(name, amount): (&'static str, i64)| {
        let times = i64::try_from(silent(name)).unwrap_or(i64::MAX);
        (name, amount.saturating_mul(times))
    };
    ASSUMED.into_iter().map(assumed).collect()
}

fn together(spec: &Value, part: &str, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut running = Amounts::new();
    for container in each(spec, "containers") {
        add(&mut running, of(container));
    }
    let (mut staying, mut starting) = (Amounts::new(), Amounts::new());
    for init in each(spec, "initContainers") {
        let mut asked = of(init);
        if init["restartPolicy"] == "Always" {
            add(&mut staying, asked);
            raise(&mut starting, &staying);
        } else {
            add(&mut asked, staying.clone());
            raise(&mut starting, &asked);
        }
    }
    add(&mut running, staying);
    raise(&mut running, &starting);
    running.extend(amounts(&spec["resources"][part]));
    running
}

fn each<'a>(spec: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    spec[field].as_array().into_iter().flatten()
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: impl IntoIterator<Item = (String, Quantity)>) {
    for (name, amount) in more {
        let total = sum.get(&name).map_or(amount, |total| total.plus(amount));
        sum.insert(name, total);
    }
}

fn raise(least: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        if least.get(name).is_none_or(|total| total < amount) {
            least.insert(name.clone(), *amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(amounts: &Amounts) -> Vec<String> {
        amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    fn cpu(amount: &str) -> Value {
        json!({"resources": {"requests": {"cpu": amount}}})
    }

    #[test]
    fn init_containers_count_where_they_take_more_and_sidecars_always() {
        let mut sidecar = cpu("50m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = |init: &str| json!({"initContainers": [sidecar, cpu(init)], "containers": [cpu("100m"), cpu("100m")]});
        assert_eq!(shown(&requests(&spec("100m"))), ["cpu=250m"]);
        assert_eq!(shown(&requests(&spec("400m"))), ["cpu=450m"]);
    }

    #[test]
    fn a_pod_that_is_resized_takes_the_most_of_what_it_asks_has_and_was_promised() {
        let resources = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let pod = |spec: &str, has: &str, promised: &str, reason: &str| {
            json!({
                "spec": {"containers": [{"name": "c", "resources": resources(spec)}]},
                "status": {
                    "containerStatuses": [{"name": "c", "resources": resources(has),
                        "allocatedResources": {"cpu": promised}}],
                    "conditions": [{"type": RESIZE_PENDING, "reason": reason}],
                },
            })
        };
        for (spec, has, promised, reason, requests, limits) in [
            ("1", "1", "1", "", "cpu=1", "cpu=1"),
            ("1", "3", "2", "", "cpu=3", "cpu=3"),
            ("1", "2", "3", "", "cpu=3", "cpu=2"),
            ("4", "2", "3", "Deferred", "cpu=4", "cpu=4"),
            ("4", "2", "3", INFEASIBLE, "cpu=3", "cpu=2"),
        ] {
            let pod = pod(spec, has, promised, reason);
            assert_eq!(shown(&requests_held(&pod)), [requests], "{pod}");
            assert_eq!(shown(&limits_held(&pod)), [limits], "{pod}");
        }
    }

    #[test]
    fn something_is_assumed_of_containers_that_ask_for_nothing() {
        let asks = json!({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}});
        let spec = json!({"containers": [cpu("1"), asks, {}], "initContainers": [{}]});
        assert_eq!(assumed(&spec), BTreeMap::from([("cpu", 100), ("memory", 400 << 20)]));
        let spec = json!({"containers": [{}], "resources": {"requests": {"cpu": "1"}}});
        assert_eq!(assumed(&spec), BTreeMap::from([("cpu", 0), ("memory", 200 << 20)]));
    }

    #[test]
    fn what_the_pod_asks_stands_for_its_containers_and_the_overhead_is_added() {
        let spec = json!({
            "containers": [{"resources": {
                "requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}}}],
            "resources": {"requests": {"cpu": "500m"}},
            "overhead": {"cpu": "100m", "memory": "1Mi"},
        });
        assert_eq!(shown(&requests(&spec)), ["cpu=600m", "memory=1025Mi"]);
        assert_eq!(shown(&limits(&spec)), ["cpu=2100m"]);
    }
}
