//! Whether the servers behind APIServices can be used: upstream's
//! `kube-aggregator/pkg/controllers/status`.
//!
//! What others say in the status stays: conditions are merged by their type.

use std::sync::Arc;

use coracle_api::resources::{API_SERVICES, ENDPOINT_SLICES, SERVICES};
use coracle_api::{
    Backend, Call, Fetch, Fetched, Given, Key, Object, OtherServer, Timestamp, conditions, time,
};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::Context;
use crate::plan::{Because, Plan};
use crate::table::{Controller, itself};
use crate::workload::conditions::told;

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "apiservice-availability-controller",
    serial: false,
    watches: &[(API_SERVICES, itself), (SERVICES, of_service), (ENDPOINT_SLICES, of_slice)],
    decide,
};

/// Seconds between two looks at a server that answers, and the most between two at one that does not.
const PERIOD: i64 = 30;
/// Questions at once: of several servers behind a Service one may be down.
const TRIES: u8 = 5;
/// A slice is of the Service that this label names.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

fn of_service(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    standing_for(snapshot, &event.key.namespace, &event.key.name)
}

fn of_slice(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    match event.last.metadata().labels.get(SERVICE_NAME) {
        Some(service) => standing_for(snapshot, &event.key.namespace, service),
        None => Vec::new(),
    }
}

/// The APIServices whose server is behind this Service.
fn standing_for(snapshot: &Snapshot, namespace: &str, name: &str) -> Vec<Key> {
    let services = snapshot.list(API_SERVICES, None);
    let are = services.filter(|object| {
        let service = &object.value()["spec"]["service"];
        service["namespace"] == *namespace && service["name"] == *name
    });
    are.map(|object| object.key().clone()).collect()
}

/// Why a server cannot be used: a word and a sentence.
type Unavailable = (&'static str, String);

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(service) = snapshot.get(key) else { return Plan::default() };
    let Some(server) = OtherServer::of(service.value()) else {
        return Plan::each(told(service, conditions::local_api_service(), context.now));
    };
    let verdict = match (reachable(snapshot, &server.service), context.given) {
        (Err(why), _) => Err(why),
        (Ok(()), Some(Ok(Given::Fetched(fetched)))) => judged(fetched),
        (Ok(()), Some(_)) => Err(("FailedDiscoveryCheck", "nobody here asks other servers".into())),
        (Ok(()), None) => {
            let fetch = Fetch { tries: TRIES, ..Fetch::get(server, discovery(service.value())) };
            return Plan { asks: Some(Call::Fetch(fetch)), ..Plan::default() };
        }
    };
    let (status, reason, message) = match &verdict {
        Ok(()) => ("True", "Passed", "all checks passed".to_owned()),
        Err((reason, message)) => ("False", *reason, message.clone()),
    };
    let condition =
        json!({"type": "Available", "status": status, "reason": reason, "message": message});
    let mut plan = Plan::each(told(service, condition, context.now));
    plan.because = verdict.is_err().then(|| Because::only(message));
    let wait = if verdict.is_ok() { PERIOD } else { patience(service, context.now) };
    plan.look_again_at(time::after(context.now, wait));
    plan
}

/// Where a server says what it has: what it must answer.
fn discovery(api_service: &Value) -> String {
    let text = |name: &str| api_service["spec"][name].as_str().unwrap_or_default();
    match text("group") {
        "" => format!("/api/{}", text("version")),
        group => format!("/apis/{group}/{}", text("version")),
    }
}

fn judged(fetched: &Fetched) -> Result<(), Unavailable> {
    fetched.success().map(drop).map_err(|why| {
        let why = format!("failing or missing response from {}: {why}", fetched.url);
        ("FailedDiscoveryCheck", why)
    })
}

/// Whether the Service is there, and somebody behind it.
fn reachable(snapshot: &Snapshot, backend: &Backend) -> Result<(), Unavailable> {
    let Backend { namespace, name, port } = backend;
    let Some(service) = snapshot.find(SERVICES, namespace, name) else {
        return Err(("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    let spec = &service.value()["spec"];
    if spec["type"] != "ClusterIP" {
        return Ok(());
    }
    let mut ports = spec["ports"].as_array().into_iter().flatten();
    let Some(known) = ports.find(|known| known["port"] == *port) else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(("ServicePortError", why));
    };
    let slices = snapshot.list(ENDPOINT_SLICES, Some(namespace)).filter(|slice| {
        slice.metadata().labels.get(SERVICE_NAME).is_some_and(|service| service == name)
    });
    let slices: Vec<&Arc<Object>> = slices.collect();
    if slices.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Err(("EndpointsNotFound", why));
    }
    let port_name = known["name"].as_str().unwrap_or_default();
    if !slices.iter().any(|slice| is_behind(slice.value(), port_name)) {
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name \
             {port_name:?}"
        );
        return Err(("MissingEndpoints", why));
    }
    Ok(())
}

