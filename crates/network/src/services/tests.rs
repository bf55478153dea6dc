use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{config, endpoint, service, slice};

/// The map of one Service, a line for each frontend, but for the API server's.
fn map(service: &Service, slices: &[EndpointSlice]) -> String {
    let mut text = String::new();
    for (frontend, target) in service_map([service], slices, &config()).targets {
        if frontend.ip == config().api_ip() {
            continue;
        }
        let backends: Vec<String> = target
            .backends
            .iter()
            .map(|backend| format!("{}:{}", backend.ip, backend.port))
            .collect();
        write!(text, "{:?} {}:{}", frontend.protocol, frontend.ip, frontend.port).unwrap();
        writeln!(text, " -> {}", backends.join(" ")).unwrap();
    }
    text
}

fn web_spec(more: Value) -> Value {
    let mut spec = json!({
        "clusterIP": "10.96.7.7",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn web_slice(endpoints: Value) -> EndpointSlice {
    slice("web", json!([{"name": "http", "port": 8080, "protocol": "TCP"}]), endpoints)
}

#[test]
fn a_cluster_ip_leads_to_ready_endpoints() {
    let slice = web_slice(json!([
        endpoint("10.244.0.3", true),
        endpoint("10.244.0.2", true),
        endpoint("10.244.0.4", false)
    ]));
    assert_eq!(
        map(&service("web", web_spec(json!({}))), &[slice]),
        "Tcp 10.96.7.7:80 -> 10.244.0.2:8080 10.244.0.3:8080\n"
    );
}

#[test]
fn the_api_server_is_always_there() {
    let map = service_map([], [], &config());
    let (frontend, target) = map.targets.first_key_value().unwrap();
    assert_eq!((frontend.ip, frontend.port), (config().api_ip(), 443));
    assert_eq!(target.backends, [Backend { ip: config().host_ip(), port: 6443 }]);
}

#[test]
fn a_load_balancer_has_three_kinds_of_address() {
    let mut web = service("web", web_spec(json!({"type": "LoadBalancer"})));
    web.status = serde_json::from_value(json!({"loadBalancer": {"ingress": [
        {"ip": "10.112.0.1"}, {"ip": "10.112.0.2", "ipMode": "Proxy"}, {"hostname": "elsewhere"}
    ]}}))
    .unwrap();
    let slice = web_slice(json!([endpoint("10.244.0.2", true)]));
    assert_eq!(
        map(&web, &[slice]),
        "Tcp 10.96.7.7:80 -> 10.244.0.2:8080\n\
         Tcp 10.112.0.1:80 -> 10.244.0.2:8080\n\
         Tcp 10.244.255.253:30080 -> 10.244.0.2:8080\n"
    );
}

#[test]
fn no_service_takes_anothers_address() {
    let slice = web_slice(json!([endpoint("10.244.0.2", true)]));
    let mut config = config();
    config.external_ips = true;
    config.lb_range = Some("10.112.0.0/24".parse().unwrap());
    config.host_addresses = vec![[192, 0, 2, 5].into()];
    let mut thief = service(
        "a-thief",
        web_spec(json!({"type": "LoadBalancer",
        "clusterIP": "10.96.6.6",
        "externalIPs": ["10.96.7.7", "10.96.0.10", "10.244.0.9", "10.112.0.1", "192.0.2.5",
            "127.0.0.1", "169.254.169.254", "203.0.113.9"]})),
    );
    let ingress = json!([{"ip": "10.112.0.1"}, {"ip": "10.96.7.7"}, {"ip": "192.0.2.5"},
        {"ip": "203.0.113.8"}]);
    thief.status = serde_json::from_value(json!({"loadBalancer": {"ingress": ingress}})).unwrap();
    let mut web = service("web", web_spec(json!({"type": "LoadBalancer"})));
    web.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "10.112.0.1"}]}}))
            .unwrap();
    let born = |text: &str| serde_json::from_value(json!(text)).unwrap();
    web.metadata.creation_timestamp = born("2026-01-01T00:00:00Z");
    thief.metadata.creation_timestamp = born("2026-01-02T00:00:00Z");
    let map = service_map([&thief, &web], [&slice], &config);
    let mut of_thief: Vec<String> = map
        .targets
        .iter()
        .filter(|(frontend, target)| target.backends.is_empty() && frontend.port == 80)
        .map(|(frontend, _)| frontend.ip.to_string())
        .collect();
    of_thief.sort();
    assert_eq!(of_thief, ["10.96.6.6", "203.0.113.8", "203.0.113.9"]);
    config.external_ips = false;
    let map = service_map([&thief, &web], [&slice], &config);
    assert!(map.targets.keys().all(|frontend| frontend.ip != Ipv4Addr::new(203, 0, 113, 9)));
}

#[test]
fn headless_and_external_name_have_no_address() {
    let slice = web_slice(json!([endpoint("10.244.0.2", true)]));
    let headless = service("web", web_spec(json!({"clusterIP": "None"})));
    assert_eq!(map(&headless, std::slice::from_ref(&slice)), "");
    let spec = json!({"type": "ExternalName", "externalName": "example.com"});
    assert_eq!(map(&service("web", spec), &[slice]), "");
}

