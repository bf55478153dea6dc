//! Policies, judged.

use serde_json::{Value as Json, json};

use super::*;
use crate::authorizer::{Authorizer, Decision, Question};

/// Nobody may do anything, but read pods.
pub(crate) struct Nobody;

impl Authorizer for Nobody {
    fn decide(&self, question: &Question) -> Decision {
        let is_allowed = question.verb == "get" && question.resource == "pods";
        let reason = format!("{:?}", question.account);
        Decision { is_allowed, reason, ..Decision::default() }
    }
}

fn request() -> Json {
    json!({
        "operation": "CREATE", "name": "web", "namespace": "shop",
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "userInfo": {"username": "alice"},
    })
}

fn judged(spec: Json) -> Judgement {
    let (request, object) = (request(), json!({"spec": {"replicas": 3, "name": "web"}}));
    let (params, namespace) = (json!({"max": 2}), json!({"metadata": {"labels": {"a": "b"}}}));
    let subject = Subject {
        object: &object,
        params: &params,
        namespace: &namespace,
        ..Subject::nothing(&request, &Nobody)
    };
    let policy = Validating::of(&spec);
    policy.judge(subject)
}

fn refused(validation: Json) -> Vec<(String, String)> {
    let spec = json!({"paramKind": {}, "validations": [validation], "variables": [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "twice", "expression": "variables.replicas * 2"},
        {"name": "broken", "expression": "object.none"},
    ]});
    judged(spec).refusals.into_iter().map(|it| (it.message, it.reason)).collect()
}

fn of(expression: &str) -> Vec<(String, String)> {
    refused(json!({"expression": expression}))
}

fn one(message: &str, reason: &str) -> Vec<(String, String)> {
    vec![(message.to_owned(), reason.to_owned())]
}

#[test]
fn a_validation_sees_the_request_and_what_belongs_to_it() {
    for expression in [
        "object.spec.replicas > params.max && oldObject == null",
        "variables.twice == 6 && variables.replicas == 3",
        "namespaceObject.metadata.labels.a == 'b' && request.namespace == 'shop'",
        "has(variables.broken) && variables.?replicas.orValue(1) == 3",
        "true || variables.broken == 1",
        "authorizer.requestResource.check('get').allowed()",
        "!authorizer.group('apps').resource('deployments').check('get').allowed()",
        "authorizer.serviceAccount('a', 'b').path('/x').check('get').reason().contains('\"b\"')",
    ] {
        assert_eq!(of(expression), [], "{expression}");
    }
    let text = "expression 'variables.broken == 1' resulted in error: composited variable \"broken\" \
                fails to evaluate: no such key: none";
    assert_eq!(of("variables.broken == 1"), one(text, ""));
    let text = "expression 'authorizer.path(' ').check('get').allowed()' resulted in error: path must \
                not be empty";
    assert_eq!(of("authorizer.path(' ').check('get').allowed()"), one(text, ""));
    let thrice = "[1, 2, 3].all(x, !authorizer.group('').resource('x').check('get').allowed())";
    assert!(of(thrice)[0].0.contains("cost limit exceeded"));
}

#[test]
fn what_is_said_is_the_expression_the_message_or_else_the_expression_that_failed() {
    assert_eq!(
        of("variables.replicas < 3"),
        one("failed expression: variables.replicas < 3", "Invalid")
    );
    let with = |message: &str, asked: &str| {
        let expression = json!({"expression": "false", "message": message, "reason": "Forbidden",
            "messageExpression": asked});
        refused(expression)
    };
    assert_eq!(with(" no ", ""), one("no", "Forbidden"));
    assert_eq!(with("no", "'not ' + string(variables.twice)"), one("not 6", "Forbidden"));
    for fails in ["object.none", "' '", "'a\\nb'", "authorizer.path('/').check('get').reason()"] {
        assert_eq!(with("no", fails), one("no", "Forbidden"), "{fails}");
    }
}

