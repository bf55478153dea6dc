//! APIServices of what the cluster serves itself, as upstream registers them
//! (`kube-aggregator/pkg/controllers/autoregister`, `controlplane/controller/crdregistration`): those
//! of built-in group versions at every start, those of definitions for as long as one serves them.

use coracle_api::kinds::{Group, Kinds};
use coracle_api::resources::{API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::Context;
use crate::json::with;
use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "apiservice-registration-controller",
    serial: false,
    watches: &[(DEFINITIONS, its_versions), (API_SERVICES, itself)],
    decide,
};

/// A label that says who looks after an APIService: nobody, when it is missing.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// We do at every start; what becomes of it then is its user's.
const ON_START: &str = "onstart";
/// We do, always.
const ALWAYS: &str = "true";

/// `groupPriorityMinimum` of built-in groups. A group that is not here is not registered: that of the
/// APIServices, which nobody can take away, and the figures, which a metrics server may register.
const GROUPS: &[(&str, i64)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("storagemigration.k8s.io", 15_800),
];
/// Both priorities of what definitions bring.
const OF_DEFINITIONS: (i64, i64) = (1000, 100);

/// `versionPriority` of a built-in version.
fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", _) => 21,
        (_, version) if version.contains("alpha") || version.contains("beta") => 9,
        _ => 15,
    }
}

/// The plan that registers what is built in: what is missing is made, what was changed since the
/// last start is put right, and what is not built in any more goes.
pub fn at_start(snapshot: &Snapshot, kinds: &Kinds) -> Plan {
    let mut plan = Plan::default();
    let wanted: Vec<Value> = kinds.groups().iter().flat_map(built_in).collect();
    for value in &wanted {
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        match snapshot.find(API_SERVICES, "", name) {
            None => plan.write(Write::Create(value.clone())),
            Some(stored) if is_managed(stored, ON_START) => {
                plan.write_each(corrected(stored, value));
            }
            Some(_) => {}
        }
    }
    let is_left = |object: &&std::sync::Arc<Object>| {
        let name = &object.metadata().name;
        is_managed(object, ON_START)
            && !wanted.iter().any(|value| value["metadata"]["name"] == **name)
    };
    let left = snapshot.list(API_SERVICES, None).filter(is_left);
    plan.write_each(left.map(|object| Write::delete(object)));
    plan
}

/// The APIServices of a group, as far as it is compiled in.
fn built_in(group: &Group) -> Vec<Value> {
    let Some((_, priority)) = GROUPS.iter().find(|(name, _)| *name == group.name) else {
        return Vec::new();
    };
    let own = group.versions.iter().filter(|version| {
        let mut kinds = version.kinds.iter();
        kinds.any(|kind| kind.types.is_none() && kind.definition.is_none())
    });
    own.map(|version| {
        let priorities = (*priority, version_priority(&group.name, &version.name));
        service(&group.name, &version.name, priorities, ON_START)
    })
    .collect()
}

/// A local APIService; `priorities` are the group's and the version's.
fn service(group: &str, version: &str, priorities: (i64, i64), managed: &str) -> Value {
    let mut spec = json!({
        "version": version,
        "groupPriorityMinimum": priorities.0,
        "versionPriority": priorities.1,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
        "spec": spec,
    })
}

fn is_managed(object: &Object, how: &str) -> bool {
    object.metadata().labels.get(MANAGED).is_some_and(|label| label == how)
}

/// The write that gives a stored APIService the spec that it should have, unless it has it.
fn corrected(stored: &Object, wanted: &Value) -> Option<Write> {
    let is_right = stored.value()["spec"] == wanted["spec"];
    (!is_right).then(|| Write::Update(with(stored, &["spec"], wanted["spec"].clone())))
}

