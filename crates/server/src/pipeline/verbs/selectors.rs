//! Which objects of a collection a request is about.

use std::sync::Arc;

use coracle_api::{FieldSelector, Kind, Object, Selector, Status};

use crate::pipeline::request::Request;

/// The label and field selectors of one request.
pub(crate) struct Selection {
    kind: Arc<Kind>,
    labels: Selector,
    fields: FieldSelector,
    /// A collection under one name (`GET …/pods/web-0?watch`).
    name: String,
}

impl Selection {
    /// What the query of `request` says.
    pub(crate) fn of(request: &Request) -> Result<Self, Status> {
        let labels = Selector::parse(&request.options.label_selector)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let bad = |error: coracle_api::field_selector::FieldSelectorError| {
            Status::bad_request(error.to_string())
        };
        let fields = FieldSelector::parse(&request.options.field_selector).map_err(bad)?;
        fields.check(&request.kind).map_err(bad)?;
        let (kind, name) = (Arc::clone(&request.kind), request.name.clone());
        Ok(Self { kind, labels, fields, name })
    }

    /// Whether `object` is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        (self.name.is_empty() || *object.key().name == *self.name)
            && self.labels.matches(&object.metadata().labels)
            && (self.fields.is_empty() || self.fields.matches(&self.kind, object.value()))
    }

    /// Whether nothing is left out.
    pub(crate) fn is_everything(&self) -> bool {
        self.name.is_empty() && self.labels.is_everything() && self.fields.is_empty()
    }
}
