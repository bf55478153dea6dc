//! Expressions, what they come to, and what they cost.

mod costs;
mod hostile;
mod language;
mod libraries;
mod mistakes;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::{
    Environment, Evaluated, Field, Identity, Issue, ListType, ObjectType, Program, Type, Value,
};

/// What rules of Kubernetes may cost.
const LIMIT: u64 = 1_000_000;

fn object(name: &str, fields: &[(&str, &str, Type)]) -> Type {
    let field = |(name, json, ty): &(&str, &str, Type)| {
        (name.to_string(), Field { json: (*json).into(), ty: ty.clone() })
    };
    let fields: BTreeMap<String, Field> = fields.iter().map(field).collect();
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

fn list_of(element: Type, identity: Identity) -> Type {
    Type::List(Arc::new(ListType { element, identity }))
}

/// A typed `self`, and `any`, of which nothing is known.
fn environment() -> Environment {
    let port = object("Port", &[("name", "name", Type::String), ("port", "port", Type::Int)]);
    let of_self = object(
        "Self",
        &[
            ("name", "name", Type::String),
            ("replicas", "replicas", Type::Int),
            ("ratio", "ratio", Type::Double),
            ("on", "on", Type::Bool),
            ("when", "when", Type::Timestamp),
            ("wait", "wait", Type::Duration),
            ("data", "data", Type::Bytes),
            ("either", "either", Type::Dyn),
            ("foo__dash__bar", "foo-bar", Type::String),
            ("items", "items", Type::list(Type::Int)),
            ("words", "words", Type::list(Type::String)),
            ("tags", "tags", list_of(Type::String, Identity::Value)),
            ("ports", "ports", list_of(port, Identity::Keys(vec!["name".to_owned()]))),
            ("labels", "labels", Type::map(Type::String, Type::String)),
            ("absent", "absent", Type::String),
        ],
    );
    Environment::new()
        .with("self", of_self.clone())
        .with("oldSelf", Type::optional(of_self))
        .with("any", Type::Dyn)
}

fn given() -> (Json, Json) {
    let of_self = json!({
        "name": "boat", "replicas": 3, "ratio": 2, "on": true, "when": "2024-02-29T12:30:15.5Z",
        "wait": "1h30m", "data": "aGk=", "either": 5, "foo-bar": "dashed", "unknown": 1,
        "items": [3, 1, 2], "words": ["b", "a"], "tags": ["x", "y"],
        "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}],
        "labels": {"app": "web", "tier": "front"},
    });
    let any = json!({
        "n": 1, "f": 1.5, "s": "text", "l": [1, "two", null], "m": {"k": {"d": [1]}}, "z": null,
        "big": 18_446_744_073_709_551_615_u64,
    });
    (of_self, any)
}

fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("'{}'", &**text),
        Value::Int(it) => it.to_string(),
        Value::Uint(it) => format!("{it}u"),
        Value::Double(it) => format!("{it:?}"),
        Value::Bool(it) => it.to_string(),
        Value::Null => "null".to_owned(),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(|item| show(&item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entry =
                |key| map.get(&key).map(|v| format!("{}: {}", show(&key.value()), show(&v)));
            let entries: Vec<String> = map.keys().into_iter().filter_map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Optional(None) => "none".to_owned(),
        Value::Optional(Some(of)) => format!("some({})", show(of)),
        Value::Type(name) => format!("type {name}"),
        Value::Duration(nanos) => format!("{nanos}ns"),
        Value::Timestamp(it) => format!("{it}Z"),
        Value::Bytes(bytes) => format!("{bytes:?}"),
        Value::Ip(it) => it.to_string(),
        Value::Cidr(it) => it.to_string(),
        Value::Quantity(it) => it.to_string(),
        other => other.type_name().to_owned(),
    }
}

fn compile(source: &str) -> Program {
    environment()
        .compile(source)
        .unwrap_or_else(|issues| panic!("{source}: {}", Issue::show_all(&issues)))
}

/// What `source` comes to, or why it comes to nothing; what it costs.
fn evaluate(source: &str) -> (String, u64) {
    let (of_self, any) = given();
    let program = compile(source);
    let Evaluated { value, cost } = program.evaluate(&[("self", &of_self), ("any", &any)], LIMIT);
    let shown = match value {
        Ok(value) => show(&value),
        Err(error) => error.to_string(),
    };
    (shown, cost)
}

/// Each expression comes to what stands beside it.
fn all_come_to(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(source, expected)| (source, expected, evaluate(source).0))
        .filter(|(_, expected, found)| found != *expected)
        .map(|(source, expected, found)| format!("{source}\n  is     {found}\n  not    {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
