//! Users, who create, scale, change, break, fix, roll back, pause, suspend and delete whenever they
//! like.

mod autoscalers;
mod batch;
mod certificates;
mod guards;
mod mend;
mod ranks;
mod replicated;
mod stateful;
mod templates;
mod trouble;

use std::sync::Arc;

use coracle_api::resources::{CONFIG_MAPS, CRON_JOBS, DAEMON_SETS, JOBS, STATEFUL_SETS};
use coracle_api::{Object, Verb};
use coracle_server::{Api, Body};
use serde_json::{Value, json};

use self::templates::with_image;
use crate::cast::Cast;
use crate::client::{self, Place, merge};
use crate::machine::Machine;
use crate::pod::SETTINGS;
use crate::random::Random;
use crate::runtime::Behaviour;

const USER: &str = "kubernetes-admin";
const NAMESPACE: &str = "default";
const NAMES: [&str; 3] = ["web", "db", "db-web"];
const PROPAGATIONS: [&str; 3] = ["Background", "Foreground", "Orphan"];

/// All users together.
#[derive(Debug)]
pub(crate) struct Users {
    cast: Cast,
    machine: Machine,
    forceful: bool,
    gentle: bool,
    /// Whether StatefulSets may be recreated.
    pub recreates: bool,
    /// Images so far: each change of a template is another one.
    images: Vec<String>,
    /// What they just did, for the trace.
    pub said: Vec<String>,
}

/// One thing that users do.
type Act = fn(&mut Users, &Api, &mut Random);

/// How often, out of the sum of all, and what.
type Acts = &'static [(u64, Act)];

const STATEFUL: Acts = &[
    (14, Users::create_stateful_set),
    (18, Users::scale),
    (12, Users::change),
    (8, Users::break_it),
    (10, Users::roll_back),
    (5, Users::set_partition),
    (2, Users::set_on_delete),
    (5, Users::set_retention),
    (3, Users::move_ordinals),
    (2, Users::set_patience),
    (14, Users::delete_pod),
    (6, Users::delete_one),
    (5, Users::delete_claim),
    (8, Users::change_settings),
    (8, Users::resize_pod),
    (3, Users::make_trouble),
];

const DEPLOYED: Acts = &[
    (16, Users::create_deployment),
    (16, Users::scale),
    (18, Users::change),
    (6, Users::break_it),
    (12, Users::roll_back),
    (8, Users::pause),
    (6, Users::set_strategy),
    (2, Users::set_patience),
    (2, Users::scale_set),
    (8, Users::delete_pod),
    (6, Users::delete_one),
    (4, Users::change_settings),
    (8, Users::make_trouble),
];

/// Nothing that takes a pod away but the controllers.
const GENTLE: Acts = &[
    (20, Users::create_deployment),
    (10, Users::scale),
    (30, Users::change),
    (15, Users::roll_back),
    (6, Users::pause),
    (8, Users::set_strategy),
    (3, Users::set_patience),
];

const REPLICATED: Acts = &[
    (16, Users::create_replica_set),
    (20, Users::scale),
    (8, Users::change),
    (4, Users::break_it),
    (2, Users::set_patience),
    (8, Users::relabel_pod),
    (12, Users::delete_pod),
    (8, Users::delete_one),
    (8, Users::make_trouble),
];

const ON_NODES: Acts = &[
    (16, Users::create_daemon_set),
    (16, Users::change),
    (5, Users::break_it),
    (10, Users::roll_back),
    (8, Users::set_update_strategy),
    (8, Users::label_node),
    (3, Users::set_patience),
    (10, Users::delete_pod),
    (6, Users::delete_one),
    (4, Users::change_settings),
    (8, Users::make_trouble),
];

const IN_JOBS: Acts = &[
    (26, Users::create_job),
    (12, Users::suspend),
    (10, Users::set_parallelism),
    (10, Users::delete_pod),
    (12, Users::delete_one),
    (6, Users::make_trouble),
];

const SCHEDULED: Acts = &[
    (16, Users::create_cron_job),
    (10, Users::suspend),
    (8, Users::set_policy),
    (6, Users::change_task),
    (5, Users::delete_pod),
    (14, Users::delete_one),
    (5, Users::make_trouble),
];

const AUTOSCALED: Acts = &[
    (12, Users::create_deployment),
    (14, Users::create_autoscaler),
    (30, Users::set_load),
    (10, Users::set_bounds),
    (4, Users::set_behavior),
    (4, Users::set_metric),
    (3, Users::delete_autoscaler),
    (6, Users::scale),
    (4, Users::change),
    (5, Users::delete_pod),
    (3, Users::delete_one),
    (5, Users::make_trouble),
];

