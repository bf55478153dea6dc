//! Conversion of custom objects by a webhook: what it is asked, and which answers count.

use serde_json::{Value, json};

use crate::calls::{Post, review_version};
use crate::kind::type_of;

/// How long the webhook has, in seconds.
const TIMEOUT: u16 = 30;
/// What of the metadata a webhook may change.
const CHANGEABLE: [&str; 2] = ["labels", "annotations"];
/// What of the metadata says which object it is.
const IDENTITY: [&str; 3] = ["name", "namespace", "uid"];

/// How the objects of a definition come from one version to another.
#[derive(Debug)]
pub struct Conversion {
    post: Post,
    review: &'static str,
    /// What the definition says of it: answers hold for as long as that is the same.
    pub said: String,
}

impl Conversion {
    /// That of `definition`; `None` when nothing but the version differs.
    pub(super) fn of(definition: &Value) -> Option<Self> {
        let conversion = &definition["spec"]["conversion"];
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let review = review_version(&conversion["webhook"]["conversionReviewVersions"]);
        let post = Post::to(&conversion["webhook"]["clientConfig"], TIMEOUT);
        Some(Self { post, review, said: conversion.to_string() })
    }

    /// What the webhook is asked to bring `objects` to `version` (`example.com/v2`).
    #[must_use]
    pub fn question(&self, uid: &str, version: &str, objects: &[Value]) -> Post {
        let review = json!({
            "kind": "ConversionReview",
            "apiVersion": format!("apiextensions.k8s.io/{}", self.review),
            "request": {"uid": uid, "desiredAPIVersion": version, "objects": objects},
        });
        Post { body: review.to_string(), ..self.post.clone() }
    }

    /// The objects that the webhook has made of `objects`, each with the metadata that it had.
    ///
    /// # Errors
    /// Why the answer is none: the sentence that the client gets.
    pub fn answer(
        &self,
        said: &Result<String, String>,
        uid: &str,
        version: &str,
        objects: &[Value],
    ) -> Result<Vec<Value>, String> {
        let of = objects.first().map(type_of).unwrap_or_default();
        let failed = |why: &str| format!("conversion webhook for {of} failed: {why}");
        let returned = |why: String| format!("conversion webhook for {of} returned {why}");
        let body = said
            .as_ref()
            .map_err(|why| failed(why.strip_prefix("failed to call webhook: ").unwrap_or(why)))?;
        let made = self.read(body, uid).map_err(|why| failed(&why))?;
        if made.len() != objects.len() {
            let (found, wanted) = (made.len(), objects.len());
            return Err(returned(format!("{found} objects, expected {wanted}")));
        }
        let pairs = objects.iter().zip(made).enumerate();
        pairs.map(|(at, (old, new))| checked(at, version, old, new).map_err(returned)).collect()
    }

