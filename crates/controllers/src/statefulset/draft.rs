//! A plan in the making: the pods of a set, walked in their order.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

use coracle_api::resources::PODS;
use coracle_api::{Key, Object, options};
use coracle_store::Snapshot;
use serde_json::Value;

use super::members::{Member, Members};
use super::revisions::{Revision, Revisions};
use super::set::{Set, Strategy};
use super::status::Status;
use super::{claims, identity};
use crate::Context;
use crate::plan::{Because, Note, Plan, Step, Write};

/// Pods that one plan creates at most: each of them asks for the next plan.
const CREATIONS_MAX: usize = 100;

/// Whether the rest of the set's pods may be looked at.
pub(super) type Walk = ControlFlow<()>;

pub(super) struct Draft<'a> {
    pub snapshot: &'a Snapshot,
    pub context: &'a Context<'a>,
    pub set: &'a Set,
    pub members: &'a Members,
    pub revisions: &'a Revisions,
    pub status: Status,
    pub plan: Plan,
    /// Claims whose owners the plan has put right already.
    pub settled: BTreeSet<Key>,
}

impl Draft<'_> {
    /// Brings each wanted pod a step further; in order, the first that is not there yet stops.
    pub fn replicas(&mut self) -> Walk {
        let members = self.members;
        let mut creations = 0;
        for ordinal in self.set.ordinals() {
            let walk = match members.replicas.get(&ordinal) {
                None if creations == CREATIONS_MAX => return Continue(()),
                None => {
                    creations += 1;
                    self.create(ordinal)
                }
                Some(member) => self.attend(member),
            };
            if self.set.ordered {
                walk?;
            }
        }
        Continue(())
    }

    /// Claims that are smaller than their templates grow, whether their pods are well or not: a
    /// full disk may be what ails them.
    pub fn grow_claims(&mut self) {
        if !self.set.grows_claims {
            return;
        }
        let set = &self.set.name;
        for member in self.members.replicas.values() {
            let pod = member.name();
            for (name, template) in claims::names(self.set, pod) {
                let key = claims::key(self.set, &name);
                let claim = self.snapshot.get(&key);
                let Some(grown) = claim.and_then(|it| claims::grown(it, template)) else {
                    continue;
                };
                let said = format!("update Claim {name} Pod {pod} in StatefulSet {set}");
                let failed = format!("{said} failed error: ");
                let failed = Note::warning(self.set.object(), "FailedUpdate", failed);
                let mut step = Step::default();
                step.write_or(Write::Update(grown), failed);
                let said = self.note("SuccessfulUpdate", format!("{said} success"));
                self.plan.step(step.say(said));
                // Its owners are put right by the next plan: they are a write of the same claim.
                self.settled.insert(key);
            }
        }
    }

    /// A pod that exists.
    fn attend(&mut self, member: &Member) -> Walk {
        if member.has_ended() {
            if !member.is_terminating() {
                self.delete_to_replace(member);
            }
            self.wait_for(member, "has ended and is being replaced");
            return Break(());
        }
        if member.is_pending() {
            let missing = self.with_claims(member.name());
            self.plan.step(missing);
        }
        self.wait_until_available(member)?;
        self.repair(member);
        Continue(())
    }

    fn wait_until_available(&mut self, member: &Member) -> Walk {
        let why = if member.is_terminating() {
            "is terminating"
        } else if !member.is_running_and_ready() {
            "is not ready"
        } else if !member.is_available(self.set.min_ready_seconds, self.context.now) {
            "is ready, but not for minReadySeconds yet"
        } else {
            return Continue(());
        };
        self.wait_for(member, why);
        if !self.set.ordered {
            // The walk goes on, and so does the care for this pod.
            return Continue(());
        }
        if self.would_change(member) && !member.was_ever_ready() {
            self.replace_never_ready(member);
        } else if self.would_change(member) && self.set.unhealthy_first {
            self.replace_unhealthy(member);
        }
        Break(())
    }

    /// Whether the pod is outdated and the one that would follow it is not: the ground of the cure
    /// of kubernetes#67250; see the module's documentation.
    fn would_change(&self, member: &Member) -> bool {
        if self.set.strategy == Strategy::OnDelete {
            return false;
        }
        let current = self.status.current_without(member);
        let would_be_current = self.keeps_current(member.ordinal, current);
        // What would follow it must be something else, or it would be deleted without end.
        let is_outdated = member.revision() != self.revisions.update.name;
        let would_stay = would_be_current && member.revision() == self.revisions.current.name;
        is_outdated && !would_stay && !member.is_terminating()
    }

    /// Deletes a pod out of its turn, and tells why.
    fn replace_ailing(&mut self, member: &Member, reason: &'static str, why: &str) {
        let (pod, set) = (member.name(), &self.set.name);
        let message = format!("delete Pod {pod} in StatefulSet {set}: {why}");
        self.plan.notes.push(Note::warning(self.set.object(), reason, message));
        self.delete_to_replace(member);
        self.status.forget(member);
    }

    fn replace_never_ready(&mut self, member: &Member) {
        let why = format!(
            "it was never ready at the outdated revision {}; a stock cluster would wait until \
             somebody deletes it",
            member.revision()
        );
        self.replace_ailing(member, "ReplacedNeverReady", &why);
    }

    /// What the set's author asked for, by [`options::REPLACE_UNHEALTHY`].
    pub fn replace_unhealthy(&mut self, member: &Member) {
        let why = format!(
            "it is not available at the outdated revision {}, and {} is set",
            member.revision(),
            options::REPLACE_UNHEALTHY
        );
        self.replace_ailing(member, "ReplacedUnhealthy", &why);
    }

    /// A pod that does not exist: its claims, then itself.
    fn create(&mut self, ordinal: i32) -> Walk {
        let name = self.set.pod_name(ordinal);
        if let Some(held) = self.held_by(&name) {
            self.because(held);
            return Break(());
        }
        let mut step = self.with_claims(&name);
        for claim in claims::stored(self.snapshot, self.set, &name) {
            let (write, note) = claims::settle_owner(self.set, claim, &name, None, false);
            step.writes.extend(write);
            step.notes.extend(note);
        }
        let revision = self.revision_for(ordinal);
        let pod = identity::new_pod(self.set, ordinal, &revision.template, &revision.name);
        let said = self.said("create", &name);
        step.write_or(
            Write::Create(pod),
            Note::warning(self.set.object(), "FailedCreate", format!("{said} failed error: ")),
        );
        let step = step.say(self.note("SuccessfulCreate", format!("{said} successful")));
        self.plan.step(Step { needs_earlier: true, ..step });
        let key = self.set.pod_key(ordinal);
        self.because(Because::of(key, format!("{name} is being created")));
        Break(())
    }

    /// Why the pod of this name cannot be created now.
    fn held_by(&mut self, pod: &str) -> Option<Because> {
        if let Some(other) = self.snapshot.find(PODS, &self.set.namespace, pod) {
            let sentence = format!("{pod} exists and does not belong to {}", self.set.name);
            return Some(Because::of(other.key().clone(), sentence));
        }
        let claims: Vec<_> = claims::stored(self.snapshot, self.set, pod).collect();
        let stale = |claim: &&Arc<Object>| {
            claims::stale_owner(self.set, claim, pod).map(|owner| (Arc::clone(claim), owner))
        };
        if let Some((claim, owner)) = claims.iter().find_map(stale) {
            let name = &claim.metadata().name;
            let sentence = format!("{name} waits to be deleted with an earlier {owner}");
            return Some(Because::of(claim.key().clone(), sentence));
        }
        let deleting = claims.iter().find(|claim| claim.metadata().is_deleting())?;
        let sentence = format!("pvc {} is being deleted", deleting.metadata().name);
        let message = format!("{} failed error: {sentence}", self.said("create", pod));
        self.plan.notes.push(Note::warning(self.set.object(), "FailedCreate", message));
        Some(Because::of(deleting.key().clone(), sentence))
    }

    fn missing_claims(&self, pod: &str) -> Vec<(String, Value)> {
        let is_missing = |name: &str| self.snapshot.get(&claims::key(self.set, name)).is_none();
        claims::names(self.set, pod)
            .filter(|(name, _)| is_missing(name))
            .map(|(name, template)| (name, template.clone()))
            .collect()
    }

    /// A step that makes the claims which the pod lacks.
    fn with_claims(&self, pod: &str) -> Step {
        let set = &self.set.name;
        let mut step = Step::default();
        for (name, template) in self.missing_claims(pod) {
            let failed =
                format!("create Claim {name} for Pod {pod} in StatefulSet {set} failed error: ");
            step.write_or(
                Write::Create(claims::new_claim(self.set, &name, &template)),
                Note::warning(self.set.object(), "FailedCreate", failed),
            );
            let said = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
            step.notes.push(self.note("SuccessfulCreate", said));
        }
        step
    }

    /// Which revision a new pod with this ordinal gets.
    fn revision_for(&self, ordinal: i32) -> &Revision {
        let current = self.set.status_count("currentReplicas");
        let keeps_current = self.keeps_current(ordinal, current);
        if keeps_current { &self.revisions.current } else { &self.revisions.update }
    }

    /// Whether a new pod with this ordinal gets the current revision when `current` pods carry it.
    fn keeps_current(&self, ordinal: i32, current: i64) -> bool {
        let kept = match self.set.strategy {
            Strategy::OnDelete | Strategy::Recreate => 0,
            Strategy::Rolling { partition: Some(partition), .. } => i64::from(partition),
            Strategy::Rolling { .. } if self.current_is_futile() => 0,
            Strategy::Rolling { .. } => current,
        };
        i64::from(ordinal) < i64::from(self.set.start) + kept
    }

    /// Whether one more pod of the current revision would only hold up the others: they wait in
    /// order, and of those that carry it none was ever Ready.
    fn current_is_futile(&self) -> bool {
        let current = &self.revisions.current.name;
        let mut carriers = self.members.all().filter(|it| it.revision() == current).peekable();
        let is_carried = carriers.peek().is_some();
        self.set.ordered && is_carried && !carriers.any(Member::was_ever_ready)
    }

    /// Puts right what somebody changed of a pod's identity or its claims' owners.
    fn repair(&mut self, member: &Member) {
        let name = member.name().to_owned();
        if !identity::identity_matches(&member.object, member.ordinal) {
            let said = self.said("update", &name);
            let update = Write::Update(identity::with_identity(&member.object, member.ordinal));
            let failed = format!("{said} failed error: ");
            let failed = Note::warning(self.set.object(), "FailedUpdate", failed);
            let mut step = Step::default();
            step.write_or(update, failed);
            let said = self.note("SuccessfulUpdate", format!("{said} successful"));
            self.plan.step(step.say(said));
        }
        if !identity::storage_matches(self.set, &member.object) {
            let said = self.said("update", &name);
            let message = format!("{said} failed error: the volumes of a pod cannot be changed");
            self.plan.notes.push(Note::warning(self.set.object(), "FailedUpdate", message));
        }
        self.settle_owners(member, false);
    }

    /// The claims of a pod get the owners that the retention policy wants.
    pub fn settle_owners(&mut self, member: &Member, is_condemned: bool) {
        let claims: Vec<_> =
            claims::stored(self.snapshot, self.set, member.name()).cloned().collect();
        for claim in claims.iter().filter(|claim| self.settled.insert(claim.key().clone())) {
            let pod = Some(&*member.object);
            let (write, note) =
                claims::settle_owner(self.set, claim, member.name(), pod, is_condemned);
            self.plan.write_each(write);
            self.plan.notes.extend(note);
        }
    }

    /// Deletes a pod of which another will take the place: its claims must not go with it, as those
    /// of a pod do that was to go for good when the set was smaller.
    pub fn delete_to_replace(&mut self, member: &Member) {
        self.settle_owners(member, false);
        self.delete(member);
    }

    /// Deletes a pod with its own grace period, after what was to be done for its claims.
    pub fn delete(&mut self, member: &Member) {
        let said = self.said("delete", member.name());
        let mut step = Step { needs_earlier: true, ..Step::default() };
        step.write_or(
            Write::delete(&member.object),
            Note::warning(self.set.object(), "FailedDelete", format!("{said} failed error: ")),
        );
        let said = self.note("SuccessfulDelete", format!("{said} successful"));
        self.plan.step(step.say(said));
    }

    /// Says what is waited for.
    pub fn wait_for(&mut self, member: &Member, state: &str) {
        let key = member.object.key().clone();
        self.because(Because::of(key, format!("{} {state}", member.name())));
    }

    /// The first reason is the one that counts.
    fn because(&mut self, because: Because) {
        self.plan.because.get_or_insert(because);
    }

    pub fn note(&self, reason: &'static str, message: String) -> Note {
        Note::normal(self.set.object(), reason, message)
    }

    fn said(&self, verb: &str, pod: &str) -> String {
        format!("{verb} Pod {pod} in StatefulSet {}", self.set.name)
    }
}
