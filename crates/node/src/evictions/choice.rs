//! Who goes when the node is short of something, and what is said of it, as upstream.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use coracle_api::Quantity;

use super::pressure::{Reading, Signal};

/// From this priority on a pod is one that the cluster itself needs: it never goes.
pub(crate) const CRITICAL: i32 = 2_000_000_000;

/// What a pod has of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumer {
    pub uid: String,
    /// `spec.priority`
    pub priority: i32,
    /// What the pod uses and asks for of what is short.
    pub pod: Use,
    /// The same of each container.
    pub containers: BTreeMap<String, Use>,
}

/// What is used of something, and what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub used: u64,
    pub requested: u64,
}

impl Use {
    fn is_over(self) -> bool {
        self.used > self.requested
    }
}

/// The least that is worth a pod: who has less would go in vain. Upstream takes them too; but here
/// what a pod keeps is on volumes, which stay, and there is no other node where it could go.
fn least(signal: Signal) -> u64 {
    match signal {
        Signal::Memory | Signal::Disk => 1 << 20,
        Signal::Inodes => 256,
    }
}

/// The one that goes: who uses more than it asked for, then the less important, then who has most
/// beyond that.
pub(crate) fn first(signal: Signal, consumers: &[Consumer]) -> Option<&Consumer> {
    let may_go = |it: &&Consumer| it.priority < CRITICAL && it.pod.used >= least(signal);
    consumers.iter().filter(may_go).min_by_key(|it| {
        let beyond = i128::from(it.pod.used) - i128::from(it.pod.requested);
        (Reverse(it.pod.is_over()), it.priority, Reverse(beyond), it.uid.clone())
    })
}

/// What its status says.
pub(crate) fn message(short: &Reading, consumer: &Consumer) -> String {
    let resource = short.signal.resource();
    let amount = |number: u64| {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        match short.signal {
            Signal::Inodes => Quantity::from_count(number),
            Signal::Memory | Signal::Disk => Quantity::from_bytes(number),
        }
    };
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        amount(short.least()),
        amount(short.available)
    );
    for (name, one) in consumer.containers.iter().filter(|(_, one)| one.is_over()) {
        let (used, requested) = (amount(one.used), amount(one.requested));
        let more = write!(
            text,
            "Container {name} was using {used}, request is {requested}, has larger consumption of {resource}. "
        );
        // Writing into a string does not fail.
        more.unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pod(uid: &str, priority: i32, used: u64, requested: u64) -> Consumer {
        let pod = Use { used: used * MIB, requested: requested * MIB };
        let containers = [("c".to_owned(), pod)].into();
        Consumer { uid: uid.to_owned(), priority, pod, containers }
    }

    #[test]
    fn who_took_more_than_asked_for_goes_first() {
        let order = |mut pods: Vec<Consumer>| {
            let mut gone = Vec::new();
            while let Some(uid) = first(Signal::Memory, &pods).map(|it| it.uid.clone()) {
                pods.retain(|it| it.uid != uid);
                gone.push(uid);
            }
            gone
        };
        let pods = vec![
            pod("within, big", 0, 900, 1000),
            pod("over, important", 10, 500, 1),
            pod("over", 0, 20, 10),
            pod("over by more", 0, 30, 10),
            pod("system", CRITICAL, 900, 0),
            pod("within, small", 0, 10, 1000),
            pod("nothing", 0, 0, 0),
        ];
        let expected = ["over by more", "over", "over, important", "within, big", "within, small"];
        assert_eq!(order(pods), expected);
    }

    #[test]
    fn it_is_told_what_was_short_and_who_took_it() {
        let short = Reading { signal: Signal::Memory, available: 20 * MIB, capacity: 1 << 40 };
        let mut one = pod("p", 0, 300, 100);
        one.containers.insert("modest".to_owned(), Use { used: 1, requested: 1 });
        assert_eq!(
            message(&short, &one),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 20Mi. \
             Container c was using 300Mi, request is 100Mi, has larger consumption of memory. "
        );
        let short = Reading { signal: Signal::Inodes, available: 5, capacity: 1000 };
        assert_eq!(
            message(&short, &pod("p", 0, 1, 1)),
            "The node was low on resource: inodes. Threshold quantity: 50, available: 5. "
        );
    }
}
