use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::Rules;

/// The errors of an object whose `spec` has `schema`.
fn rules_of(spec: Json) -> (Option<Rules>, Vec<String>) {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    // What they may cost is not the point.
    let (root, errors) = super::compile::compile(&schema, "S", false);
    let rules = root.map(|root| Rules { root });
    (rules, errors.iter().map(ToString::to_string).collect())
}

fn rules(spec: Json) -> Rules {
    let (rules, errors) = rules_of(spec);
    assert!(errors.is_empty(), "{errors:?}");
    rules.unwrap()
}

fn object(spec: &Json) -> Json {
    json!({"apiVersion": "e.com/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": spec})
}

fn errors(rules: &Rules, new: Json, old: Option<Json>) -> Vec<String> {
    let judged = rules.judge(&object(&new), old.as_ref().map(object).as_ref());
    judged.errors.iter().map(ToString::to_string).collect()
}

fn integer(rules: Json) -> Json {
    json!({"type": "object", "properties": {"n": {
        "type": "integer", "x-kubernetes-validations": rules}}})
}

#[test]
fn what_a_rule_says_is_told_at_its_place() {
    let rules = rules(json!({"type": "object",
    "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"},
        "names": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": [
            {"rule": "self.startsWith('a')", "messageExpression": "'not ' + self"}]}},
        "by-key": {"type": "object", "additionalProperties": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self > 0", "message": "too small"}]}},
    },
    "x-kubernetes-validations": [
        {"rule": "self.min <= self.max"},
        {"rule": "self.min >= 0", "reason": "FieldValueForbidden", "message": " no ",
         "fieldPath": ".min"},
        {"rule": "!has(self.names) || self.names.size() < 3", "reason": "FieldValueRequired",
         "fieldPath": ".names"},
        {"rule": "self.max != 7", "reason": "FieldValueDuplicate", "fieldPath": ".max"},
    ]}));
    assert!(errors(&rules, json!({"min": 1, "max": 2, "names": ["ab"]}), None).is_empty());
    let told = errors(
        &rules,
        json!({"min": -1, "max": -2, "names": ["ab", "b", "c"], "by-key": {"x": 0}}),
        None,
    );
    assert_eq!(
        told,
        [
            "spec: Invalid value: failed rule: self.min <= self.max",
            "spec.min: Forbidden: no",
            "spec.names: Required value: failed rule: !has(self.names) || self.names.size() < 3",
            "spec.by-key[x]: Invalid value: 0: too small",
            "spec.names[1]: Invalid value: \"b\": not b",
            "spec.names[2]: Invalid value: \"c\": not c",
        ]
    );
    let told = errors(&rules, json!({"min": 1, "max": 7}), None);
    assert_eq!(told, ["spec.max: Duplicate value"]);
}

#[test]
fn what_goes_wrong_in_a_rule_is_told() {
    let rules = rules(json!({"type": "object",
    "properties": {"n": {"type": "integer"}, "e": {"x-kubernetes-int-or-string": true}},
    "x-kubernetes-validations": [
        {"rule": "1 / self.n == 1"},
        {"rule": "self.e + 1 > 0", "message": "e counts"},
    ]}));
    assert_eq!(
        errors(&rules, json!({"e": "x", "n": 0}), None),
        [
            "spec: Invalid value: \"object\": division by zero evaluating rule: 1 / self.n == 1",
            "spec: Invalid value: \"object\": 'no such overload: _+_(string, int)': call arguments \
             did not match a supported operator, function or macro signature for rule: e counts",
        ]
    );
    assert_eq!(
        errors(&rules, json!({"e": 1}), None),
        ["spec: Invalid value: \"object\": no such key: n evaluating rule: 1 / self.n == 1"]
    );
}

#[test]
fn transitions_are_judged_where_the_old_value_can_be_told() {
    let rules = rules(json!({"type": "object", "properties": {
        "n": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self >= oldSelf", "message": "only grows"}]},
        "first": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": true}]},
        "parts": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "n": {"type": "integer", "x-kubernetes-validations": [
                    {"rule": "self == oldSelf", "message": "fixed"}]}}}},
    }}));
    assert!(errors(&rules, json!({"n": 1}), None).is_empty());
    assert!(errors(&rules, json!({"n": 1}), Some(json!({}))).is_empty());
    let told = errors(&rules, json!({"n": 1}), Some(json!({"n": 2})));
    assert_eq!(told, ["spec.n: Invalid value: 1: only grows"]);
    let first = ["spec.first: Invalid value: 2: failed rule: oldSelf.hasValue() || self == 1"];
    assert_eq!(errors(&rules, json!({"first": 2}), None), first);
    assert!(errors(&rules, json!({"first": 2}), Some(json!({"first": 1}))).is_empty());
    let old = json!({"parts": [{"name": "a", "n": 1}, {"name": "b", "n": 2}]});
    let moved = json!({"parts": [{"name": "b", "n": 3}, {"name": "c", "n": 9}]});
    assert_eq!(errors(&rules, moved, Some(old)), ["spec.parts[0].n: Invalid value: 3: fixed"]);
}

