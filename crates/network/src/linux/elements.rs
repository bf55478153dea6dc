//! Services as elements of maps: what must be removed and added to get from one map to the next, and
//! from one table of policies to the next. Pure; the rules that read the maps are in `ruleset`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::nft::{Element, Value, Verdict};
use super::policy_elements::{self, port_register, protocol_register};
use crate::PolicyTable;
use crate::services::{Backend, Frontend, ServiceMap, Target};

/// Frontend → the chain that chooses a backend.
pub const SERVICES: &str = "services";
/// Frontend and a backend's number → backend. Numbers are 0, 1, 2, … where clients do not stay,
/// and outlive changes of the other backends where they do.
pub const ENDPOINTS: &str = "endpoints";
/// Where clients stay: frontend and 0, 1, 2, … → a backend's number.
pub const CHOICES: &str = "choices";
/// Client and frontend → the number of the backend it had last; written by rules.
pub const AFFINITY: &str = "affinity";
/// Address pairs whose translated connections need another source: a pod that reaches itself.
pub const HAIRPIN: &str = "hairpin";
/// Frontends that not everybody may use.
pub const RESTRICTED: &str = "restricted";
/// Frontend and the sources that may use it.
pub const ALLOWED: &str = "allowed";

/// A chain that chooses one of `backends` backends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chooser {
    /// How many there are; never 0.
    pub backends: u32,
    /// For how many seconds a client keeps its choice, if at all.
    pub affinity_seconds: Option<u32>,
}

impl Chooser {
    /// The chain's name.
    pub fn chain(&self) -> String {
        match self.affinity_seconds {
            None => format!("one-of-{}", self.backends),
            Some(seconds) => format!("one-of-{}-for-{seconds}s", self.backends),
        }
    }

    fn of(target: &Target) -> Option<Self> {
        let backends = u32::try_from(target.backends.len()).ok().filter(|count| *count > 0)?;
        Some(Self { backends, affinity_seconds: target.affinity_seconds })
    }
}

/// What gets the kernel's maps from one [`ServiceMap`] to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Chains that must exist.
    pub choosers: BTreeSet<Chooser>,
    /// Elements to remove, by map; before anything is added.
    pub remove: BTreeMap<&'static str, Vec<Element>>,
    /// Elements to add, by map.
    pub add: BTreeMap<&'static str, Vec<Element>>,
    /// Backends that frontends lost.
    pub lost: Vec<Lost>,
    /// The frontends concerned, and what they lead to from now on.
    targets: Vec<(Frontend, Option<Target>)>,
    /// How many more frontends lead to a backend's address.
    hairpins: BTreeMap<Ipv4Addr, i64>,
    /// The policies from now on.
    policies: PolicyTable,
}

/// A backend that a frontend lost: what the kernel remembers of clients must go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The frontend.
    pub frontend: Frontend,
    /// The backend.
    pub backend: Backend,
}

impl Change {
    fn put(&mut self, added: bool, map: &'static str, element: Element) {
        let side = if added { &mut self.add } else { &mut self.remove };
        side.entry(map).or_default().push(element);
    }
}

/// What the kernel's maps hold.
#[derive(Debug, Default)]
pub struct Elements {
    map: ServiceMap,
    /// How many frontends lead to a backend's address.
    hairpins: BTreeMap<Ipv4Addr, i64>,
    policies: PolicyTable,
}

impl Elements {
    /// The change that leads to `next` and `policies`. Frontends that stay as they are cost a comparison.
    pub fn change(&self, next: &ServiceMap, policies: &PolicyTable) -> Change {
        let mut change = Change { policies: policies.clone(), ..Change::default() };
        for (added, map, element) in policy_elements::differences(&self.policies, policies) {
            change.put(added, map, element);
        }
        for (frontend, old, new) in differences(&self.map.targets, &next.targets) {
            if let Some(old) = old {
                put_target(&mut change, false, frontend, old);
                count(&mut change.hairpins, old, -1);
                put_lost(&mut change.lost, frontend, old, new);
            }
            if let Some(new) = new {
                put_target(&mut change, true, frontend, new);
                count(&mut change.hairpins, new, 1);
            }
            change.targets.push((frontend, new.cloned()));
        }
        cancel(&mut change);
        for (address, difference) in change.hairpins.clone() {
            let before = self.hairpins.get(&address).copied().unwrap_or_default();
            let pair = member([address.octets(), address.octets()].concat());
            match (before > 0, before + difference > 0) {
                (false, true) => change.put(true, HAIRPIN, pair),
                (true, false) => change.put(false, HAIRPIN, pair),
                _ => {}
            }
        }
        change
    }

    /// Takes note that the kernel carried out `change`.
    pub fn accept(&mut self, change: Change) {
        for (frontend, target) in change.targets {
            match target {
                Some(target) => self.map.targets.insert(frontend, target),
                None => self.map.targets.remove(&frontend),
            };
        }
        for (address, difference) in change.hairpins {
            *self.hairpins.entry(address).or_default() += difference;
        }
        self.hairpins.retain(|_, count| *count > 0);
        self.policies = change.policies;
    }
}