    fn read(&self, body: &str, uid: &str) -> Result<Vec<Value>, String> {
        let mut review: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let wanted = format!("apiextensions.k8s.io/{}", self.review);
        if review["apiVersion"] != *wanted || review["kind"] != "ConversionReview" {
            return Err(format!(
                "expected webhook response of {wanted}, Kind=ConversionReview, got {}",
                type_of(&review)
            ));
        }
        let response = &mut review["response"];
        if response.is_null() {
            return Err("no response provided".to_owned());
        }
        if response["uid"] != uid {
            let found = response["uid"].as_str().unwrap_or_default();
            return Err(format!("expected response.uid={uid:?}, got {found:?}"));
        }
        let result = &response["result"];
        let (status, message) = (text(result, "status"), text(result, "message"));
        match (status, message) {
            ("Success", _) => {}
            (status, "") => {
                return Err(format!("response.result.status was '{status}', not 'Success'"));
            }
            (_, message) => return Err(message.to_owned()),
        }
        match response["convertedObjects"].take() {
            Value::Array(all) => Ok(all),
            Value::Null => Ok(Vec::new()),
            _ => Err("response.convertedObjects is no list".to_owned()),
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What became of the object at `at`, if it is the same object in the version that was asked for.
fn checked(at: usize, version: &str, old: &Value, mut new: Value) -> Result<Value, String> {
    let invalid = |why: String| Err(format!("invalid converted object at index {at}: {why}"));
    let found = text(&new, "apiVersion");
    if found != version {
        return invalid(format!("invalid groupVersion (expected {version}, received {found})"));
    }
    let (kind, found) = (text(old, "kind"), text(&new, "kind"));
    if found != kind {
        return invalid(format!("invalid kind (expected {kind}, received {found})"));
    }
    if !new["metadata"].is_object() {
        return Err(format!(
            "invalid metadata in object at index {at}: missing metadata in converted object"
        ));
    }
    for field in IDENTITY {
        let (was, is) = (text(&old["metadata"], field), text(&new["metadata"], field));
        if was != is {
            return invalid(format!("must have the same {field}: {was} != {is}"));
        }
    }
    let mut metadata = old["metadata"].clone();
    for field in CHANGEABLE {
        match (new["metadata"][field].take(), metadata.as_object_mut()) {
            (Value::Null, Some(fields)) => drop(fields.remove(field)),
            (Value::Object(texts), Some(fields)) if texts.values().all(Value::is_string) => {
                fields.insert(field.to_owned(), Value::Object(texts));
            }
            _ => {
                let why = format!("metadata.{field} is no map of texts");
                return Err(format!("invalid metadata in object at index {at}: {why}"));
            }
        }
    }
    new["metadata"] = metadata;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion() -> Conversion {
        let config = json!({"service": {"namespace": "shop", "name": "hook", "path": "/convert"}});
        let webhook = json!({"clientConfig": config, "conversionReviewVersions": ["v2", "v1"]});
        let spec = json!({"conversion": {"strategy": "Webhook", "webhook": webhook}});
        Conversion::of(&json!({"spec": spec})).unwrap()
    }

    fn boat(version: &str, label: &str) -> Value {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Boat",
            "metadata": {"name": "a", "uid": "u", "generation": 3, "labels": {"of": label}}})
    }

    fn answered(made: Value) -> Result<Vec<Value>, String> {
        let response =
            json!({"uid": "x", "result": {"status": "Success"}, "convertedObjects": made});
        let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": response});
        let said = Ok(review.to_string());
        conversion().answer(&said, "x", "example.com/v2", &[boat("v1", "old")])
    }

    #[test]
    fn a_webhook_is_asked_for_all_objects_at_once() {
        let post = conversion().question("x", "example.com/v2", &[boat("v1", "old")]);
        assert_eq!(post.url, "https://hook.shop.svc:443/convert?timeout=30s");
        let review: Value = serde_json::from_str(&post.body).unwrap();
        assert_eq!(review["request"]["desiredAPIVersion"], "example.com/v2");
        assert_eq!(review["request"]["objects"], json!([boat("v1", "old")]));
    }

    #[test]
    fn labels_may_change_and_which_object_it_is_may_not() {
        let mut made = boat("v2", "new");
        made["metadata"]["generation"] = json!(9);
        let taken = answered(json!([made])).unwrap();
        assert_eq!(taken, [boat("v2", "new")], "the generation is not the webhook's");
        let why = |made: Value| answered(made).unwrap_err();
        let of = "conversion webhook for example.com/v1, Kind=Boat";
        let mut other = boat("v2", "new");
        other["metadata"]["name"] = json!("b");
        for (made, rest) in [
            (json!([]), "returned 0 objects, expected 1"),
            (
                json!([boat("v3", "new")]),
                "returned invalid converted object at index 0: invalid \
                groupVersion (expected example.com/v2, received example.com/v3)",
            ),
            (
                json!([other]),
                "returned invalid converted object at index 0: must have the same \
                name: a != b",
            ),
            (
                json!([{"apiVersion": "example.com/v2", "kind": "Boat"}]),
                "returned invalid metadata \
                in object at index 0: missing metadata in converted object",
            ),
        ] {
            assert_eq!(why(made), format!("{of} {rest}"));
        }
        let refused = Err("failed to call webhook: Post \"u\": EOF".to_owned());
        let said = conversion().answer(&refused, "x", "example.com/v2", &[boat("v1", "old")]);
        assert_eq!(said, Err(format!("{of} failed: Post \"u\": EOF")));
    }
}
