//! events.k8s.io/v1.

use super::convert;
use super::row::{Row as _, namespaced, version};
use crate::kind::Kind;
use crate::print::columns;
use crate::resources::NEW_EVENTS;
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version("v1", "io.k8s.api.events.v1", [events()])
}

fn events() -> Kind {
    namespaced("Event", NEW_EVENTS)
        .short(&["ev"])
        .put_creates()
        .select(EVENT_FIELDS)
        .stored(convert::events())
        .validate(validation::named_event)
        .validate_update(validation::named_event_update)
        .validate_create(validation::named_event_create)
        .columns(columns::EVENTS)
}

/// The same fields under the names of events.k8s.io; the pointers are into what is stored.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding.kind", "/involvedObject/kind"),
    ("regarding.namespace", "/involvedObject/namespace"),
    ("regarding.name", "/involvedObject/name"),
    ("regarding.uid", "/involvedObject/uid"),
    ("regarding.apiVersion", "/involvedObject/apiVersion"),
    ("regarding.resourceVersion", "/involvedObject/resourceVersion"),
    ("regarding.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingController", "/reportingComponent"),
    ("type", "/type"),
];
