//! A write as policies see it, made once for each form in which they do.

use coracle_api::resources::NAMESPACES;
use coracle_api::{Kind, Status};
use coracle_cel::admission;
use serde_json::Value;

use super::invocations::Run;
use crate::pipeline::admission::admission_request;
use crate::pipeline::admission::rights_asked::Rights;
use crate::pipeline::admission::subject::Subject;

/// All forms that were seen so far.
pub(super) struct Views<'a, 's> {
    subject: &'s Subject<'a>,
    rights: Rights<'a>,
    namespace: Value,
    all: Vec<View<'a>>,
}

/// A form of a write, but for the object itself, which policies may change.
struct View<'a> {
    row: &'a Kind,
    request: Value,
    old: Value,
}

impl<'a, 's> Views<'a, 's> {
    pub(super) fn new(subject: &'s Subject<'a>) -> Self {
        Self {
            subject,
            rights: Rights::of(subject),
            namespace: namespace(subject),
            all: Vec::new(),
        }
    }

    pub(super) fn subject(&self) -> &'s Subject<'a> {
        self.subject
    }

    /// What `act` makes of `object` as `run` sees it.
    ///
    /// # Errors
    /// When it cannot be shown so.
    pub(super) fn with<T, R>(
        &mut self,
        run: &Run<'a, T>,
        object: &Value,
        act: impl FnOnce(admission::Subject<'_>) -> R,
    ) -> Result<R, Status> {
        let shown = self.subject.shown(run.row, object)?;
        let at = self.place(run.row, object)?;
        let View { request, old, .. } = &self.all[at];
        Ok(act(admission::Subject {
            object: &shown,
            old,
            request,
            params: &run.param,
            namespace: &self.namespace,
            authorizer: &self.rights,
        }))
    }

    fn place(&mut self, row: &'a Kind, object: &Value) -> Result<usize, Status> {
        let same = |view: &View<'_>| std::ptr::eq(view.row, row);
        if let Some(at) = self.all.iter().position(same) {
            return Ok(at);
        }
        let request = admission_request::about(self.subject, row, object);
        let old = self.subject.shown_before(row)?;
        self.all.push(View { row, request, old });
        Ok(self.all.len() - 1)
    }
}

/// The namespace of the object, without what is nobody's business; null where there is none.
fn namespace(subject: &Subject<'_>) -> Value {
    if subject.request.kind.is(NAMESPACES) {
        return Value::Null;
    }
    let Some(found) = subject.snapshot.find(NAMESPACES, "", &subject.namespace) else {
        return Value::Null;
    };
    let mut shown = found.value().clone();
    if let Some(Value::Object(metadata)) = shown.get_mut("metadata") {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
    }
    shown
}
