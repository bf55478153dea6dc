//! A StatefulSet as its decision reads it: every default in its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::resources::PODS;
use coracle_api::{Gate, Gates, Key, Object, int_or_string as wire, options};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::workload::owner::Owner;

/// How pods come to a new template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// When somebody deletes them.
    OnDelete,
    /// All old ones go before any new one is made (KEP-3541).
    Recreate,
    /// Highest ordinal first, down to `partition`. Absent when the client left `rollingUpdate`
    /// out, which is not the same as 0. One after the other, unless `max_unavailable` pods may be
    /// unavailable at once: at least 1.
    Rolling { partition: Option<i32>, max_unavailable: Option<i32> },
}

/// What becomes of claims: `persistentVolumeClaimRetentionPolicy`, `true` for Delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClaimPolicy {
    pub when_deleted: bool,
    pub when_scaled: bool,
}

/// A StatefulSet, read once a decision.
pub(super) struct Set {
    pub owner: Owner,
    /// The equalities of the selector, which claims get as labels.
    pub match_labels: BTreeMap<String, String>,
    pub service_name: String,
    pub name: String,
    pub namespace: String,
    pub replicas: i32,
    /// The first ordinal.
    pub start: i32,
    /// OrderedReady: one pod after the other.
    pub ordered: bool,
    pub strategy: Strategy,
    pub min_ready_seconds: i32,
    pub policy: ClaimPolicy,
    /// Whether claims grow with their templates.
    pub grows_claims: bool,
    /// Whether an outdated pod that is not available is replaced before any other.
    pub unhealthy_first: bool,
    /// The names of `spec.volumeClaimTemplates`.
    pub claim_templates: Vec<String>,
}

impl Set {
    /// `None` when the object has no shape of a StatefulSet, which validation prevents.
    /// Where its gate is off, `Recreate` means what it meant before there was any: to roll.
    pub fn read(object: &Arc<Object>, gates: &Gates) -> Option<Self> {
        let view = object.view::<StatefulSet>().ok()?;
        let spec = &view.spec;
        let metadata = object.metadata();
        Some(Self {
            owner: Owner::of(object),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            replicas: spec.replicas.unwrap_or(1),
            start: spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or(0),
            ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
            strategy: strategy(spec, gates),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            policy: claim_policy(spec),
            grows_claims: options::is_on(object.value(), options::GROW_CLAIMS),
            unhealthy_first: options::is_on(object.value(), options::REPLACE_UNHEALTHY),
            claim_templates: claim_templates(spec),
            match_labels: spec.selector.match_labels.clone().unwrap_or_default(),
            service_name: spec.service_name.clone().unwrap_or_default(),
        })
    }

    pub fn object(&self) -> &Arc<Object> {
        &self.owner.object
    }

    pub fn uid(&self) -> &str {
        self.owner.uid()
    }

    pub fn is_deleting(&self) -> bool {
        self.owner.is_deleting()
    }

    /// The pod template as it is stored.
    pub fn template(&self) -> &Value {
        &self.object().value()["spec"]["template"]
    }

    /// A field of the stored status that is a number, 0 when absent.
    pub fn status_count(&self, field: &str) -> i64 {
        self.object().value()["status"][field].as_i64().unwrap_or(0)
    }

    /// A field of the stored status that is a string.
    pub fn status_text(&self, field: &str) -> Option<&str> {
        self.object().value()["status"][field].as_str()
    }

    /// Whether `ordinal` is one of those wanted.
    pub fn has_ordinal(&self, ordinal: i32) -> bool {
        ordinal >= self.start && ordinal - self.start < self.replicas
    }

    /// The ordinals wanted, ascending.
    pub fn ordinals(&self) -> impl DoubleEndedIterator<Item = i32> + use<> {
        self.start..self.start.saturating_add(self.replicas)
    }

    pub fn pod_name(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub fn pod_key(&self, ordinal: i32) -> Key {
        Key::new(PODS, self.namespace.as_str(), self.pod_name(ordinal))
    }
}

fn strategy(spec: &StatefulSetSpec, gates: &Gates) -> Strategy {
    let strategy = spec.update_strategy.as_ref();
    match strategy.and_then(|s| s.type_.as_deref()) {
        Some("OnDelete") => return Strategy::OnDelete,
        Some("Recreate") if gates.is_on(Gate::StatefulSetRecreateStrategy) => {
            return Strategy::Recreate;
        }
        _ => {}
    }
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let max_unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).map(|most| match most {
        IntOrString::Int(most) => *most,
        // Validation takes nothing else than a percentage.
        IntOrString::String(text) => wire::IntOrString::String(text.clone())
            .scaled(spec.replicas.unwrap_or(1), false)
            .unwrap_or(1),
    });
    Strategy::Rolling {
        partition: rolling.map(|r| r.partition.unwrap_or(0)),
        max_unavailable: max_unavailable.map(|most| most.max(1)),
    }
}

fn claim_policy(spec: &StatefulSetSpec) -> ClaimPolicy {
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let is_delete = |half: Option<&String>| half.is_some_and(|value| value == "Delete");
    ClaimPolicy {
        when_deleted: is_delete(policy.and_then(|p| p.when_deleted.as_ref())),
        when_scaled: is_delete(policy.and_then(|p| p.when_scaled.as_ref())),
    }
}

fn claim_templates(spec: &StatefulSetSpec) -> Vec<String> {
    let templates = spec.volume_claim_templates.iter().flatten();
    templates.map(|claim| claim.metadata.name.clone().unwrap_or_default()).collect()
}
