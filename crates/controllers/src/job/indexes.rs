//! A set of completion indexes, as `1,3-5` writes it: ranges, since a user may write any numbers.

use std::fmt;

/// Ascending ranges, both ends included, with a gap between each two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Reads `1,3-5`; what is unreadable, or not below `completions`, is left out.
    pub fn parse(text: &str, completions: i64) -> Self {
        let mut indexes = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else {
                continue;
            };
            let last = last.min(completions.saturating_sub(1));
            if first >= 0 && first <= last {
                indexes.insert_range(first, last);
            }
        }
        indexes
    }

    /// Adds an index.
    pub fn insert(&mut self, index: i64) {
        self.insert_range(index, index);
    }

    fn insert_range(&mut self, first: i64, last: i64) {
        let touches = |range: &(i64, i64)| {
            range.0 <= last.saturating_add(1) && first <= range.1.saturating_add(1)
        };
        let (mut first, mut last) = (first, last);
        for range in self.0.iter().filter(|range| touches(range)) {
            (first, last) = (first.min(range.0), last.max(range.1));
        }
        self.0.retain(|range| !touches(range));
        let place = self.0.partition_point(|range| range.1 < first);
        self.0.insert(place, (first, last));
    }

    /// Whether it has the index.
    pub fn contains(&self, index: i64) -> bool {
        self.next_free(index) != index
    }

    /// The first index from `from` on that it has not.
    pub fn next_free(&self, from: i64) -> i64 {
        let place = self.0.partition_point(|range| range.1 < from);
        match self.0.get(place) {
            Some((first, last)) if *first <= from => last.saturating_add(1),
            _ => from,
        }
    }

    /// How many there are.
    pub fn len(&self) -> i64 {
        let sizes = self.0.iter().map(|(first, last)| last.saturating_sub(*first));
        sizes.fold(0, |sum: i64, size| sum.saturating_add(size).saturating_add(1))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of `others` it has too.
    pub fn common(&self, others: &Self) -> i64 {
        let mut count: i64 = 0;
        for (first, last) in &self.0 {
            for (from, to) in &others.0 {
                let shared = (*last.min(to)).saturating_sub(*first.max(from));
                count = count.saturating_add(shared.saturating_add(1).max(0));
            }
        }
        count
    }
}

/// Runs of three and more as `a-b`, as upstream writes them.
impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match last.saturating_sub(*first) {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_as_upstream_writes_them() {
        let mut indexes = Indexes::default();
        for index in [5, 0, 1] {
            indexes.insert(index);
        }
        assert_eq!(indexes.to_string(), "0,1,5");
        indexes.insert(2);
        assert_eq!((indexes.to_string().as_str(), indexes.len()), ("0-2,5", 4));
        assert_eq!(Indexes::parse("0-2,5", 10), indexes);
        assert_eq!((indexes.next_free(0), indexes.next_free(4)), (3, 4));
        assert!(indexes.contains(5) && !indexes.contains(3));
    }

    #[test]
    fn what_a_user_wrote_is_bounded_by_the_completions() {
        let huge = Indexes::parse("0-9223372036854775807,x,-1,7-3", 4);
        assert_eq!((huge.to_string().as_str(), huge.len()), ("0-3", 4));
        assert_eq!(huge.common(&Indexes::parse("2-3", 9)), 2);
    }
}
