//! What probes there are, and what they found.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Holds the other two back until it passes; restarts the container when it fails.
    Startup,
    /// Restarts the container when it fails.
    Liveness,
    /// Takes the pod out of Services while it fails.
    Readiness,
}

impl ProbeKind {
    /// In the order in which they are looked at.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// The container's probe of this kind.
    #[must_use]
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What a single probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Alive, ready, started.
    Success,
    /// Not so, and how it showed.
    Failure(String),
    /// The probe itself could not be carried out; counts neither way.
    Unknown(String),
}

/// What a probe of the current instance found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeSeen {
    /// One is under way.
    pub running: bool,
    /// When the last one began.
    pub last_run: Option<Timestamp>,
    /// Successes since the last failure.
    pub successes: u32,
    /// Failures since the last success.
    pub failures: u32,
    /// What the thresholds make of it; `None` until one is reached.
    pub passed: Option<bool>,
}

impl ProbeSeen {
    /// A probe that had passed before the engine restarted.
    pub(crate) fn remembered() -> Self {
        Self { passed: Some(true), ..Self::default() }
    }
}
