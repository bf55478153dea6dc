//! Strategic merge patch: a merge patch that merges lists by the keys the schema declares, with
//! directives for what cannot be said otherwise.
//!
//! - `$patch: replace | delete | merge` in a map or an item of a merged list
//! - `$deleteFromPrimitiveList/FIELD`: takes items out of a merged list of scalars
//! - `$setElementOrder/FIELD`: the order of a merged list
//! - `$retainKeys`: only these keys of the map stay

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::json::type_name;
use super::{PatchError, go_text};
use crate::schema::{PatchStrategy, Schema, Type};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

const BAD_DELETE_LIST: &str = "invalid patch format of primitive list";
const BAD_ORDER_LIST: &str = "invalid patch format of setElementOrder list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";

/// The patched `document`, an object of the type `ty`. Fields that the schema does not know are
/// merged as maps or replaced.
///
/// # Errors
/// When the patch has no valid form or contradicts itself.
pub fn apply(
    schema: &Schema,
    ty: &Type,
    document: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (document, patch) else {
        return malformed(&format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            type_name(patch)
        ));
    };
    let merged = Merge { schema }.maps(original.clone(), patch.clone(), ty)?;
    Ok(Value::Object(merged))
}

fn malformed<T>(text: &str) -> Result<T, PatchError> {
    Err(PatchError::Malformed(text.to_string()))
}

fn contradiction<T>(text: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Contradiction(text.into()))
}

/// What the schema says of a field: its type and how patches treat it.
struct FieldType<'a> {
    ty: &'a Type,
    patch: &'a PatchStrategy,
}

static NO_STRATEGY: PatchStrategy =
    PatchStrategy { merge: false, retain_keys: false, replace: false, merge_key: None };

struct Merge<'a> {
    schema: &'a Schema,
}

