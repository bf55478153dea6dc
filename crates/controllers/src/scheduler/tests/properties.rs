//! What holds whatever pods and nodes there are.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CONTROLLER, node};
use crate::world::World;

/// A pod: thousandths of a cpu, priority, and whether it is spread over the nodes.
type Pod = (i64, i64, bool);

fn value(name: &str, (cpu, priority, spread): Pod) -> Value {
    let constraint = json!({
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"spread": "yes"}},
    });
    let constraints = if spread { json!([constraint]) } else { json!([]) };
    let label = if spread { "yes" } else { "no" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"spread": label}},
        "spec": {
            "priority": priority, "topologySpreadConstraints": constraints,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{cpu}m")}}}],
        },
    })
}

/// By node, the pods that are on it: name, thousandths of a cpu, priority, whether it goes.
type OnNodes = BTreeMap<String, Vec<(String, i64, i64, bool)>>;

fn on_nodes(world: &World, pods: &BTreeMap<String, Pod>) -> OnNodes {
    let mut all = OnNodes::new();
    for name in world.names("pods") {
        let Some(node) = world.place(&name) else { continue };
        let (cpu, priority, _) = pods[&name];
        let goes = world.get("pods", &name).metadata().is_deleting();
        all.entry(node).or_default().push((name, cpu, priority, goes));
    }
    all
}

fn check(world: &World, pods: &BTreeMap<String, Pod>) {
    let here = on_nodes(world, pods);
    for (node, all) in &here {
        let sum: i64 = all.iter().map(|(_, cpu, ..)| cpu).sum();
        assert!(sum <= 2000, "{node} is given out more than once: {all:?}");
    }
    for name in world.names("pods") {
        let pod = world.get("pods", &name);
        let Some(node) = pod.str_at("/status/nominatedNodeName") else { continue };
        let (cpu, priority, _) = pods[&name];
        let empty = Vec::new();
        let all = here.get(node).unwrap_or(&empty);
        // The node will have room, unless one came that matters more; nobody went who is as important.
        let staying = all.iter().filter(|(.., goes)| !goes);
        if staying.clone().all(|(_, _, other, _)| *other <= priority) {
            let sum: i64 = staying.map(|(_, cpu, ..)| cpu).sum();
            assert!(sum + cpu <= 2000, "{name} is promised {node}: {all:?}");
        }
        let top = all.iter().filter(|(.., goes)| *goes).map(|(_, _, one, _)| *one).max();
        assert!(top.is_none_or(|top| top < priority), "{name} drives out {all:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Nothing is given out twice, whoever goes matters less, what is promised fits, and it ends.
    #[test]
    fn places_are_given_once_and_taken_from_the_less_important(
        nodes in 1_usize..4,
        pods in prop::collection::vec((1_i64..2100, 0_i64..4, any::<bool>()), 1..14),
        stops in any::<u64>(),
    ) {
        let mut world = World::new();
        for number in 0..nodes {
            let mut node = node(&format!("node-{number}"));
            node["status"]["allocatable"]["pods"] = json!("110");
            world.create(node);
        }
        let mut all = BTreeMap::new();
        for (at, pod) in pods.into_iter().enumerate() {
            let name = format!("p{at}");
            all.insert(name.clone(), pod);
            world.create(value(&name, pod));
            world.settle(CONTROLLER);
            check(&world, &all);
            let names = world.names("pods").into_iter();
            let going: Vec<_> =
                names.filter(|name| world.get("pods", name).metadata().is_deleting()).collect();
            for (bit, name) in going.iter().enumerate() {
                if stops >> ((at + bit) % 64) & 1 == 1 {
                    world.stopped(name);
                    world.settle(CONTROLLER);
                    check(&world, &all);
                }
            }
        }
        let names = world.names("pods");
        for name in names {
            if world.find("pods", &name).is_some_and(|pod| pod.metadata().is_deleting()) {
                world.stopped(&name);
                world.settle(CONTROLLER);
                check(&world, &all);
            }
        }
        let notes = world.notes.len();
        world.settle(CONTROLLER);
        prop_assert_eq!(world.notes.len(), notes);
    }
}
