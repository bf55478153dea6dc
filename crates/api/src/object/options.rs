//! What an object asks for by an annotation, because Kubernetes has no field for it (yet). A stock
//! cluster ignores them.

use serde_json::Value;

/// On a StatefulSet: its claims grow with `spec.volumeClaimTemplates`, whose requests may then be
/// raised (the rules of KEP-4650, for sizes).
pub const GROW_CLAIMS: &str = "statefulset.coracle.dev/grow-claims";
/// On a StatefulSet: an outdated pod that is not available is replaced before any other, also
/// when it worked once (what kubernetes#36333 asks for).
pub const REPLACE_UNHEALTHY: &str = "statefulset.coracle.dev/replace-unhealthy-first";

/// Whether `object` carries the annotation with the value `"true"`.
#[must_use]
pub fn is_on(object: &Value, annotation: &str) -> bool {
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
    annotations.and_then(|all| all.get(annotation)).and_then(Value::as_str) == Some("true")
}
