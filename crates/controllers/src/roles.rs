//! ClusterRoles that are made of others: `aggregationRule` selects them by their labels.

use std::sync::Arc;

use coracle_api::resources::CLUSTER_ROLES as ROLES;
use coracle_api::{Key, Object, Selector};
use coracle_store::{Event, Snapshot};
use serde_json::Value;

use crate::plan::{Plan, Write};
use crate::table::Controller;
use crate::{Context, json};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "clusterrole-aggregation-controller",
    serial: false,
    watches: &[(ROLES, those_that_select)],
    decide,
};

/// The role itself and those that select it, or did before the write.
fn those_that_select(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let states: Vec<_> = event.old.iter().chain([&event.last]).collect();
    let is_concerned = |role: &&Arc<Object>| {
        *role.key() == event.key
            || selectors(role).any(|it| states.iter().any(|s| it.matches(&s.metadata().labels)))
    };
    snapshot.list(ROLES, None).filter(is_concerned).map(|role| role.key().clone()).collect()
}

fn selectors(role: &Object) -> impl Iterator<Item = Selector> {
    let selectors = role.value()["aggregationRule"]["clusterRoleSelectors"].as_array();
    // Validation has seen to it that they are some.
    selectors.into_iter().flatten().filter_map(|one| Selector::from_json(Some(one)).ok())
}

/// Gives the role at `key` the rules of all that it selects.
fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let Some(role) = snapshot.get(key).filter(|role| !role.metadata().is_deleting()) else {
        return Plan::default();
    };
    if role.value()["aggregationRule"].is_null() {
        return Plan::default();
    }
    let mut rules: Vec<&Value> = Vec::new();
    for selector in selectors(role) {
        let selected = snapshot
            .list(ROLES, None)
            .filter(|other| other.key() != key && selector.matches(&other.metadata().labels));
        for rule in selected.flat_map(|it| it.value()["rules"].as_array().into_iter().flatten()) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let have = role.value()["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_same = rules.len() == have.len() && rules.iter().all(|rule| have.contains(rule));
    let rules = || Value::Array(rules.iter().map(|rule| (*rule).clone()).collect());
    Plan::each((!is_same).then(|| Write::Update(json::with(role, &["rules"], rules()))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::World;

    const CONTROLLER: &[&str] = &["clusterrole-aggregation-controller"];

    fn part(name: &str, resource: &str) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name, "labels": {"to": "all"}},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}],
        })
    }

    #[test]
    fn a_role_has_the_rules_of_those_that_it_selects() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "all"}, "rules": [],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]},
        }));
        world.create(part("one", "pods"));
        world.create(part("two", "services"));
        world.settle(CONTROLLER);
        let resources = |world: &World| {
            let rules = world.get(ROLES, "all").value()["rules"].as_array().unwrap().clone();
            rules.iter().map(|rule| rule["resources"][0].clone()).collect::<Vec<_>>()
        };
        assert_eq!(resources(&world), [json!("pods"), json!("services")]);
        let revision = world.store.snapshot().revision();
        world.delete(ROLES, "one", None);
        world.settle(CONTROLLER);
        assert_eq!(resources(&world), [json!("services")]);
        assert_eq!(world.store.snapshot().revision(), revision + 2, "nothing is written twice");
    }
}
