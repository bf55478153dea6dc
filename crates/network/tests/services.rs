//! Services, as hosts and pods meet them: real namespaces, real TCP.

mod world;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use coracle_network::{Kernel, Protocol, ServiceMap};
use world::{Cluster, OUTSIDE, TIMEOUT, ask, inside, run, serve, serve_on, services, target};

#[test]
fn a_service_is_reached_from_host_and_pods_and_spreads() {
    let cluster = Cluster::up();
    cluster.serving_pod("web-0", "10.244.0.2");
    cluster.serving_pod("web-1", "10.244.0.3");
    cluster.serving_pod("web-2", "10.244.0.4");
    let client = cluster.client_pod("client", "10.244.0.9");
    let backends = target(&["10.244.0.2:8080", "10.244.0.3:8080", "10.244.0.4:8080"]);
    cluster.serve(&services(&[("10.96.7.7:80", backends)]));

    for who in [None, Some(&client)] {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..120 {
            let answer = match who {
                None => cluster.host_asks("10.96.7.7:80"),
                Some(pod) => cluster.pod_asks(pod, "10.96.7.7:80"),
            }
            .unwrap();
            let expected = if who.is_some() { "10.244.0.9" } else { "10.244.255.254" };
            assert_eq!(answer.client, expected, "the client's address is kept");
            *seen.entry(answer.server).or_default() += 1;
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen.values().all(|count| *count >= 15), "uneven: {seen:?}");
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let cluster = Cluster::up();
    let pod = cluster.serving_pod("web-0", "10.244.0.2");
    let map = services(&[("10.96.7.7:80", target(&["10.244.0.2:8080"]))]);
    cluster.serve(&map);
    let answer = cluster.pod_asks(&pod, "10.96.7.7:80").unwrap();
    assert_eq!(answer.server, "web-0");
}

#[test]
fn node_port_and_load_balancer_answer_host_and_pods() {
    let cluster = Cluster::up();
    cluster.serving_pod("web-0", "10.244.0.2");
    let client = cluster.client_pod("client", "10.244.0.9");
    let backend = target(&["10.244.0.2:8080"]);
    let (node_port, balancer) = ("10.244.255.253:30080", "10.112.0.1:80");
    let map = services(&[(node_port, backend.clone()), (balancer, backend)]);
    cluster.serve(&map);
    for address in [node_port, balancer] {
        assert_eq!(cluster.host_asks(address).unwrap().server, "web-0", "{address}");
        assert_eq!(cluster.pod_asks(&client, address).unwrap().server, "web-0", "{address}");
    }
}

#[test]
fn pods_and_host_reach_the_api_server_of_the_host() {
    let cluster = Cluster::up();
    let listener = TcpListener::bind((cluster.link.host_ip, 6443)).unwrap();
    serve_on(listener, "api");
    let client = cluster.client_pod("client", "10.244.0.9");
    // What every service map holds, whatever the Services are.
    let map = coracle_network::service_map([], [], &cluster.config);
    cluster.serve(&map);
    let answer = cluster.pod_asks(&client, "10.96.0.1:443").unwrap();
    assert_eq!((answer.server.as_str(), answer.client.as_str()), ("api", "10.244.0.9"));
    assert_eq!(cluster.host_asks("10.96.0.1:443").unwrap().server, "api");
}

#[test]
fn nobody_home_is_refused_at_once() {
    let cluster = Cluster::up();
    let client = cluster.client_pod("client", "10.244.0.9");
    let map = services(&[
        ("10.96.7.7:80", target(&[])),
        ("10.112.0.1:80", target(&[])),
        ("10.244.255.253:30080", target(&[])),
    ]);
    cluster.serve(&map);
    for address in [
        "10.96.7.7:80",         // no endpoints
        "10.112.0.1:80",        // no endpoints
        "10.244.255.253:30080", // no endpoints
        "10.96.7.7:81",         // no such port
        "10.96.99.99:80",       // no such Service
        "10.112.0.77:80",       // no such load balancer
    ] {
        assert_eq!(cluster.host_asks(address), Err(ErrorKind::ConnectionRefused), "{address}");
        let from_pod = cluster.pod_asks(&client, address);
        assert_eq!(from_pod, Err(ErrorKind::ConnectionRefused), "{address}");
    }
    let inside_node =
        cluster.kernel.connect_tcp("10.96.7.7:80".parse().unwrap(), TIMEOUT).unwrap_err();
    assert!(inside_node.to_string().contains("refused"), "{inside_node}");
    let no_pod = cluster.host_asks("10.244.77.77:80");
    assert_eq!(no_pod, Err(ErrorKind::HostUnreachable));
}

#[test]
fn a_client_with_affinity_stays_until_its_backend_goes() {
    let cluster = Cluster::up();
    let backends = ["10.244.0.2:8080", "10.244.0.3:8080", "10.244.0.4:8080"];
    for (number, backend) in backends.iter().enumerate() {
        let ip = backend.split(':').next().unwrap();
        cluster.serving_pod(&format!("web-{number}"), ip);
    }
    let sticky = |backends: &[&str]| {
        let mut target = target(backends);
        target.affinity_seconds = Some(600);
        services(&[("10.96.7.7:80", target)])
    };
    cluster.serve(&sticky(&backends));
    let first = cluster.host_asks("10.96.7.7:80").unwrap().server;
    let ask = || cluster.host_asks("10.96.7.7:80").unwrap().server;
    assert!((0..20).all(|_| ask() == first));

    let gone: usize = first.strip_prefix("web-").unwrap().parse().unwrap();
    let mut left = backends.to_vec();
    left.remove(gone);
    cluster.serve(&sticky(&left));
    let second = ask();
    assert_ne!(second, first);
    assert!((0..20).all(|_| ask() == second));

    // The former backend comes back; the client stays where it is now.
    cluster.serve(&sticky(&backends));
    assert!((0..20).all(|_| ask() == second));
}

#[test]
fn source_ranges_keep_others_out() {
    let cluster = Cluster::up();
    cluster.serving_pod("web-0", "10.244.0.2");
    let client = cluster.client_pod("client", "10.244.0.9");
    let mut guarded = target(&["10.244.0.2:8080"]);
    // One range within another, which the kernel would refuse as they stand.
    guarded.sources = ["10.244.255.0/24", "10.244.255.254/32", "192.168.0.0/16"]
        .map(|range| range.parse().unwrap())
        .to_vec();
    let map = services(&[("10.112.0.1:80", guarded)]);
    cluster.serve(&map);
    assert_eq!(cluster.host_asks("10.112.0.1:80").unwrap().server, "web-0");
    let short = std::time::Duration::from_millis(300);
    let address = "10.112.0.1:80".parse().unwrap();
    assert!(cluster.kernel.connect_in(&client.netns, address, short).is_err());
    let open = services(&[("10.112.0.1:80", target(&["10.244.0.2:8080"]))]);
    cluster.serve(&open);
    assert_eq!(cluster.pod_asks(&client, "10.112.0.1:80").unwrap().server, "web-0");
}

#[test]
fn a_udp_client_does_not_stay_with_a_backend_that_is_gone() {
    let cluster = Cluster::up();
    let pods = ["10.244.0.2", "10.244.0.3"].map(|ip| cluster.client_pod(&format!("udp-{ip}"), ip));
    let sockets = pods.each_ref().map(|pod| {
        let address = SocketAddr::from((pod.ip, 53));
        let socket = inside(&pod.netns, || UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket
    });
    let to = |backend: &str| {
        let map = services(&[("10.96.7.7:53", target(&[backend]))]);
        let targets = map.targets.into_iter().map(|(mut frontend, target)| {
            frontend.protocol = Protocol::Udp;
            (frontend, target)
        });
        ServiceMap { targets: targets.collect() }
    };
    let client = UdpSocket::bind(SocketAddr::from((cluster.link.host_ip, 0))).unwrap();
    for (backend, socket) in ["10.244.0.2:53", "10.244.0.3:53"].iter().zip(&sockets) {
        cluster.serve(&to(backend));
        client.send_to(b"hello", "10.96.7.7:53").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 5, "{backend}");
    }
}

#[test]
fn pods_get_out_as_the_host_and_nobody_gets_in() {
    let cluster = Cluster::up();
    let pod = cluster.serving_pod("web-0", "10.244.0.2");
    serve(&cluster.world.outside, SocketAddr::from((OUTSIDE, 80)), "outside");
    let answer = cluster.pod_asks(&pod, "192.0.2.1:80").unwrap();
    assert_eq!((answer.server.as_str(), answer.client.as_str()), ("outside", "192.0.2.2"));

    run("ip -n outside route add 10.244.0.0/16 via 192.0.2.2");
    let short = std::time::Duration::from_millis(300);
    let address = "10.244.0.2:8080".parse().unwrap();
    assert!(cluster.kernel.connect_in(&cluster.world.outside, address, short).is_err());
}

#[test]
fn a_pod_cannot_lend_itself_another_address() {
    let cluster = Cluster::up();
    cluster.serving_pod("web-0", "10.244.0.2");
    let liar = cluster.client_pod("liar", "10.244.0.9");
    inside(&liar.netns, || {
        run("ip address add 10.244.0.5/32 dev eth0");
        run("ip route replace default via 169.254.1.1 dev eth0 onlink src 10.244.0.5");
    });
    let short = std::time::Duration::from_millis(300);
    let address = "10.244.0.2:8080".parse().unwrap();
    assert!(cluster.kernel.connect_in(&liar.netns, address, short).is_err());
}

#[test]
fn a_thousand_services_change_one_at_a_time_and_nft_agrees() {
    let cluster = Cluster::up();
    cluster.serving_pod("web-0", "10.244.0.2");
    cluster.serving_pod("web-1", "10.244.0.3");
    let address = |number: usize| format!("10.97.{}.{}:80", number / 250, number % 250 + 1);
    let entries: Vec<(String, _)> =
        (0..1000).map(|number| (address(number), target(&["10.244.0.2:8080"]))).collect();
    let mut map = ServiceMap {
        targets: entries
            .iter()
            .map(|(address, target)| (world::frontend(address), target.clone()))
            .collect(),
    };
    cluster.serve(&map);
    for number in (0..1000).step_by(50) {
        let frontend = world::frontend(&address(number));
        map.targets.insert(frontend, target(&["10.244.0.3:8080"]));
        cluster.serve(&map);
        assert_eq!(cluster.host_asks(&address(number)).unwrap().server, "web-1");
        assert_eq!(cluster.host_asks(&address(number + 1)).unwrap().server, "web-0");
    }
    let listed = inside(&cluster.link.netns, || run("nft list map ip coracle endpoints"));
    assert_eq!(listed.matches("10.244.0.3 . 8080").count(), 20, "{listed}");
    assert_eq!(listed.matches("10.244.0.2 . 8080").count(), 980);

    cluster.serve(&ServiceMap::default());
    let listed = inside(&cluster.link.netns, || run("nft list ruleset"));
    assert!(!listed.contains("elements"), "{listed}");
}

#[test]
fn nft_reads_the_rules_as_they_are_meant() {
    let cluster = Cluster::up();
    let mut sticky = target(&["10.244.0.2:8080", "10.244.0.3:8080"]);
    sticky.affinity_seconds = Some(10_800);
    let map = services(&[("10.96.7.7:80", target(&["10.244.0.2:8080"])), ("10.96.7.8:80", sticky)]);
    cluster.serve(&map);
    let addresses = run("ip address show cor-test")
        + &inside(&cluster.link.netns, || run("ip address show up scope link"));
    assert!(!addresses.contains("inet6"), "{addresses}");
    let node = inside(&cluster.link.netns, || run("nft --numeric-protocol list ruleset"));
    for line in [
        "meta l4proto . ip daddr . th dport vmap @services",
        "meta mark set numgen random mod 1 dnat ip to \
         meta l4proto . ip daddr . th dport . meta mark map @endpoints",
        "ct status dnat ip saddr . ip daddr @hairpin snat to 10.244.255.253",
        "ip daddr 10.96.0.0/12 reject with tcp reset",
        "ip daddr 10.112.0.0/24 reject",
        "update @affinity { ip saddr . meta l4proto . ip daddr . th dport timeout 3h : meta mark }",
        "6 . 10.96.7.7 . 80 : goto one-of-1",
        "6 . 10.96.7.8 . 80 : goto one-of-2-for-10800s",
    ] {
        assert!(node.contains(line), "missing: {line}\n{node}");
    }
    let host = run("nft list ruleset");
    for line in [
        "ip saddr 10.244.0.0/16 oifname != \"cor-test\" masquerade",
        "oifname \"cor-test\" iifname != \"cor-test\" ct state new drop",
        "iifname != \"cor-*\" oifname != \"cor-*\" drop",
    ] {
        assert!(host.contains(line), "missing: {line}\n{host}");
    }
}

#[test]
fn a_host_port_on_loopback_answers_the_node_and_nobody_else() {
    let cluster = Cluster::up();
    cluster.serving_pod("web-0", "10.244.0.2");
    let client = cluster.client_pod("client", "10.244.0.9");
    let map = services(&[("127.0.0.1:8000", target(&["10.244.0.2:8080"]))]);
    cluster.serve(&map);
    let netns = &cluster.link.netns;
    let asked = || {
        let address = "127.0.0.1:8000".parse().unwrap();
        inside(netns, || TcpStream::connect_timeout(&address, TIMEOUT).map(ask).unwrap())
    };
    for source in ["127.0.0.1", "10.244.255.253"] {
        inside(netns, || {
            run(&format!("ip route replace local 127.0.0.1 dev lo table local src {source}"))
        });
        let answer = asked();
        assert_eq!((answer.server.as_str(), answer.client.as_str()), ("web-0", "10.244.255.253"));
    }
    // Whoever sends something there from outside has it dropped.
    let listener = cluster.kernel.listen_tcp("127.0.0.1:9000".parse().unwrap()).unwrap();
    serve_on(listener, "private");
    inside(&client.netns, || {
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        run("ip route add 127.0.0.1 via 169.254.1.1 dev eth0 table 7");
        run("ip rule add pref 1 to 127.0.0.1 lookup 7");
        run("ip rule add pref 5 lookup local");
        run("ip rule del pref 0");
    });
    assert!(cluster.pod_asks(&client, "127.0.0.1:9000").is_err());
}
