//! Who changes an object in turn, and who is to see it once more because others changed it after them.

use std::collections::BTreeSet;

use serde_json::Value;

/// What has been done so far. There are two rounds at most.
#[derive(Debug)]
pub(super) struct Turns<K> {
    is_second: bool,
    /// Those that want to see what comes after them, and have seen all that did.
    earlier: BTreeSet<K>,
    /// Those that are to see the object again.
    again: BTreeSet<K>,
    /// What the first round left.
    left: Option<Value>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { is_second: false, earlier: BTreeSet::new(), again: BTreeSet::new(), left: None }
    }
}

impl<K: Ord> Turns<K> {
    /// A round begins with `value`.
    pub(super) fn begin(&mut self, value: &Value) {
        if self.left.take().is_some_and(|left| left != *value) {
            self.changed();
        }
    }

    /// Whether it is the turn of `key`.
    pub(super) fn has(&self, key: &K) -> bool {
        !self.is_second || self.again.contains(key)
    }

    /// Which round it is, counted from 0.
    pub(super) fn round(&self) -> usize {
        usize::from(self.is_second)
    }

    /// Somebody has changed the object.
    pub(super) fn changed(&mut self) {
        self.again.append(&mut self.earlier);
    }

    /// `key` has had its turn, and wants to see what comes after it.
    pub(super) fn wants_more(&mut self, key: K) {
        self.earlier.insert(key);
    }

    /// A round ends with `value`.
    pub(super) fn end(&mut self, value: &Value) {
        self.is_second = true;
        self.left = (!self.earlier.is_empty()).then(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_wants_more_sees_what_others_did_after_it() {
        let mut turns = Turns::default();
        turns.begin(&json!(0));
        assert!(turns.has(&"a") && turns.has(&"b"));
        turns.wants_more("a");
        turns.changed();
        turns.wants_more("b");
        turns.end(&json!(1));
        turns.begin(&json!(1));
        assert!(turns.has(&"a") && !turns.has(&"b"), "nothing came after b");
        let mut turns = Turns::default();
        turns.begin(&json!(0));
        turns.wants_more("a");
        turns.end(&json!(1));
        turns.begin(&json!(2));
        assert!(turns.has(&"a") && !turns.has(&"c"), "others changed it between the rounds");
    }
}
