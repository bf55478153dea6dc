//! What a webhook is asked: an AdmissionReview.

use coracle_api::{Call, Kind, Post};
use serde_json::{Value, json};

use super::configured::Hook;
use crate::pipeline::source::Entropy;

/// The question of a webhook, by which uid its answer is known, and in the form of which row the
/// object is shown.
pub(super) struct Question<'a> {
    pub(super) uid: String,
    pub(super) call: Call,
    pub(super) row: &'a Kind,
}

/// What `hook` is asked: `request`, shown in the form of `row`.
pub(super) fn question<'a>(
    hook: &Hook,
    row: &'a Kind,
    request: Value,
    entropy: &Entropy,
) -> Question<'a> {
    // The same question has the same uid, however often the write is prepared.
    let uid = entropy.uid_of(&format!("{} {} {request}", hook.post.url, hook.name));
    let mut review = json!({
        "kind": "AdmissionReview",
        "apiVersion": format!("admission.k8s.io/{}", hook.version),
        "request": request,
    });
    review["request"]["uid"] = uid.clone().into();
    let call = Call::Post(Post { body: review.to_string(), ..hook.post.clone() });
    Question { uid, call, row }
}
