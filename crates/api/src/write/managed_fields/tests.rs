use super::*;
use crate::kind::tests::STATEFUL_SETS;
use crate::kind::{Subresource, SubresourceRow};
use serde_json::json;
use std::borrow::Cow;

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

fn kind() -> Kind {
    let status =
        SubresourceRow { name: Subresource::Status, body: None, verbs: Cow::Borrowed(&[]) };
    Kind { subresources: Cow::Owned(vec![status]), ..STATEFUL_SETS }
}

fn target<'a>(kind: &'a Kind, subresource: &'a str) -> Target<'a> {
    Target { schema: Schema::builtin(), kind, subresource }
}

fn set(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
}

/// The spec of a set of which `spec` is said.
fn whole(spec: Value) -> Value {
    spelled(set(spec))["spec"].clone()
}

fn spelled(mut object: Value) -> Value {
    kind().spell(&mut object);
    object
}

fn with_uid(mut object: Value) -> Value {
    object["metadata"]["uid"] = json!("1");
    object
}

/// `manager: paths` of each entry, in order.
fn owners(object: &Value) -> Vec<(String, Vec<String>)> {
    let list = managed_fields(object).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter()
        .map(|entry| {
            let name = entry["manager"].as_str().unwrap().to_string();
            (name, FieldSet::parse(&entry["fieldsV1"]).unwrap().paths())
        })
        .collect()
}

