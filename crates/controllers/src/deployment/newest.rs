//! The set of the deployment's template: found or made, with its number and annotations.

use coracle_api::resources::REPLICA_SETS;
use coracle_api::revision;
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::sets::{DESIRED, HASH_LABEL, MOST, REVISION, REVISION_HISTORY, Set};
use super::spec::Strategy;
use crate::json;
use crate::workload::conditions::Condition;
use crate::workload::template::cut;

/// Annotations of the deployment that are its own.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MOST,
];
/// Names have at most this many characters.
const NAME_MAX: usize = 253;
/// A history longer than this loses its oldest numbers.
const HISTORY_MAX: usize = 2000;

impl Draft<'_> {
    /// Brings the newest set, if there is one, to what the deployment says beside the template.
    pub fn adjust_newest(&mut self) {
        let number = self.next_revision();
        let deployment = self.deployment;
        let Some(set) = self.newest.and_then(|index| self.sets.get_mut(index)) else { return };
        copy_annotations(set, deployment.object().metadata().annotations.iter());
        raise(set, number);
        if set.next["spec"]["minReadySeconds"].as_i64().unwrap_or(0) != deployment.min_ready_seconds
        {
            json::set(
                &mut set.next,
                &["spec", "minReadySeconds"],
                json!(deployment.min_ready_seconds),
            );
        }
        let name = set.name().to_owned();
        if deployment.deadline.is_some() {
            let found = format!("Found new replica set {name:?}");
            let found = Condition::new("Progressing", "True", "FoundNewReplicaSet", found);
            self.put_if_absent(&found);
        }
    }

    /// As [`Draft::adjust_newest`], and makes the set when there is none.
    pub fn find_or_make_newest(&mut self) {
        if self.newest.is_some() {
            return self.adjust_newest();
        }
        if !self.deployment.owner.may_create(self.snapshot) {
            return;
        }
        let size = self.room(0);
        let set = self.new_set(size);
        let created = format!("Created new replica set {:?}", set.name());
        self.newest = Some(self.sets.len());
        self.sets.push(set);
        if self.deployment.deadline.is_some() {
            self.put(&Condition::new("Progressing", "True", "NewReplicaSetCreated", created));
        }
    }

    /// How big the newest set may be now when its size is `size`.
    pub fn room(&self, size: i64) -> i64 {
        let wanted = self.deployment.replicas;
        let free = match self.deployment.strategy {
            Strategy::Recreate => return wanted,
            Strategy::Rolling { .. } => self.deployment.most().saturating_sub(self.total()),
        };
        if free <= 0 { size } else { size.saturating_add(free.min(wanted.saturating_sub(size))) }
    }

    /// One more than any old set has.
    fn next_revision(&self) -> i64 {
        let old = self.old();
        let numbers = old.iter().filter_map(|index| self.sets[*index].number(REVISION));
        numbers.max().unwrap_or(0).saturating_add(1)
    }

    fn new_set(&mut self, size: i64) -> Set {
        let deployment = self.deployment;
        let hash = self.free_hash();
        let spec = &deployment.object().value()["spec"];
        let mut template = deployment.template().clone();
        json::set(&mut template, &["metadata", "labels", HASH_LABEL], json!(hash));
        let mut selector = spec["selector"].clone();
        json::set(&mut selector, &["matchLabels", HASH_LABEL], json!(hash));
        let mut spec = Map::new();
        spec.insert("replicas".into(), json!(size));
        if deployment.min_ready_seconds != 0 {
            spec.insert("minReadySeconds".into(), json!(deployment.min_ready_seconds));
        }
        spec.insert("selector".into(), selector);
        let labels = template["metadata"]["labels"].clone();
        spec.insert("template".into(), template);
        let next = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": self.name(&hash),
                "namespace": deployment.owner.namespace(),
                "labels": labels,
                "ownerReferences": [json::controller_reference(deployment.object())],
            },
            "spec": spec,
        });
        let mut set = Set { stored: None, next };
        copy_annotations(&mut set, deployment.object().metadata().annotations.iter());
        raise(&mut set, self.next_revision());
        set.resize(size, deployment);
        set
    }

    fn name(&self, hash: &str) -> String {
        let most = NAME_MAX.saturating_sub(hash.len()).saturating_sub(1);
        format!("{}-{hash}", cut(self.deployment.owner.name(), most))
    }

    /// The hash of the template; when a foreign set has its name, the next one.
    fn free_hash(&mut self) -> String {
        loop {
            let hash = revision::template_hash(self.deployment.template(), self.collision_count);
            let namespace = self.deployment.owner.namespace();
            if self.snapshot.find(REPLICA_SETS, namespace, &self.name(&hash)).is_none() {
                return hash;
            }
            self.collision_count = Some(self.collision_count.unwrap_or(0).wrapping_add(1));
        }
    }
}

fn copy_annotations<'a>(set: &mut Set, all: impl Iterator<Item = (&'a String, &'a String)>) {
    for (key, value) in all.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())) {
        if set.annotation(key) != Some(value) {
            set.annotate(key, value);
        }
    }
}

/// Gives a set its number, unless it has a higher one: the former goes to its history.
fn raise(set: &mut Set, number: i64) {
    let former = set.annotation(REVISION).map(str::to_owned);
    let had = former.as_deref().map(str::parse::<i64>);
    if had.as_ref().is_some_and(|had| had.as_ref().is_ok_and(|had| *had >= number)) {
        return;
    }
    set.annotate(REVISION, &number.to_string());
    let (Some(former), Some(Ok(_))) = (former, had) else { return };
    let mut history: Vec<&str> =
        set.annotation(REVISION_HISTORY).map_or(Vec::new(), |text| text.split(',').collect());
    history.push(&former);
    let length = |all: &[&str]| all.iter().map(|one| one.len()).sum::<usize>() + all.len();
    while history.len() > 1 && length(&history) > HISTORY_MAX {
        history.remove(0);
    }
    let history = history.join(",");
    set.annotate(REVISION_HISTORY, &history);
}

/// The annotation of a template's number on the deployment.
pub(super) fn with_revision(deployment: &mut Value, number: Option<&str>) {
    if let Some(number) = number {
        json::set(deployment, &["metadata", "annotations", REVISION], json!(number));
    }
}
