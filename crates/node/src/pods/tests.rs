//! What containers are told and given.

use std::fs;

use coracle_api::Object;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::env::{Env, environment};
use super::files::{ClusterDns, hosts, resolv_conf, shown_hostname};
use super::resources::{Qos, container_resources, oom_score_adj, qos};
use super::{fields, runtime_class, user};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web-0", "namespace": "ns", "uid": "u1"}, "spec": spec,
    }))
    .unwrap()
}

fn snapshot(objects: &[(&str, Value)]) -> Snapshot {
    let objects = objects
        .iter()
        .map(|(resource, value)| Object::with_resource(*resource, value.clone()).unwrap());
    Snapshot::of(objects).unwrap()
}

fn env_of(container: Value, objects: &[(&str, Value)]) -> Result<Env, String> {
    let mut full = json!({"name": "c", "image": "i"});
    full.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let pod = pod(json!({"nodeName": "n1", "containers": [full]}));
    let container = &pod.spec.as_ref().unwrap().containers[0];
    environment(&pod, container, &snapshot(objects), &fields::Allocatable::default())
        .map_err(|error| error.to_string())
}

#[test]
fn variables_come_from_everywhere_and_refer_to_each_other() {
    let objects = [
        ("configmaps", json!({"metadata": {"name": "c", "namespace": "ns"}, "data": {"k": "v"}})),
        ("secrets", json!({"metadata": {"name": "s", "namespace": "ns"}, "data": {"p": "cHc="}})),
    ];
    let env = env_of(
        json!({
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
            "env": [
                {"name": "A", "value": "own"},
                {"name": "B", "value": "$(A)-$(P_k)-$$(A)-$(PATH)"},
                {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "OPT", "valueFrom": {"configMapKeyRef":
                    {"name": "c", "key": "none", "optional": true}}},
            ],
        }),
        &objects,
    )
    .unwrap();
    for (name, value) in [
        ("PATH", None),
        ("A", Some("own")),
        ("P_k", Some("v")),
        ("B", Some("own-v-$(A)-$(PATH)")),
        ("PW", Some("pw")),
        ("NODE", Some("n1")),
        ("OPT", None),
    ] {
        assert_eq!(env.get(name), value, "{name}");
    }
    let lines = env.lines_over(&["PATH=/bin".to_owned(), "A=image".to_owned()]);
    assert_eq!(lines.iter().filter(|line| line.starts_with("A=")).count(), 1);
    assert!(lines.contains(&"PATH=/bin".to_owned()) && lines.contains(&"A=own".to_owned()));
}

#[test]
fn a_path_is_made_only_of_variables_that_have_a_value() {
    let env = json!({"env": [{"name": "POD", "value": "web-0"}, {"name": "NONE"}]});
    let env = env_of(env, &[]).unwrap();
    let path = |text| env.expand_path(text).map_err(|error| error.to_string());
    assert_eq!(path("a/$(POD)/$$(B)"), Ok("a/web-0/$(B)".into()));
    assert_eq!(path("$(NOPE)/$(NONE)/$(POD)"), Err("missing value for NONE, NOPE".into()));
    assert_eq!(env.expand("$(NOPE)/$(POD)"), "$(NOPE)/web-0");
}

