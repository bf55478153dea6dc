//! admissionregistration.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::defaults;
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at, count, text};
use crate::print::{Cell, cluster};
use crate::resources::{
    MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.admissionregistration.v1",
        [
            mutating_admission_policies(),
            mutating_admission_policy_bindings(),
            mutating_webhook_configurations(),
            validating_admission_policies(),
            validating_admission_policy_bindings(),
            validating_webhook_configurations(),
        ],
    )
}

fn mutating_admission_policies() -> Kind {
    cluster("MutatingAdmissionPolicy", MUTATING_ADMISSION_POLICIES)
        .defaults(defaults::admission_policy)
        .validate(validation::mutating_policy)
        .extends_api()
        .counted()
        .guarded()
        .columns(
            const {
                &[
                    NAME,
                    count("Mutations", "/spec/mutations"),
                    text("ParamKind", Cell::Code(cluster::param_kind)),
                    AGE,
                ]
            },
        )
}

fn mutating_admission_policy_bindings() -> Kind {
    cluster("MutatingAdmissionPolicyBinding", MUTATING_ADMISSION_POLICY_BINDINGS)
        .defaults(defaults::admission_binding)
        .validate(validation::mutating_binding)
        .extends_api()
        .counted()
        .guarded()
        .columns(
            const {
                &[
                    NAME,
                    at("PolicyName", "/spec/policyName"),
                    text("ParamRef", Cell::Code(cluster::param_ref)),
                    AGE,
                ]
            },
        )
}

fn mutating_webhook_configurations() -> Kind {
    cluster("MutatingWebhookConfiguration", MUTATING_WEBHOOK_CONFIGURATIONS)
        .defaults(defaults::webhook_configuration)
        .validate(validation::webhook_configuration)
        .extends_api()
        .counted()
        .guarded()
        .columns(const { &[NAME, count("Webhooks", "/webhooks"), AGE] })
}

fn validating_admission_policies() -> Kind {
    cluster("ValidatingAdmissionPolicy", VALIDATING_ADMISSION_POLICIES)
        .defaults(defaults::admission_policy)
        .validate(validation::validating_policy)
        .status()
        .extends_api()
        .counted()
        .guarded()
        .columns(
            const {
                &[
                    NAME,
                    count("Validations", "/spec/validations"),
                    text("ParamKind", Cell::Code(cluster::param_kind)),
                    AGE,
                ]
            },
        )
}

fn validating_admission_policy_bindings() -> Kind {
    cluster("ValidatingAdmissionPolicyBinding", VALIDATING_ADMISSION_POLICY_BINDINGS)
        .defaults(defaults::admission_binding)
        .validate(validation::validating_binding)
        .extends_api()
        .counted()
        .guarded()
        .columns(
            const {
                &[
                    NAME,
                    at("PolicyName", "/spec/policyName"),
                    text("ParamRef", Cell::Code(cluster::param_ref)),
                    AGE,
                ]
            },
        )
}

fn validating_webhook_configurations() -> Kind {
    cluster("ValidatingWebhookConfiguration", VALIDATING_WEBHOOK_CONFIGURATIONS)
        .defaults(defaults::webhook_configuration)
        .validate(validation::webhook_configuration)
        .extends_api()
        .counted()
        .guarded()
        .columns(const { &[NAME, count("Webhooks", "/webhooks"), AGE] })
}
