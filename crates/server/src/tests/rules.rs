//! Rules in the schemas of definitions.

use serde_json::{Value, json};

use super::{Harness, definition};

fn ruled(rules: Value) -> Value {
    let mut ruled = definition();
    let schema = &mut ruled["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["x-kubernetes-validations"] = rules;
    ruled
}

fn boat(name: &str, length: i64) -> Value {
    json!({"metadata": {"name": name}, "spec": {"length": length}})
}

#[test]
fn objects_are_held_to_the_rules_of_their_definition() {
    let api = Harness::new();
    let rules = json!([
        {"rule": "self.length > 0", "message": "boats have a length", "fieldPath": ".length"},
        {"rule": "self.length >= oldSelf.length", "messageExpression":
         "'was %d'.format([oldSelf.length])"},
    ]);
    api.create("customresourcedefinitions", "", ruled(rules)).unwrap();
    let refused = api.create("boats", "default", boat("a", 0)).unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (422, "Boat.example.com \"a\" is invalid: spec.length: Invalid value: boats have a length")
    );
    let mut made = api.create("boats", "default", boat("a", 3)).unwrap();
    made["spec"]["length"] = 2.into();
    let refused = api.update("boats", made.clone()).unwrap_err();
    assert_eq!(refused.message, "Boat.example.com \"a\" is invalid: spec: Invalid value: was 3");
    made["spec"]["length"] = 4.into();
    api.update("boats", made).unwrap();
    let mut wrong = boat("b", 0);
    wrong["spec"]["length"] = "x".into();
    let refused = api.create("boats", "default", wrong).unwrap_err();
    let details = refused.details.unwrap();
    let told = details.causes.last().unwrap();
    assert_eq!(told.field.as_str(), "<nil>");
    assert!(told.message.contains("some validation rules were not checked"), "{}", told.message);
}

#[test]
fn a_definition_whose_rules_make_no_sense_is_refused_and_what_stays_is_not_asked_again() {
    let api = Harness::new();
    let bad = ruled(json!([{"rule": "self.size > 1"}]));
    let refused = api.create("customresourcedefinitions", "", bad).unwrap_err();
    assert_eq!(refused.code, 422);
    let told = refused.message.as_str();
    assert!(
        told.contains(
            "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
        ),
        "{told}"
    );
    assert!(
        told.ends_with(
            "compilation failed: ERROR: <input>:1:5: undefined field 'size'\n | self.size > 1\n | ....^"
        ),
        "{told}"
    );
    let good = ruled(json!([{"rule": "self.length > 1"}]));
    let mut made = api.create("customresourcedefinitions", "", good).unwrap();
    made["metadata"]["labels"] = json!({"a": "b"});
    let made = api.update("customresourcedefinitions", made).unwrap();
    let mut second = made.clone();
    let mut version = made["spec"]["versions"][0].clone();
    version["name"] = "v2".into();
    version["storage"] = false.into();
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([{"rule": "self.length"}]);
    second["spec"]["versions"].as_array_mut().unwrap().push(version);
    let refused = api.update("customresourcedefinitions", second).unwrap_err().message;
    assert!(
        refused.contains("spec.versions[1].schema.openAPIV3Schema.properties[spec]")
            && refused.contains("cel expression must evaluate to a bool"),
        "{refused}"
    );
}

#[test]
fn a_rule_that_came_later_only_warns_of_what_stays() {
    let api = Harness::new();
    let mut defined = api.create("customresourcedefinitions", "", definition()).unwrap();
    let mut made = api.create("boats", "default", boat("a", 1)).unwrap();
    let schema = &mut defined["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["length"]["x-kubernetes-validations"] =
        json!([{"rule": "self > 5"}]);
    api.update("customresourcedefinitions", defined).unwrap();
    made["spec"]["color"] = "blue".into();
    let mut made = api.update("boats", made).unwrap();
    made["spec"]["length"] = 2.into();
    let refused = api.update("boats", made).unwrap_err();
    assert!(refused.message.contains("spec.length: Invalid value: 2: failed rule: self > 5"));
}
