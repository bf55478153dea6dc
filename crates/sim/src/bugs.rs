//! Bugs to plant: each must be caught, or the checks are worth nothing. None of them has a switch
//! in what is tested; they are planted at the seams between its parts.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, LazyLock};

use coracle_api::pods::AnyPod;
use coracle_api::resources::{POD_DISRUPTION_BUDGETS, PODS};
use coracle_api::{Gates, Key, Object};
use coracle_controllers::{
    CONTROLLERS, Config, Context, Controller, Decide, Memory, Plan, Step, Write,
};
use coracle_runtime::Sandbox;
use coracle_store::{Expect, Snapshot, Write as StoreWrite};
use serde_json::{Value, json};

use crate::cast::Cast;

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Plans are written whatever has changed since they were made.
    PreconditionIgnored,
    /// The later steps of a plan are written whatever has changed since the first.
    StepPreconditionDropped,
    /// The StatefulSet controller takes every set for one without order.
    OrderIgnored,
    /// The disk says that it has flushed, and has not.
    FlushSkipped,
    /// A node removes a pod's object before its containers have ended.
    ObjectFirst,
    /// A node starts a pod beside what is left of an earlier one of its name.
    SideBySide,
    /// An engine does again what one before it, which was killed, has done already.
    DoneTwice,
    /// The StatefulSet controller finds objects by an index that was not updated.
    IndexStale,
    /// The Deployment controller takes twice as many pods for allowed as there may be.
    SurgeIgnored,
    /// The Job controller counts pods first and lets go of them after that: what is killed in
    /// between counts them again.
    CountedTwice,
    /// The StatefulSet controller rolls where it is to recreate.
    OldBesideNew,
    /// The CronJob controller keeps in memory what it has started last.
    StartForgotten,
    /// The HorizontalPodAutoscaler controller forgets what it has changed lately.
    PaceForgotten,
    /// The HorizontalPodAutoscaler controller takes more replicas for allowed than are.
    BoundsIgnored,
    /// The scheduler takes those who wait for more important than those who have a place.
    WaitingFavoured,
    /// The scheduler gives away what it keeps for others.
    PlaceGivenAway,
    /// The scheduler knows no budgets.
    BudgetsIgnored,
    /// The signer of certificates does not wait for who approves.
    SignedUnapproved,
    /// Requests for certificates are cleaned away an hour too early.
    CleanedEarly,
    /// A webhook that cannot be asked is taken for one that allows, whatever its failurePolicy.
    FailureIgnored,
    /// A node gives a pod that is resized what it asks for, whatever others have.
    PromisedTwice,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::PreconditionIgnored,
        Self::StepPreconditionDropped,
        Self::OrderIgnored,
        Self::FlushSkipped,
        Self::ObjectFirst,
        Self::SideBySide,
        Self::DoneTwice,
        Self::IndexStale,
        Self::SurgeIgnored,
        Self::CountedTwice,
        Self::OldBesideNew,
        Self::StartForgotten,
        Self::PaceForgotten,
        Self::BoundsIgnored,
        Self::WaitingFavoured,
        Self::PlaceGivenAway,
        Self::BudgetsIgnored,
        Self::SignedUnapproved,
        Self::CleanedEarly,
        Self::FailureIgnored,
        Self::PromisedTwice,
    ];

    /// What users must work with for it to show.
    pub(crate) fn cast(self) -> Cast {
        match self {
            Self::SurgeIgnored => Cast::Deployments,
            Self::CountedTwice => Cast::Jobs,
            Self::StartForgotten => Cast::CronJobs,
            Self::PaceForgotten | Self::BoundsIgnored => Cast::Autoscalers,
            Self::WaitingFavoured | Self::PlaceGivenAway | Self::BudgetsIgnored => Cast::Ranks,
            Self::SignedUnapproved | Self::CleanedEarly => Cast::Certificates,
            Self::FailureIgnored => Cast::Guards,
            _ => Cast::StatefulSets,
        }
    }
}

const STATEFUL_SETS: &str = "statefulset-controller";
const DEPLOYMENTS: &str = "deployment-controller";
const JOBS: &str = "job-controller";
const CRON_JOBS: &str = "cronjob-controller";
const AUTOSCALERS: &str = "horizontal-pod-autoscaler";
const SCHEDULER: &str = "default-scheduler";
const SIGNER: &str = "certificatesigningrequest-signing-controller";
const CLEANER: &str = "certificatesigningrequest-cleaner-controller";

/// A table of controllers.
type Table = LazyLock<Vec<Controller>>;

