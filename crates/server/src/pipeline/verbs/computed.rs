//! get and list of objects that nobody writes.

use std::sync::Arc;

use coracle_api::computed::{Compute, Seen};
use coracle_api::{Facts, Object, Status, Verb};
use coracle_store::Snapshot;

use crate::pipeline::reply::{Answer, Reply};
use crate::pipeline::request::Request;
use crate::pipeline::verbs::list;
use crate::pipeline::verbs::selectors::Selection;

/// What `request` asks of the objects that `compute` makes: all of a list are on one page.
///
/// # Errors
/// 404 when none has the name, 400 for malformed selectors, 405 for what is no read.
pub(crate) fn read(
    snapshot: &Snapshot,
    facts: &Facts,
    request: &Request,
    compute: Compute,
) -> Result<Reply, Status> {
    let given = |text: &'_ str| !text.is_empty();
    let seen = Seen {
        objects: snapshot,
        facts,
        namespace: Some(request.namespace.as_str()).filter(|it| given(it)),
        name: Some(request.name.as_str()).filter(|it| given(it)),
    };
    let selection = Selection::of(request)?;
    let mut items = Vec::new();
    for value in compute(&seen) {
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
            let one = items.pop().ok_or_else(|| Status::not_found(&request.kind, &request.name))?;
            Ok(Reply::ok(Answer::Object(one)))
        }
        verb => Err(Status::method_not_allowed(&request.kind, verb.as_str())),
    }
}
