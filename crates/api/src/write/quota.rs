//! ResourceQuotas: what objects take of what a quota bounds, and how much is taken together.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pod_resources::{self, Amounts, amounts};
use crate::pods::AnyPod;
use crate::resources::{
    CONFIG_MAPS, EVENTS, NEW_EVENTS, PERSISTENT_VOLUME_CLAIMS, PODS, REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS, SECRETS, SERVICES,
};
use crate::{Object, Quantity};

/// An amount of each resource that a quota can bound.
pub type Usage = Amounts;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether no quota counts objects of this GroupResource: there may be any number of Events.
pub fn is_unbounded(resource: &str) -> bool {
    matches!(resource, EVENTS | NEW_EVENTS)
}

/// Whether more of an object of this GroupResource counts than that it exists.
pub fn is_measured(resource: &str) -> bool {
    matches!(resource, PODS | PERSISTENT_VOLUME_CLAIMS | SERVICES)
}

/// What an object of `resource` takes.
pub fn usage(resource: &str, object: &Value) -> Usage {
    let one = Quantity::from_count(1);
    let mut usage = Usage::from([(format!("count/{resource}"), one)]);
    match resource {
        PODS if !object.has_ended() => {
            usage.insert(PODS.into(), one);
            usage.extend(pod_usage(object));
        }
        PERSISTENT_VOLUME_CLAIMS => usage.extend(claim_usage(object)),
        SERVICES => usage.extend(service_usage(object)),
        CONFIG_MAPS | SECRETS | REPLICATION_CONTROLLERS | RESOURCE_QUOTAS => {
            usage.insert(resource.into(), one);
        }
        _ => {}
    }
    usage
}

fn pod_usage(pod: &Value) -> Usage {
    let mut usage = Usage::new();
    for (name, amount) in pod_resources::requests_held(pod) {
        let is_plain = matches!(&*name, "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-");
        usage.insert(format!("requests.{name}"), amount);
        if is_plain {
            usage.insert(name, amount);
        }
    }
    let limits = pod_resources::limits_held(pod);
    usage.extend(limits.into_iter().map(|(name, amount)| (format!("limits.{name}"), amount)));
    usage
}

fn claim_usage(claim: &Value) -> Usage {
    let one = Quantity::from_count(1);
    let mut usage = Usage::from([(PERSISTENT_VOLUME_CLAIMS.to_owned(), one)]);
    let class = text(claim, "/spec/storageClassName");
    let of_class = |what: &str| {
        (!class.is_empty()).then(|| format!("{class}.storageclass.storage.k8s.io/{what}"))
    };
    usage.extend(of_class(PERSISTENT_VOLUME_CLAIMS).map(|name| (name, one)));
    if let Ok(asked) = Quantity::from_json(&claim["spec"]["resources"]["requests"]["storage"]) {
        usage.insert("requests.storage".into(), asked);
        usage.extend(of_class("requests.storage").map(|name| (name, asked)));
    }
    usage
}

fn service_usage(service: &Value) -> Usage {
    let one = Quantity::from_count(1);
    let mut usage = Usage::from([(SERVICES.to_owned(), one)]);
    let ports = service["spec"]["ports"].as_array().map_or(&[][..], |ports| ports);
    let count = |ports: usize| Quantity::from_count(i64::try_from(ports).unwrap_or(i64::MAX));
    let balanced = text(service, "/spec/type") == "LoadBalancer";
    if balanced {
        usage.insert("services.loadbalancers".into(), one);
    }
    if balanced && service["spec"]["allocateLoadBalancerNodePorts"] == false {
        let asked = ports.iter().filter(|port| port["nodePort"].as_u64().unwrap_or(0) > 0);
        usage.insert("services.nodeports".into(), count(asked.count()));
    } else if balanced || text(service, "/spec/type") == "NodePort" {
        usage.insert("services.nodeports".into(), count(ports.len()));
    }
    usage
}

/// What tells the pods of a namespace apart for quotas with scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scopes {
    is_pod: bool,
    best_effort: bool,
    terminating: bool,
    /// Its affinity is about pods of other namespaces.
    crosses_namespaces: bool,
    priority_class: String,
}

impl Scopes {
    /// Those of an object of `resource`; only pods have any.
    pub fn of(resource: &str, object: &Value) -> Self {
        if resource != PODS {
            return Self::default();
        }
        let spec = &object["spec"];
        let asks = |part: fn(&Value) -> Amounts| {
            part(spec).iter().any(|(name, amount)| {
                matches!(name.as_str(), "cpu" | "memory") && amount.signum() > 0
            })
        };
        Self {
            is_pod: true,
            best_effort: !asks(pod_resources::requests) && !asks(pod_resources::limits),
            terminating: spec["activeDeadlineSeconds"].is_i64(),
            crosses_namespaces: crosses_namespaces(&spec["affinity"]),
            priority_class: text(spec, "/priorityClassName").to_owned(),
        }
    }

