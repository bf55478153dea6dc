//! What an evaluation has cost, and what it may.

use std::fmt;

/// Steps of comparing and copying that one evaluation may take, whatever cost they have upstream:
/// some seconds at most.
pub(crate) const MAX_WORK: usize = 20_000_000;
/// Bytes that an element of a list takes.
const ELEMENT: usize = 48;
/// Bytes that one evaluation may make.
const MAX_BYTES: usize = 64 << 20;

/// Why an expression came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A mistake that `&&` and `||` may make up for.
    Error(String),
    /// It cost too much.
    Cancelled,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Error(message.into())
    }
}

/// Why an evaluation came to nothing, as clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvalError {
    /// It cost more than it may.
    CostExceeded,
    /// Something in it went wrong.
    Failed(String),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CostExceeded => f.write_str("operation cancelled: actual cost limit exceeded"),
            Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for EvalError {}

impl From<Failure> for EvalError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Error(message) => Self::Failed(message),
            Failure::Cancelled => Self::CostExceeded,
        }
    }
}

/// Counts what an evaluation takes.
#[derive(Debug)]
pub struct Meter {
    cost: u64,
    limit: u64,
    work: usize,
    bytes: usize,
}

impl Meter {
    /// Up to `limit` of cost.
    pub(crate) fn new(limit: u64) -> Self {
        Self { cost: 0, limit, work: 0, bytes: 0 }
    }

    /// What was spent.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), Failure> {
        self.cost = self.cost.saturating_add(cost);
        match self.cost > self.limit {
            true => Err(Failure::Cancelled),
            false => Ok(()),
        }
    }

    /// Notes steps that have no cost upstream.
    pub(crate) fn work(&mut self, steps: usize) -> Result<(), Failure> {
        self.work = self.work.saturating_add(steps);
        match self.work > MAX_WORK {
            true => Err(Failure::Cancelled),
            false => Ok(()),
        }
    }

    /// Notes that so many bytes are about to be made.
    pub(crate) fn bytes(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > MAX_BYTES {
            true => Err(Failure::Cancelled),
            false => Ok(()),
        }
    }

    /// Notes that a list of so many elements is about to be made.
    pub(crate) fn elements(&mut self, count: usize) -> Result<(), Failure> {
        self.bytes(count.saturating_mul(ELEMENT))
    }
}
