//! The OpenAPI v2 document in protobuf, which is the only form that Go clients ask `/openapi/v2`
//! for: kubectl does where the v3 documents do not name a kind with a path, as for a Scale.
//!
//! One table of field numbers (facts of gnostic's `OpenAPIv2.proto`) serves every message that the
//! document has; `securityDefinitions` and `security`, which nobody reads there, are left out.

use serde_json::Value;

/// `message number:field=type`…, with these types: `s` text, `b` boolean, `i` integer, `d` double,
/// `a` anything, `p` a parameter, `e` additional properties, or the name of a message. `*` before a
/// type is a list, `>N` a message that holds it as field N, `%N` a map with its entries in field N.
/// The field `x-` takes all vendor extensions.
const MESSAGES: &[(&str, &str)] = &[
    ("Document", "1:swagger=s 2:info=Info 8:paths=%2PathItem 9:definitions=%1Schema"),
    ("Info", "1:title=s 2:version=s 3:description=s"),
    (
        "PathItem",
        "2:get=Operation 3:put=Operation 4:post=Operation 5:delete=Operation 6:options=Operation \
         7:head=Operation 8:patch=Operation 9:parameters=*p 10:x-",
    ),
    (
        "Operation",
        "1:tags=*s 3:description=s 5:operationId=s 6:produces=*s 7:consumes=*s 8:parameters=*p \
         9:responses=%1>1Response 10:schemes=*s 13:x-",
    ),
    ("Response", "1:description=s 2:schema=>1Schema 5:x-"),
    ("Body", "1:description=s 2:name=s 3:in=s 4:required=b 5:schema=Schema 6:x-"),
    (
        "Query",
        "1:required=b 2:in=s 3:description=s 4:name=s 6:type=s 7:format=s 20:uniqueItems=b 23:x-",
    ),
    (
        "InPath",
        "1:required=b 2:in=s 3:description=s 4:name=s 5:type=s 6:format=s 19:uniqueItems=b 22:x-",
    ),
    (
        "Schema",
        "1:$ref=s 2:format=s 3:title=s 4:description=s 5:default=a 6:multipleOf=d 7:maximum=d \
         8:exclusiveMaximum=b 9:minimum=d 10:exclusiveMinimum=b 11:maxLength=i 12:minLength=i \
         13:pattern=s 14:maxItems=i 15:minItems=i 16:uniqueItems=b 17:maxProperties=i \
         18:minProperties=i 19:required=*s 20:enum=*a 21:additionalProperties=e 22:type=>1s \
         23:items=>1Schema 24:allOf=*Schema 25:properties=%1Schema 31:x-",
    ),
];

/// The document as `openapi.v2.Document`.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, "Document", document);
    out
}

fn message(out: &mut Vec<u8>, name: &str, value: &Value) {
    let found = MESSAGES.iter().find(|(known, _)| *known == name);
    for field in found.map_or("", |(_, fields)| fields).split_ascii_whitespace() {
        let Some((number, field)) = field.split_once(':') else { continue };
        let number = number.parse().unwrap_or_default();
        match field.split_once('=') {
            Some((field, ty)) => write(out, number, ty, &value[field]),
            None => extensions(out, number, value),
        }
    }
}

/// Appends `value` as field `number`, when there is one.
fn write(out: &mut Vec<u8>, number: u32, ty: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    let (first, rest) = ty.split_at(1);
    match first {
        "*" => value.as_array().into_iter().flatten().for_each(|one| write(out, number, rest, one)),
        ">" => nested(out, number, |inner| write(inner, digit(rest), &rest[1..], value)),
        "%" => nested(out, number, |inner| {
            for (name, one) in value.as_object().into_iter().flatten() {
                nested(inner, digit(rest), |entry| {
                    bytes(entry, 1, name.as_bytes());
                    write(entry, 2, &rest[1..], one);
                });
            }
        }),
        "s" => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        "b" => integer(out, number, value.as_bool().unwrap_or_default().into()),
        "i" => integer(out, number, value.as_u64().unwrap_or_default()),
        "d" => {
            varint(out, u64::from(number) << 3 | 1);
            out.extend(value.as_f64().unwrap_or_default().to_le_bytes());
        }
        "a" => anything(out, number, value),
        "e" if value.is_boolean() => write(out, number, ">2b", value),
        "e" => write(out, number, ">1Schema", value),
        "p" => write(out, number, parameter(value), value),
        _ => nested(out, number, |inner| message(inner, ty, value)),
    }
}

/// The field that a wrapper's type begins with.
fn digit(ty: &str) -> u32 {
    ty.chars().next().and_then(|digit| digit.to_digit(10)).unwrap_or_default()
}

fn parameter(value: &Value) -> &'static str {
    match value["in"].as_str() {
        Some("body") => ">1>1Body",
        Some("path") => ">1>2>4InPath",
        _ => ">1>2>3Query",
    }
}

fn extensions(out: &mut Vec<u8>, number: u32, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        if name.starts_with("x-") {
            nested(out, number, |entry| {
                bytes(entry, 1, name.as_bytes());
                anything(entry, 2, value);
            });
        }
    }
}

/// A value of any type is written as its YAML, which JSON is.
fn anything(out: &mut Vec<u8>, number: u32, value: &Value) {
    nested(out, number, |inner| bytes(inner, 2, value.to_string().as_bytes()));
}

fn nested(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(out, number, &inner);
}

fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn integer(out: &mut Vec<u8>, number: u32, value: u64) {
    varint(out, u64::from(number) << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // The low seven bits; more follow.
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
