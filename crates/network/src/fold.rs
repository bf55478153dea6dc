//! The service map and the zone of a cluster that changes: what each Service and each pod says is
//! remembered, so that a change of one costs what it says and not a look at all. Equal, at any
//! moment, to what [`service_map`](crate::service_map) and [`Zone::new`] make of everything.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::NetworkConfig;
use crate::dns::Zone;
use crate::dns::zone::{Fact, pod_facts, service_facts};
use crate::services::{
    Claims, Frontend, Rank, ServiceMap, Source, Target, api_server, pod_claims, service_claims,
};
use coracle_api::addresses::Outside;

/// Where every Service leads, and every name, kept up to date part by part.
pub struct Fold {
    config: NetworkConfig,
    outside: Outside,
    claims: Claims,
    map: ServiceMap,
    zone: Zone,
    parts: BTreeMap<Source, Part>,
}

/// What one Service or one pod says.
#[derive(Default)]
struct Part {
    claims: Vec<(Frontend, Rank)>,
    facts: Vec<Fact>,
}

impl Fold {
    /// A cluster without Services and pods.
    #[must_use]
    pub fn new(config: NetworkConfig) -> Self {
        let mut fold = Self {
            outside: config.outside(),
            zone: Zone::of_none(&config),
            claims: Claims::new(),
            map: ServiceMap::default(),
            parts: BTreeMap::new(),
            config,
        };
        fold.put(Source::Cluster, api_server(&fold.config).into(), Vec::new());
        fold
    }

