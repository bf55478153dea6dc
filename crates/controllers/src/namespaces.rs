//! The end of a namespace: its content goes, pods first, then the namespace itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::conditions;
use coracle_api::resources::{API_SERVICES, NAMESPACES, PODS};
use coracle_api::{
    Call, Given, Index, Key, Object, OtherServer, Subresource, Swept, Timestamp, time,
};
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
/// How long it takes until other API servers are asked again what they have, in seconds.
const AGAIN_SECONDS: i64 = 5;
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
        return others_go(snapshot, namespace, context);
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
        plan.write_each(report(namespace, &content, &Swept::default(), context.now));
    }
    plan
}

/// What other API servers have goes last: they may run in the namespace, and then nobody knows what
/// they had until their APIService goes, too.
fn others_go(snapshot: &Snapshot, namespace: &Object, context: &Context<'_>) -> Plan {
    let mut services = snapshot.list(API_SERVICES, None);
    if !services.any(|service| OtherServer::of(service.value()).is_some()) || !is_ours(namespace) {
        return release(namespace, context.now);
    }
    let left = match context.given {
        Some(Ok(Given::Swept(swept))) if swept.is_clean() => {
            return release(namespace, context.now);
        }
        Some(Ok(Given::Swept(swept))) => swept.clone(),
        Some(_) => Swept { failed: vec!["nobody asks other servers".into()], ..Swept::default() },
        None => {
            let namespace = namespace.metadata().name.clone();
            return Plan { asks: Some(Call::Sweep { namespace }), ..Plan::default() };
        }
    };
    let mut plan = Plan::each(report(namespace, &[], &left, context.now));
    plan.because = Some(Because::only(format!(
        "other API servers still have something in it: {}",
        waits_for(&left)
    )));
    plan.look_again_at(time::after(context.now, AGAIN_SECONDS));
    plan
}

/// Whether the content of a namespace is still ours to delete.
fn is_ours(namespace: &Object) -> bool {
    let finalizers = namespace.value()["spec"]["finalizers"].as_array();
    finalizers.into_iter().flatten().any(|name| name == FINALIZER)
}

fn waits_for(left: &Swept) -> String {
    let unknown = left.unknown.iter().map(|version| format!("{version} does not answer"));
    let objects = left.left.iter().map(|(resource, n)| format!("{resource} has {n}"));
    unknown.chain(left.failed.iter().cloned()).chain(objects).collect::<Vec<_>>().join(", ")
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
        let told = report(namespace, &[], &Swept::default(), now);
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

/// What holds the namespace up, in its conditions: what is stored here, and what is left elsewhere.
fn report(
    namespace: &Object,
    content: &[&Arc<Object>],
    elsewhere: &Swept,
    now: Timestamp,
) -> Option<Write> {
    let mut resources: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for object in content {
        *resources.entry(format!("{}.", object.key().resource)).or_default() += 1;
        for finalizer in &object.metadata().finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    resources.extend(elsewhere.left.iter().map(|(resource, n)| (resource.clone(), *n)));
    finalizers.extend(elsewhere.held.iter().map(|(name, n)| (name.as_str(), *n)));
    let remaining = list(
        resources.iter().map(|(resource, n)| format!("{resource} has {n} resource instances")),
    );
    let held = list(finalizers.iter().map(|(name, n)| format!("{name} in {n} resource instances")));
    let mut conditions = vec![
        discovered(&elsewhere.unknown),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        deleted(&elsewhere.failed),
        match resources.is_empty() {
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

/// A condition: its type, its status, a word and a sentence.
type Said = (&'static str, &'static str, &'static str, String);

/// Whether it is known what there is; `unknown` has the versions of which it is not.
fn discovered(unknown: &[String]) -> Said {
    let of = "NamespaceDeletionDiscoveryFailure";
    if unknown.is_empty() {
        let said = "All resources successfully discovered".to_owned();
        return (of, "False", "ResourcesDiscovered", said);
    }
    let stale = unknown.iter().map(|it| format!("{it}: stale GroupVersion discovery: {it}"));
    let said = format!(
        "Discovery failed for some groups, {} failing: unable to retrieve the complete list of \
         server APIs: {}",
        unknown.len(),
        list(stale)
    );
    (of, "True", "DiscoveryFailed", said)
}

/// Whether all could be deleted; `failed` says what could not.
fn deleted(failed: &[String]) -> Said {
    let of = "NamespaceDeletionContentFailure";
    if failed.is_empty() {
        let said = "All content successfully deleted, may be waiting on finalization".to_owned();
        return (of, "False", "ContentDeleted", said);
    }
    let said = format!(
        "Failed to delete all resource types, {} remaining: {}",
        failed.len(),
        list(failed.iter().cloned())
    );
    (of, "True", "ContentDeletionFailed", said)
}

fn list(said: impl Iterator<Item = String>) -> String {
    said.collect::<Vec<_>>().join(", ")
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
    fn what_other_servers_have_must_go_before_it() {
        let mut world = world();
        world.create(json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1.example.com"},
            "spec": {"group": "example.com", "version": "v1", "service": {"name": "server"}},
        }));
        world.swept.unknown = vec!["example.com/v1".to_owned()];
        world.delete("namespaces", "shop", None);
        world.settle(CONTROLLERS);
        let said = |world: &World| {
            let conditions =
                world.get("namespaces", "shop").value()["status"]["conditions"].clone();
            let of = |at: usize| conditions[at]["message"].as_str().unwrap().to_owned();
            [of(0), of(2), of(3), of(4)]
        };
        assert_eq!(
            said(&world)[0],
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of \
             server APIs: example.com/v1: stale GroupVersion discovery: example.com/v1"
        );
        assert_eq!(world.names("configmaps"), [""; 0], "our own has gone");
        world.swept = Swept {
            failed: vec!["bad status from https://x/boats: 500".to_owned()],
            left: [("boats.example.com".to_owned(), 2)].into(),
            held: [("example.com/hold".to_owned(), 1)].into(),
            ..Swept::default()
        };
        world.pass(AGAIN_SECONDS, CONTROLLERS);
        assert_eq!(
            said(&world),
            [
                "All resources successfully discovered",
                "Failed to delete all resource types, 1 remaining: bad status from https://x/boats: \
                 500",
                "Some resources are remaining: boats.example.com has 2 resource instances",
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 \
                 resource instances",
            ]
        );
        world.swept = Swept::default();
        world.pass(AGAIN_SECONDS, CONTROLLERS);
        assert!(world.find("namespaces", "shop").is_none());
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