#[test]
fn without_ready_endpoints_those_that_finish_their_work_serve() {
    let finishing = json!({"addresses": ["10.244.0.2"],
        "conditions": {"ready": false, "serving": true, "terminating": true}});
    let stuck = json!({"addresses": ["10.244.0.3"],
        "conditions": {"ready": false, "serving": false, "terminating": true}});
    let web = service("web", web_spec(json!({})));
    assert_eq!(
        map(&web, &[web_slice(json!([finishing, stuck]))]),
        "Tcp 10.96.7.7:80 -> 10.244.0.2:8080\n"
    );
    assert_eq!(
        map(&web, &[web_slice(json!([finishing, endpoint("10.244.0.4", true)]))]),
        "Tcp 10.96.7.7:80 -> 10.244.0.4:8080\n"
    );
    assert_eq!(map(&web, &[]), "Tcp 10.96.7.7:80 -> \n");
}

#[test]
fn local_traffic_policies_leave_out_other_nodes() {
    let elsewhere = json!({"addresses": ["10.244.0.9"], "nodeName": "node-2"});
    let slice = web_slice(json!([endpoint("10.244.0.2", true), elsewhere]));
    let map_with = |policy: Value| {
        let mut spec = web_spec(policy);
        spec["type"] = json!("NodePort");
        map(&service("web", spec), std::slice::from_ref(&slice))
    };
    let (one, both) = ("10.244.0.2:8080", "10.244.0.2:8080 10.244.0.9:8080");
    assert_eq!(
        map_with(json!({"internalTrafficPolicy": "Local"})),
        format!("Tcp 10.96.7.7:80 -> {one}\nTcp 10.244.255.253:30080 -> {both}\n")
    );
    assert_eq!(
        map_with(json!({"externalTrafficPolicy": "Local"})),
        format!("Tcp 10.96.7.7:80 -> {both}\nTcp 10.244.255.253:30080 -> {one}\n")
    );
}

#[test]
fn ports_match_by_name_and_protocol() {
    let spec = json!({"clusterIP": "10.96.7.7", "ports": [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        {"name": "metrics", "port": 9153},
    ]});
    let ports = json!([
        {"name": "dns", "port": 5353, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 5354, "protocol": "TCP"},
    ]);
    let slice = slice("web", ports, json!([endpoint("10.244.0.2", true)]));
    assert_eq!(
        map(&service("web", spec), &[slice]),
        "Tcp 10.96.7.7:53 -> 10.244.0.2:5354\n\
         Udp 10.96.7.7:53 -> 10.244.0.2:5353\n\
         Tcp 10.96.7.7:9153 -> \n"
    );
}

#[test]
fn affinity_and_source_ranges_are_carried_along() {
    let spec = web_spec(json!({
        "type": "LoadBalancer",
        "sessionAffinity": "ClientIP",
        "loadBalancerSourceRanges": ["192.0.2.0/24", " 198.51.100.0/24 "],
    }));
    let mut web = service("web", spec);
    web.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "10.112.0.1"}]}}))
            .unwrap();
    let map = service_map([&web], [], &config());
    let of = |ip: &str| {
        let ip: Ipv4Addr = ip.parse().unwrap();
        map.targets.iter().find(|(frontend, _)| frontend.ip == ip).unwrap().1
    };
    assert_eq!(of("10.96.7.7").affinity_seconds, Some(10_800));
    assert!(of("10.96.7.7").sources.is_empty());
    assert_eq!(of("10.112.0.1").sources.len(), 2);
}

#[test]
fn the_first_of_two_services_has_a_disputed_address() {
    let first = service("a", web_spec(json!({})));
    let second = service("b", web_spec(json!({})));
    let slices = ["a", "b"].map(|name| {
        let ports = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
        let ip = if name == "a" { "10.244.0.2" } else { "10.244.0.3" };
        slice(name, ports, json!([endpoint(ip, true)]))
    });
    let one_way = service_map([&first, &second], &slices, &config());
    assert_eq!(one_way, service_map([&second, &first], &slices, &config()));
    let target = &one_way.targets
        [&Frontend { ip: "10.96.7.7".parse().unwrap(), port: 80, protocol: Protocol::Tcp }];
    assert_eq!(target.backends[0].ip, Ipv4Addr::new(10, 244, 0, 2));
}

proptest! {
    #[test]
    fn the_order_of_objects_means_nothing(
        endpoints in prop::collection::vec((2u8..20, any::<bool>()), 0..12),
        seed: u64,
    ) {
        let one = |(last, ready): &(u8, bool)| endpoint(&format!("10.244.0.{last}"), *ready);
        let slices: Vec<_> = endpoints
            .chunks(3)
            .map(|part| web_slice(part.iter().map(one).collect()))
            .collect();
        let mut shuffled = slices.clone();
        let turn = usize::try_from(seed % 7).unwrap() % shuffled.len().max(1);
        shuffled.rotate_left(turn);
        shuffled.reverse();
        let web = service("web", web_spec(json!({"type": "NodePort"})));
        let map = service_map([&web], &slices, &config());
        prop_assert_eq!(&map, &service_map([&web], &shuffled, &config()));
        for target in map.targets.values() {
            prop_assert!(target.backends.is_sorted());
        }
    }
}
