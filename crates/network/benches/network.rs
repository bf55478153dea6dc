//! What the network costs: a pod's link, and changes to Services. Medians and 95th percentiles in
//! microseconds, tab separated. Needs root; runs in a machine of its own.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program")]

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::{Duration, Instant};

use coracle_network::{Kernel, ServiceMap, Target};
use world::{Cluster, frontend, target};

fn main() {
    println!("what\tmedian_us\tp95_us");
    let cluster = Cluster::up();
    links(&cluster);
    for count in [100, 1000, 5000] {
        services(&cluster, count);
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
        cluster.kernel.apply_services(&ServiceMap::default()).unwrap();
        time(|| cluster.kernel.apply_services(&full).unwrap())
    });
    report(&format!("apply {count} services of 3"), &whole.collect::<Vec<_>>());
    let changes: Vec<Duration> = (0..count.min(200))
        .map(|number| {
            changing.targets.insert(address(number), other.clone());
            time(|| cluster.kernel.apply_services(&changing).unwrap())
        })
        .collect();
    report(&format!("change 1 endpoint of {count} services"), &changes);
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
