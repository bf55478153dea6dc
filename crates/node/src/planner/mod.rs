//! What must happen to a pod next, and what its status is: pure functions of the pod, of what was
//! observed, and of the time.
//!
//! The worker (or the simulation) keeps an [`Observed`], calls [`plan`] whenever something
//! changed, carries the steps out, enters what came of them into the [`Observed`] through its
//! methods, and asks again until nothing but waiting is left.

mod admission;
mod conditions;
mod container_status;
mod events;
mod observed;
mod plan;
mod probed;
mod probes;
mod restart;
mod spec;
mod status;

pub use admission::{NodeRoom, admit, lacks};
pub use events::{EventType, Note};
pub use observed::{
    ContainerSeen, Exit, ImageFailure, ImageSeen, Instance, Observed, Rejection, Retry, Sandbox,
    StartFailure, Stopping,
};
pub use plan::{Step, plan};
pub use probed::{Outcome, ProbeKind, ProbeSeen};
pub(crate) use spec::grace_seconds;
pub use spec::{
    PullDecision, PullPolicy, RestartPolicy, Role, find_container, pull_decision, pull_policy,
};
pub use status::status;

#[cfg(test)]
mod tests;
