//! The indexes against scans: whatever is written, an index answers as a look at everything does.

use std::collections::BTreeMap;

use coracle_api::{Index, Key, Object, Selector, index};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::tests::now;
use crate::{CommitError, Expect, FaultyDisk, Snapshot, Store, Transaction, Write};

const NAMESPACES: [&str; 2] = ["x", "y"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const VALUES: [&str; 3] = ["1", "2", "3"];

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let label = (prop::sample::select(&["k", "l"][..]), prop::sample::select(&VALUES[..]));
    prop::collection::btree_map(label.clone().prop_map(|(k, _)| k.to_owned()), label, 0..3)
        .prop_map(|map| map.into_iter().map(|(k, (_, v))| (k, v.to_owned())).collect())
}

fn pod() -> impl Strategy<Value = (&'static str, Value)> {
    let node = prop::sample::select(&["", "n", "m"][..]);
    let owned = prop::option::of(prop::sample::select(&["u", "v"][..]));
    let memory = prop::sample::select(&["1Gi", "500M", "7", "0"][..]);
    let phase = prop::sample::select(&["Running", "Failed"][..]);
    (labels(), node, owned, memory, phase).prop_map(|(labels, node, owner, memory, phase)| {
        let owners: Vec<Value> =
            owner.iter().map(|uid| json!({"uid": uid, "controller": true})).collect();
        let metadata = json!({"labels": labels, "ownerReferences": owners});
        let container = json!({"resources": {"requests": {"cpu": "100m", "memory": memory}}});
        let spec = json!({"nodeName": node, "containers": [container]});
        ("pods", json!({"metadata": metadata, "spec": spec, "status": {"phase": phase}}))
    })
}

fn service() -> impl Strategy<Value = (&'static str, Value)> {
    (labels(), 0..4_u8).prop_map(|(selector, address)| {
        let ips: Vec<_> = (address > 0).then(|| format!("10.0.0.{address}")).into_iter().collect();
        ("services", json!({"metadata": {}, "spec": {"selector": selector, "clusterIPs": ips}}))
    })
}

fn set() -> impl Strategy<Value = (&'static str, Value)> {
    let expression = prop_oneof![
        Just(json!({"key": "k", "operator": "In", "values": ["1", "3"]})),
        Just(json!({"key": "k", "operator": "Exists"})),
        Just(json!({"key": "l", "operator": "NotIn", "values": ["2"]})),
    ];
    (labels(), prop::option::of(expression)).prop_map(|(labels, expression)| {
        let selector =
            json!({"matchLabels": labels, "matchExpressions": Vec::from_iter(expression)});
        ("statefulsets.apps", json!({"metadata": {}, "spec": {"selector": selector}}))
    })
}

fn write() -> impl Strategy<Value = Write> {
    let object = prop_oneof![3 => pod(), 1 => service(), 1 => set()];
    let place = (prop::sample::select(&NAMESPACES[..]), prop::sample::select(&NAMES[..]));
    (object, place, prop::bool::weighted(0.2)).prop_map(|((resource, mut value), at, delete)| {
        let (namespace, name) = at;
        if delete {
            return Write::delete(Key::new(resource, namespace, name), Expect::Any);
        }
        value["metadata"]["namespace"] = json!(namespace);
        value["metadata"]["name"] = json!(name);
        value["metadata"]["uid"] = json!(format!("{resource}-{namespace}-{name}"));
        Write::put(Object::with_resource(resource, value).unwrap(), Expect::Any)
    })
}

/// Every index answers as a scan does.
fn agrees(snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let keys = |objects: Vec<&std::sync::Arc<Object>>| -> Vec<Key> {
        objects.into_iter().map(|object| object.key().clone()).collect()
    };
    let mut all: BTreeMap<(Index, String), Vec<Key>> = BTreeMap::new();
    for object in snapshot.objects() {
        for term in index::terms(object) {
            all.entry(term).or_default().push(object.key().clone());
        }
        prop_assert_eq!(snapshot.by_uid(&object.metadata().uid).unwrap().key(), object.key());
    }
    for ((index, term), holders) in &all {
        prop_assert_eq!(&keys(snapshot.with_term(*index, term).collect()), holders);
        prop_assert!(index.unique().is_none() || holders.len() == 1);
    }
    prop_assert_eq!(snapshot.disagreement(), None);
    for text in ["k=1", "k in (1,2),l", "k=1,l=2", "!k", "", "l!=3", "k in (3,1)"] {
        let selector = Selector::parse(text).unwrap();
        for namespace in [None, Some("x"), Some("z")] {
            let selected = keys(snapshot.selected("pods", namespace, &selector));
            let scanned = snapshot.list("pods", namespace);
            let scanned = scanned.filter(|pod| selector.matches(&pod.metadata().labels));
            prop_assert_eq!(selected, keys(scanned.collect()));
        }
    }
    for pod in snapshot.list("pods", None) {
        let (namespace, labels) = (&pod.metadata().namespace, &pod.metadata().labels);
        for resource in ["services", "statefulsets.apps"] {
            let scanned = snapshot.list(resource, Some(namespace));
            let scanned = scanned.filter(|it| it.selector().matches(labels)).collect();
            prop_assert_eq!(keys(snapshot.selecting(resource, namespace, labels)), keys(scanned));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn an_index_answers_as_a_look_at_everything_does(
        steps in prop::collection::vec(prop::collection::vec(write(), 1..4), 1..20),
    ) {
        let disk = FaultyDisk::new(0);
        let store = Store::open_on(disk.clone()).unwrap();
        for writes in steps {
            let before = store.snapshot();
            match now(store.commit(Transaction::of(writes))) {
                Ok(_) => {}
                Err(CommitError::Taken { .. }) => {
                    prop_assert_eq!(store.snapshot().revision(), before.revision());
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
            agrees(&store.snapshot())?;
        }
        drop(store);
        disk.power_on();
        agrees(&Store::open_on(disk).unwrap().snapshot())?;
    }
}

#[test]
fn what_only_one_may_have_is_refused_to_a_second_until_the_first_lets_go() {
    let store = Store::open_on(FaultyDisk::new(0)).unwrap();
    let service = |name: &str, ip: &str| {
        let metadata = json!({"name": name, "namespace": "x"});
        let value = json!({"metadata": metadata, "spec": {"clusterIPs": [ip]}});
        Write::put(Object::with_resource("services", value).unwrap(), Expect::Any)
    };
    let commit = |write: Write| now(store.commit(Transaction::of([write])));
    commit(service("a", "10.0.0.1")).unwrap();
    commit(service("a", "10.0.0.1")).unwrap();
    let Err(CommitError::Taken { holder, index, .. }) = commit(service("b", "10.0.0.1")) else {
        panic!("two Services have one address");
    };
    assert_eq!((&*holder.name, index), ("a", Index::ClusterAddress));
    commit(service("c", "None")).unwrap();
    commit(service("d", "None")).unwrap();
    commit(service("a", "10.0.0.2")).unwrap();
    commit(service("b", "10.0.0.1")).unwrap();
    commit(Write::delete(Key::new("services", "x", "a"), Expect::Any)).unwrap();
    commit(service("c", "10.0.0.2")).unwrap();
}
