//! What the users of a world work with: each seed has its own, so that worlds stay small.

use coracle_api::resources::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS,
};

use crate::random::Random;

/// The workloads of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// StatefulSets with claims.
    StatefulSets,
    /// Deployments and, by hand, their ReplicaSets.
    Deployments,
    /// ReplicaSets and ReplicationControllers, whose selectors select the same pods.
    ReplicaSets,
    /// DaemonSets, on up to three nodes.
    DaemonSets,
    /// Jobs.
    Jobs,
    /// CronJobs and, by hand, their Jobs.
    CronJobs,
    /// Deployments with HorizontalPodAutoscalers.
    Autoscalers,
    /// ReplicaSets of several priorities that want more than the nodes have, with budgets.
    Ranks,
    /// CertificateSigningRequests.
    Certificates,
    /// Deployments, beside admission webhooks and policies.
    Guards,
    /// All of them.
    Everything,
}

impl Cast {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::StatefulSets,
        Self::Deployments,
        Self::ReplicaSets,
        Self::DaemonSets,
        Self::Jobs,
        Self::CronJobs,
        Self::Autoscalers,
        Self::Ranks,
        Self::Certificates,
        Self::Guards,
        Self::Everything,
    ];

    /// One for a world, by chance.
    pub(crate) fn draw(random: &mut Random) -> Self {
        match random.below(30) {
            0..=5 => Self::StatefulSets,
            6..=9 => Self::Deployments,
            10..=11 => Self::ReplicaSets,
            12..=13 => Self::DaemonSets,
            14..=16 => Self::Jobs,
            17..=18 => Self::CronJobs,
            19..=21 => Self::Autoscalers,
            22..=24 => Self::Ranks,
            25..=26 => Self::Certificates,
            27..=28 => Self::Guards,
            _ => Self::Everything,
        }
    }

    /// What users create.
    pub(crate) fn resources(self) -> &'static [&'static str] {
        match self {
            Self::StatefulSets => &[STATEFUL_SETS],
            Self::Deployments => &[DEPLOYMENTS],
            Self::ReplicaSets => &[REPLICA_SETS, REPLICATION_CONTROLLERS],
            Self::DaemonSets => &[DAEMON_SETS],
            Self::Jobs => &[JOBS],
            Self::CronJobs => &[CRON_JOBS],
            Self::Autoscalers | Self::Guards => &[DEPLOYMENTS],
            Self::Ranks => &[REPLICA_SETS],
            Self::Certificates => &[],
            Self::Everything => WORKLOADS,
        }
    }

    /// What controllers create for them, pods apart.
    pub(crate) fn made(self) -> &'static [&'static str] {
        match self {
            Self::Deployments | Self::Autoscalers | Self::Guards => &[REPLICA_SETS],
            Self::CronJobs => &[JOBS],
            _ => &[],
        }
    }
}

/// All workloads.
pub(crate) const WORKLOADS: &[&str] = &[
    STATEFUL_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    DAEMON_SETS,
    JOBS,
    CRON_JOBS,
];