#[test]
fn what_is_missing_is_named() {
    let key = |name: &str, key: &str| {
        json!({"env": [{"name": "X",
            "valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}]})
    };
    let map = [("configmaps", json!({"metadata": {"name": "c", "namespace": "ns"}}))];
    assert_eq!(env_of(key("c", "k"), &map), Err("couldn't find key k in ConfigMap ns/c".into()));
    assert_eq!(env_of(key("d", "k"), &map), Err("configmap \"d\" not found".into()));
    let secret = json!({"envFrom": [{"secretRef": {"name": "s"}}]});
    assert_eq!(env_of(secret, &map), Err("secret \"s\" not found".into()));
}

#[test]
fn services_are_told_of_as_links() {
    let service = |namespace: &str, name: &str, ip: &str| {
        json!({"metadata": {"name": name, "namespace": namespace}, "spec": {
            "clusterIP": ip, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}})
    };
    let objects = [
        ("services", service("default", "kubernetes", "10.96.0.1")),
        ("services", service("ns", "my-db", "10.96.0.7")),
        ("services", service("ns", "headless", "None")),
        ("services", service("other", "far", "10.96.0.8")),
    ];
    let env = env_of(json!({}), &objects).unwrap();
    for (name, value) in [
        ("KUBERNETES_SERVICE_HOST", Some("10.96.0.1")),
        ("MY_DB_SERVICE_PORT", Some("80")),
        ("MY_DB_SERVICE_PORT_HTTP", Some("80")),
        ("MY_DB_PORT", Some("tcp://10.96.0.7:80")),
        ("MY_DB_PORT_80_TCP_ADDR", Some("10.96.0.7")),
        ("HEADLESS_SERVICE_HOST", None),
        ("FAR_SERVICE_HOST", None),
    ] {
        assert_eq!(env.get(name), value, "{name}");
    }
}

#[test]
fn a_runtime_that_is_not_there_is_named() {
    let class = |name: &str, handler: &str| {
        ("runtimeclasses.node.k8s.io", json!({"metadata": {"name": name}, "handler": handler}))
    };
    let snapshot = snapshot(&[class("plain", "runc"), class("sandboxed", "runsc")]);
    let check = |name| {
        let pod = pod(json!({"containers": [], "runtimeClassName": name}));
        runtime_class::check(&pod, &snapshot)
    };
    assert_eq!(check(Value::Null), Ok(()));
    assert_eq!(check("plain".into()), Ok(()));
    assert_eq!(check("gone".into()), Err("RuntimeClass \"gone\" not found".into()));
    let why = "failed to get sandbox runtime: no runtime for \"runsc\" is configured";
    assert_eq!(check("sandboxed".into()), Err(why.into()));
}

#[test]
fn the_hosts_file_knows_the_pod_by_both_names() {
    let pod = pod(json!({"subdomain": "web", "containers": [],
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
    let text = hosts(&pod, [10, 244, 0, 5].into(), "cluster.local", "");
    assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
    assert!(text.contains("\n10.244.0.5\tweb-0.web.ns.svc.cluster.local\tweb-0\n"), "{text}");
    assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
}

#[test]
fn a_pod_on_the_hosts_network_goes_by_the_hosts_names() {
    let pod = pod(json!({"hostNetwork": true, "containers": [],
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}]}));
    assert_eq!(
        hosts(&pod, [10, 244, 255, 253].into(), "cluster.local", "127.0.0.1 localhost\n"),
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n\n\
         # Entries added by HostAliases.\n1.2.3.4\ta\n"
    );
    assert_eq!(shown_hostname(&pod, "cluster.local", "machine\n"), "machine");
}

#[test]
fn the_resolver_follows_the_policy() {
    let dns = ClusterDns { address: [10, 96, 0, 10].into(), domain: "cluster.local".into() };
    let host = "nameserver 9.9.9.9\nsearch lan\n";
    let file = |spec: Value| resolv_conf(&pod(spec), &dns, host);
    assert_eq!(
        file(json!({"containers": []})),
        "search ns.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.96.0.10\noptions ndots:5\n"
    );
    let default = file(json!({"dnsPolicy": "Default", "containers": []}));
    assert_eq!(default, "search lan\nnameserver 9.9.9.9\n");
    let own = json!({"dnsPolicy": "None", "containers": [], "dnsConfig": {
        "nameservers": ["1.1.1.1"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}});
    assert_eq!(file(own), "search x\nnameserver 1.1.1.1\noptions ndots:2\n");
}

#[test]
fn classes_and_scores() {
    let container = |resources: Value| json!({"name": "c", "resources": resources});
    let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    for (resources, class, score) in [
        (json!({}), Qos::BestEffort, 1000),
        (full, Qos::Guaranteed, -997),
        (json!({"requests": {"memory": "1Gi"}}), Qos::Burstable, 750),
        (json!({"limits": {"cpu": "1"}}), Qos::Burstable, 999),
    ] {
        let pod = pod(json!({"containers": [container(resources)]}));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        assert_eq!((qos(&pod), oom_score_adj(&pod, container, 4 << 30)), (class, score));
    }
    let it: Container = serde_json::from_value(json!({"name": "c", "resources": {
        "limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}}))
    .unwrap();
    let found = container_resources(&it);
    assert_eq!(found.memory_limit, Some(64 << 20));
    assert_eq!(
        (found.cpu_quota, found.cpu_period, found.cpu_shares),
        (Some(50_000), Some(100_000), Some(256))
    );
}

#[test]
fn what_a_pod_as_a_whole_is_told_goes_before_its_containers() {
    let container = |resources: Value| json!({"name": "c", "resources": resources});
    let told = |own: Value, containers: Value| {
        let pod = pod(json!({"resources": own, "containers": containers}));
        (super::resources::pod_resources(&pod), qos(&pod))
    };
    let own = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
    let (found, class) = told(own, json!([container(json!({})), container(json!({}))]));
    assert_eq!((found.memory_limit, found.cpu_quota), (Some(64 << 20), Some(50_000)));
    assert_eq!((found.cpu_shares, class), (Some(512), Qos::Guaranteed));
    // What it is not told is its containers'.
    let own = json!({"limits": {"memory": "64Mi"}});
    let small = json!({"limits": {"cpu": "200m", "memory": "16Mi"}});
    let (found, class) = told(own, json!([container(small.clone()), container(small)]));
    assert_eq!((found.memory_limit, found.cpu_quota), (Some(64 << 20), Some(40_000)));
    assert_eq!((found.cpu_shares, class), (Some(408), Qos::Burstable));
    let (found, class) = told(json!({}), json!([container(json!({}))]));
    assert_eq!((found.memory_limit, found.cpu_quota, class), (None, None, Qos::BestEffort));
}

fn user_of(
    pod_security: Value,
    security: Value,
    image: &str,
) -> Result<(u32, u32, Vec<u32>), String> {
    let layer = tempfile::tempdir().unwrap();
    fs::create_dir(layer.path().join("etc")).unwrap();
    let passwd =
        "root:x:0:0:::\n1000:x:0:0:::\n7:x:0:0:::\napp:x:1000:1001:::\nlast:x:4294967295:1:::\n";
    fs::write(layer.path().join("etc/passwd"), passwd).unwrap();
    fs::write(layer.path().join("etc/group"), "8:x:0:\nstaff:x:50:app,x\nweb:x:60:\n").unwrap();
    let pod = pod(json!({"securityContext": pod_security,
        "containers": [{"name": "c", "securityContext": security}]}));
    let container = &pod.spec.as_ref().unwrap().containers[0];
    user::user(&pod, container, image, &[layer.path().to_owned()])
        .map(|user| (user.uid, user.gid, user.additional_gids))
        .map_err(|error| error.message)
}

#[test]
fn users_by_name_and_number() {
    let none = || json!({});
    assert_eq!(user_of(none(), none(), ""), Ok((0, 0, vec![])));
    assert_eq!(user_of(none(), none(), "app"), Ok((1000, 1001, vec![50])));
    assert_eq!(user_of(none(), none(), "app:web"), Ok((1000, 60, vec![50])));
    assert_eq!(user_of(none(), none(), "7:8"), Ok((7, 8, vec![])));
    let groups = json!({"runAsUser": 5, "fsGroup": 9, "supplementalGroups": [8]});
    assert_eq!(user_of(groups, none(), "app"), Ok((5, 0, vec![8, 9])));
    let own = json!({"runAsUser": 1000, "runAsGroup": 3});
    assert_eq!(user_of(json!({"runAsUser": 5}), own, ""), Ok((1000, 3, vec![50])));
    assert_eq!(
        user_of(none(), none(), "ghost"),
        Err("unable to find user ghost: no matching entries in passwd file".into())
    );
}

#[test]
fn a_number_is_an_id_whatever_names_an_image_has() {
    let none = || json!({});
    // The image's database has users of the names "1000" and "7", and a group "8", that are root's.
    assert_eq!(user_of(none(), none(), "1000"), Ok((1000, 1001, vec![50])));
    assert_eq!(user_of(none(), none(), "+7:8"), Ok((7, 8, vec![])));
    assert_eq!(user_of(json!({"runAsUser": 7}), none(), "app"), Ok((7, 0, vec![])));
    assert_eq!(user_of(json!({"runAsNonRoot": true}), none(), "7"), Ok((7, 0, vec![])));
}

#[test]
fn ids_that_would_mean_as_it_is_to_the_kernel_are_refused() {
    let none = || json!({});
    for image in ["4294967295", "-1", "7:4294967295", "99999999999999999999"] {
        let error = user_of(json!({"runAsNonRoot": true}), none(), image).unwrap_err();
        assert!(error.starts_with("uids and gids must be in range"), "{image}: {error}");
    }
    // An entry of that number is none.
    assert!(user_of(none(), none(), "last").unwrap_err().contains("no matching entries"));
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert!(user_of(json!({field: 4_294_967_295_u32}), none(), "").is_err(), "{field}");
    }
}

#[test]
fn root_is_refused_where_it_must_not_be() {
    let not_root = || json!({"runAsNonRoot": true});
    let whose = "(pod: \"web-0_ns(u1)\", container: c)";
    for (image, why) in [
        ("", "container has runAsNonRoot and image will run as root"),
        ("0", "container has runAsNonRoot and image will run as root"),
        (
            "app",
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
        ),
    ] {
        assert_eq!(user_of(not_root(), json!({}), image), Err(format!("{why} {whose}")));
    }
    assert!(user_of(not_root(), json!({}), "1000").is_ok());
    assert!(user_of(not_root(), json!({"runAsUser": 1}), "").is_ok());
    let why = "container's runAsUser breaks non-root policy";
    assert_eq!(user_of(not_root(), json!({"runAsUser": 0}), "1"), Err(format!("{why} {whose}")));
}

#[test]
fn sidecars_have_their_room_beside_the_others_and_are_killed_no_sooner() {
    let asks = |name: &str, memory: &str| {
        let amounts = json!({"memory": memory, "cpu": "100m"});
        json!({"name": name, "resources": {"limits": amounts, "requests": {"memory": memory}}})
    };
    let mut sidecar = asks("side", "10Mi");
    sidecar["restartPolicy"] = json!("Always");
    let with = |setup: &str| -> Pod {
        let apps = [asks("a", "20Mi"), asks("b", "30Mi")];
        let spec = json!({"initContainers": [sidecar, asks("setup", setup)], "containers": apps});
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    };
    for (setup, most) in [("5Mi", 60), ("49Mi", 60), ("70Mi", 80)] {
        let group = super::resources::pod_resources(&with(setup));
        assert_eq!(group.memory_limit, Some(most << 20), "{setup}");
    }
    let group = super::resources::pod_resources(&with("5Mi"));
    assert_eq!(group.cpu_quota, Some(30_000));
    let mut pod = with("5Mi");
    pod.spec.as_mut().unwrap().containers[0].resources = None;
    assert_eq!(super::resources::pod_resources(&pod).memory_limit, None);
    let score = |pod: &Pod, name: &str| {
        let containers = super::containers(pod);
        let container = containers.into_iter().find(|it| it.name == name).unwrap();
        super::resources::oom_score_adj(pod, container, 100 << 20)
    };
    pod = with("5Mi");
    pod.spec.as_mut().unwrap().containers[1].resources.as_mut().unwrap().limits = None;
    assert_eq!([score(&pod, "side"), score(&pod, "a"), score(&pod, "setup")], [800, 800, 950]);
}
