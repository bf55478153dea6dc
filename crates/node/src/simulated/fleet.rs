//! The one task for all simulated nodes and their pods.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::resources::{NODES, PODS};
use coracle_api::{Index, Object};
use coracle_store::{Compacted, Event, Snapshot, Watch};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{Semaphore, mpsc};

use super::nodes::{self, is_simulated};
use super::pod::{Deed, Fact, SimulatedPod, Slot};
use super::recover::recovered;
use crate::client::Client;
use crate::context::Context;
use crate::worker::{End, Found, Kept, Message, Moment, Worker};

/// How often a node gives a sign of life: twice in the time for which a lease holds.
const BEAT: Duration = Duration::from_secs(20);
/// How many writes are under way at once: as many as share a flush.
const WRITES: usize = 128;

/// What waits for its time.
enum Due {
    Pod(String, Fact),
    Look(String),
    Beat(Arc<str>),
}

type Letter = (String, Message);

/// All simulated nodes and their pods.
struct Fleet {
    context: Arc<Context>,
    /// By name, with the place of their next sign of life.
    nodes: BTreeMap<Arc<str>, Slot>,
    /// By UID.
    pods: HashMap<String, SimulatedPod>,
    /// By the time since the beginning, and in their order.
    due: BTreeMap<Slot, Due>,
    numbers: u64,
    began: Instant,
    outbox: mpsc::UnboundedSender<Letter>,
    inbox: mpsc::UnboundedReceiver<Letter>,
    writes: Arc<Semaphore>,
}

/// Addresses that simulated pods have already: nobody else may get them.
pub(crate) fn keep_addresses(context: &Context) {
    let snapshot = context.client.api.snapshot();
    for node in snapshot.list(NODES, None).filter(|node| is_simulated(node)) {
        for pod in snapshot.indexed(Index::PodNode, &node.metadata().name, PODS, None) {
            if let Some(ip) = pod.str_at("/status/podIP").and_then(|ip| ip.parse().ok()) {
                context.addresses.keep(&pod.metadata().uid, ip);
            }
        }
    }
}

/// Lets the pods of simulated nodes live, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    if let Some(count) = context.config.simulated_nodes
        && let Err(error) = nodes::set_count(&context.client, count).await
    {
        tracing::error!(%error, "the simulated nodes are not as many as they were to be");
    }
    let (outbox, inbox) = mpsc::unbounded_channel();
    let fleet = Fleet {
        context,
        nodes: BTreeMap::new(),
        pods: HashMap::new(),
        due: BTreeMap::new(),
        numbers: 0,
        began: Instant::now(),
        outbox,
        inbox,
        writes: Arc::new(Semaphore::new(WRITES)),
    };
    fleet.follow().await;
}

impl Fleet {
    async fn follow(mut self) {
        let store = self.context.client.api.store().clone();
        loop {
            let snapshot = self.context.client.api.snapshot();
            let revision = snapshot.revision();
            let (Ok(mut nodes), Ok(mut pods)) =
                (store.watch_resource(NODES, revision), store.watch_resource(PODS, revision))
            else {
                continue;
            };
            self.look_at_all(&snapshot);
            drop(snapshot);
            while self.step(&mut nodes, &mut pods).await.is_ok() {}
        }
    }

    /// One thing that happens. Without simulated nodes nobody looks at pods: that watch may fall behind.
    async fn step(&mut self, nodes: &mut Watch, pods: &mut Watch) -> Result<(), Compacted> {
        let next = self.due.first_key_value().map(|((at, _), _)| *at);
        let pause = next.map(|at| at.saturating_sub(self.began.elapsed()));
        let is_in_use = !self.nodes.is_empty() || !self.pods.is_empty();
        tokio::select! {
            event = nodes.next() => self.node_changed(&*event?),
            event = pods.next(), if is_in_use => self.pod_changed(&*event?),
            // The fleet has a sender itself.
            Some((uid, message)) = self.inbox.recv() => self.tell(uid, Some(Fact::told(message))),
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => self.wake(),
        }
        Ok(())
    }

    fn look_at_all(&mut self, snapshot: &Snapshot) {
        let present: BTreeSet<Arc<str>> = snapshot
            .list(NODES, None)
            .filter(|node| is_simulated(node))
            .map(|node| node.metadata().name.as_str().into())
            .collect();
        let former: Vec<_> =
            self.nodes.keys().filter(|name| !present.contains(*name)).cloned().collect();
        former.iter().for_each(|name| self.remove_node(name));
        for name in present {
            self.add_node(name, snapshot);
        }
        let is_gone = |uid: &&String| snapshot.by_uid(uid).is_none();
        let gone: Vec<_> = self.pods.keys().filter(is_gone).cloned().collect();
        for uid in gone {
            self.tell(uid, Some(Fact::told(Message::Gone)));
        }
    }