#[test]
fn mistakes_are_refusals_unless_the_policy_forgives_them() {
    let policy = |fails: &str, conditions: Json| {
        judged(json!({
            "failurePolicy": fails, "matchConditions": conditions,
            "validations": [{"expression": "object.none == 1"}, {"expression": "false"}],
            "auditAnnotations": [
                {"key": "a", "valueExpression": "'x' + object.spec.name"},
                {"key": "b", "valueExpression": "null"},
                {"key": "c", "valueExpression": "string(object.none)"},
            ],
        }))
    };
    let strict = policy("Fail", json!([]));
    assert_eq!(strict.refusals.len(), 2);
    assert_eq!(strict.annotations.len(), 2, "{strict:?}");
    assert!(strict.annotations[1].value.is_err());
    let loose = policy("Ignore", json!([]));
    assert_eq!(loose.refusals.len(), 1);
    assert_eq!(loose.annotations, [Annotation { key: "a".into(), value: Ok("xweb".into()) }]);
    let fails = json!([{"name": "a", "expression": "false"}]);
    assert_eq!(policy("Fail", fails), Judgement::default());
    let unknown = json!([{"name": "a", "expression": "object.none == 1"}]);
    assert_eq!(policy("Fail", unknown.clone()).refusals.len(), 1);
    assert_eq!(policy("Ignore", unknown), Judgement::default());
}

#[test]
fn all_of_a_policy_costs_no_more_than_it_may() {
    let heavy = "lists.range(30000).all(x, x < 100000)";
    let validations: Vec<Json> = (0..99).map(|_| json!({"expression": heavy})).collect();
    let refusals = judged(json!({"validations": validations})).refusals;
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].message.starts_with("validation failed due to running out of cost budget"));
    let variables = json!([{"name": "heavy", "expression": heavy}]);
    let validations: Vec<Json> =
        (0..99).map(|_| json!({"expression": "variables.heavy && variables.heavy"})).collect();
    let refusals = judged(json!({"validations": validations, "variables": variables})).refusals;
    assert_eq!(refusals, [], "a variable is evaluated once");
}

fn mutated(spec: Json) -> Result<Option<Patch>, String> {
    let (request, object) = (request(), json!({"metadata": {"labels": {"a/b": "c"}}, "n": 1}));
    let subject = Subject { object: &object, ..Subject::nothing(&request, &Nobody) };
    Mutating::of(&json!({"mutations": [spec]})).patch(0, subject)
}

#[test]
fn configurations_and_patches_are_made() {
    let apply = |expression: &str| {
        mutated(
            json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}),
        )
    };
    let patch = |expression: &str| {
        mutated(json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}))
    };
    assert_eq!(
        apply(
            "Object{spec: Object.spec{replicas: object.n + 1, l: [Object.spec.l{x: 1.0}]}, ?a: optional.none()}"
        ),
        Ok(Some(Patch::Configuration(json!({"spec": {"replicas": 2, "l": [{"x": 1}]}}))))
    );
    let why = "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which \
               matches field name path from root Object type";
    assert_eq!(apply("Object{spec: Object.wrong{}}"), Err(why.to_owned()));
    assert_eq!(
        patch(
            "[JSONPatch{op: 'replace', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: \
             object.metadata.labels}] + (object.n == 1 ? [JSONPatch{op: 'copy', from: '/n', path: '/m'}] : [])"
        ),
        Ok(Some(Patch::Json(json!([
            {"op": "replace", "path": "/metadata/labels/a~1b", "value": {"a/b": "c"}},
            {"op": "copy", "from": "/n", "path": "/m"},
        ]))))
    );
    assert!(
        apply("object.none").unwrap_err().starts_with("compilation error: must evaluate to Object")
    );
    let why = apply("Object{a: object.none}").unwrap_err();
    assert_eq!(why, "expression 'Object{a: object.none}' resulted in error: no such key: none");
}

