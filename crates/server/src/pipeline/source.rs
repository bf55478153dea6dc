//! Where time and randomness come from. The pipeline itself has neither: a write is given a moment
//! and a seed, so that a simulation with the same ones has the same history.

use coracle_api::{Timestamp, hex};
use sha2::{Digest, Sha256};

/// Time and seeds for the writes of one server.
pub trait Source: Send + Sync {
    /// The time that a write made now bears.
    fn now(&self) -> Timestamp;
    /// A seed for one write, never the same twice.
    fn seed(&self) -> [u8; 32];
}

/// The machine's clock and random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Source for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        #[allow(
            clippy::expect_used,
            reason = "Linux has had getrandom since 3.17; without it \
            neither uids nor keys can be made and going on would be unsafe"
        )]
        getrandom::fill(&mut seed).expect("the system gives random numbers");
        seed
    }
}

/// Random values made from one seed, one after the other.
#[derive(Clone, Debug)]
pub struct Entropy {
    seed: [u8; 32],
    drawn: u64,
}

/// What generated names end in: no vowels, so that no words come out.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Entropy {
    /// The values that `seed` stands for.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    fn draw(&mut self) -> [u8; 32] {
        self.drawn += 1;
        Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.drawn.to_le_bytes())
            .finalize()
            .into()
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.draw();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// A UUID of version 4.
    pub fn uid(&mut self) -> String {
        uuid(self.draw())
    }

    /// A UUID of version 4 that is always the same for `text`, whatever else is drawn.
    pub fn uid_of(&self, text: &str) -> String {
        uuid(Sha256::new().chain_update(self.seed).chain_update(text).finalize().into())
    }

    /// The five characters that the server appends to `generateName`.
    pub fn suffix(&mut self) -> String {
        let bytes = self.draw();
        bytes.iter().take(5).map(|b| SUFFIX[usize::from(*b) % SUFFIX.len()] as char).collect()
    }
}

fn uuid(mut bytes: [u8; 32]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..16]].map(hex).join("-")
}

/// `metav1.Time`: RFC 3339 in UTC, whole seconds.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_history_of_well_formed_values() {
        let (mut a, mut b) = (Entropy::new([7; 32]), Entropy::new([7; 32]));
        let uid = a.uid();
        assert_eq!(uid, b.uid());
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
        assert_ne!(uid, a.uid());
        assert_eq!(a.suffix().len(), 5);
    }
}
