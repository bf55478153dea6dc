//! JSON patch (RFC 6902), as upstream's library understands it: negative indices count from the
//! end, `replace` of a missing key of a map adds it.

use serde_json::Value;

use super::PatchError;

/// The most operations of one patch.
const OPERATIONS_MAX: usize = 10_000;
/// The most that `copy` may add, in bytes of JSON: a patch of some lines must not make gigabytes.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// What an operation has.
const FIELDS: [&str; 4] = ["op", "from", "path", "value"];

/// A list of operations.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPatch {
    operations: Vec<Operation>,
}

#[derive(Clone, Debug, PartialEq)]
struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Option<Value>,
}

fn fails<T>(text: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::DoesNotApply(text.into()))
}

impl JsonPatch {
    /// Reads a patch from its JSON.
    ///
    /// # Errors
    /// When it is no list of operations, or too long a one.
    pub fn parse(patch: &Value) -> Result<Self, PatchError> {
        let Value::Array(items) = patch else {
            return Err(PatchError::Malformed(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                type_name(patch)
            )));
        };
        if items.len() > OPERATIONS_MAX {
            return Err(PatchError::TooManyOperations { max: OPERATIONS_MAX, found: items.len() });
        }
        let operations = items.iter().map(Operation::parse).collect::<Result<_, _>>()?;
        Ok(Self { operations })
    }

    /// Fields of the operations that nobody knows, as warnings: `unknown field "[0].paths"`.
    #[must_use]
    pub fn unknown_fields(patch: &Value) -> Vec<String> {
        let items = patch.as_array().into_iter().flatten().enumerate();
        let of_item = |(at, item): (usize, &Value)| {
            let names = item.as_object().into_iter().flat_map(|map| map.keys());
            let unknown = names.filter(|name| !FIELDS.contains(&name.as_str()));
            unknown.map(|name| format!("unknown field \"[{at}].{name}\"")).collect::<Vec<_>>()
        };
        items.flat_map(of_item).collect()
    }

    /// The patched `document`.
    ///
    /// # Errors
    /// When an operation does not apply; nothing has changed then.
    pub fn apply(&self, document: &Value) -> Result<Value, PatchError> {
        let (mut result, mut copied) = (document.clone(), 0);
        for operation in &self.operations {
            operation.apply(&mut result, &mut copied)?;
        }
        Ok(result)
    }
}

/// A JSON type as Go's decoder calls it.
#[must_use]
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Operation {
    fn parse(item: &Value) -> Result<Self, PatchError> {
        let Value::Object(map) = item else {
            return Err(PatchError::Malformed(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
                type_name(item)
            )));
        };
        let text = |key: &str| match map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(PatchError::Malformed(format!(
                "error decoding patch: json: cannot unmarshal {} into Go struct field jsonPatchOp.{key} of type string",
                type_name(other)
            ))),
        };
        Ok(Self {
            op: text("op")?.unwrap_or_else(|| "unknown".to_string()),
            path: text("path")?,
            from: text("from")?,
            value: map.get("value").cloned(),
        })
    }

    fn apply(&self, document: &mut Value, copied: &mut usize) -> Result<(), PatchError> {
        let Some(path) = &self.path else {
            return fails(format!("{} operation failed to decode path", self.op));
        };
        let value = || self.value.clone().unwrap_or(Value::Null);
        match self.op.as_str() {
            "add" => add(document, path, value(), "add"),
            "remove" => take(document, path, "remove").map(drop),
            "replace" => replace(document, path, value()),
            "move" => {
                let value = take(document, self.from()?, "move")?;
                add(document, path, value, "move")
            }
            "copy" => {
                let value = get(document, self.from()?, "copy")?.clone();
                *copied += value.to_string().len();
                if *copied > COPIED_MAX {
                    return fails(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPIED_MAX}"
                    ));
                }
                add(document, path, value, "copy")
            }
            "test" => self.test(document, path),
            other => fails(format!("Unexpected kind: {other}")),
        }
    }

    fn from(&self) -> Result<&str, PatchError> {
        match &self.from {
            Some(from) => Ok(from),
            None => fails(format!("{} operation failed to decode from", self.op)),
        }
    }

    fn test(&self, document: &mut Value, path: &str) -> Result<(), PatchError> {
        let wanted = self.value.as_ref().unwrap_or(&Value::Null);
        let equal = match container(document, path) {
            _ if path.is_empty() => document == wanted,
            None => {
                return fails(format!("test operation does not apply: is missing path: {path}"));
            }
            Some((Value::Object(map), key)) => map.get(&key).unwrap_or(&Value::Null) == wanted,
            Some((Value::Array(items), key)) => {
                let at = index(&key, items.len(), items.len())?;
                items.get(at) == Some(wanted)
            }
            Some(_) => false,
        };
        match equal {
            true => Ok(()),
            false => {
                Err(PatchError::TestFailed(format!("testing value {path} failed: test failed")))
            }
        }
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The map or list that holds the last token of `path`, and that token.
fn container<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parents, last) = path.strip_prefix('/').map(|rest| {
        rest.rsplit_once('/').map_or((None, rest), |(parents, last)| (Some(parents), last))
    })?;
    let mut at = document;
    for token in parents.into_iter().flat_map(|parents| parents.split('/')).map(unescape) {
        at = match at {
            Value::Object(map) => map.get_mut(&token)?,
            Value::Array(items) => {
                let index = index(&token, items.len(), items.len()).ok()?;
                items.get_mut(index)?
            }
            _ => return None,
        };
    }
    matches!(at, Value::Object(_) | Value::Array(_)).then(|| (at, unescape(last)))
}

