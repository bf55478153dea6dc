//! JSON merge patch (RFC 7386): what is named is set, `null` removes, lists are replaced.

use serde_json::{Map, Value};

use super::PatchError;

/// The patched `document`.
///
/// # Errors
/// When `patch` is no JSON map: patches replace parts of objects, not objects.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Object(fields) = patch else {
        let found = match patch {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            _ => return Err(PatchError::Malformed("Invalid JSON Patch".to_string())),
        };
        return Err(PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        )));
    };
    let mut result = document.clone();
    merge(&mut result, fields);
    Ok(result)
}

fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                map.remove(key);
            }
            Value::Object(fields) => merge(map.entry(key.clone()).or_insert(Value::Null), fields),
            other => {
                map.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_the_rfc() {
        for (document, patch, wanted) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": 1}), json!({"a": null}), json!({"b": 1})),
            (json!({"a": [1]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"a": [{"b": 1}]}), json!({"a": [1]}), json!({"a": [1]})),
        ] {
            assert_eq!(apply(&document, &patch).unwrap(), wanted, "{patch}");
        }
        assert_eq!(apply(&json!({}), &json!([1])).unwrap_err().status().code, 400);
    }

    fn without_nulls() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<bool>().prop_map(Value::from), any::<i8>().prop_map(Value::from)];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", without_nulls(), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    /// The patch that makes `to` of `from`.
    fn diff(from: &Value, to: &Value) -> Value {
        let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
        let mut patch = Map::new();
        for key in from.keys().filter(|key| !to.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
        for (key, value) in to {
            match from.get(key) {
                Some(old) if old == value => {}
                Some(old) => drop(patch.insert(key.clone(), diff(old, value))),
                None => drop(patch.insert(key.clone(), value.clone())),
            }
        }
        Value::Object(patch)
    }

    proptest! {
        #[test]
        fn applying_a_difference_gives_the_other(from in object(), to in object()) {
            prop_assert_eq!(apply(&from, &diff(&from, &to)).unwrap(), to);
        }

        #[test]
        fn applying_twice_is_applying_once(document in object(), patch in object()) {
            let once = apply(&document, &patch).unwrap();
            prop_assert_eq!(apply(&once, &patch).unwrap(), once);
        }
    }
}
