//! The table of a cluster that changes: what each pod, namespace and policy says is remembered, so
//! that a change of one changes the elements that are about it and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::classes::{Class, ClassKey, PolicyKey};
use super::facts::{Fact, FactId, Facts, Labels, Namespaces, PolicyPod};
use super::numbered::{Numbered, Relation};
use super::policy::{Direction, Policy};
use super::table::{EVERYONE, PolicyTable};

/// All that is true of a pod, as far as rules need it; of a port's name, which number it is.
type Truths = BTreeMap<FactId, u16>;

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];
/// The DNS of the cluster, among the UIDs of pods.
const DNS: &str = "";

/// The table of policies, kept up to date part by part.
#[derive(Debug, Default)]
pub struct PolicyFold {
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<Arc<str>, Known>,
    by_namespace: BTreeSet<(String, Arc<str>)>,
    by_address: BTreeMap<Ipv4Addr, Arc<str>>,
    policies: BTreeMap<Arc<PolicyKey>, Policy>,
    facts: Facts,
    identities: Numbered<Truths>,
    identities_by_fact: Relation,
    classes: Numbered<ClassKey>,
    classes_by_fact: Relation,
    table: PolicyTable,
}

/// A pod, and what has been made of it.
#[derive(Debug)]
struct Known {
    pod: Arc<PolicyPod>,
    selected_by: BTreeSet<Arc<PolicyKey>>,
    /// `None` when rules do not tell it from others.
    identity: Option<u32>,
    ingress: Option<u32>,
    egress: Option<u32>,
}

impl Known {
    fn class(&mut self, direction: Direction) -> &mut Option<u32> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

impl PolicyFold {
    /// A cluster without pods and policies, whose DNS has this address.
    #[must_use]
    pub fn new(dns: Ipv4Addr) -> Self {
        let mut fold = Self::default();
        fold.set_pod(DNS, Some(PolicyPod::dns(dns)));
        fold
    }

    /// What the kernel must be told now.
    #[must_use]
    pub fn table(&self) -> &PolicyTable {
        &self.table
    }