static WITHOUT_ORDER: Table = LazyLock::new(|| with(STATEFUL_SETS, decide_without_order));
static WITH_STALE_INDEX: Table = LazyLock::new(|| with(STATEFUL_SETS, decide_by_stale_index));
static ROLLING: Table = LazyLock::new(|| with(STATEFUL_SETS, decide_to_roll));
static WITH_SURGE: Table = LazyLock::new(|| with(DEPLOYMENTS, decide_with_surge));
static COUNTING_FIRST: Table = LazyLock::new(|| with(JOBS, decide_counting_first));
static FORGETFUL: Table = LazyLock::new(|| with(CRON_JOBS, decide_forgetful));
static WITHOUT_PACE: Table = LazyLock::new(|| with(AUTOSCALERS, decide_without_pace));
static WITHOUT_BOUNDS: Table = LazyLock::new(|| with(AUTOSCALERS, decide_without_bounds));
static FAVOURING: Table = LazyLock::new(|| with(SCHEDULER, place_who_waits));
static GIVING_AWAY: Table = LazyLock::new(|| with(SCHEDULER, place_where_others_wait));
static SIGNING_ALL: Table = LazyLock::new(|| with(SIGNER, sign_without_approval));
static CLEANING_EARLY: Table = LazyLock::new(|| with(CLEANER, clean_early));
static WITHOUT_BUDGETS: Table = LazyLock::new(|| with(SCHEDULER, place_without_budgets));

thread_local! {
    /// The state whose indexes [`decide_by_stale_index`] goes by, and how often it still will.
    static STALE: RefCell<(Snapshot, u32)> = RefCell::default();
    /// How often the engine was started in this world.
    static STARTS: Cell<u32> = const { Cell::new(0) };
}

/// A world begins.
pub(crate) fn begin() {
    STARTS.set(0);
}

/// The table of controllers, with another decision of the one of this name.
fn with(name: &str, decide: Decide) -> Vec<Controller> {
    let plant = |row: &Controller| match row.name == name {
        true => Controller { decide, ..*row },
        false => *row,
    };
    CONTROLLERS.iter().map(plant).collect()
}

/// The table of controllers, with the bug in it if it belongs there.
pub(crate) fn controllers(bug: Option<Bug>) -> &'static [Controller] {
    STALE.take();
    STARTS.set(STARTS.get() + 1);
    match bug {
        Some(Bug::OrderIgnored) => &WITHOUT_ORDER,
        Some(Bug::IndexStale) => &WITH_STALE_INDEX,
        Some(Bug::OldBesideNew) => &ROLLING,
        Some(Bug::SurgeIgnored) => &WITH_SURGE,
        Some(Bug::CountedTwice) => &COUNTING_FIRST,
        Some(Bug::StartForgotten) => &FORGETFUL,
        Some(Bug::PaceForgotten) => &WITHOUT_PACE,
        Some(Bug::BoundsIgnored) => &WITHOUT_BOUNDS,
        Some(Bug::WaitingFavoured) => &FAVOURING,
        Some(Bug::PlaceGivenAway) => &GIVING_AWAY,
        Some(Bug::BudgetsIgnored) => &WITHOUT_BUDGETS,
        Some(Bug::SignedUnapproved) => &SIGNING_ALL,
        Some(Bug::CleanedEarly) => &CLEANING_EARLY,
        _ => CONTROLLERS,
    }
}

/// What the controller of this name decides.
fn rightly(name: &str, snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let row = CONTROLLERS.iter().find(|row| row.name == name);
    row.map_or_else(Plan::default, |row| (row.decide)(snapshot, key, context))
}

/// Decides by indexes that are updated only now and then.
fn decide_by_stale_index(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let stale = STALE.with_borrow_mut(|(indexes, left)| {
        if *left == 0 {
            (*indexes, *left) = (snapshot.clone(), STALE_FOR);
        }
        *left -= 1;
        snapshot.with_indexes_of(indexes)
    });
    rightly(STATEFUL_SETS, &stale, key, context)
}

/// Decisions that go by one state of the indexes.
const STALE_FOR: u32 = 10;

/// Decides as if the set's policy were `Parallel`.
fn decide_without_order(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let parallel = |value: &mut Value| value["spec"]["podManagementPolicy"] = json!("Parallel");
    decide_on_another(STATEFUL_SETS, parallel, snapshot, key, context)
}

/// Decides as if nothing were switched on: then a set that is to be recreated is rolled.
fn decide_to_roll(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let config = Config { gates: Gates::default(), ..context.config.clone() };
    rightly(STATEFUL_SETS, snapshot, key, &Context { config: &config, ..*context })
}

/// Decides as if the pods might be doubled.
fn decide_with_surge(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let doubled = |value: &mut Value| {
        let strategy = &mut value["spec"]["strategy"];
        if strategy["type"] == "RollingUpdate" {
            strategy["rollingUpdate"]["maxSurge"] = json!("100%");
        }
    };
    decide_on_another(DEPLOYMENTS, doubled, snapshot, key, context)
}

/// Decides, since the engine was started again, as if nothing had ever been started.
fn decide_forgetful(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    if STARTS.get() < 2 {
        return rightly(CRON_JOBS, snapshot, key, context);
    }
    let forgotten = |value: &mut Value| {
        if let Some(status) = value["status"].as_object_mut() {
            status.remove("lastScheduleTime");
        }
    };
    decide_on_another(CRON_JOBS, forgotten, snapshot, key, context)
}

