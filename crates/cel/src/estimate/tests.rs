//! Upstream's published numbers: `TestCostEstimation` of apiextensions-apiserver.

use serde_json::{Value as Json, json};

use super::*;
use crate::{Environment, declared};

fn most_of(schema: &Json, rule: &str) -> u64 {
    let ty = declared(schema, false, "self").unwrap();
    let program = Environment::new().with("self", ty).compile(rule).unwrap();
    most(&program, &Sized::of(schema, false).unwrap())
}

fn primitive(ty: &str) -> Json {
    match ty {
        "int-or-string" => json!({"x-kubernetes-int-or-string": true}),
        "duration" | "date" | "date-time" | "byte" => json!({"type": "string", "format": ty}),
        ty => json!({"type": ty}),
    }
}

/// `schema` with a limit of the kind that it takes.
fn limited(schema: &Json, limit: u64) -> Json {
    let field = match schema["type"].as_str() {
        Some("array") => "maxItems",
        Some("object") => "maxProperties",
        _ => "maxLength",
    };
    let mut limited = schema.clone();
    limited[field] = limit.into();
    limited
}

/// Schema, rule, cost; a limit, and the cost with it.
type Case = (Json, &'static str, u64, u64, u64);

fn check(cases: Vec<Case>) {
    for (schema, rule, cost, limit, with_limit) in cases {
        assert_eq!(most_of(&schema, rule), cost, "{rule} on {schema}");
        assert_eq!(most_of(&limited(&schema, limit), rule), with_limit, "{rule} up to {limit}");
    }
}

fn array(items: Json) -> Json {
    json!({"type": "array", "items": items})
}

fn map(values: Json) -> Json {
    json!({"type": "object", "additionalProperties": values})
}

#[test]
fn lists_cost_what_upstream_says() {
    let of = |ty: &str| array(primitive(ty));
    let all = "self.all(x, true)";
    check(vec![
        (of("number"), all, 4_718_591, 10, 32),
        (of("string"), all, 3_145_727, 20, 62),
        (of("boolean"), all, 1_887_437, 5, 17),
        (array(of("number")), all, 3_145_727, 100, 302),
        (of("int-or-string"), all, 4_718_591, 10, 32),
        (of("duration"), all, 2_359_295, 5, 17),
        (of("date"), all, 725_936, 15, 47),
        (of("date-time"), all, 428_963, 25, 77),
        (of("number"), "self[1] == 0.0", 2, 5000, 2),
        (of("string"), "self[1] == self[1]", 314_577, 8, 314_577),
        (of("number"), "self.all(x, x == 0.0)", 6_291_454, 6_291_456, 25_165_826),
        (of("int-or-string"), "self[0] == 5", 3, 10, 3),
        (of("boolean"), "self[0] == false", 2, 25, 2),
        (array(of("number")), "self[0][0] == -1.0", 3, 51, 3),
        (of("duration"), "self[0].getHours() == 2", 4, 525, 4),
        (of("date"), "self[2].getDayOfMonth() == 13", 4, 42, 4),
        (of("date-time"), "self[2].getMinutes() == 45", 4, 99, 4),
        (array(map(primitive("number"))), "self.all(x, x.y == 25.2)", 6_291_452, 12, 74),
        (array(map(primitive("number"))), "self[0].x > 2.0", 4, 3000, 4),
    ]);
    for (rule, with_limit) in [
        ("self.all(x, self.all(y, true))", 352),
        ("self.all(x, self.all(y, self.all(z, true)))", 3552),
    ] {
        assert!(most_of(&of("number"), rule) > 10_000_000, "{rule}");
        assert_eq!(most_of(&limited(&of("number"), 10), rule), with_limit, "{rule}");
    }
}

#[test]
fn maps_cost_what_upstream_says() {
    let of = |ty: &str| map(primitive(ty));
    let all = "self.all(x, true)";
    check(vec![
        (of("number"), all, 1_348_169, 10, 32),
        (of("string"), all, 1_179_647, 3, 11),
        (of("boolean"), all, 943_718, 100, 302),
        (of("int-or-string"), all, 1_348_169, 15, 47),
        (map(of("number")), all, 1_179_647, 10, 32),
        (map(array(primitive("number"))), all, 1_179_647, 25, 77),
        (of("duration"), all, 1_048_577, 5, 17),
        (of("date"), all, 524_288, 10, 32),
        (of("date-time"), all, 349_526, 25, 77),
        (of("number"), "self['x'] == 0.0", 2, 0, 2),
    ]);
}

#[test]
fn texts_cost_what_upstream_says() {
    let (text, bytes) = (primitive("string"), primitive("byte"));
    // Four bytes a character.
    check(vec![
        (text.clone(), "self.contains('test')", 314_574, 10, 5),
        (text.clone(), "self.startsWith('test')", 2, 15, 2),
        (text.clone(), "self.endsWith('test')", 2, 30, 2),
        (text.clone(), "size(self + 'hello') > size('hello')", 314_578, 4, 7),
        (text.clone(), "self.matches('x')", 314_574, 50, 22),
        (text.clone(), "''.matches('(((((((((())))))))))[0-9]')", 7, 10, 7),
        (text.clone(), "self.matches('')", 1, 100, 1),
        (text.clone(), "self == 'x'", 2, 0, 1),
        (bytes, "self == b'x'", 2, 0, 1),
        (text.clone(), "self.find('[0-9]+') == ''", 629_147, 10, 11),
        (text, "self.lowerAscii() == 'lower!'", 314_575, 10, 6),
        (json!({"type": "string", "enum": ["A", "LongValue"]}), "self.contains('A')", 2, 1000, 401),
        (primitive("int-or-string"), "isQuantity(self)", 314_574, 20, 9),
        (map(primitive("date-time")), "self['a'] == self['b']", 8, 7, 8),
        (map(primitive("duration")), "self['c'] == self['d']", 8, 42, 8),
    ]);
}

#[test]
fn libraries_cost_what_upstream_says() {
    let texts = array(primitive("string"));
    let small = limited(&array(limited(&primitive("string"), 10)), 10);
    for (rule, cost, with_limit) in [
        ("self.join(' ') == 'aa bb'", 329_853_068_905, 43),
        ("self.isSorted() == true", 329_854_432_052, 52),
    ] {
        assert_eq!(most_of(&texts, rule), cost, "{rule}");
        assert_eq!(most_of(&small, rule), with_limit, "{rule}");
    }
    let object = |text: Json, others: Json| {
        let mut fields = others;
        fields["str"] = text;
        json!({"type": "object", "properties": fields})
    };
    let text = primitive("string");
    let others = json!({"before": limited(&text, 2), "after": limited(&text, 4)});
    let rule = "self.str.replace(self.before, self.after) == 'does not matter'";
    assert_eq!(most_of(&object(text.clone(), others.clone()), rule), 629_154);
    assert_eq!(most_of(&object(limited(&text, 4), others), rule), 12);
    let rule = "self.str.split(self.separator) == []";
    assert_eq!(most_of(&object(text.clone(), json!({"separator": text})), rule), 629_160);
    let ten = limited(&text, 10);
    assert_eq!(most_of(&object(ten.clone(), json!({"separator": ten})), rule), 22);
}
