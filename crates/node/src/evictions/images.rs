//! Which images go when the disk fills: those that nobody has used for longest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pressure::Reading;

/// An image that was seen, or used, more recently than this stays.
const AGE_MIN: Duration = Duration::from_secs(120);
/// Images go when less of the disk is free than this share in hundredths, or these bytes, until
/// that much is. The shares are upstream's; a developer's disk is large and has other uses.
const BEGINS: (u64, u64) = (15, 3 << 30);
const ENDS: (u64, u64) = (20, 4 << 30);

/// An image on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub id: String,
    pub bytes: u64,
    /// A pod has it.
    pub is_used: bool,
    /// It can be had again: it came from a registry.
    pub is_pulled: bool,
}

/// When images were first seen and last used, by ID and a clock that nobody sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses(BTreeMap<String, Duration>);

/// Bytes that should be free and are not.
pub(crate) fn missing(disk: &Reading) -> u64 {
    let mark = |(share, bytes): (u64, u64)| bytes.min((disk.capacity / 100).saturating_mul(share));
    match disk.available < mark(BEGINS) {
        true => mark(ENDS).saturating_sub(disk.available),
        false => 0,
    }
}

impl Uses {
    /// Takes note of who is used now.
    pub fn observe(&mut self, images: &[Candidate], now: Duration) {
        self.0.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let last = self.0.entry(image.id.clone()).or_insert(now);
            if image.is_used {
                *last = now;
            }
        }
    }

    /// The images that go so that `bytes` become free: those that were not used for longest first.
    /// With `all`, every one that may go does.
    pub fn doomed(
        &self,
        images: &[Candidate],
        bytes: u64,
        all: bool,
        now: Duration,
    ) -> Vec<String> {
        let last = |image: &Candidate| self.0.get(&image.id).copied().unwrap_or(now);
        let may_go = |image: &&Candidate| {
            let is_old = all || now.saturating_sub(last(image)) >= AGE_MIN;
            image.is_pulled && !image.is_used && is_old
        };
        let mut old: Vec<_> = images.iter().filter(may_go).collect();
        old.sort_by_key(|image| (last(image), image.id.clone()));
        let mut freed = 0_u64;
        let enough = |image: &&&Candidate| {
            let goes = all || freed < bytes;
            freed = freed.saturating_add(image.bytes);
            goes
        };
        old.iter().take_while(enough).map(|image| image.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pressure::Signal;
    use super::*;

    #[test]
    fn the_longest_unused_goes_and_no_more_than_needed() {
        let image = |id: &str, is_used: bool, is_pulled: bool| Candidate {
            id: id.to_owned(),
            bytes: 100,
            is_used,
            is_pulled,
        };
        let at = Duration::from_secs;
        let mut uses = Uses::default();
        let mut images =
            vec![image("used", true, true), image("a", true, true), image("b", false, true)];
        uses.observe(&images, at(0));
        images[1].is_used = false;
        images.push(image("loaded", false, false));
        images.push(image("new", false, true));
        uses.observe(&images, at(100));
        let doomed = |bytes, all, now| uses.doomed(&images, bytes, all, at(now));
        assert!(doomed(1000, false, 110).is_empty(), "all are young");
        assert_eq!(doomed(1000, false, 130), ["a", "b"]);
        assert_eq!(doomed(100, false, 130), ["a"], "by name where they are alike");
        assert_eq!(doomed(1000, false, 300), ["a", "b", "new"]);
        assert_eq!(doomed(0, true, 130), ["a", "b", "new"]);
        assert!(doomed(0, false, 300).is_empty());
    }

    #[test]
    fn disks_of_all_sizes_keep_some_room() {
        const GIB: u64 = 1 << 30;
        let missing =
            |available, capacity| missing(&Reading { signal: Signal::Disk, available, capacity });
        assert_eq!(missing(3 * GIB, 500 * GIB), 0);
        assert_eq!(missing(2 * GIB, 500 * GIB), 2 * GIB);
        assert_eq!(missing(15, 100), 0);
        assert_eq!(missing(14, 100), 6);
    }
}
