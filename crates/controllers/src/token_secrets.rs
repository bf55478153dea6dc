//! Secrets that ask for a token of a ServiceAccount: each is completed, kept so, and goes with its
//! account. The token itself is signed where the write is prepared, which has the key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources::{SECRETS, SERVICE_ACCOUNTS};
use coracle_api::token_secrets::{ACCOUNT_NAME, ACCOUNT_UID, account};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::json;

use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "tokens-controller",
    serial: false,
    watches: &[(SECRETS, itself), (SERVICE_ACCOUNTS, secrets_of_account)],
    decide,
};

fn secrets_of_account(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let Key { namespace, name, .. } = &event.key;
    let names = |secret: &Object| {
        secret.metadata().annotations.get(ACCOUNT_NAME).is_some_and(|known| **known == **name)
    };
    let secrets = snapshot.list(SECRETS, Some(namespace)).filter(|secret| names(secret));
    secrets.map(|secret| secret.key().clone()).collect()
}

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(secret) = snapshot.get(key).filter(|secret| !secret.metadata().is_deleting()) else {
        return plan;
    };
    if !secret.metadata().annotations.contains_key(ACCOUNT_NAME) {
        return plan;
    }
    let Some((name, uid)) = account(secret.value()) else { return plan };
    let owner = snapshot.find(SERVICE_ACCOUNTS, &key.namespace, name);
    let owner = owner.map(|account| account.metadata().uid.as_str());
    match owner.filter(|owner| uid.is_empty() || uid == *owner) {
        None => plan.write(Write::delete(secret)),
        Some(owner) => plan.write_each(complete(secret, owner, &context.config.ca_bundle)),
    }
    plan
}

/// The Secret with all that it lacks but the token; nothing when it lacks nothing.
fn complete(secret: &Object, owner: &str, ca_bundle: &str) -> Option<Write> {
    let mut value = secret.value().clone();
    json::map_at(&mut value, &["metadata", "annotations"]).insert(ACCOUNT_UID.into(), json!(owner));
    let namespace = &secret.metadata().namespace;
    for (field, text) in [("ca.crt", ca_bundle), ("namespace", namespace)] {
        json::set(&mut value, &["data", field], json!(STANDARD.encode(text)));
    }
    let lacks_token = value["data"]["token"].as_str().is_none_or(str::is_empty);
    (lacks_token || value != *secret.value()).then_some(Write::Update(value))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::world::World;

    const THIS: &[&str] = &["tokens-controller"];

    fn world() -> World {
        let mut world = World::new();
        world.create(json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "robot", "namespace": "default"}}));
        world
    }

    fn secret(account: &str, uid: Option<&str>) -> Value {
        let mut annotations = json!({ACCOUNT_NAME: account});
        if let Some(uid) = uid {
            annotations[ACCOUNT_UID] = json!(uid);
        }
        json!({"apiVersion": "v1", "kind": "Secret", "type": coracle_api::token_secrets::TYPE,
            "metadata": {"name": "token", "namespace": "default", "annotations": annotations},
            "data": {"token": "dA=="}})
    }

    #[test]
    fn it_is_completed_and_repaired() {
        let mut world = world();
        world.create(secret("robot", None));
        let uid = world.get(SERVICE_ACCOUNTS, "robot").metadata().uid.clone();
        for _ in 0..2 {
            world.settle(THIS);
            let found = world.get(SECRETS, "token");
            assert_eq!(found.metadata().annotations[ACCOUNT_UID], uid);
            assert_eq!(found.value()["data"]["namespace"], STANDARD.encode("default"));
            assert_eq!(found.value()["data"]["token"], "dA==");
            world.edit(SECRETS, "token", |secret| secret["data"]["namespace"] = json!("eA=="));
        }
    }

    #[test]
    fn it_goes_without_its_account_or_with_it() {
        let mut world = world();
        for stranger in [secret("nobody", None), secret("robot", Some("another"))] {
            world.create(stranger);
            world.settle(THIS);
            assert!(world.find(SECRETS, "token").is_none());
        }
        world.create(secret("robot", None));
        world.settle(THIS);
        assert!(world.find(SECRETS, "token").is_some());
        world.delete(SERVICE_ACCOUNTS, "robot", None);
        world.settle(THIS);
        assert!(world.find(SECRETS, "token").is_none());
    }
}
