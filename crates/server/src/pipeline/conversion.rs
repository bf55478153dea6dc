//! Objects of definitions whose versions a webhook converts: which need it, and what comes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::{Call, Given, Kind, Object, Post, Status};
use serde_json::Value;

/// How many converted objects are kept.
const KEPT_MAX: usize = 4096;

/// Objects that are brought to a version, and what is asked for that.
pub(crate) struct Task {
    uid: String,
    version: String,
    objects: Vec<Value>,
    post: Post,
}

/// Whether `object` is in another version than `kind` shows, and only the webhook knows how it looks
/// in that.
pub(crate) fn is_needed(kind: &Kind, object: &Object) -> bool {
    kind.conversion.is_some() && object.str_at("/apiVersion") != Some(&*kind.api_version())
}

impl Task {
    /// To bring `objects` to `version`; `uid` is what the answer is known by. `None` when `kind` is
    /// not converted by a webhook.
    pub(crate) fn new(
        kind: &Kind,
        version: String,
        objects: Vec<Value>,
        uid: impl FnOnce(&str) -> String,
    ) -> Option<Self> {
        let conversion = kind.conversion.as_ref()?;
        let uid = uid(&conversion.question("", &version, &objects).body);
        let post = conversion.question(&uid, &version, &objects);
        Some(Self { uid, version, objects, post })
    }

    pub(crate) fn call(&self) -> Call {
        Call::Post(self.post.clone())
    }

    /// The converted objects.
    ///
    /// # Errors
    /// 500, with what is wrong with the answer.
    pub(crate) fn done(self, kind: &Kind, given: &Given) -> Result<Vec<Value>, Status> {
        let (Some(conversion), Given::Posted(said)) = (&kind.conversion, given) else {
            return Err(Status::internal("an answer to another question"));
        };
        let made = conversion.answer(said, &self.uid, &self.version, &self.objects);
        // Upstream's words stand alone.
        made.map_err(|why| Status::failure(500, "", why))
    }
}

/// `value`, which is `object` in another version, as an object.
pub(crate) fn object(object: &Object, value: Value) -> Result<Arc<Object>, Status> {
    let resource = Arc::clone(&object.key().resource);
    Object::with_resource(resource, value).map(Arc::new).map_err(Status::internal)
}

/// Objects as they were converted: a state of an object is asked for once a version.
#[derive(Default)]
pub(crate) struct Kept(Mutex<BTreeMap<Which, Arc<Object>>>);

/// UID, revision, version, and how it was converted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Which(String, String, String, String);

impl Which {
    fn of(kind: &Kind, object: &Object) -> Self {
        let (metadata, said) = (object.metadata(), kind.conversion.as_ref().map(|it| &it.said));
        let (uid, revision) = (metadata.uid.clone(), metadata.resource_version.clone());
        Self(uid, revision, kind.api_version(), said.cloned().unwrap_or_default())
    }
}

impl Kept {
    pub(crate) fn find(&self, kind: &Kind, object: &Object) -> Option<Arc<Object>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&Which::of(kind, object)).cloned()
    }

    pub(crate) fn keep(&self, kind: &Kind, object: &Object, converted: &Arc<Object>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(Which::of(kind, object), Arc::clone(converted));
    }
}
