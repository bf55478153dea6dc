//! Admission policies: which are about a write, with which params, and what becomes of what they say.

use coracle_api::resources::{
    CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, NAMESPACES,
    VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS,
};

use super::*;

fn plural(resource: &str) -> &str {
    resource.split('.').next().unwrap()
}

/// A policy about `resources`, with `more` in its spec.
fn policy(api: &Harness, name: &str, resources: &[&str], more: Value) -> Result<Value, Status> {
    let mut spec = json!({"matchConstraints": {"resourceRules": [{"operations": ["*"],
        "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}]}});
    merge(&mut spec, more);
    let body = json!({"metadata": {"name": name}, "spec": spec});
    as_master(api, plural(VALIDATING_ADMISSION_POLICIES), body)
}

fn as_master(api: &Harness, plural: &str, body: Value) -> Result<Value, Status> {
    let request = api.request(Verb::Create, plural, "default", "");
    let user = User { groups: vec!["system:masters".into()], ..User::default() };
    api.call(Request { user, body: Body::Object(body), ..request }).map(object)
}

fn bind(api: &Harness, policy: &str, name: &str, more: Value) {
    let mut spec = json!({"policyName": policy, "validationActions": ["Deny"]});
    merge(&mut spec, more);
    let body = json!({"metadata": {"name": name}, "spec": spec});
    as_master(api, plural(VALIDATING_ADMISSION_POLICY_BINDINGS), body).unwrap();
}

fn merge(into: &mut Value, more: Value) {
    for (field, value) in more.as_object().into_iter().flatten() {
        into[field] = value.clone();
    }
}

fn labelled(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}})
}

fn made(api: &Harness, body: Value) -> Result<Value, (u16, String)> {
    let made = api.create(CONFIG_MAPS, "default", body);
    made.map_err(|status| (status.code, status.message))
}

#[test]
fn a_policy_refuses_what_breaks_it_where_it_is_bound() {
    let api = Harness::new();
    let validations = json!([
        {"expression": "variables.data.a != '1'", "reason": "Forbidden",
            "messageExpression": "'not ' + variables.data.a"},
        {"expression": "false", "message": "never"},
    ]);
    let variables = json!([{"name": "data", "expression": "object.data"}]);
    let more = json!({"validations": validations, "variables": variables});
    policy(&api, "p", &["configmaps"], more).unwrap();
    made(&api, config("unbound")).unwrap();
    bind(
        &api,
        "p",
        "b",
        json!({"matchResources": {"objectSelector": {"matchLabels": {"x": "y"}}}}),
    );
    made(&api, config("other")).unwrap();
    let refused = api.create(CONFIG_MAPS, "default", labelled("a", json!({"x": "y"}))).unwrap_err();
    let said = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not 1";
    assert_eq!((refused.code, &*refused.reason), (403, "Forbidden"));
    assert_eq!(refused.message, format!("configmaps \"a\" is forbidden: {said}"));
    let details = refused.details.unwrap();
    assert_eq!((details.name.as_str(), details.kind.as_str()), ("a", "configmaps"));
    assert_eq!(details.causes[0].message, said);

    let mut changed = labelled("other", json!({"x": "y"}));
    changed["data"]["a"] = "2".into();
    let refused = api.update(CONFIG_MAPS, changed).unwrap_err();
    assert_eq!((refused.code, &*refused.reason), (422, "Invalid"));
    assert!(refused.message.ends_with("denied request: never"), "{}", refused.message);
    api.delete(plural(VALIDATING_ADMISSION_POLICY_BINDINGS), "b", json!({})).unwrap();
    made(&api, labelled("a", json!({"x": "y"}))).unwrap();
}

#[test]
fn warnings_are_said_and_nothing_is_refused() {
    let api = Harness::new();
    policy(&api, "p", &["*/*"], json!({"validations": [{"expression": "false"}]})).unwrap();
    bind(&api, "p", "b", json!({"validationActions": ["Warn", "Audit"]}));
    let request = api.request(Verb::Create, CONFIG_MAPS, "default", "");
    let reply = api.call(Request { body: Body::Object(config("a")), ..request }).unwrap();
    assert_eq!(
        reply.warnings,
        [
            "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: \
          false"
        ]
    );
    // Policies are not about policies: else none could be mended.
    bind(&api, "p", "c", json!({}));
    bind(&api, "p", "d", json!({}));
    assert!(made(&api, config("b")).is_err());
    let request = api.request(Verb::Delete, CONFIG_MAPS, "default", "a");
    let mut dry = Request { body: Body::Object(json!({"dryRun": ["All"]})), ..request };
    dry.options.dry_run = true;
    assert_eq!(api.call(dry).unwrap_err().code, 422);
}

#[test]
fn params_are_found_by_name_and_by_labels() {
    let api = Harness::new();
    let more = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "marked", "expression": "has(object.metadata.labels)"}],
        "validations": [{"expression": "object.data.a != params.data.a",
            "messageExpression": "'not as ' + params.metadata.name"}],
    });
    policy(&api, "p", &["configmaps"], more).unwrap();
    made(&api, config("limits")).unwrap();
    let by = |param: Value| {
        let _ = api.delete(plural(VALIDATING_ADMISSION_POLICY_BINDINGS), "b", json!({}));
        bind(&api, "p", "b", json!({"paramRef": param}));
        made(&api, labelled("x", json!({"is": "marked"})))
            .map(|_| {
                api.delete(CONFIG_MAPS, "x", json!({})).unwrap();
            })
            .map_err(|(_, message)| message.rsplit("denied request: ").next().unwrap().to_owned())
    };
    let named = |name: &str, action: &str| json!({"name": name, "parameterNotFoundAction": action});
    assert_eq!(by(named("limits", "Deny")), Err("not as limits".to_owned()));
    assert_eq!(by(named("none", "Allow")), Ok(()));
    let missing = "failed to configure binding: no params found for policy binding with `Deny` \
                   parameterNotFoundAction";
    assert_eq!(by(named("none", "Deny")), Err(missing.to_owned()));
    let mut elsewhere = named("limits", "Allow");
    elsewhere["namespace"] = "other".into();
    assert_eq!(by(elsewhere), Ok(()));
    let by_labels = |labels: Value| json!({"selector": {"matchLabels": labels}, "parameterNotFoundAction": "Deny"});
    assert_eq!(by(by_labels(json!({"is": "limit"}))), Err(missing.to_owned()));
    assert_eq!(by(by_labels(json!({}))), Err("not as limits".to_owned()));
    let without = made(&api, labelled("y", Value::Null));
    without.unwrap();
}

