//! Up, down, killed and adopted: what is on the host before, between and after.

mod world;

use coracle_network::{AskedRanges, Kernel, LinuxKernel, NetworkConfig, NetworkError, PolicyTable};
use world::{Cluster, MTU, World, inside, run, services, target};

#[test]
fn down_and_release_leave_the_host_as_it_was() {
    let world = World::new();
    let before = world.state();
    let kernel = LinuxKernel::new(world.config("test")).unwrap();
    for round in 0..2 {
        let link = kernel.up().unwrap();
        assert_eq!(link.mtu, MTU);
        assert_ne!(world.state(), before);
        let pod = world.pod(&format!("pod-{round}"), "10.244.0.2");
        kernel.attach_pod(&pod).unwrap();
        kernel.down().unwrap();
        world::unpin(&pod.netns);
        kernel.release().unwrap();
        world::assert_same(&world.state(), &before);
    }
    kernel.down().unwrap();
    kernel.release().unwrap();
    world::assert_same(&world.state(), &before);
}

#[test]
fn what_is_meant_for_a_cluster_that_is_down_does_not_leave_the_machine() {
    let world = World::new();
    let before = world.state();
    let config = world.config("test");
    let first = LinuxKernel::choose_ranges("test", &config.state_dir, AskedRanges::default());
    assert_eq!(first.unwrap().pods, config.pod_cidr);
    let kernel = LinuxKernel::new(config.clone()).unwrap();
    let link = kernel.up().unwrap();
    kernel.down().unwrap();
    for address in ["10.244.3.4", "10.96.0.1", "10.112.0.1"] {
        let output = std::process::Command::new("ip").args(["route", "get", address]).output();
        let text = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(text.contains("No route to host"), "{address}: {text}");
    }
    // They are still its own: another cluster takes others, and it comes up again in its own.
    let state_dir = &world.config("other").state_dir;
    let other = LinuxKernel::choose_ranges("other", state_dir, AskedRanges::default()).unwrap();
    assert_ne!(other.pods, config.pod_cidr);
    assert_ne!(other.load_balancers, link.lb_range);
    let again = LinuxKernel::choose_ranges("test", &config.state_dir, AskedRanges::default());
    assert_eq!(again.unwrap().pods, config.pod_cidr);
    LinuxKernel::new(config).unwrap().release().unwrap();
    world::assert_same(&world.state(), &before);
}

#[test]
fn down_works_without_what_up_knew() {
    let world = World::new();
    let before = world.state();
    drop(LinuxKernel::new(world.config("test")).unwrap().up().unwrap());
    world.take_down("test");
    world::assert_same(&world.state(), &before);
}

#[test]
fn cluster_addresses_never_leave_by_the_default_route() {
    let world = World::new();
    let kernel = LinuxKernel::new(world.config("test")).unwrap();
    kernel.up().unwrap();
    let addresses = ["10.244.3.4", "10.96.0.1", "10.112.0.1", "10.244.255.253"];
    for address in addresses {
        let route = run(&format!("ip route get {address}"));
        assert!(route.contains("dev cor-test src 10.244.255.254"), "{route}");
    }
    run("ip link delete cor-test");
    for address in addresses {
        let output = std::process::Command::new("ip").args(["route", "get", address]).output();
        let text = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(text.contains("No route to host"), "{address}: {text}");
    }
    // The next start repairs what was broken from outside.
    kernel.up().unwrap();
    assert!(run("ip route get 10.96.0.1").contains("dev cor-test"));
}

#[test]
fn the_next_engine_adopts_pods_and_services_of_a_killed_one() {
    let cluster = Cluster::up();
    let pod = cluster.serving_pod("web-0", "10.244.0.2");
    let map = services(&[("10.96.7.7:80", target(&["10.244.0.2:8080"]))]);
    cluster.serve(&map);

    let Cluster { world, kernel, config, .. } = cluster;
    drop(kernel); // as a kill would: nothing is undone
    let links = || inside(&config.state_dir.join("netns"), || run("ip -br link"));
    let before = links();
    let next = LinuxKernel::new(config.clone()).unwrap();
    let link = next.up().unwrap();
    let cluster = Cluster { world, kernel: next, link, config: config.clone() };
    assert_eq!(links(), before, "links are kept");
    assert_eq!(cluster.host_asks("10.96.7.7:80").unwrap().server, "web-0", "Services are kept");

    cluster.kernel.attach_pod(&pod).unwrap();
    let other = services(&[("10.96.7.8:80", target(&["10.244.0.2:8080"]))]);
    cluster.serve(&other);
    assert_eq!(cluster.host_asks("10.96.7.8:80").unwrap().server, "web-0");
    assert!(cluster.host_asks("10.96.7.7:80").is_err(), "what went while nobody looked is gone");
}

