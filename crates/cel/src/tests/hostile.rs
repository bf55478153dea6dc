use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::{LIMIT, compile, environment, given};
use crate::EvalError;

#[test]
fn what_is_made_is_bounded() {
    let long = "x".repeat(500_000);
    let any = json!({"s": long, "l": vec![1; 20_000]});
    let (of_self, _) = given();
    for source in [
        "any.s.replace('', any.s).size() > 0",
        "[any.s, any.s, any.s, any.s].map(x, x + x + x + x).map(x, x + x + x + x + x).size() > 0",
        "any.l.map(x, any.l).map(x, x + x).size() > 0",
        "any.l.map(x, any.l.map(y, any.l.map(z, 1))).size() > 0",
        "any.l.all(x, any.l == any.l)",
        "any.l.map(x, x).distinct().size() > 0 && any.l.all(x, x in any.l)",
        "lists.range(9223372036854775807).size() > 0",
        "any.l.map(x, '%s'.format([any.l])).size() > 0",
        "any.l.all(x, any.s.findAll('x').size() > 0)",
        "any.l.all(x, sets.equivalent(any.l, any.l))",
    ] {
        let program = compile(source);
        let given = [("self", &of_self), ("any", &any)];
        let error = program.evaluate(&given, LIMIT).value.err();
        assert_eq!(error, Some(EvalError::CostExceeded), "{source}");
    }
}

/// On the two megabytes that a test's thread has.
#[test]
fn the_deepest_that_is_accepted_has_room() {
    let (of_self, any) = given();
    for (before, middle, after) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{1: ", "1", "}"),
        ("true ? 1 : ", "2", ""),
        ("1 + ", "1", ""),
        ("[1].map(x, ", "1", ")"),
        ("[1].transformList(i, x, ", "1", ")"),
        ("optional.of(", "1", ")"),
        ("", "any", ".?b"),
        ("", "any", ".?b.optMap(x, x)"),
        ("", "any", "[0]"),
        ("true && (", "true", ")"),
    ] {
        let text = |n: usize| format!("{}{middle}{}", before.repeat(n), after.repeat(n));
        let deepest = (1..130).rev().find_map(|n| environment().compile(&text(n)).ok());
        let program = deepest.unwrap();
        let _ = program.evaluate(&[("self", &of_self), ("any", &any)], LIMIT);
    }
}

#[test]
fn a_chain_of_optionals_does_not_double() {
    let chain = format!("any.?a{}", ".optMap(x, x)".repeat(30));
    let (of_self, any) = given();
    let program = compile(&chain);
    assert!(program.evaluate(&[("self", &of_self), ("any", &any)], LIMIT).cost < 10_000);
}

#[test]
fn patterns_are_bounded() {
    assert!(environment().compile("'a'.matches('(a{1000}){1000}')").is_err());
    assert!(environment().compile(&format!("'a'.matches('{}')", "(".repeat(5000))).is_err());
}

/// Any JSON, some levels deep.
fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
        "[0-9T:.Zhms-]{0,20}".prop_map(Json::from),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "name", "replicas", "ratio", "on", "when", "wait", "data", "items", "words", "tags",
            "ports", "labels", "port", "foo-bar",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,3}",
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|fields| Json::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Pieces of expressions, put together at random: mostly wrong, often nearly right.
fn source() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "self",
        "any",
        "oldSelf",
        ".name",
        ".items",
        ".ports",
        ".?absent",
        ".labels",
        "[0]",
        "[?1]",
        "['a']",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "+",
        "-",
        "*",
        "/",
        "%",
        "!",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        " in ",
        "1",
        "2u",
        "1.5",
        "-9223372036854775808",
        "'a'",
        "b'\\xff'",
        "null",
        "true",
        "x",
        ".all(x, x > 1)",
        ".map(x, x)",
        ".exists(i, v, v == i)",
        ".transformMap(k, v, v)",
        ".optMap(x, x)",
        ".sortBy(x, x)",
        ".size()",
        ".sum()",
        ".min()",
        ".matches('a+')",
        ".find(self.name)",
        ".split('')",
        ".substring(1)",
        ".format([1, self])",
        ".indexOf('a', 1)",
        ".flatten()",
        ".getHours()",
        ".orValue(1)",
        "has(self.name)",
        "type(",
        "string(",
        "int(",
        "duration(",
        "timestamp(",
        "quantity(",
        "url(",
        "ip(",
        "cidr(",
        "semver(",
        "format.named(",
        "sets.contains(",
        "lists.range(",
        "dyn(",
        "optional.of(",
        "é",
        "\"",
        "'",
        "\\",
        "`",
        "//",
        "\n",
        "\t",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Expressions that are always well formed.
