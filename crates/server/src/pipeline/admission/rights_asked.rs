//! What expressions ask of what whoever made a request may do: answered once a request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use coracle_cel::{Authorizer, Decision, Question};
use coracle_store::Snapshot;

use super::subject::Subject;
use crate::auth::Action;
use crate::auth::authorize::reason;
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::User;

/// The rights of whoever made a request, and of service accounts.
pub(super) struct Rights<'a> {
    snapshot: &'a Snapshot,
    user: &'a User,
    known: Mutex<BTreeMap<Question, Decision>>,
}

impl<'a> Rights<'a> {
    pub(super) fn of(subject: &Subject<'a>) -> Self {
        let Subject { snapshot, request, .. } = *subject;
        Self { snapshot, user: &request.user, known: Mutex::default() }
    }

    fn decided(&self, question: &Question) -> Decision {
        let account = question.account.as_ref().map(|(namespace, name)| User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
            ..User::default()
        });
        let user = account.as_ref().unwrap_or(self.user);
        let why = reason(self.snapshot, user, &action(question));
        let reason = why.as_ref().map(ToString::to_string).unwrap_or_default();
        Decision { is_allowed: why.is_some(), reason, ..Decision::default() }
    }
}

impl Authorizer for Rights<'_> {
    fn decide(&self, question: &Question) -> Decision {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(question.clone()).or_insert_with(|| self.decided(question)).clone()
    }
}

/// No rule depends on selectors.
fn action(question: &Question) -> Action {
    let Question { verb, path, group, resource, subresource, namespace, name, .. } = question;
    if !path.is_empty() {
        return Action::Path { verb: verb.clone(), path: path.clone() };
    }
    Action::Resource(ResourceRef {
        verb: verb.clone().into(),
        group: group.clone(),
        version: "*".to_owned(),
        namespace: namespace.clone(),
        resource: resource.clone(),
        name: name.clone(),
        subresource: subresource.clone(),
        ..ResourceRef::default()
    })
}
