//! The annotation by which `extensions/v1beta1` asked for an earlier template. kubectl writes the
//! template itself; some tools still write the annotation.

use std::sync::Arc;

use coracle_store::Snapshot;
use serde_json::Value;

use super::sets::{self, REVISION, Set};
use super::spec::Deployment;
use coracle_api::revision;

use crate::json;
use crate::plan::{Note, Plan, Step, Write};

const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// The plan that brings an earlier template back; `None` when nobody asked for one.
pub(super) fn asked_for(snapshot: &Snapshot, deployment: &Deployment) -> Option<Plan> {
    let metadata = deployment.object().metadata();
    let asked = metadata.annotations.get(ROLLBACK_TO)?;
    if deployment.owner.is_deleting() || deployment.is_paused {
        return None;
    }
    let (sets, _) = sets::of(snapshot, deployment);
    let number = asked.parse().unwrap_or(0);
    let (value, note) = rolled_back(deployment, &sets, number);
    let mut value = value.unwrap_or_else(|| deployment.object().value().clone());
    json::set(&mut value, &["metadata", "annotations", ROLLBACK_TO], Value::Null);
    let mut plan = Plan::of(Step::of(Write::Update(value)).say(note));
    plan.rests_on = vec![Arc::clone(deployment.object())];
    Some(plan)
}

fn rolled_back(deployment: &Deployment, sets: &[Set], number: i64) -> (Option<Value>, Note) {
    let object = deployment.object();
    let said = |reason, message: String| Note::warning(object, reason, message);
    let wanted = if number == 0 { second_highest(sets) } else { Some(number) };
    let Some(wanted) = wanted else {
        let message = "Unable to find last revision.".to_owned();
        return (None, said("DeploymentRollbackRevisionNotFound", message));
    };
    let Some(set) = sets.iter().find(|set| set.number(REVISION) == Some(wanted)) else {
        let message = "Unable to find the revision to rollback to.".to_owned();
        return (None, said("DeploymentRollbackRevisionNotFound", message));
    };
    let template = sets::without_hash(&set.next["spec"]["template"]);
    let name = deployment.owner.name();
    if revision::same_template(&template, deployment.template()) {
        let message = format!(
            "The rollback revision contains the same template as current deployment {name:?}"
        );
        return (None, said("DeploymentRollbackTemplateUnchanged", message));
    }
    let value = json::with(object, &["spec", "template"], template);
    let message = format!("Rolled back deployment {name:?} to revision {wanted}");
    (Some(value), Note::normal(object, "DeploymentRollback", message))
}

fn second_highest(sets: &[Set]) -> Option<i64> {
    let mut numbers: Vec<i64> = sets.iter().filter_map(|set| set.number(REVISION)).collect();
    numbers.sort_unstable();
    numbers.pop();
    numbers.pop()
}