#[test]
fn params_may_be_of_a_kind_that_comes_later() {
    let api = Harness::new();
    let kind = json!({"apiVersion": "example.com/v1", "kind": "Boat"});
    let validation = json!([{"expression": "object.data.a != string(params.spec.length)"}]);
    let strict = json!({"paramKind": kind, "validations": validation});
    policy(&api, "p", &["configmaps"], strict).unwrap();
    bind(&api, "p", "b", json!({"paramRef": {"name": "limit", "parameterNotFoundAction": "Deny"}}));
    let (code, message) = made(&api, config("a")).unwrap_err();
    assert_eq!(code, 422);
    assert!(
        message.ends_with(
            "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to \
             find resource referenced by paramKind: 'example.com/v1, Kind=Boat'"
        ),
        "{message}"
    );
    api.create(CUSTOM_RESOURCE_DEFINITIONS.split('.').next().unwrap(), "", definition()).unwrap();
    let boat = |length: i64| json!({"metadata": {"name": "limit"}, "spec": {"length": length}});
    let mut limit = api.create("boats", "default", boat(1)).unwrap();
    let (_, message) = made(&api, config("a")).unwrap_err();
    assert!(message.contains("failed expression"), "{message}");
    limit["spec"]["length"] = 2.into();
    api.update("boats", limit).unwrap();
    made(&api, config("a")).unwrap();
}

