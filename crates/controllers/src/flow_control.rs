//! Priority levels and flow schemas: those that a cluster begins with, and whether a schema's level
//! exists. The objects are upstream's (`apis/flowcontrol/bootstrap`).

use coracle_api::Key;
use coracle_api::resources::{
    CONFIG_MAPS, ENDPOINTS, FLOW_SCHEMAS, NODES, PRIORITY_LEVEL_CONFIGURATIONS,
};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::Context;
use crate::plan::Plan;
use crate::table::{Controller, itself};
use crate::workload::conditions::{self, Condition};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// Whose spec follows the version of the program, as long as it is `true`.
const FOLLOWS: &str = "apf.kubernetes.io/autoupdate-spec";

/// The row of the table for what flow schemas say of their levels.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "api-priority-and-fairness-config-consumer",
    serial: false,
    watches: &[(FLOW_SCHEMAS, itself), (PRIORITY_LEVEL_CONFIGURATIONS, schemas_of_level)],
    decide,
};

/// A level that comes or goes is news to the schemas that name it.
fn schemas_of_level(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    if event.old.is_some() && event.new.is_some() {
        return Vec::new();
    }
    let schemas = snapshot.list(FLOW_SCHEMAS, None);
    let names = schemas.filter(|schema| level(schema.value()) == &*event.key.name);
    names.map(|schema| schema.key().clone()).collect()
}

fn level(schema: &Value) -> &str {
    let name = schema.pointer("/spec/priorityLevelConfiguration/name").and_then(Value::as_str);
    name.unwrap_or_default()
}

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let schema = snapshot.get(key).filter(|schema| !schema.metadata().is_deleting());
    let Some(schema) = schema else { return Plan::default() };
    let level = level(schema.value());
    let refers =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let dangling = match snapshot.find(PRIORITY_LEVEL_CONFIGURATIONS, "", level) {
        Some(_) => Condition::new("Dangling", "False", "Found", format!("{refers} and it exists")),
        None => {
            let message = format!("{refers} but there is no such object");
            Condition::new("Dangling", "True", "NotFound", message)
        }
    };
    Plan::each(conditions::told(schema, dangling.value(), context.now))
}

/// What a cluster begins with; what is deleted of it is made again.
pub(crate) fn objects() -> impl Iterator<Item = Value> {
    LEVELS.iter().map(Level::object).chain(schemas())
}

/// Whether an object's spec is ours to say, and not its owner's.
pub(crate) fn follows(object: &Value) -> bool {
    let is_fixed = ["exempt", "catch-all"].iter().any(|name| object["metadata"]["name"] == *name);
    is_fixed || object["metadata"]["annotations"][FOLLOWS] == "true"
}

struct Level {
    name: &'static str,
    shares: u32,
    lendable_percent: u32,
    /// Queues, and how many of them a flow is dealt.
    queues: Option<(u32, u32)>,
}

const LEVELS: [Level; 8] = [
    level_of("exempt", 0, 0, None),
    level_of("catch-all", 5, 0, None),
    level_of("system", 30, 33, Some((64, 6))),
    level_of("node-high", 40, 25, Some((64, 6))),
    level_of("leader-election", 10, 0, Some((16, 4))),
    level_of("workload-high", 40, 50, Some((128, 6))),
    level_of("workload-low", 100, 90, Some((128, 6))),
    level_of("global-default", 20, 50, Some((128, 6))),
];

const fn level_of(
    name: &'static str,
    shares: u32,
    lendable_percent: u32,
    queues: Option<(u32, u32)>,
) -> Level {
    Level { name, shares, lendable_percent, queues }
}

impl Level {
    fn object(&self) -> Value {
        let mut of_level = json!({
            "nominalConcurrencyShares": self.shares, "lendablePercent": self.lendable_percent,
        });
        let spec = if self.name == "exempt" {
            json!({"type": "Exempt", "exempt": of_level})
        } else {
            of_level["limitResponse"] = match self.queues {
                None => json!({"type": "Reject"}),
                Some((queues, hand)) => json!({
                    "type": "Queue",
                    "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
                }),
            };
            json!({"type": "Limited", "limited": of_level})
        };
        object("PriorityLevelConfiguration", self.name, spec)
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "annotations": {FOLLOWS: "true"}});
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

