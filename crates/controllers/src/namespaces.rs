//! The end of a namespace: its content goes, pods first, then the namespace itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::conditions;
use coracle_api::resources::{NAMESPACES, PODS};
use coracle_api::{Index, Key, Object, Subresource, Timestamp};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::plan::{Because, DeleteOptions, Plan, Propagation, Write};
use crate::table::{ANY, Controller};
use crate::{Context, json};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "namespace-controller",
    serial: false,
    watches: &[(ANY, concerned)],
    decide,
};

/// In `spec.finalizers` of a namespace: content may be left.
const FINALIZER: &str = "kubernetes";
/// Deletions in one plan.
const DELETIONS_MAX: usize = 200;

/// A namespace that goes, and whatever happens in one.
fn concerned(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let key = match (&*event.key.resource, &*event.key.namespace) {
        (NAMESPACES, _) => event.key.clone(),
        (_, "") => return Vec::new(),
        (_, namespace) => Key::new(NAMESPACES, "", namespace),
    };
    let goes = snapshot.get(&key).is_some_and(|namespace| namespace.metadata().is_deleting());
    if goes { vec![key] } else { Vec::new() }
}

/// Empties and then releases the namespace at `key`, if it is being deleted.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(namespace) = snapshot.get(key).filter(|n| n.metadata().is_deleting()) else {
        return Plan::default();
    };
    let name = &namespace.metadata().name;
    let Some(first) = snapshot.in_namespace(name).next() else {
        return release(namespace, context.now);
    };
    let pods_left = snapshot.list(PODS, Some(name)).next().is_some();
    let mut plan = Plan::default();
    // Pods first: what they use must not go before they do.
    if pods_left {
        let pods = snapshot.indexed(Index::Staying, name, PODS, Some(name));
        plan.write_each(pods.take(DELETIONS_MAX).map(|object| delete(object)));
    } else {
        let all = snapshot.with_term(Index::Staying, name);
        plan.write_each(all.take(DELETIONS_MAX).map(|object| delete(object)));
    }
    plan.because = Some(first).map(|object| {
        let key = object.key();
        Because::of(key.clone(), format!("{} {} is still there", key.resource, key.name))
    });
    if plan.writes_nothing() {
        let content: Vec<_> = snapshot.in_namespace(name).collect();
        plan.write_each(report(namespace, &content, context.now));
    }
    plan
}

fn delete(object: &Object) -> Write {
    let propagation = Some(Propagation::Background);
    let options = DeleteOptions { propagation, ..DeleteOptions::default() };
    Write::Delete {
        key: object.key().clone(),
        uid: object.metadata().uid.clone(),
        resource_version: None,
        options,
    }
}

/// Nothing is left in the namespace; others may still hold it.
fn release(namespace: &Object, now: Timestamp) -> Plan {
    let finalizers = namespace.value()["spec"]["finalizers"].as_array();
    let left: Vec<_> =
        finalizers.into_iter().flatten().filter(|name| **name != FINALIZER).cloned().collect();
    let of_others = left.iter().filter_map(Value::as_str);
    let holder = of_others.chain(namespace.metadata().finalizers.iter().map(String::as_str)).next();
    if let Some(holder) = holder {
        let why = format!("its finalizer {holder} is not removed: that is for whoever set it");
        let told = report(namespace, &[], now);
        if told.is_some() {
            return Plan { because: Some(Because::only(why)), ..Plan::each(told) };
        }
        if finalizers.is_none_or(|all| all.len() == left.len()) {
            return Plan { because: Some(Because::only(why)), ..Plan::default() };
        }
    }
    if finalizers.is_none_or(|all| all.len() == left.len()) {
        return Plan::default();
    }
    let value = json::with(namespace, &["spec", "finalizers"], Value::Array(left));
    Plan::each([Write::UpdateSubresource(Subresource::Finalize, value)])
}

