//! The core group.

use serde_json::Value;

use super::row::{
    CREATE, PROXY, READ_WRITE, Row as _, STREAM, cluster, namespaced, replica_columns, version,
};
use crate::defaults::initial;
use crate::kind::{Kind, NameRule, Subresource, Verb};
use crate::kinds::computed;
use crate::print::columns::{AGE, NAME, at, count, text, wide};
use crate::print::{Cell, cluster, columns, network, pods, storage};
use crate::resources::{
    BINDINGS, COMPONENT_STATUSES, CONFIG_MAPS, ENDPOINTS, EVENTS, LIMIT_RANGES, NAMESPACES, NODES,
    PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, POD_TEMPLATES, PODS, REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS, SECRETS, SERVICE_ACCOUNTS, SERVICES,
};
use crate::{defaults, validation};

pub(super) fn rows() -> Vec<Kind> {
    version(
        "v1",
        "io.k8s.api.core.v1",
        [
            bindings(),
            component_statuses(),
            config_maps(),
            endpoints(),
            events(),
            limit_ranges(),
            namespaces(),
            nodes(),
            persistent_volume_claims(),
            persistent_volumes(),
            pods(),
            pod_templates(),
            replication_controllers(),
            resource_quotas(),
            secrets(),
            service_accounts(),
            services(),
        ],
    )
}

fn bindings() -> Kind {
    namespaced("Binding", BINDINGS).review()
}

fn component_statuses() -> Kind {
    cluster("ComponentStatus", COMPONENT_STATUSES)
        .short(&["cs"])
        .computed(computed::component_statuses)
        .deprecated("v1 ComponentStatus is deprecated in v1.19+")
        .columns(
            const {
                &[
                    NAME,
                    text("Status", Cell::Code(cluster::component_status)),
                    text("Message", Cell::Code(cluster::component_message)),
                    text("Error", Cell::Code(cluster::component_error)),
                ]
            },
        )
}

fn config_maps() -> Kind {
    namespaced("ConfigMap", CONFIG_MAPS)
        .short(&["cm"])
        .validate(validation::config_map)
        .validate_update(validation::config_map_update)
        .columns(const { &[NAME, text("Data", Cell::Code(storage::config_keys)), AGE] })
}

fn endpoints() -> Kind {
    namespaced("Endpoints", ENDPOINTS)
        .short(&["ep"])
        .put_creates()
        .deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        .defaults(defaults::endpoints)
        .validate(validation::endpoints)
        .columns(const { &[NAME, text("Endpoints", Cell::Code(network::endpoints)), AGE] })
}

fn events() -> Kind {
    namespaced("Event", EVENTS)
        .short(&["ev"])
        .names(NameRule::PathSegment)
        .put_creates()
        .select(EVENT_FIELDS)
        .validate(validation::event)
        .columns(columns::EVENTS)
}

fn limit_ranges() -> Kind {
    namespaced("LimitRange", LIMIT_RANGES)
        .validate(validation::limit_range)
        .short(&["limits"])
        .put_creates()
        .defaults(defaults::limit_range)
        .prepare(initial::limit_range)
}

fn namespaces() -> Kind {
    cluster("Namespace", NAMESPACES)
        .short(&["ns"])
        .without(Verb::DeleteCollection)
        .sub(Subresource::Finalize, &[Verb::Update])
        .status()
        .names(NameRule::DnsLabel)
        .select(&[("status.phase", "/status/phase")])
        .defaults(defaults::namespace)
        .prepare(initial::namespace)
        .prepare_update(initial::namespace_update)
        .validate(validation::namespace)
        .columns(const { &[NAME, at("Status", "/status/phase"), AGE] })
}