#[test]
fn a_detached_pod_is_gone_at_once_and_may_come_back() {
    let cluster = Cluster::up();
    let pod = cluster.serving_pod("web-0", "10.244.0.2");
    assert_eq!(cluster.host_asks("10.244.0.2:8080").unwrap().server, "web-0");
    cluster.kernel.detach_pod("web-0").unwrap();
    assert!(cluster.host_asks("10.244.0.2:8080").is_err());
    cluster.kernel.detach_pod("web-0").unwrap();
    cluster.kernel.detach_pod("never-was").unwrap();
    wait_until(|| !inside(&pod.netns, || run("ip -br link")).contains("eth0"));
    cluster.kernel.attach_pod(&pod).unwrap();
    assert_eq!(cluster.host_asks("10.244.0.2:8080").unwrap().server, "web-0");
}

#[test]
fn attaching_twice_changes_nothing_and_a_new_sandbox_gets_a_new_link() {
    let cluster = Cluster::up();
    let pod = cluster.client_pod("web-0", "10.244.0.2");
    let look = |pod: &coracle_network::PodLink| inside(&pod.netns, || run("ip -br address"));
    let before = look(&pod);
    assert!(before.contains("10.244.0.2/32") && !before.contains("fe80"), "{before}");
    cluster.kernel.attach_pod(&pod).unwrap();
    assert_eq!(look(&pod), before);

    let mut second = cluster.world.pod("web-0-second", "10.244.0.3");
    second.uid = pod.uid;
    cluster.kernel.attach_pod(&second).unwrap();
    assert!(look(&second).contains("10.244.0.3/32"));
}

#[test]
fn two_clusters_share_a_host_and_the_last_one_tidies_up() {
    let world = World::new();
    let before = world.state();
    let first = LinuxKernel::new(world.config("one")).unwrap();
    first.up().unwrap();
    let clash = LinuxKernel::new(world.config("two")).unwrap().up().unwrap_err();
    assert!(
        matches!(&clash, NetworkError::RangeTaken { what: "pod", other, .. } if other.ends_with("dev cor-one")),
        "{clash}"
    );
    let mut config = world.config("two");
    let asked = AskedRanges::default();
    let ranges = LinuxKernel::choose_ranges("two", &config.state_dir, asked).unwrap();
    (config.pod_cidr, config.service_cidr) = (ranges.pods, ranges.services);
    let second = LinuxKernel::new(config).unwrap();
    let link = second.up().unwrap();
    assert_eq!(link.lb_range, "10.112.1.0/24".parse().unwrap(), "the first candidate is taken");
    first.down().unwrap();
    let forwarding = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(forwarding(), "1\n", "the second still needs it");
    second.down().unwrap();
    first.release().unwrap();
    second.release().unwrap();
    world::assert_same(&world.state(), &before);
}

#[test]
fn each_network_namespace_gets_its_own_settings_back() {
    let world = World::new();
    let before = world.state();
    let first = LinuxKernel::new(world.config("one")).unwrap();
    first.up().unwrap();
    // Another "host" with the same /run.
    inside(&world.outside, || {
        let second = LinuxKernel::new(world.config("two")).unwrap();
        second.up().unwrap();
        second.down().unwrap();
        second.release().unwrap();
    });
    first.down().unwrap();
    first.release().unwrap();
    world::assert_same(&world.state(), &before);
}

#[test]
fn a_name_belongs_to_the_cluster_that_has_it() {
    let world = World::new();
    let first = LinuxKernel::new(world.config("one")).unwrap();
    first.up().unwrap();
    let elsewhere =
        NetworkConfig { state_dir: world.dir.path().join("else"), ..world.config("one") };
    let second = LinuxKernel::new(elsewhere).unwrap();
    for refused in [second.up().map(drop), second.down()] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("--name") && error.contains("/one"), "{error}");
    }
    assert!(run("ip link").contains("cor-one"), "nothing was taken from the first");
    first.down().unwrap();
    second.up().unwrap();
    second.down().unwrap();
}