/// Whether a slice has an endpoint that may be used, and the port.
fn is_behind(slice: &Value, port_name: &str) -> bool {
    let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let mut ports = slice["ports"].as_array().into_iter().flatten();
    endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
        && ports.any(|port| {
            port["name"].as_str().unwrap_or_default() == port_name && port["port"].is_number()
        })
}

/// Seconds until the next look at a server that does not answer: the longer it does not, the more.
fn patience(service: &Object, now: Timestamp) -> i64 {
    let condition = conditions::find(service.value(), "Available");
    let since = condition.filter(|it| it["status"] == "False");
    let since = since.and_then(|it| it["lastTransitionTime"].as_str()?.parse::<Timestamp>().ok());
    let age = since.map_or(0, |since| now.as_second().saturating_sub(since.as_second()));
    age.checked_div(2).unwrap_or(0).clamp(1, PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const CONTROLLERS: &[&str] = &["apiservice-availability-controller"];

    fn world() -> World {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1.example.com"},
            "spec": {"group": "example.com", "version": "v1",
                "service": {"namespace": "default", "name": "server", "port": 443}},
        }));
        world.settle(CONTROLLERS);
        world
    }

    fn available(world: &World) -> (String, String) {
        let service = world.get(API_SERVICES, "v1.example.com");
        let condition = conditions::find(service.value(), "Available").unwrap().clone();
        let text = |name: &str| condition[name].as_str().unwrap().to_owned();
        (text("reason"), text("message"))
    }

    fn service(ports: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "server", "namespace": "default"},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "ports": ports}})
    }

    fn slice(ready: bool) -> Value {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "server-x", "namespace": "default",
                "labels": {SERVICE_NAME: "server"}},
            "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": ready}}],
            "ports": [{"name": "https", "port": 8443}]})
    }

    #[test]
    fn each_step_to_a_server_says_what_is_missing() {
        let mut world = world();
        let said = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
        let missing = "service/server in \"default\" is not present";
        assert_eq!(available(&world), said("ServiceNotFound", missing));
        world.create(service(json!([{"name": "https", "port": 444}])));
        world.settle(CONTROLLERS);
        let deaf = "service/server in \"default\" is not listening on port 443";
        assert_eq!(available(&world), said("ServicePortError", deaf));
        world.edit(SERVICES, "server", |it| {
            it["spec"] = service(json!([{"name": "https", "port": 443}]))["spec"].clone();
        });
        world.settle(CONTROLLERS);
        let nobody = "cannot find endpointslices for service/server in \"default\"";
        assert_eq!(available(&world), said("EndpointsNotFound", nobody));
        world.create(slice(false));
        world.settle(CONTROLLERS);
        let unready = "endpointslices for service/server in \"default\" have no addresses with port \
                       name \"https\"";
        assert_eq!(available(&world), said("MissingEndpoints", unready));

        world.remotes = Err("Get \"https://10.96.0.9:443/apis/example.com/v1\": EOF".into());
        world.edit(ENDPOINT_SLICES, "server-x", |it| {
            it["endpoints"] = slice(true)["endpoints"].clone();
        });
        world.settle(CONTROLLERS);
        let (reason, message) = available(&world);
        assert_eq!(reason, "FailedDiscoveryCheck");
        let failing =
            "failing or missing response from https://10.96.0.9:443/apis/example.com/v1: Get";
        assert!(message.starts_with(failing), "{message}");
        world.remotes = Ok((503, String::new()));
        world.pass(1, CONTROLLERS);
        assert!(available(&world).1.ends_with("/apis/example.com/v1: 503"));
        world.remotes = Ok((200, String::new()));
        world.pass(PERIOD, CONTROLLERS);
        assert_eq!(available(&world), said("Passed", "all checks passed"));
        let asked = world.asked;
        world.pass(PERIOD, CONTROLLERS);
        assert_eq!(world.asked, asked + 1, "it is looked at again");
    }

    #[test]
    fn what_others_say_of_it_stays() {
        let mut world = world();
        let theirs = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E"});
        world.edit(API_SERVICES, "v1.example.com", |it| {
            it["status"]["conditions"].as_array_mut().unwrap().push(theirs.clone());
        });
        world.create(service(json!([{"port": 1}])));
        world.settle(CONTROLLERS);
        let object = world.get(API_SERVICES, "v1.example.com");
        let all = conditions::all(object.value());
        assert_eq!((all.len(), &all[0]["reason"]), (2, &json!("ServicePortError")));
        assert_eq!(all[1], theirs);
        // It is ours from now on.
        world.edit(API_SERVICES, "v1.example.com", |it| it["spec"]["service"] = Value::Null);
        world.settle(CONTROLLERS);
        assert_eq!(available(&world).0, "Local");
    }

    #[test]
    fn a_dead_server_is_asked_less_and_less_often() {
        let mut world = world();
        let waits = [(0, 1), (4, 2), (30, 15), (3600, PERIOD)];
        let start = world.now;
        let object = world.get(API_SERVICES, "v1.example.com");
        for (age, wait) in waits {
            world.now = time::after(start, age);
            assert_eq!(patience(&object, world.now), wait);
        }
    }
}