    fn node_changed(&mut self, event: &Event) {
        let name: Arc<str> = event.last.metadata().name.as_str().into();
        match event.new.as_ref().is_some_and(|node| is_simulated(node)) {
            true if self.nodes.contains_key(&name) => {}
            true => {
                let snapshot = self.context.client.api.snapshot();
                self.add_node(name, &snapshot);
            }
            false => self.remove_node(&name),
        }
    }

    /// It gives no more signs of life. Its pods stay until the API has none of them.
    fn remove_node(&mut self, name: &str) {
        if let Some(slot) = self.nodes.remove(name) {
            self.due.remove(&slot);
        }
    }

    fn add_node(&mut self, name: Arc<str>, snapshot: &Snapshot) {
        for pod in snapshot.indexed(Index::PodNode, &name, PODS, None) {
            self.deliver(pod, &name);
        }
        if !self.nodes.contains_key(&name) {
            self.beat(&name);
            // Many nodes that come at once do not beat at once.
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            let share = u32::try_from(hasher.finish() % 16).unwrap_or_default().saturating_add(1);
            self.note_beat(name, BEAT.saturating_mul(share) / 16);
        }
    }

    fn note_beat(&mut self, name: Arc<str>, after: Duration) {
        let slot = self.later(after, Due::Beat(Arc::clone(&name)));
        self.nodes.insert(name, slot);
    }

    fn pod_changed(&mut self, event: &Event) {
        let uid = &event.last.metadata().uid;
        match &event.new {
            None => self.tell(uid.clone(), Some(Fact::told(Message::Gone))),
            Some(pod) => {
                let node = pod.str_at("/spec/nodeName").unwrap_or_default();
                if let Some((node, _)) = self.nodes.get_key_value(node) {
                    let node = Arc::clone(node);
                    self.deliver(pod, &node);
                } else if self.pods.contains_key(uid) {
                    self.tell(uid.clone(), Some(Fact::told(Message::Changed(Arc::clone(pod)))));
                }
            }
        }
    }

    fn deliver(&mut self, object: &Arc<Object>, node: &Arc<str>) {
        let uid = object.metadata().uid.clone();
        if self.pods.contains_key(&uid) {
            return self.tell(uid, Some(Fact::told(Message::Changed(Arc::clone(object)))));
        }
        let pod = match object.cold().view::<Pod>() {
            Ok(pod) => pod,
            Err(error) => return tracing::error!(pod = %object.key(), %error, "not understood"),
        };
        let now = self.context.client.now();
        let sandbox = recovered(&pod, now);
        if let Some(ip) = sandbox.as_ref().and_then(Kept::ip) {
            self.context.addresses.keep(&uid, ip);
        }
        let running = sandbox.iter().flat_map(|it| it.containers.clone()).collect();
        let host_ip = Some(self.context.link.node_ip);
        let found = Found { sandbox, host_ip, ..Found::default() };
        let worker = Worker::new(Arc::clone(object), pod, found, now);
        let pod = SimulatedPod::new(worker, Arc::clone(node), running);
        let goes_on = pod.goes_on(now);
        self.pods.insert(uid.clone(), pod);
        let mut facts = VecDeque::from([None]);
        self.act(&uid, goes_on, &mut facts);
        self.tell_all(uid, facts);
    }

    /// What its pod makes of a fact, or of the time, and of what follows from it at once.
    fn tell(&mut self, uid: String, fact: Option<Fact>) {
        self.tell_all(uid, VecDeque::from([fact]));
    }

    fn tell_all(&mut self, uid: String, mut facts: VecDeque<Option<Fact>>) {
        while let Some(fact) = facts.pop_front() {
            let clock = self.context.client.now();
            let moment = Moment { clock, steady: self.began.elapsed() };
            let Some(pod) = self.pods.get_mut(&uid) else { return };
            let context = &self.context;
            let address = || context.addresses.take(&uid, context.pod_cidr);
            let deeds = pod.turn(fact, moment, address);
            self.act(&uid, deeds, &mut facts);
        }
        self.note_wake(&uid);
        if let Some(pod) = self.pods.get_mut(&uid) {
            pod.rest();
            if pod.worker().is_done() {
                self.pods.remove(&uid);
                self.context.addresses.give_back(&uid);
            }
        }
    }