/// Decides as if it had never changed anything.
fn decide_without_pace(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let (increases, decreases) = Default::default();
    let memory = context.memory.map(|memory| Memory { increases, decreases, ..memory.clone() });
    rightly(AUTOSCALERS, snapshot, key, &Context { memory: memory.as_ref(), ..*context })
}

/// Decides as if there might be a few more.
fn decide_without_bounds(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let raised = |value: &mut Value| {
        let most = value["spec"]["maxReplicas"].as_i64().unwrap_or(1);
        value["spec"]["maxReplicas"] = json!(most + 3);
    };
    decide_on_another(AUTOSCALERS, raised, snapshot, key, context)
}

/// Signs as if somebody had approved.
fn sign_without_approval(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let found = snapshot.get(key).map(|object| object.value()["status"]["conditions"].clone());
    let approved = |value: &mut Value| {
        value["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    };
    let mut plan = decide_on_another(SIGNER, approved, snapshot, key, context);
    for write in plan.steps.iter_mut().flat_map(|step| &mut step.writes) {
        if let Write::UpdateSubresource(_, value) = write {
            value["status"]["conditions"] = found.clone().unwrap_or_default();
        }
    }
    plan
}

/// Cleans as if it were later.
fn clean_early(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let now = context.now + jiff::SignedDuration::from_mins(50);
    rightly(CLEANER, snapshot, key, &Context { now, ..*context })
}

/// Places as if those who wait were more important.
fn place_who_waits(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    place_on_others(snapshot, key, context, |pod| {
        let waits = pod.str_at("/spec/nodeName").is_none();
        let mut value = pod.value().clone();
        value["spec"]["priority"] = json!(pod.priority() + 1);
        waits.then_some(value)
    })
}

/// Places as if nothing were kept for anybody.
fn place_where_others_wait(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    place_on_others(snapshot, key, context, |pod| {
        pod.str_at("/status/nominatedNodeName")?;
        let mut value = pod.value().clone();
        value["status"]["nominatedNodeName"] = Value::Null;
        Some(value)
    })
}

/// Places as if there were no budgets.
fn place_without_budgets(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let budgets = snapshot.list(POD_DISRUPTION_BUDGETS, None);
    let gone: Vec<_> =
        budgets.map(|it| StoreWrite::delete(it.key().clone(), Expect::Any)).collect();
    let without = snapshot.with(&gone).unwrap_or_else(|_| snapshot.clone());
    rightly(SCHEDULER, &without, key, context)
}

/// Places pods as if those for which `change` gives another value had it.
fn place_on_others(
    snapshot: &Snapshot,
    key: &Key,
    context: &Context<'_>,
    change: impl Fn(&Object) -> Option<Value>,
) -> Plan {
    let other = |pod: &Arc<Object>| {
        let object = Object::with_resource(pod.key().resource.clone(), change(pod)?).ok()?;
        Some(StoreWrite::put(object, Expect::Any))
    };
    let others: Vec<_> = snapshot.list(PODS, None).filter_map(other).collect();
    let changed = snapshot.with(&others).unwrap_or_else(|_| snapshot.clone());
    let mut plan = rightly(SCHEDULER, &changed, key, context);
    plan.steps.iter_mut().flat_map(|step| &mut step.writes).for_each(Write::forget_version);
    plan
}

/// Decides as if the object at `key` were another.
fn decide_on_another(
    name: &str,
    change: impl Fn(&mut Value),
    snapshot: &Snapshot,
    key: &Key,
    context: &Context<'_>,
) -> Plan {
    let Some(other) = changed(change, snapshot, key) else {
        return rightly(name, snapshot, key, context);
    };
    let mut plan = rightly(name, &other, key, context);
    // The object that was shown is at no revision that is stored.
    plan.rests_on.retain(|object| object.key() != key);
    for write in plan.steps.iter_mut().flat_map(|step| &mut step.writes) {
        if let Write::UpdateSubresource(..) = write {
            write.forget_version();
        }
    }
    plan
}

fn changed(change: impl Fn(&mut Value), snapshot: &Snapshot, key: &Key) -> Option<Snapshot> {
    let mut value = snapshot.get(key)?.value().clone();
    change(&mut value);
    let object = Object::with_resource(key.resource.clone(), value).ok()?;
    snapshot.with(&[StoreWrite::put(object, Expect::Any)]).ok()
}

/// Decides rightly, and writes the counts before the pods are let go.
fn decide_counting_first(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = rightly(JOBS, snapshot, key, context);
    let is_pod = |write: &Write| match write {
        Write::Update(value) => value["kind"] == "Pod",
        Write::Delete { key, .. } => *key.resource == *PODS,
        _ => false,
    };
    let Some(last) = plan.steps.pop() else { return plan };
    let (pods, counts): (Vec<_>, Vec<_>) = last.writes.iter().cloned().partition(is_pod);
    plan.step(Step { writes: counts, ..last });
    plan.step(Step::together(pods));
    plan
}

/// The sandboxes that an earlier engine left, as if nothing had been started in them.
pub(crate) fn without_containers(mut left: Vec<Sandbox>) -> Vec<Sandbox> {
    left.iter_mut().for_each(|sandbox| sandbox.containers.clear());
    left
}
