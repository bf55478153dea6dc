//! Reading a pod's spec: defaults that the API server fills in are assumed again here, so that a
//! pod made by hand in a test means what it says.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// When the exit code is not 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// What a container is for in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs to its end before the app containers begin.
    Init,
    /// An init container with `restartPolicy: Always`: begins in its turn, then runs beside all
    /// that follow, and ends after them.
    Sidecar,
    /// What the pod is there for.
    App,
    /// Added while the pod runs, to look into it: started once, and of no account for the pod.
    Ephemeral,
}

impl Role {
    /// Its list in the pod's spec.
    #[must_use]
    pub fn list(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "initContainers",
            Self::App => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }

    /// Whether the pod's app containers wait for it: for its end, or until it has started.
    #[must_use]
    pub fn goes_first(self) -> bool {
        matches!(self, Self::Init | Self::Sidecar)
    }

    /// Whether it counts for whether the pod is Ready.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Sidecar | Self::App)
    }
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask the registry before every start.
    Always,
    /// Only when the image is not here.
    IfNotPresent,
    /// The image must be here.
    Never,
}

/// What a start needs of its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullDecision {
    /// The one on the machine will do.
    Use,
    /// Ask the registry.
    Pull,
    /// The image is not here and must not be pulled.
    Refuse,
}

/// Whether an image is pulled, by policy and by whether it is `present`.
#[must_use]
pub fn pull_decision(policy: PullPolicy, present: bool) -> PullDecision {
    match (policy, present) {
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, false) => PullDecision::Pull,
        (_, true) => PullDecision::Use,
        (PullPolicy::Never, false) => PullDecision::Refuse,
    }
}

pub(crate) fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

pub(crate) fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// The containers with their roles, the init containers first.
pub fn all_containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let init = init_containers(pod).iter().map(|container| (init_role(container), container));
    init.chain(containers(pod).iter().map(|container| (Role::App, container)))
}

/// Those by which the pod is Ready: sidecars, then app containers.
pub(crate) fn serving_containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    all_containers(pod).filter(|(role, _)| role.serves())
}

/// The role of an init container.
pub(crate) fn init_role(container: &Container) -> Role {
    if coracle_api::pods::is_sidecar(container) { Role::Sidecar } else { Role::Init }
}

/// The container of this name, and its role.
#[must_use]
pub fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    let known = all_containers(pod).find(|(_, container)| container.name == name);
    known.map(|(role, container)| (role, Cow::Borrowed(container))).or_else(|| {
        let mut ephemeral = ephemeral(pod).iter().filter(|it| it.name == name);
        ephemeral.next().map(|it| (Role::Ephemeral, Cow::Owned(as_container(it))))
    })
}

pub(crate) fn ephemeral(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or_default()
}

/// The container whose processes an ephemeral one is to see.
#[must_use]
pub fn target_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let container = ephemeral(pod).iter().find(|it| it.name == name)?;
    container.target_container_name.as_deref().filter(|target| !target.is_empty())
}

/// An ephemeral container as one of the others: it has all that matters to a start.
pub(crate) fn as_container(it: &EphemeralContainer) -> Container {
    let it = it.clone();
    Container {
        args: it.args,
        command: it.command,
        env: it.env,
        env_from: it.env_from,
        image: it.image,
        image_pull_policy: it.image_pull_policy,
        name: it.name,
        security_context: it.security_context,
        stdin: it.stdin,
        stdin_once: it.stdin_once,
        termination_message_path: it.termination_message_path,
        termination_message_policy: it.termination_message_policy,
        tty: it.tty,
        volume_devices: it.volume_devices,
        volume_mounts: it.volume_mounts,
        working_dir: it.working_dir,
        ..Container::default()
    }
}

pub(crate) fn restart_policy(pod: &Pod) -> RestartPolicy {
    policy_of(spec(pod).restart_policy.as_deref().unwrap_or_default())
}

fn policy_of(text: &str) -> RestartPolicy {
    match text {
        "Never" => RestartPolicy::Never,
        "OnFailure" => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// What a container's rules have happen when it ends, whatever its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleAction {
    /// It is started again.
    Restart,
    /// All containers of the pod are.
    RestartAll,
}

/// What the first of the container's rules for `code` has happen.
pub(crate) fn rule_for(container: &Container, code: i32) -> Option<RuleAction> {
    let mut rules = container.restart_policy_rules.iter().flatten();
    let rule = rules.find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|it| {
            let is_listed = it.values.iter().flatten().any(|value| *value == code);
            if it.operator == "NotIn" { !is_listed } else { is_listed }
        })
    })?;
    Some(match rule.action.as_str() {
        "RestartAllContainers" => RuleAction::RestartAll,
        _ => RuleAction::Restart,
    })
}

/// The policy of a container; an init container runs to its end whatever the pod's policy, and
/// is started again when it fails unless the pod's policy is `Never`. A sidecar always is, an
/// ephemeral container never.
pub(crate) fn container_policy(pod: &Pod, container: &Container, role: Role) -> RestartPolicy {
    let own = container.restart_policy.as_deref().map(policy_of);
    match own.unwrap_or_else(|| restart_policy(pod)) {
        _ if role == Role::Sidecar => RestartPolicy::Always,
        _ if role == Role::Ephemeral => RestartPolicy::Never,
        RestartPolicy::Always if role == Role::Init => RestartPolicy::OnFailure,
        policy => policy,
    }
}

/// Whether a container that ended with `code` is started again.
pub(crate) fn restarts(policy: RestartPolicy, code: i32) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => code != 0,
        RestartPolicy::Never => false,
    }
}

/// The container's `imagePullPolicy`.
#[must_use]
pub fn pull_policy(container: &Container) -> PullPolicy {
    pull_policy_of(container.image_pull_policy.as_deref())
}

pub(crate) fn pull_policy_of(text: Option<&str>) -> PullPolicy {
    match text {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    }
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// `NAME_NAMESPACE(UID)`, as kubelet writes a pod in its messages.
pub(crate) fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// Seconds a container has between its stop signal and its end.
pub(crate) fn grace_seconds(pod: &Pod) -> i64 {
    spec(pod).termination_grace_period_seconds.unwrap_or(30).max(0)
}

/// A time as the API keeps it: in whole seconds.
pub(crate) fn api_time(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
