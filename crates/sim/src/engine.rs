//! The engine under test: store, API, driver and nodes, as one process that can be killed.

use std::sync::Arc;

use coracle_api::{Status, Timestamp};
use coracle_controllers::{Config, Plan, Write};
use coracle_driver::{EventRecorder, Job, Loop, Outcome, bootstrap, carry_out};
use coracle_runtime::{Containers, EventReceiver};
use coracle_server::{Api, Cluster, Kinds};
use coracle_store::Store;

use crate::bugs::{self, Bug};
use crate::clock::Clock;
use crate::machine::Machine;
use crate::node::{self, Node};
use crate::ready::ready;

/// A running engine.
pub(crate) struct Engine {
    pub api: Api,
    pub nodes: Vec<Node>,
    pub events: EventRecorder,
    pub happenings: EventReceiver,
    looped: Loop,
    /// Decided and not carried out yet: at most one of each controller, as in the engine.
    plans: Vec<(Job, Plan)>,
    /// The revision up to which the loop has seen everything, when it found nothing to ask.
    asked_at: Option<u64>,
    bug: Option<Bug>,
}

impl Engine {
    /// Starts on an open store, and makes what a cluster begins with.
    ///
    /// # Errors
    /// When that cannot be made.
    pub fn start(
        store: Store,
        clock: &Arc<Clock>,
        machine: &Machine,
        nodes: usize,
        bug: Option<Bug>,
    ) -> Result<Self, Status> {
        let source = Arc::clone(clock) as Arc<dyn coracle_server::Source>;
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), source);
        let events = EventRecorder::default();
        let config = config();
        ready(bootstrap(&api, &config))?;
        (0..nodes).try_for_each(|index| node::register(&api, index))?;
        let happenings = machine.events();
        let left = ready(machine.list()).map_err(Status::internal)?;
        let left = if bug == Some(Bug::DoneTwice) { bugs::without_containers(left) } else { left };
        Ok(Self {
            looped: Loop::new(bugs::controllers(bug), config, events.clone()),
            nodes: (0..nodes).map(|index| Node::new(index, &api, &left)).collect(),
            happenings,
            plans: Vec::new(),
            asked_at: None,
            api,
            events,
            bug,
        })
    }

    /// Whether the loop may have something to decide.
    pub fn may_decide(&self, now: Timestamp) -> bool {
        self.asked_at != Some(self.api.snapshot().revision())
            || self.looped.next_timer().is_some_and(|at| at <= now)
    }

    /// Asks until a plan wants something written; in words which.
    pub fn decide(&mut self, now: Timestamp) -> Option<String> {
        self.looped.catch_up(&self.api);
        let snapshot = self.api.snapshot();
        while let Some(job) = self.looped.take(now) {
            let plan = self.looped.decide(&job, &snapshot, now);
            if plan.writes.is_empty() {
                self.looped.finish(job, plan, Outcome::Done, now);
                continue;
            }
            let said = format!("{} plans for {}", self.looped.name(&job), job.key);
            self.plans.push((job, plan));
            return Some(said);
        }
        self.asked_at = Some(snapshot.revision());
        None
    }

    pub fn plans(&self) -> usize {
        self.plans.len()
    }

    /// Carries out the `index`-th plan; whose it was, and in words what came of it.
    pub fn commit(&mut self, index: usize, now: Timestamp) -> (&'static str, String) {
        let (job, mut plan) = self.plans.remove(index);
        if self.bug == Some(Bug::PreconditionIgnored) {
            plan = bugs::without_preconditions(plan);
        }
        let name = self.looped.name(&job);
        let outcome = ready(carry_out(&self.api, name, &plan));
        let writes: Vec<_> = plan.writes.iter().map(described).collect();
        let came = match &outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Outrun => "outrun".to_owned(),
            Outcome::Refused(status) => format!("refused: {status}"),
        };
        self.looped.finish(job, plan, outcome, now);
        self.asked_at = None;
        (name, format!("{name}: {}: {came}", writes.join(", ")))
    }

    /// When the loop wants to look again.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.looped.next_timer()
    }

    /// What every set waits for.
    pub fn reasons(&self) -> Vec<String> {
        let (snapshot, reasons) = (self.api.snapshot(), self.looped.reasons());
        let sets = snapshot.list("statefulsets.apps", None);
        sets.flat_map(|set| reasons.why(&snapshot, set.key()))
            .map(|reason| format!("{}: {}", reason.key, reason.sentence))
            .collect()
    }

    /// Writes the events that were recorded.
    pub fn flush_events(&self) {
        ready(self.events.flush(&self.api));
    }
}

fn described(write: &Write) -> String {
    let name = |value: &serde_json::Value| {
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        format!("{} {}", value["kind"].as_str().unwrap_or_default(), text("name"))
    };
    match write {
        Write::Create(value) => format!("create {}", name(value)),
        Write::Update(value) => format!("update {}", name(value)),
        Write::UpdateSubresource(subresource, value) => format!("{subresource} of {}", name(value)),
        Write::CreateSubresource { key, subresource, .. } => format!("{subresource} of {key}"),
        Write::Delete { key, .. } => format!("delete {key}"),
    }
}

fn config() -> Config {
    let services = Cluster::default().services;
    Config {
        ca_bundle: "CA".to_owned(),
        api_address: [10, 244, 255, 1].into(),
        api_port: 6443,
        dns_address: [10, 244, 255, 1].into(),
        services,
        load_balancers: services,
        largest_volume: 16 << 40,
    }
}
