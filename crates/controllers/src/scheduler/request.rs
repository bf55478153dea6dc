//! What a pod asks of a node: amounts of resources, and ports of the node itself.

use std::collections::BTreeMap;

use coracle_api::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// Amounts by resource: thousandths of `cpu`, whole units of everything else.
pub(super) type Amounts = BTreeMap<String, i64>;

/// A port of the node: address (empty for all), protocol, number.
pub(super) type HostPort = (String, String, i32);

/// What one pod asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub amounts: Amounts,
    pub ports: Vec<HostPort>,
}

impl Request {
    /// The requests of a pod: its containers together, or the largest init container if that is
    /// more, beside the init containers that stay.
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let mut running = Amounts::new();
        for container in &spec.containers {
            add(&mut running, &requests(container.resources.as_ref()));
        }
        let (mut staying, mut starting) = (Amounts::new(), Amounts::new());
        for init in spec.init_containers.iter().flatten() {
            let asked = requests(init.resources.as_ref());
            if init.restart_policy.as_deref() == Some("Always") {
                add(&mut staying, &asked);
                raise(&mut starting, &staying);
            } else {
                let mut together = asked;
                add(&mut together, &staying);
                raise(&mut starting, &together);
            }
        }
        add(&mut running, &staying);
        raise(&mut running, &starting);
        // What is asked for the whole pod stands for what its containers ask.
        running.extend(requests(spec.resources.as_ref()));
        add(&mut running, &amounts(spec.overhead.as_ref()));
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        Self { amounts: running, ports: all.flat_map(host_ports).collect() }
    }
}

fn requests(resources: Option<&ResourceRequirements>) -> Amounts {
    amounts(resources.and_then(|resources| resources.requests.as_ref()))
}

/// Quantities as numbers; what is no quantity counts as nothing.
pub(super) fn amounts(quantities: Option<&BTreeMap<String, Text>>) -> Amounts {
    let amount = |name: &str, text: &Text| {
        let quantity = Quantity::parse(&text.0).unwrap_or(Quantity::ZERO);
        if name == "cpu" { quantity.milli_value() } else { quantity.value() }
    };
    let all = quantities.into_iter().flatten();
    all.map(|(name, text)| (name.clone(), amount(name, text))).collect()
}

/// Adds `more` to `sum`.
pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_add(*amount);
    }
}

fn raise(least: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        let total = least.entry(name.clone()).or_default();
        *total = (*total).max(*amount);
    }
}

fn host_ports(container: &Container) -> impl Iterator<Item = HostPort> {
    container.ports.iter().flatten().filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.clone().filter(|ip| ip != "0.0.0.0").unwrap_or_default();
        Some((address, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
    })
}
