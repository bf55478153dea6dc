//! One version of one object: a JSON map with its metadata parsed and its bytes kept beside it.

pub mod conditions;
pub mod field_selector;
pub mod index;
mod json_bytes;
pub mod key;
pub mod metadata;
pub mod null;
pub mod options;
pub mod pod_resources;
pub mod pods;
pub mod revision;
pub mod scale;
pub mod selector;
mod selector_text;
pub mod selectors;
pub mod semantic;
pub mod sums;
pub mod token_secrets;
pub mod usage;

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Key, Kind, Metadata};

/// One immutable version of one object.
///
/// The JSON keeps fields that no type of ours knows; the bytes are what get, list and watch copy.
/// A stored object has its bytes and metadata alone until someone asks for more: most versions are
/// only ever copied, and a tree takes several times the memory of its bytes.
pub struct Object {
    key: Key,
    value: OnceLock<Value>,
    metadata: Arc<Metadata>,
    bytes: Bytes,
    memos: Mutex<Vec<Memo>>,
}

/// What was made of a version, and of which type it is.
type Memo = (TypeId, Arc<dyn Any + Send + Sync>);

/// Why a JSON value is no object.
#[derive(Debug, thiserror::Error)]
pub enum MalformedObject {
    /// The value is not a JSON map.
    #[error("an object must be a JSON map")]
    NotAMap,
    /// `metadata` is neither a JSON map nor null.
    #[error("metadata must be a JSON map")]
    MetadataNotAMap,
    /// `metadata` has a field of a wrong type.
    #[error("metadata is malformed: {0}")]
    Metadata(#[source] serde_json::Error),
    /// The bytes are not JSON.
    #[error("not JSON: {0}")]
    Json(#[source] serde_json::Error),
}

impl Object {
    /// An object of `kind` from its JSON, stored under `kind`'s storage resource.
    ///
    /// # Errors
    /// When `value` is no map or its `metadata` cannot be parsed.
    pub fn new(kind: &Kind, value: Value) -> Result<Self, MalformedObject> {
        Self::with_resource(kind.storage_resource(), value)
    }

    /// As [`Object::new`], for a caller that has the storage resource (`statefulsets.apps`) at hand.
    ///
    /// # Errors
    /// When `value` is no map or its `metadata` cannot be parsed.
    pub fn with_resource(
        resource: impl Into<Arc<str>>,
        value: Value,
    ) -> Result<Self, MalformedObject> {
        let metadata = parse_metadata(&value)?;
        let key = Key::new(resource, metadata.namespace.as_str(), metadata.name.as_str());
        let bytes = serde_json::to_vec(&value).map_err(MalformedObject::Json)?.into();
        Ok(Self::made(key, value.into(), Arc::new(metadata), bytes))
    }

    /// The object that `bytes` (JSON) hold, as read back from the disk.
    ///
    /// # Errors
    /// When the bytes are not JSON or hold no object.
    pub fn from_bytes(
        resource: impl Into<Arc<str>>,
        bytes: Bytes,
    ) -> Result<Self, MalformedObject> {
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(MalformedObject::NotAMap);
        }
        let metadata = json_bytes::metadata(&bytes).map_err(MalformedObject::Json)?;
        let key = Key::new(resource, metadata.namespace.as_str(), metadata.name.as_str());
        Ok(Self::made(key, OnceLock::new(), Arc::new(metadata), bytes))
    }

    fn made(key: Key, value: OnceLock<Value>, metadata: Arc<Metadata>, bytes: Bytes) -> Self {
        Self { key, value, metadata, bytes, memos: Mutex::default() }
    }

    /// The same version with nothing but its bytes and metadata, which it shares: what is kept of
    /// one that nobody looks at any more.
    #[must_use]
    pub fn cold(&self) -> Self {
        let metadata = Arc::clone(&self.metadata);
        Self::made(self.key.clone(), OnceLock::new(), metadata, self.bytes.clone())
    }

    /// Whether more than bytes and metadata is kept of it.
    pub fn is_warm(&self) -> bool {
        self.value.get().is_some() || !self.memos().is_empty()
    }

    /// The same object with `metadata.resourceVersion` set to `revision`: what a commit stores.
    ///
    /// # Errors
    /// None in practice: the object was well-formed before.
    pub fn stamped(&self, revision: u64) -> Result<Self, MalformedObject> {
        let Some(bytes) = json_bytes::stamped(&self.bytes, revision) else {
            return self.stamped_in_tree(revision);
        };
        let resource_version = revision.to_string();
        let metadata = Metadata { resource_version, ..Metadata::clone(&self.metadata) };
        Ok(Self::made(self.key.clone(), OnceLock::new(), Arc::new(metadata), bytes.into()))
    }

    /// As [`Object::stamped`], for JSON that has no `metadata` or is not compact.
    fn stamped_in_tree(&self, revision: u64) -> Result<Self, MalformedObject> {
        let mut value = self.value().clone();
        let map = value.as_object_mut().ok_or(MalformedObject::NotAMap)?;
        let metadata = map.entry("metadata").or_insert(Value::Null);
        if metadata.is_null() {
            *metadata = Value::Object(Default::default());
        }
        metadata
            .as_object_mut()
            .ok_or(MalformedObject::NotAMap)?
            .insert("resourceVersion".into(), Value::String(revision.to_string()));
        Self::with_resource(self.key.resource.clone(), value)
    }

    /// Where the object is stored.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The whole object as JSON, parsed when it is first asked for.
    pub fn value(&self) -> &Value {
        #[allow(clippy::expect_used, reason = "the bytes were parsed or written by us before")]
        self.value.get_or_init(|| serde_json::from_slice(&self.bytes).expect("sound JSON"))
    }

    /// The parsed part of `metadata`.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The whole object, serialized.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The pieces of the serialized object around its `apiVersion` and `kind`, which a list says
    /// once for all its items.
    pub fn untyped_bytes(&self) -> [&[u8]; 3] {
        json_bytes::untyped(&self.bytes).unwrap_or([&self.bytes, &[], &[]])
    }

    /// The store revision in `metadata.resourceVersion`; 0 when the object was never stored.
    pub fn revision(&self) -> u64 {
        self.metadata.resource_version.parse().unwrap_or(0)
    }

    /// The `spec.nodeName`-style field, without a tree, at `path` (`/spec/nodeName`), when it is a string.
    pub fn str_at(&self, pointer: &str) -> Option<&str> {
        if self.value.get().is_none() {
            match json_bytes::str_at(&self.bytes, pointer) {
                json_bytes::Found::Text(text) => return Some(text),
                json_bytes::Found::Nothing => return None,
                json_bytes::Found::Unknown => {}
            }
        }
        self.value().pointer(pointer).and_then(Value::as_str)
    }

    /// What `look` finds in the object, whose tree is not kept for it.
    pub fn peek<R>(&self, look: impl FnOnce(&Value) -> R) -> R {
        #[allow(clippy::expect_used, reason = "the bytes were parsed or written by us before")]
        match self.value.get() {
            Some(value) => look(value),
            None => look(&serde_json::from_slice(&self.bytes).expect("sound JSON")),
        }
    }

    /// A tree of the object for the caller to change.
    pub fn tree(&self) -> Value {
        self.peek(Value::clone)
    }

    /// A typed view (`k8s_openapi::api::core::v1::Pod`), parsed once per object version, without
    /// `metadata.managedFields`: who reads a view does not ask who owns its fields, and their tree
    /// takes several times the memory of all others.
    ///
    /// # Errors
    /// When the object does not have the shape of `T`, which validation by schema prevents for
    /// stored objects.
    pub fn view<T>(&self) -> Result<Arc<T>, MalformedObject>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(view) = self.remembered::<T>() {
            return Ok(view);
        }
        let view = serde_json::from_slice(&json_bytes::without_managed_fields(&self.bytes));
        Ok(self.remember(view.map_err(MalformedObject::Json)?))
    }

