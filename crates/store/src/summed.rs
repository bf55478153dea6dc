//! The sums of a state, by the table in `coracle_api::sums`: a write adds what the new version of its
//! object counts and takes what the old one did.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use coracle_api::pod_resources::Amounts;
use coracle_api::quantity::Format;
use coracle_api::quota::{Bounds, Scopes};
use coracle_api::sums::{self, Group};
use coracle_api::{Object, Quantity};
use imbl::OrdMap;

/// What one object adds.
pub(crate) type Adds = Arc<[(Group, Amounts)]>;

/// Every sum.
#[derive(Clone, Default)]
pub(crate) struct Summed {
    groups: OrdMap<Group, Arc<Totals>>,
}

/// Amounts by resource and by the format they are written in, each with the number of objects that
/// add to it: what nobody adds to is gone, and the order in which objects come does not show.
type Totals = BTreeMap<(String, Format), (Quantity, u32)>;

/// What `object` adds. A version that adds the same shares that of `before`.
pub(crate) fn adds(object: &Object, before: Option<&Adds>) -> Adds {
    let adds = sums::adds(object);
    match before {
        Some(before) if **before == *adds => Arc::clone(before),
        _ => adds.into(),
    }
}

impl Summed {
    /// An object added `old` and adds `new` now.
    pub(crate) fn replace(&mut self, old: Option<&Adds>, new: Option<&Adds>) {
        if let (Some(old), Some(new)) = (old, new)
            && Arc::ptr_eq(old, new)
        {
            return;
        }
        for (group, amounts) in old.into_iter().flat_map(|adds| adds.iter()) {
            self.change(group, |totals| take(totals, amounts));
        }
        for (group, amounts) in new.into_iter().flat_map(|adds| adds.iter()) {
            self.change(group, |totals| put(totals, amounts));
        }
    }

    fn change(&mut self, group: &Group, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.groups.remove(group).unwrap_or_default();
        change(Arc::make_mut(&mut totals));
        if !totals.is_empty() {
            self.groups.insert(group.clone(), totals);
        }
    }

    /// What the objects of `group` add up to.
    fn of(&self, group: &Group) -> Amounts {
        self.groups.get(group).map(|totals| merged(totals)).unwrap_or_default()
    }

    /// What the pods of `node` whose priority is below `priority` (`None`: all of them) add up to, by
    /// priority.
    pub(crate) fn by_priority(&self, node: &str, priority: Option<i32>) -> Vec<(i32, Amounts)> {
        let group = |priority| Group::Node { name: node.to_owned(), priority };
        let end = match priority {
            Some(priority) => Bound::Excluded(group(priority)),
            None => Bound::Included(group(i32::MAX)),
        };
        let all = self.groups.range((Bound::Included(group(i32::MIN)), end));
        let ranked = all.filter_map(|(group, totals)| match group {
            Group::Node { priority, .. } => Some((*priority, merged(totals))),
            Group::Use { .. } => None,
        });
        ranked.collect()
    }

    /// What is taken now of each resource that `bounds` of a quota in `namespace` bound.
    pub(crate) fn used(&self, namespace: &str, bounds: &Bounds) -> Amounts {
        let first = Group::Use {
            namespace: namespace.to_owned(),
            resource: String::new(),
            scopes: Scopes::default(),
        };
        let all = self.groups.range((Bound::Included(first), Bound::Unbounded));
        let own = all.map_while(|(group, totals)| match group {
            Group::Use { namespace: of, scopes, .. } if of == namespace => Some((scopes, totals)),
            _ => None,
        });
        bounds.used(own.map(|(scopes, totals)| (scopes, merged(totals))))
    }

    /// A group whose sums are not the same in the two.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let groups = self.groups.keys().chain(other.groups.keys());
        let differs = |group: &&Group| self.groups.get(*group) != other.groups.get(*group);
        let group = groups.into_iter().find(differs)?;
        let (right, wrong) = (self.of(group), other.of(group));
        Some(format!("{group:?} is {right:?} and not {wrong:?}"))
    }
}

fn put(totals: &mut Totals, amounts: &Amounts) {
    for (name, amount) in amounts {
        let (sum, count) =
            totals.entry((name.clone(), amount.format())).or_insert((Quantity::ZERO, 0));
        (*sum, *count) = (sum.plus(*amount), count.saturating_add(1));
    }
}

fn take(totals: &mut Totals, amounts: &Amounts) {
    for (name, amount) in amounts {
        let at = (name.clone(), amount.format());
        if let Some((sum, count)) = totals.get_mut(&at) {
            (*sum, *count) = (sum.plus(amount.negated()), count.saturating_sub(1));
            if *count == 0 {
                totals.remove(&at);
            }
        }
    }
}

fn merged(totals: &Totals) -> Amounts {
    let mut amounts = Amounts::new();
    for ((name, _), (sum, _)) in totals {
        let all = amounts.get(name).map_or(*sum, |other: &Quantity| other.plus(*sum));
        amounts.insert(name.clone(), all);
    }
    amounts
}

/// The resource of which `new` takes more than `old` did and than `bounds` allow, `used` being taken
/// by all with `old`.
pub(crate) fn exceeded(bounds: &Bounds, old: Option<&Adds>, new: &Adds, used: &Amounts) -> bool {
    let taken = |adds: &[(Group, Amounts)], name: &String| {
        let covered = adds.iter().filter_map(|(group, amounts)| match group {
            Group::Use { scopes, .. } if bounds.covers(scopes) => amounts.get(name),
            _ => None,
        });
        covered.fold(Quantity::ZERO, |sum, amount| sum.plus(*amount))
    };
    bounds.hard.iter().any(|(name, hard)| {
        let before = old.map_or(Quantity::ZERO, |old| taken(old, name));
        let more = taken(new, name).plus(before.negated());
        let all = used.get(name).map_or(more, |used| used.plus(more));
        more.signum() > 0 && all > *hard
    })
}
