//! What admission has an audit log remember of a request, refused ones too.

use coracle_api::resources::{
    CONFIG_MAPS, NAMESPACES, PODS, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
};

use super::*;

/// What is remembered of `request`, which is audited.
fn remembered(api: &Harness, mut request: Request, is_audited: bool) -> Value {
    request.options.is_audited = is_audited;
    match api.call(request) {
        Ok(reply) => json!(reply.annotations),
        Err(status) => json!(status.annotations.unwrap_or_default()),
    }
}

fn created(api: &Harness, resource: &str, body: Value) -> Request {
    let request = api.request(Verb::Create, resource, "default", "");
    let user = User { groups: vec!["system:masters".into()], ..User::default() };
    Request { user, body: Body::Object(body), ..request }
}

#[test]
fn levels_of_pods_are_remembered_where_they_are_only_looked_at() {
    let api = Harness::new();
    let mut namespace = api.get(NAMESPACES, "default").unwrap();
    namespace["metadata"]["labels"] = json!({
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/audit-version": "v1.30",
    });
    api.update(NAMESPACES, namespace).unwrap();
    let pod = |spec: Value| {
        let mut spec = spec;
        spec["containers"] = json!([{"name": "a", "image": "b"}]);
        created(&api, PODS, json!({"metadata": {"name": "p"}, "spec": spec}))
    };
    for spec in [json!({}), json!({"hostNetwork": true})] {
        let said = remembered(&api, pod(spec.clone()), true);
        assert_eq!(said["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
        let told = said["pod-security.kubernetes.io/audit-violations"].as_str().unwrap();
        assert!(told.starts_with("would violate PodSecurity \"restricted:v1.30\": "), "{told}");
        assert_eq!(remembered(&api, pod(spec), false), json!({}));
    }
}

#[test]
fn what_policies_say_is_remembered_once_for_all_their_bindings() {
    let api = Harness::new();
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{"operations": ["*"], "apiGroups": [""],
            "apiVersions": ["*"], "resources": ["configmaps"]}]},
        "validations": [{"expression": "true"},
            {"expression": "object.metadata.name != 'odd'", "message": "it is odd"}],
        "auditAnnotations": [{"key": "name", "valueExpression": "'the ' + object.metadata.name"},
            {"key": "none", "valueExpression": "null"}],
    }});
    api.call(created(&api, "validatingadmissionpolicies", policy)).unwrap();
    assert_eq!(
        VALIDATING_ADMISSION_POLICIES.split('.').next(),
        Some("validatingadmissionpolicies")
    );
    for (name, actions) in [("a", json!(["Warn", "Audit"])), ("b", json!(["Deny"]))] {
        let spec = json!({"policyName": "p", "validationActions": actions});
        let plural = VALIDATING_ADMISSION_POLICY_BINDINGS.split('.').next().unwrap();
        let body = json!({"metadata": {"name": name}, "spec": spec});
        api.call(created(&api, plural, body)).unwrap();
    }
    let said = remembered(&api, created(&api, CONFIG_MAPS, config("even")), true);
    assert_eq!(said, json!({"p/name": "the even"}));
    let said = remembered(&api, created(&api, CONFIG_MAPS, config("odd")), true);
    assert_eq!(said["p/name"], "the odd");
    let failures = said["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    let failures: Value = serde_json::from_str(failures).unwrap();
    assert_eq!(
        failures,
        json!([{"message": "it is odd", "policy": "p", "binding": "a", "expressionIndex": 1,
            "validationActions": ["Warn", "Audit"]}])
    );
    assert_eq!(remembered(&api, created(&api, CONFIG_MAPS, config("odd")), false), json!({}));
}
