//! A CertificateSigningRequest as those read it who decide about it.

use std::sync::Arc;

use coracle_api::certificates::CertificateRequest;
use coracle_api::{Key, Object, Timestamp, conditions};
use coracle_store::Snapshot;
use serde_json::{Value, json};

use crate::json;

/// A request that is there and not being deleted.
pub(super) struct Request<'a> {
    pub object: &'a Arc<Object>,
    value: &'a Value,
}

impl<'a> Request<'a> {
    pub fn read(snapshot: &'a Snapshot, key: &Key) -> Option<Self> {
        let object = snapshot.get(key).filter(|object| !object.metadata().is_deleting())?;
        Some(Self { object, value: object.value() })
    }

    pub fn text(&self, pointer: &str) -> &'a str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn field(&self, pointer: &str) -> &'a Value {
        self.value.pointer(pointer).unwrap_or(&Value::Null)
    }

    pub fn signer(&self) -> &'a str {
        self.text("/spec/signerName")
    }

    pub fn usages(&self) -> Vec<&'a str> {
        let all = self.field("/spec/usages").as_array();
        all.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What it asks for; `None` for what cannot be read.
    pub fn asked(&self) -> Option<CertificateRequest> {
        CertificateRequest::from_base64(self.text("/spec/request"))
    }

    /// The condition of this type, whatever its status.
    pub fn condition(&self, of: &str) -> Option<&'a Value> {
        conditions::find(self.value, of)
    }

    pub fn has_conditions(&self) -> bool {
        !conditions::all(self.value).is_empty()
    }

    pub fn is_issued(&self) -> bool {
        !self.text("/status/certificate").is_empty()
    }

    pub fn created(&self) -> Option<Timestamp> {
        self.text("/metadata/creationTimestamp").parse().ok()
    }

    /// The object with one more condition.
    pub fn with_condition(&self, of: &str, reason: &str, message: &str, now: Timestamp) -> Value {
        let mut all = conditions::all(self.value).to_vec();
        let now = crate::rfc3339(now);
        all.push(json!({
            "type": of, "status": "True", "reason": reason, "message": message,
            "lastUpdateTime": now, "lastTransitionTime": now,
        }));
        json::with(self.object, &["status", "conditions"], all.into())
    }
}
