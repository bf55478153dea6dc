//! The engine under test: store, API, driver and nodes, as one process that can be killed.

use std::sync::Arc;

use coracle_api::{Gates, Key, Status, Timestamp};
use coracle_controllers::{Config, Write};
use coracle_driver::{Errand, EventRecorder, Loop, Outcome, bootstrap};
use coracle_runtime::{Containers, EventReceiver};
use coracle_server::{Api, Cluster, Kinds};
use coracle_store::Store;

use crate::bugs::{self, Bug};
use crate::cast::WORKLOADS;
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
    /// Decided and not carried out yet, or not in full: at most one of each key, as in the engine.
    errands: Vec<Errand>,
    /// The revision up to which the loop has seen everything, when it found nothing to ask.
    asked_at: Option<u64>,
    bug: Option<Bug>,
}

/// A plan that wants something written.
pub(crate) struct Planned {
    /// Whose it is.
    pub name: &'static str,
    pub key: Key,
    /// In words.
    pub said: String,
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
        gates: &Gates,
    ) -> Result<Self, Status> {
        let source = Arc::clone(clock) as Arc<dyn coracle_server::Source>;
        let api = Api::new(store, Kinds::gated(gates), Cluster::default(), source);
        api.set_outside(clock.outside(machine, bug == Some(Bug::FailureIgnored)));
        let events = EventRecorder::default();
        let config = config(gates.clone());
        ready(bootstrap(&api, &config))?;
        (0..nodes).try_for_each(|index| node::register(&api, index))?;
        let happenings = machine.events();
        let left = ready(machine.list()).map_err(Status::internal)?;
        let left = if bug == Some(Bug::DoneTwice) { bugs::without_containers(left) } else { left };
        Ok(Self {
            looped: Loop::new(bugs::controllers(bug), config, events.clone()),
            nodes: (0..nodes).map(|index| Node::new(index, &api, &left)).collect(),
            happenings,
            errands: Vec::new(),
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

    /// Asks until a plan wants something written; in words which. `singly` plans are carried out
    /// step by step.
    ///
    /// # Errors
    /// What a decision said as it panicked.
    pub fn decide(&mut self, singly: bool, now: Timestamp) -> Result<Option<Planned>, String> {
        self.looped.catch_up(&self.api);
        let snapshot = self.api.snapshot();
        while let Some(job) = self.looped.take(now) {
            let name = self.looped.name(&job);
            let errand = self.looped.decide(&job, &snapshot, now);
            let errand = errand.map_err(|why| format!("{name} on {} panicked: {why}", job.key))?;
            if errand.spins(now) {
                return Err(format!("{name} decides on {} again and again", job.key));
            }
            if errand.is_idle() {
                self.looped.finish(errand, Outcome::Done, &snapshot, now);
                continue;
            }
            let said = format!("{name} plans for {}", job.key);
            self.errands.push(if singly { errand.singly() } else { errand });
            return Ok(Some(Planned { name, key: job.key, said }));
        }
        self.asked_at = Some(snapshot.revision());
        self.looped.panicked().map_or(Ok(None), |why| Err(format!("a panic: {why}")))
    }

    pub fn plans(&self) -> usize {
        self.errands.len()
    }

    /// Carries out the next transaction of the `index`-th plan; whose it was, and in words what came
    /// of it.
    pub fn commit(&mut self, index: usize, now: Timestamp) -> (&'static str, String) {
        let mut errand = self.errands.remove(index);
        let forgets = match self.bug {
            Some(Bug::PreconditionIgnored) => true,
            Some(Bug::StepPreconditionDropped) => errand.has_begun(),
            _ => false,
        };
        if forgets {
            errand.forget_preconditions();
        }
        let name = self.looped.name(&errand.job);
        let writes: Vec<_> = errand.next_writes().map(described).collect();
        let outcome = ready(errand.turn(&self.api, name));
        let came = match &outcome {
            None => "to be continued".to_owned(),
            Some(Outcome::Done) => "done".to_owned(),
            Some(Outcome::Outrun) => "outrun".to_owned(),
            Some(Outcome::Refused(status)) => format!("refused: {status}"),
            Some(Outcome::Panicked(why)) => format!("panicked: {why}"),
            Some(Outcome::Answered(_)) => "answered".to_owned(),
        };
        match outcome {
            None => self.errands.insert(index, errand),
            Some(outcome) => {
                self.looped.finish(errand, outcome, &self.api.snapshot(), now);
            }
        }
        self.asked_at = None;
        (name, format!("{name}: {}: {came}", writes.join(", ")))
    }

    /// When the loop wants to look again.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.looped.next_timer()
    }

    /// What every workload waits for.
    pub fn reasons(&self) -> Vec<String> {
        let (snapshot, reasons) = (self.api.snapshot(), self.looped.reasons());
        let all = WORKLOADS.iter().flat_map(|resource| snapshot.list(resource, None));
        all.flat_map(|object| reasons.why(&snapshot, object.key()))
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
        Write::Update(value) => match value["spec"]["replicas"].as_i64() {
            Some(replicas) => format!("update {} of {replicas}", name(value)),
            None => format!("update {}", name(value)),
        },
        Write::UpdateSubresource(subresource, value) => format!("{subresource} of {}", name(value)),
        Write::CreateSubresource { key, subresource, .. }
        | Write::UpdateSubresourceOf { key, subresource, .. } => format!("{subresource} of {key}"),
        Write::Delete { key, .. } => format!("delete {key}"),
    }
}

fn config(gates: Gates) -> Config {
    let services = Cluster::default().services;
    Config {
        ca_bundle: "CA".to_owned(),
        front_proxy_ca: "CA of the front proxy".to_owned(),
        api_address: [10, 244, 255, 1].into(),
        api_port: 6443,
        dns_address: [10, 244, 255, 1].into(),
        services,
        load_balancers: services,
        largest_volume: 16 << 40,
        gates,
    }
}
