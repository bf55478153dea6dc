mod rows;

use serde_json::{Value, json};

use super::*;
use crate::{FieldError, defaults, options};

fn texts(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn pod_with(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "p"}, "spec": spec});
    defaults::pod(&mut object);
    object
}

fn pod_errors(spec: Value) -> Vec<String> {
    texts(pod(&pod_with(spec)))
}

fn container(fields: Value) -> Value {
    let mut container = json!({"name": "a", "image": "i"});
    let map = container.as_object_mut().unwrap();
    map.extend(fields.as_object().unwrap().clone());
    json!({"containers": [container]})
}

/// A set as charts write it, with `change` made to its spec before defaults.
fn set_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({"serviceName": "web", "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
            {"name": "a", "image": "i", "ports": [{"name": "http", "containerPort": 80}],
             "volumeMounts": [{"name": "data", "mountPath": "/data"}],
             "readinessProbe": {"httpGet": {"port": "http"}}}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]});
    change(&mut spec);
    let mut set = json!({"metadata": {"name": "web"}, "spec": spec});
    defaults::stateful_set(&mut set);
    set
}

fn set_errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let set = set_with(change);
    texts(stateful_set(&set).into_iter().chain(stateful_set_create(&set)).collect())
}

#[test]
fn a_pod_as_charts_write_it_is_valid() {
    let spec = json!({"serviceAccountName": "me", "securityContext": {"fsGroup": 1000},
        "tolerations": [{"operator": "Exists"}], "volumes": [{"name": "v", "emptyDir": {}},
            {"name": "s", "secret": {"secretName": "s", "items": [{"key": "k", "path": "k"}]}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        "containers": [{"name": "a", "image": "i", "env": [{"name": "A", "value": "1"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "livenessProbe": {"exec": {"command": ["true"]}}}]});
    assert_eq!(pod_errors(spec), Vec::<String>::new());
}

#[test]
fn containers_say_what_upstream_says() {
    for (spec, error) in [
        (json!({}), "spec.containers: Required value"),
        (
            json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}),
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
        (json!({"containers": [{"name": "a"}]}), "spec.containers[0].image: Required value"),
        (
            container(json!({"image": " i"})),
            "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        ),
        (
            container(json!({"imagePullPolicy": "Sometimes"})),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            container(json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            container(json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            container(json!({"env": [{"name": "A=B"}]})),
            "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
        (
            container(json!({"env": [{"name": "A", "valueFrom": {}}]})),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        (
            container(json!({"livenessProbe": {}})),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            container(
                json!({"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}}),
            ),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            container(json!({"readinessProbe": {"httpGet": {"port": 0}}})),
            "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            container(json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            container(json!({"resources": {"limits": {"cpus": "1"}}})),
            "spec.containers[0].resources.limits[cpus]: Invalid value: \"cpus\": must be a standard resource for containers",
        ),
        (
            container(json!({"restartPolicyRules": [{"action": "Restart"}]})),
            "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
        ),
        (
            container(
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]}),
            ),
            "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified",
        ),
        (
            container(json!({"restartPolicy": "Sometimes"})),
            "spec.containers[0].restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
    ] {
        let errors = pod_errors(spec);
        assert!(errors.iter().any(|found| found == error), "{error}\n{errors:?}");
    }
}

#[test]
fn pods_say_what_upstream_says() {
    let with = |field: &str, value: Value| {
        let mut spec = container(json!({}));
        spec[field] = value;
        spec
    };
    for (spec, error) in [
        (
            with("restartPolicy", json!("Maybe")),
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            with("volumes", json!([{"name": "v"}, {"name": "v"}])),
            "spec.volumes[1].name: Duplicate value: \"v\"",
        ),
        (
            with("volumes", json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}])),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            with("volumes", json!([{"name": "v", "hostPath": {"path": "/a/../b"}}])),
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            with("tolerations", json!([{"effect": "NoRun", "operator": "Exists"}])),
            "spec.tolerations[0].effect: Unsupported value: \"NoRun\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ),
        (
            with("initContainers", json!([{"name": "a", "image": "i"}])),
            "spec.initContainers[0].name: Duplicate value: \"a\"",
        ),
        (
            with("initContainers", json!([{"name": "b", "image": "i", "lifecycle": {}}])),
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
        (
            with("securityContext", json!({"seccompProfile": {"type": "Localhost"}})),
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ),
        (
            with("securityContext", json!({"runAsUser": 2_147_483_648_i64})),
            "spec.securityContext.runAsUser: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
        ),
        (
            with("dnsPolicy", json!("None")),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            with("hostAliases", json!([{"ip": "x"}])),
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
    ] {
        let errors = pod_errors(spec);
        assert!(errors.iter().any(|found| found == error), "{error}\n{errors:?}");
    }
}

#[test]
fn little_of_a_pod_may_change() {
    let old = pod_with(container(json!({})));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("j");
    new["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    new["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(texts(pod_update(&new, &old)), Vec::<String>::new());
    new["spec"]["nodeName"] = json!("n");
    let errors = texts(pod_update(&new, &old));
    assert!(
        errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"),
        "{errors:?}"
    );
    assert!(errors[0].ends_with("+ nodeName: \"n\""));
    new["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "b"}));
    assert_eq!(
        texts(pod_update(&new, &old)),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
}

#[test]
fn stateful_sets_say_what_upstream_says() {
    assert_eq!(set_errors(|_| ()), Vec::<String>::new());
    let set = |pointer: &'static str, value: Value| {
        move |spec: &mut Value| {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let parent = if parent.is_empty() { spec } else { spec.pointer_mut(parent).unwrap() };
            parent[name] = value;
        }
    };
    for (change, error) in [
        (
            set("/podManagementPolicy", json!("Any")),
            "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            set("/updateStrategy", json!({"type": "OnDelete", "rollingUpdate": {"partition": 0}})),
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":0}: only allowed for updateStrategy 'RollingUpdate'",
        ),
        (
            set(
                "/updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": -1}}),
            ),
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            set("/replicas", json!(-1)),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            set("/ordinals", json!({"start": -1})),
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
        ),
        (set("/selector", Value::Null), "spec.selector: Required value"),
        (
            set("/selector", json!({})),
            "spec.selector: Invalid value: {}: empty selector is invalid for statefulset",
        ),
        (
            set("/template/metadata/labels", json!({"app": "other"})),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
        ),
        (
            set("/template/spec/restartPolicy", json!("Never")),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            set("/template/spec/activeDeadlineSeconds", json!(1)),
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
        ),
        (
            set("/volumeClaimTemplates/0/spec/accessModes", json!([])),
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            set("/volumeClaimTemplates", json!([])),
            "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"",
        ),
        (
            set("/serviceName", json!("a.b")),
            "spec.serviceName: Invalid value: \"a.b\": must not contain dots",
        ),
        (
            set("/persistentVolumeClaimRetentionPolicy", json!({"whenScaled": "Keep"})),
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\"",
        ),
    ] {
        let errors = set_errors(change);
        assert!(errors.iter().any(|found| found == error), "{error}\n{errors:?}");
    }
}

#[test]
fn the_identity_of_a_set_is_fixed() {
    let old = set_with(|_| ());
    let scaled = set_with(|spec| spec["replicas"] = json!(5));
    assert_eq!(stateful_set_update(&scaled, &old), []);
    let renamed = set_with(|spec| spec["serviceName"] = json!("other"));
    assert_eq!(
        texts(stateful_set_update(&renamed, &old)),
        [
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        ]
    );
    let sized = |size: &str, asks: bool| {
        let mut set = set_with(|spec| {
            spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
                "spec": {"resources": {"requests": {"storage": size}}}}]);
        });
        set["metadata"]["annotations"] = json!({options::GROW_CLAIMS: asks.to_string()});
        set
    };
    let refused = |new: &str, asks: bool| {
        !stateful_set_update(&sized(new, asks), &sized("1Gi", true)).is_empty()
    };
    assert_eq!(
        [refused("2Gi", true), refused("2Gi", false), refused("1Mi", true)],
        [false, true, true]
    );
    let status = |ready: i32| json!({"status": {"replicas": 1, "readyReplicas": ready}});
    assert_eq!(
        texts(stateful_set_status(&status(2), &status(0))),
        ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
    );
}

fn service_with(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "s"}, "spec": spec});
    defaults::service(&mut object);
    object
}

#[test]
fn services_say_what_upstream_says() {
    let errors = |spec| texts(service(&service_with(spec)));
    let headless = json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}});
    assert_eq!(errors(headless), Vec::<String>::new());
    assert_eq!(errors(json!({})), ["spec.ports: Required value"]);
    let unnamed = json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]});
    assert_eq!(errors(unnamed), ["spec.ports[0].name: Required value"]);
    let node = json!({"ports": [{"port": 1, "nodePort": 30000}]});
    assert_eq!(
        errors(node),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
    );
    let ty = json!({"type": "Magic", "ports": [{"port": 1}]});
    assert_eq!(
        errors(ty),
        [
            "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\""
        ]
    );
    assert_eq!(errors(json!({"type": "ExternalName"})), ["spec.externalName: Required value"]);
    let with_ip = |ip: &str| {
        service_with(json!({"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 1}]}))
    };
    assert_eq!(
        texts(service_update(&with_ip("10.96.0.2"), &with_ip("10.96.0.3"))),
        ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.2\"]: may not change once set"]
    );
}

#[test]
fn claims_grow_and_otherwise_stay() {
    let claim = |size: &str, mode: &str, phase: &str| {
        let mut claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": [mode],
            "resources": {"requests": {"storage": size}}}, "status": {"phase": phase,
            "capacity": {"storage": "1Gi"}}});
        defaults::persistent_volume_claim(&mut claim);
        claim
    };
    let old = claim("1Gi", "ReadWriteOnce", "Bound");
    assert_eq!(persistent_volume_claim(&old), []);
    assert_eq!(persistent_volume_claim_update(&claim("2Gi", "ReadWriteOnce", "Bound"), &old), []);
    let smaller = claim("512Mi", "ReadWriteOnce", "Bound");
    assert_eq!(
        texts(persistent_volume_claim_update(&smaller, &old)),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    let other = claim("1Gi", "ReadWriteMany", "Bound");
    let errors = texts(persistent_volume_claim_update(&other, &old));
    assert!(errors[0].starts_with("spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"), "{errors:?}");
    let none = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}});
    assert_eq!(texts(persistent_volume_claim(&none)), ["spec.resources[storage]: Required value"]);
}

