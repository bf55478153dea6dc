//! From a request to the writes that carry it out: a pure function of a snapshot.

use coracle_api::resources::BINDINGS;
use coracle_api::{Status, Subresource, Verb};
use coracle_store::Snapshot;

use crate::pipeline::actions::{binding, eviction, token};
use crate::pipeline::request::Request;
use crate::pipeline::verbs::{self, Part};
use crate::pipeline::write::calls::{Answers, Call, Stop};
use crate::pipeline::write::{Facts, Prepared, WriteEnv};

/// What there is to be done for a request.
#[derive(Debug)]
pub enum Next {
    /// These writes.
    Ready(Box<Prepared>),
    /// To answer these, and to prepare it again with the answers.
    Needs(Vec<Call>),
}

/// The writes that carry `request` out on the state that `snapshot` shows, given `answers` of the
/// outside.
///
/// # Errors
/// What the client gets instead.
pub fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    answers: &Answers,
    facts: Facts<'_>,
) -> Result<Next, Status> {
    let mut env = WriteEnv::new(facts, answers);
    match carry_out(snapshot, request, &mut env) {
        Ok(prepared) => {
            let annotations = env.remembered();
            Ok(Next::Ready(Box::new(Prepared { annotations, ..prepared })))
        }
        Err(Stop::Needs(calls)) => Ok(Next::Needs(calls)),
        Err(Stop::Refused(status)) => Err(status.annotated(env.remembered())),
    }
}

fn carry_out(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    if let Some(part) = Part::of(request.subresource) {
        return match request.verb {
            Verb::Create if request.kind.is(BINDINGS) => {
                binding::prepare_named(snapshot, request, env)
            }
            Verb::Create if part == Part::Whole => verbs::create::prepare(snapshot, request, env),
            Verb::Update => verbs::update::prepare(snapshot, request, part, env),
            Verb::Patch => verbs::patch::prepare(snapshot, request, part, env),
            Verb::Delete if part == Part::Whole => verbs::delete::prepare(snapshot, request, env),
            Verb::DeleteCollection if part == Part::Whole => {
                verbs::delete::prepare_collection(snapshot, request, env)
            }
            verb => Err(Status::method_not_allowed(&request.kind, verb.as_str()).into()),
        };
    }
    match (request.verb, request.subresource) {
        (_, Some(subresource)) if subresource.connects() => {
            verbs::connect::prepare(snapshot, request, env)
        }
        (Verb::Create, Some(Subresource::Binding)) => binding::prepare(snapshot, request, env),
        (Verb::Create, Some(Subresource::Eviction)) => eviction::prepare(snapshot, request, env),
        (Verb::Create, Some(Subresource::Token)) => token::prepare(snapshot, request, env),
        (verb, _) => Err(Status::method_not_allowed(&request.kind, verb.as_str()).into()),
    }
}
