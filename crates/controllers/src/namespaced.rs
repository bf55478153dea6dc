//! What every namespace has: the service account `default`, and the authority that pods verify the
//! API with.

use coracle_api::resources::{CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS as ACCOUNTS};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::json;

use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

/// The ConfigMap with the cluster's authority.
const ROOT_CA: &str = "kube-root-ca.crt";
/// Upstream's words.
const ROOT_CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the \
    kube-apiserver when using internal endpoints such as the internal service IP or \
    kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
    clusters.";

/// The row of the table for service accounts.
pub(crate) const SERVICE_ACCOUNTS: Controller = Controller {
    name: "service-account-controller",
    serial: false,
    watches: &[(NAMESPACES, itself), (ACCOUNTS, namespace_of_default)],
    decide: decide_service_account,
};

/// The row of the table for the authority.
pub(crate) const ROOT_CAS: Controller = Controller {
    name: "root-ca-certificate-publisher",
    serial: false,
    watches: &[(NAMESPACES, itself), (CONFIG_MAPS, namespace_of_root_ca)],
    decide: decide_root_ca,
};

fn namespace_of(event: &Event, name: &str) -> Vec<Key> {
    let concerned = *event.key.name == *name;
    concerned.then(|| Key::new(NAMESPACES, "", event.key.namespace.clone())).into_iter().collect()
}

fn namespace_of_default(event: &Event, _: &Snapshot) -> Vec<Key> {
    namespace_of(event, "default")
}

fn namespace_of_root_ca(event: &Event, _: &Snapshot) -> Vec<Key> {
    namespace_of(event, ROOT_CA)
}

/// A namespace that is not on its way out.
fn active<'a>(snapshot: &'a Snapshot, key: &Key) -> Option<&'a str> {
    let namespace = snapshot.get(key).filter(|namespace| !namespace.metadata().is_deleting())?;
    Some(&namespace.metadata().name)
}

fn decide_service_account(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    if let Some(namespace) = active(snapshot, key)
        && snapshot.find(ACCOUNTS, namespace, "default").is_none()
    {
        plan.write(Write::Create(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
        })));
    }
    plan
}

fn decide_root_ca(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(namespace) = active(snapshot, key) else { return plan };
    let data = json!({"ca.crt": context.config.ca_bundle});
    match snapshot.find(CONFIG_MAPS, namespace, ROOT_CA) {
        None => plan.write(Write::Create(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": ROOT_CA,
                "namespace": namespace,
                "annotations": {"kubernetes.io/description": ROOT_CA_DESCRIPTION},
            },
            "data": data,
        }))),
        Some(map) if differs(map, &data) => {
            plan.write(Write::Update(json::with(map, &["data"], data)));
        }
        Some(_) => {}
    }
    plan
}

fn differs(map: &Object, data: &serde_json::Value) -> bool {
    map.value()["data"] != *data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const BOTH: &[&str] = &["service-account-controller", "root-ca-certificate-publisher"];

    fn world() -> World {
        let mut world = World::new();
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"},
            "spec": {"finalizers": ["kubernetes"]},
        });
        world.create(namespace);
        world.settle(BOTH);
        world
    }

    #[test]
    fn a_namespace_gets_both_and_gets_them_back() {
        let mut world = world();
        assert_eq!(world.names("serviceaccounts"), ["default"]);
        world.delete("serviceaccounts", "default", None);
        world.edit("configmaps", ROOT_CA, |map| map["data"] = json!({}));
        world.settle(BOTH);
        assert_eq!(world.names("serviceaccounts"), ["default"]);
        let map = world.get("configmaps", ROOT_CA);
        assert_eq!(map.value()["data"]["ca.crt"], world.config.ca_bundle);
    }

    #[test]
    fn a_namespace_that_goes_gets_nothing_back() {
        let mut world = world();
        world.delete("namespaces", "default", None);
        world.delete("serviceaccounts", "default", None);
        world.settle(BOTH);
        assert_eq!(world.names("serviceaccounts"), [""; 0]);
    }
}