fn applied(
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, ApplyError> {
    apply(target(&kind(), ""), live, config, manager, force, T2)
}

#[test]
fn a_creator_owns_what_it_set() {
    let mut object = set(json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}}));
    object["status"] = json!({"replicas": 0});
    track_update(target(&kind(), ""), None, &mut object, "kubectl-create", T1);
    let entry = &object["metadata"]["managedFields"][0];
    assert_eq!(entry["operation"], "Update");
    assert_eq!(entry["time"], T1);
    let fields = &entry["fieldsV1"];
    assert_eq!(fields.get("f:status"), None, "status belongs to its subresource");
    assert_eq!(fields.get("f:metadata"), None);
    let container = &fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
    assert_eq!(
        *container,
        json!({".": {}, "f:image": {}, "f:name": {}, "f:ports": {".": {},
            "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                {".": {}, "f:containerPort": {}, "f:protocol": {}}}})
    );
    assert_eq!(fields["f:spec"]["f:selector"], json!({}), "a selector is one field");
    let labels = &fields["f:spec"]["f:template"]["f:metadata"]["f:labels"];
    assert_eq!(*labels, json!({".": {}, "f:a": {}}));
}

#[test]
fn a_change_moves_the_field_to_who_made_it() {
    let kind = kind();
    let mut live = set(json!({"replicas": 1, "serviceName": "s"}));
    track_update(target(&kind, ""), None, &mut live, "a", T1);
    let live = with_uid(live);
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(2);
    track_update(target(&kind, ""), Some(&live), &mut new, "b", T2);
    assert_eq!(
        owners(&new),
        [
            ("a".to_string(), vec![".spec.serviceName".to_string()]),
            ("b".to_string(), vec![".spec.replicas".to_string()])
        ]
    );
    let mut same = new.clone();
    track_update(target(&kind, ""), Some(&new), &mut same, "c", "2027-01-01T00:00:00Z");
    assert_eq!(same, new, "who changes nothing leaves no trace");
    let mut scaled = new.clone();
    scaled["spec"]["replicas"] = json!(3);
    track_update(target(&kind, "scale"), Some(&new), &mut scaled, "kubectl", T2);
    let scale = &scaled["metadata"]["managedFields"][1];
    assert_eq!((&scale["subresource"], &scale["manager"]), (&json!("scale"), &json!("kubectl")));
}

#[test]
fn entries_can_be_cleared_and_then_stay_so() {
    let kind = kind();
    let mut live = set(json!({"replicas": 1}));
    track_update(target(&kind, ""), None, &mut live, "a", T1);
    let live = with_uid(live);
    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([{}]);
    track_update(target(&kind, ""), Some(&live), &mut new, "b", T2);
    assert_eq!(managed_fields(&new), None);
    let mut later = new.clone();
    later["spec"]["replicas"] = json!(2);
    track_update(target(&kind, ""), Some(&new), &mut later, "b", T2);
    assert_eq!(managed_fields(&later), None);
    let mut forgetful = live.clone();
    forgetful["metadata"].as_object_mut().unwrap().remove("managedFields");
    track_update(target(&kind, ""), Some(&live), &mut forgetful, "b", T2);
    assert_eq!(owners(&forgetful)[0].0, "a", "who does not know entries does not lose them");
}

#[test]
fn applying_owns_and_applying_less_removes() {
    let first =
        applied(None, &set(json!({"replicas": 1, "serviceName": "s"})), "helm", false).unwrap();
    assert_eq!(
        owners(&first),
        [("helm".to_string(), vec![".spec.replicas".to_string(), ".spec.serviceName".to_string()])]
    );
    assert_eq!(first["metadata"]["managedFields"][0]["operation"], "Apply");
    let live = with_uid(first);
    let second = applied(Some(&live), &set(json!({"serviceName": "s"})), "helm", false).unwrap();
    assert_eq!(second["spec"], whole(json!({"serviceName": "s"})));
    let again = applied(Some(&second), &set(json!({"serviceName": "s"})), "helm", false).unwrap();
    assert_eq!(again, second);
}

#[test]
fn what_another_owns_too_stays_when_one_lets_go() {
    let live = with_uid(
        applied(None, &set(json!({"replicas": 1, "serviceName": "s"})), "a", false).unwrap(),
    );
    let live = applied(Some(&live), &set(json!({"replicas": 1})), "b", false).unwrap();
    let live = applied(Some(&live), &set(json!({"serviceName": "s"})), "a", false).unwrap();
    assert_eq!(live["spec"], whole(json!({"replicas": 1, "serviceName": "s"})));
    let live = applied(Some(&live), &set(json!({})), "b", false).unwrap();
    assert_eq!(live["spec"], whole(json!({"serviceName": "s"})));
}

#[test]
fn changing_what_others_own_is_a_conflict_unless_forced() {
    let kind = kind();
    let live = with_uid(
        applied(None, &set(json!({"replicas": 1, "serviceName": "s"})), "helm", false).unwrap(),
    );
    let mut edited = live.clone();
    edited["spec"]["replicas"] = json!(5);
    track_update(target(&kind, ""), Some(&live), &mut edited, "kubectl-edit", T2);
    let config = set(json!({"replicas": 1, "serviceName": "s"}));
    let error = applied(Some(&edited), &config, "helm", false).unwrap_err();
    let status = error.status();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using apps/v1: .spec.replicas"
    );
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
    let causes = &status.details.unwrap().causes;
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(causes[0].message, "conflict with \"kubectl-edit\" using apps/v1");
    assert_eq!(causes[0].field, ".spec.replicas");
    let forced = applied(Some(&edited), &config, "helm", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 1);
    assert_eq!(owners(&forced).len(), 1, "who owns nothing any more is forgotten");
    let agreed = applied(Some(&edited), &set(json!({"replicas": 5})), "other", false).unwrap();
    assert_eq!(owners(&agreed).len(), 3, "wanting the same is no conflict");
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let live = with_uid(
        applied(None, &set(json!({"replicas": 1, "serviceName": "s"})), "a", false).unwrap(),
    );
    let config = set(json!({"replicas": 2, "serviceName": "t"}));
    assert_eq!(
        applied(Some(&live), &config, "b", false).unwrap_err().to_string(),
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.replicas\n- .spec.serviceName"
    );
}

fn pod_template(containers: Value) -> Value {
    set(json!({"template": {"spec": {"containers": containers}}}))
}

#[test]
fn items_of_lists_are_owned_by_their_keys() {
    let config =
        pod_template(json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]));
    let mut live = with_uid(applied(None, &config, "helm", false).unwrap());
    // What defaulting adds must not cost the item its owner.
    let container = &mut live["spec"]["template"]["spec"]["containers"][0];
    container["ports"][0]["protocol"] = json!("TCP");
    container["imagePullPolicy"] = json!("Always");
    let same = applied(Some(&live), &config, "helm", false).unwrap();
    assert_eq!(same, live);
    let sidecar = pod_template(json!([{"name": "b", "image": "y"}]));
    let both = applied(Some(&live), &sidecar, "injector", false).unwrap();
    let names = |object: &Value| -> Vec<String> {
        let list = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        list.iter().map(|c| c["name"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(names(&both), ["a", "b"]);
    let renamed = pod_template(json!([{"name": "c", "image": "x"}]));
    let renamed = applied(Some(&both), &renamed, "helm", false).unwrap();
    let mut found = names(&renamed);
    found.sort();
    assert_eq!(found, ["b", "c"], "the item goes with what was defaulted in it");
}

#[test]
fn what_others_added_to_an_item_keeps_it() {
    let kind = kind();
    let config = pod_template(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]));
    let live = with_uid(applied(None, &config, "helm", false).unwrap());
    let mut edited = live.clone();
    edited["spec"]["template"]["spec"]["containers"][1]["tty"] = json!(true);
    track_update(target(&kind, ""), Some(&live), &mut edited, "kubectl-edit", T2);
    let less = pod_template(json!([{"name": "a", "image": "x"}]));
    let result = applied(Some(&edited), &less, "helm", false).unwrap();
    let left = &result["spec"]["template"]["spec"]["containers"];
    // As upstream: the item's own membership was helm's alone, so it goes with it.
    assert_eq!(left[0]["name"], "a");
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    let unknown = applied(None, &set(json!({"foo": 1})), "helm", false).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "failed to create typed patch object (default/web; apps/v1, Kind=StatefulSet): .spec.foo: field not declared in schema"
    );
    assert_eq!(unknown.status().code, 500);
    let text = |config: Value| applied(None, &config, "helm", false).unwrap_err().to_string();
    assert!(
        text(set(json!({"replicas": "lots"})))
            .ends_with(".spec.replicas: expected numeric (int or float), got string")
    );
    let twice = json!([{"name": "x", "env": [{"name": "A"}, {"name": "A"}]}]);
    assert!(text(pod_template(twice)).ends_with(
        ".spec.template.spec.containers[name=\"x\"].env: duplicate entries for key [name=\"A\"]"
    ));
    let keyless = json!([{"image": "x"}]);
    assert!(text(pod_template(keyless)).contains("element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"));
    let mut config = set(json!({}));
    config["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    assert_eq!(text(config), "metadata.managedFields must be nil");
    let mut config = set(json!({}));
    config["apiVersion"] = json!("apps/v1beta1");
    assert_eq!(applied(None, &config, "helm", false).unwrap_err().status().code, 400);
}