#[test]
fn what_a_policy_forgives_is_no_refusal() {
    let api = Harness::new();
    let more = |fails: &str| {
        json!({"failurePolicy": fails, "validations": [{"expression": "object.none == 1"}],
            "paramKind": {"apiVersion": "example.com/v1", "kind": "None"}})
    };
    policy(&api, "open", &["configmaps"], more("Ignore")).unwrap();
    bind(&api, "open", "a", json!({}));
    bind(&api, "open", "b", json!({"paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}}));
    made(&api, config("a")).unwrap();
    let closed = json!({"validations": [{"expression": "object.none == 1"}]});
    policy(&api, "closed", &["configmaps"], closed).unwrap();
    bind(&api, "closed", "c", json!({}));
    let (code, message) = made(&api, config("b")).unwrap_err();
    assert_eq!(code, 422);
    let why = "expression 'object.none == 1' resulted in error: no such key: none";
    assert!(message.ends_with(why), "{message}");
}

#[test]
fn rules_name_objects_and_leave_some_out_and_equivalents_are_seen_in_their_form() {
    let api = Harness::new();
    let rule = |more: Value| {
        let mut rule = json!({"operations": ["CREATE", "DELETE"], "apiGroups": [""],
            "apiVersions": ["*"], "resources": ["configmaps"]});
        merge(&mut rule, more);
        rule
    };
    let constraints = json!({
        "resourceRules": [rule(json!({}))],
        "excludeResourceRules": [rule(json!({"resourceNames": ["spared"]}))],
    });
    let validations = json!([{"expression": "request.operation == 'CREATE' ? object.data.a == '2' : \
        oldObject.data.a == '2'"}]);
    let more = json!({"matchConstraints": constraints, "validations": validations});
    policy(&api, "p", &[], more).unwrap();
    made(&api, config("a")).unwrap();
    bind(&api, "p", "b", json!({}));
    assert!(made(&api, config("b")).is_err());
    made(&api, config("spared")).unwrap();
    assert_eq!(api.delete(CONFIG_MAPS, "a", json!({})).unwrap_err().code, 422);
    api.delete(CONFIG_MAPS, "spared", json!({})).unwrap();

    let events = json!({"resourceRules": [{"operations": ["*"], "apiGroups": [""],
        "apiVersions": ["v1"], "resources": ["events"]}]});
    let validations = json!([{"expression": "object.involvedObject.name != 'x' && \
        request.requestKind.group == 'events.k8s.io' && request.kind.group == ''"}]);
    policy(&api, "e", &[], json!({"matchConstraints": events, "validations": validations}))
        .unwrap();
    bind(&api, "e", "e", json!({}));
    let event = |of: &str| {
        let kinds = api.api.kinds();
        let kind = Arc::clone(kinds.kind("events.k8s.io", "v1", "Event").unwrap());
        let body = json!({"metadata": {"name": of}, "regarding": {"name": of, "namespace": "default"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a/b",
            "reportingInstance": "i", "action": "x", "reason": "y", "type": "Normal"});
        let request = api.request(Verb::Create, "events", "default", "");
        api.call(Request { kind, body: Body::Object(body), ..request }).map(drop)
    };
    event("y").unwrap();
    assert_eq!(event("x").unwrap_err().code, 422);
}

#[test]
fn namespaces_and_parts_of_objects_are_seen_as_what_they_are() {
    let api = Harness::new();
    let validations = json!([{"expression": "namespaceObject == null || \
        namespaceObject.metadata.labels.tier != 'gold'"}]);
    policy(&api, "p", &["configmaps", "namespaces"], json!({"validations": validations})).unwrap();
    bind(&api, "p", "b", json!({}));
    let gold = json!({"metadata": {"name": "gold", "labels": {"tier": "gold"}}});
    api.create(NAMESPACES, "", gold).unwrap();
    assert_eq!(api.create(CONFIG_MAPS, "gold", config("a")).unwrap_err().code, 422);
    let validations = json!([{"expression": "object.kind == 'Scale' && object.spec.replicas < 3"}]);
    policy(&api, "s", &["deployments/scale"], json!({"validations": validations})).unwrap();
    bind(&api, "s", "s", json!({}));
    let mut deployment = stateful_set("web");
    deployment["spec"].as_object_mut().unwrap().remove("serviceName");
    deployment["spec"]["replicas"] = 5.into();
    api.create(plural(DEPLOYMENTS), "default", deployment).unwrap();
    let scaled = |replicas: i64| {
        let body = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": replicas}});
        let request = api.request(Verb::Update, plural(DEPLOYMENTS), "default", "web");
        let subresource = Some(Subresource::Scale);
        api.call(Request { subresource, body: Body::Object(body), ..request }).map(drop)
    };
    scaled(2).unwrap();
    assert_eq!(scaled(4).unwrap_err().code, 422);
}

#[test]
fn who_may_do_something_is_asked_of_the_rules_for_roles() {
    let api = Harness::new();
    let validations = json!([{"expression": "authorizer.group('').resource('secrets')\
        .namespace(request.namespace).check('get').allowed()", "message": "no secrets, no configs"}]);
    policy(&api, "p", &["configmaps"], json!({"validations": validations})).unwrap();
    bind(&api, "p", "b", json!({}));
    let (_, message) = made(&api, config("a")).unwrap_err();
    assert!(message.ends_with("no secrets, no configs"));
    let role = json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""],
        "resources": ["secrets"]}]});
    as_master(&api, "clusterroles", role).unwrap();
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "test"}]});
    as_master(&api, "clusterrolebindings", binding).unwrap();
    made(&api, config("a")).unwrap();
}

#[test]
fn whoever_writes_a_policy_must_be_allowed_to_get_its_params() {
    let api = Harness::new();
    let param = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "validations": [{"expression": "params == null"}]});
    let mut written = policy(&api, "q", &["configmaps"], param).unwrap();
    written["metadata"] = json!({"name": "p"});
    let policies = plural(VALIDATING_ADMISSION_POLICIES);
    let refused = api.create(policies, "", written).unwrap_err();
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.message,
        "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: spec.paramKind: \
         Forbidden: user &{test  [] map[]} must have \"get\" permission on all objects of the \
         referenced paramKind (kind=Secret, apiVersion=v1)"
    );
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "q",
        "validationActions": ["Deny"],
        "paramRef": {"name": "x", "namespace": "y", "parameterNotFoundAction": "Deny"}}});
    let bindings = plural(VALIDATING_ADMISSION_POLICY_BINDINGS);
    let refused = api.create(bindings, "", binding).unwrap_err();
    let why = "spec.paramRef: Forbidden: user &{test  [] map[]} does not have \"get\" permission on \
               the object referenced by paramRef";
    assert!(refused.message.ends_with(why), "{}", refused.message);
}

#[test]
fn expressions_that_make_no_sense_are_refused_and_those_that_stay_are_not_asked_again() {
    let api = Harness::new();
    let wrong = json!({"validations": [{"expression": "object.spec.x >"}]});
    let refused = policy(&api, "p", &["configmaps"], wrong).unwrap_err();
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains("spec.validations[0].expression"), "{}", refused.message);
    assert!(refused.message.contains("compilation failed"), "{}", refused.message);
}
