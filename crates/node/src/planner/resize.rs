//! In-place resize: what a pod whose resources change was promised, what is to be done for it, and
//! what is said of it. As upstream's kubelet of 1.36.
//!
//! What containers ask for is promised as a whole, by the node's ledger, before anything acts on
//! it. Then control groups follow: the pod's grows first, containers become smaller before others
//! become larger, and the pod's shrinks last. A container whose policy says so is started again.

use std::borrow::Cow;

use coracle_runtime::Resources;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition};
use serde::Serialize;
use serde_json::{Value, json};

use super::events::Note;
use super::observed::{Instance, Observed, StopStage, Stopping};
use super::resized::{
    AllSizes, Change, Changes, Decrease, InProgress, Pending, Record, Resize, Sizes, Verdict,
    sizes, with_sizes,
};
use super::retry::{after, retry};
use super::spec;
use super::step::Step;
use crate::pods::resources::{container_resources, pod_resources};

/// How long a deferred resize waits at most until it is tried again: as upstream's.
const RETRY_SECONDS: u32 = 180;
/// First delay before control groups are written again, and the longest.
const BACKOFF_SECONDS: (u32, u32) = (1, 120);

/// The conditions of a resize.
pub(super) const PENDING: &str = coracle_api::pod_resources::RESIZE_PENDING;
pub(super) const IN_PROGRESS: &str = "PodResizeInProgress";

/// The pod with what its containers were promised for what they ask for.
pub(crate) fn allocated_pod<'a>(pod: &'a Pod, seen: &Observed) -> Cow<'a, Pod> {
    match &seen.resize {
        Some(resize) => Cow::Owned(with_sizes(pod, &resize.record.allocated)),
        None => Cow::Borrowed(pod),
    }
}

/// What the container was promised.
fn allocated(container: &Container, seen: &Observed) -> Sizes {
    let promised = seen.resize.as_ref();
    let promised = promised.and_then(|it| it.record.allocated.get(&container.name));
    promised.copied().unwrap_or_else(|| Sizes::of(container.resources.as_ref()))
}

/// What an instance has, where that is not what its container was promised.
fn actual(instance: &Instance, seen: &Observed) -> Option<Sizes> {
    seen.resize.as_ref()?.record.actual.get(&instance.id).copied()
}

/// Whether an instance must be started again to have what it was promised.
pub(super) fn needs_restart(container: &Container, instance: &Instance, seen: &Observed) -> bool {
    let Some(has) = actual(instance, seen) else { return false };
    let wanted = allocated(container, seen);
    let restarts = |name: &str| {
        let mut policies = container.resize_policy.iter().flatten();
        policies.any(|it| it.resource_name == name && it.restart_policy == "RestartContainer")
    };
    // A request of memory acts on nothing.
    has.cpu != wanted.cpu && restarts("cpu")
        || has.memory.limit != wanted.memory.limit && restarts("memory")
}

/// The next step towards what is asked for.
pub(super) fn advance(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    let Some(resize) = &seen.resize else { return };
    let wanted = sizes(pod);
    if wanted != resize.record.allocated {
        match resize.pending.as_ref().filter(|it| it.wanted == wanted && it.retry_at > now) {
            Some(pending) => steps.push(Step::LookAgain(pending.retry_at)),
            None => steps.push(Step::Allocate),
        }
    }
}

/// The step that makes control groups what was promised.
pub(super) fn act(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    let changes = changes(pod, seen);
    if changes.changes.is_empty() {
        return;
    }
    let progress = seen.resize.as_ref().and_then(|resize| resize.in_progress.as_ref());
    match progress.and_then(|it| it.error.as_ref()).filter(|error| error.at > now) {
        Some(error) => steps.push(Step::LookAgain(error.at)),
        None => steps.push(Step::Resize(Box::new(changes))),
    }
}

/// The containers that run, and those that are to be started again for the sake of their resize,
/// with what they have instead of what they were promised.
fn differing<'a>(
    pod: &'a Pod,
    seen: &'a Observed,
) -> impl Iterator<Item = (&'a Container, &'a Instance, Sizes)> {
    spec::all_containers(pod).filter_map(|(_, container)| {
        let instance = seen.current_here(&container.name)?;
        let has = actual(instance, seen)?;
        let returns = instance.stopping.is_some() && needs_restart(container, instance, seen);
        (instance.is_running() || returns).then_some((container, instance, has))
    })
}

