//! What is offered to clients: our own kinds and those of other API servers, in the order that
//! APIServices give to groups and versions.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::kinds::{Kinds, Version, by_maturity};

/// A group that is offered.
#[derive(Debug)]
pub struct OfferedGroup<'a> {
    /// `apps`; empty for core.
    pub name: &'a str,
    /// The preferred one first.
    pub versions: Vec<OfferedVersion<'a>>,
}

/// A version of a group that is offered.
#[derive(Debug)]
pub struct OfferedVersion<'a> {
    /// `v1`
    pub name: &'a str,
    /// Who has its objects.
    pub origin: Origin<'a>,
}

/// Who has the objects of a version.
#[derive(Debug)]
pub enum Origin<'a> {
    /// We do.
    Own(&'a Version),
    /// Another server; nothing is known of it before it has answered for the first time.
    Other(Option<&'a Remote>),
}

/// What another API server has said of a version that it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// Its kinds, in the aggregated form of discovery (`APIResourceDiscovery`).
    pub resources: Vec<Value>,
    /// Whether it says so still, as far as is known.
    pub is_current: bool,
    /// Where its OpenAPI documents are: `apis/example.com/v1` to a URL, as its own index has it.
    pub documents: BTreeMap<String, Value>,
    /// Its OpenAPI v2 document, no more of it than this version needs.
    pub swagger: Option<Arc<Value>>,
}

/// An APIService, as far as the order goes.
struct Registered<'a> {
    name: &'a str,
    group: &'a str,
    version: &'a str,
    group_priority: i64,
    version_priority: i64,
    is_other: bool,
}

impl<'a> Registered<'a> {
    fn of(service: &'a Value) -> Option<Self> {
        let spec = &service["spec"];
        Some(Self {
            name: service["metadata"]["name"].as_str()?,
            group: spec["group"].as_str().unwrap_or_default(),
            version: spec["version"].as_str()?,
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
            is_other: spec["service"].is_object(),
        })
    }
}

/// The group that comes first, and that nobody else can have: whoever registers a wrong server must be
/// able to take it back.
pub const REGISTRATION: &str = "apiregistration.k8s.io";