#[test]
fn configuration_is_bounded_and_may_be_frozen() {
    let map = json!({"data": {"a b": "x"}});
    assert_eq!(
        texts(config_map(&map)),
        [
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        ]
    );
    let big = json!({"data": {"a": "x".repeat(1024 * 1024 + 1)}});
    assert_eq!(texts(config_map(&big)), ["[]: Too long: may not be more than 1048576 bytes"]);
    let frozen = json!({"immutable": true, "data": {"a": "1"}});
    let thawed = json!({"data": {"a": "1"}});
    assert_eq!(
        texts(config_map_update(&thawed, &frozen)),
        ["immutable: Forbidden: field is immutable when `immutable` is set"]
    );
    let tls = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
    assert_eq!(texts(secret(&tls)), ["data[tls.key]: Required value"]);
    assert_eq!(
        texts(secret_update(&json!({"type": "b"}), &json!({"type": "a"}))),
        ["type: Invalid value: \"b\": field is immutable"]
    );
}

#[test]
fn budgets_bindings_and_classes_say_what_upstream_says() {
    let budget = json!({"spec": {"minAvailable": 1, "maxUnavailable": "25%"}});
    assert_eq!(
        texts(disruption_budget(&budget)),
        [
            "spec: Invalid value: {\"maxUnavailable\":\"25%\",\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set"
        ]
    );
    let too_many = json!({"spec": {"minAvailable": "101%"}});
    assert_eq!(
        texts(disruption_budget(&too_many)),
        ["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"]
    );
    let binding = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
        "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "a"}]});
    assert_eq!(role_binding(&binding), []);
    assert_eq!(
        texts(cluster_role_binding(&binding)),
        [
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
            "subjects[0].namespace: Required value"
        ]
    );
    assert_eq!(
        texts(role(&json!({"rules": [{"verbs": []}]}))),
        [
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource"
        ]
    );
    let class = |provisioner: &str| {
        let mut class = json!({"provisioner": provisioner});
        defaults::storage_class(&mut class);
        class
    };
    assert_eq!(storage_class(&class("a.b/c")), []);
    assert_eq!(
        texts(storage_class_update(&class("x"), &class("y"))),
        ["provisioner: Forbidden: updates to provisioner are forbidden."]
    );
    let priority = json!({"metadata": {"name": "system-mine"}, "value": 1_000_000_001});
    assert_eq!(
        texts(priority_class(&priority)),
        [
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only",
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
        ]
    );
    let runtime =
        |handler: &str| json!({"handler": handler, "overhead": {"podFixed": {"cpu": "1"}}});
    assert_eq!(runtime_class(&runtime("runc")), []);
    assert!(texts(runtime_class(&runtime("My_runc")))[0].starts_with("handler: Invalid value"));
    assert_eq!(
        texts(runtime_class_update(&runtime("a"), &runtime("b"))),
        ["handler: Invalid value: \"a\": field is immutable"]
    );
}