fn group_of(container: &Container, sizes: Sizes) -> Resources {
    let resources = Some(sizes.in_place(container.resources.as_ref()));
    container_resources(&Container { resources, ..Container::default() })
}

/// What is to be written to control groups, and in which order.
pub(super) fn changes(pod: &Pod, seen: &Observed) -> Changes {
    let Some(resize) = &seen.resize else { return Changes::default() };
    let mut record = resize.record.clone();
    let mut restarts = false;
    let (mut down, mut up, mut decreases) = (Vec::new(), Vec::new(), Vec::new());
    for (container, instance, has) in differing(pod, seen) {
        if needs_restart(container, instance, seen) {
            restarts = true;
            continue;
        }
        let to = group_of(container, allocated(container, seen));
        let [shrinks, grows] = written(&group_of(container, has), &to, resize.is_unsure);
        let id = &instance.id;
        if let Some(limit) = shrinks.memory_limit {
            decreases
                .push(Decrease { container: Some((container.name.clone(), id.clone())), limit });
        }
        down.extend(change(Some(id), shrinks));
        up.extend(change(Some(id), grows));
        record.actual.remove(id);
    }
    let to = pod_resources(&with_sizes(pod, &record.allocated));
    let has = resize.record.group.unwrap_or(to);
    let most = larger(&has, &to);
    let first = written(&has, &most, resize.is_unsure);
    let shrinks = !restarts && most != to;
    let last = written(&most, &to, resize.is_unsure).into_iter().filter(|_| shrinks);
    let (first, last) = (
        first.into_iter().filter_map(|to| change(None, to)),
        last.filter_map(|to| change(None, to)).collect::<Vec<_>>(),
    );
    let limit = last.iter().find_map(|change| change.to.memory_limit);
    decreases.splice(0..0, limit.map(|limit| Decrease { container: None, limit }));
    record.group = restarts.then_some(most).filter(|group| *group != to);
    let running = seen.running().map(|(_, _, instance)| instance.id.clone()).collect();
    let changes = first.chain(down).chain(up).chain(last).collect();
    Changes { running, decreases, changes, record }
}

fn change(container: Option<&String>, to: Resources) -> Option<Change> {
    (to != Resources::default()).then(|| Change { container: container.cloned(), to })
}

/// What is written to a group that has `has` so that it has `to`: what becomes less, then what becomes
/// more. Where nobody is sure what it has, all of it is written at first.
fn written(has: &Resources, to: &Resources, is_unsure: bool) -> [Resources; 2] {
    match is_unsure {
        true => [less(&Resources::default(), to), Resources::default()],
        false => [less(has, to), more(has, to)],
    }
}

/// What of `to` is less than `from`: no limit is more than any.
fn less(from: &Resources, to: &Resources) -> Resources {
    fn below<T: PartialOrd + Copy>(from: Option<T>, to: Option<T>) -> Option<T> {
        to.filter(|to| from.is_none_or(|from| *to < from))
    }
    let cpu_quota = below(from.cpu_quota, to.cpu_quota);
    Resources {
        memory_limit: below(from.memory_limit, to.memory_limit),
        cpu_quota,
        cpu_period: cpu_quota.and(to.cpu_period),
        cpu_shares: below(from.cpu_shares, to.cpu_shares),
        pids_limit: None,
    }
}

/// What of `to` is more than `from`.
fn more(from: &Resources, to: &Resources) -> Resources {
    let fields = less(to, from);
    Resources {
        memory_limit: fields.memory_limit.and(to.memory_limit),
        cpu_quota: fields.cpu_quota.and(to.cpu_quota),
        cpu_period: fields.cpu_quota.and(to.cpu_period),
        cpu_shares: fields.cpu_shares.and(to.cpu_shares),
        pids_limit: None,
    }
}

