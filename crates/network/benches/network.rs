//! What the network costs: a pod's link, and changes to Services and policies. Medians and 95th percentiles in
//! microseconds, tab separated. Needs root; runs in a machine of its own.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program")]

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::{Duration, Instant};

use coracle_network::{Kernel, PolicyFold, PolicyPod, ServiceMap, Target};
use serde_json::json;
use world::{Cluster, frontend, target};

fn main() {
    println!("what\tmedian_us\tp95_us");
    let cluster = Cluster::up();
    links(&cluster);
    for count in [100, 1000, 5000] {
        services(&cluster, count);
    }
    for (pods, policies) in [(10, 10), (1000, 200)] {
        policed(&cluster, pods, policies);
    }
}

fn links(cluster: &Cluster) {
    let pods: Vec<_> = (0..300u16)
        .map(|number| {
            let [high, low] = (number + 2).to_be_bytes();
            cluster.world.pod(&format!("pod-{number}"), &format!("10.244.{high}.{low}"))
        })
        .collect();
    let attach: Vec<Duration> =
        pods.iter().map(|pod| time(|| cluster.kernel.attach_pod(pod).unwrap())).collect();
    report("attach a pod, first 50", &attach[..50]);
    report("attach a pod, 250 to 300", &attach[250..]);
    let again = pods.iter().map(|pod| time(|| cluster.kernel.attach_pod(pod).unwrap()));
    report("attach a pod again", &again.collect::<Vec<_>>());
    let detach = pods.iter().map(|pod| time(|| cluster.kernel.detach_pod(&pod.uid).unwrap()));
    report("detach a pod", &detach.collect::<Vec<_>>());
}

fn services(cluster: &Cluster, count: u16) {
    let three = target(&["10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:80"]);
    let other = target(&["10.244.0.2:80", "10.244.0.3:80", "10.244.0.5:80"]);
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        frontend(&format!("10.100.{high}.{low}:80"))
    };
    let map_of = |target: &Target| ServiceMap {
        targets: (0..count).map(|number| (address(number), target.clone())).collect(),
    };
    let (full, mut changing) = (map_of(&three), map_of(&three));
    let whole = (0..10).map(|_| {
        cluster.serve(&ServiceMap::default());
        time(|| cluster.serve(&full))
    });
    report(&format!("apply {count} services of 3"), &whole.collect::<Vec<_>>());
    let changes: Vec<Duration> = (0..count.min(200))
        .map(|number| {
            changing.targets.insert(address(number), other.clone());
            time(|| cluster.serve(&changing))
        })
        .collect();
    report(&format!("change 1 endpoint of {count} services"), &changes);
}

/// Policies and pods of twenty namespaces; each policy isolates an application both ways and names
/// another as its peer, each tenth one a block. What is timed is from the object to the kernel.
fn policed(cluster: &Cluster, pods: u16, policies: u16) {
    let space = |number: u16| format!("ns-{}", number % 20);
    let add = |fold: &mut PolicyFold, number: u16| {
        let [high, low] = (number + 2).to_be_bytes();
        let labels =
            json!({"app": format!("app-{}", number % policies), "pod": number.to_string()});
        let metadata = json!({"namespace": space(number), "labels": labels});
        let pod = json!({"metadata": metadata, "spec": {"containers": []}});
        let pod = serde_json::from_value(pod).unwrap();
        fold.set_pod(&number.to_string(), PolicyPod::of(&pod, [10, 244, high, low].into()));
    };
    let policy = |fold: &mut PolicyFold, number: u16, port: u16| {
        let app =
            |number: u16| json!({"matchLabels": {"app": format!("app-{}", number % policies)}});
        let others = json!({"namespaceSelector": {}, "podSelector": app(number + 1)});
        let block = json!({"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.7/32"]}});
        let peers = if number.is_multiple_of(10) { vec![others, block] } else { vec![others] };
        let spec = json!({"podSelector": app(number), "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers, "ports": [{"port": port}]}], "egress": [{"to": peers}]});
        let policy = json!({"metadata": {"namespace": space(number)}, "spec": spec});
        let policy = serde_json::from_value(policy).unwrap();
        fold.set_policy((&space(number), &format!("p-{number}")), Some(&policy));
    };
    let mut fold = PolicyFold::new(cluster.config.dns_ip());
    (0..20).for_each(|number| fold.set_namespace(&space(number), Some(&Default::default())));
    (0..pods).for_each(|number| add(&mut fold, number));
    (0..policies).for_each(|number| policy(&mut fold, number, 80));
    let none = ServiceMap::default();
    let apply = |fold: &PolicyFold| cluster.kernel.apply(&none, fold.table()).unwrap();
    let what = format!("of {pods} pods and {policies} policies");
    report(&format!("apply all {what}"), &[time(|| apply(&fold))]);
    let mut timed = |change: &dyn Fn(&mut PolicyFold, u16)| -> Vec<Duration> {
        let each = (0..policies.min(100)).map(|number| {
            time(|| {
                change(&mut fold, number);
                apply(&fold);
            })
        });
        each.collect()
    };
    report(&format!("edit a policy {what}"), &timed(&|fold, number| policy(fold, number, 81)));
    let remove = |fold: &mut PolicyFold, number: u16| {
        fold.set_policy((&space(number), &format!("p-{number}")), None);
    };
    report(&format!("remove a policy {what}"), &timed(&remove));
    report(&format!("add a policy {what}"), &timed(&|fold, number| policy(fold, number, 80)));
    report(&format!("add a pod {what}"), &timed(&|fold, number| add(fold, number + pods)));
    cluster.serve(&none);
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn report(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |part: usize| sorted[(sorted.len() - 1) * part / 100].as_micros();
    println!("{what}\t{}\t{}", at(50), at(95));
}