/// Name, level, precedence, by what flows differ, whose requests, which ones.
type Schema = (&'static str, &'static str, u32, Option<&'static str>, Vec<Value>, Value);

fn schemas() -> impl Iterator<Item = Value> {
    let anybody = || groups(&["system:unauthenticated", "system:authenticated"]);
    let nodes = || groups(&["system:nodes"]);
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let in_system = || vec![account_of_system()];
    let leaders = || [user(manager), user(scheduler), account_of_system()].into();
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let rows: Vec<Schema> = vec![
        ("exempt", "exempt", 1, None, groups(&["system:masters"]), everything()),
        ("probes", "exempt", 2, None, anybody(), probes()),
        (
            "system-leader-election",
            "leader-election",
            100,
            by_user,
            leaders(),
            locks("kube-system"),
        ),
        ("workload-leader-election", "leader-election", 200, by_user, in_system(), locks("*")),
        ("system-node-high", "node-high", 400, by_user, nodes(), signs_of_life()),
        ("system-nodes", "system", 500, by_user, nodes(), everything()),
        (
            "kube-controller-manager",
            "workload-high",
            800,
            by_namespace,
            vec![user(manager)],
            everything(),
        ),
        ("kube-scheduler", "workload-high", 800, by_namespace, vec![user(scheduler)], everything()),
        (
            "kube-system-service-accounts",
            "workload-high",
            900,
            by_namespace,
            in_system(),
            everything(),
        ),
        (
            "service-accounts",
            "workload-low",
            9000,
            by_user,
            groups(&["system:serviceaccounts"]),
            everything(),
        ),
        ("global-default", "global-default", 9900, by_user, anybody(), everything()),
        ("catch-all", "catch-all", 10_000, by_user, anybody(), everything()),
    ];
    rows.into_iter().map(|(name, level, precedence, by, subjects, mut rule)| {
        rule["subjects"] = Value::from(subjects);
        let mut spec = json!({
            "matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": level},
            "rules": [rule],
        });
        if let Some(by) = by {
            spec["distinguisherMethod"] = json!({"type": by});
        }
        object("FlowSchema", name, spec)
    })
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account_of_system() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
}

fn everything() -> Value {
    json!({
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
            "clusterScope": true,
        }],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn probes() -> Value {
    let paths = ["/healthz", "/readyz", "/livez"];
    json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": paths}]})
}

fn locks(namespace: &str) -> Value {
    let verbs = ["get", "create", "update"];
    json!({"resourceRules": [
        {"verbs": verbs, "apiGroups": [""], "resources": [ENDPOINTS, CONFIG_MAPS],
         "namespaces": [namespace]},
        leases(&verbs),
    ]})
}

fn leases(verbs: &[&str]) -> Value {
    let group = "coordination.k8s.io";
    json!({"verbs": verbs, "apiGroups": [group], "resources": ["leases"], "namespaces": ["*"]})
}

fn signs_of_life() -> Value {
    json!({"resourceRules": [
        {"verbs": ["*"], "apiGroups": [""], "resources": [NODES, format!("{NODES}/status")],
         "namespaces": ["*"], "clusterScope": true},
        leases(&["*"]),
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const CONSUMER: &[&str] = &["api-priority-and-fairness-config-consumer"];

    #[test]
    fn a_schema_says_whether_its_level_exists() {
        let mut world = World::new();
        objects().for_each(|value| drop(world.create(value)));
        world.settle(CONSUMER);
        let dangling = |world: &World, name: &str| {
            let schema = world.get(FLOW_SCHEMAS, name);
            let condition = &schema.value()["status"]["conditions"][0];
            (condition["status"].clone(), condition["message"].as_str().unwrap().to_owned())
        };
        let (status, message) = dangling(&world, "probes");
        assert_eq!(status, "False");
        assert!(message.ends_with("named \"exempt\" and it exists"), "{message}");
        world.delete(PRIORITY_LEVEL_CONFIGURATIONS, "workload-low", None);
        world.settle(CONSUMER);
        assert_eq!(dangling(&world, "service-accounts").0, "True");
        world.create(LEVELS[6].object());
        world.settle(CONSUMER);
        assert_eq!(dangling(&world, "service-accounts").0, "False");
    }
}