#[test]
fn events_say_where_they_are_or_who_reports_what() {
    let core = |place: &str, more: Value| {
        let mut event = json!({"metadata": {"namespace": "a"}});
        event["involvedObject"] = json!({"namespace": place});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        texts(super::event(&event))
    };
    let elsewhere =
        ["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"];
    assert_eq!(core("a", json!({})), [""; 0]);
    assert_eq!(core("b", json!({})), elsewhere);
    let timed = json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c",
        "reportingInstance": "i", "action": "Do", "reason": "Why"});
    assert_eq!(core("b", timed), [""; 0]);

    let event = json!({"metadata": {"namespace": "a"}, "regarding": {"namespace": "a"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c",
        "reportingInstance": "i", "action": "Do", "reason": "Why", "type": "Normal", "note": "n"});
    let changed = |field: &str, value: Value| {
        let mut event = event.clone();
        event[field] = value;
        event
    };
    let all = |event: &Value| {
        let errors = named_event(event).into_iter().chain(named_event_create(event));
        texts(errors.collect())
    };
    assert_eq!(all(&event), [""; 0]);
    for (field, value, error) in [
        ("reason", json!(""), "reason: Required value"),
        (
            "action",
            json!("a".repeat(129)),
            "action: Invalid value: \"\": can have at most 128 characters",
        ),
        (
            "note",
            json!("a".repeat(1025)),
            "message: Invalid value: \"\": can have at most 1024 characters",
        ),
        ("type", json!("Odd"), "type: Invalid value: \"\": has invalid value: Odd"),
        ("series", json!({"count": 1}), "series.count: Invalid value: \"\": should be at least 2"),
        ("deprecatedCount", json!(1), "count: Invalid value: \"\": needs to be unset"),
    ] {
        assert_eq!(all(&changed(field, value)), [error]);
    }
    assert_eq!(named_event_update(&changed("series", json!({"count": 2})), &event), []);
    assert_eq!(
        texts(named_event_update(&changed("note", json!("m")), &event)),
        ["message: Invalid value: \"m\": field is immutable"]
    );
}

