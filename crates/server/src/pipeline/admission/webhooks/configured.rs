//! Webhooks as their configurations have them, read once a version of a configuration.

use std::sync::Arc;

use coracle_api::calls::review_version;
use coracle_api::{Object, Post};
use coracle_cel::admission::conditions::Conditions;
use serde_json::Value;

use crate::pipeline::admission::matching::Criteria;

/// How long a webhook has when its configuration does not say, in seconds.
const TIMEOUT: u64 = 10;
const TIMEOUT_MAX: u64 = 30;

/// The webhooks of a configuration, in its order.
pub(super) struct Hooks(pub(super) Vec<Hook>);

/// A webhook.
pub(super) struct Hook {
    /// What it is called, in answers too.
    pub(super) name: String,
    /// Which requests it wants to see.
    pub(super) criteria: Criteria,
    /// Under which conditions.
    pub(super) conditions: Conditions,
    /// Whether the request goes on when the webhook cannot be asked.
    pub(super) fails_open: bool,
    /// Whether it wants to see the object again that others have changed after it.
    pub(super) is_reinvoked: bool,
    /// Whether it may be asked in a dry run.
    pub(super) spares_dry_runs: bool,
    /// The version of AdmissionReview that it is sent.
    pub(super) version: &'static str,
    /// How it is asked, but for what.
    pub(super) post: Post,
}

impl Hooks {
    /// Those of a configuration.
    pub(super) fn of(configuration: &Object) -> Arc<Self> {
        configuration.memo(|| {
            let hooks = configuration.value()["webhooks"].as_array().into_iter().flatten();
            Self(hooks.map(Hook::of).collect())
        })
    }
}

impl Hook {
    fn of(hook: &Value) -> Self {
        let said = |field: &str| hook[field].as_str().unwrap_or_default();
        let timeout = hook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT).clamp(1, TIMEOUT_MAX);
        Self {
            name: said("name").to_owned(),
            criteria: Criteria::of_webhook(hook),
            conditions: Conditions::of(&hook["matchConditions"], false),
            fails_open: said("failurePolicy") == "Ignore",
            is_reinvoked: said("reinvocationPolicy") == "IfNeeded",
            spares_dry_runs: matches!(said("sideEffects"), "None" | "NoneOnDryRun"),
            version: review_version(&hook["admissionReviewVersions"]),
            post: Post::to(&hook["clientConfig"], u16::try_from(timeout).unwrap_or(u16::MAX)),
        }
    }
}
