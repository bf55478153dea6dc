//! What clients read of a Service's pods.

use coracle_api::Key;
use serde_json::{Value, json};

use crate::world::World;

const BOTH: &[&str] = &["endpoint-controller", "endpoint-slice-controller"];
const SLICES: &str = "endpointslices.discovery.k8s.io";

fn service(spec: Value) -> Value {
    let metadata = json!({"name": "web", "namespace": "default"});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

fn pod(name: &str, ip: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "hostname": name,
            "subdomain": "web",
            "nodeName": "node-1",
            "containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    })
}

fn node(labels: Value) -> Value {
    let metadata = json!({"name": "node-1", "labels": labels});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
}

fn world(spec: Value) -> World {
    let mut world = World::new();
    world.create(node(json!({})));
    world.create(service(spec));
    world.create(pod("web-0", "10.244.0.2", "True"));
    world.create(pod("web-1", "10.244.0.3", "False"));
    world.settle(BOTH);
    world
}

fn plain() -> Value {
    json!({
        "clusterIP": "10.96.3.4",
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
    })
}

fn subset(world: &World) -> Value {
    world.get("endpoints", "web").value()["subsets"][0].clone()
}

fn slice(world: &World) -> Value {
    let name = world.names(SLICES).remove(0);
    world.get(SLICES, &name).value().clone()
}

#[test]
fn ready_pods_are_told_apart_and_named_ports_resolved() {
    let world = world(plain());
    let subset = subset(&world);
    assert_eq!(subset["addresses"][0]["ip"], "10.244.0.2");
    assert_eq!(subset["addresses"][0]["hostname"], "web-0");
    assert_eq!(subset["notReadyAddresses"][0]["ip"], "10.244.0.3");
    assert_eq!(subset["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    let slice = slice(&world);
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    assert_eq!(slice["ports"][0]["port"], 8080);
    let ready = |n: usize| slice["endpoints"][n]["conditions"]["ready"].clone();
    assert_eq!((ready(0), ready(1)), (json!(true), json!(false)));
}

#[test]
fn a_service_may_publish_pods_that_are_not_ready() {
    let mut spec = plain();
    spec["publishNotReadyAddresses"] = json!(true);
    let world = world(spec);
    assert_eq!(subset(&world)["addresses"].as_array().unwrap().len(), 2);
    let slice = slice(&world);
    assert_eq!(
        slice["endpoints"][1]["conditions"],
        json!({
            "ready": true, "serving": false, "terminating": false,
        })
    );
}

#[test]
fn endpoints_say_where_they_are_and_whose_traffic_they_are_to_get() {
    let zone = |name: &str| json!({"topology.kubernetes.io/zone": name});
    let of = |distribution: Value, labels: Value| {
        let mut world = World::new();
        world.create(node(labels));
        let mut spec = plain();
        spec["trafficDistribution"] = distribution;
        world.create(service(spec));
        world.create(pod("web-0", "10.244.0.2", "True"));
        world.create(pod("web-1", "10.244.0.3", "False"));
        world.settle(BOTH);
        world
    };
    let hints = |world: &World, n: usize| slice(world)["endpoints"][n]["hints"].clone();
    let (node, here) = (json!([{"name": "node-1"}]), json!([{"name": "here"}]));
    let world = of(Value::Null, zone("here"));
    assert_eq!(slice(&world)["endpoints"][0]["zone"], "here");
    assert_eq!(hints(&world, 0), Value::Null);
    for close in ["PreferClose", "PreferSameZone"] {
        let world = of(json!(close), zone("here"));
        assert_eq!(hints(&world, 0), json!({"forZones": here}));
        // One that is not ready gets nobody's.
        assert_eq!(hints(&world, 1), Value::Null);
        assert_eq!(hints(&of(json!(close), json!({})), 0), Value::Null);
    }
    let mut world = of(json!("PreferSameNode"), json!({}));
    assert_eq!(hints(&world, 0), json!({"forNodes": node}));
    world.edit("nodes", "node-1", |node| node["metadata"]["labels"] = zone("here"));
    world.settle(BOTH);
    assert_eq!(hints(&world, 0), json!({"forNodes": node, "forZones": here}));
}

#[test]
fn what_is_on_a_node_that_there_is_not_is_no_endpoint_of_a_slice() {
    let (mut world, mut published) = (World::new(), plain());
    world.create(service(plain()));
    world.create(pod("web-0", "10.244.0.2", "True"));
    let count = |world: &World| slice(world)["endpoints"].as_array().unwrap().len();
    for node_is_there in [false, true, false] {
        match node_is_there {
            true => drop(world.create(node(json!({})))),
            false if world.names("nodes").is_empty() => {}
            false => world.remove(&Key::new("nodes", "", "node-1")),
        }
        world.settle(BOTH);
        assert_eq!(count(&world), usize::from(node_is_there));
        assert_eq!(subset(&world)["addresses"][0]["ip"], "10.244.0.2", "as upstream's");
    }
    published["publishNotReadyAddresses"] = json!(true);
    world.edit("services", "web", |service| service["spec"] = published);
    world.settle(BOTH);
    assert_eq!(count(&world), 1);
}

#[test]
fn a_headless_service_needs_no_ports() {
    let world = world(json!({"clusterIP": "None", "selector": {"app": "web"}}));
    let endpoints = world.get("endpoints", "web");
    assert_eq!(endpoints.metadata().labels["service.kubernetes.io/headless"], "");
    assert_eq!(subset(&world)["addresses"][0]["ip"], "10.244.0.2");
    assert_eq!(slice(&world)["endpoints"].as_array().unwrap().len(), 2);
}

#[test]
fn a_terminating_pod_leaves_endpoints_and_is_marked_in_slices() {
    let mut world = world(plain());
    world.delete("pods", "web-0", None);
    world.settle(BOTH);
    assert_eq!(subset(&world)["addresses"], Value::Null);
    let conditions = slice(&world)["endpoints"][0]["conditions"].clone();
    assert_eq!(conditions, json!({"ready": false, "serving": true, "terminating": true}));
    world.stopped("web-0");
    world.stopped("web-1");
    world.settle(BOTH);
    assert_eq!(slice(&world)["endpoints"], json!([]));
    assert_eq!(world.get("endpoints", "web").value().get("subsets"), None);
}

#[test]
fn endpoints_of_a_service_without_a_selector_are_left_alone() {
    let mut world = World::new();
    world.create(service(json!({"clusterIP": "10.96.3.4", "ports": [{"port": 80}]})));
    world.create(json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "web", "namespace": "default"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}]}],
    }));
    world.settle(BOTH);
    assert_eq!(subset(&world)["addresses"][0]["ip"], "192.0.2.1");
    assert_eq!(world.names(SLICES), [""; 0]);
}

