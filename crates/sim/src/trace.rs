//! What happened, in short lines: the last of them are shown when something is wrong, and all of
//! them make the hash by which two runs are compared.

use std::collections::VecDeque;
use std::fmt::Display;

use coracle_api::Timestamp;

/// How many lines are kept.
const KEPT: usize = 80;

/// The history of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    steps: u64,
    loud: bool,
}

impl Trace {
    pub fn new(loud: bool) -> Self {
        Self { lines: VecDeque::new(), hash: 0xcbf2_9ce4_8422_2325, steps: 0, loud }
    }

    pub fn say(&mut self, now: Timestamp, what: impl Display) {
        self.steps += 1;
        let line = format!("{:>5} {} {what}", self.steps, now.strftime("%H:%M:%S%.3f"));
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.loud {
            eprintln!("{line}");
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// FNV-1a of every line so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub fn last(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
