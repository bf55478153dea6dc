//! JSON of what an expression has made.

use serde_json::{Map as Fields, Number, Value as Json};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::text::time;
use crate::value::{Key, List, Map, Value};

/// `value` as JSON.
///
/// # Errors
/// When JSON has nothing like it.
pub(super) fn of(value: &Value) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(it) => Json::Bool(*it),
        Value::Int(it) => (*it).into(),
        Value::Uint(it) => (*it).into(),
        Value::Double(it) => number(*it)?,
        Value::Text(it) => (**it).into(),
        Value::Bytes(it) => BASE64_STANDARD.encode(it).into(),
        Value::Duration(it) => time::seconds(*it).into(),
        Value::Timestamp(it) => format!("{it}Z").into(),
        Value::List(List::Json(items, _)) => Json::Array(items.to_vec()),
        Value::List(list) => {
            let items: Result<Vec<Json>, String> = list.iter().map(|item| of(&item)).collect();
            Json::Array(items?)
        }
        Value::Map(Map::Json(fields, _) | Map::Object(fields, _)) => {
            Json::Object((*fields).clone())
        }
        Value::Map(map) => map_of(map)?,
        Value::Struct(made) => {
            let mut all = Fields::new();
            for (name, value) in &made.fields {
                let value =
                    of(value).map_err(|why| format!("fail to convert field {name:?}: {why}"))?;
                all.insert(name.to_string(), value);
            }
            Json::Object(all)
        }
        other => return Err(format!("a value of type {} is no JSON", other.type_name())),
    })
}

fn number(float: f64) -> Result<Json, String> {
    // A whole number is written as one, as Go does.
    if float.fract() == 0.0 && float.abs() < 9e15 {
        return Ok((float as i64).into());
    }
    Number::from_f64(float).map(Json::Number).ok_or_else(|| format!("{float} is no JSON"))
}

fn map_of(map: &Map) -> Result<Json, String> {
    let mut all = Fields::new();
    for key in map.keys() {
        let Key::Text(name) = &key else {
            let key = key.value();
            return Err(format!("a map key is of type {}, not string", key.type_name()));
        };
        if let Some(value) = map.get(&key) {
            all.insert(name.to_string(), of(&value)?);
        }
    }
    Ok(Json::Object(all))
}
