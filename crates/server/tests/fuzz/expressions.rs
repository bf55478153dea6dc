//! Expressions and values: what compiles ends within its cost, and comes to the same every time; what
//! a schema's rules may cost is never less than what they do cost.

use coracle_cel::rules::Rules;
use coracle_cel::{Environment, Type, declared};
use serde_json::{Value, json};

use crate::choices::Choices;

const LIMIT: u64 = 200_000;

pub fn case(choices: &mut Choices) {
    let schema = schema();
    let of_self = declared(&schema, false, "Self").unwrap_or(Type::Dyn);
    let environment = Environment::new()
        .with("self", of_self.clone())
        .with("oldSelf", Type::optional(of_self))
        .with("any", Type::Dyn);
    let (value, any) = (value(choices), choices.json(3));
    for _ in 0..50 {
        let source = match choices.below(10) {
            0 => scrambled(choices),
            1 => choices.text(),
            _ => {
                let depth = choices.below(5);
                expression(choices, depth, &mut vec!["self", "any"])
            }
        };
        let Ok(program) = environment.compile(&source) else { continue };
        let given = [("self", &value), ("any", &any)];
        let first = program.evaluate(&given, LIMIT);
        let again = program.evaluate(&given, LIMIT);
        assert_eq!(first.cost, again.cost, "{source}");
        assert_eq!(first.value.is_ok(), again.value.is_ok(), "{source}");
        assert!(first.cost <= LIMIT || first.value.is_err(), "{source}: {}", first.cost);
        judged(&source, &value);
    }
}

/// The same as a rule of a schema, which is refused or judges.
fn judged(source: &str, value: &Value) {
    let mut schema = schema();
    schema["x-kubernetes-validations"] = json!([{"rule": source}]);
    let (rules, errors) = Rules::compile(&schema, "schema");
    assert!(errors.iter().all(|error| error.field.starts_with("schema")), "{source}: {errors:?}");
    if let Some(rules) = rules {
        let judged = rules.judge(value, Some(value));
        let is_dear = |text: &str| text.contains("cost") && text.contains("budget");
        let dear = judged.errors.iter().map(ToString::to_string).find(|text| is_dear(text));
        assert!(!errors.is_empty() || dear.is_none(), "{source} was said to cost little: {dear:?}");
    }
}

fn schema() -> Value {
    let text = json!({"type": "string", "maxLength": 20});
    let item = json!({"type": "object", "required": ["key"], "properties": {
        "key": text, "n": {"type": "integer"}}});
    json!({"type": "object", "properties": {
        "n": {"type": "integer"},
        "f": {"type": "number"},
        "s": text,
        "b": {"type": "boolean"},
        "t": {"type": "string", "format": "date-time"},
        "d": {"type": "string", "format": "duration"},
        "y": {"type": "string", "format": "byte"},
        "e": {"x-kubernetes-int-or-string": true},
        "l": {"type": "array", "maxItems": 5, "items": {"type": "integer"}},
        "w": {"type": "array", "maxItems": 5, "items": text, "x-kubernetes-list-type": "set"},
        "i": {"type": "array", "maxItems": 5, "items": item, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["key"]},
        "m": {"type": "object", "maxProperties": 5, "additionalProperties": text},
    }})
}

fn value(choices: &mut Choices) -> Value {
    let few = |choices: &mut Choices| choices.below(5);
    let short = |choices: &mut Choices| -> String { choices.text().chars().take(20).collect() };
    let mut value = json!({
        "n": choices.integer(),
        "f": choices.one(&[0.5, 3.0, -1e10]),
        "s": short(choices),
        "b": choices.chance(50),
        "t": choices.one(&["2024-02-29T12:30:15.5Z", "1970-01-01T00:00:00Z"]),
        "d": choices.one(&["1h30m", "0s", "-2562047h"]),
        "y": choices.one(&["YWI=", ""]),
        "e": choices.one(&[json!(1), json!("5%")]),
        "l": (0..few(choices)).map(|_| choices.integer()).collect::<Vec<_>>(),
        "i": (0..few(choices)).map(|at| json!({"key": format!("k{at}"), "n": at})).collect::<Vec<_>>(),
        "m": {"a": short(choices), "b": ""},
    });
    let words: std::collections::BTreeSet<String> =
        (0..few(choices)).map(|_| short(choices)).collect();
    value["w"] = json!(words);
    if choices.chance(60) {
        let gone = choices.one(&["n", "s", "l", "i", "m", "t"]);
        value.as_object_mut().unwrap().remove(gone);
    }
    value
}