impl<'a> Merge<'a> {
    fn field(&self, ty: &'a Type, name: &str) -> FieldType<'a> {
        let unknown = FieldType { ty: &Type::Any, patch: &NO_STRATEGY };
        match self.schema.resolve(ty) {
            Type::Object(object) => object
                .field(name)
                .map_or(unknown, |field| FieldType { ty: &field.ty, patch: &field.patch }),
            Type::Map(map) => FieldType { ty: &map.elem, patch: &NO_STRATEGY },
            _ => unknown,
        }
    }

    fn elem(&self, ty: &'a Type) -> &'a Type {
        match self.schema.resolve(ty) {
            Type::Array(array) => &array.elem,
            _ => &Type::Any,
        }
    }

    fn maps(
        &self,
        mut original: Map<String, Value>,
        mut patch: Map<String, Value>,
        ty: &'a Type,
    ) -> Result<Map<String, Value>, PatchError> {
        if let Some(directive) = patch.remove(PATCH) {
            return match directive.as_str() {
                Some("replace") => Ok(patch),
                Some("delete") => Ok(Map::new()),
                _ => {
                    let shown = go_text(&directive);
                    patch.insert(PATCH.to_string(), directive);
                    contradiction(format!(
                        "unknown patch type: {shown} in map: {}",
                        go_text(&Value::Object(patch))
                    ))
                }
            };
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, ty)?;
        for (key, value) in patch {
            self.member(&mut original, &key, value, ty)?;
        }
        Ok(original)
    }

    /// Merges one member of a patch that is no ordered list.
    fn member(
        &self,
        original: &mut Map<String, Value>,
        key: &str,
        value: Value,
        ty: &'a Type,
    ) -> Result<(), PatchError> {
        if let Some(rest) = key.strip_prefix(DELETE_FROM) {
            let Some(name) = rest.strip_prefix('/') else { return malformed(BAD_DELETE_LIST) };
            return delete_scalars(original, name, &value);
        }
        if value.is_null() {
            original.remove(key);
            return Ok(());
        }
        let field = self.field(ty, key);
        let merged = match (original.remove(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if field.patch.replace => {
                drop(old);
                Some(Value::Object(new))
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                Some(Value::Object(self.maps(old, new, field.ty)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) if field.patch.merge => {
                let elem = self.elem(field.ty);
                Some(Value::Array(self.lists(old, new, elem, field.patch)?))
            }
            (_, new) => plain(new),
        };
        original.extend(merged.map(|value| (key.to_string(), value)));
        Ok(())
    }

    /// Merges and orders the lists that have a `$setElementOrder`, and takes them from the patch.
    fn ordered_lists(
        &self,
        original: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
        ty: &'a Type,
    ) -> Result<(), PatchError> {
        let directives: Vec<String> =
            patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
        for directive in directives {
            let order = patch.remove(&directive);
            let name = directive.strip_prefix(SET_ORDER).and_then(|rest| rest.strip_prefix('/'));
            let (Some(name), Some(Value::Array(order))) = (name, order) else {
                return malformed(BAD_ORDER_LIST);
            };
            let field = self.field(ty, name);
            let old = list(original.get(name))?;
            let new = list(patch.remove(name).as_ref())?;
            let key = field.patch.merge_key.as_deref();
            check_order(new.as_deref().unwrap_or_default(), &order, key)?;
            let server_order = old.clone().unwrap_or_default();
            let merged = match (old, new) {
                (None, None) => continue,
                (Some(old), None) => old,
                (None, Some(new)) => new.into_iter().filter_map(plain).collect(),
                (Some(old), Some(new)) if field.patch.merge => {
                    self.lists(old, new, self.elem(field.ty), field.patch)?
                }
                (Some(_), Some(new)) => new,
            };
            let ordered = arrange(merged, &order, &server_order, key)?;
            original.insert(name.to_string(), Value::Array(ordered));
        }
        Ok(())
    }

    fn lists(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        elem: &'a Type,
        strategy: &PatchStrategy,
    ) -> Result<Vec<Value>, PatchError> {
        let Some(first) = original.first().or(patch.first()) else { return Ok(original) };
        let are_maps = first.is_object();
        if original.iter().chain(&patch).any(|item| item.is_array()) {
            return contradiction("lists of lists are not supported");
        }
        if original.iter().chain(&patch).any(|item| item.is_object() != are_maps) {
            return contradiction("list element types are not identical");
        }
        if !are_maps {
            let mut merged = original.clone();
            merged.extend(patch.iter().filter(|item| !original.contains(item)).cloned());
            merged.dedup();
            return arrange(merged, &patch, &original, None);
        }
        let Some(key) = strategy.merge_key.as_deref() else {
            return contradiction("cannot merge lists without merge key for type struct");
        };
        self.lists_of_maps(original, patch, elem, key)
    }

    fn lists_of_maps(
        &self,
        mut original: Vec<Value>,
        patch: Vec<Value>,
        elem: &'a Type,
        key: &str,
    ) -> Result<Vec<Value>, PatchError> {
        let (mut items, mut replace) = (Vec::new(), false);
        for item in patch {
            match item.get(PATCH).map(|directive| directive.as_str().unwrap_or_default()) {
                None => items.push(item),
                Some("delete") => {
                    let value = key_of(&item, key)?;
                    original.retain(|old| old.get(key) != Some(value));
                }
                Some("replace") => replace = true,
                Some("merge") => {
                    return contradiction("merging lists cannot yet be specified in the patch");
                }
                Some(other) => {
                    return contradiction(format!(
                        "unknown patch type: {other} in map: {}",
                        go_text(&item)
                    ));
                }
            }
        }
        if replace {
            return Ok(items.into_iter().filter_map(plain).collect());
        }
        let (order, server_order) = (items.clone(), original.clone());
        for item in items {
            let value = key_of(&item, key)?.clone();
            let place = original.iter_mut().find(|old| old.get(key) == Some(&value));
            match (place, item) {
                (Some(place), Value::Object(item)) => {
                    let Value::Object(old) = place.take() else { continue };
                    *place = Value::Object(self.maps(old, item, elem)?);
                }
                (_, item) => original.extend(plain(item)),
            }
        }
        arrange(original, &order, &server_order, Some(key))
    }
}

fn list(value: Option<&Value>) -> Result<Option<Vec<Value>>, PatchError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(other) => contradiction(format!("expected a list, but received {}", go_text(other))),
    }
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    item.get(key).ok_or_else(|| PatchError::NoMergeKey { item: go_text(item), key: key.into() })
}

/// `$retainKeys`: clears what it does not list. What the patch sets must be listed.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return malformed(BAD_RETAIN_KEYS) };
    let listed = |name: &String| keys.iter().any(|key| key.as_str() == Some(name));
    let is_directive = |name: &str| name.starts_with(DELETE_FROM) || name.starts_with(SET_ORDER);
    let all_listed =
        patch.iter().all(|(name, value)| value.is_null() || is_directive(name) || listed(name));
    if !all_listed {
        return malformed(BAD_RETAIN_KEYS);
    }
    original.retain(|name, _| listed(name));
    Ok(())
}

fn delete_scalars(
    original: &mut Map<String, Value>,
    name: &str,
    items: &Value,
) -> Result<(), PatchError> {
    let Value::Array(items) = items else { return malformed(BAD_DELETE_LIST) };
    if let Some(Value::Array(list)) = original.get_mut(name) {
        list.retain(|item| !items.contains(item));
    }
    Ok(())
}

/// What a part of a patch means where nothing was before: without nulls and directives. `None`
/// for what is to be deleted.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(PATCH).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let directive = |name: &str| {
                name == PATCH
                    || name == RETAIN_KEYS
                    || name.starts_with("$deleteFromPrimitiveList/")
                    || name.starts_with("$setElementOrder/")
            };
            let members =
                map.into_iter().filter(|(name, value)| !value.is_null() && !directive(name));
            let members = members.filter_map(|(name, value)| Some((name, plain(value)?)));
            Some(Value::Object(members.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(plain).collect())),
        scalar => Some(scalar),
    }
}