    /// What `make` makes of this version, once; there is one memo of each type.
    pub fn memo<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.remembered().unwrap_or_else(|| self.remember(make()))
    }

    fn remembered<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let wanted = TypeId::of::<T>();
        let memo = self.memos().iter().find(|(of, _)| *of == wanted).map(|(_, it)| Arc::clone(it));
        memo?.downcast().ok()
    }

    /// Keeps `made`; of two threads that were at it, both are right.
    fn remember<T: Send + Sync + 'static>(&self, made: T) -> Arc<T> {
        let made = Arc::new(made);
        let mut memos = self.memos();
        memos.reserve_exact(1);
        memos.push((TypeId::of::<T>(), Arc::clone(&made) as _));
        made
    }

    fn memos(&self) -> std::sync::MutexGuard<'_, Vec<Memo>> {
        self.memos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @{}", self.key, self.metadata.resource_version)
    }
}

fn parse_metadata(value: &Value) -> Result<Metadata, MalformedObject> {
    let map = value.as_object().ok_or(MalformedObject::NotAMap)?;
    match map.get("metadata") {
        None | Some(Value::Null) => Ok(Metadata::default()),
        // serde would also take a sequence for a struct.
        Some(metadata) if !metadata.is_object() => Err(MalformedObject::MetadataNotAMap),
        Some(metadata) => {
            serde::Deserialize::deserialize(metadata).map_err(MalformedObject::Metadata)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stamped_object_shows_its_revision_and_keeps_unknown_fields() {
        let value = json!({"metadata": {"name": "a", "namespace": "b"}, "later": {"x": 1}});
        let object = Object::with_resource("things.example.com", value).unwrap();
        let stamped = object.stamped(7).unwrap();
        assert_eq!(stamped.revision(), 7);
        assert_eq!(stamped.value()["later"]["x"], 1);
        let read = Object::from_bytes("things.example.com", stamped.bytes().clone()).unwrap();
        assert_eq!(read.key().to_string(), "things.example.com b/a");
    }
    #[test]
    fn an_object_without_metadata_can_be_stamped() {
        for value in [json!({}), json!({"metadata": null}), json!({"metadata": {}})] {
            let stamped = Object::with_resource("things", value).unwrap().stamped(7).unwrap();
            assert_eq!(stamped.value(), &json!({"metadata": {"resourceVersion": "7"}}));
            assert_eq!(stamped.revision(), 7);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for value in [json!([]), json!("x"), json!({"metadata": []}), json!({"metadata": 1})] {
            let bytes = serde_json::to_vec(&value).unwrap();
            assert!(Object::with_resource("things", value).is_err());
            assert!(bytes[0] == b'{' || Object::from_bytes("things", bytes.into()).is_err());
        }
    }
}
