//! What the rows of kinds that nothing acts on refuse, through defaults and checks as a write goes.

use serde_json::{Value, json};

use crate::{FieldError, Kinds, defaults};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(|error| error.to_string().replace(SUBDOMAIN, "SUBDOMAIN")).collect()
}

/// What is wrong with a new object.
fn refused(api_version: &str, kind: &str, mut object: Value) -> Vec<String> {
    let kinds = Kinds::builtin();
    let row = kinds.of_object(api_version, kind).unwrap();
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    defaults::apply(row, &mut object);
    let mut errors = (row.strategy.validate)(&object);
    errors.extend((row.strategy.validate_create)(&object));
    texts(&errors)
}

/// What is wrong with a change.
fn refused_change(api_version: &str, kind: &str, new: &Value, old: &Value) -> Vec<String> {
    let kinds = Kinds::builtin();
    let row = kinds.of_object(api_version, kind).unwrap();
    texts(&(row.strategy.validate_update)(new, old))
}

#[test]
fn autoscalers_name_what_they_scale_and_by_what() {
    let spec = json!({"maxReplicas": 0, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
        "metrics": [{"type": "Pods", "pods": {"metric": {}, "target": {"type": "AverageValue"}}}],
        "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1}]}}});
    assert_eq!(
        refused("autoscaling/v2", "HorizontalPodAutoscaler", json!({"spec": spec})),
        [
            "spec.maxReplicas: Required value: must be set and greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
            "spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group",
            "spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
            "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
        ]
    );
}

#[test]
fn hooks_and_policies_say_when_they_are_asked() {
    let hook = json!({"name": "a.b", "admissionReviewVersions": ["v7"], "sideEffects": "Some",
        "clientConfig": {"url": "http://x"},
        "rules": [{"operations": ["NOPE"], "apiGroups": ["z"], "apiVersions": ["*", "v1"],
            "resources": ["pods"]}]});
    assert_eq!(
        refused(
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            json!({"webhooks": [hook]})
        ),
        [
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            "webhooks[0].rules[0].operations[0]: Unsupported value: \"NOPE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            "webhooks[0].rules[0].apiVersions: Invalid value: [\"*\",\"v1\"]: if '*' is present, must not specify other API versions",
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v7\"]: must include at least one of v1, v1beta1",
        ]
    );
    assert_eq!(
        refused("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", json!({})),
        [
            "spec.matchConstraints: Required value",
            "spec.mutations: Required value: mutations must contain at least one item",
            "spec.reinvocationPolicy: Required value",
        ]
    );
    let both = json!({"spec": {"policyName": "p", "validationActions": ["Deny", "Warn"]}});
    let errors =
        refused("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", both);
    assert!(errors[0].contains("must not contain both Deny and Warn"), "{errors:?}");
}

#[test]
fn networks_are_ranges_and_backends_are_one_thing() {
    let peers = json!({"spec": {"podSelector": {}, "egress": [{
        "to": [{"ipBlock": {"cidr": "bad"}, "podSelector": {}}, {}],
        "ports": [{"port": "x_y", "endPort": 5}, {"endPort": 6}]}]}});
    assert_eq!(
        refused("networking.k8s.io/v1", "NetworkPolicy", peers),
        [
            "spec.egress[0].ports[0].endPort: Invalid value: 5: may not be specified when `port` is non-numeric",
            "spec.egress[0].ports[0].port: Invalid value: \"x_y\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "spec.egress[0].ports[1].endPort: Invalid value: 6: may not be specified when `port` is not specified",
            "spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"bad\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
            "spec.egress[0].to[1]: Required value: must specify a peer",
        ]
    );
    let backend = json!({"service": {"name": "s", "port": {"number": 1}}, "resource": {}});
    let rules = json!([{"host": "1.2.3.4"}, {"host": "*.a.b", "http": {"paths": [{"path": "x"}]}}]);
    assert_eq!(
        refused(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"defaultBackend": backend, "rules": rules}})
        ),
        [
            "spec.defaultBackend: Invalid value: \"\": cannot set both resource and service backends",
            "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
            "spec.rules[1].http.paths[0].pathType: Required value: pathType must be specified",
        ]
    );
}