#[test]
fn a_start_repairs_whatever_is_broken() {
    let world = World::new();
    let before = world.state();
    let netns = world.config("test").state_dir.join("netns");
    let damages: [&dyn Fn(); 7] = [
        &|| drop(run("ip link delete cor-test")),
        &|| drop(run("ip route delete 10.244.0.0/16 via 10.244.255.253")),
        &|| drop(run("ip address flush dev cor-test")),
        &|| drop(run("nft delete table ip coracle-test")),
        &|| drop(inside(&netns, || run("nft delete table ip coracle"))),
        &|| drop(inside(&netns, || run("ip route delete default"))),
        &|| world::unpin(&netns),
    ];
    for (number, damage) in damages.iter().enumerate() {
        drop(LinuxKernel::new(world.config("test")).unwrap().up().unwrap());
        damage();
        let kernel = LinuxKernel::new(world.config("test")).unwrap();
        kernel.up().unwrap();
        let pod = world.pod(&format!("pod-{number}"), "10.244.0.2");
        kernel.attach_pod(&pod).unwrap();
        world::serve(&pod.netns, "10.244.0.2:8080".parse().unwrap(), "web");
        let map = services(&[("10.96.7.7:80", target(&["10.244.0.2:8080"]))]);
        kernel.apply(&map, &PolicyTable::default()).unwrap();
        let stream =
            std::net::TcpStream::connect_timeout(&"10.96.7.7:80".parse().unwrap(), world::TIMEOUT);
        stream.unwrap_or_else(|error| panic!("after damage {number}: {error}"));
        kernel.detach_pod(&pod.uid).unwrap();
        world::unpin(&pod.netns);
    }
    world.take_down("test");
    world::assert_same(&world.state(), &before);
}

#[test]
fn another_load_balancer_range_leaves_no_trace_of_the_former() {
    let world = World::new();
    let before = world.state();
    let mut config = world.config("test");
    LinuxKernel::new(config.clone()).unwrap().up().unwrap();
    config.lb_range = Some("192.168.77.0/28".parse().unwrap());
    let next = LinuxKernel::new(config).unwrap();
    assert_eq!(next.up().unwrap().lb_range, "192.168.77.0/28".parse().unwrap());
    let routes = run("ip route");
    assert!(routes.contains("192.168.77.0/28 via") && !routes.contains("10.112"), "{routes}");
    next.down().unwrap();
    next.release().unwrap();
    world::assert_same(&world.state(), &before);
}

#[test]
fn a_host_that_forwarded_before_still_does() {
    let world = World::new();
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    let before = world.state();
    let kernel = LinuxKernel::new(world.config("test")).unwrap();
    kernel.up().unwrap();
    assert!(!run("nft list ruleset").contains("iifname != \"cor-*\""), "others may pass as before");
    kernel.down().unwrap();
    kernel.release().unwrap();
    world::assert_same(&world.state(), &before);
}

#[test]
fn a_failed_start_leaves_nothing() {
    let world = World::new();
    run("ip route add 10.100.0.0/16 dev eth0");
    let before = world.state();
    let error = LinuxKernel::new(world.config("test")).unwrap().up().unwrap_err();
    assert!(error.to_string().contains("10.100.0.0/16 dev eth0"), "{error}");
    world::assert_same(&world.state(), &before);
}

#[test]
fn pods_are_attached_side_by_side() {
    let cluster = Cluster::up();
    let pods: Vec<_> = (2..34)
        .map(|last| cluster.world.pod(&format!("pod-{last}"), &format!("10.244.0.{last}")))
        .collect();
    let kernel = &cluster.kernel;
    std::thread::scope(|scope| {
        for part in pods.chunks(8) {
            scope.spawn(move || part.iter().for_each(|pod| kernel.attach_pod(pod).unwrap()));
        }
    });
    let first = &pods[0];
    world::serve(&first.netns, "10.244.0.2:8080".parse().unwrap(), "first");
    for pod in &pods[1..] {
        assert_eq!(cluster.pod_asks(pod, "10.244.0.2:8080").unwrap().server, "first");
    }
}

#[test]
fn nothing_works_before_up() {
    let world = World::new();
    let kernel = LinuxKernel::new(world.config("test")).unwrap();
    let error = kernel.detach_pod("web-0").unwrap_err();
    assert_eq!(error.to_string(), "the cluster's network is not up");
}

fn wait_until(done: impl Fn() -> bool) {
    let in_time = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        done()
    });
    assert!(in_time, "waited five seconds in vain");
}