const RANKED: Acts = &[
    (26, Users::create_ranked_set),
    (16, Users::scale),
    (10, Users::delete_pod),
    (8, Users::delete_one),
    (16, Users::create_budget),
    (6, Users::set_budget),
    (4, Users::delete_budget),
    (4, Users::change),
    (5, Users::make_trouble),
];

const CERTIFIED: Acts = &[
    (30, Users::ask_for_certificate),
    (20, Users::approve),
    (6, Users::deny),
    (6, Users::sign_by_hand),
    (6, Users::trust_nodes),
    (4, Users::delete_request),
];

const GUARDED: Acts = &[
    (20, Users::create_deployment),
    (26, Users::scale),
    (10, Users::change),
    (14, Users::set_hook),
    (12, Users::move_hook),
    (12, Users::set_admission),
    (6, Users::delete_pod),
    (6, Users::delete_one),
    (4, Users::make_trouble),
];

const TROUBLE: Acts = &[
    (3, Users::set_quota),
    (3, Users::hold),
    (2, Users::tell_nonsense),
    (3, Users::debug_pod),
    (6, Users::resize_pod),
];

/// One of `acts`, by its weight.
fn choose(acts: Acts, random: &mut Random) -> Act {
    let total = acts.iter().map(|(weight, _)| weight).sum();
    let mut ticket = random.below(total);
    for (weight, act) in acts {
        if ticket < *weight {
            return *act;
        }
        ticket -= weight;
    }
    acts[0].1
}

impl Users {
    /// `forceful` ones delete pods with no grace at all. With more nodes than one nothing keeps the
    /// successor from another node; that is why `kubectl delete --force` warns. `gentle` ones do
    /// nothing that takes pods away.
    pub fn new(cast: Cast, machine: Machine, (forceful, gentle): (bool, bool)) -> Self {
        let (images, said) = Default::default();
        Self { cast, machine, forceful, gentle, recreates: false, images, said }
    }

    /// Whether they delete pods with no grace at all.
    pub fn are_forceful(&self) -> bool {
        self.forceful
    }

    /// Some user does something.
    pub fn act(&mut self, api: &Api, random: &mut Random) {
        let cast = match self.cast {
            Cast::Everything => Cast::ALL[random.index(Cast::ALL.len() - 1)],
            one => one,
        };
        let acts = match cast {
            Cast::StatefulSets | Cast::Everything => STATEFUL,
            Cast::Deployments if self.gentle => GENTLE,
            Cast::Deployments => DEPLOYED,
            Cast::ReplicaSets => REPLICATED,
            Cast::DaemonSets => ON_NODES,
            Cast::Jobs => IN_JOBS,
            Cast::CronJobs => SCHEDULED,
            Cast::Autoscalers => AUTOSCALED,
            Cast::Ranks => RANKED,
            Cast::Certificates => CERTIFIED,
            Cast::Guards => GUARDED,
        };
        choose(acts, random)(self, api, random);
    }

    fn make_trouble(&mut self, api: &Api, random: &mut Random) {
        choose(TROUBLE, random)(self, api, random);
    }

    fn call(&mut self, api: &Api, verb: Verb, place: &Place<'_>, body: Body, what: &str) {
        let outcome = client::call(api, USER, verb, place, body);
        let shown = outcome.as_ref().map_or_else(|error| error.message.as_str(), |_| "done");
        self.said.push(format!("{what}: {shown}"));
    }

    fn create(&mut self, api: &Api, resource: &str, object: &Value) {
        self.create_in(api, resource, NAMESPACE, object);
    }

    /// In no namespace when it is empty.
    fn create_in(&mut self, api: &Api, resource: &str, namespace: &str, object: &Value) {
        let place = Place { resource, namespace, name: "", subresource: "" };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("creates {resource} {name} {}", object["spec"]);
        self.call(api, Verb::Create, &place, Body::Object(object.clone()), &what);
    }

    fn patch(&mut self, api: &Api, object: &Object, subresource: &str, patch: &Value) {
        let key = object.key();
        let (namespace, name) = (&*key.namespace, &*key.name);
        let place = Place { resource: &key.resource, namespace, name, subresource };
        let what = format!("patches {key} {subresource} {patch}");
        self.call(api, Verb::Patch, &place, merge(patch), &what);
    }

    fn delete(&mut self, api: &Api, object: &Object, options: Value) {
        let key = object.key();
        let (resource, namespace, name) = (&*key.resource, &*key.namespace, &*key.name);
        let place = Place { resource, namespace, name, subresource: "" };
        let what = format!("deletes {key} {options}");
        self.call(api, Verb::Delete, &place, Body::Object(options), &what);
    }