/// What a group has that has grown and not shrunk.
fn larger(from: &Resources, to: &Resources) -> Resources {
    let more = more(from, to);
    Resources {
        memory_limit: more.memory_limit.or(from.memory_limit),
        cpu_quota: more.cpu_quota.or(from.cpu_quota),
        cpu_period: more.cpu_period.or(from.cpu_period),
        cpu_shares: more.cpu_shares.or(from.cpu_shares),
        pids_limit: from.pids_limit,
    }
}

impl Observed {
    /// The pod may ask for something else than `before`: what it has been promised is that.
    pub(crate) fn resize_asked(&mut self, pod: &Pod, before: &Pod) {
        if self.resize.is_none() && sizes(pod) != sizes(before) {
            let record = Record { allocated: sizes(before), ..Record::default() };
            self.resize = Some(Box::new(Resize { record, ..Resize::default() }));
        }
    }

    /// What is to be remembered if `wanted` is promised.
    pub(crate) fn record_if(&self, pod: &Pod, wanted: &AllSizes) -> Record {
        let known = self.resize.as_ref();
        let is_unsure = known.is_some_and(|it| it.is_unsure);
        let mut record = known.map(|it| it.record.clone()).unwrap_or_default();
        for (_, container) in spec::all_containers(pod) {
            let running = self.current_here(&container.name).filter(|it| it.is_running());
            let Some(instance) = running else { continue };
            let has = actual(instance, self).unwrap_or_else(|| allocated(container, self));
            match wanted.get(&container.name) == Some(&has) && !is_unsure {
                true => drop(record.actual.remove(&instance.id)),
                false => drop(record.actual.insert(instance.id.clone(), has)),
            }
        }
        if self.sandbox.is_some() && record.group.is_none() {
            record.group = Some(pod_resources(&allocated_pod(pod, self)));
        }
        record.allocated.clone_from(wanted);
        record
    }

    /// What came of asking for `wanted`, and what is to be said of it.
    pub(crate) fn resize_answered(
        &mut self,
        pod: &Pod,
        (wanted, record): (AllSizes, Record),
        verdict: Verdict,
        now: Timestamp,
    ) -> Option<Note> {
        let generation = pod.metadata.generation.unwrap_or_default();
        let resize = self.resize.get_or_insert_default();
        let (reason, event, message) = match verdict {
            Verdict::Granted => {
                resize.record = record;
                resize.pending = None;
                resize.in_progress = Some(InProgress { generation, error: None });
                let told = told("started", &with_sizes(pod, &wanted), generation, None);
                return Some(Note::normal("ResizeStarted", told));
            }
            Verdict::Deferred(message) => ("Deferred", "ResizeDeferred", message),
            Verdict::Infeasible(message) => {
                (coracle_api::pod_resources::INFEASIBLE, "ResizeInfeasible", message)
            }
        };
        let known = resize.pending.as_ref();
        let is_news = known.is_none_or(|it| it.message != message || it.generation != generation);
        let told = told(reason, &with_sizes(pod, &wanted), generation, Some(&message));
        let (reason, retry_at) = (reason.to_owned(), after(now, RETRY_SECONDS));
        resize.pending = Some(Pending { reason, message, generation, wanted, retry_at });
        is_news.then(|| Note::warning(event, told))
    }

    /// There may be room for what was deferred.
    pub(crate) fn resize_again(&mut self, now: Timestamp) {
        if let Some(pending) = self.resize.as_mut().and_then(|it| it.pending.as_mut()) {
            pending.retry_at = now;
        }
    }

    /// Control groups are being written: until it is known that all of them were, each may have the
    /// one or the other.
    pub(crate) fn resize_begun(&mut self, pod: &Pod) {
        let Some(resize) = &mut self.resize else { return };
        let to = pod_resources(&with_sizes(pod, &resize.record.allocated));
        let has = resize.record.group.unwrap_or(to);
        resize.record.group = Some(larger(&has, &to));
        resize.is_unsure = true;
    }

