use super::*;
use serde_json::json;

fn defaulted(default: fn(&mut Value), mut value: Value) -> Value {
    default(&mut value);
    let mut again = value.clone();
    default(&mut again);
    assert_eq!(again, value, "defaults are idempotent");
    value
}

#[test]
fn a_template_gets_what_upstreams_does() {
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"serviceName": "s",
        "template": {"spec": {"serviceAccountName": "me",
            "containers": [{"name": "a", "image": "nginx", "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}});
    let set = defaulted(stateful_set, set);
    assert_eq!(
        set["spec"]["template"]["spec"],
        json!({"serviceAccountName": "me", "serviceAccount": "me", "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always", "securityContext": {}, "terminationGracePeriodSeconds": 30,
            "schedulerName": "default-scheduler",
            "containers": [{"name": "a", "image": "nginx", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                    "failureThreshold": 3},
                "env": [{"name": "X", "valueFrom":
                    {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}]}],
            "volumes": [{"name": "v", "emptyDir": {}},
                {"name": "c", "configMap": {"name": "c", "defaultMode": 420}}]})
    );
    let spec = &set["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["podManagementPolicy"], "OrderedReady");
    assert_eq!(
        spec["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    );
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!(
        spec["volumeClaimTemplates"][0],
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"volumeMode": "Filesystem", "resources": {}}, "status": {"phase": "Pending"}})
    );
}

#[test]
fn a_named_strategy_keeps_its_absent_parameters() {
    let set = json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}, "replicas": 0}});
    let set = defaulted(stateful_set, set);
    assert_eq!(set["spec"]["updateStrategy"], json!({"type": "RollingUpdate"}));
    assert_eq!(set["spec"]["replicas"], 0, "no replicas are a number of replicas");
}

#[test]
fn a_pod_requests_what_it_is_limited_to() {
    let spec = json!({"hostNetwork": true, "containers": [{"name": "a", "image": "a:1",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100u"}}}]});
    let pod = defaulted(pod, json!({"spec": spec}));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["resources"]["requests"], json!({"cpu": "1m", "memory": "1Gi"}));
    assert_eq!(container["ports"][0]["hostPort"], 80);
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(pod["spec"]["enableServiceLinks"], true);
}

#[test]
fn images_without_a_tag_are_pulled_each_time() {
    for (image, policy) in [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("host:5000/a", "Always"),
        ("host:5000/a:1", "IfNotPresent"),
        ("a@sha256:0123", "IfNotPresent"),
    ] {
        let pod = defaulted(pod, json!({"spec": {"containers": [{"image": image}]}}));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn services_differ_by_type() {
    let plain = defaulted(service, json!({"spec": {"ports": [{"port": 80}]}}));
    assert_eq!(
        plain["spec"],
        json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "type": "ClusterIP",
            "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"})
    );
    let balancer = defaulted(service, json!({"spec": {"type": "LoadBalancer"}}));
    assert_eq!(balancer["spec"]["allocateLoadBalancerNodePorts"], true);
    assert_eq!(balancer["spec"]["externalTrafficPolicy"], "Cluster");
    let external = defaulted(service, json!({"spec": {"type": "ExternalName"}}));
    assert_eq!(external["spec"].get("internalTrafficPolicy"), None);
    let sticky = defaulted(service, json!({"spec": {"sessionAffinity": "ClientIP"}}));
    assert_eq!(
        sticky["spec"]["sessionAffinityConfig"],
        json!({"clientIP": {"timeoutSeconds": 10800}})
    );
}

#[test]
fn a_secret_stores_text_as_bytes() {
    let secret = defaulted(secret, json!({"data": {"a": "AA=="}, "stringData": {"b": "hi"}}));
    assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "AA==", "b": "aGk="}}));
}

#[test]
fn deployments_and_jobs_are_complete() {
    let deployment = defaulted(deployment, json!({"spec": {"template": {"spec": {}}}}));
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(deployment["spec"]["progressDeadlineSeconds"], 600);
    let job = defaulted(job, json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}));
    assert_eq!(job["spec"]["completions"], 1);
    assert_eq!(job["spec"]["backoffLimit"], 6);
    let cron = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}});
    let cron = defaulted(cron_job, cron);
    let template = &cron["spec"]["jobTemplate"]["spec"]["template"];
    assert_eq!(template["spec"]["restartPolicy"], "Always");
}

#[test]
fn others_get_theirs() {
    let class = defaulted(storage_class, json!({}));
    assert_eq!(class, json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}));
    let ns = defaulted(namespace, json!({"metadata": {"name": "a"}}));
    assert_eq!(ns["metadata"]["labels"]["kubernetes.io/metadata.name"], "a");
    let binding = json!({"roleRef": {"kind": "Role"}, "subjects": [{"kind": "User"}]});
    let binding = defaulted(role_binding, binding);
    assert_eq!(binding["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    let policy = defaulted(network_policy, json!({"spec": {"egress": [{}]}}));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
}

#[test]
fn defaults_of_the_schema_reach_deep() {
    let schema = crate::schema::Schema::builtin();
    let ty = schema.type_named("io.k8s.api.core.v1.Pod").unwrap();
    let mut pod = json!({"spec": {"containers": [{"ports": [{"containerPort": 1}]}]}});
    of_schema(schema, ty, &mut pod);
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
}
