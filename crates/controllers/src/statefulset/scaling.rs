//! Fewer pods, and newer ones: what happens once every wanted pod is there.

use std::ops::ControlFlow::{Break, Continue};

use super::draft::{Draft, Step};
use super::members::Member;
use super::set::Strategy;

impl Draft<'_> {
    /// Takes down pods that are not wanted; in order, one at a time, highest first.
    pub fn condemned(&mut self) -> Step {
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
            let may_go = first_unhealthy.is_none_or(|first| first == member.ordinal);
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
        let is_unavailable =
            |member: &&Member| member.is_unavailable(self.set.min_ready_seconds, self.context.now);
        let wanted = self.members.replicas.iter().filter_map(|(_, member)| member.as_ref());
        let condemned = self.members.condemned.iter().rev();
        wanted.chain(condemned).find(is_unavailable)
    }

    /// Replaces pods of older templates, one at a time, highest first.
    pub fn update(&mut self) {
        let Strategy::Rolling { partition } = self.set.strategy else { return };
        let partition = usize::try_from(partition.unwrap_or(0)).unwrap_or_default();
        let members = self.members;
        for (_, member) in members.replicas.iter().skip(partition).rev() {
            // Created in this very plan.
            let Some(member) = member else { return };
            if member.revision() != self.revisions.update.name && !member.is_terminating() {
                self.delete(member);
                self.status.forget(member);
                return self.wait_for(member, "is being replaced by a newer one");
            }
            if member.is_unavailable(self.set.min_ready_seconds, self.context.now) {
                return self.wait_for(member, "is not ready");
            }
        }
    }
}
