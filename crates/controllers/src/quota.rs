//! ResourceQuotas: what their namespaces hold now, as the state adds it up.

use coracle_api::resources::RESOURCE_QUOTAS as QUOTAS;
use coracle_api::{Key, quota};
use coracle_store::{Event, Snapshot};
use serde_json::json;

use crate::plan::{Plan, Write};
use crate::table::{ANY, Controller};
use crate::{Context, json};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "resourcequota-controller",
    serial: false,
    watches: &[(ANY, quotas_of_namespace)],
    decide,
};

fn quotas_of_namespace(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    if event.key.namespace.is_empty() {
        return Vec::new();
    }
    let quotas = snapshot.list(QUOTAS, Some(&event.key.namespace));
    quotas.map(|quota| quota.key().clone()).collect()
}

/// Counts what the quota at `key` bounds.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(quota) = snapshot.get(key) else { return plan };
    let used = snapshot.quota_use(quota);
    let used = quota::shown(&used);
    let status = json!({"hard": quota.value()["spec"]["hard"], "used": used});
    if quota.value()["status"] != status {
        plan.write(Write::status(json::with(quota, &["status"], status)));
    }
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::world::World;

    const CONTROLLER: &[&str] = &["resourcequota-controller"];

    #[test]
    fn a_quota_shows_what_its_namespace_holds() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "q", "namespace": "default"},
            "spec": {"hard": {"configmaps": "5", "resourcequotas": "2"}},
        }));
        world.create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "default"},
        }));
        world.settle(CONTROLLER);
        let status = world.get("resourcequotas", "q").value()["status"].clone();
        let hard = json!({"configmaps": "5", "resourcequotas": "2"});
        // It counts itself.
        let used = json!({"configmaps": "1", "resourcequotas": "1"});
        assert_eq!(status, json!({"hard": hard, "used": used}));
    }
}
