//! Requests that were carried out and should not have been.

use super::*;

/// The body says one object and the URL another: rights were asked for the URL's.
#[test]
fn what_is_done_to_an_object_names_it_too() {
    let api = Harness::new();
    api.create("pods", "default", pod("a", json!({}))).unwrap();
    let post = |plural: &str, name: &str, subresource: &str, body: Value| {
        let mut request = api.request(Verb::Create, plural, "default", name);
        request.subresource = coracle_api::Subresource::parse(subresource);
        let said = api.call(Request { body: Body::Object(body), ..request });
        said.map_err(|status| (status.code, status.message)).map(|_| ())
    };
    let other_name =
        |kind: &str| Err((400, format!("name in URL does not match name in {kind} object")));
    let other_namespace = Err((
        400,
        "the namespace of the provided object does not match the namespace sent on the request"
            .to_owned(),
    ));
    let node = json!({"kind": "Node", "name": "n"});
    assert_eq!(post("pods", "a", "eviction", json!({})), other_name("Eviction"));
    let elsewhere = json!({"name": "a", "namespace": "zz"});
    assert_eq!(post("pods", "a", "eviction", json!({"metadata": elsewhere})), other_namespace);
    let binding = json!({"metadata": {"name": "b"}, "target": node});
    assert_eq!(post("pods", "a", "binding", binding), other_name("Binding"));
    let to_a_pod = json!({"metadata": {"name": "a"}, "target": {"kind": "Pod", "name": "n"}});
    assert_eq!(post("pods", "a", "binding", to_a_pod).unwrap_err().0, 500);
    let token = |metadata: Value| post("serviceaccounts", "default", "token", metadata);
    assert_eq!(token(json!({"metadata": {"namespace": "zz"}})), other_namespace);
    let question = json!({"metadata": {"namespace": "zz"}, "spec": {"user": "u",
        "resourceAttributes": {"namespace": "default"}}});
    assert_eq!(post("localsubjectaccessreviews", "", "", question), other_namespace);
    assert!(api.get("pods", "a").is_ok());
}

#[test]
fn a_misspelt_dry_run_deletes_nothing() {
    let api = Harness::new();
    api.create("configmaps", "default", config("a")).unwrap();
    let refused = api.delete("configmaps", "a", json!({"dryRun": ["X"]})).unwrap_err();
    assert_eq!(
        refused.message,
        "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"X\"]: supported \
         values: \"All\""
    );
    assert!(api.delete("configmaps", "a", json!({"dryRun": ["All"]})).is_ok());
    assert!(api.get("configmaps", "a").is_ok());
}

/// `kubectl replace` of a Namespace without a spec took its finalizer, and its content stayed for
/// ever in a namespace that was not there.
#[test]
fn a_namespace_loses_its_finalizer_through_finalize_only() {
    let api = Harness::new();
    let put = |subresource: &str, body: Value| {
        let mut request = api.request(Verb::Update, "namespaces", "", "default");
        request.subresource = coracle_api::Subresource::parse(subresource);
        api.call(Request { body: Body::Object(body), ..request }).map(object)
    };
    let bare = json!({"metadata": {"name": "default"}});
    assert_eq!(put("", bare.clone()).unwrap()["spec"]["finalizers"], json!(["kubernetes"]));
    let with = |finalizers: Value| json!({"metadata": {"name": "default"}, "spec": {"finalizers": finalizers}});
    assert_eq!(
        put("", with(json!(["a.b/c"]))).unwrap()["spec"]["finalizers"],
        json!(["kubernetes"])
    );
    let refused = put("finalize", with(json!(["bad"]))).unwrap_err();
    assert_eq!(
        refused.message,
        "Namespace \"default\" is invalid: spec.finalizers[0]: Invalid value: \"bad\": name is \
         neither a standard finalizer name nor is it fully qualified"
    );
    let kept = put("finalize", with(json!(["a.b/c"]))).unwrap();
    assert_eq!(kept["spec"]["finalizers"], json!(["a.b/c"]));
}

#[test]
fn a_patch_does_not_say_when_an_object_was_deleted_nor_who_it_is() {
    let api = Harness::new();
    api.create("configmaps", "default", config("a")).unwrap();
    let patch = |metadata: Value| {
        let body =
            Body::Encoded(Content::MergePatch, json!({"metadata": metadata}).to_string().into());
        let request = api.request(Verb::Patch, "configmaps", "default", "a");
        api.call(Request { body, ..request }).map(object)
    };
    for (field, value) in [("deletionTimestamp", "2024-01-01T00:00:00Z"), ("uid", "zz")] {
        let refused = patch(json!({field: value})).unwrap_err();
        let why = format!(
            "ConfigMap \"a\" is invalid: metadata.{field}: Invalid value: \"{value}\": field is immutable"
        );
        assert_eq!((refused.code, refused.message), (422, why));
    }
    let nameless = patch(Value::Null).unwrap_err();
    assert_eq!(
        (nameless.code, &*nameless.message),
        (400, "the name of the object (a based on URL) was undeterminable: name must be provided")
    );
    let wrong = patch(json!({"labels": {"z": 5}})).unwrap_err();
    assert_eq!((wrong.code, &*wrong.reason), (422, "Invalid"));
}