#[test]
fn volumes_have_one_source() {
    let volume = |source: Value| {
        let mut volume = json!({"spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}}});
        volume["spec"].as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        defaults::persistent_volume(&mut volume);
        volume
    };
    let good = volume(json!({"hostPath": {"path": "/x"}}));
    assert_eq!(persistent_volume(&good), []);
    assert_eq!(
        texts(persistent_volume(&volume(json!({})))),
        ["spec: Required value: must specify a volume type"]
    );
    assert_eq!(
        texts(persistent_volume(&volume(json!({"local": {"path": "/x"}})))),
        ["spec.nodeAffinity: Required value: Local volume requires node affinity"]
    );
    let moved = volume(json!({"hostPath": {"path": "/y"}}));
    let errors = texts(persistent_volume_update(&moved, &good));
    assert!(errors[0].starts_with("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"), "{errors:?}");
}

#[test]
fn deployments_say_what_upstream_says() {
    let mut object = json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
        "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "a", "image": "i"}]}}}});
    defaults::deployment(&mut object);
    assert_eq!(
        texts(deployment(&object)),
        [
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
        ]
    );
}

#[test]
fn endpoints_lead_to_addresses_that_services_may_have() {
    let errors = |subset: Value| {
        let mut object = json!({"metadata": {"name": "e"}, "subsets": [subset]});
        defaults::endpoints(&mut object);
        texts(endpoints(&object))
    };
    let good = json!({"addresses": [{"ip": "192.0.2.1", "hostname": "a", "nodeName": "n.b"}],
        "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2, "protocol": "UDP"}]});
    assert_eq!(errors(good), [""; 0]);
    let one = |ip: &str| json!({"notReadyAddresses": [{"ip": ip}]});
    let valid = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    for (subset, expected) in [
        (
            json!({"ports": [{"port": 1}]}),
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"
                .to_owned(),
        ),
        (one("a"), format!("subsets[0].notReadyAddresses[0].ip: Invalid value: \"a\": {valid}")),
        (
            one("127.0.0.1"),
            "subsets[0].notReadyAddresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the \
             loopback range (127.0.0.0/8, ::1/128)"
                .to_owned(),
        ),
        (
            json!({"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 0}]}),
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"
                .to_owned(),
        ),
        (
            json!({"addresses": [{"ip": "192.0.2.1"}],
                "ports": [{"port": 1}, {"name": "b", "port": 2}]}),
            "subsets[0].ports[0].name: Required value".to_owned(),
        ),
    ] {
        assert_eq!(errors(subset), [expected]);
    }
}

#[test]
fn a_slice_has_addresses_of_its_type_and_keeps_it() {
    let made = |change: &Value| {
        let mut object = json!({"metadata": {"name": "e"}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 1}]});
        object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        defaults::endpoint_slice(&mut object);
        object
    };
    let to = |address: &str| json!({"endpoints": [{"addresses": [address]}]});
    for (change, expected) in [
        (json!({}), None),
        (json!({"addressType": null}), Some("addressType: Required value")),
        (
            json!({"addressType": "IPX"}),
            Some(
                "addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\", \
                 \"IPv6\"",
            ),
        ),
        (
            json!({"endpoints": [{"addresses": []}]}),
            Some("endpoints[0].addresses: Required value: must contain at least 1 address"),
        ),
        (
            to("::1"),
            Some("endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address"),
        ),
        (
            to("169.254.169.254"),
            Some(
                "endpoints[0].addresses[0]: Invalid value: \"169.254.169.254\": may not be in the \
                 link-local range (169.254.0.0/16, fe80::/10)",
            ),
        ),
        (
            json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
            Some("ports[1].name: Duplicate value: \"a\""),
        ),
    ] {
        assert_eq!(texts(endpoint_slice(&made(&change))), Vec::from_iter(expected), "{change}");
    }
    let (four, six) = (made(&json!({})), made(&json!({"addressType": "IPv6"})));
    assert_eq!(
        texts(endpoint_slice_update(&six, &four)),
        ["addressType: Invalid value: \"IPv6\": field is immutable"]
    );
}

#[test]
fn a_projected_file_comes_from_one_place() {
    let errors = |path: &str| {
        let one = |kind: &str, path: &str| json!({kind: {"name": "s", "items": [{"key": "k", "path": path}]}});
        let sources = json!([one("secret", "a"), one("configMap", path)]);
        let mut spec = container(json!({}));
        spec["volumes"] = json!([{"name": "v", "projected": {"sources": sources}}]);
        pod_errors(spec)
    };
    assert_eq!(errors("b"), [""; 0]);
    assert_eq!(
        errors("a"),
        ["spec.volumes[0].projected: Invalid value: \"s\": conflicting duplicate paths"]
    );
}
