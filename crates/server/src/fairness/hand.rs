//! Shuffle sharding: a flow is dealt a few of many queues, so that no two are likely to have the same
//! ones, and what one fills leaves every other at least one that is empty.

/// The queues that the flow with this hash is dealt: `size` different ones of `queues`.
pub(crate) fn deal(mut hash: u64, queues: u32, size: u32) -> Vec<u32> {
    let size = size.min(queues);
    let mut hand: Vec<u32> = Vec::new();
    for left in (queues - size + 1..=queues).rev() {
        #[allow(clippy::cast_possible_truncation, reason = "less than `left`")]
        let nth = (hash % u64::from(left)) as u32;
        hash /= u64::from(left);
        insert_nth_free(&mut hand, nth);
    }
    hand
}

/// Adds the `nth` number that is not in `taken`, which is sorted.
fn insert_nth_free(taken: &mut Vec<u32>, nth: u32) {
    let (mut number, mut at) = (nth, 0);
    while taken.get(at).is_some_and(|own| *own <= number) {
        number += 1;
        at += 1;
    }
    taken.insert(at, number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_has_different_cards_and_every_hand_is_dealt() {
        let hands: std::collections::BTreeSet<Vec<u32>> =
            (0..60).map(|hash| deal(hash, 5, 3)).collect();
        assert_eq!(hands.len(), 10, "of five, three can be chosen in ten ways: {hands:?}");
        for hand in hands {
            assert!(hand.is_sorted_by(|a, b| a < b) && hand.iter().all(|card| *card < 5));
        }
        assert_eq!(deal(u64::MAX, 1, 1), [0]);
        assert_eq!(deal(7, 3, 9), [0, 1, 2]);
        assert!(deal(7, 0, 0).is_empty());
    }
}
