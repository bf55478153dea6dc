//! What a write is prepared with, and what it comes to.

pub mod calls;
pub(crate) mod plan;
pub mod prepare;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::{Key, Kind, Object, Status, Timestamp};
use coracle_store::{Expect, Write};
use serde_json::Value;

use crate::Kinds;
use crate::pipeline::cluster::Cluster;
use crate::pipeline::conversion::Task;
use crate::pipeline::reply::{Answer, Reply};
use crate::pipeline::source::Entropy;
use crate::pipeline::verbs::{Part, scale};
use crate::pipeline::write::calls::{Answers, Call, Given, Moment, Stop};

/// What of the cluster a write depends on, whatever it is.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// All kinds and their schemas.
    pub kinds: &'a Kinds,
    /// Address ranges and names of the cluster.
    pub cluster: &'a Cluster,
}

/// Everything but the snapshot that a write depends on.
pub struct WriteEnv<'a> {
    /// The time of the write.
    pub now: Timestamp,
    /// Randomness of the write.
    pub entropy: Entropy,
    /// All kinds and their schemas.
    pub kinds: &'a Kinds,
    /// Address ranges and names of the cluster.
    pub cluster: &'a Cluster,
    answers: &'a Answers,
    annotations: RefCell<BTreeMap<String, String>>,
}

impl<'a> WriteEnv<'a> {
    /// That of a request which the outside has told `answers`.
    pub fn new(facts: Facts<'a>, answers: &'a Answers) -> Self {
        let Facts { kinds, cluster } = facts;
        let Moment { now, seed } = answers.moment();
        let annotations = RefCell::default();
        Self { now, entropy: Entropy::new(seed), kinds, cluster, answers, annotations }
    }

    /// Keeps what an audit log is to remember of the request; what was said first stays.
    pub(crate) fn remember(&self, annotations: BTreeMap<String, String>) {
        let mut kept = self.annotations.borrow_mut();
        for (key, value) in annotations {
            kept.entry(key).or_insert(value);
        }
    }

    /// What was kept.
    pub(crate) fn remembered(self) -> BTreeMap<String, String> {
        self.annotations.into_inner()
    }

    /// The answer to `call`.
    ///
    /// # Errors
    /// That it is to be answered first; or why it failed.
    pub fn ask(&self, call: Call) -> Result<Given, Stop> {
        self.answers.ask(call)
    }

    /// `value` of `kind` in `version`, where only a webhook knows how it looks in that.
    ///
    /// # Errors
    /// That it is to be asked first; or what it has said that is no answer.
    pub(crate) fn converted(
        &self,
        kind: &Kind,
        version: String,
        value: Value,
    ) -> Result<Value, Stop> {
        let uid = |body: &str| self.entropy.uid_of(body);
        let Some(task) = Task::new(kind, version, vec![value.clone()], uid) else {
            return Ok(value);
        };
        let given = self.ask(task.call())?;
        Ok(task.done(kind, &given)?.pop().unwrap_or(value))
    }
}

/// What a request comes down to.
#[derive(Debug)]
pub struct Prepared {
    /// In this order, all or nothing; empty when nothing changes.
    pub writes: Vec<Write>,
    /// What else must still be as the snapshot showed it.
    pub requires: Vec<(Key, Expect)>,
    /// The answer, once the writes are done.
    pub pending: Pending,
    /// Sentences for the `Warning` header.
    pub warnings: Vec<String>,
    /// What an audit log is to remember of the request.
    pub annotations: BTreeMap<String, String>,
}

/// An answer that may wait for the revision of what is written.
#[derive(Debug)]
pub enum Pending {
    /// Part of the object that the write of this index stores.
    Written {
        /// HTTP code.
        code: u16,
        /// Which write.
        index: usize,
        /// What of it is sent.
        part: Part,
        /// The row that shows it.
        kind: Arc<Kind>,
    },
    /// What the write of this index takes away: its last state, with the revision of that.
    Removed {
        /// Which write.
        index: usize,
        /// The state before, for a dry run.
        last: Arc<Object>,
    },
    /// Known already.
    Fixed(Reply),
}

impl Prepared {
    /// Nothing to write.
    pub fn answered(reply: Reply) -> Self {
        Self {
            writes: Vec::new(),
            requires: Vec::new(),
            pending: Pending::Fixed(reply),
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// One write whose object is the answer.
    pub fn writing(code: u16, write: Write, part: Part, kind: &Arc<Kind>) -> Self {
        Self {
            writes: vec![write],
            requires: Vec::new(),
            pending: Pending::Written { code, index: 0, part, kind: Arc::clone(kind) },
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// The answer, given what the writes stored (for a dry run: what they would have stored).
    pub fn reply(self, stored: &[Option<Arc<Object>>]) -> Result<Reply, Status> {
        let mut reply = match self.pending {
            Pending::Fixed(reply) => reply,
            Pending::Removed { index, last } => {
                let object = stored.get(index).cloned().flatten().unwrap_or(last);
                Reply::ok(Answer::Object(object))
            }
            Pending::Written { code, index, part, kind } => {
                let object = stored
                    .get(index)
                    .cloned()
                    .flatten()
                    .ok_or_else(|| Status::internal("the store did not say what it stored"))?;
                Reply::new(code, part.answer(&kind, &object))
            }
        };
        reply.warnings.extend(self.warnings);
        reply.annotations.extend(self.annotations);
        Ok(reply)
    }

    /// The answer to a dry run.
    pub fn unstored(self) -> Result<Reply, Status> {
        let objects: Vec<_> = self.writes.iter().map(|write| write.object.clone()).collect();
        self.reply(&objects)
    }
}

impl Part {
    /// What of `object` is sent to the client.
    pub fn answer(self, kind: &Kind, object: &Arc<Object>) -> Answer {
        match self {
            Self::Scale => Answer::Value(scale::of(&kind.scale, object)),
            _ => Answer::Object(Arc::clone(object)),
        }
    }
}