    /// Notes down when the pod wants to be looked at, instead of when it wanted to before.
    fn note_wake(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if let Some(slot) = pod.noted.take() {
            self.due.remove(&slot);
        }
        let Some(at) = pod.wake.filter(|_| !pod.worker().is_done()) else { return };
        let pause: SignedDuration = at.duration_since(self.context.client.now());
        let pause = Duration::try_from(pause).unwrap_or_default();
        let slot = self.later(pause, Due::Look(uid.to_owned()));
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.noted = Some(slot);
        }
    }

    fn act(&mut self, uid: &str, deeds: Vec<Deed>, facts: &mut VecDeque<Option<Fact>>) {
        for deed in deeds {
            match deed {
                Deed::Later(after, fact) if after.is_zero() => facts.push_back(Some(fact)),
                Deed::Later(after, fact) => {
                    let after = Duration::try_from(after).unwrap_or_default();
                    self.later(after, Due::Pod(uid.to_owned(), fact));
                }
                Deed::Write(object, status) => self.write(uid, object, status),
                Deed::Delete => self.delete(uid),
                Deed::GiveBack => self.context.give_back(uid),
                Deed::Note(object, note) => {
                    if let Some(client) = self.client_of(uid) {
                        client.record(&object, note);
                    }
                }
            }
        }
    }

    fn later(&mut self, after: Duration, due: Due) -> Slot {
        self.numbers = self.numbers.wrapping_add(1);
        let slot = (self.began.elapsed().saturating_add(after), self.numbers);
        self.due.insert(slot, due);
        slot
    }

    /// What is due now.
    fn wake(&mut self) {
        let now = self.began.elapsed();
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                return;
            }
            match entry.remove() {
                Due::Pod(uid, fact) => self.tell(uid, Some(fact)),
                Due::Look(uid) => self.look(uid),
                Due::Beat(name) => {
                    self.beat(&name);
                    self.note_beat(name, BEAT);
                }
            }
        }
    }

    /// A pod asked to be looked at now; or later, by a clock that was set meanwhile.
    fn look(&mut self, uid: String) {
        let clock = self.context.client.now();
        match self.pods.get(&uid).and_then(|pod| pod.wake) {
            Some(at) if at > clock => self.note_wake(&uid),
            _ => self.tell(uid, None),
        }
    }

    fn beat(&self, name: &Arc<str>) {
        let (name, context) = (Arc::clone(name), Arc::clone(&self.context));
        let writes = Arc::clone(&self.writes);
        self.context.tasks.spawn(async move {
            let _turn = writes.acquire().await;
            let (client, address) = (context.client.of_node(&name), context.link.node_ip);
            match nodes::beat(&client, &name, &address.to_string()).await {
                // A controller was faster, or the Node has gone: it beats again.
                Err(error) if !matches!(error.code, 404 | 409) => {
                    tracing::warn!(%name, %error, "a simulated node's sign of life is refused");
                }
                _ => {}
            }
        });
    }

    fn write(&self, uid: &str, object: Arc<Object>, status: Box<PodStatus>) {
        let Some(client) = self.client_of(uid) else { return };
        let write = async move { client.write_status(&object, &status).await };
        self.report(uid, async move { End::StatusWritten(write.await) });
    }

    fn delete(&self, uid: &str) {
        let (Some(client), Some(pod)) = (self.client_of(uid), self.pods.get(uid)) else { return };
        let id = pod.worker().id().clone();
        self.report(uid, async move { End::Deleted(client.remove_pod(&id).await) });
    }

    /// Whoever the pod's node is to the API.
    fn client_of(&self, uid: &str) -> Option<Client> {
        Some(self.context.client.of_node(&self.pods.get(uid)?.node))
    }

    /// Tells the pod what comes of a write, in its turn.
    fn report(&self, uid: &str, write: impl Future<Output = End> + Send + 'static) {
        let (outbox, uid, writes) = (self.outbox.clone(), uid.to_owned(), Arc::clone(&self.writes));
        self.context.tasks.spawn(async move {
            let mut report = Report { outbox, uid, end: None };
            let _turn = writes.acquire().await;
            report.end = Some(write.await);
        });
    }
}

/// Tells the end of a write, whatever happens to whoever writes.
struct Report {
    outbox: mpsc::UnboundedSender<Letter>,
    uid: String,
    end: Option<End>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let end = self.end.take().unwrap_or(End::Broken);
        // Who does not hear it any more has nothing to do for the pod.
        self.outbox.send((std::mem::take(&mut self.uid), Message::Ended(end))).unwrap_or_default();
    }
}