/// What holds the namespace up, in its conditions.
fn report(namespace: &Object, content: &[&Arc<Object>], now: Timestamp) -> Option<Write> {
    let mut resources: BTreeMap<&str, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for object in content {
        *resources.entry(&object.key().resource).or_default() += 1;
        for finalizer in &object.metadata().finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let remaining =
        list(&resources, |resource, n| format!("{resource}. has {n} resource instances"));
    let held = list(&finalizers, |name, n| format!("{name} in {n} resource instances"));
    let mut conditions = vec![
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        match content.is_empty() {
            true => (
                "NamespaceContentRemaining",
                "False",
                "ContentRemoved",
                "All content successfully removed".to_owned(),
            ),
            false => (
                "NamespaceContentRemaining",
                "True",
                "SomeResourcesRemain",
                format!("Some resources are remaining: {remaining}"),
            ),
        },
    ];
    conditions.push(match held.is_empty() {
        true => (
            "NamespaceFinalizersRemaining",
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        ),
        false => (
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {held}"),
        ),
    });
    let old = conditions::all(namespace.value());
    let conditions = conditions.into_iter().map(|(kind, status, reason, message)| {
        let new = json!({"type": kind, "status": status, "reason": reason, "message": message});
        conditions::dated(old, new, &crate::rfc3339(now))
    });
    let status = json!({"phase": "Terminating", "conditions": conditions.collect::<Vec<_>>()});
    let is_new = namespace.value()["status"] != status;
    is_new.then(|| Write::status(json::with(namespace, &["status"], status)))
}

fn list(counts: &BTreeMap<&str, usize>, say: impl Fn(&str, usize) -> String) -> String {
    let said: Vec<_> = counts.iter().map(|(name, n)| say(name, *n)).collect();
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const CONTROLLERS: &[&str] = &["namespace-controller"];

    fn world() -> World {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"},
            "spec": {"finalizers": ["kubernetes"]},
        }));
        for (kind, name) in [("Pod", "web-0"), ("ConfigMap", "settings"), ("Secret", "key")] {
            let metadata = json!({"name": name, "namespace": "shop"});
            world.create(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}));
        }
        world
    }

    #[test]
    fn a_namespace_takes_its_content_with_it() {
        let mut world = world();
        world.delete("namespaces", "shop", None);
        world.settle(CONTROLLERS);
        assert!(world.store.snapshot().is_empty(), "{:?}", world.store.snapshot());
    }

    #[test]
    fn pods_go_first_and_what_holds_is_told() {
        let mut world = world();
        let pod = world.store.snapshot().find("pods", "shop", "web-0").cloned().unwrap();
        let mut value = pod.value().clone();
        value["metadata"]["finalizers"] = json!(["example.com/hold"]);
        world.replace(value);
        world.delete("namespaces", "shop", None);
        world.settle(CONTROLLERS);
        assert_eq!(world.names("configmaps"), ["settings"]);
        let conditions = world.get("namespaces", "shop").value()["status"]["conditions"].clone();
        assert_eq!(
            conditions[3]["message"],
            "Some resources are remaining: configmaps. has 1 resource instances, \
             pods. has 1 resource instances, secrets. has 1 resource instances"
        );
        assert_eq!(
            conditions[4]["message"],
            "Some content in the namespace has finalizers remaining: \
             example.com/hold in 1 resource instances"
        );
    }

    #[test]
    fn a_namespace_that_only_a_finalizer_of_others_holds_says_so() {
        let mut world = world();
        world.edit("namespaces", "shop", |namespace| {
            namespace["spec"]["finalizers"] = json!(["kubernetes", "example.com/hold"]);
        });
        world.delete("namespaces", "shop", None);
        world.settle(CONTROLLERS);
        let namespace = world.get("namespaces", "shop");
        assert_eq!(namespace.value()["spec"]["finalizers"], json!(["example.com/hold"]));
        let conditions = &namespace.value()["status"]["conditions"];
        assert_eq!(conditions[3]["reason"], "ContentRemoved");
        assert_eq!(conditions[4]["reason"], "ContentHasNoFinalizers");
        let key = Key::new("namespaces", "", "shop");
        let plan = world.decide(&CONTROLLER, &key);
        assert!(
            plan.writes_nothing() && plan.because.unwrap().sentence.contains("example.com/hold")
        );
    }
}