#[test]
fn what_makes_no_sense_is_told_when_it_is_written() {
    let told = |errors: Vec<coracle_api::FieldError>| -> Vec<String> {
        errors
            .iter()
            .map(|it| it.to_string().split('\n').next().unwrap_or_default().to_owned())
            .collect()
    };
    let spec = json!({
        "matchConditions": [{"name": "a", "expression": "variables.x == 1"}],
        "variables": [{"name": "x", "expression": "y"}, {"name": "z", "expression": "[1]"}],
        "validations": [
            {"expression": "params.x == 1"}, {"expression": "variables.z", "messageExpression": "1"},
            {"expression": "variables.later == 1"}, {"expression": "Object{} == null"},
            {"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"},
        ],
        "auditAnnotations": [{"valueExpression": "1"}, {"valueExpression": "null"}],
    });
    assert_eq!(
        told(validating_mistakes(&spec, None)),
        [
            "spec.matchConditions[0].expression: Invalid value: \"variables.x == 1\": compilation \
             failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')",
            "spec.variables[0].expression: Invalid value: \"y\": compilation failed: ERROR: \
             <input>:1:1: undeclared reference to 'y' (in container '')",
            "spec.validations[0].expression: Invalid value: \"params.x == 1\": compilation failed: \
             ERROR: <input>:1:1: undeclared reference to 'params' (in container '')",
            "spec.validations[1].expression: Invalid value: \"variables.z\": must evaluate to bool but \
             got list(int)",
            "spec.validations[1].messageExpression: Invalid value: \"1\": must evaluate to string but \
             got int",
            "spec.validations[2].expression: Invalid value: \"variables.later == 1\": compilation \
             failed: ERROR: <input>:1:10: undefined field 'later'",
            "spec.validations[3].expression: Invalid value: \"Object{} == null\": compilation failed: \
             ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')",
            "spec.validations[4].messageExpression: Invalid value: \
             \"authorizer.path('/').check('get').reason()\": compilation failed: ERROR: <input>:1:1: \
             undeclared reference to 'authorizer' (in container '')",
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of \
             [string null_type] but got int",
        ]
    );
    let spec = json!({"mutations": [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}},
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "JSONPatch{op: 1, x: 2}"}},
    ]});
    let errors = told(mutating_mistakes(&spec, None));
    assert_eq!(
        errors[0],
        "spec.mutations[0].jsonPatch.expression: Invalid value: \"Object{}\": must evaluate to \
         list(JSONPatch) but got Object"
    );
    assert!(
        errors[1].contains("expected type of field 'op' is 'string' but provided type is 'int'")
    );
}

#[test]
fn variables_that_name_one_another_are_only_so_deep() {
    let chain = |count: usize| {
        let variable = |at: usize| match at {
            0 => json!({"name": "v0", "expression": "1"}),
            at => {
                json!({"name": format!("v{at}"), "expression": format!("variables.v{} + 1", at - 1)})
            }
        };
        let variables: Vec<Json> = (0..count).map(variable).collect();
        let last = format!("variables.v{} == {count}", count - 1);
        json!({"variables": variables, "validations": [{"expression": last}]})
    };
    assert_eq!(validating_mistakes(&chain(40), None), []);
    assert_eq!(judged(chain(40)).refusals, []);
    let told = validating_mistakes(&chain(2000), None);
    assert!(told[0].to_string().contains("name one another are too deep"), "{}", told[0]);
    assert!(judged(chain(2000)).refusals[0].message.contains("fails to compile"));
}

/// The deepest that variables may be together has room on the stack of a thread of two megabytes.
#[test]
fn deep_variables_that_name_one_another_have_room() {
    for (before, after) in [
        ("[", "]"),
        ("{'a': ", "}"),
        ("!(", ")"),
        ("dyn(", ")"),
        ("1 + (", ")"),
        ("[1].map(x, ", ")"),
        ("true ? (", ") : 0"),
    ] {
        let nested =
            |n: usize, inner: &str| format!("dyn({}{inner}{})", before.repeat(n), after.repeat(n));
        let policy = |n: usize| {
            let (first, second) = (nested(n, "dyn(1)"), nested(n, "dyn(variables.a)"));
            json!({"variables": [{"name": "a", "expression": first}, {"name": "b", "expression": second}],
                "validations": [{"expression": "[variables.b].size() == 1"}]})
        };
        let fits = (3..39)
            .rev()
            .map(|n| n * 3)
            .find(|n| validating_mistakes(&policy(*n), None).is_empty());
        let fits = fits.unwrap_or_default();
        assert!(fits > 8, "{before}: {fits}");
        let judgement = judged(policy(fits));
        assert!(judgement.refusals.len() <= 1, "{before}");
    }
}