    /// What came of writing control groups.
    pub(crate) fn resize_acted(
        &mut self,
        pod: &Pod,
        record: Record,
        result: Result<(), String>,
        now: Timestamp,
    ) -> Option<Note> {
        let resize = self.resize.as_mut()?;
        let Err(message) = result else {
            resize.record = record;
            resize.is_unsure = false;
            return None;
        };
        let generation = pod.metadata.generation.unwrap_or_default();
        let progress = resize.in_progress.get_or_insert(InProgress { generation, error: None });
        let known = progress.error.take();
        let is_news = known.as_ref().is_none_or(|known| known.message != message);
        progress.error = Some(retry(known.as_ref(), BACKOFF_SECONDS, message.clone(), now));
        let generation = progress.generation;
        let pod = with_sizes(pod, &resize.record.allocated);
        let told = told("error", &pod, generation, Some(&message));
        is_news.then(|| Note::warning("ResizeError", told))
    }

    /// Forgets what has come to be; what is to be said when all of it has.
    pub(crate) fn resize_settled(&mut self, pod: &Pod) -> Option<Note> {
        let is_unsure = self.resize.as_ref()?.is_unsure && self.sandbox.is_some();
        let matters = |(container, instance, has): (&Container, &Instance, Sizes)| {
            let acts = group_of(container, has) != group_of(container, allocated(container, self));
            let is_known = !acts && !is_unsure && !needs_restart(container, instance, self);
            (!is_known).then(|| instance.id.clone())
        };
        let differing: Vec<String> = differing(pod, self).filter_map(matters).collect();
        let promised = allocated_pod(pod, self).into_owned();
        let (wanted, has_group) = (sizes(pod), self.sandbox.is_some());
        let resize = self.resize.as_mut()?;
        resize.record.actual.retain(|id, _| differing.contains(id));
        let group = pod_resources(&promised);
        resize.is_unsure = is_unsure;
        resize.record.group =
            resize.record.group.filter(|it| has_group && (is_unsure || *it != group));
        if wanted == resize.record.allocated {
            resize.pending = None;
        }
        let is_done = resize.record.actual.is_empty() && resize.record.group.is_none();
        let done = resize.in_progress.take_if(|_| is_done);
        if is_done && resize.pending.is_none() && wanted == resize.record.allocated {
            self.resize = None;
        }
        let told = |done: InProgress| told("completed", &promised, done.generation, None);
        done.map(|done| Note::normal("ResizeCompleted", told(done)))
    }

    /// Takes over what an earlier engine remembered of a resize, or else what the status tells.
    pub(crate) fn resize_recovered(&mut self, pod: &Pod, record: Option<Record>, now: Timestamp) {
        let wanted = sizes(pod);
        let mut record = record.unwrap_or_else(|| self.record_told(pod, &wanted));
        // A file may be older than the pod that it is found for.
        record.allocated.retain(|name, _| wanted.contains_key(name));
        for (name, sizes) in &wanted {
            record.allocated.entry(name.clone()).or_insert(*sizes);
        }
        let condition = |name: &str| condition(pod, name);
        let generation = |it: &PodCondition| it.observed_generation.unwrap_or_default();
        let in_progress =
            condition(IN_PROGRESS).map(|it| InProgress { generation: generation(it), error: None });
        let pending = condition(PENDING).map(|it| Pending {
            reason: it.reason.clone().unwrap_or_default(),
            message: it.message.clone().unwrap_or_default(),
            generation: generation(it),
            wanted: wanted.clone(),
            retry_at: now,
        });
        let is_over = record.actual.is_empty() && record.group.is_none();
        if wanted != record.allocated || !is_over || in_progress.is_some() || pending.is_some() {
            let resize = Resize { record, pending, in_progress, is_unsure: false };
            self.resize = Some(Box::new(resize));
        }
        if !is_over {
            self.resize_begun(pod);
        }
        self.resize_stops(pod, now);
    }