fn well_formed() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "self",
        "any",
        "self.items",
        "self.name",
        "self.ports",
        "any.l",
        "any.m",
        "1",
        "1.5",
        "'a'",
        "self.when",
        "self.wait",
        "dyn(1)",
        "null",
        "true",
        "[1, 2]",
        "{'a': 1}",
        "self.?absent",
        "9223372036854775807",
        "self.tags",
        "self.labels",
        "b'a'",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", "&&", "||", "in",
        ]);
        let method = prop::sample::select(vec![
            "size",
            "sum",
            "min",
            "max",
            "isSorted",
            "flatten",
            "distinct",
            "sort",
            "reverse",
            "first",
            "join",
            "trim",
            "getHours",
            "hasValue",
            "value",
            "upperAscii",
        ]);
        let function = prop::sample::select(vec![
            "dyn",
            "string",
            "int",
            "uint",
            "double",
            "bytes",
            "bool",
            "type",
            "duration",
            "timestamp",
            "quantity",
            "isIP",
            "isURL",
            "isSemver",
            "optional.of",
            "lists.range",
        ]);
        let one_of = prop::sample::select(vec![
            "contains",
            "indexOf",
            "lastIndexOf",
            "split",
            "matches",
            "find",
            "findAll",
            "orValue",
            "substring",
            "charAt",
            "format",
            "flatten",
            "join",
        ]);
        prop_oneof![
            (two.clone(), operator).prop_map(|((a, b), op)| format!("(dyn({a}) {op} dyn({b}))")),
            (inner.clone(), method).prop_map(|(a, name)| format!("dyn({a}).{name}()")),
            (inner.clone(), function).prop_map(|(a, name)| format!("{name}(dyn({a}))")),
            (two.clone(), one_of).prop_map(|((a, b), name)| format!("dyn({a}).{name}(dyn({b}))")),
            two.clone().prop_map(|(a, b)| format!("dyn({a}).map(x, {b})")),
            two.clone().prop_map(|(a, b)| format!("dyn({a}).all(i, v, dyn({b}))")),
            two.prop_map(|(a, b)| format!("dyn({a})[dyn({b})]")),
            inner.prop_map(|a| format!("dyn({a}).?name")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_is_too_bad_to_compile(text in "\\PC{0,40}") {
        let _ = environment().compile(&text);
    }

    #[test]
    fn what_compiles_runs_to_an_end(text in source(), of_self in json_value(), any in json_value()) {
        if let Ok(program) = environment().compile(&text) {
            let evaluated = program.evaluate(&[("self", &of_self), ("any", &any)], LIMIT);
            prop_assert!(evaluated.cost <= LIMIT || evaluated.value.is_err());
        }
    }

    #[test]
    fn whatever_the_values_are_it_runs_to_an_end(
        text in well_formed(), of_self in json_value(), any in json_value(),
    ) {
        if let Ok(program) = environment().compile(&text) {
            let given = [("self", &of_self), ("any", &any)];
            let first = program.evaluate(&given, LIMIT);
            let again = program.evaluate(&given, LIMIT);
            prop_assert_eq!(first.cost, again.cost);
            prop_assert_eq!(first.value.is_ok(), again.value.is_ok());
        }
    }
}
