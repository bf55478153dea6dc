//! Subresources that are actions: binding a pod to a node, evicting it, asking for a token.

pub(crate) mod binding;
pub(crate) mod eviction;
pub(crate) mod token;

use crate::pipeline::reply::{Answer, Deleted, Reply};

fn success() -> Reply {
    Reply::created(Answer::Success(Deleted::default()))
}
