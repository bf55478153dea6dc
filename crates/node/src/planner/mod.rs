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
mod hooked;
mod hooks;
mod imaged;
mod images;
mod observed;
mod plan;
mod probed;
mod probes;
mod resize;
mod resized;
mod restart;
mod restart_all;
mod retry;
mod spec;
mod status;
mod step;
mod stopping;

pub use admission::{NodeRoom, admit, lacks};
pub use events::{EventType, Note};
pub use hooked::{HookKind, HookSeen};
pub use imaged::{ImageFailure, ImageFor, ImageSeen};
pub use observed::{
    ContainerSeen, Eviction, Exit, Instance, Observed, Rejection, Sandbox, StartFailure, StopStage,
    Stopping,
};
pub use plan::plan;
pub use probed::{Outcome, ProbeKind, ProbeSeen};
pub(crate) use resize::allocated_pod;
pub use resized::{
    AllSizes, Change, Changes, Decrease, Record, Resize, Size, Sizes, Verdict, sizes, too_little,
    with_sizes,
};
pub use retry::Retry;
pub use spec::{
    PullDecision, PullPolicy, RestartPolicy, Role, all_containers, find_container, pull_decision,
    pull_policy, target_of,
};
pub(crate) use spec::{full_name, grace_seconds};
pub use status::status;
pub use step::Step;
pub(crate) use stopping::MINIMUM_GRACE_SECONDS;

#[cfg(test)]
mod tests;
