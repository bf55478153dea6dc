//! Whom other API servers may trust that run in the cluster: the authorities of clients, and of the
//! API when it speaks for them. They read it in a ConfigMap, as upstream's controller
//! `clusterauthenticationtrust` writes it.

use coracle_api::Key;
use coracle_api::resources::{CONFIG_MAPS, NAMESPACES};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::plan::{Plan, Write};
use crate::table::Controller;
use crate::{Config, Context, json};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "cluster-authentication-trust-controller",
    serial: false,
    watches: &[(NAMESPACES, of_namespace), (CONFIG_MAPS, itself)],
    decide,
};

fn of_namespace(event: &Event, _: &Snapshot) -> Vec<Key> {
    let is_it = *event.key.name == *NAMESPACE;
    is_it.then(|| Key::new(CONFIG_MAPS, NAMESPACE, NAME)).into_iter().collect()
}

fn itself(event: &Event, _: &Snapshot) -> Vec<Key> {
    let is_it = *event.key.name == *NAME && *event.key.namespace == *NAMESPACE;
    is_it.then(|| event.key.clone()).into_iter().collect()
}

/// What the ConfigMap says: lists are JSON.
fn wanted(config: &Config) -> [(&'static str, &str); 7] {
    [
        ("client-ca-file", config.ca_bundle.as_str()),
        ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
        ("requestheader-client-ca-file", config.front_proxy_ca.as_str()),
        ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
    ]
}

/// Makes the ConfigMap, or puts right in it what is ours; what others wrote beside it stays.
fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let namespace = snapshot.find(NAMESPACES, "", NAMESPACE);
    if namespace.is_none_or(|namespace| namespace.metadata().is_deleting()) {
        return Plan::default();
    }
    let mut data = snapshot.get(key).map_or(json!({}), |map| map.value()["data"].clone());
    for (name, text) in wanted(context.config) {
        data[name] = text.into();
    }
    Plan::each(match snapshot.get(key) {
        None => Some(Write::Create(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": data,
        }))),
        Some(map) if map.value()["data"] != data => {
            let value: Value = json::with(map, &["data"], data);
            Some(Write::Update(value))
        }
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn the_authorities_are_told_and_told_again() {
        let mut world = World::new();
        let controllers = &["cluster-authentication-trust-controller"];
        world.create(json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "kube-system"}}));
        world.settle(controllers);
        let data = |world: &World| {
            let snapshot = world.store.snapshot();
            snapshot.find(CONFIG_MAPS, NAMESPACE, NAME).unwrap().value()["data"].clone()
        };
        let first = data(&world);
        assert_eq!(first["requestheader-client-ca-file"], world.config.front_proxy_ca);
        assert_eq!(first["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        let snapshot = world.store.snapshot();
        let mut other = snapshot.find(CONFIG_MAPS, NAMESPACE, NAME).unwrap().value().clone();
        other["data"] = json!({"client-ca-file": "somebody's", "own": "stays"});
        world.replace(other);
        world.settle(controllers);
        let again = data(&world);
        assert_eq!(again["own"], "stays");
        assert_eq!(again["client-ca-file"], first["client-ca-file"]);
    }
}