    fn has(&self, scope: &str, operator: &str, values: &[String]) -> bool {
        match scope {
            "BestEffort" => self.best_effort,
            "NotBestEffort" => !self.best_effort,
            "Terminating" => self.terminating,
            "NotTerminating" => !self.terminating,
            "CrossNamespacePodAffinity" => self.crosses_namespaces,
            "PriorityClass" => match operator {
                "In" => values.contains(&self.priority_class),
                "NotIn" => !values.contains(&self.priority_class),
                "DoesNotExist" => self.priority_class.is_empty(),
                _ => !self.priority_class.is_empty(),
            },
            _ => false,
        }
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let rules = &affinity[*kind];
        let required = items(&rules["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = items(&rules["preferredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = preferred.into_iter().map(|term| term["podAffinityTerm"].clone());
        required.into_iter().chain(preferred).any(|term| {
            !items(&term["namespaces"]).is_empty() || !term["namespaceSelector"].is_null()
        })
    })
}

/// What a quota bounds, parsed once a version.
pub struct Bounds {
    /// How much there may be of each resource.
    pub hard: Usage,
    /// Scope, operator and values: all must hold.
    scopes: Vec<(String, String, Vec<String>)>,
}

impl Bounds {
    /// Those of the ResourceQuota `quota`.
    pub fn of(quota: &Object) -> std::sync::Arc<Self> {
        quota.memo(|| Self::parse(quota.value()))
    }

    fn parse(quota: &Value) -> Self {
        let spec = &quota["spec"];
        let plain = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let plain = plain.map(|scope| (scope.to_owned(), "Exists".to_owned(), Vec::new()));
        let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
        let selected = selected.map(|term| {
            let values = term["values"].as_array().into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned);
            let word = |pointer| text(term, pointer).to_owned();
            (word("/scopeName"), word("/operator"), values.collect())
        });
        let scopes = plain.chain(selected).collect();
        Self { hard: amounts(&spec["hard"]).collect(), scopes }
    }

    /// Whether the quota is about objects with these scopes.
    pub fn covers(&self, object: &Scopes) -> bool {
        let has = |(scope, operator, values): &(String, String, Vec<String>)| {
            object.has(scope, operator, values)
        };
        self.scopes.is_empty() || (object.is_pod && self.scopes.iter().all(has))
    }

    /// What is taken of each bounded resource by groups that take these amounts.
    pub fn used<'a>(&self, groups: impl Iterator<Item = (&'a Scopes, Usage)>) -> Usage {
        let mut used: Usage =
            self.hard.keys().map(|name| (name.clone(), Quantity::from_count(0))).collect();
        for (_, taken) in groups.filter(|(scopes, _)| self.covers(scopes)) {
            for (name, amount) in taken {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = sum.plus(amount);
                }
            }
        }
        used
    }
}

/// `used` as the status of a quota shows it.
pub fn shown(used: &Usage) -> BTreeMap<&String, String> {
    used.iter().map(|(name, amount)| (name, amount.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(bounds: &Bounds, pods: &[Value]) -> Vec<String> {
        let groups: Vec<_> =
            pods.iter().map(|pod| (Scopes::of("pods", pod), usage("pods", pod))).collect();
        let used = bounds.used(groups.iter().map(|(scopes, usage)| (scopes, usage.clone())));
        used.iter().map(|(name, sum)| format!("{name}={sum}")).collect()
    }

    fn pod(phase: &str, more: Value) -> Value {
        let mut spec = json!({
            "initContainers": [{"resources": {"requests": {"cpu": "300m"}}}],
            "containers": [
                {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
                {"resources": {"requests": {"cpu": "100m"}}},
            ],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        json!({"status": {"phase": phase}, "spec": spec})
    }

    #[test]
    fn pods_that_are_over_take_nothing() {
        let hard = json!({"pods": "9", "requests.cpu": "9", "requests.memory": "9Gi"});
        let bounds = Bounds::parse(&json!({"spec": {"hard": hard}}));
        let (running, over) = (pod("Running", json!({})), pod("Succeeded", json!({})));
        let used = taken(&bounds, &[running.clone(), over, running]);
        assert_eq!(used, ["pods=2", "requests.cpu=600m", "requests.memory=2Gi"]);
    }

    #[test]
    fn a_quota_with_scopes_counts_the_pods_that_are_in_them() {
        let quota = |scope: &str| {
            Bounds::parse(&json!({"spec": {"hard": {"pods": "9"}, "scopes": [scope]}}))
        };
        let term = json!({"namespaces": ["x"], "topologyKey": "k"});
        let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
        let pods = [
            pod("", json!({"activeDeadlineSeconds": 5})),
            pod("", json!({"affinity": {"podAntiAffinity": rules}})),
            json!({"spec": {"containers": [{}], "resources": {"requests": {"cpu": "1"}}}}),
            json!({"spec": {"containers": [{}]}}),
        ];
        for (scope, count) in [
            ("Terminating", 1),
            ("NotTerminating", 3),
            ("BestEffort", 1),
            ("NotBestEffort", 3),
            ("CrossNamespacePodAffinity", 1),
            ("Later", 0),
        ] {
            assert_eq!(taken(&quota(scope), &pods), [format!("pods={count}")], "{scope}");
        }
    }

    #[test]
    fn a_balanced_service_without_node_ports_takes_none() {
        let spec = json!({"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]});
        let ports = |spec: &Value| {
            usage("services", &json!({"spec": spec}))["services.nodeports"].to_string()
        };
        let mut without = spec.clone();
        without["allocateLoadBalancerNodePorts"] = json!(false);
        assert_eq!((ports(&spec), ports(&without)), ("2".to_owned(), "0".to_owned()));
    }
}
