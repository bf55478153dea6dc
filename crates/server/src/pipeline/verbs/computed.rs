//! get and list of objects that nobody writes.

use std::sync::Arc;

use coracle_api::computed::{Computed, Seen};
use coracle_api::{Facts, Kind, Object, Status, Usage, Verb};
use coracle_store::Snapshot;

use crate::pipeline::reply::{Answer, Reply};
use crate::pipeline::request::Request;
use crate::pipeline::verbs::list;
use crate::pipeline::verbs::selectors::Selection;

/// What `request` asks of the objects of `row`: all of a list are on one page.
///
/// # Errors
/// 404 when none has the name, 400 for malformed selectors, 405 for what is no read.
pub(crate) fn read(
    snapshot: &Snapshot,
    facts: &Facts,
    usage: &Usage,
    request: &Request,
    row: Computed,
) -> Result<Reply, Status> {
    let given = |text: &'_ str| !text.is_empty();
    let seen = Seen {
        objects: snapshot,
        facts,
        usage,
        namespace: Some(request.namespace.as_str()).filter(|it| given(it)),
        name: Some(request.name.as_str()).filter(|it| given(it)),
    };
    let selection = Selection::of(request)?;
    let mut items = Vec::new();
    for value in (row.compute)(&seen) {
        let object = Object::new(&request.kind, value).map_err(Status::internal)?;
        let is_here = !given(&request.namespace) || *object.key().namespace == *request.namespace;
        if is_here && selection.matches(&object) {
            items.push(Arc::new(object));
        }
    }
    items.sort_by(|a, b| a.key().cmp(b.key()));
    match request.verb {
        Verb::List => {
            let list = list::whole(&request.kind, items, snapshot.revision());
            Ok(Reply::ok(Answer::List(list)))
        }
        Verb::Get => {
            let one = items.pop().ok_or_else(|| missing(request, row))?;
            Ok(Reply::ok(Answer::Object(one)))
        }
        verb => Err(Status::method_not_allowed(&request.kind, verb.as_str())),
    }
}

/// 404. Upstream's metrics have names of their own in it: `podmetrics.metrics.k8s.io "NAMESPACE/NAME"`.
fn missing(request: &Request, row: Computed) -> Status {
    let Some(called) = row.called else {
        return Status::not_found(&request.kind, &request.name);
    };
    let kind = Kind { plural: called.into(), ..Kind::clone(&request.kind) };
    let name = match request.namespace.as_str() {
        "" => request.name.clone(),
        namespace => format!("{namespace}/{}", request.name),
    };
    Status::not_found(&kind, &name)
}
