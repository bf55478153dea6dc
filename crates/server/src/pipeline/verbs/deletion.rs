//! What deleting comes to for one object: the options, grace, finalizers, when it is over. Pure.

use coracle_api::kinds::custom;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{CUSTOM_RESOURCE_DEFINITIONS, EVENTS, NAMESPACES};
use coracle_api::{FieldError, Kind, Object, Status, Verb};
use serde_json::{Value, json};

use crate::pipeline::content;
use crate::pipeline::options;
use crate::pipeline::request::Request;
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::{metadata, text};

/// The garbage collector takes dependents away before the object goes.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The garbage collector makes dependents forget the object before it goes.
pub const ORPHAN: &str = "orphan";

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds; the kind's default when absent.
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground`, `Orphan`, or empty for the kind's default.
    pub propagation_policy: String,
    /// UID that the object must have.
    pub uid: Option<String>,
    /// Revision that the object must have.
    pub resource_version: Option<String>,
    /// `dryRun: [All]` in the body.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// The options in the body of `request`.
    ///
    /// # Errors
    /// 400 when the body is no DeleteOptions, 422 when they contradict themselves.
    pub fn of(request: &Request) -> Result<Self, Status> {
        let body = content::other(request, "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")?;
        let options = Self {
            grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
            propagation_policy: text(&body, "/propagationPolicy").to_owned(),
            uid: body["preconditions"]["uid"].as_str().map(str::to_owned),
            resource_version: body["preconditions"]["resourceVersion"].as_str().map(str::to_owned),
            dry_run: dry_run(&body["dryRun"])?,
        };
        options.with_legacy_orphan(body["orphanDependents"].as_bool())
    }

    fn with_legacy_orphan(mut self, orphan: Option<bool>) -> Result<Self, Status> {
        let policy = self.propagation_policy.as_str();
        let errors = match (policy, orphan) {
            ("" | "Background" | "Foreground" | "Orphan", None) => None,
            ("", Some(orphan)) => {
                self.propagation_policy = if orphan { "Orphan" } else { "Background" }.to_owned();
                None
            }
            (_, Some(_)) => Some(FieldError::invalid(
                "propagationPolicy",
                &json!(policy),
                "orphanDependents and deletionPropagation cannot be both set",
            )),
            _ => Some(FieldError::not_supported(
                "propagationPolicy",
                policy,
                &["Foreground", "Background", "Orphan", "nil"],
            )),
        };
        match errors {
            None => Ok(self),
            Some(error) => Err(invalid_options(&error)),
        }
    }
}

/// `dryRun` of a body. Whoever misspells it does not want a deletion.
fn dry_run(value: &Value) -> Result<bool, Status> {
    let all: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    options::dry_run(&all, Verb::Delete)
}

fn invalid_options(error: &FieldError) -> Status {
    Status::invalid_of("meta.k8s.io", "DeleteOptions", "", std::slice::from_ref(error))
}

/// What a deletion does now.
pub(crate) enum Step {
    /// It has begun already and need not be hurried.
    Nothing,
    /// The object is told to go.
    Mark(Value),
    /// The object goes.
    Remove,
}

pub(crate) fn decide(
    kind: &Kind,
    options: &DeleteOptions,
    old: &Object,
    now: coracle_api::Timestamp,
) -> Step {
    let grace = grace_period(kind, options, old);
    let finalizers = finalizers_after(kind, options, old);
    let was = old.metadata();
    // A definition takes its objects with it first.
    let sweeps = kind.is(CUSTOM_RESOURCE_DEFINITIONS) && !was.is_deleting();
    let waits = grace > 0 || !finalizers.is_empty() || held_by_spec(kind, old) || sweeps;
    if !waits {
        return Step::Remove;
    }
    let mut value = old.value().clone();
    let begun = was.deletion_timestamp;
    let shortened = was.deletion_grace_period_seconds.is_none_or(|given| grace < given);
    if begun.is_some() && !shortened && finalizers == was.finalizers {
        return Step::Nothing;
    }
    let fields = metadata(&mut value);
    if finalizers != was.finalizers {
        fields.insert("finalizers".into(), json!(finalizers));
    }
    if begun.is_none() || shortened {
        let start = match (begun, was.deletion_grace_period_seconds) {
            (Some(end), Some(given)) => coracle_api::time::after(end, given.saturating_neg()),
            _ => now,
        };
        let end = coracle_api::time::after(start, grace);
        let end = if begun.is_some() { end.max(now) } else { end };
        fields.insert("deletionTimestamp".into(), rfc3339(end).into());
        fields.insert("deletionGracePeriodSeconds".into(), grace.into());
        // A deletion is a change of what is wanted.
        if begun.is_none()
            && let Some(generation) = was.generation
        {
            fields.insert("generation".into(), (generation + 1).into());
        }
    }
    if kind.is(NAMESPACES) {
        value["status"]["phase"] = "Terminating".into();
    }
    if sweeps {
        custom::note_deletion(&mut value, &rfc3339(now));
    }
    Step::Mark(value)
}

/// Seconds that the object is given: none unless its kind knows grace.
fn grace_period(kind: &Kind, options: &DeleteOptions, old: &Object) -> i64 {
    let Some(default) = kind.strategy.grace_period else { return 0 };
    let grace = options.grace_period_seconds.unwrap_or_else(|| default(old.value()));
    let grace = if grace < 0 { 1 } else { grace };
    if never_ran(old) { 0 } else { grace }
}

/// A pod that no node has, or that has ended, needs no time to stop.
fn never_ran(pod: &Object) -> bool {
    !pod.is_placed()
}

/// A namespace goes when its own finalizers, which stand in its spec, are gone.
fn held_by_spec(kind: &Kind, old: &Object) -> bool {
    kind.is(NAMESPACES)
        && old.value()["spec"]["finalizers"].as_array().is_some_and(|all| !all.is_empty())
}

/// The finalizers that a deletion with these options leaves: the garbage collector's own come and
/// go with the policy.
fn finalizers_after(kind: &Kind, options: &DeleteOptions, old: &Object) -> Vec<String> {
    let mut finalizers = old.metadata().finalizers.clone();
    if kind.storage_resource() == EVENTS {
        // Nothing depends on an Event, and nobody waits for one.
        return finalizers;
    }
    let is_told = finalizers.iter().any(|name| name == FOREGROUND || name == ORPHAN);
    let wanted = match options.propagation_policy.as_str() {
        "Foreground" => Some(FOREGROUND),
        "Orphan" => Some(ORPHAN),
        "" if kind.strategy.orphans_dependents && !is_told => Some(ORPHAN),
        "" => return finalizers,
        _ => None,
    };
    finalizers
        .retain(|name| Some(name.as_str()) == wanted || (name != FOREGROUND && name != ORPHAN));
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|name| name == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

/// Whether an object in this state is to be removed by the write that brought it there.
pub(crate) fn is_over(kind: &Kind, object: &Object) -> bool {
    let metadata = object.metadata();
    metadata.deletion_timestamp.is_some()
        && metadata.finalizers.is_empty()
        && metadata.deletion_grace_period_seconds.unwrap_or_default() == 0
        && !held_by_spec(kind, object)
}