/// Where two sorted maps differ: the key and both values.
fn differences<'a, K: Ord + Copy, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> Vec<(K, Option<&'a V>, Option<&'a V>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let before = old.next_if(|_| order != Ordering::Greater);
        let after = new.next_if(|_| order != Ordering::Less);
        let values = (before.map(|(_, value)| value), after.map(|(_, value)| value));
        if let Some((key, _)) = before.or(after)
            && values.0 != values.1
        {
            found.push((*key, values.0, values.1));
        }
    }
}

/// Elements removed and added alike need not be touched.
fn cancel(change: &mut Change) {
    for (map, removed) in &mut change.remove {
        let Some(added) = change.add.get_mut(map) else { continue };
        let before: BTreeSet<Element> = removed.iter().cloned().collect();
        let after: BTreeSet<Element> = added.iter().cloned().collect();
        removed.retain(|element| !after.contains(element));
        added.retain(|element| !before.contains(element));
    }
    change.remove.retain(|_, elements| !elements.is_empty());
    change.add.retain(|_, elements| !elements.is_empty());
}

fn put_target(change: &mut Change, added: bool, frontend: Frontend, target: &Target) {
    let key = frontend_key(frontend);
    if let Some(chooser) = Chooser::of(target) {
        let verdict = Value::Verdict(Verdict::Goto(chooser.chain()));
        change.put(added, SERVICES, Element { key: key.clone(), key_end: None, value: verdict });
        if added {
            change.choosers.insert(chooser);
        }
    }
    for ((index, number), backend) in numbers(target).into_iter().zip(&target.backends) {
        let numbered = |number: u32| [&key[..], &number.to_ne_bytes()].concat();
        let value = Value::Bytes(backend_bytes(*backend));
        change.put(added, ENDPOINTS, Element { key: numbered(number), key_end: None, value });
        if target.affinity_seconds.is_some() {
            let value = Value::Bytes(number.to_ne_bytes().to_vec());
            change.put(added, CHOICES, Element { key: numbered(index), key_end: None, value });
        }
    }
    if !target.sources.is_empty() {
        change.put(added, RESTRICTED, member(key.clone()));
    }
    for source in merged(&target.sources) {
        let from = [&key[..], &source.network().octets()].concat();
        let to = [&key[..], &source.broadcast().octets()].concat();
        change.put(added, ALLOWED, Element { key: from, key_end: Some(to), value: Value::None });
    }
}

/// Index and number of each backend. Where clients stay, the number is the address, or the next
/// one free where one address serves on several ports.
fn numbers(target: &Target) -> Vec<(u32, u32)> {
    let sticky = target.affinity_seconds.is_some();
    let mut taken = BTreeSet::new();
    let mut number = |index, backend: &Backend| {
        let mut number = if sticky { u32::from(backend.ip) } else { index };
        while !taken.insert(number) {
            number = number.wrapping_add(1);
        }
        (index, number)
    };
    (0..).zip(&target.backends).map(|(index, backend)| number(index, backend)).collect()
}

/// Without networks that lie within others: a set of ranges takes no overlap.
fn merged(sources: &[ipnet::Ipv4Net]) -> Vec<ipnet::Ipv4Net> {
    ipnet::Ipv4Net::aggregate(&sources.to_vec())
}

fn count(hairpins: &mut BTreeMap<Ipv4Addr, i64>, target: &Target, difference: i64) {
    let addresses: BTreeSet<Ipv4Addr> = target.backends.iter().map(|backend| backend.ip).collect();
    for address in addresses {
        *hairpins.entry(address).or_default() += difference;
    }
}

fn put_lost(lost: &mut Vec<Lost>, frontend: Frontend, old: &Target, new: Option<&Target>) {
    let now = new.map_or(&[][..], |target| &target.backends);
    let gone = old.backends.iter().filter(|backend| !now.contains(backend));
    lost.extend(gone.map(|backend| Lost { frontend, backend: *backend }));
}

fn member(key: Vec<u8>) -> Element {
    Element { key, key_end: None, value: Value::None }
}

/// Protocol, address, port: a register each, as the rules load them.
fn frontend_key(frontend: Frontend) -> Vec<u8> {
    let mut key = protocol_register(frontend.protocol.number()).to_vec();
    key.extend(frontend.ip.octets());
    key.extend(port_register(frontend.port));
    key
}