/// Whether two items are one: by key, or by value.
fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn position(order: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    order.iter().position(|other| same(other, item, key))
}

/// The items of a patch must stand in the order that its `$setElementOrder` tells.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        if let Some(key) = key {
            key_of(item, key)?;
        }
        if !rest.any(|other| same(other, item, key)) {
            return contradiction(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                go_text(&Value::Array(patch.to_vec())),
                go_text(&Value::Array(order.to_vec()))
            ));
        }
    }
    Ok(())
}

/// Orders a merged list: items that the patch names stand as in `order`, the others keep their
/// places among them as far as `server_order` tells.
fn arrange(
    merged: Vec<Value>,
    order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    if let Some(key) = key {
        for item in merged.iter().chain(order) {
            key_of(item, key)?;
        }
    }
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| position(order, item, key).is_some());
    sort_by_place(&mut named, order, key);
    sort_by_place(&mut others, server_order, key);
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut result = Vec::new();
    while let (Some(left), Some(right)) = (others.peek(), named.peek()) {
        let places = (position(server_order, left, key), position(server_order, right, key));
        let left_first = matches!(places, (Some(left), Some(right)) if left < right);
        result.extend(if left_first { others.next() } else { named.next() });
    }
    result.extend(named);
    result.extend(others);
    Ok(result)
}