    /// The namespace has these labels now (`None`: it is gone).
    pub fn set_namespace(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) {
        if self.namespaces.get(name) == labels {
            return;
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels.clone())),
            None => drop(self.namespaces.remove(name)),
        }
        for uid in self.pods_in(name) {
            self.identify(&uid);
        }
    }

    /// The pod with this UID is `pod` now (`None`: policies are not about it any more).
    pub fn set_pod(&mut self, uid: &str, pod: Option<PolicyPod>) {
        let known = self.pods.get(uid).map(|known| &*known.pod);
        if known == pod.as_ref() {
            return;
        }
        let moved = |pod: &PolicyPod| {
            known.is_some_and(|it| (it.ip, &it.namespace) != (pod.ip, &pod.namespace))
        };
        if pod.as_ref().is_none_or(moved) {
            self.remove_pod(uid);
        }
        let Some(pod) = pod.map(Arc::new) else { return };
        let uid: Arc<str> = uid.into();
        if let Some(former) = self.by_address.insert(pod.ip, Arc::clone(&uid))
            && former != uid
        {
            // An address is a pod's alone: it has been given on.
            self.remove_pod(&former);
            self.by_address.insert(pod.ip, Arc::clone(&uid));
        }
        self.by_namespace.insert((pod.namespace.clone(), Arc::clone(&uid)));
        let selected_by = self.policies_on(&pod);
        match self.pods.get_mut(&uid) {
            Some(known) => (known.pod, known.selected_by) = (pod, selected_by),
            None => {
                let (identity, ingress, egress) = (None, None, None);
                let known = Known { pod, selected_by, identity, ingress, egress };
                self.pods.insert(Arc::clone(&uid), known);
            }
        }
        self.identify(&uid);
        self.classify(&uid);
    }

    /// The policy `name` is now `policy` (`None`: gone).
    pub fn set_policy(&mut self, (namespace, name): (&str, &str), policy: Option<&NetworkPolicy>) {
        let key = Arc::new((namespace.to_owned(), name.to_owned()));
        let mut fresh = Vec::new();
        let new = policy.map(|policy| {
            Policy::read(policy, &mut |fact| {
                let (id, is_new) = self.facts.need(fact);
                fresh.extend(is_new.then_some(id));
                id
            })
        });
        fresh.into_iter().for_each(|fact| self.learn(fact));
        let old = match new {
            Some(new) => self.policies.insert(Arc::clone(&key), new),
            None => self.policies.remove(&key),
        };
        self.select(&key);
        for fact in old.map(|old| old.needs).unwrap_or_default() {
            if self.facts.let_go(fact) {
                self.forget(fact);
            }
        }
    }

    /// The policy has changed, is new or gone: looks anew at the pods that it selects or selected, and
    /// at their classes.
    fn select(&mut self, key: &Arc<PolicyKey>) {
        let mut classes = BTreeSet::new();
        for uid in self.pods_in(&key.0) {
            let policy = self.policies.get(key);
            let Some(known) = self.pods.get_mut(&uid) else { continue };
            let selects =
                |policy: &Policy| known.pod.is_selectable && policy.pods.matches(&known.pod.labels);
            let was = known.selected_by.remove(key);
            if policy.is_some_and(selects) {
                known.selected_by.insert(Arc::clone(key));
            } else if !was {
                continue;
            }
            self.classify(&uid);
            let known = &self.pods[&uid];
            classes.extend(known.ingress.iter().chain(&known.egress));
        }
        let has_it = |id: &u32| self.classes.get(*id).is_some_and(|it| it.policies.contains(key));
        classes.retain(has_it);
        classes.into_iter().for_each(|id| self.refresh_class(id));
    }

    fn pods_in(&self, namespace: &str) -> Vec<Arc<str>> {
        let first = (namespace.to_owned(), Arc::from(""));
        let there = self.by_namespace.range(first..).take_while(|(it, _)| it == namespace);
        there.map(|(_, uid)| Arc::clone(uid)).collect()
    }

    fn policies_on(&self, pod: &PolicyPod) -> BTreeSet<Arc<PolicyKey>> {
        let first = Arc::new((pod.namespace.clone(), String::new()));
        let there = self.policies.range(first..).take_while(|(key, _)| key.0 == pod.namespace);
        let on = there.filter(|(_, policy)| pod.is_selectable && policy.pods.matches(&pod.labels));
        on.map(|(key, _)| Arc::clone(key)).collect()
    }

    fn remove_pod(&mut self, uid: &str) {
        let Some(mut known) = self.pods.remove(uid) else { return };
        let (ip, namespace) = (known.pod.ip, known.pod.namespace.clone());
        self.by_namespace.remove(&(namespace, Arc::from(uid)));
        self.by_address.remove(&ip);
        self.table.identities.remove(&ip);
        if let Some(id) = known.identity
            && self.identities.leave(id, uid)
        {
            self.retire_identity(id);
        }
        for direction in DIRECTIONS {
            self.table.isolated(direction).remove(&ip);
            if let Some(id) = known.class(direction).take()
                && self.classes.leave(id, uid)
            {
                self.retire_class(id);
            }
        }
    }

    /// Works out the pod's identity.
    fn identify(&mut self, uid: &Arc<str>) {
        let Some(known) = self.pods.get(uid) else { return };
        let pod = Arc::clone(&known.pod);
        let truths = self.facts.of(&pod, self.namespaces.get(&pod.namespace));
        self.set_identity(uid, &truths);
    }

    fn set_identity(&mut self, uid: &Arc<str>, truths: &Truths) {
        let Some(known) = self.pods.get(uid) else { return };
        let (ip, old) = (known.pod.ip, known.identity);
        let new = (!truths.is_empty()).then(|| {
            let (id, is_new) = self.identities.join(truths, uid);
            if is_new {
                self.introduce_identity(id, truths);
            }
            id
        });
        if new == old {
            return;
        }
        if let Some(old) = old
            && self.identities.leave(old, uid)
        {
            self.retire_identity(old);
        }
        match new {
            Some(id) => drop(self.table.identities.insert(ip, id)),
            None => drop(self.table.identities.remove(&ip)),
        }
        if let Some(known) = self.pods.get_mut(uid) {
            known.identity = new;
        }
    }

    fn introduce_identity(&mut self, id: u32, truths: &Truths) {
        self.identities_by_fact.set(id, truths.keys().copied());
        for class in self.classes_by_fact.of(truths.keys().copied()) {
            let allowed = self.class(class).map(|class| class.allows(id, truths));
            self.table.allow(class, id, allowed.unwrap_or_default());
        }
    }

    fn retire_identity(&mut self, id: u32) {
        for class in self.classes_by_fact.of(self.identities_by_fact.facts(id)) {
            self.table.allow(class, id, []);
        }
        self.identities_by_fact.set(id, []);
    }

    /// Works out the pod's classes.
    fn classify(&mut self, uid: &Arc<str>) {
        for direction in DIRECTIONS {
            let Some(known) = self.pods.get(uid) else { return };
            let ip = known.pod.ip;
            let policies =
                known.selected_by.iter().filter_map(|key| self.policies.get_key_value(key));
            let key = ClassKey::of(direction, policies, &known.pod);
            let new = key.map(|key| self.classes.join(&key, uid));
            if let Some((id, true)) = new {
                self.refresh_class(id);
            }
            let new = new.map(|(id, _)| id);
            let old = self
                .pods
                .get_mut(uid)
                .and_then(|known| std::mem::replace(known.class(direction), new));
            if new == old {
                continue;
            }
            if let Some(old) = old
                && self.classes.leave(old, uid)
            {
                self.retire_class(old);
            }
            let isolated = self.table.isolated(direction);
            match new {
                Some(id) => drop(isolated.insert(ip, id)),
                None => drop(isolated.remove(&ip)),
            }
        }
    }

    fn class(&self, id: u32) -> Option<Class<'_>> {
        let key = self.classes.get(id)?;
        let side = |name| self.policies.get(name).and_then(|policy| policy.side(key.direction));
        let sides = key.policies.iter().filter_map(side).map(|side| &**side).collect();
        Some(Class { id, key, sides })
    }

    /// Works out what the class allows.
    fn refresh_class(&mut self, id: u32) {
        let Some(class) = self.class(id) else { return };
        let facts = class.facts();
        let (blocks, everyone) = (class.blocks(), class.allows_everyone());
        let peers = self.identities_by_fact.of(facts.iter().copied());
        let allows = |peer: u32| Some((peer, class.allows(peer, self.identities.get(peer)?)));
        let mut allowed: BTreeMap<_, _> = peers.into_iter().filter_map(allows).collect();
        allowed.insert(EVERYONE, everyone);
        for former in self.table.identities_of(id) {
            allowed.entry(former).or_default();
        }
        self.table.allow_blocks(id, &blocks);
        for (peer, allowed) in allowed {
            self.table.allow(id, peer, allowed);
        }
        self.classes_by_fact.set(id, facts);
    }

    fn retire_class(&mut self, id: u32) {
        self.table.allow_blocks(id, &BTreeSet::new());
        for peer in self.table.identities_of(id) {
            self.table.allow(id, peer, []);
        }
        self.classes_by_fact.set(id, []);
    }

    /// A rule needs a fact that none did: pods of one identity about which it is not equally true are
    /// told apart from now on.
    fn learn(&mut self, fact: FactId) {
        let mut groups: BTreeMap<(Option<u32>, u16), Vec<Arc<str>>> = BTreeMap::new();
        for uid in self.pods_that_may(fact) {
            let Some(known) = self.pods.get(&uid) else { continue };
            let Some(said) = self.facts.get(fact) else { return };
            if let Some(value) = said.holds(&known.pod, self.namespaces.get(&known.pod.namespace)) {
                groups.entry((known.identity, value)).or_default().push(uid);
            }
        }
        for ((identity, value), group) in groups {
            let mut truths =
                identity.and_then(|id| self.identities.get(id).cloned()).unwrap_or_default();
            truths.insert(fact, value);
            let all = identity.filter(|id| self.identities.members(*id).count() == group.len());
            if let Some(id) = all
                && self.identities.rename(id, &truths)
            {
                self.identities_by_fact.set(id, truths.into_keys());
            } else {
                group.iter().for_each(|uid| self.set_identity(uid, &truths));
            }
        }
    }

    fn pods_that_may(&self, fact: FactId) -> Vec<Arc<str>> {
        match self.facts.get(fact) {
            Some(Fact::Selected { namespaces: Namespaces::One(name), .. }) => self.pods_in(name),
            _ => self.pods.keys().cloned().collect(),
        }
    }

    /// No rule needs the fact any more: pods that only it told apart are alike from now on.
    fn forget(&mut self, fact: FactId) {
        for id in self.identities_by_fact.of([fact]) {
            let Some(mut truths) = self.identities.get(id).cloned() else { continue };
            truths.remove(&fact);
            if !truths.is_empty() && self.identities.rename(id, &truths) {
                self.identities_by_fact.set(id, truths.into_keys());
                continue;
            }
            let members: Vec<_> = self.identities.members(id).cloned().collect();
            members.iter().for_each(|uid| self.set_identity(uid, &truths));
        }
    }
}
