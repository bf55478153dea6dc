//! networking.k8s.io/v1.

use super::row::{Row as _, cluster, namespaced, version};
use crate::defaults;
use crate::defaults::initial;
use crate::kind::{Kind, NameRule};
use crate::print::columns::{AGE, NAME, at, formatted, text};
use crate::print::{Cell, network};
use crate::resources::{INGRESS_CLASSES, INGRESSES, IP_ADDRESSES, NETWORK_POLICIES, SERVICE_CIDRS};
use crate::validation;

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.networking.v1",
        [ingress_classes(), ingresses(), ip_addresses(), network_policies(), service_cidrs()],
    )
}

fn ingress_classes() -> Kind {
    cluster("IngressClass", INGRESS_CLASSES)
        .defaults(defaults::ingress_class)
        .validate(validation::ingress_class)
        .validate_update(validation::ingress_class_update)
        .counted()
        .columns(
            const {
                &[
                    formatted("Name", "string", "name", Cell::Code(network::ingress_class_name)),
                    at("Controller", "/spec/controller"),
                    text("Parameters", Cell::Code(network::ingress_class_parameters)),
                    AGE,
                ]
            },
        )
}

fn ingresses() -> Kind {
    namespaced("Ingress", INGRESSES)
        .validate(validation::ingress)
        .validate_create(validation::ingress_create)
        .validate_status(validation::ingress_status)
        .short(&["ing"])
        .status()
        .counted()
        .prepare(initial::empty)
        .columns(
            const {
                &[
                    NAME,
                    text("Class", Cell::Text("/spec/ingressClassName", "<none>")),
                    text("Hosts", Cell::Code(network::ingress_hosts)),
                    text("Address", Cell::Code(network::load_balancer_addresses)),
                    text("Ports", Cell::Code(network::ingress_ports)),
                    AGE,
                ]
            },
        )
}

fn ip_addresses() -> Kind {
    cluster("IPAddress", IP_ADDRESSES)
        .names(NameRule::Address)
        .validate(validation::ip_address)
        .validate_update(validation::ip_address_update)
        .short(&["ip"])
        .columns(const { &[NAME, text("ParentRef", Cell::Code(network::ip_parent))] })
}

fn network_policies() -> Kind {
    namespaced("NetworkPolicy", NETWORK_POLICIES)
        .validate(validation::network_policy)
        .short(&["netpol"])
        .counted()
        .defaults(defaults::network_policy)
        .columns(const { &[NAME, text("Pod-Selector", Cell::Selector("/spec/podSelector")), AGE] })
}

fn service_cidrs() -> Kind {
    cluster("ServiceCIDR", SERVICE_CIDRS)
        .answers_with_object()
        .validate_create(validation::service_cidr_create)
        .validate_update(validation::service_cidr_update)
        .status()
        .columns(const { &[NAME, text("CIDRs", Cell::Each("/spec/cidrs", "")), AGE] })
}
