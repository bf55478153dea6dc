//! Admission policies: which of them are about a write, with which params, and what they say of it.

mod bound;
mod invocations;
mod mutating;
mod params;
mod rights;
mod validating;
mod view;

use coracle_api::resources::{
    LOCAL_SUBJECT_ACCESS_REVIEWS, MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS,
    SELF_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_REVIEWS, SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
};

use crate::pipeline::admission::matching;
use crate::pipeline::request::Request;

pub(super) use mutating::Rounds;
pub(super) use rights::may_see_params;
pub(super) use validating::validate;

/// What policies do not decide on: themselves, and who may do what.
const EXEMPT: &[&str] = &[
    LOCAL_SUBJECT_ACCESS_REVIEWS,
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
];

fn is_exempt(request: &Request) -> bool {
    EXEMPT.iter().any(|resource| request.kind.is(resource)) || matching::is_exempt(request)
}
