//! What users do with those who guard writes: webhooks, which come and go, and policies.

use coracle_api::resources::{
    DEPLOYMENTS, VALIDATING_ADMISSION_POLICIES as POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS as BINDINGS, VALIDATING_WEBHOOK_CONFIGURATIONS as HOOKS,
};
use coracle_server::Api;
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::Users;
use crate::outside::FEW;
use crate::random::Random;

const HOOK: &str = "few";
/// Policies, and what each wants: the second wants what no Deployment has, which is a failure.
const WANTED: [(&str, &str); 2] = [
    ("few", "object.spec.replicas <= FEW"),
    ("labelled", "object.metadata.labels['size'] == 'few'"),
];

impl Users {
    /// A webhook is asked about Deployments, or not any more.
    pub(super) fn set_hook(&mut self, api: &Api, random: &mut Random) {
        if let Some(hook) = api.snapshot().find(HOOKS, "", HOOK).cloned() {
            return self.delete(api, &hook, json!({}));
        }
        let hook = json!({
            "name": "few.example.com",
            "clientConfig": {"url": "https://hook.example.com/few"},
            "rules": [rule()],
            "failurePolicy": *random.pick(&["Fail", "Fail", "Ignore"]),
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        });
        self.create_in(api, HOOKS, "", &json!({"metadata": {"name": HOOK}, "webhooks": [hook]}));
    }

    /// The webhook goes, or comes back.
    pub(super) fn move_hook(&mut self, _: &Api, _: &mut Random) {
        let mut runtime = self.machine.lock();
        runtime.hook_is_gone = !runtime.hook_is_gone;
        let gone = runtime.hook_is_gone;
        drop(runtime);
        self.said
            .push(if gone { "takes the webhook down" } else { "brings the webhook up" }.to_owned());
    }

    /// A policy judges Deployments, or does not any more.
    pub(super) fn set_admission(&mut self, api: &Api, random: &mut Random) {
        let (name, wanted) = *random.pick(&WANTED);
        if let Some(binding) = api.snapshot().find(BINDINGS, "", name).cloned() {
            return self.delete(api, &binding, json!({}));
        }
        if let Some(policy) = api.snapshot().find(POLICIES, "", name).cloned() {
            self.delete(api, &policy, json!({}));
        }
        let expression = wanted.replace("FEW", &FEW.to_string());
        let policy = json!({
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": *random.pick(&["Fail", "Ignore"]),
                "matchConstraints": {"resourceRules": [rule()]},
                "validations": [{"expression": expression}],
            },
        });
        self.create_in(api, POLICIES, "", &policy);
        let binding = json!({
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        });
        self.create_in(api, BINDINGS, "", &binding);
    }

    /// Nobody guards anything any more.
    pub(super) fn end_guards(&mut self, api: &Api, snapshot: &Snapshot) {
        self.machine.lock().hook_is_gone = false;
        for resource in [HOOKS, BINDINGS, POLICIES] {
            for guard in snapshot.list(resource, None) {
                self.delete(api, guard, json!({}));
            }
        }
    }
}

/// Deployments, also when they are scaled.
fn rule() -> Value {
    let plural = DEPLOYMENTS.split('.').next().unwrap_or_default();
    json!({
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": [plural, format!("{plural}/scale")], "scope": "*",
    })
}
