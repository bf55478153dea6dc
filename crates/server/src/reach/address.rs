//! Where a Service is reached. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use coracle_api::Backend;
use coracle_api::resources::{ENDPOINTS, SERVICES};
use coracle_store::Snapshot;
use serde_json::Value;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    /// From the node's own network. A connection is worth keeping for as long as the Service has the
    /// endpoints that it had at this revision.
    Cluster(SocketAddr, u64),
    /// From the host: a name or an address, and a port.
    Host(String, u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(address, _) => address.fmt(f),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Where `backend` is.
///
/// # Errors
/// Why it is nowhere, in upstream's words.
pub(crate) fn of(snapshot: &Snapshot, backend: &Backend) -> Result<Address, String> {
    let Backend { namespace, name, port } = backend;
    let service = snapshot.find(SERVICES, namespace, name);
    let spec = &service.ok_or_else(|| format!("service {name:?} not found"))?.value()["spec"];
    if spec["type"] == "ExternalName" {
        let elsewhere = spec["externalName"].as_str().unwrap_or_default();
        return Ok(Address::Host(elsewhere.to_owned(), *port));
    }
    let mut ports = spec["ports"].as_array().into_iter().flatten();
    let same = ports.find(|known| known["port"] == *port);
    let same = same.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let endpoints = snapshot.find(ENDPOINTS, namespace, name);
    let revision = endpoints.map_or(0, |endpoints| endpoints.revision());
    let address = spec["clusterIP"].as_str().and_then(|address| address.parse::<IpAddr>().ok());
    if let Some(address) = address {
        return Ok(Address::Cluster(SocketAddr::new(address, *port), revision));
    }
    let ready = endpoints.and_then(|endpoints| endpoint(endpoints.value(), &same["name"]));
    ready
        .map(|address| Address::Cluster(address, revision))
        .ok_or_else(|| format!("no endpoints available for service {name:?}"))
}

/// The first that is ready, at the port of this name.
fn endpoint(endpoints: &Value, port: &Value) -> Option<SocketAddr> {
    let name = |port: &Value| port.as_str().unwrap_or_default().to_owned();
    let mut subsets = endpoints["subsets"].as_array().into_iter().flatten();
    subsets.find_map(|subset| {
        let mut ports = subset["ports"].as_array().into_iter().flatten();
        let same = ports.find(|known| name(&known["name"]) == name(port))?;
        let number = u16::try_from(same["port"].as_u64()?).ok()?;
        let address = subset.pointer("/addresses/0/ip")?.as_str()?.parse().ok()?;
        Some(SocketAddr::new(address, number))
    })
}

#[cfg(test)]
mod tests {
    use coracle_api::{Kinds, Object};
    use coracle_store::{Expect, Write};
    use serde_json::json;

    use super::*;

    fn snapshot(objects: &[(&str, Value)]) -> Snapshot {
        let kinds = Kinds::builtin();
        let write = |(resource, spec): &(&str, Value)| {
            let mut object = spec.clone();
            object["metadata"] = json!({"name": "hook", "namespace": "shop"});
            let object = Object::new(kinds.stored(resource).unwrap(), object).unwrap();
            Write::put(object, Expect::Any)
        };
        let writes: Vec<Write> = objects.iter().map(write).collect();
        Snapshot::default().with(&writes).unwrap()
    }

    fn found(snapshot: &Snapshot, port: u16) -> Result<String, String> {
        let (namespace, name) = ("shop".to_owned(), "hook".to_owned());
        of(snapshot, &Backend { namespace, name, port }).map(|address| address.to_string())
    }

    #[test]
    fn a_service_is_reached_at_its_own_address_or_at_that_of_a_pod() {
        assert_eq!(found(&Snapshot::default(), 443), Err("service \"hook\" not found".into()));
        let ports = json!([{"name": "https", "port": 443}]);
        let of_type = |spec: Value| (SERVICES, json!({"spec": spec}));
        let plain = snapshot(&[of_type(json!({"clusterIP": "10.96.0.9", "ports": ports}))]);
        assert_eq!(found(&plain, 443), Ok("10.96.0.9:443".into()));
        let why = "no service port 444 found for service \"hook\"";
        assert_eq!(found(&plain, 444), Err(why.into()));
        let headless = of_type(json!({"clusterIP": "None", "ports": ports}));
        let alone = snapshot(std::slice::from_ref(&headless));
        let why = "no endpoints available for service \"hook\"";
        assert_eq!(found(&alone, 443), Err(why.into()));
        let subsets = json!([{"addresses": [{"ip": "10.88.0.7"}],
            "ports": [{"name": "other", "port": 1}, {"name": "https", "port": 8443}]}]);
        let both = snapshot(&[headless, (ENDPOINTS, json!({"subsets": subsets}))]);
        assert_eq!(found(&both, 443), Ok("10.88.0.7:8443".into()));
        let external = json!({"type": "ExternalName", "externalName": "hook.example.com"});
        let external = snapshot(&[of_type(external)]);
        assert_eq!(found(&external, 443), Ok("hook.example.com:443".into()));
    }
}
