//! What expressions are about.

use serde_json::Value as Json;

use crate::authorizer::{Authorizer, Check, Question};
use crate::scope::{Composed, Given, Scope};
use crate::value::Value;

/// A request, as an expression sees it. What there is not is null.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The object.
    pub object: &'a Json,
    /// The object as it was.
    pub old: &'a Json,
    /// `AdmissionRequest`, of which the objects are not looked at.
    pub request: &'a Json,
    /// The parameters of a policy.
    pub params: &'a Json,
    /// The namespace of the object.
    pub namespace: &'a Json,
    /// Who knows what whoever asks may do.
    pub authorizer: &'a dyn Authorizer,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("request", self.request).finish_non_exhaustive()
    }
}

impl<'a> Subject<'a> {
    /// `request`, and nothing else.
    #[must_use]
    pub fn nothing(request: &'a Json, authorizer: &'a dyn Authorizer) -> Self {
        let nothing = &Json::Null;
        Self {
            object: nothing,
            old: nothing,
            request,
            params: nothing,
            namespace: nothing,
            authorizer,
        }
    }

    /// With the variables of a policy.
    pub(super) fn scope(&self, composed: &'a [Composed]) -> Scope<'a> {
        let mut given = self.given();
        given.extend([
            ("authorizer", Given::Value(Value::Check(Check::any(self.authorizer)))),
            ("authorizer.requestResource", Given::Value(Value::Check(self.about()))),
        ]);
        Scope::new(given, composed)
    }

    /// With the variables of a policy, where nobody may be asked what somebody may do.
    pub(super) fn quiet_scope(&self, composed: &'a [Composed]) -> Scope<'a> {
        Scope::new(self.given(), composed)
    }

    fn given(&self) -> Vec<(&'a str, Given<'a>)> {
        vec![
            ("object", Given::Json(self.object)),
            ("oldObject", Given::Json(self.old)),
            ("request", Given::Json(self.request)),
            ("params", Given::Json(self.params)),
            ("namespaceObject", Given::Json(self.namespace)),
        ]
    }

    /// Whether whoever asks may do something to what the request names.
    fn about(&self) -> Check<'a> {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let (request, resource) = (self.request, &self.request["requestResource"]);
        let question = Question {
            group: text(&resource["group"]),
            resource: text(&resource["resource"]),
            subresource: text(&request["requestSubResource"]),
            namespace: text(&request["namespace"]),
            name: text(&request["name"]),
            ..Question::default()
        };
        Check::about(self.authorizer, question)
    }
}
