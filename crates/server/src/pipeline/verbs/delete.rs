//! delete and deletecollection.

use std::sync::Arc;

use coracle_api::{Kind, Object, Status};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::Value;

use crate::pipeline::admission::{self, Attributes, Operation};
use crate::pipeline::reply::{Answer, Deleted, Reply};
use crate::pipeline::request::Request;
use crate::pipeline::verbs::deletion::{DeleteOptions, Step, decide};
use crate::pipeline::verbs::{Part, existing, list};
use crate::pipeline::write::calls::Stop;
use crate::pipeline::write::{Pending, Prepared, WriteEnv};

/// Deletes the object that `request` names.
///
/// # Errors
/// 404, or 409 when a precondition does not hold.
pub fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let options = DeleteOptions::of(request)?;
    let old = existing(snapshot, request)?;
    let prepared = one(snapshot, request, &options, old, env)?;
    match options.dry_run {
        true => Ok(Prepared::answered(prepared.unstored()?)),
        false => Ok(prepared),
    }
}

/// Deletes what `request` selects, each as [`prepare`] does.
///
/// # Errors
/// As `prepare`, or 400 for malformed selectors.
pub fn prepare_collection(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let options = DeleteOptions::of(request)?;
    list::asked_revision(&request.options).map_err(|status| {
        Status::bad_request(format!("invalid resource version: {}", status.message))
    })?;
    let items = list::select(snapshot, request)?;
    let mut writes = Vec::new();
    let mut requires = Vec::new();
    let (mut needs, mut warnings) = (Vec::new(), Vec::new());
    for object in &items {
        match one(snapshot, &about(request, object), &options, object, env) {
            Ok(prepared) => {
                writes.extend(prepared.writes);
                requires.extend(prepared.requires);
                warnings.extend(prepared.warnings);
            }
            // All that they ask is asked at once.
            Err(Stop::Needs(calls)) => needs.extend(calls),
            Err(refused) => return Err(refused),
        }
    }
    if !needs.is_empty() {
        return Err(Stop::Needs(needs));
    }
    if options.dry_run {
        writes.clear();
    }
    let answer = Answer::List(list::whole(&request.kind, items, snapshot.revision()));
    Ok(Prepared { writes, requires, warnings, ..Prepared::answered(Reply::ok(answer)) })
}

/// `request` as if it had been made for one object of the collection.
fn about(request: &Request, object: &Object) -> Request {
    let key = object.key();
    Request { name: key.name.to_string(), namespace: key.namespace.to_string(), ..request.clone() }
}

/// Deletes `old`.
pub(crate) fn one(
    snapshot: &Snapshot,
    request: &Request,
    options: &DeleteOptions,
    old: &Arc<Object>,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    check_preconditions(&request.kind, options, old)?;
    let mut attributes = Attributes::new(snapshot, request, Operation::Delete, Some(old));
    attributes.deletion = Some(options);
    let admitted = admit(&mut attributes, env);
    let warnings = std::mem::take(&mut attributes.warnings);
    if let Err(stop) = admitted {
        return Err(stop.warned(warnings));
    }
    let step = decide(&request.kind, options, old, env.now);
    let expect = Expect::Revision(old.revision());
    let mut prepared = match step {
        Step::Nothing => Prepared::answered(Reply::ok(Answer::Object(Arc::clone(old)))),
        Step::Mark(value) => {
            let resource = std::sync::Arc::clone(&old.key().resource);
            let object = Object::with_resource(resource, value).map_err(Status::internal)?;
            Prepared::writing(200, Write::put(object, expect), Part::Whole, &request.kind)
        }
        Step::Remove => removal(&request.kind, old, expect),
    };
    prepared.writes.extend(attributes.writes);
    prepared.requires.extend(attributes.requires);
    prepared.warnings.extend(warnings);
    Ok(prepared)
}

fn admit(attributes: &mut Attributes<'_>, env: &mut WriteEnv<'_>) -> Result<(), Stop> {
    let mut nothing = Value::Null;
    admission::mutate(attributes, &mut nothing, env)?;
    admission::validate(attributes, &nothing, env)
}

/// The write that removes `old`, and its answer.
pub(crate) fn removal(kind: &Kind, old: &Arc<Object>, expect: Expect) -> Prepared {
    let mut prepared = Prepared::answered(Reply::ok(Answer::Success(Deleted::of(kind, old))));
    if kind.strategy.answers_with_object {
        prepared.pending = Pending::Removed { index: 0, last: Arc::clone(old) };
    }
    prepared.writes = vec![Write::delete(old.key().clone(), expect)];
    prepared
}

fn check_preconditions(kind: &Kind, options: &DeleteOptions, old: &Object) -> Result<(), Status> {
    let metadata = old.metadata();
    let conflict = |what: &str, asked: &str, found: &str| {
        let why = format!(
            "Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}"
        );
        Err(Status::conflict(kind, &metadata.name, why))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if *uid != metadata.uid => conflict("UID", uid, &metadata.uid),
        (_, Some(revision)) if *revision != metadata.resource_version => {
            conflict("ResourceVersion", revision, &metadata.resource_version)
        }
        _ => Ok(()),
    }
}
