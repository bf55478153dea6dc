//! Bugs to plant: each must be caught, or the checks are worth nothing. None of them has a switch
//! in what is tested; they are planted at the seams between its parts.

use std::cell::RefCell;
use std::sync::LazyLock;

use coracle_api::{Key, Object};
use coracle_controllers::{CONTROLLERS, Context, Controller, Plan, Write};
use coracle_runtime::Sandbox;
use coracle_store::{Expect, Snapshot, Write as StoreWrite};
use serde_json::json;

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
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PreconditionIgnored,
        Self::StepPreconditionDropped,
        Self::OrderIgnored,
        Self::FlushSkipped,
        Self::ObjectFirst,
        Self::SideBySide,
        Self::DoneTwice,
        Self::IndexStale,
    ];
}

const STATEFUL_SETS: &str = "statefulset-controller";

static WITHOUT_ORDER: LazyLock<Vec<Controller>> = LazyLock::new(|| with(decide_without_order));
static WITH_STALE_INDEX: LazyLock<Vec<Controller>> = LazyLock::new(|| with(decide_by_stale_index));

thread_local! {
    /// The state whose indexes [`decide_by_stale_index`] goes by, and how often it still will.
    static STALE: RefCell<(Snapshot, u32)> = RefCell::default();
}

/// Decisions that go by one state of the indexes.
const STALE_FOR: u32 = 10;

/// The table of controllers, with another decision about StatefulSets.
fn with(decide: fn(&Snapshot, &Key, &Context<'_>) -> Plan) -> Vec<Controller> {
    let plant = |row: &Controller| match row.name {
        STATEFUL_SETS => Controller { decide, ..*row },
        _ => *row,
    };
    CONTROLLERS.iter().map(plant).collect()
}

/// The table of controllers, with the bug in it if it belongs there.
pub(crate) fn controllers(bug: Option<Bug>) -> &'static [Controller] {
    STALE.take();
    match bug {
        Some(Bug::OrderIgnored) => &WITHOUT_ORDER,
        Some(Bug::IndexStale) => &WITH_STALE_INDEX,
        _ => CONTROLLERS,
    }
}

fn right() -> Option<fn(&Snapshot, &Key, &Context<'_>) -> Plan> {
    CONTROLLERS.iter().find(|row| row.name == STATEFUL_SETS).map(|row| row.decide)
}

/// Decides by indexes that are updated only now and then.
fn decide_by_stale_index(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(decide) = right() else { return Plan::default() };
    let stale = STALE.with_borrow_mut(|(indexes, left)| {
        if *left == 0 {
            (*indexes, *left) = (snapshot.clone(), STALE_FOR);
        }
        *left -= 1;
        snapshot.with_indexes_of(indexes)
    });
    decide(&stale, key, context)
}

/// Decides as if the set's policy were `Parallel`.
fn decide_without_order(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(decide) = right() else { return Plan::default() };
    let Some(parallel) = parallel(snapshot, key) else { return decide(snapshot, key, context) };
    let mut plan = decide(&parallel, key, context);
    // The set that was shown is at no revision that is stored.
    plan.rests_on.retain(|object| object.key() != key);
    for write in plan.steps.iter_mut().flat_map(|step| &mut step.writes) {
        if let Write::UpdateSubresource(..) = write {
            write.forget_version();
        }
    }
    plan
}

fn parallel(snapshot: &Snapshot, key: &Key) -> Option<Snapshot> {
    let mut value = snapshot.get(key)?.value().clone();
    value["spec"]["podManagementPolicy"] = json!("Parallel");
    let object = Object::with_resource(key.resource.clone(), value).ok()?;
    snapshot.with(&[StoreWrite::put(object, Expect::Any)]).ok()
}

/// The sandboxes that an earlier engine left, as if nothing had been started in them.
pub(crate) fn without_containers(mut left: Vec<Sandbox>) -> Vec<Sandbox> {
    left.iter_mut().for_each(|sandbox| sandbox.containers.clear());
    left
}
