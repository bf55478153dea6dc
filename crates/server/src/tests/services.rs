//! Services: what they are given, and what they lose with their type.

use super::*;

#[test]
fn a_service_has_its_address_in_the_answer_and_keeps_it() {
    let api = Harness::new();
    let body = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [
        {"name": "tcp", "port": 80, "protocol": "TCP"},
        {"name": "udp", "port": 80, "protocol": "UDP"}]}});
    let made = api.create("services", "default", body.clone()).unwrap();
    let address = made["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.starts_with("10."), "{address}");
    assert_eq!(made["spec"]["clusterIPs"], json!([address]));
    let ports = &made["spec"]["ports"];
    assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
    assert_eq!(api.update("services", body).unwrap()["spec"], made["spec"]);
    let mut other = json!({"metadata": {"name": "other"}, "spec": {"clusterIP": address}});
    let refused = api.create("services", "default", other.clone()).unwrap_err();
    assert!(refused.message.contains("provided IP is already allocated"), "{}", refused.message);
    other["spec"]["clusterIP"] = "None".into();
    let headless = api.create("services", "default", other).unwrap();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

/// Clients change the type alone and send back what they read.
#[test]
fn a_service_of_another_type_loses_what_only_the_old_one_had() {
    let api = Harness::new();
    let types = [
        json!({"type": "ClusterIP"}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
    ];
    for (name, other) in ["a", "b"].into_iter().zip(types) {
        let spec = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/mine",
            "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
        let body = json!({"metadata": {"name": name}, "spec": spec});
        let made = api.create("services", "default", body).unwrap();
        assert!(made["spec"]["healthCheckNodePort"].is_number(), "{made}");
        let changed = |change: &Value| {
            let mut body = made.clone();
            for (field, value) in change.as_object().unwrap() {
                body["spec"][field] = value.clone();
            }
            api.update("services", body)
        };
        // What the client sets itself is not taken from it, but refused.
        let mut more = other.clone();
        more["externalTrafficPolicy"] = "Cluster".into();
        let refused = changed(&more).unwrap_err().message;
        assert!(refused.contains("spec.externalTrafficPolicy: Invalid value"), "{refused}");
        let changed = changed(&other).unwrap();
        for field in [
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
        ] {
            assert_eq!(changed["spec"][field], Value::Null, "{changed}");
        }
    }
}