#[test]
fn what_was_wrong_before_is_forgiven_with_a_warning() {
    let rules = rules(json!({"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]},
        "b": {"type": "integer"},
        "l": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self > 5"}]}},
    }}));
    let old = object(&json!({"a": 1, "b": 1, "l": [1]}));
    let judged = rules.judge(&object(&json!({"a": 1, "b": 2, "l": [1]})), Some(&old));
    assert!(judged.errors.is_empty(), "{judged:?}");
    assert_eq!(
        judged.warnings,
        [
            "spec.a: Invalid value: 1: failed rule: self > 5",
            "spec.l[0]: Invalid value: 1: failed rule: self > 5",
        ]
    );
    let judged = rules.judge(&object(&json!({"a": 2, "b": 1, "l": [1, 2]})), Some(&old));
    assert_eq!(judged.errors.len(), 3, "{judged:?}");
}

#[test]
fn a_message_that_cannot_be_said_is_not() {
    for (expression, expected) in [
        ("'n is ' + string(self)", "n is 0"),
        ("'  '", "plain"),
        ("'a\\nb'", "plain"),
        ("string(1 / self)", "plain"),
    ] {
        let rules = rules(integer(json!([
            {"rule": "self > 0", "message": "plain", "messageExpression": expression}])));
        let told = errors(&rules, json!({"n": 0}), None);
        assert_eq!(told, [format!("spec.n: Invalid value: 0: {expected}")], "{expression}");
    }
}