    /// The Service `name` is now `service` (`None`: gone) with these slices.
    pub fn set_service<'a>(
        &mut self,
        (namespace, name): (&str, &str),
        service: Option<&Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) {
        let slices: Vec<_> =
            slices.into_iter().filter(|slice| slice.address_type == "IPv4").collect();
        let (mut claims, mut facts) = (Vec::new(), Vec::new());
        if let Some(service) = service {
            claims = service_claims(service, &slices, &self.config, &self.outside);
            facts = service_facts(self.zone.domain(), service, &slices);
        }
        self.put(Source::Service(namespace.to_owned(), name.to_owned()), claims, facts);
    }

    /// The pod `name` is now `pod` (`None`: gone).
    pub fn set_pod(&mut self, (namespace, name): (&str, &str), pod: Option<&Pod>) {
        let claims = pod.map(|pod| pod_claims(pod, &self.config)).unwrap_or_default();
        let fact = pod.and_then(|pod| pod_facts(self.zone.domain(), pod));
        let source = Source::Pod(namespace.to_owned(), name.to_owned());
        self.put(source, claims, fact.into_iter().collect());
    }

    /// Where every Service leads now.
    pub fn map(&self) -> &ServiceMap {
        &self.map
    }

    /// Every name now; `serial` should grow from zone to zone.
    #[must_use]
    pub fn zone(&self, serial: u32) -> Zone {
        self.zone.with_serial(serial)
    }

    /// `source` says this now, whatever it said before.
    fn put(&mut self, source: Source, claims: Vec<((Frontend, Rank), Target)>, facts: Vec<Fact>) {
        let old = self.parts.remove(&source).unwrap_or_default();
        let mut part = Part { claims: Vec::new(), facts };
        for at in &old.claims {
            self.claims.remove(at);
        }
        for (at, target) in claims {
            // Of two ports of one Service on one frontend the first counts.
            if !part.claims.contains(&at) {
                part.claims.push(at.clone());
                self.claims.insert(at, target);
            }
        }
        for (frontend, _) in old.claims.iter().chain(&part.claims) {
            self.settle(*frontend);
        }
        // First what is said, then what is not said any more: names do not go and come again.
        part.facts.iter().for_each(|fact| self.zone.put(fact));
        old.facts.iter().for_each(|fact| self.zone.take(fact));
        if !part.claims.is_empty() || !part.facts.is_empty() {
            self.parts.insert(source, part);
        }
    }

    /// Who has the frontend now.
    fn settle(&mut self, frontend: Frontend) {
        let first = (frontend, Rank::FIRST);
        let claim = self.claims.range(first..).next().filter(|((of, _), _)| *of == frontend);
        match claim {
            Some((_, target)) if self.map.targets.get(&frontend) != Some(target) => {
                self.map.targets.insert(frontend, target.clone());
            }
            Some(_) => {}
            None => drop(self.map.targets.remove(&frontend)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::service_map;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    #[derive(Clone, Debug)]
    enum Change {
        Service(&'static str, Option<Value>),
        Slice(&'static str, Option<Value>),
        Pod(&'static str, Option<Value>),
    }

    fn service() -> impl Strategy<Value = Value> {
        let ip = prop::sample::select(&["10.96.0.1", "10.96.0.2", "None"][..]);
        let kind = prop::sample::select(&["ClusterIP", "NodePort", "ExternalName"][..]);
        let external = prop::option::of(prop::sample::select(&["192.0.2.1", "192.0.2.2"][..]));
        (ip, kind, external, 1..4_u8).prop_map(|(ip, kind, external, age)| {
            json!({
                "metadata": {"creationTimestamp": format!("2026-01-01T00:00:0{age}Z")},
                "spec": {"type": kind, "clusterIP": ip, "externalName": "elsewhere.example.com",
                         "externalIPs": Vec::from_iter(external),
                         "ports": [{"name": "p", "port": 80, "nodePort": 30080}]},
            })
        })
    }

    fn slice() -> impl Strategy<Value = Value> {
        let endpoint = (1..5_u8, any::<bool>(), prop::option::of(Just("web-0")));
        prop::collection::vec(endpoint, 0..3).prop_map(|endpoints| {
            let endpoint = |(ip, ready, hostname)| {
                json!({"addresses": [format!("10.244.0.{ip}")], "hostname": hostname,
                       "conditions": {"ready": ready}})
            };
            let endpoints: Vec<Value> = endpoints.into_iter().map(endpoint).collect();
            json!({"addressType": "IPv4", "endpoints": endpoints,
                   "ports": [{"name": "p", "port": 8080}]})
        })
    }

    fn pod() -> impl Strategy<Value = Value> {
        let phase = prop::sample::select(&["Running", "Failed"][..]);
        let port = prop::sample::select(&[80, 30080][..]);
        (1..4_u8, phase, port).prop_map(|(ip, phase, port)| {
            json!({
                "spec": {"nodeName": "node-1", "containers": [{"name": "c", "ports": [
                    {"containerPort": 80, "hostPort": port}]}]},
                "status": {"podIP": format!("10.244.0.{ip}"), "phase": phase},
            })
        })
    }

    fn change() -> impl Strategy<Value = Change> {
        let name = || prop::sample::select(&NAMES[..]);
        prop_oneof![
            (name(), prop::option::weighted(0.7, service()))
                .prop_map(|(n, v)| Change::Service(n, v)),
            (name(), prop::option::weighted(0.7, slice())).prop_map(|(n, v)| Change::Slice(n, v)),
            (name(), prop::option::weighted(0.7, pod())).prop_map(|(n, v)| Change::Pod(n, v)),
        ]
    }

    fn typed<T: k8s_openapi::serde::de::DeserializeOwned>(name: &str, mut value: Value) -> T {
        value["metadata"]["name"] = json!(name);
        value["metadata"]["namespace"] = json!("x");
        value["metadata"]["labels"] = json!({"kubernetes.io/service-name": name});
        serde_json::from_value(value).unwrap()
    }

    fn put<T>(all: &mut BTreeMap<&'static str, T>, name: &'static str, new: Option<T>) {
        match new {
            Some(new) => drop(all.insert(name, new)),
            None => drop(all.remove(name)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_folded_is_what_everything_makes(changes in prop::collection::vec(change(), 1..25)) {
            let config = NetworkConfig::new("c", "node-1", "/nowhere".into());
            let mut fold = Fold::new(config.clone());
            let mut services: BTreeMap<_, Service> = BTreeMap::new();
            let mut slices: BTreeMap<_, EndpointSlice> = BTreeMap::new();
            let mut pods: BTreeMap<_, Pod> = BTreeMap::new();
            for change in changes {
                match change {
                    Change::Pod(name, value) => {
                        put(&mut pods, name, value.map(|value| typed(name, value)));
                        fold.set_pod(("x", name), pods.get(name));
                    }
                    Change::Service(name, value) => {
                        put(&mut services, name, value.map(|value| typed(name, value)));
                        fold.set_service(("x", name), services.get(name), slices.get(name));
                    }
                    Change::Slice(name, value) => {
                        put(&mut slices, name, value.map(|value| typed(name, value)));
                        fold.set_service(("x", name), services.get(name), slices.get(name));
                    }
                }
                let mut map = service_map(services.values(), slices.values(), &config);
                for ((frontend, _), target) in pods.values().flat_map(|pod| pod_claims(pod, &config)) {
                    map.targets.entry(frontend).or_insert(target);
                }
                prop_assert_eq!(fold.map(), &map);
                let zone = Zone::new(services.values(), slices.values(), pods.values(), &config, 7);
                prop_assert_eq!(fold.zone(7), zone);
            }
        }
    }
}