#[test]
fn an_object_without_entries_gets_one_for_its_past() {
    let live = with_uid(set(json!({"replicas": 1, "serviceName": "s"})));
    let error = applied(Some(&live), &set(json!({"replicas": 2})), "helm", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
    let result = applied(Some(&live), &set(json!({"replicas": 1})), "helm", false).unwrap();
    assert_eq!(owners(&result).len(), 2);
}

#[test]
fn kubectl_takes_over_from_its_own_client_side_apply() {
    let kind = kind();
    let config = set(json!({"replicas": 1}));
    let mut live = config.clone();
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": config.to_string()});
    track_update(target(&kind, ""), None, &mut live, "kubectl-client-side-apply", T1);
    let live = with_uid(live);
    let new = set(json!({"replicas": 2}));
    assert!(applied(Some(&live), &new, "helm", false).is_err());
    let result = applied(Some(&live), &new, "kubectl", false).unwrap();
    assert_eq!(result["spec"]["replicas"], 2);
    let kept =
        result["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
            .as_str()
            .unwrap();
    assert!(kept.contains("\"replicas\":2"), "{kept}");
}

#[test]
fn helm_moves_its_releases_over_by_patching_the_entries() {
    let kind = kind();
    let mut live = set(json!({"replicas": 1, "serviceName": "s"}));
    track_update(target(&kind, ""), None, &mut live, "helm", T1);
    let live = with_uid(live);
    // csaupgrade: the Update entry becomes an Apply entry of the same manager.
    let mut moved = live.clone();
    moved["metadata"]["managedFields"][0]["operation"] = json!("Apply");
    track_update(target(&kind, ""), Some(&live), &mut moved, "helm", T2);
    assert_eq!(moved["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    assert_eq!(moved["metadata"]["managedFields"][0]["operation"], "Apply");
    let result = applied(Some(&moved), &set(json!({"serviceName": "s"})), "helm", false).unwrap();
    assert_eq!(
        result["spec"],
        whole(json!({"serviceName": "s"})),
        "what the chart dropped is removed"
    );
}

#[test]
fn defaults_inside_of_what_is_one_field_are_no_conflict() {
    let mut kind = kind();
    kind.strategy.default = crate::defaults::stateful_set;
    let config = set(json!({"serviceName": "s",
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        "template": {"spec": {"containers": [{"name": "a", "env": [{"name": "P",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]}}}));
    let mut live = config.clone();
    crate::defaults::apply(&kind, &mut live);
    track_update(target(&kind, ""), None, &mut live, "kubectl-create", T1);
    let live = with_uid(live);
    let target = target(&kind, "");
    let result = apply(target, Some(&live), &config, "helm", false, T2).unwrap();
    assert_eq!(result["spec"], live["spec"]);
    let again = apply(target, Some(&result), &config, "helm", false, "2027-01-01T00:00:00Z");
    assert_eq!(again.unwrap(), result);
}

#[test]
fn status_is_owned_through_its_subresource_alone() {
    let kind = kind();
    let live = with_uid(applied(None, &set(json!({"replicas": 1})), "helm", false).unwrap());
    let mut new = live.clone();
    new["status"] = json!({"replicas": 1});
    new["spec"]["replicas"] = json!(9);
    track_update(target(&kind, "status"), Some(&live), &mut new, "controller", T2);
    let entry = &new["metadata"]["managedFields"][1];
    assert_eq!(entry["subresource"], "status");
    assert_eq!(owners(&new)[1].1, [".status.replicas"]);
    assert_eq!(owners(&new)[0].1, [".spec.replicas"]);
}

#[test]
fn a_manager_without_a_name_is_called_after_its_program() {
    assert_eq!(manager_name("", "kubectl/v1.37.0 (linux/amd64)"), "kubectl");
    assert_eq!(manager_name("helm", "Helm/4"), "helm");
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> impl Strategy<Value = Value> {
        let label = prop::collection::btree_map("[ab]", "[xy]", 0..3);
        let container = prop::option::of(("[xy]", prop::option::of(1_u16..3)));
        (prop::option::of(0_i32..3), label, prop::collection::vec(container, 3)).prop_map(
            |(replicas, labels, containers)| {
                let mut spec = json!({"template": {"spec": {}}});
                if let Some(replicas) = replicas {
                    spec["replicas"] = json!(replicas);
                }
                if !labels.is_empty() {
                    spec["template"]["metadata"] = json!({"labels": labels});
                }
                let named = containers.into_iter().zip(["a", "b", "c"]);
                let list: Vec<Value> = named
                    .filter_map(|(container, name)| {
                        let (image, port) = container?;
                        let ports: Vec<Value> = port
                            .iter()
                            .map(|p| json!({"containerPort": p, "protocol": "TCP"}))
                            .collect();
                        Some(json!({"name": name, "image": image, "ports": ports}))
                    })
                    .collect();
                if !list.is_empty() {
                    spec["template"]["spec"]["containers"] = json!(list);
                }
                set(spec)
            },
        )
    }

    fn without_entries(object: &Value) -> Value {
        let mut object = object.clone();
        set_managed_fields(&mut object, &Entries::default());
        object
    }

    proptest! {
        #[test]
        fn applying_twice_is_applying_once(config in spec()) {
            let once = with_uid(applied(None, &config, "a", false).unwrap());
            let twice = applied(Some(&once), &config, "a", false).unwrap();
            prop_assert_eq!(twice, once);
        }

        #[test]
        fn a_lone_manager_gets_what_it_applies(first in spec(), second in spec()) {
            let live = with_uid(applied(None, &first, "a", false).unwrap());
            let result = applied(Some(&live), &second, "a", false).unwrap();
            let wanted = typed::field_set(target(&kind(), "").place(), &spelled(second));
            let found = typed::field_set(target(&kind(), "").place(), &without_entries(&result));
            let uid = FieldSet::of_fields(&["metadata", "uid"]);
            prop_assert_eq!(found.difference(&uid).difference(&wanted), FieldSet::default());
            prop_assert_eq!(wanted.difference(&found), FieldSet::default());
        }

        #[test]
        fn forcing_gives_the_configuration(first in spec(), second in spec()) {
            let live = with_uid(applied(None, &first, "a", false).unwrap());
            let result = applied(Some(&live), &second, "b", true).unwrap();
            let kind = kind();
            let place = target(&kind, "").place();
            let changes = typed::compare(place, &without_entries(&result), &spelled(second));
            prop_assert_eq!(changes.modified, FieldSet::default());
            prop_assert_eq!(changes.added, FieldSet::default());
        }

        #[test]
        fn a_change_has_exactly_one_owner(first in spec(), second in spec()) {
            let kind = kind();
            let mut live = first;
            track_update(target(&kind, ""), None, &mut live, "a", T1);
            let live = with_uid(live);
            let mut new = with_uid(second);
            track_update(target(&kind, ""), Some(&live), &mut new, "b", T2);
            let sets: Vec<FieldSet> = Entries::parse(managed_fields(&new)).unwrap()
                .by_manager.into_values().map(|owned| owned.set).collect();
            if let [a, b] = sets.as_slice() {
                prop_assert!(a.intersection(b).is_empty());
            }
        }
    }
}