/// Tokens in any order.
fn scrambled(choices: &mut Choices) -> String {
    let tokens = [
        "self",
        ".",
        "?",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "1",
        "'a'",
        "\"",
        "'",
        "r'\\",
        "b'",
        "0x",
        "1u",
        "1e9",
        "1e999",
        "9223372036854775808",
        "in",
        "true",
        "null",
        "has",
        "all",
        "map",
        "x",
        "//",
        "\n",
        "\\",
        "`a-b`",
        "size",
        "é",
        "\0",
    ];
    (0..choices.below(30)).map(|_| choices.one(&tokens)).collect::<Vec<_>>().join(" ")
}

const OPERATORS: &str = "+ - * / % == != < <= > >= && || in";
const FUNCTIONS: &str = "size string int uint double bool bytes type dyn ! - duration timestamp \
    quantity ip cidr url isIP isQuantity semver optional.of optional.ofNonZeroValue has lists.range";
const METHODS: &str = "size sum min max isSorted lowerAscii upperAscii trim reverse sort distinct \
    flatten first last getFullYear getHours hasValue value asInteger sign family getHost masked \
    prefixLength";
const METHODS_OF_ONE: &str = "contains startsWith endsWith matches indexOf lastIndexOf split join find \
    findAll charAt substring format orValue or flatten slice replace add sub isGreaterThan compareTo \
    containsIP containsCIDR getDate";
const MACROS: &str = "all exists exists_one map filter sortBy";
const MACROS_OF_TWO: &str = "all exists transformList transformMap";

fn word<'a>(choices: &mut Choices, of: &'a str) -> &'a str {
    let words: Vec<&str> = of.split_whitespace().collect();
    choices.one(&words)
}

/// An expression that may well make sense; `names` are those that it may use.
fn expression(choices: &mut Choices, depth: usize, names: &mut Vec<&'static str>) -> String {
    if depth == 0 {
        return leaf(choices, names);
    }
    let a = expression(choices, depth - 1, names);
    let mut another = |choices: &mut Choices| expression(choices, depth - 1, names);
    match choices.below(12) {
        0..=2 => format!("({a} {} {})", word(choices, OPERATORS), another(choices)),
        3 => format!("({a} ? {} : {})", another(choices), another(choices)),
        4 => format!("{a}[{}]", another(choices)),
        5 => format!("{}({a})", word(choices, FUNCTIONS)),
        6 => format!("{a}.{}()", word(choices, METHODS)),
        7 => format!("{a}.{}({})", word(choices, METHODS_OF_ONE), another(choices)),
        8 | 9 => {
            let (name, variable) = (word(choices, MACROS), choices.one(&["x", "y"]));
            names.push(variable);
            let body = expression(choices, depth - 1, names);
            names.pop();
            format!("{a}.{name}({variable}, {body})")
        }
        10 => {
            let name = word(choices, MACROS_OF_TWO);
            names.extend(["k", "v"]);
            let body = expression(choices, depth - 1, names);
            names.truncate(names.len() - 2);
            format!("{a}.{name}(k, v, {body})")
        }
        _ => {
            let b = another(choices);
            let of_sets = word(choices, "contains intersects equivalent");
            match choices.below(5) {
                0 => format!("[{a}, {b}]"),
                1 => format!("{{{a}: {b}}}"),
                2 => format!("sets.{of_sets}({a}, {b})"),
                3 => format!("{a}.optMap(x, {b})"),
                _ => format!("cel.bind(x, {a}, {b})"),
            }
        }
    }
}

fn leaf(choices: &mut Choices, names: &[&'static str]) -> String {
    match choices.below(6) {
        0 => choices.integer().to_string(),
        1 => {
            let text = choices.text().replace(['\\', '\'', '\n', '\0'], "");
            format!("'{}'", text.chars().take(200).collect::<String>())
        }
        2 => choices.one(&["true", "false", "null", "1.5", "1u", "b'a'", "[]", "{}"]).to_owned(),
        _ => {
            let name = choices.one(names);
            let fields = ["n", "f", "s", "b", "t", "d", "y", "e", "l", "w", "i", "m", "?n", "a"];
            match choices.below(10) {
                0 => name.to_owned(),
                1 => "oldSelf".to_owned(),
                2 => format!("has(self.{})", choices.one(&fields[..12])),
                _ => format!("self.{}", choices.one(&fields)),
            }
        }
    }
}