#[test]
fn limits_are_in_order_and_quotas_count_whole_things() {
    let limit = json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "5"},
        "maxLimitRequestRatio": {"cpu": "10"}});
    assert_eq!(
        refused("v1", "LimitRange", json!({"spec": {"limits": [limit]}})),
        [
            "spec.limits[0].min[cpu]: Invalid value: \"5\": min value 5 is greater than max value 2",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": min value 5 is greater than default request value 2",
            "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 5 is greater than default value 2",
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"10\": ratio 10 is greater than max/min = 0.400000",
        ]
    );
    let quota = json!({"spec": {"hard": {"pods": "1500m"}, "scopeSelector": {"matchExpressions": [
        {"scopeName": "Nope", "operator": "In"}]}}});
    assert_eq!(
        refused("v1", "ResourceQuota", quota),
        [
            "spec.scopeSelector.matchExpressions.scopeName: Invalid value: \"Nope\": unsupported scope",
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
        ]
    );
}

#[test]
fn nodes_keep_their_ranges_and_providers() {
    let node = |spec: Value| json!({"spec": spec});
    let old =
        node(json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "a"}));
    assert_eq!(
        refused_change("v1", "Node", &node(json!({})), &old),
        [
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ]
    );
    assert_eq!(refused_change("v1", "Node", &old, &node(json!({}))), [""; 0]);
    let tainted = node(json!({"taints": [{"key": "a", "effect": "Nope"}]}));
    assert_eq!(
        refused("v1", "Node", tainted),
        [
            "metadata.taints[0].effect: Unsupported value: \"Nope\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
        ]
    );
}

#[test]
fn drivers_and_devices_are_named_and_stay() {
    let node = |id: &str| json!({"spec": {"drivers": [{"name": "d", "nodeID": id}]}});
    let changed = refused_change("storage.k8s.io/v1", "CSINode", &node("b"), &node("a"));
    assert!(changed[0].ends_with(": field is immutable"), "{changed:?}");
    let claim = json!({"spec": {"devices": {
        "requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}],
        "constraints": [{"requests": ["s"], "matchAttribute": "d.example.com/a"}]}}});
    assert_eq!(
        refused("resource.k8s.io/v1", "ResourceClaim", claim),
        [
            "spec.devices.constraints[0].requests[0]: Invalid value: \"s\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
        ]
    );
    let slice = json!({"spec": {"driver": "d", "pool": {"name": "p", "resourceSliceCount": 1},
        "devices": [{"name": "a", "attributes": {"a": {}}}]}});
    assert_eq!(
        refused("resource.k8s.io/v1", "ResourceSlice", slice),
        [
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
        ]
    );
}

#[test]
fn flows_have_a_level_and_services_of_the_api_their_name() {
    let schema = json!({"metadata": {"name": "f"}, "spec": {"rules": [{"subjects": [
        {"kind": "User"}], "resourceRules": [{"verbs": ["nope"], "apiGroups": ["*"],
            "resources": ["*"], "namespaces": ["*"]}]}]}});
    assert_eq!(
        refused("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", schema),
        [
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"nope\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
        ]
    );
    let service = json!({"metadata": {"name": "v2.a.b"}, "spec": {"group": "a.b", "version": "v1",
        "groupPriorityMinimum": 1, "versionPriority": 1001}});
    assert_eq!(
        refused("apiregistration.k8s.io/v1", "APIService", service),
        [
            "metadata.name: Invalid value: \"v2.a.b\": must be `spec.version+\".\"+spec.group`: \"v1.a.b\"",
            "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
        ]
    );
}

/// A Job as the server makes it ready to be checked.
fn prepared_job(spec: Value) -> Value {
    let kinds = Kinds::builtin();
    let row = kinds.of_object("batch/v1", "Job").unwrap();
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "j", "uid": "u"}, "spec": spec});
    job["spec"]["template"]["spec"] =
        json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    defaults::apply(row, &mut job);
    (row.strategy.prepare_create)(&mut job);
    job
}