/// The APIServices of all versions that a definition has, or had.
fn its_versions(event: &Event, _: &Snapshot) -> Vec<Key> {
    let states = event.old.iter().chain([&event.last]);
    let mut keys: Vec<Key> = states.flat_map(|definition| names(definition)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn names(definition: &Object) -> Vec<Key> {
    let spec = &definition.value()["spec"];
    let group = spec["group"].as_str().unwrap_or_default();
    let versions = spec["versions"].as_array().into_iter().flatten();
    let names = versions.filter_map(|version| version["name"].as_str());
    names.map(|version| Key::new(API_SERVICES, "", format!("{version}.{group}"))).collect()
}

/// Whether some definition serves this version of this group.
fn is_served(snapshot: &Snapshot, group: &str, version: &str) -> bool {
    snapshot.list(DEFINITIONS, None).any(|definition| {
        let spec = &definition.value()["spec"];
        let mut versions = spec["versions"].as_array().into_iter().flatten();
        spec["group"] == *group
            && versions.any(|known| known["name"] == *version && known["served"] == true)
    })
}

/// Registers the group version that `key` names while a definition serves it; one that a user
/// registered is left alone.
fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let Some((version, group)) = key.name.split_once('.') else { return Plan::default() };
    let stored = snapshot.get(key);
    if stored.is_some_and(|stored| !is_managed(stored, ALWAYS)) {
        return Plan::default();
    }
    if !is_served(snapshot, group, version) {
        return Plan::each(stored.map(|stored| Write::delete(stored)));
    }
    let wanted = service(group, version, OF_DEFINITIONS, ALWAYS);
    Plan::each(match stored {
        None => Some(Write::Create(wanted)),
        Some(stored) => corrected(stored, &wanted),
    })
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;
    use crate::world::World;

    const CONTROLLERS: &[&str] = &["apiservice-registration-controller"];

    fn definition(versions: &[(&str, bool)]) -> Value {
        let versions: Vec<Value> =
            versions.iter().map(|(name, served)| json!({"name": name, "served": served})).collect();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "boats.example.com"},
            "spec": {"group": "example.com", "versions": versions},
        })
    }

    #[test]
    fn priorities_give_the_order_of_the_rows() {
        let kinds = Kinds::builtin();
        let of = |group: &Group| {
            let known = GROUPS.iter().find(|(name, _)| *name == group.name);
            known.map(|(name, priority)| (Reverse(*priority), *name))
        };
        let all: Vec<_> = kinds.groups().iter().filter_map(of).collect();
        assert!(all.is_sorted(), "{all:?}");
        let others = kinds.groups().iter().filter(|group| of(group).is_none());
        let others: Vec<_> = others.map(|group| group.name.as_ref()).collect();
        assert_eq!(others, ["apiregistration.k8s.io", "metrics.k8s.io"]);
    }

    #[test]
    fn what_is_built_in_is_registered_at_a_start_and_left_alone_after_it() {
        let mut world = World::new();
        let kinds = Kinds::builtin();
        let plan = at_start(&world.store.snapshot(), &kinds);
        world.carry_out(&plan);
        let apps = world.get(API_SERVICES, "v1.apps");
        assert_eq!(apps.metadata().labels[MANAGED], "onstart");
        let spec = json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17_800,
            "versionPriority": 15});
        assert_eq!(apps.value()["spec"], spec);
        assert!(world.find(API_SERVICES, "v1.").is_some());
        assert!(at_start(&world.store.snapshot(), &kinds).writes_nothing());

        world.delete(API_SERVICES, "v1.batch", None);
        world.edit(API_SERVICES, "v1.apps", |apps| apps["spec"]["versionPriority"] = json!(1));
        world.create(service("gone.example.com", "v1", (1, 1), ON_START));
        world.settle(CONTROLLERS);
        assert!(world.find(API_SERVICES, "v1.batch").is_none());
        let plan = at_start(&world.store.snapshot(), &kinds);
        assert_eq!(plan.writes().count(), 3);
        world.carry_out(&plan);
        assert_eq!(world.get(API_SERVICES, "v1.apps").value()["spec"], spec);
        assert!(world.find(API_SERVICES, "v1.gone.example.com").is_none());
    }

    #[test]
    fn what_definitions_serve_is_registered_while_they_do() {
        let mut world = World::new();
        world.create(definition(&[("v1", true), ("v1alpha1", false)]));
        world.settle(CONTROLLERS);
        assert_eq!(world.names(API_SERVICES), ["v1.example.com"]);
        world.delete(API_SERVICES, "v1.example.com", None);
        world.settle(CONTROLLERS);
        world.edit(API_SERVICES, "v1.example.com", |service| {
            service["spec"]["versionPriority"] = json!(7);
        });
        world.settle(CONTROLLERS);
        let spec = &world.get(API_SERVICES, "v1.example.com").value()["spec"].clone();
        assert_eq!(
            (&spec["groupPriorityMinimum"], &spec["versionPriority"]),
            (&json!(1000), &json!(100))
        );
        world.edit(DEFINITIONS, "boats.example.com", |boats| {
            boats["spec"] = definition(&[("v2", true)])["spec"].clone();
        });
        world.settle(CONTROLLERS);
        assert_eq!(world.names(API_SERVICES), ["v2.example.com"]);
        // What a user says of it is his.
        world.edit(API_SERVICES, "v2.example.com", |service| {
            service["metadata"]["labels"] = json!({});
        });
        world.delete(DEFINITIONS, "boats.example.com", None);
        world.settle(CONTROLLERS);
        assert_eq!(world.names(API_SERVICES), ["v2.example.com"]);
    }
}
