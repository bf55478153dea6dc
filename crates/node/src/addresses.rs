//! Which pod has which address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Mutex;

use coracle_api::addresses;
use ipnet::Ipv4Net;

use crate::lock::locked;

/// The pods' addresses, by UID.
#[derive(Default)]
pub(crate) struct Addresses {
    taken: Mutex<(BTreeMap<String, Ipv4Addr>, Option<Ipv4Addr>)>,
}

impl Addresses {
    /// The pod's address: the one it has, or the next free one.
    pub fn take(&self, uid: &str, range: Ipv4Net) -> Option<Ipv4Addr> {
        let mut guard = locked(&self.taken);
        let (taken, last) = &mut *guard;
        if let Some(ip) = taken.get(uid) {
            return Some(*ip);
        }
        let used: BTreeSet<_> = taken.values().copied().collect();
        let ip = addresses::next_pod_ip(|ip| used.contains(&ip), range, *last)?;
        taken.insert(uid.to_owned(), ip);
        *last = Some(ip);
        Some(ip)
    }

    /// The address that the pod has.
    pub fn of(&self, uid: &str) -> Option<Ipv4Addr> {
        locked(&self.taken).0.get(uid).copied()
    }

    /// An address that a running pod has already.
    pub fn keep(&self, uid: &str, ip: Ipv4Addr) {
        let mut guard = locked(&self.taken);
        guard.0.insert(uid.to_owned(), ip);
        guard.1 = guard.1.max(Some(ip));
    }

    pub fn give_back(&self, uid: &str) {
        locked(&self.taken).0.remove(uid);
    }
}
