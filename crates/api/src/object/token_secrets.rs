//! Secrets of type `kubernetes.io/service-account-token`: a token of an account that somebody asked
//! for, and that holds as long as the Secret does.

use serde_json::Value;

/// Their type.
pub const TYPE: &str = "kubernetes.io/service-account-token";
/// Annotation with the name of the account.
pub const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// Annotation with the UID of the account, filled in once it is known.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Name and UID of the account whose token `secret` is for; the UID is empty until it is known.
/// `None` when it is another kind of Secret.
pub fn account(secret: &Value) -> Option<(&str, &str)> {
    let annotations = &secret["metadata"]["annotations"];
    let text = |annotation: &str| annotations[annotation].as_str().unwrap_or_default();
    (secret["type"] == TYPE).then(|| (text(ACCOUNT_NAME), text(ACCOUNT_UID)))
}
