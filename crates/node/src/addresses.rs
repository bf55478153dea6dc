//! Which pod has which address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Mutex;

use coracle_api::addresses;
use ipnet::Ipv4Net;

use crate::lock::locked;

/// The pods' addresses, by UID.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    by_uid: BTreeMap<String, Ipv4Addr>,
    all: BTreeSet<Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

impl Taken {
    fn add(&mut self, uid: &str, ip: Ipv4Addr) {
        if let Some(former) = self.by_uid.insert(uid.to_owned(), ip) {
            self.all.remove(&former);
        }
        self.all.insert(ip);
    }
}

impl Addresses {
    /// The pod's address: the one it has, or the next free one.
    pub fn take(&self, uid: &str, range: Ipv4Net) -> Option<Ipv4Addr> {
        let mut taken = locked(&self.0);
        if let Some(ip) = taken.by_uid.get(uid) {
            return Some(*ip);
        }
        let ip = addresses::next_pod_ip(|ip| taken.all.contains(&ip), range, taken.last)?;
        taken.add(uid, ip);
        taken.last = Some(ip);
        Some(ip)
    }

    /// The address that the pod has.
    pub fn of(&self, uid: &str) -> Option<Ipv4Addr> {
        locked(&self.0).by_uid.get(uid).copied()
    }

    /// An address that a running pod has already.
    pub fn keep(&self, uid: &str, ip: Ipv4Addr) {
        let mut taken = locked(&self.0);
        taken.add(uid, ip);
        taken.last = taken.last.max(Some(ip));
    }

    pub fn give_back(&self, uid: &str) {
        let mut taken = locked(&self.0);
        if let Some(ip) = taken.by_uid.remove(uid) {
            taken.all.remove(&ip);
        }
    }
}
