//! apiextensions.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::kind::Kind;
use crate::kinds::custom;
use crate::resources::CUSTOM_RESOURCE_DEFINITIONS;
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        [custom_resource_definitions()],
    )
}

fn custom_resource_definitions() -> Kind {
    cluster("CustomResourceDefinition", CUSTOM_RESOURCE_DEFINITIONS)
        .answers_with_object()
        .short(&["crd", "crds"])
        .extends_api()
        .status()
        .counted()
        .guarded()
        .defaults(custom::default)
        .prepare(custom::prepare)
        .validate(|definition| {
            [custom::validate(definition), validation::custom_resource_definition(definition)]
                .concat()
        })
        .prepare_update(|new, _| custom::note_storage(new))
        .validate_update(custom::validate_update)
}
