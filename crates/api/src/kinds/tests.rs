use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::kind::{Scope, Verb};
use crate::schema::Schema;

#[test]
fn every_row_has_a_definition_and_a_plural_of_its_own() {
    let kinds = Kinds::builtin();
    let mut seen = BTreeSet::new();
    for kind in kinds.iter() {
        assert!(Schema::builtin().type_named(&kind.schema).is_some(), "{}", kind.schema);
        assert!(seen.insert((kind.api_version(), kind.plural.clone())), "{} twice", kind.plural);
        assert!(kind.subresources.is_sorted_by(|a, b| a.name < b.name), "{}", kind.plural);
    }
}

#[test]
fn kinds_are_found_by_plural_kind_and_storage() {
    let kinds = Kinds::builtin();
    let sets = kinds.resource("apps", "v1", "statefulsets").unwrap();
    assert_eq!(sets.kind, "StatefulSet");
    assert_eq!(kinds.of_object("apps/v1", "StatefulSet").unwrap().plural, "statefulsets");
    assert_eq!(kinds.of_object("v1", "Pod").unwrap().plural, "pods");
    assert_eq!(kinds.stored("statefulsets.apps").unwrap().kind, "StatefulSet");
    assert_eq!(kinds.stored("events").unwrap().api_version(), "v1");
    let autoscalers = kinds.stored("horizontalpodautoscalers.autoscaling").unwrap();
    assert_eq!(autoscalers.api_version(), "autoscaling/v2");
    assert!(kinds.stored("tokenreviews.authentication.k8s.io").is_none());
    assert!(kinds.stored("events.events.k8s.io").is_none());
    assert!(kinds.resource("apps", "v1beta1", "statefulsets").is_none());
}

#[test]
fn groups_come_in_upstreams_order_and_new_ones_last() {
    let row = |group: &'static str, version: &'static str| {
        Kind::new(group, version, "Boat", "boats", Scope::Namespaced)
    };
    let kinds = Kinds::builtin().with([
        row("z.example.com", "v1beta1"),
        row("b.example.com", "v1"),
        row("z.example.com", "v1"),
        row("z.example.com", "v2"),
    ]);
    let names: Vec<&str> = kinds.groups().iter().map(|group| group.name.as_ref()).collect();
    assert_eq!(names[..4], ["", "apiregistration.k8s.io", "apps", "events.k8s.io"]);
    assert_eq!(names[names.len() - 2..], ["b.example.com", "z.example.com"]);
    let versions: Vec<&str> =
        kinds.group("z.example.com").unwrap().versions.iter().map(|v| v.name.as_ref()).collect();
    assert_eq!(versions, ["v2", "v1", "v1beta1"]);
    assert!(Kinds::builtin().group("b.example.com").is_none());
}

#[test]
fn versions_are_ordered_by_maturity() {
    let mut versions = ["v1alpha1", "foo10", "v1beta1", "v10", "v2", "v1beta2", "bar", "v11alpha2"];
    versions.sort_by(|a, b| by_maturity(a, b));
    let expected = ["v10", "v2", "v1beta2", "v1beta1", "v11alpha2", "v1alpha1", "bar", "foo10"];
    assert_eq!(versions, expected);
}

#[test]
fn reviews_are_created_and_not_stored() {
    let kinds = Kinds::builtin();
    let review = kinds.resource("authorization.k8s.io", "v1", "subjectaccessreviews").unwrap();
    assert_eq!(review.verbs.as_ref(), [Verb::Create]);
    assert!(!review.is_stored());
}

fn spelled(kind: &Kind, mut object: serde_json::Value) -> serde_json::Value {
    kind.spell(&mut object);
    object
}

#[test]
fn an_event_of_the_new_group_is_stored_as_the_old_one() {
    let kinds = Kinds::builtin();
    let kind = kinds.resource("events.k8s.io", "v1", "events").unwrap();
    let shown = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "regarding": {"name": "web-0"}, "note": "hello", "reportingController": "c",
    });
    let mut event = shown.clone();
    kind.to_storage(&mut event);
    assert_eq!(event["apiVersion"], "v1");
    assert_eq!(event["involvedObject"]["name"], "web-0");
    assert_eq!(event["message"], "hello");
    kind.from_storage(&mut event);
    assert_eq!(spelled(kind, event), spelled(kind, shown));
}

#[test]
fn an_autoscaler_of_v1_is_stored_as_v2() {
    let kinds = Kinds::builtin();
    let kind = kinds.resource("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
    let shown = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80},
    });
    let mut hpa = shown.clone();
    kind.to_storage(&mut hpa);
    assert_eq!(hpa["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    kind.from_storage(&mut hpa);
    assert_eq!(spelled(kind, hpa.clone()), spelled(kind, shown));

    hpa["spec"]["behavior"] = json!({"scaleDown": {"selectPolicy": "Max"}});
    kind.from_storage(&mut hpa);
    assert!(hpa["spec"].get("behavior").is_none());
    kind.to_storage(&mut hpa);
    assert_eq!(hpa["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Max");
    assert!(hpa["metadata"].get("annotations").is_none());
}