    fn image(&mut self, behaviours: &[Behaviour], random: &mut Random) -> String {
        let behaviour = random.pick(behaviours).word();
        let image = format!("app:{behaviour}-{}", self.images.len() + 1);
        self.images.push(image.clone());
        image
    }

    /// A name, and an image that a few times is broken: not where time hurries, which would let some seem
    /// to live that die at once.
    fn name_and_image(&mut self, random: &mut Random) -> (&'static str, String) {
        let name = *random.pick(&NAMES);
        let hurries = self.cast == Cast::Autoscalers;
        let broken = !self.gentle && !hurries && random.one_in(12);
        let all: &[Behaviour] = if broken { &Behaviour::BROKEN } else { &Behaviour::SOUND };
        (name, self.image(all, random))
    }

    /// Something whose pods run for ever.
    fn any_service(&self, api: &Api, random: &mut Random) -> Option<Arc<Object>> {
        let is_service = |resource: &&&str| ![JOBS, CRON_JOBS].contains(*resource);
        let all: Vec<&str> = self.cast.resources().iter().filter(is_service).copied().collect();
        any_of(api, &all, random)
    }

    fn scale(&mut self, api: &Api, random: &mut Random) {
        let Some(object) = self.any_service(api, random) else { return };
        let subresource = match random.one_in(2) && *object.key().resource != *DAEMON_SETS {
            true => "scale",
            false => "",
        };
        let patch = json!({"spec": {"replicas": random.below(5)}});
        self.patch(api, &object, subresource, &patch);
    }

    fn change(&mut self, api: &Api, random: &mut Random) {
        let Some(object) = self.any_service(api, random) else { return };
        let image = self.image(&Behaviour::SOUND, random);
        self.patch(api, &object, "", &with_image(&object, &image));
    }

    fn break_it(&mut self, api: &Api, random: &mut Random) {
        let Some(object) = self.any_service(api, random) else { return };
        let image = self.image(&Behaviour::BROKEN, random);
        self.patch(api, &object, "", &with_image(&object, &image));
    }

    fn roll_back(&mut self, api: &Api, random: &mut Random) {
        let Some(object) = self.any_service(api, random) else { return };
        let lasting: Vec<_> =
            self.images.iter().filter(|image| !Behaviour::of(image).ends_itself()).collect();
        if lasting.is_empty() {
            return;
        }
        let image = (*random.pick(&lasting)).clone();
        self.patch(api, &object, "", &with_image(&object, &image));
    }

    fn set_on_delete(&mut self, api: &Api, random: &mut Random) {
        let Some(set) = any_of(api, &[STATEFUL_SETS], random) else { return };
        let kind = if self.recreates && random.one_in(2) { "Recreate" } else { "OnDelete" };
        let strategy = json!({"type": kind, "rollingUpdate": null});
        self.patch(api, &set, "", &json!({"spec": {"updateStrategy": strategy}}));
    }

    fn set_patience(&mut self, api: &Api, random: &mut Random) {
        let Some(object) = self.any_service(api, random) else { return };
        self.patch(api, &object, "", &json!({"spec": {"minReadySeconds": random.below(8)}}));
    }

    fn delete_one(&mut self, api: &Api, random: &mut Random) {
        let mut all = self.cast.resources().to_vec();
        all.extend(self.cast.made());
        let Some(object) = any_of(api, &all, random) else { return };
        let propagation = *random.pick(&PROPAGATIONS);
        self.delete(api, &object, json!({"propagationPolicy": propagation}));
    }

    /// A ConfigMap that running pods have as files.
    fn change_settings(&mut self, api: &Api, random: &mut Random) {
        let data = json!({"data": {"level": random.below(100).to_string()}});
        let resource = CONFIG_MAPS;
        let place = Place { resource, namespace: NAMESPACE, name: SETTINGS, subresource: "" };
        if api.snapshot().find(resource, NAMESPACE, SETTINGS).is_some() {
            return self.call(api, Verb::Patch, &place, merge(&data), "changes the settings");
        }
        let map = json!({"metadata": {"name": SETTINGS}, "data": data["data"]});
        let place = Place { name: "", ..place };
        self.call(api, Verb::Create, &place, Body::Object(map), "makes the settings");
    }
}

fn any(api: &Api, resource: &str, random: &mut Random) -> Option<Arc<Object>> {
    any_of(api, &[resource], random)
}

fn any_of(api: &Api, resources: &[&str], random: &mut Random) -> Option<Arc<Object>> {
    let snapshot = api.snapshot();
    let of = |resource: &&str| snapshot.list(resource, None).cloned().collect::<Vec<_>>();
    let all: Vec<_> = resources.iter().flat_map(of).collect();
    if all.is_empty() { None } else { Some(random.pick(&all).clone()) }
}
