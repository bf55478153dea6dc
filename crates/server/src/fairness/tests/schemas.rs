//! Which schema a request is of.

use coracle_api::Object;
use coracle_api::resources::{FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS};
use coracle_store::Snapshot;
use http::Method;
use serde_json::{Value, json};

use super::super::level::Response;
use super::super::rules::{Digest, Rules};
use crate::User;
use crate::pipeline::parse::{self, Query};

fn schema(name: &str, precedence: u32, level: &str, by: Option<&str>, rule: Value) -> Object {
    let value = json!({
        "metadata": {"name": name, "uid": format!("uid-of-{name}")},
        "spec": {
            "matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": level},
            "distinguisherMethod": by.map(|by| json!({"type": by})),
            "rules": [rule],
        },
    });
    Object::with_resource(FLOW_SCHEMAS, value).unwrap()
}

fn level(name: &str, spec: Value) -> Object {
    let value = json!({"metadata": {"name": name, "uid": format!("uid-of-{name}")}, "spec": spec});
    Object::with_resource(PRIORITY_LEVEL_CONFIGURATIONS, value).unwrap()
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn rules() -> Rules {
    let everything = json!({
        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
        "clusterScope": true,
    });
    let any_path = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
    let pods = json!({
        "verbs": ["list", "watch"], "apiGroups": [""], "resources": ["pods", "pods/status"],
        "namespaces": ["a", "b"],
    });
    let account = json!({"kind": "ServiceAccount",
        "serviceAccount": {"namespace": "kube-system", "name": "*"}});
    let queuing = json!({"queues": 16, "handSize": 4, "queueLengthLimit": 50});
    let objects = [
        level(
            "low",
            json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 7, "lendablePercent": 20, "borrowingLimitPercent": 30,
            "limitResponse": {"type": "Queue", "queuing": queuing}}}),
        ),
        level(
            "catch-all",
            json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}),
        ),
        schema(
            "lister",
            50,
            "low",
            Some("ByNamespace"),
            json!({"subjects": [group("listers")], "resourceRules": [pods]}),
        ),
        schema(
            "system",
            40,
            "low",
            None,
            json!({"subjects": [account], "resourceRules": [everything.clone()]}),
        ),
        schema(
            "dangling",
            1,
            "nowhere",
            None,
            json!({"subjects": [group("*")], "resourceRules": [everything]}),
        ),
        schema(
            "probes",
            2,
            "exempt",
            None,
            json!({"subjects": [group("*")], "nonResourceRules": [
                {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}]}),
        ),
        schema(
            "paths",
            60,
            "low",
            Some("ByUser"),
            json!({"subjects": [{"kind": "User", "user": {"name": "eve"}}],
                "nonResourceRules": [any_path]}),
        ),
    ];
    Rules::of(&Snapshot::of(objects).unwrap())
}

fn classified(rules: &Rules, user: (&str, &str), method: &Method, uri: &str) -> (String, String) {
    let uri: http::Uri = uri.parse().unwrap();
    let query = Query::parse(uri.query().unwrap_or_default());
    let route = parse::route(method, uri.path(), &query);
    let user = User { name: user.0.into(), groups: vec![user.1.into()], ..User::default() };
    let asked = Digest { user: &user, route: &route, method: method.as_str() };
    let (schema, flow) = rules.classify(&asked);
    (schema.name.to_string(), flow.to_owned())
}

#[test]
fn the_first_schema_that_matches_has_a_request() {
    let rules = rules();
    let is = |name: &str, flow: &str| (name.to_owned(), flow.to_owned());
    let (lister, eve) = (("x", "listers"), ("eve", "g"));
    let system = ("system:serviceaccount:kube-system:dns", "g");
    for (user, method, uri, expected) in [
        (lister, Method::GET, "/api/v1/namespaces/a/pods", is("lister", "a")),
        (lister, Method::GET, "/api/v1/namespaces/b/pods?watch=1", is("lister", "b")),
        (lister, Method::GET, "/api/v1/namespaces/c/pods", is("catch-all", "x")),
        (lister, Method::GET, "/api/v1/pods", is("catch-all", "x")),
        (lister, Method::GET, "/api/v1/namespaces/a/pods/p", is("catch-all", "x")),
        (lister, Method::GET, "/apis/apps/v1/namespaces/a/pods", is("catch-all", "x")),
        (system, Method::PUT, "/apis/apps/v1/namespaces/a/deployments/d", is("system", "")),
        (system, Method::GET, "/version", is("catch-all", system.0)),
        (
            ("system:serviceaccount:kube-systems:x", "g"),
            Method::GET,
            "/api/v1/nodes",
            is("catch-all", "system:serviceaccount:kube-systems:x"),
        ),
        (eve, Method::GET, "/healthz", is("probes", "")),
        (eve, Method::GET, "/healthz/etcd", is("probes", "")),
        (eve, Method::GET, "/healthzz", is("paths", "eve")),
        (eve, Method::GET, "/apis/apps", is("probes", "")),
        (eve, Method::POST, "/healthz", is("paths", "eve")),
    ] {
        let said = classified(&rules, user, &method, uri);
        assert_eq!(said, expected, "{user:?} {method} {uri}");
    }
}

#[test]
fn levels_are_read_and_the_mandatory_ones_are_always_there() {
    let rules = rules();
    let found = |name: &str| rules.levels.iter().find(|level| &*level.name == name).unwrap();
    let low = found("low");
    assert_eq!((low.shares, low.lendable, low.borrowing), (7, 20, Some(30)));
    assert_eq!(low.response, Response::Queue { queues: 16, hand: 4, longest: 50 });
    assert_eq!(found("catch-all").response, Response::Reject);
    assert_eq!(found("exempt").response, Response::Exempt);
    let none = Rules::of(&Snapshot::default());
    assert_eq!(none.levels.len(), 2);
    assert_eq!(classified(&none, ("x", "g"), &Method::GET, "/version").0, "catch-all");
}

#[test]
fn what_lasts_as_its_client_likes_is_not_limited() {
    let long = |uri: &str| {
        let uri: http::Uri = uri.parse().unwrap();
        let query = Query::parse(uri.query().unwrap_or_default());
        let route = parse::route(&Method::GET, uri.path(), &query);
        let asked = Digest { user: &User::default(), route: &route, method: "GET" };
        (asked.is_long(), asked.is_watch())
    };
    let pod = "/api/v1/namespaces/a/pods/p";
    for part in ["log", "exec", "attach", "portforward", "proxy/x"] {
        assert_eq!(long(&format!("{pod}/{part}")), (true, false), "{part}");
    }
    assert_eq!(long(pod), (false, false));
    assert_eq!(long("/api/v1/namespaces/a/pods?watch=true"), (false, true));
}

#[test]
fn rules_are_made_anew_when_an_object_changes_and_not_before() {
    let objects = || [level("catch-all", json!({"type": "Limited"}))];
    let snapshot = Snapshot::of(objects()).unwrap();
    let rules = Rules::of(&snapshot);
    assert!(rules.are_of(&snapshot));
    assert!(!rules.are_of(&Snapshot::of(objects()).unwrap()));
    assert!(!rules.are_of(&Snapshot::default()));
}