#[test]
fn a_job_selects_its_pods_by_labels_of_its_own() {
    let kinds = Kinds::builtin();
    let row = kinds.of_object("batch/v1", "Job").unwrap();
    let job = prepared_job(json!({}));
    let uid = json!({"batch.kubernetes.io/controller-uid": "u"});
    assert_eq!(job["spec"]["selector"]["matchLabels"], uid);
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["batch.kubernetes.io/job-name"], "j");
    assert_eq!(labels["controller-uid"], "u");
    assert_eq!((row.strategy.validate)(&job), []);
    let manual = prepared_job(json!({"manualSelector": true}));
    assert_eq!(
        texts(&(row.strategy.validate)(&manual)),
        [
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ]
    );
    let other = prepared_job(json!({"selector": {"matchLabels": {"a": "b"}}}));
    let errors = texts(&(row.strategy.validate)(&other));
    assert!(errors[0].ends_with("`selector` not auto-generated"), "{errors:?}");
    let indexed = prepared_job(json!({"completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "x"}]}}));
    assert_eq!(
        texts(&(row.strategy.validate)(&indexed)),
        [
            "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"x\": error parsing succeededIndexes: cannot convert string to integer for index: \"x\""
        ]
    );
}

#[test]
fn a_suspended_job_may_be_sent_elsewhere() {
    let kinds = Kinds::builtin();
    let row = kinds.of_object("batch/v1", "Job").unwrap();
    let moved = |suspend: bool| {
        let old = prepared_job(json!({"suspend": suspend}));
        let mut new = old.clone();
        new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
        texts(&(row.strategy.validate_update)(&new, &old))
    };
    assert_eq!(moved(true), [""; 0]);
    assert!(moved(false)[0].ends_with(": field is immutable"));
}

#[test]
fn cron_jobs_have_a_schedule_and_room_for_the_names_of_their_jobs() {
    let long = "a23456789012345678901234567890123456789012345678901234";
    let job = json!({"metadata": {"name": long}, "spec": {"schedule": "* * *", "timeZone": "",
        "jobTemplate": {"spec": {"manualSelector": true, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}});
    assert_eq!(
        refused("batch/v1", "CronJob", job),
        [
            "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]",
            "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string",
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            &format!("metadata.name: Invalid value: {long:?}: must be no more than 52 characters"),
        ]
    );
}

#[test]
fn requests_for_certificates_are_requests() {
    let request = json!({"spec": {"request": "eHg=", "signerName": "nope", "usages": ["x"]}});
    let errors = refused("certificates.k8s.io/v1", "CertificateSigningRequest", request);
    assert_eq!(
        errors[0],
        "spec.request: Invalid value: \"eHg=\": PEM block type must be CERTIFICATE REQUEST"
    );
    assert!(errors[1].starts_with("spec.usages[0]: Unsupported value: \"x\""), "{errors:?}");
    assert_eq!(
        errors[2],
        "spec.signerName: Invalid value: \"nope\": must be a fully qualified domain and path of the form 'example.com/signer-name'"
    );
}

/// What is wrong with a definition with this schema of a field `a`.
fn refused_schema(a: Value) -> Vec<String> {
    let root = json!({"type": "object", "properties": {"a": a}});
    let definition = json!({"metadata": {"name": "boats.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": root}}]}});
    refused("apiextensions.k8s.io/v1", "CustomResourceDefinition", definition)
}

#[test]
fn a_definition_has_a_schema_of_one_shape() {
    let at = "spec.validation.openAPIV3Schema.properties[a]";
    for (a, why) in [
        (json!({}), ".type: Required value: must not be empty for specified object fields"),
        (json!({"type": "array"}), ".items: Required value: must be specified"),
        (
            json!({"type": "integer", "default": "x"}),
            ".default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "properties": {}, "default": {"z": 1}}),
            ".default: Invalid value: {\"z\":1}: must not have unknown fields",
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {
                "b": {"type": "string"}}}, "default": [{"b": "x", "z": 1}]}),
            ".default: Invalid value: [{\"b\":\"x\",\"z\":1}]: must not have unknown fields",
        ),
        (
            json!({"type": "string", "allOf": [{"type": "string"}]}),
            ".allOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}),
            ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
    ] {
        assert_eq!(refused_schema(a), [format!("{at}{why}")]);
    }
    for good in [
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
        json!({"type": "string", "enum": ["a"], "default": "a", "pattern": "^\\p{L}+$"}),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    ] {
        assert_eq!(refused_schema(good), [""; 0]);
    }
}

#[test]
fn the_status_of_a_pod_has_addresses_and_its_class() {
    let status = |status: Value| {
        let old = json!({"status": {"qosClass": "Burstable"}});
        texts(&crate::validation::pod_status(&json!({"status": status}), &old))
    };
    assert_eq!(status(json!({"qosClass": "Burstable", "podIP": "10.0.0.1"})), [""; 0]);
    assert_eq!(
        status(json!({"qosClass": "Guaranteed", "podIP": "bad", "nominatedNodeName": "Bad_N"})),
        [
            "status.nominatedNodeName: Invalid value: \"Bad_N\": SUBDOMAIN",
            "status.podIPs[0]: Invalid value: \"bad\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
        ]
    );
}