#[test]
fn endpoints_of_a_service_without_a_selector_are_mirrored_to_slices() {
    const ALL: &[&str] =
        &["endpoint-slice-controller", "endpoint-slice-mirroring-controller", "garbage-collector"];
    let mut world = World::new();
    let endpoints = |labels: Value| {
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {
                "name": "web",
                "namespace": "default",
                "labels": labels,
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            },
            "subsets": [{
                "addresses": [{"ip": "192.0.2.1", "hostname": "db"}, {"ip": "2001:db8::1"}],
                "notReadyAddresses": [{"ip": "192.0.2.2"}],
                "ports": [{"port": 5432, "protocol": "TCP"}],
            }],
        })
    };
    world.create(endpoints(json!({"app": "db"})));
    world.settle(ALL);
    assert_eq!(world.names(SLICES), [""; 0], "there is no Service yet");
    world.create(service(json!({"clusterIP": "10.96.3.4", "ports": [{"port": 5432}]})));
    world.settle(ALL);
    let slices: Vec<_> =
        world.names(SLICES).iter().map(|name| world.get(SLICES, name).value().clone()).collect();
    let of = |family: &str| slices.iter().find(|slice| slice["addressType"] == family).unwrap();
    assert_eq!(of("IPv6")["endpoints"][0]["addresses"], json!(["2001:db8::1"]));
    assert_eq!(
        of("IPv4")["endpoints"],
        json!([
            {"addresses": ["192.0.2.1"], "conditions": {"ready": true}, "hostname": "db"},
            {"addresses": ["192.0.2.2"], "conditions": {"ready": false}},
        ])
    );
    assert_eq!(of("IPv4")["ports"], json!([{"name": "", "port": 5432, "protocol": "TCP"}]));
    let metadata = &of("IPv4")["metadata"];
    assert_eq!(metadata["annotations"], Value::Null);
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Endpoints");
    assert_eq!(
        metadata["labels"],
        json!({
            "app": "db",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
        })
    );

    // The slices follow, and go when the Endpoints have slices of their own or are gone.
    world.edit("endpoints", "web", |it| {
        it["subsets"][0]["addresses"] = json!([{"ip": "192.0.2.9"}])
    });
    world.settle(ALL);
    assert_eq!(slice(&world)["endpoints"][0]["addresses"], json!(["192.0.2.9"]));
    assert_eq!(slice(&world)["addressType"], "IPv4");
    world.edit("endpoints", "web", |it| {
        it["metadata"]["labels"] = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    });
    world.settle(ALL);
    assert_eq!(world.names(SLICES), [""; 0]);
    world.edit("endpoints", "web", |it| it["metadata"]["labels"] = json!({}));
    world.settle(ALL);
    assert_eq!(world.names(SLICES).len(), 1);
    world.delete("endpoints", "web", None);
    world.settle(ALL);
    assert_eq!(world.names(SLICES), [""; 0]);
}

#[test]
fn endpoints_go_with_their_service() {
    let mut world = world(plain());
    world.delete("services", "web", None);
    world.settle(&["endpoint-controller", "endpoint-slice-controller", "garbage-collector"]);
    assert_eq!(world.names("endpoints"), [""; 0]);
    assert_eq!(world.names(SLICES), [""; 0]);
}