    /// What can be told without a record. Of what the status does not tell of, nobody knows what the
    /// spec asked for when it was made: it may have anything else than what the spec asks for now.
    fn record_told(&self, pod: &Pod, wanted: &AllSizes) -> Record {
        let mut record = Record { allocated: told_sizes(pod), ..Record::default() };
        let untold: Vec<_> =
            wanted.iter().filter(|(name, _)| !record.allocated.contains_key(*name)).collect();
        if untold.is_empty() || self.sandbox.is_none() {
            return record;
        }
        for (name, sizes) in untold {
            record.allocated.insert(name.clone(), *sizes);
            let running = self.current_here(name).filter(|it| it.is_running());
            record.actual.extend(running.map(|it| (it.id.clone(), *sizes)));
        }
        record.group = Some(pod_resources(&with_sizes(pod, &record.allocated)));
        record
    }

    /// What has ended and was to be started again ended because an earlier engine told it to.
    fn resize_stops(&mut self, pod: &Pod, now: Timestamp) {
        for (_, container) in spec::all_containers(pod) {
            let ended = self.current_here(&container.name).filter(|it| !it.is_running());
            let restarts = ended.is_some_and(|it| needs_restart(container, it, self));
            let current =
                self.containers.get_mut(&container.name).and_then(|it| it.current.as_mut());
            if let Some(instance) = current.filter(|_| restarts) {
                instance.stopping = Some(Stopping { deadline: now, stage: StopStage::Signalled });
            }
        }
    }
}

/// What the status says that containers were promised: of those that it says anything of.
fn told_sizes(pod: &Pod) -> AllSizes {
    let status = pod.status.as_ref();
    let lists = status.map(|it| [&it.init_container_statuses, &it.container_statuses]);
    let statuses = lists.into_iter().flatten().flatten().flatten();
    let told = |status: &ContainerStatus| {
        Some((status.name.clone(), Sizes::of(Some(status.resources.as_ref()?))))
    };
    statuses.filter_map(told).collect()
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    let status = pod.status.as_ref()?;
    status.conditions.iter().flatten().find(|it| it.type_ == name && it.status == "True")
}

/// Upstream's sentence of an event about a resize.
fn told(what: &str, pod: &Pod, generation: i64, error: Option<&str>) -> String {
    let list = |containers: &[Container]| -> Vec<Value> {
        let one = |it: &Container| json!({"name": it.name, "resources": it.resources});
        containers.iter().map(one).collect()
    };
    let summary = Summary {
        init_containers: list(spec::init_containers(pod)),
        containers: list(spec::containers(pod)),
        generation,
        error,
    };
    let summary = serde_json::to_string(&summary).unwrap_or_default();
    format!("Pod resize {what}: {summary}")
}

/// What an event says of a resize, in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Value>,
    containers: Vec<Value>,
    generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// The conditions that tell of the pod's resize.
pub(super) fn conditions(pod: &Pod, seen: &Observed, now: Timestamp) -> Vec<PodCondition> {
    let Some(resize) = &seen.resize else { return Vec::new() };
    let make = |name: &str, reason: &str, message: &str, generation: i64| PodCondition {
        type_: name.to_owned(),
        status: "True".to_owned(),
        last_probe_time: None,
        last_transition_time: condition(pod, name)
            .and_then(|it| it.last_transition_time.clone())
            .or_else(|| Some(spec::api_time(now))),
        reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        message: Some(message.to_owned()).filter(|message| !message.is_empty()),
        observed_generation: Some(generation),
    };
    let pending = resize.pending.as_ref();
    let pending = pending.map(|it| make(PENDING, &it.reason, &it.message, it.generation));
    let progress = resize.in_progress.as_ref().map(|it| match &it.error {
        Some(error) => make(IN_PROGRESS, "Error", &error.message, it.generation),
        None => make(IN_PROGRESS, "", "", it.generation),
    });
    pending.into_iter().chain(progress).collect()
}

/// `resources` and `allocatedResources` of a container's status.
pub(super) fn shown(container: &Container, status: &mut ContainerStatus, seen: &Observed) {
    let promised = allocated(container, seen);
    let promised = promised.in_place(container.resources.as_ref());
    let running = seen.current(&container.name).filter(|it| it.is_running());
    let has = running.and_then(|instance| actual(instance, seen));
    let has = has.map(|has| has.in_place(container.resources.as_ref()));
    status.allocated_resources = promised.requests.clone().filter(|it| !it.is_empty());
    status.resources = Some(has.unwrap_or(promised));
}