/// All that is offered: `services` are the APIServices, `remotes` what is known of those that are
/// elsewhere, by the APIService's name. What nobody registered comes last.
#[must_use]
pub fn offer<'a>(
    kinds: &'a Kinds,
    services: impl Iterator<Item = &'a Value>,
    remotes: &'a BTreeMap<String, Arc<Remote>>,
) -> Vec<OfferedGroup<'a>> {
    let services: Vec<Registered<'a>> = services.filter_map(Registered::of).collect();
    let mut groups: Vec<OfferedGroup<'a>> = kinds.groups().iter().map(own).collect();
    for service in services.iter().filter(|it| it.is_other && it.group != REGISTRATION) {
        let at = groups.iter().position(|group| group.name == service.group);
        let at = at.unwrap_or_else(|| {
            groups.push(OfferedGroup { name: service.group, versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        versions.retain(|version| version.name != service.version);
        let origin = Origin::Other(remotes.get(service.name).map(AsRef::as_ref));
        versions.push(OfferedVersion { name: service.version, origin });
    }
    sort(&mut groups, &services);
    groups
}

fn own<'a>(group: &'a crate::kinds::Group) -> OfferedGroup<'a> {
    let versions = group.versions.iter();
    let versions = versions.map(|it| OfferedVersion { name: &it.name, origin: Origin::Own(it) });
    OfferedGroup { name: &group.name, versions: versions.collect() }
}

/// Groups by the highest priority that one of their versions asks for, then by the name of that
/// APIService; versions by their own, then by maturity.
fn sort(groups: &mut [OfferedGroup<'_>], services: &[Registered<'_>]) {
    let mut places: BTreeMap<&str, (Reverse<i64>, &str)> = BTreeMap::new();
    let mut priorities: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for service in services {
        let place = (Reverse(service.group_priority), service.name);
        places.entry(service.group).and_modify(|known| *known = place.min(*known)).or_insert(place);
        priorities.insert((service.group, service.version), service.version_priority);
    }
    for group in groups.iter_mut() {
        let priority = |version: &str| priorities.get(&(group.name, version)).copied();
        group.versions.sort_by(|a, b| match (priority(a.name), priority(b.name)) {
            (Some(a_has), Some(b_has)) => {
                b_has.cmp(&a_has).then_with(|| by_maturity(a.name, b.name))
            }
            (a_has, b_has) => b_has.is_some().cmp(&a_has.is_some()),
        });
    }
    groups.sort_by_key(|group| {
        let place = places.get(group.name).copied().unwrap_or((Reverse(0), ""));
        (group.name != REGISTRATION, place)
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(group: &str, version: &str, priorities: (i64, i64), other: bool) -> Value {
        let service = other.then(|| json!({"name": "server", "namespace": "shop"}));
        json!({
            "metadata": {"name": format!("{version}.{group}")},
            "spec": {"group": group, "version": version, "service": service,
                "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1},
        })
    }

    #[test]
    fn groups_and_versions_come_by_priority() {
        let kinds = Kinds::builtin();
        let services = [
            service("", "v1", (18_000, 1), false),
            service("apps", "v1", (17_800, 15), false),
            service("autoscaling", "v1", (17_500, 15), false),
            service("autoscaling", "v2", (17_500, 30), false),
            service("zoo.example.com", "v1", (1000, 100), true),
            service("zoo.example.com", "v1alpha1", (2000, 200), true),
            service("zoo.example.com", "v1beta1", (2000, 200), true),
            service("animals.example.com", "v1", (2000, 100), true),
            service("apiregistration.k8s.io", "v1", (1, 1), true),
        ];
        let remotes = BTreeMap::new();
        let offered = offer(&kinds, services.iter(), &remotes);
        let names: Vec<_> = offered.iter().map(|group| group.name).collect();
        let first = ["apiregistration.k8s.io", "", "apps", "autoscaling", "animals.example.com"];
        assert_eq!(names[..5], first);
        assert_eq!(names[5], "zoo.example.com");
        let versions =
            |at: usize| offered[at].versions.iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(versions(3), ["v2", "v1"]);
        assert_eq!(versions(5), ["v1beta1", "v1alpha1", "v1"]);
        // Whoever registers the registry elsewhere locks nobody out.
        assert!(matches!(offered[0].versions[0].origin, Origin::Own(_)));
        assert_eq!(offered.len(), kinds.groups().len() + 2);
    }

    #[test]
    fn another_server_takes_the_place_of_our_own() {
        let kinds = Kinds::builtin();
        let services = [service("metrics.k8s.io", "v1beta1", (100, 100), true)];
        let remote = Arc::new(Remote { is_current: true, ..Remote::default() });
        let remotes = BTreeMap::from([("v1beta1.metrics.k8s.io".to_owned(), remote)]);
        let offered = offer(&kinds, services.iter(), &remotes);
        let metrics = offered.iter().find(|group| group.name == "metrics.k8s.io").unwrap();
        assert_eq!(metrics.versions.len(), 1);
        assert!(matches!(metrics.versions[0].origin, Origin::Other(Some(it)) if it.is_current));
        let all: Vec<_> = offer(&kinds, [].iter(), &remotes);
        let names = |groups: &[OfferedGroup<'_>]| {
            groups.iter().map(|g| g.name.to_owned()).collect::<Vec<_>>()
        };
        let rows: Vec<_> = kinds.groups().iter().map(|group| group.name.to_string()).collect();
        let mut wanted: Vec<_> =
            rows.iter().filter(|name| **name != REGISTRATION).cloned().collect();
        wanted.insert(0, REGISTRATION.to_owned());
        assert_eq!(names(&all), wanted);
    }
}
