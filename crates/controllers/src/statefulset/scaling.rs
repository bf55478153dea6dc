//! Fewer pods, and newer ones: what happens once every wanted pod is there.

use std::ops::ControlFlow::{Break, Continue};

use super::draft::{Draft, Walk};
use super::members::Member;
use super::set::Strategy;

impl Draft<'_> {
    /// Takes down pods that are not wanted; in order, one at a time, highest first.
    ///
    /// One that is not ready waits for an earlier one that is not either, as upstream; but not when
    /// no node has it. Nothing of it can be lost, and if its claim is gone or there is no room, it
    /// and the earlier one would wait for ever.
    pub fn condemned(&mut self) -> Walk {
        let members = self.members;
        for member in &members.condemned {
            self.settle_owners(member, true);
        }
        let first_unhealthy = self.first_unhealthy().map(|first| first.ordinal);
        for member in &members.condemned {
            if member.is_terminating() {
                self.wait_for(member, "is terminating");
                if self.set.ordered {
                    return Break(());
                }
                continue;
            }
            let may_go = first_unhealthy.is_none_or(|first| first == member.ordinal)
                || member.is_unscheduled();
            if self.set.ordered && self.is_unhealthy(member) && !may_go {
                self.wait_for(member, "is not ready, and an earlier pod is not either");
                return Break(());
            }
            self.delete(member);
            self.wait_for(member, "is being deleted");
            if self.set.ordered {
                return Break(());
            }
        }
        Continue(())
    }

    fn is_unhealthy(&self, member: &Member) -> bool {
        !member.is_running_and_ready()
            || !member.is_available(self.set.min_ready_seconds, self.context.now)
    }

    /// The first pod, by ordinal, that is not available. Only condemned ones are asked: that all
    /// others are was seen before, or does not matter.
    fn first_unhealthy(&self) -> Option<&Member> {
        let wanted = self.members.replicas.values();
        let condemned = self.members.condemned.iter().rev();
        wanted.chain(condemned).find(|member| self.is_unavailable(member))
    }

    /// Replaces pods of older templates, highest first: one at a time, or as many as the set allows
    /// to be unavailable.
    pub fn update(&mut self) {
        let Strategy::Rolling { partition, max_unavailable } = self.set.strategy else { return };
        let first = self.set.start.saturating_add(partition.unwrap_or(0));
        match max_unavailable {
            None => self.update_one(first),
            Some(most) => self.update_several(first, i64::from(most)),
        }
    }

    fn update_one(&mut self, first: i32) {
        let members = self.members;
        if self.set.unhealthy_first && self.update_unhealthy(first).is_break() {
            return;
        }
        for ordinal in self.set.ordinals().rev().take_while(|ordinal| *ordinal >= first) {
            // Created in this very plan, or still to come.
            let Some(member) = members.replicas.get(&ordinal) else { return };
            if self.is_outdated(member) {
                return self.replace(member);
            }
            if self.is_unavailable(member) {
                return self.wait_for(member, "is not ready");
            }
        }
    }

    /// What serves nobody goes first; what serves waits until every pod does.
    fn update_unhealthy(&mut self, first: i32) -> Walk {
        let members = self.members;
        let unwell = |member: &&Member| self.is_unavailable(member);
        let mut outdated = members.replicas.range(first..).rev().map(|(_, member)| member);
        if let Some(member) = outdated.find(|it| self.is_outdated(it) && unwell(it)) {
            self.replace_unhealthy(member);
            return Break(());
        }
        let Some(member) = members.replicas.values().rev().find(unwell) else {
            return Continue(());
        };
        self.wait_for(member, "is not ready");
        Break(())
    }

    /// As upstream's 1.37 with `maxUnavailable`. With `Parallel` an outdated pod that serves nobody
    /// takes nothing from what may be unavailable: all of those are replaced first.
    fn update_several(&mut self, first: i32, most: i64) {
        let members = self.members;
        let there = i64::try_from(members.replicas.len()).unwrap_or(i64::MAX);
        let missing = i64::from(self.set.replicas).saturating_sub(there);
        let broken = members.replicas.values().filter(|member| self.is_unavailable(member));
        let broken = broken.fold(missing, |n, _| n.saturating_add(1));
        let outdated: Vec<&Member> = members
            .replicas
            .range(first..)
            .rev()
            .map(|(_, member)| member)
            .filter(|member| self.is_outdated(member))
            .collect();
        let mut left = most.saturating_sub(broken);
        let is_futile = |it: &&Member| !self.set.ordered && self.is_unavailable(it);
        let (futile, serving): (Vec<_>, Vec<_>) = outdated.into_iter().partition(is_futile);
        futile.into_iter().for_each(|member| self.replace(member));
        for member in serving {
            if left <= 0 {
                break;
            }
            left -= 1;
            self.replace(member);
        }
        let waits = members.replicas.range(first..).rev().find(|(_, it)| self.is_unavailable(it));
        if let Some((_, member)) = waits {
            self.wait_for(member, "is not ready");
        }
    }

    fn is_outdated(&self, member: &Member) -> bool {
        member.revision() != self.revisions.update.name && !member.is_terminating()
    }

    fn is_unavailable(&self, member: &Member) -> bool {
        member.is_unavailable(self.set.min_ready_seconds, self.context.now)
    }

    fn replace(&mut self, member: &Member) {
        self.delete_to_replace(member);
        self.status.forget(member);
        self.wait_for(member, "is being replaced by a newer one");
    }
}