#[test]
fn costs_end_the_judging() {
    let heavy = "self.all(x, self.all(y, x == y || x != y))";
    let rules = rules(json!({"type": "object", "properties": {
        "l": {"type": "array", "items": {"type": "integer"},
              "x-kubernetes-validations": [{"rule": heavy}, {"rule": "false"}]}}}));
    let told = errors(&rules, json!({"l": vec![1; 1000]}), None);
    assert_eq!(
        told,
        [format!(
            "spec.l: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no \
             further validation rules will be run due to call cost exceeds limit for rule: {heavy}"
        )]
    );
    let many: Vec<Json> = (0..40).map(|_| json!({"rule": heavy})).collect();
    let rules = self::rules(json!({"type": "object", "properties": {
        "l": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": many}}}));
    let told = errors(&rules, json!({"l": vec![1; 300]}), None);
    let expected = "spec.l: Invalid value: \"array\": validation failed due to running out of cost \
                    budget, no further validation rules will be run";
    assert_eq!(told, [expected]);
}

#[test]
fn whole_objects_and_embedded_ones_show_their_names() {
    let schema = json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.metadata.name != self.kind"}],
        "properties": {"inner": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": [{"rule": "self.metadata.generateName == ''"}]}}});
    let (rules, errors) = Rules::compile(&schema, "S");
    assert!(errors.is_empty(), "{errors:?}");
    let object = json!({"kind": "b", "metadata": {"name": "b"}});
    let told = rules.unwrap().judge(&object, None).errors;
    assert_eq!(
        told[0].to_string(),
        "<nil>: Invalid value: failed rule: self.metadata.name != self.kind"
    );
}

#[test]
fn rules_below_all_of_count() {
    let rules = rules(json!({"type": "object", "properties": {"n": {"type": "integer"}},
        "allOf": [{"properties": {"n": {"x-kubernetes-validations": [{"rule": "self > 1"}]}}}]}));
    assert_eq!(errors(&rules, json!({"n": 1}), None).len(), 1);
}

#[test]
fn bad_rules_are_refused_with_upstreams_words() {
    let shown = |rule: &str, more: &str| {
        format!(
            "{{\"FieldPath\":\"\",\"Message\":\"\",\"MessageExpression\":\"{more}\",\
             \"OptionalOldSelf\":null,\"Reason\":null,\"Rule\":\"{rule}\"}}"
        )
    };
    let at = "S.properties[spec].properties[n].x-kubernetes-validations[0]";
    for (rule, expected) in [
        (json!({"rule": " "}), format!("{at}.rule: Required value: rule is not specified")),
        (
            json!({"rule": "self.x > 1"}),
            format!(
                "{at}.rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: type 'int' does \
                 not support field selection\n | self.x > 1\n | ....^",
                shown("self.x > 1", "")
            ),
        ),
        (
            json!({"rule": "self + 1"}),
            format!(
                "{at}.rule: Invalid value: {}: cel expression must evaluate to a bool",
                shown("self + 1", "")
            ),
        ),
        (
            json!({"rule": "true", "messageExpression": "self"}),
            format!(
                "{at}.messageExpression: Invalid value: {}: messageExpression must evaluate to a \
                 string",
                shown("true", "self")
            ),
        ),
        (
            json!({"rule": "true", "message": "a\nb"}),
            format!("{at}.message: Invalid value: \"a\\nb\": message must not contain line breaks"),
        ),
        (
            json!({"rule": "true ||\nfalse"}),
            format!(
                "{at}.message: Required value: message must be specified if rule contains line breaks"
            ),
        ),
        (
            json!({"rule": "true", "reason": "Bad"}),
            format!(
                "{at}.reason: Unsupported value: \"Bad\": supported values: \"FieldValueDuplicate\", \
                 \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\""
            ),
        ),
        (
            json!({"rule": "true", "fieldPath": ".a"}),
            format!(
                "{at}.fieldPath: Invalid value: \".a\": fieldPath must be a valid path: does not refer \
                 to a valid field"
            ),
        ),
        (
            json!({"rule": "self > 0", "optionalOldSelf": true}),
            format!(
                "{at}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in \
                 rule"
            ),
        ),
    ] {
        let (_, errors) = rules_of(integer(json!([rule])));
        assert_eq!(errors, [expected], "{rule}");
    }
    let (_, errors) = rules_of(json!({"type": "array", "items": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}));
    assert_eq!(
        errors,
        ["S.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \"self == \
          oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within \
          S.properties[spec]"]
    );
}

/// Rules of the kinds that operators bring.
#[test]
fn rules_as_operators_write_them_are_understood() {
    let listener = json!({"type": "object", "properties": {
        "name": {"type": "string"}, "port": {"type": "integer"}, "protocol": {"type": "string"},
        "hostname": {"type": "string"}, "tls": {"type": "object", "properties": {
            "mode": {"type": "string"}, "refs": {"type": "array", "items": {"type": "string"}}}}}});
    let spec = |rule: &str| {
        json!({"type": "object", "properties": {
        "listeners": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": listener},
        "type": {"type": "string"}, "value": {"type": "string"}, "group": {"type": "string"},
        "port": {"type": "integer"}, "ratio": {"type": "number"},
        "either": {"x-kubernetes-int-or-string": true}, "free": {"type": "object",
            "x-kubernetes-preserve-unknown-fields": true},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }, "x-kubernetes-validations": [{"rule": rule, "message": "m"}]})
    };
    for rule in [
        "self == oldSelf",
        "!has(oldSelf.type) || has(self.type)",
        "has(self.type) == has(oldSelf.type)",
        "self.listeners.all(l, l.protocol in ['HTTP', 'TCP'] ? !has(l.tls) : true)",
        "self.listeners.all(a, self.listeners.exists_one(b, a.name == b.name))",
        "self.listeners.all(a, self.listeners.exists_one(b, a.port == b.port && (has(a.hostname) && \
         has(b.hostname) ? a.hostname == b.hostname : !has(a.hostname) && !has(b.hostname))))",
        "self.listeners.all(l, !has(l.tls) || size(l.tls.refs) > 0 || l.tls.mode != 'Terminate')",
        "(size(self.group) == 0 && self.type == 'Service') ? has(self.port) : true",
        "self.type == 'Exact' ? self.value.matches(r\"\"\"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$\"\"\") : true",
        "self.type in ['PathPrefix'] ? !self.value.contains('/../') && !self.value.endsWith('/.') : true",
        "type(self.either) == int ? self.either >= 0 : self.either.matches('^[0-9]+%$')",
        "self.either == 5 || string(self.either).endsWith('%')",
        "[has(self.type), has(self.value), has(self.group)].filter(x, x == true).size() == 1",
        "[has(self.type), has(self.value)].exists_one(x, x)",
        "self.labels.all(key, key.size() < 64 && self.labels[key] != '')",
        "self.listeners.map(l, l.port).sum() < 100000 && self.listeners.map(l, l.name).isSorted()",
        "duration(self.value) >= duration('1s') && duration(self.value).getSeconds() < 3600",
        "isURL(self.value) && url(self.value).getScheme() in ['http', 'https']",
        "quantity(self.value).compareTo(quantity('1Gi')) >= 0 && isQuantity(self.value)",
        "self.ratio >= 0.0 && self.ratio <= 1 && self.port > 0.5",
        "oldSelf.listeners.all(o, self.listeners.exists(n, n.name == o.name && n.port == o.port))",
        "!(self.type == 'A') || (self.?value.orValue('') != '' && self.?port.hasValue())",
        "self.value.split('-').size() <= 3",
        "cidr('10.0.0.0/8').containsIP(self.value) || ip.isCanonical(self.value)",
        "!format.dns1123Label().validate(self.value).hasValue()",
        "int(self.value) % 2 == 1 && self.value.lowerAscii() == self.value",
    ] {
        let (_, errors) = rules_of(spec(rule));
        let shown = errors.join("\n");
        assert!(errors.is_empty(), "{rule}\n{shown}");
    }
}

/// Any schema, some levels deep, with rules here and there.
fn schema() -> impl Strategy<Value = Json> {
    let rule = prop::sample::select(vec![
        "self == self",
        "self > 1",
        "self.size() > 1",
        "self.a == oldSelf.a",
        "has(self.a)",
        "self.all(x, x == x)",
        "self == oldSelf",
        "self.?a.orValue(1) == 1",
        "true",
        "1 / 0 == 1",
        "self.b.c.d",
        "(",
        "",
    ]);
    let rules = prop::collection::vec(rule, 0..3).prop_map(|rules| {
        Json::from(rules.iter().map(|rule| json!({"rule": rule})).collect::<Vec<_>>())
    });
    let leaf =
        prop::sample::select(vec!["string", "integer", "number", "boolean", "object", "", "x"]);
    let leaf = (leaf, rules.clone())
        .prop_map(|(ty, rules)| json!({"type": ty, "x-kubernetes-validations": rules}));
    leaf.prop_recursive(3, 16, 3, move |inner| {
        let list = prop::sample::select(vec!["atomic", "set", "map"]);
        prop_oneof![
            (inner.clone(), inner.clone(), rules.clone()).prop_map(|(a, b, rules)| json!({
                "type": "object", "properties": {"a": a, "b-c": b},
                "x-kubernetes-validations": rules})),
            (inner.clone(), rules.clone()).prop_map(|(a, rules)| json!({
                "type": "object", "additionalProperties": a, "x-kubernetes-validations": rules})),
            (inner.clone(), list, rules.clone()).prop_map(|(a, list, rules)| json!({
                "type": "array", "items": a, "x-kubernetes-list-type": list,
                "x-kubernetes-list-map-keys": ["a"], "x-kubernetes-validations": rules})),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"type": "object", "allOf": [a, b]})),
        ]
    })
}

fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<i64>().prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        "[ab]{0,3}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("a|b-c|d", inner, 0..3)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_schema_says_objects_are_judged(
        schema in schema(), new in value(), old in value(),
    ) {
        let (rules, errors) = Rules::compile(&json!({"type": "object", "properties": {"s": schema}}), "S");
        prop_assert!(errors.iter().all(|error| error.field.starts_with("S")));
        if let Some(rules) = rules {
            let (new, old) = (json!({"s": new}), json!({"s": old}));
            let _ = rules.judge(&new, None);
            let judged = rules.judge(&new, Some(&old));
            prop_assert!(judged.errors.iter().all(|error| error.field.starts_with('s')));
        }
    }
}