/// Address, port: a register each.
fn backend_bytes(backend: Backend) -> Vec<u8> {
    let mut bytes = backend.ip.octets().to_vec();
    bytes.extend(port_register(backend.port));
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::services::Protocol;

    fn frontend(last: u8, protocol: Protocol) -> Frontend {
        Frontend { ip: Ipv4Addr::new(10, 96, 0, last), port: 80, protocol }
    }

    fn backend(last: u8) -> Backend {
        Backend { ip: Ipv4Addr::new(10, 244, 0, last), port: 8080 }
    }

    fn target(backends: &[u8]) -> Target {
        let backends = backends.iter().map(|last| backend(*last)).collect();
        Target { backends, affinity_seconds: None, sources: Vec::new() }
    }

    fn map(entries: Vec<(Frontend, Target)>) -> ServiceMap {
        ServiceMap { targets: entries.into_iter().collect() }
    }

    fn holding(map: &ServiceMap) -> Elements {
        let mut elements = Elements::default();
        elements.accept(elements.change(map, &PolicyTable::default()));
        elements
    }

    fn counts(elements: &BTreeMap<&'static str, Vec<Element>>) -> Vec<(&'static str, usize)> {
        elements.iter().map(|(map, elements)| (*map, elements.len())).collect()
    }

    #[test]
    fn a_second_backend_changes_only_what_it_must() {
        let web = frontend(20, Protocol::Tcp);
        let one = map(vec![(web, target(&[1])), (frontend(21, Protocol::Tcp), target(&[7]))]);
        let two = map(vec![(web, target(&[1, 2])), (frontend(21, Protocol::Tcp), target(&[7]))]);
        let change = holding(&one).change(&two, &PolicyTable::default());
        assert_eq!(counts(&change.remove), [(SERVICES, 1)]);
        assert_eq!(counts(&change.add), [(ENDPOINTS, 1), (HAIRPIN, 1), (SERVICES, 1)]);
        let chains: Vec<String> = change.choosers.iter().map(Chooser::chain).collect();
        assert_eq!(chains, ["one-of-2"]);
    }

    #[test]
    fn the_same_map_again_is_no_change() {
        let services = map(vec![(frontend(20, Protocol::Tcp), target(&[1, 2]))]);
        assert_eq!(
            holding(&services).change(&services, &PolicyTable::default()),
            Change::default()
        );
    }

    #[test]
    fn no_backends_is_no_element() {
        let services = map(vec![(frontend(20, Protocol::Tcp), target(&[]))]);
        let change = Elements::default().change(&services, &PolicyTable::default());
        assert!(change.add.is_empty() && change.remove.is_empty());
    }

    #[test]
    fn a_backend_that_went_is_told() {
        let web = frontend(20, Protocol::Udp);
        let held = holding(&map(vec![(web, target(&[1, 2]))]));
        let change = held.change(&map(vec![(web, target(&[2, 3]))]), &PolicyTable::default());
        assert_eq!(change.lost, [Lost { frontend: web, backend: backend(1) }]);
        let change = held.change(&ServiceMap::default(), &PolicyTable::default());
        assert_eq!(change.lost.len(), 2);
    }

    fn any_map() -> impl Strategy<Value = ServiceMap> {
        let any_target = (
            prop::collection::btree_set(1u8..6, 0..4),
            prop::option::of(Just(60u32)),
            prop::bool::ANY,
        );
        let any_target = any_target.prop_map(|(backends, affinity_seconds, guarded)| Target {
            affinity_seconds,
            sources: if guarded { vec!["10.0.0.0/8".parse().unwrap()] } else { Vec::new() },
            ..target(&backends.into_iter().collect::<Vec<_>>())
        });
        prop::collection::btree_map(1u8..6, any_target, 0..5).prop_map(|targets| ServiceMap {
            targets: targets
                .into_iter()
                .map(|(last, target)| (frontend(last, Protocol::Tcp), target))
                .collect(),
        })
    }

    type Maps = BTreeMap<&'static str, BTreeSet<Element>>;

    /// Does to `maps` what the kernel would, and refuses what it would refuse.
    fn carry_out(maps: &mut Maps, change: &Change) {
        for (map, elements) in &change.remove {
            let held = maps.entry(map).or_default();
            assert!(elements.iter().all(|element| held.remove(element)), "removed what was not");
        }
        for (map, elements) in &change.add {
            let held = maps.entry(map).or_default();
            for element in elements {
                assert!(held.iter().all(|other| other.key != element.key), "key is taken");
                held.insert(element.clone());
            }
        }
        maps.retain(|_, held| !held.is_empty());
    }

    proptest! {
        #[test]
        fn steps_lead_where_a_fresh_start_leads(steps in prop::collection::vec(any_map(), 1..6)) {
            let mut held = Elements::default();
            let mut maps = Maps::new();
            for step in &steps {
                let change = held.change(step, &PolicyTable::default());
                carry_out(&mut maps, &change);
                held.accept(change);
            }
            let mut fresh = Maps::new();
            carry_out(&mut fresh, &Elements::default().change(&steps[steps.len() - 1], &PolicyTable::default()));
            prop_assert_eq!(maps, fresh);
        }
    }
}