/// The place in a list of `length` that `token` names; at most `end - 1`, negative ones count
/// from `end`.
fn index(token: &str, length: usize, end: usize) -> Result<usize, PatchError> {
    let Ok(number) = token.parse::<i64>() else {
        return fails(format!("value was not a proper array index: '{token}'"));
    };
    let place = if number < 0 { number + i64::try_from(end).unwrap_or(0) } else { number };
    match usize::try_from(place) {
        Ok(place) if place < end && place <= length => Ok(place),
        _ => fails(format!("Unable to access invalid index: {number}: invalid index referenced")),
    }
}

fn add(document: &mut Value, path: &str, value: Value, op: &str) -> Result<(), PatchError> {
    let Some((container, key)) = container(document, path) else {
        return fails(format!("{op} operation does not apply: doc is missing path: {path:?}"));
    };
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = index(&key, items.len(), items.len() + 1)?;
            items.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let Some((container, key)) = container(document, path) else {
        return fails(format!("replace operation does not apply: doc is missing path: {path}"));
    };
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) => {
            let at = index(&key, items.len(), items.len())?;
            if let Some(place) = items.get_mut(at) {
                *place = value;
            }
        }
        _ => {}
    }
    Ok(())
}

fn take(document: &mut Value, path: &str, op: &str) -> Result<Value, PatchError> {
    match container(document, path) {
        None => fails(format!("{op} operation does not apply: doc is missing path: {path:?}")),
        Some((Value::Object(map), key)) => match map.remove(&key) {
            Some(value) => Ok(value),
            None => fails(format!(
                "error in {op} for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            )),
        },
        Some((Value::Array(items), key)) => {
            let at = index(&key, items.len(), items.len())?;
            Ok(items.remove(at))
        }
        Some(_) => Ok(Value::Null),
    }
}

fn get<'a>(document: &'a mut Value, path: &str, op: &str) -> Result<&'a Value, PatchError> {
    match container(document, path) {
        None => fails(format!("{op} operation does not apply: doc is missing from path: {path}")),
        Some((Value::Array(items), key)) => {
            let at = index(&key, items.len(), items.len())?;
            Ok(items.get(at).unwrap_or(&Value::Null))
        }
        Some((map, key)) => Ok(map.get(&key).unwrap_or(&Value::Null)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(document: &Value, patch: &Value) -> Result<Value, PatchError> {
        JsonPatch::parse(patch)?.apply(document)
    }

    #[test]
    fn every_operation_does_what_the_rfc_says() {
        for (patch, wanted) in [
            (json!([{"op": "add", "path": "/b", "value": 1}]), json!({"a": [1, 2], "b": 1})),
            (json!([{"op": "add", "path": "/a/1", "value": 9}]), json!({"a": [1, 9, 2]})),
            (json!([{"op": "add", "path": "/a/-", "value": 9}]), json!({"a": [1, 2, 9]})),
            (json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1]})),
            (json!([{"op": "replace", "path": "/a/0", "value": 3}]), json!({"a": [3, 2]})),
            (json!([{"op": "move", "from": "/a/0", "path": "/x~1y"}]), json!({"a": [2], "x/y": 1})),
            (json!([{"op": "copy", "from": "/a/0", "path": "/a/2"}]), json!({"a": [1, 2, 1]})),
            (json!([{"op": "test", "path": "/a", "value": [1, 2]}]), json!({"a": [1, 2]})),
            (json!([{"op": "test", "path": "/none", "value": null}]), json!({"a": [1, 2]})),
        ] {
            assert_eq!(apply(&json!({"a": [1, 2]}), &patch).unwrap(), wanted, "{patch}");
        }
    }

    #[test]
    fn what_does_not_apply_is_422_with_few_words() {
        for patch in [
            json!([{"op": "test", "path": "/a", "value": 1}]),
            json!([{"op": "remove", "path": "/b"}]),
            json!([{"op": "add", "path": "/b/c", "value": 1}]),
            json!([{"op": "add", "path": "/a/9", "value": 1}]),
            json!([{"op": "remove", "path": "/a/x"}]),
            json!([{"op": "twist", "path": "/a"}]),
            json!([{"op": "move", "path": "/a"}]),
            json!([{"op": "add"}]),
        ] {
            let status = apply(&json!({"a": [1]}), &patch).unwrap_err().status();
            assert_eq!((status.code, &*status.reason), (422, "Invalid"), "{patch}");
            assert_eq!(
                status.message,
                "the server rejected our request due to an error in our request"
            );
        }
    }

    #[test]
    fn a_patch_has_at_most_ten_thousand_operations_and_copies_within_bounds() {
        let many = vec![json!({"op": "test", "path": "/a", "value": 1}); 10_001];
        let status = apply(&json!({}), &json!(many)).unwrap_err().status();
        assert_eq!(status.code, 413);
        assert_eq!(
            status.message,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
        let doubling = vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 64];
        assert!(apply(&json!({"a": ["x"]}), &json!(doubling)).is_err());
        assert_eq!(apply(&json!({}), &json!({"op": "add"})).unwrap_err().status().code, 400);
    }
}
