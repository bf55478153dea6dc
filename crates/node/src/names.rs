//! Whose a pod's name is on this node: two pods of one identity never run at once.
//!
//! A pod that is deleted with no grace loses its object before its containers have ended, and its
//! successor has the same name, the same claims and often the same place in a quorum. So a pod has
//! its name from when the node takes it on until nothing of it is left, and another one of that
//! name waits for it.

use std::collections::{BTreeMap, BTreeSet};

/// The names of the node's pods.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// By namespace and name.
    names: BTreeMap<(String, String), Name>,
}

/// Pods of one name, by UID.
#[derive(Clone, Debug, Default)]
struct Name {
    /// Of whom something is left here; more than one only if an earlier engine left them so.
    holders: BTreeSet<String>,
    waiting: BTreeSet<String>,
}

impl Names {
    /// Takes the name for a pod if no other has it: whether it has it now. If not, it is one of
    /// those that [`Names::release`] tells of.
    pub fn take(&mut self, namespace: &str, name: &str, uid: &str) -> bool {
        let entry = self.entry(namespace, name);
        if entry.holders.iter().any(|holder| holder != uid) {
            entry.waiting.insert(uid.to_owned());
            return false;
        }
        entry.holders.insert(uid.to_owned());
        true
    }

    /// A pod that runs already has the name, whoever else does.
    pub fn hold(&mut self, namespace: &str, name: &str, uid: &str) {
        self.entry(namespace, name).holders.insert(uid.to_owned());
    }

    /// Nothing is left of a pod. Those who may try to take its name now, by UID.
    #[must_use]
    pub fn release(&mut self, namespace: &str, name: &str, uid: &str) -> Vec<String> {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(entry) = self.names.get_mut(&key) else { return Vec::new() };
        entry.holders.remove(uid);
        entry.waiting.remove(uid);
        if !entry.holders.is_empty() {
            return Vec::new();
        }
        self.names.remove(&key).map(|entry| entry.waiting.into_iter().collect()).unwrap_or_default()
    }

    fn entry(&mut self, namespace: &str, name: &str) -> &mut Name {
        self.names.entry((namespace.to_owned(), name.to_owned())).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn a_name_goes_from_pod_to_pod() {
        let mut names = Names::default();
        assert!(names.take("default", "web-0", "a"));
        assert!(names.take("default", "web-0", "a"));
        assert!(!names.take("default", "web-0", "b"));
        assert!(names.take("other", "web-0", "c"));
        assert!(names.release("other", "web-0", "c").is_empty());
        assert_eq!(names.release("default", "web-0", "a"), ["b"]);
        assert!(names.take("default", "web-0", "b"));
        assert!(!names.take("default", "web-0", "d"));
    }

    #[test]
    fn who_waited_in_vain_holds_nobody_up() {
        let mut names = Names::default();
        assert!(names.take("default", "web-0", "a"));
        assert!(!names.take("default", "web-0", "b"));
        assert!(names.release("default", "web-0", "b").is_empty());
        assert!(!names.take("default", "web-0", "c"));
        assert_eq!(names.release("default", "web-0", "a"), ["c"]);
    }

    #[test]
    fn all_that_an_earlier_engine_left_must_go_first() {
        let mut names = Names::default();
        names.hold("default", "web-0", "a");
        names.hold("default", "web-0", "b");
        assert!(!names.take("default", "web-0", "c"));
        assert!(names.release("default", "web-0", "a").is_empty());
        assert_eq!(names.release("default", "web-0", "b"), ["c"]);
    }
}