fn nodes() -> Kind {
    cluster("Node", NODES)
        .validate(validation::node)
        .validate_update(validation::node_update)
        .short(&["no"])
        .sub_of(Subresource::Proxy, ("", "v1", "NodeProxyOptions"), PROXY)
        .status()
        .select(&[("spec.unschedulable", "/spec/unschedulable")])
        .columns(
            const {
                &[
                    NAME,
                    text("Status", Cell::Code(cluster::node_status)),
                    text("Roles", Cell::Code(cluster::node_roles)),
                    AGE,
                    at("Version", "/status/nodeInfo/kubeletVersion"),
                    wide(text("Internal-IP", Cell::Code(cluster::internal_ip))),
                    wide(text("External-IP", Cell::Code(cluster::external_ip))),
                    wide(text("OS-Image", Cell::Text("/status/nodeInfo/osImage", "<unknown>"))),
                    wide(text("Kernel-Version", Cell::Code(cluster::kernel_version))),
                    wide(text(
                        "Container-Runtime",
                        Cell::Text("/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
                    )),
                ]
            },
        )
}

fn persistent_volume_claims() -> Kind {
    namespaced("PersistentVolumeClaim", PERSISTENT_VOLUME_CLAIMS)
        .answers_with_object()
        .short(&["pvc"])
        .status()
        .defaults(defaults::persistent_volume_claim)
        .prepare(initial::pending)
        .validate(validation::persistent_volume_claim)
        .validate_update(validation::persistent_volume_claim_update)
        .columns(
            const {
                &[
                    NAME,
                    text("Status", Cell::Code(storage::phase)),
                    at("Volume", "/spec/volumeName"),
                    text("Capacity", Cell::Code(storage::claim_capacity)),
                    text("Access Modes", Cell::Code(storage::claim_modes)),
                    text("StorageClass", Cell::Code(storage::class)),
                    text(
                        "VolumeAttributesClass",
                        Cell::Text("/spec/volumeAttributesClassName", "<unset>"),
                    ),
                    AGE,
                    wide(text("VolumeMode", Cell::Text("/spec/volumeMode", "<unset>"))),
                ]
            },
        )
}

fn persistent_volumes() -> Kind {
    cluster("PersistentVolume", PERSISTENT_VOLUMES)
        .answers_with_object()
        .short(&["pv"])
        .status()
        .defaults(defaults::persistent_volume)
        .prepare(initial::persistent_volume)
        .validate(validation::persistent_volume)
        .validate_update(validation::persistent_volume_update)
        .columns(
            const {
                &[
                    NAME,
                    at("Capacity", "/spec/capacity/storage"),
                    text("Access Modes", Cell::Code(storage::volume_modes)),
                    at("Reclaim Policy", "/spec/persistentVolumeReclaimPolicy"),
                    text("Status", Cell::Code(storage::phase)),
                    text("Claim", Cell::Code(storage::volume_claim)),
                    text("StorageClass", Cell::Code(storage::class)),
                    text(
                        "VolumeAttributesClass",
                        Cell::Text("/spec/volumeAttributesClassName", "<unset>"),
                    ),
                    at("Reason", "/status/reason"),
                    AGE,
                    wide(text("VolumeMode", Cell::Text("/spec/volumeMode", "<unset>"))),
                ]
            },
        )
}

fn pods() -> Kind {
    namespaced("Pod", PODS)
        .answers_with_object()
        .short(&["po"])
        .all()
        .sub_of(Subresource::Attach, ("", "v1", "PodAttachOptions"), STREAM)
        .sub_of(Subresource::Binding, ("", "v1", "Binding"), CREATE)
        .sub(Subresource::EphemeralContainers, READ_WRITE)
        .sub_of(Subresource::Eviction, ("policy", "v1", "Eviction"), CREATE)
        .sub_of(Subresource::Exec, ("", "v1", "PodExecOptions"), STREAM)
        .sub(Subresource::Log, &[Verb::Get])
        .sub_of(Subresource::PortForward, ("", "v1", "PodPortForwardOptions"), STREAM)
        .sub_of(Subresource::Proxy, ("", "v1", "PodProxyOptions"), PROXY)
        .sub(Subresource::Resize, READ_WRITE)
        .status()
        .counted()
        .select(&[
            ("spec.nodeName", "/spec/nodeName"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
            ("spec.schedulerName", "/spec/schedulerName"),
            ("spec.serviceAccountName", "/spec/serviceAccountName"),
            ("spec.hostNetwork", "/spec/hostNetwork"),
            ("status.phase", "/status/phase"),
            ("status.podIP", "/status/podIP"),
            ("status.podIPs", "/status/podIP"),
            ("status.nominatedNodeName", "/status/nominatedNodeName"),
        ])
        .defaults(defaults::pod)
        .prepare(initial::pod)
        .validate(validation::pod)
        .validate_update(validation::pod_update)
        .validate_create(validation::pod_create)
        .validate_status(validation::pod_status)
        .grace_period(termination_grace_period)
        .columns(
            const {
                &[
                    NAME,
                    text("Ready", Cell::Code(pods::ready)),
                    text("Status", Cell::Code(pods::status)),
                    text("Restarts", Cell::Code(pods::restarts)),
                    AGE,
                    wide(text("IP", Cell::Code(pods::ip))),
                    wide(text("Node", Cell::Text("/spec/nodeName", "<none>"))),
                    wide(text("Nominated Node", Cell::Text("/status/nominatedNodeName", "<none>"))),
                    wide(text("Readiness Gates", Cell::Code(pods::readiness_gates))),
                ]
            },
        )
}

fn pod_templates() -> Kind {
    namespaced("PodTemplate", POD_TEMPLATES)
        .answers_with_object()
        .counted()
        .defaults(defaults::pod_template_object)
        .validate(validation::pod_template_object)
        .columns(
            const {
                &[
                    NAME,
                    text("Containers", Cell::Each("/template/spec/containers", "name")),
                    text("Images", Cell::Each("/template/spec/containers", "image")),
                    text("Pod Labels", Cell::Labels("/template/metadata/labels")),
                ]
            },
        )
}

fn replication_controllers() -> Kind {
    namespaced("ReplicationController", REPLICATION_CONTROLLERS)
        .short(&["rc"])
        .replicates(const { &replica_columns(Cell::Labels("/spec/selector")) })
        .orphans()
        .defaults(defaults::replication_controller)
        .validate(validation::replication_controller)
}

fn resource_quotas() -> Kind {
    namespaced("ResourceQuota", RESOURCE_QUOTAS)
        .validate(validation::resource_quota)
        .answers_with_object()
        .short(&["quota"])
        .status()
        .prepare(initial::empty)
        .columns(
            const {
                &[
                    NAME,
                    text("Request", Cell::Code(cluster::quota_requests)),
                    text("Limit", Cell::Code(cluster::quota_limits)),
                    AGE,
                ]
            },
        )
}

fn secrets() -> Kind {
    namespaced("Secret", SECRETS)
        .select(&[("type", "/type")])
        .defaults(defaults::secret)
        .validate(validation::secret)
        .validate_update(validation::secret_update)
        .columns(const { &[NAME, at("Type", "/type"), count("Data", "/data"), AGE] })
}

fn service_accounts() -> Kind {
    namespaced("ServiceAccount", SERVICE_ACCOUNTS)
        .answers_with_object()
        .short(&["sa"])
        .sub_of(Subresource::Token, ("authentication.k8s.io", "v1", "TokenRequest"), CREATE)
        .columns(const { &[NAME, AGE] })
}

fn services() -> Kind {
    namespaced("Service", SERVICES)
        .answers_with_object()
        .short(&["svc"])
        .all()
        .sub_of(Subresource::Proxy, ("", "v1", "ServiceProxyOptions"), PROXY)
        .status()
        .put_creates()
        .names(NameRule::DnsLabel)
        .select(&[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")])
        .defaults(defaults::service)
        .prepare(initial::service)
        .validate(validation::service)
        .validate_update(validation::service_update)
        .columns(
            const {
                &[
                    NAME,
                    at("Type", "/spec/type"),
                    text("Cluster-IP", Cell::Code(network::cluster_ip)),
                    text("External-IP", Cell::Code(network::external_ip)),
                    text("Port(s)", Cell::Code(network::service_ports)),
                    AGE,
                    wide(text("Selector", Cell::Labels("/spec/selector"))),
                ]
            },
        )
}

const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("source", "/source/component"),
    ("source", "/reportingComponent"),
    ("type", "/type"),
];

/// `spec.terminationGracePeriodSeconds`, which defaulting has set.
fn termination_grace_period(pod: &Value) -> i64 {
    let seconds = pod.pointer("/spec/terminationGracePeriodSeconds");
    seconds.and_then(Value::as_i64).unwrap_or(30)
}