fn sort_by_place(items: &mut [Value], order: &[Value], key: Option<&str>) {
    items.sort_by(|a, b| match (position(order, a, key), position(order, b, key)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(kind: &str, document: &Value, patch: &Value) -> Result<Value, PatchError> {
        let schema = Schema::builtin();
        apply(schema, schema.type_named(kind).unwrap(), document, patch)
    }

    const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

    fn names(list: &Value) -> Vec<&str> {
        list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn lists_are_merged_by_key_and_scalars_replaced() {
        let pod = json!({"containers": [{"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}]}],
            "dnsPolicy": "Default", "unknown": {"kept": true}});
        let patch = json!({"containers": [{"name": "b", "image": "y"},
            {"name": "a", "env": [{"name": "L", "value": "2"}]}], "dnsPolicy": null});
        let result = patched(POD_SPEC, &pod, &patch).unwrap();
        assert_eq!(names(&result["containers"]), ["b", "a"]);
        let a = &result["containers"][1];
        assert_eq!(a["image"], "x");
        assert_eq!(names(&a["env"]), ["L", "K"]);
        assert!(result.get("dnsPolicy").is_none());
        assert_eq!(result["unknown"], json!({"kept": true}));
    }

    #[test]
    fn atomic_lists_are_replaced() {
        let pod = json!({"containers": [{"name": "a", "args": ["1", "2"]}]});
        let patch = json!({"containers": [{"name": "a", "args": ["3"]}]});
        let result = patched(POD_SPEC, &pod, &patch).unwrap();
        assert_eq!(result["containers"][0]["args"], json!(["3"]));
    }

    #[test]
    fn directives_delete_replace_and_order_items() {
        let pod = json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
        let delete = json!({"containers": [{"name": "b", "$patch": "delete"}]});
        assert_eq!(names(&patched(POD_SPEC, &pod, &delete).unwrap()["containers"]), ["a", "c"]);
        let replace = json!({"containers": [{"$patch": "replace"}, {"name": "z"}]});
        assert_eq!(names(&patched(POD_SPEC, &pod, &replace).unwrap()["containers"]), ["z"]);
        let order = json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]});
        assert_eq!(
            names(&patched(POD_SPEC, &pod, &order).unwrap()["containers"]),
            ["b", "c", "a"],
            "what the order does not name keeps its place as well as it can"
        );
        let added = json!({"$setElementOrder/containers": [{"name": "n"}, {"name": "a"}],
            "containers": [{"name": "n", "$patch": "replace", "tty": null}]});
        assert!(patched(POD_SPEC, &json!({"containers": []}), &added).is_ok());
        let wrong = json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "containers": [{"name": "b"}, {"name": "a"}]});
        let error = patched(POD_SPEC, &pod, &wrong).unwrap_err();
        assert!(error.to_string().contains("doesn't match $setElementOrder list"), "{error}");
    }

    #[test]
    fn what_kubectl_apply_sends_when_a_container_is_renamed() {
        let pod =
            json!({"containers": [{"name": "old", "image": "i", "imagePullPolicy": "Always"}]});
        let patch = json!({"$setElementOrder/containers": [{"name": "new"}],
            "containers": [{"image": "i", "name": "new"}, {"$patch": "delete", "name": "old"}]});
        let result = patched(POD_SPEC, &pod, &patch).unwrap();
        assert_eq!(result, json!({"containers": [{"image": "i", "name": "new"}]}));
    }

    #[test]
    fn a_rollback_replaces_the_whole_template() {
        let set = json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "new"}]}}}});
        let patch = json!({"spec": {"template": {"$patch": "replace",
            "spec": {"containers": [{"name": "old"}]}}}});
        let result = patched("io.k8s.api.apps.v1.StatefulSet", &set, &patch).unwrap();
        assert_eq!(
            result,
            json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "old"}]}}}})
        );
    }

    #[test]
    fn retained_keys_clear_the_other_sources_of_a_volume() {
        let pod = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch = json!({"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v",
            "hostPath": {"path": "/x"}}]});
        let result = patched(POD_SPEC, &pod, &patch).unwrap();
        assert_eq!(result["volumes"], json!([{"name": "v", "hostPath": {"path": "/x"}}]));
        let wrong = json!({"volumes": [{"$retainKeys": ["name"], "name": "v", "hostPath": {}}]});
        assert_eq!(patched(POD_SPEC, &pod, &wrong).unwrap_err().status().code, 400);
    }

    #[test]
    fn scalars_are_merged_and_taken_out() {
        let kind = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let object = json!({"finalizers": ["a", "b"]});
        let add = json!({"finalizers": ["c"]});
        let added = patched(kind, &object, &add).unwrap();
        assert_eq!(added["finalizers"].as_array().unwrap().len(), 3);
        let remove = json!({"$deleteFromPrimitiveList/finalizers": ["a", "x"]});
        assert_eq!(patched(kind, &object, &remove).unwrap(), json!({"finalizers": ["b"]}));
        assert_eq!(patched(kind, &json!({}), &remove).unwrap(), json!({}));
    }

    #[test]
    fn ports_are_merged_by_number_alone() {
        let service = json!({"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]});
        let patch = json!({"ports": [{"port": 80, "targetPort": 8080}]});
        let result = patched("io.k8s.api.core.v1.ServiceSpec", &service, &patch).unwrap();
        assert_eq!(
            result["ports"],
            json!([{"port": 80, "protocol": "TCP", "nodePort": 30000, "targetPort": 8080}])
        );
    }

    #[test]
    fn an_item_without_its_key_is_named_as_upstream_does() {
        let pod = json!({"containers": [{"name": "a"}]});
        let patch = json!({"containers": [{"image": "httpd"}]});
        let error = patched(POD_SPEC, &pod, &patch).unwrap_err();
        assert_eq!(
            error.to_string(),
            "map: map[image:httpd] does not contain declared merge key: name"
        );
    }

    #[test]
    fn a_selector_with_the_replace_strategy_is_not_merged() {
        let budget = json!({"selector": {"matchLabels": {"a": "b"}}});
        let patch = json!({"selector": {"matchLabels": {"c": "d"}}});
        let kind = "io.k8s.api.policy.v1.PodDisruptionBudgetSpec";
        assert_eq!(patched(kind, &budget, &patch).unwrap(), patch);
    }
}
