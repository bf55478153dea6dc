//! admissionregistration.k8s.io/v1.

use super::row::{Row as _, cluster, version};
use crate::defaults;
use crate::kind::Kind;
use crate::print::columns::{AGE, NAME, at, count, text};
use crate::print::{Cell, Column, cluster};
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
    kept("MutatingAdmissionPolicy", MUTATING_ADMISSION_POLICIES)
        .defaults(defaults::admission_policy)
        .validate(validation::mutating_policy)
        .columns(const { &policy_columns(count("Mutations", "/spec/mutations")) })
}

fn mutating_admission_policy_bindings() -> Kind {
    binding("MutatingAdmissionPolicyBinding", MUTATING_ADMISSION_POLICY_BINDINGS)
        .validate(validation::mutating_binding)
}

fn mutating_webhook_configurations() -> Kind {
    webhooks("MutatingWebhookConfiguration", MUTATING_WEBHOOK_CONFIGURATIONS)
}

fn validating_admission_policies() -> Kind {
    kept("ValidatingAdmissionPolicy", VALIDATING_ADMISSION_POLICIES)
        .defaults(defaults::admission_policy)
        .validate(validation::validating_policy)
        .status()
        .columns(const { &policy_columns(count("Validations", "/spec/validations")) })
}

fn validating_admission_policy_bindings() -> Kind {
    binding("ValidatingAdmissionPolicyBinding", VALIDATING_ADMISSION_POLICY_BINDINGS)
        .validate(validation::validating_binding)
}

fn validating_webhook_configurations() -> Kind {
    webhooks("ValidatingWebhookConfiguration", VALIDATING_WEBHOOK_CONFIGURATIONS)
}

/// What all kinds of the group have.
fn kept(kind: &'static str, resource: &'static str) -> Kind {
    cluster(kind, resource).extends_api().counted().guarded()
}

const fn policy_columns(rules: Column) -> [Column; 4] {
    [NAME, rules, text("ParamKind", Cell::Code(cluster::param_kind)), AGE]
}

fn binding(kind: &'static str, resource: &'static str) -> Kind {
    kept(kind, resource).defaults(defaults::admission_binding).columns(
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

fn webhooks(kind: &'static str, resource: &'static str) -> Kind {
    kept(kind, resource)
        .defaults(defaults::webhook_configuration)
        .validate(validation::webhook_configuration)
        .columns(const { &[NAME, count("Webhooks", "/webhooks"), AGE] })
}
