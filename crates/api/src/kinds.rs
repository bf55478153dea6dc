//! The table of kinds: all that the server serves, in upstream's order.
//!
//! What is compiled in is one row a kind, in a file a group under `kinds/builtin`; a
//! CustomResourceDefinition appends rows of the same type with [`Kinds::with`]. A table never
//! changes: whoever serves a new one swaps the pointer.

mod builtin;
pub mod computed;
pub mod custom;
pub mod discovery;
pub mod kind;
mod measured;
pub mod offered;
pub mod resources;
pub mod rules;

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use crate::gates::Gates;
use crate::kind::{Kind, Text};

/// All kinds, by group and version in order of priority.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    groups: Vec<Group>,
    stored: HashMap<Box<str>, Arc<Kind>>,
}

/// An API group.
#[derive(Clone, Debug)]
pub struct Group {
    /// `apps`; empty for core.
    pub name: Text,
    /// The preferred one first.
    pub versions: Vec<Version>,
}

/// A version of a group.
#[derive(Clone, Debug)]
pub struct Version {
    /// `v1`.
    pub name: Text,
    /// By plural, in ascending order.
    pub kinds: Vec<Arc<Kind>>,
}

impl Kinds {
    /// The kinds that are compiled in: those that Kubernetes 1.37 serves by default.
    #[must_use]
    pub fn builtin() -> Self {
        let mut kinds = Self::default();
        builtin::rows().into_iter().for_each(|row| kinds.add(row));
        kinds.sort_rows();
        kinds.index();
        kinds
    }

    /// The kinds that are compiled in, with what these gates have switched on.
    #[must_use]
    pub fn gated(gates: &Gates) -> Self {
        Self::builtin().with(builtin::gated(gates))
    }

    /// The same table with more rows. New groups come last, by name; their versions by maturity
    /// (v2 before v1 before v1beta1). A row with the group, version and plural of one that is there
    /// replaces it.
    #[must_use]
    pub fn with(&self, rows: impl IntoIterator<Item = Kind>) -> Self {
        let mut kinds = self.clone();
        let before = kinds.groups.len();
        rows.into_iter().for_each(|row| kinds.add(row));
        kinds.sort_rows();
        for group in &mut kinds.groups[before..] {
            group.versions.sort_by(|a, b| by_maturity(&a.name, &b.name));
        }
        kinds.groups[before..].sort_by(|a, b| a.name.cmp(&b.name));
        kinds.index();
        kinds
    }

    /// The same table that also knows how to keep objects that no row shows: those of definitions
    /// whose storage version is not served.
    #[must_use]
    pub fn keeping(mut self, rows: impl IntoIterator<Item = Kind>) -> Self {
        for row in rows {
            self.stored.insert(row.storage_resource().into(), Arc::new(row));
        }
        self
    }

    /// Every group, in order of priority; core is the first.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group called `name`.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The kinds of `group` in `version`.
    #[must_use]
    pub fn version(&self, group: &str, version: &str) -> Option<&Version> {
        self.group(group)?.versions.iter().find(|known| known.name == version)
    }

    /// Every row, in the order of groups, versions and plurals.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        let versions = self.groups.iter().flat_map(|group| &group.versions);
        versions.flat_map(|version| &version.kinds)
    }

    /// The row with a plural: `("apps", "v1", "statefulsets")`.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.version(group, version)?.kinds.iter().find(|kind| kind.plural == plural)
    }

    /// The row of a kind: `("apps", "v1", "StatefulSet")`.
    #[must_use]
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.version(group, version)?.kinds.iter().find(|known| known.kind == kind)
    }

    /// The row of a kind as an object names it: `("apps/v1", "StatefulSet")`.
    #[must_use]
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let (group, version) = split_api_version(api_version);
        self.kind(group, version, kind)
    }

    /// The row in whose form objects are stored under a GroupResource (`statefulsets.apps`, the
    /// `resource` of a [`Key`](crate::Key)).
    #[must_use]
    pub fn stored(&self, resource: &str) -> Option<&Arc<Kind>> {
        self.stored.get(resource)
    }

    /// The rows in whose form objects are stored, in no order.
    pub fn all_stored(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.stored.values()
    }

    fn add(&mut self, kind: Kind) {
        let group = match self.groups.iter().position(|group| group.name == kind.group) {
            Some(at) => &mut self.groups[at],
            None => {
                self.groups.push(Group { name: kind.group.clone(), versions: Vec::new() });
                let last = self.groups.len() - 1;
                &mut self.groups[last]
            }
        };
        let version = match group.versions.iter().position(|version| version.name == kind.version) {
            Some(at) => &mut group.versions[at],
            None => {
                group.versions.push(Version { name: kind.version.clone(), kinds: Vec::new() });
                let last = group.versions.len() - 1;
                &mut group.versions[last]
            }
        };
        version.kinds.retain(|known| known.plural != kind.plural);
        version.kinds.push(Arc::new(kind));
    }

    fn sort_rows(&mut self) {
        for version in self.groups.iter_mut().flat_map(|group| &mut group.versions) {
            version.kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
        }
    }

    fn index(&mut self) {
        let storing = |kind: &&Arc<Kind>| {
            kind.is_stored() && kind.storage_api_version() == kind.api_version()
        };
        let rows = self.iter().filter(storing).map(|kind| (kind.storage_resource().into(), kind));
        self.stored = rows.map(|(resource, kind)| (resource, Arc::clone(kind))).collect();
    }
}

/// `("apps", "v1")` of `apps/v1`; the group is empty in `v1`.
#[must_use]
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}

/// Upstream's order of versions: generally available ones first, then beta, then alpha, each from
/// the highest; then whatever is no Kubernetes version, by name.
#[must_use]
pub fn by_maturity(a: &str, b: &str) -> Ordering {
    match (maturity(a), maturity(b)) {
        (Some(a), Some(b)) => Reverse(a).cmp(&Reverse(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// `v1beta2` as (1, 1, 2): stage (alpha 0, beta 1, general 2), major, minor.
fn maturity(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    for (stage, word) in [(0, "alpha"), (1, "beta")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stage, major.parse().ok()?, minor.parse().ok()?));
        }
    }
    Some((2, rest.parse().ok()?, 0))
}

/// Names of a row.
fn texts(names: &'static [&'static str]) -> Cow<'static, [Text]> {
    names.iter().copied().map(Text::Borrowed).collect()
}

#[cfg(test)]
mod tests;
