//! What a write must ask of the outside. It is prepared by a pure function, which cannot wait: it says
//! what it needs, and is asked again with the answers.

use std::collections::BTreeMap;

pub use coracle_api::{Call, Given};
use coracle_api::{Status, Timestamp};

/// When a request is carried out, and what all that it draws is made from. It stays the same however
/// often the request is prepared, and so do its names and UIDs.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time that the write bears.
    pub now: Timestamp,
    /// Never the same for two requests.
    pub seed: [u8; 32],
}

/// What the outside has said for one request.
#[derive(Clone, Debug)]
pub struct Answers {
    moment: Moment,
    given: BTreeMap<Call, Result<Given, Status>>,
}

/// Why a write is not prepared.
#[derive(Clone, Debug)]
pub enum Stop {
    /// The client gets this instead.
    Refused(Status),
    /// These are to be answered first.
    Needs(Vec<Call>),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl Stop {
    /// A refusal goes with `warnings`.
    #[must_use]
    pub(crate) fn warned(self, warnings: Vec<String>) -> Self {
        match self {
            Self::Refused(status) => Self::Refused(status.warned(warnings)),
            needs => needs,
        }
    }
}

impl Answers {
    /// None yet, for a request that is carried out at `moment`.
    pub fn new(moment: Moment) -> Self {
        Self { moment, given: BTreeMap::new() }
    }

    /// When the request is carried out.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// What came of `call`; the answer to a call that failed is why.
    pub fn give(&mut self, call: Call, answer: Result<Given, Status>) {
        self.given.insert(call, answer);
    }

    /// The answer to `call`, if it is there.
    ///
    /// # Errors
    /// That it is to be answered first; or why it failed.
    pub fn ask(&self, call: Call) -> Result<Given, Stop> {
        match self.given.get(&call) {
            Some(answer) => answer.clone().map_err(Stop::Refused),
            None => Err(Stop::Needs(vec![call])),
        }
    }
}
