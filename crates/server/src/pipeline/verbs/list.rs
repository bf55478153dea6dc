//! list: selection, pages, and the revision that a client may ask for.

use std::sync::Arc;

use coracle_api::{FieldError, Kind, Object, Status, Timestamp};
use coracle_store::Snapshot;

use crate::pipeline::pages::{Pages, Token, expired};
use crate::pipeline::reply::{Answer, ObjectList, Reply};
use crate::pipeline::request::{Options, Request};
use crate::pipeline::verbs::selectors::Selection;
use crate::pipeline::verbs::{key, too_large_revision};

/// One page of what `request` selects.
///
/// # Errors
/// 400 for selectors and tokens that are none, 410 for a page or a revision that is too old, 504
/// for a revision that is still to come.
pub(crate) fn list(
    newest: &Snapshot,
    pages: &Pages,
    request: &Request,
    now: Timestamp,
) -> Result<Reply, Status> {
    let options = &request.options;
    check(list_errors(options))?;
    let asked = asked_revision(options).map_err(|status| {
        Status::bad_request(format!("invalid resource version: {}", status.message))
    })?;
    let token = match options.continue_token.as_str() {
        "" => None,
        text => Some(Token::decode(text)?),
    };
    let snapshot = match &token {
        Some(_) if asked.is_some_and(|revision| revision > 0) => {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        Some(token) => at_token(newest, pages, token, now)?,
        None => at_revision(newest, pages, asked, options, now)?,
    };
    let page = page(&snapshot, request, token.as_ref())?;
    if !page.continue_token.is_empty() {
        pages.hold(&snapshot, now);
    }
    Ok(Reply::ok(Answer::List(page)))
}

fn at_token(
    newest: &Snapshot,
    pages: &Pages,
    token: &Token,
    now: Timestamp,
) -> Result<Snapshot, Status> {
    match token.revision {
        None => Ok(newest.clone()),
        Some(revision) => pages.at(revision, now).ok_or_else(|| expired(token)),
    }
}

fn at_revision(
    newest: &Snapshot,
    pages: &Pages,
    asked: Option<u64>,
    options: &Options,
    now: Timestamp,
) -> Result<Snapshot, Status> {
    let Some(asked) = asked else { return Ok(newest.clone()) };
    if asked > newest.revision() {
        let mut refusal = too_large_revision(asked, newest.revision());
        if options.resource_version_match == "Exact" {
            // It never comes to be exactly then.
            refusal = refusal.with_details(|details| details.retry_after_seconds = 0);
        }
        return Err(refusal);
    }
    let exact = match options.resource_version_match.as_str() {
        "Exact" => true,
        "NotOlderThan" => false,
        _ => options.limit > 0 && asked > 0,
    };
    if !exact || asked == newest.revision() {
        return Ok(newest.clone());
    }
    let too_old = || Status::expired("The resourceVersion for the provided list is too old.");
    pages.at(asked, now).ok_or_else(too_old)
}

/// 422 unless there are no errors.
pub(crate) fn check(errors: Vec<FieldError>) -> Result<(), Status> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid_of("meta.k8s.io", "ListOptions", "", &errors)),
    }
}

/// What of a list's options does not go with the others.
fn list_errors(options: &Options) -> Vec<FieldError> {
    const MATCH: &str = "resourceVersionMatch";
    let mut errors = Vec::new();
    let mut forbid = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
    let (revision, wanted) = (options.resource_version.as_str(), &*options.resource_version_match);
    if !wanted.is_empty() {
        if revision.is_empty() {
            forbid(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !options.continue_token.is_empty() {
            forbid(MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if wanted == "Exact" && revision == "0" {
            forbid(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if options.send_initial_events.is_some() {
        forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    if !matches!(wanted, "" | "Exact" | "NotOlderThan") {
        errors.push(FieldError::not_supported(MATCH, wanted, &["Exact", "NotOlderThan", ""]));
    }
    errors
}

/// The revision in the query.
///
/// # Errors
/// 400 when it is no number.
pub(crate) fn asked_revision(options: &Options) -> Result<Option<u64>, Status> {
    match options.resource_version.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": \
                 invalid syntax"
            ))
        }),
    }
}

fn page(
    snapshot: &Snapshot,
    request: &Request,
    token: Option<&Token>,
) -> Result<ObjectList, Status> {
    let selection = Selection::of(request)?;
    let resource = request.kind.storage_resource();
    let namespace = (!request.namespace.is_empty()).then_some(request.namespace.as_str());
    let (mut namespace_after, name_after) =
        token.map_or(("", ""), |token| (token.after.0.as_str(), token.after.1.as_str()));
    if namespace_after.is_empty() {
        // Upstream's tokens say where in the collection they are, which may be one namespace.
        namespace_after = &request.namespace;
    }
    let after = key(&request.kind, namespace_after, name_after);
    let mut rest = snapshot
        .list_after(&resource, namespace, &after)
        .filter(|object| selection.matches(object))
        .peekable();
    let limit = match usize::try_from(request.options.limit) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    };
    let items: Vec<_> = rest.by_ref().take(limit).cloned().collect();
    let mut list = whole(&request.kind, items, snapshot.revision());
    if rest.peek().is_some()
        && let Some(last) = list.items.last()
    {
        let after = (last.key().namespace.to_string(), last.key().name.to_string());
        list.continue_token = Token { revision: Some(snapshot.revision()), after }.encode();
        list.remaining = selection.is_everything().then(|| rest.count());
    }
    Ok(list)
}

/// Everything that `request` selects, by namespace, then name.
pub(crate) fn select(snapshot: &Snapshot, request: &Request) -> Result<Vec<Arc<Object>>, Status> {
    let selection = Selection::of(request)?;
    let resource = request.kind.storage_resource();
    let namespace = (!request.namespace.is_empty()).then_some(request.namespace.as_str());
    let all = snapshot.list(&resource, namespace);
    Ok(all.filter(|object| selection.matches(object)).cloned().collect())
}

/// A list of one page.
pub(crate) fn whole(kind: &Arc<Kind>, items: Vec<Arc<Object>>, revision: u64) -> ObjectList {
    let (continue_token, remaining) = (String::new(), None);
    ObjectList { kind: Arc::clone(kind), items, revision, continue_token, remaining }
}
