//! What is wrong with the expressions of a ValidatingAdmissionPolicy for the kinds that it is about:
//! told in its status, once a generation, and in nobody's way.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::kinds::{custom, split_api_version};
use coracle_api::resources::{CUSTOM_RESOURCE_DEFINITIONS, VALIDATING_ADMISSION_POLICIES};
use coracle_api::{Key, Kind};
use coracle_cel::admission::{Policy, typed};
use coracle_cel::{Type, described};
use coracle_store::Snapshot;
use serde_json::{Value, json};

use crate::Context;
use crate::json::{set, with};
use crate::plan::{Plan, Write};
use crate::served;
use crate::table::{Controller, itself};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "validatingadmissionpolicy-status-controller",
    serial: false,
    watches: &[(VALIDATING_ADMISSION_POLICIES, itself)],
    decide,
};

/// Kinds of one rule that are looked at.
const KINDS_MAX: usize = 10;

/// Says in its status what is wrong with the policy at `key`.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let Some(policy) = snapshot.get(key) else { return Plan::default() };
    let observed = policy.value()["status"]["observedGeneration"].as_i64().unwrap_or_default();
    let generation = policy.metadata().generation.unwrap_or_default();
    if generation <= observed || policy.metadata().is_deleting() {
        return Plan::default();
    }
    let warnings = warnings(snapshot, &policy.value()["spec"]);
    let checked = match warnings.is_empty() {
        true => json!({}),
        false => json!({"expressionWarnings": warnings}),
    };
    let mut value = with(policy, &["status", "observedGeneration"], generation.into());
    set(&mut value, &["status", "typeChecking"], checked);
    Plan::each([Write::status(value)])
}

fn warnings(snapshot: &Snapshot, spec: &Value) -> Vec<Value> {
    let params = params(snapshot, &spec["paramKind"]);
    let mut policies = Vec::new();
    for (name, row) in rows(snapshot, spec) {
        let object = described(row.types(), &row.schema);
        let mut policy = typed(object, params.clone());
        policy.declare_all(spec);
        policies.push((name, policy));
    }
    let mut all = Vec::new();
    for (index, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = validation[field].as_str().unwrap_or_default();
            let warning = warning(&policies, source);
            if !source.is_empty() && !warning.is_empty() {
                let place = format!("spec.validations[{index}].{field}");
                all.push(json!({"fieldRef": place, "warning": warning}));
            }
        }
    }
    all
}

/// What is wrong with `source`, for each kind in whose form an object may come.
fn warning(policies: &[(String, Policy)], source: &str) -> String {
    let told = policies.iter().filter_map(|(name, policy)| {
        let why = policy.mistake(source)?;
        Some(format!("{name}: {why}\n"))
    });
    told.collect::<Vec<_>>().join("\n")
}

/// The type of the params; of a kind that nobody knows, anything.
fn params(snapshot: &Snapshot, kind: &Value) -> Option<Type> {
    let said = |field: &str| kind[field].as_str().unwrap_or_default();
    if !kind.is_object() {
        return None;
    }
    let (group, version) = split_api_version(said("apiVersion"));
    let is_it =
        |row: &Kind| row.group == group && row.version == version && row.kind == said("kind");
    let row = find(snapshot, group, is_it);
    Some(row.map_or(Type::Dyn, |row| described(row.types(), &row.schema)))
}

/// The kinds that the rules of `spec` name: what they are called, in that order.
fn rows(snapshot: &Snapshot, spec: &Value) -> Vec<(String, Arc<Kind>)> {
    let mut all = BTreeMap::new();
    for rule in spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        let found = places(rule).into_iter().filter_map(|(group, version, resource)| {
            let is_it =
                |row: &Kind| row.group == group && row.version == version && row.plural == resource;
            let row = find(snapshot, group, is_it)?;
            Some(((group.to_owned(), version.to_owned(), row.kind.to_string()), row))
        });
        all.extend(found.take(KINDS_MAX));
    }
    let shown = |(group, version, kind)| format!("{group}/{version}, Kind={kind}");
    all.into_iter().map(|(name, row)| (shown(name), row)).collect()
}

/// Group, version and resource of what `rule` names without wildcards and parts.
fn places(rule: &Value) -> Vec<(&str, &str, &str)> {
    let list = |field: &str| {
        let list = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut list: Vec<&str> = list.collect();
        list.sort_unstable();
        list
    };
    let (groups, versions) = (list("apiGroups"), list("apiVersions"));
    if groups.iter().chain(&versions).any(|word| word.contains('*')) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for group in groups {
        for version in &versions {
            let named = list("resources").into_iter().filter(|it| !it.contains(['*', '/']));
            all.extend(named.map(|resource| (group, *version, resource)));
        }
    }
    all
}