fn named(name: &str, groups: &[&str]) -> User {
    let groups = groups.iter().map(ToString::to_string).collect();
    User { name: name.into(), groups, ..User::default() }
}

/// Whoever may write requests could approve them, and ask for the group that no rule limits.
#[test]
fn a_signer_s_name_is_a_right_of_its_own() {
    use base64::Engine;
    let api = Harness::new();
    let rule = json!({"verbs": ["approve"], "apiGroups": ["certificates.k8s.io"],
        "resources": ["signers"], "resourceNames": ["example.com/*"]});
    let admin = |plural: &str, body: Value| {
        let request = api.request(Verb::Create, plural, "", "");
        let user = User::system("test");
        api.call(Request { user, body: Body::Object(body), ..request }).unwrap();
    };
    admin("clusterroles", json!({"metadata": {"name": "approver"}, "rules": [rule]}));
    admin(
        "clusterrolebindings",
        json!({"metadata": {"name": "approver"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approver"},
        "subjects": [{"kind": "User", "name": "ann"}]}),
    );
    let csr = |group: &str, signer: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = base64::engine::general_purpose::STANDARD.encode(pem);
        json!({"metadata": {"name": "a"}, "spec": {"request": request, "signerName": signer,
            "usages": ["client auth"]}})
    };
    let client = "kubernetes.io/kube-apiserver-client";
    let plural = "certificatesigningrequests";
    let masters = api.create(plural, "", csr("system:masters", client)).unwrap_err();
    assert_eq!(
        masters.message,
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    let made = api.create(plural, "", csr("staff", "example.com/x")).unwrap();
    let update = |user: &str, subresource: &str, status: Value| {
        let mut body = made.clone();
        body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        body["status"] = status;
        let request = api.request(Verb::Update, plural, "", "a");
        let (user, subresource) = (named(user, &[]), coracle_api::Subresource::parse(subresource));
        let body = Body::Object(body);
        api.call(Request { user, subresource, body, ..request }).map_err(|status| status.message)
    };
    let approved = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "x"}]});
    let refused = update("bob", "approval", approved.clone()).unwrap_err();
    assert!(
        refused
            .ends_with("user not permitted to approve requests with signerName \"example.com/x\"")
    );
    assert!(update("ann", "approval", approved.clone()).is_ok());
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let mut issued = approved;
    issued["certificate"] = base64::engine::general_purpose::STANDARD.encode(pem).into();
    let refused = update("ann", "status", issued).unwrap_err();
    assert!(refused.contains("user not permitted to sign requests"), "{refused}");
}

/// With the annotation of a mirror, nothing looked at the pod's account.
#[test]
fn a_mirror_pod_has_no_account_and_no_secrets() {
    let api = Harness::new();
    let mirror = |more: Value| {
        let mut pod = pod("a", more);
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["spec"]["nodeName"] = "n".into();
        api.create("pods", "default", pod).map_err(|status| status.message)
    };
    let token =
        json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}, "name": "v"});
    for (more, why) in [
        (json!({"serviceAccountName": "none"}), "reference service accounts"),
        (json!({"volumes": [token]}), "use ServiceAccountToken volume projections"),
        (json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}), "reference secrets"),
    ] {
        let refused = mirror(more).unwrap_err();
        assert_eq!(refused, format!("pods \"a\" is forbidden: a mirror pod may not {why}"));
    }
}

/// A certificate or an impersonation for the name of a controller handed out any right.
#[test]
fn a_controller_s_name_carries_none_of_its_rights() {
    let api = Harness::new();
    let create = |user: User, plural: &str, body: Value| {
        let request = api.request(Verb::Create, plural, "", "");
        api.call(Request { user, body: Body::Object(body), ..request }).map(object)
    };
    let rule = json!({"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"]});
    let all = json!({"metadata": {"name": "all"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"],
        "resources": ["*"]}]});
    let name = "system:controller:clusterrole-aggregation-controller";
    let system = || User::system("test");
    create(system(), "clusterroles", json!({"metadata": {"name": "writer"}, "rules": [rule]}))
        .unwrap();
    create(
        system(),
        "clusterrolebindings",
        json!({"metadata": {"name": "writer"}, "subjects": [{"kind": "User", "name": name}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "writer"}}),
    )
    .unwrap();
    let refused = create(named(name, &[]), "clusterroles", all.clone()).unwrap_err();
    assert_eq!(refused.code, 403, "{refused}");
    let engine = User { is_engine: true, ..named(name, &[]) };
    assert!(create(engine, "clusterroles", all).is_ok());
}