#[test]
fn rules_that_may_cost_too_much_are_refused_by_what_the_schema_limits() {
    let told = |schema: Json| -> Vec<String> {
        Rules::compile(&schema, "s").1.iter().map(ToString::to_string).collect()
    };
    let of = |spec: Json| json!({"type": "object", "properties": {"spec": spec}});
    let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where \
                arrays, maps, and strings are declared)";
    let place = "s.properties[spec].x-kubernetes-validations[0].rule";
    let total = |factor: &str| {
        [
            format!(
                "{place}: Forbidden: contributed to estimated rule cost total exceeding cost limit for \
                 entire OpenAPIv3 schema"
            ),
            format!(
                "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 \
                 schema exceeds budget by factor of {factor} {hint}"
            ),
        ]
    };
    let pairs = json!([{"rule": "self.all(x, self.all(y, x == y))"}]);
    let list =
        json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": pairs});
    let own = |factor: &str| {
        format!(
            "{place}: Forbidden: estimated rule cost exceeds budget by factor of {factor} {hint}"
        )
    };
    let [named, sum] = total("more than 100x");
    assert_eq!(told(of(list.clone())), [own("more than 100x"), named, sum]);
    let mut limited = list;
    limited["maxItems"] = 1400.into();
    assert_eq!(told(of(limited.clone())), Vec::<String>::new());
    limited["maxItems"] = 1600.into();
    assert_eq!(told(of(limited)), [own("1.280800x")]);
    // What is below a list without a limit may be there as often as a request has room for it.
    let each = json!({"type": "string", "maxLength": 100,
        "x-kubernetes-validations": [{"rule": "self.matches('^[a-z]+$')"}]});
    let lists = |items: Json| json!({"type": "array", "items": items});
    let errors = told(of(lists(each.clone())));
    assert!(
        errors[0].contains("s.properties[spec].items.x-kubernetes-validations[0].rule"),
        "{errors:?}"
    );
    let mut few = lists(each);
    few["maxItems"] = 100.into();
    assert_eq!(told(of(few)), Vec::<String>::new());
}