/// The kind of `group` that `is_it`, of ours or defined.
fn find(snapshot: &Snapshot, group: &str, is_it: impl Fn(&Kind) -> bool) -> Option<Arc<Kind>> {
    if let Some(row) = served::builtin().iter().find(|row| is_it(row)) {
        return Some(Arc::clone(row));
    }
    let mut definitions = snapshot
        .list(CUSTOM_RESOURCE_DEFINITIONS, None)
        .filter(|definition| definition.value()["spec"]["group"] == group);
    definitions.find_map(|definition| {
        let rows = custom::rows(definition.value()).unwrap_or_default();
        rows.into_iter().find(|row| is_it(row)).map(Arc::new)
    })
}

#[cfg(test)]
mod tests {
    use coracle_api::Object;

    use super::*;

    fn told(spec: Value, generation: i64, observed: i64) -> Option<Value> {
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "p", "generation": generation}, "spec": spec,
            "status": {"observedGeneration": observed, "conditions": [{"type": "Kept"}]},
        });
        let definition = json!({
            "metadata": {"name": "boats.example.com"},
            "status": {"acceptedNames": {"plural": "boats", "kind": "Boat"},
                "conditions": [{"type": "Established", "status": "True"}]},
            "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "boats", "kind": "Boat"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                    {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "properties": {"length": {"type": "integer"}}}}}}}]},
        });
        let snapshot = Snapshot::of([
            Object::with_resource(VALIDATING_ADMISSION_POLICIES, policy).unwrap(),
            Object::with_resource(CUSTOM_RESOURCE_DEFINITIONS, definition).unwrap(),
        ]);
        let key = Key::new(VALIDATING_ADMISSION_POLICIES, "", "p");
        let config = crate::world::config();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let plan = decide(&snapshot.unwrap(), &key, &Context::new(now, &config));
        plan.writes().next().map(|write| match write {
            Write::UpdateSubresource(_, value) => value["status"].clone(),
            other => panic!("{other:?}"),
        })
    }

    fn spec(rules: Value, validations: Value) -> Value {
        json!({"matchConstraints": {"resourceRules": rules}, "validations": validations,
            "paramKind": {"apiVersion": "example.com/v1", "kind": "Boat"},
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}]})
    }

    fn rule(groups: &[&str], resources: &[&str]) -> Value {
        json!({"apiGroups": groups, "apiVersions": ["v1"], "resources": resources})
    }

    #[test]
    fn expressions_are_held_against_the_kinds_that_a_policy_names() {
        let rules = json!([
            rule(&["apps"], &["statefulsets", "deployments", "deployments/scale"]),
            rule(&["*"], &["pods"]),
            rule(&["none.example.com"], &["cars"])
        ]);
        let validations = json!([
            {"expression": "variables.replicas > '1'", "messageExpression": "'a' + 1"},
            {"expression": "object.spec.replicas < params.spec.width"},
            {"expression": "object.spec.replicas < params.spec.length && request.name != ''"},
        ]);
        let status = told(spec(rules, validations), 1, 0).unwrap();
        assert_eq!(status["observedGeneration"], 1);
        assert_eq!(status["conditions"][0]["type"], "Kept");
        let warnings = status["typeChecking"]["expressionWarnings"].as_array().unwrap();
        let places: Vec<_> = warnings.iter().map(|it| it["fieldRef"].as_str().unwrap()).collect();
        assert_eq!(
            places,
            [
                "spec.validations[0].expression",
                "spec.validations[0].messageExpression",
                "spec.validations[1].expression",
            ]
        );
        let why = "ERROR: <input>:1:20: found no matching overload for '_>_' applied to '(int, string)'\n \
                   | variables.replicas > '1'\n | ...................^\n";
        assert_eq!(
            warnings[0]["warning"],
            format!("apps/v1, Kind=Deployment: {why}\napps/v1, Kind=StatefulSet: {why}")
        );
        assert!(warnings[2]["warning"].as_str().unwrap().contains("undefined field 'width'"));
    }

    #[test]
    fn what_is_right_or_seen_already_is_not_told() {
        let boats = json!([rule(&["example.com"], &["boats"])]);
        let right = json!([{"expression": "object.spec.length > params.spec.length"}]);
        let status = told(spec(boats.clone(), right.clone()), 2, 1).unwrap();
        assert_eq!(status["typeChecking"], json!({}));
        assert_eq!(told(spec(boats.clone(), right), 2, 2), None);
        let wrong = json!([{"expression": "object.spec.length > 'x'"}]);
        let status = told(spec(boats, wrong), 2, 1).unwrap();
        assert!(
            status["typeChecking"]["expressionWarnings"][0]["warning"]
                .as_str()
                .unwrap()
                .starts_with("example.com/v1, Kind=Boat: ERROR")
        );
    }
}
