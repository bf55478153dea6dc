//! The columns of every kind, as data.

use std::borrow::Cow;

use super::{Cell, Column, cluster, network, pods, storage, workloads};

/// The columns of a kind that has none of its own.
pub const GENERIC: &[Column] = &[NAME, created_at()];

/// The columns of the `scale` subresource.
pub const SCALE: &[Column] = &[
    column("Name", "string", Cell::Text("/metadata/name", "")),
    number("Desired", "/spec/replicas"),
    number("Available", "/status/replicas"),
    AGE,
];

/// The columns of a kind that is compiled in.
pub(crate) fn of_kind(group: &str, plural: &str) -> &'static [Column] {
    match group {
        "" => of_core(plural),
        "apps" | "batch" | "autoscaling" | "policy" | "scheduling.k8s.io" => of_workloads(plural),
        "networking.k8s.io" | "discovery.k8s.io" => of_network(plural),
        "storage.k8s.io" | "resource.k8s.io" => of_storage(plural),
        "rbac.authorization.k8s.io" | "certificates.k8s.io" => of_access(plural),
        "admissionregistration.k8s.io" => of_admission(plural),
        _ => of_cluster(group, plural),
    }
}

pub(crate) const NAME: Column = named("Name");
pub(crate) const AGE: Column = text("Age", Cell::Code(cluster::age));

const CONTAINERS: Column = text("Containers", Cell::Each("/spec/template/spec/containers", "name"));
const IMAGES: Column = text("Images", Cell::Each("/spec/template/spec/containers", "image"));

const fn column(name: &'static str, ty: &'static str, cell: Cell) -> Column {
    formatted(name, ty, "", cell)
}

const fn named(name: &'static str) -> Column {
    formatted(name, "string", "name", Cell::Text("/metadata/name", ""))
}

const fn formatted(
    name: &'static str,
    ty: &'static str,
    format: &'static str,
    cell: Cell,
) -> Column {
    Column {
        name: Cow::Borrowed(name),
        ty: Cow::Borrowed(ty),
        format: Cow::Borrowed(format),
        description: Cow::Borrowed(cell.pointer()),
        priority: 0,
        cell,
    }
}

const fn text(name: &'static str, cell: Cell) -> Column {
    column(name, "string", cell)
}

/// The string at a pointer.
const fn at(name: &'static str, pointer: &'static str) -> Column {
    column(name, "string", Cell::Text(pointer, ""))
}

const fn number(name: &'static str, pointer: &'static str) -> Column {
    column(name, "integer", Cell::Number(pointer))
}

const fn count(name: &'static str, pointer: &'static str) -> Column {
    column(name, "integer", Cell::Count(pointer))
}

const fn flag(name: &'static str, pointer: &'static str, missing: bool) -> Column {
    column(name, "boolean", Cell::Flag(pointer, missing))
}

const fn created_at() -> Column {
    column("Created At", "date", Cell::Code(cluster::created_at))
}

/// Only shown by `-o wide`.
const fn wide(mut column: Column) -> Column {
    column.priority = 1;
    column
}

fn of_core(plural: &str) -> &'static [Column] {
    match plural {
        "pods" => {
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
            }
        }
        "podtemplates" => {
            const {
                &[
                    NAME,
                    text("Containers", Cell::Each("/template/spec/containers", "name")),
                    text("Images", Cell::Each("/template/spec/containers", "image")),
                    text("Pod Labels", Cell::Labels("/template/metadata/labels")),
                ]
            }
        }
        "replicationcontrollers" => {
            const {
                &[
                    NAME,
                    number("Desired", "/spec/replicas"),
                    number("Current", "/status/replicas"),
                    number("Ready", "/status/readyReplicas"),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Labels("/spec/selector"))),
                ]
            }
        }
        "services" => {
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
            }
        }
        "endpoints" => const { &[NAME, text("Endpoints", Cell::Code(network::endpoints)), AGE] },
        "nodes" => {
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
            }
        }
        "namespaces" => const { &[NAME, at("Status", "/status/phase"), AGE] },
        "events" => EVENTS,
        "secrets" => const { &[NAME, at("Type", "/type"), count("Data", "/data"), AGE] },
        "configmaps" => const { &[NAME, text("Data", Cell::Code(storage::config_keys)), AGE] },
        "serviceaccounts" => const { &[NAME, AGE] },
        "persistentvolumes" | "persistentvolumeclaims" => of_storage(plural),
        "resourcequotas" => {
            const {
                &[
                    NAME,
                    text("Request", Cell::Code(cluster::quota_requests)),
                    text("Limit", Cell::Code(cluster::quota_limits)),
                    AGE,
                ]
            }
        }
        "componentstatuses" => {
            const {
                &[
                    NAME,
                    text("Status", Cell::Code(cluster::component_status)),
                    text("Message", Cell::Code(cluster::component_message)),
                    text("Error", Cell::Code(cluster::component_error)),
                ]
            }
        }
        _ => GENERIC,
    }
}

/// Of both groups that have events.
const EVENTS: &[Column] = &[
    text("Last Seen", Cell::Code(cluster::event_last_seen)),
    at("Type", "/type"),
    at("Reason", "/reason"),
    text("Object", Cell::Code(cluster::event_object)),
    wide(at("Subobject", "/involvedObject/fieldPath")),
    wide(text("Source", Cell::Code(cluster::event_source))),
    text("Message", Cell::Code(cluster::event_message)),
    wide(text("First Seen", Cell::Code(cluster::event_first_seen))),
    wide(text("Count", Cell::Code(cluster::event_count))),
    wide(at("Name", "/metadata/name")),
];

fn of_workloads(plural: &str) -> &'static [Column] {
    match plural {
        "statefulsets" => {
            const {
                &[
                    NAME,
                    text("Ready", Cell::Ratio("/status/readyReplicas", "/spec/replicas")),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                ]
            }
        }
        "deployments" => {
            const {
                &[
                    NAME,
                    text("Ready", Cell::Ratio("/status/readyReplicas", "/spec/replicas")),
                    text("Up-to-date", Cell::Number("/status/updatedReplicas")),
                    text("Available", Cell::Number("/status/availableReplicas")),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Selector("/spec/selector"))),
                ]
            }
        }
        "replicasets" => {
            const {
                &[
                    NAME,
                    number("Desired", "/spec/replicas"),
                    number("Current", "/status/replicas"),
                    number("Ready", "/status/readyReplicas"),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Selector("/spec/selector"))),
                ]
            }
        }
        "daemonsets" => {
            const {
                &[
                    NAME,
                    number("Desired", "/status/desiredNumberScheduled"),
                    number("Current", "/status/currentNumberScheduled"),
                    number("Ready", "/status/numberReady"),
                    number("Up-to-date", "/status/updatedNumberScheduled"),
                    number("Available", "/status/numberAvailable"),
                    text("Node Selector", Cell::Labels("/spec/template/spec/nodeSelector")),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Selector("/spec/selector"))),
                ]
            }
        }
        "controllerrevisions" => {
            const {
                &[
                    NAME,
                    text("Controller", Cell::Code(workloads::controller)),
                    text("Revision", Cell::Number("/revision")),
                    AGE,
                ]
            }
        }
        "jobs" => {
            const {
                &[
                    NAME,
                    text("Status", Cell::Code(workloads::job_status)),
                    text("Completions", Cell::Code(workloads::job_completions)),
                    text("Duration", Cell::Code(workloads::job_duration)),
                    AGE,
                    wide(CONTAINERS),
                    wide(IMAGES),
                    wide(text("Selector", Cell::Selector("/spec/selector"))),
                ]
            }
        }
        "cronjobs" => {
            const {
                &[
                    NAME,
                    at("Schedule", "/spec/schedule"),
                    text("Timezone", Cell::Text("/spec/timeZone", "<none>")),
                    column("Suspend", "boolean", Cell::Code(workloads::cron_suspend)),
                    count("Active", "/status/active"),
                    text("Last Schedule", Cell::Since("/status/lastScheduleTime", "<none>")),
                    AGE,
                    wide(text(
                        "Containers",
                        Cell::Each("/spec/jobTemplate/spec/template/spec/containers", "name"),
                    )),
                    wide(text(
                        "Images",
                        Cell::Each("/spec/jobTemplate/spec/template/spec/containers", "image"),
                    )),
                    wide(text("Selector", Cell::Selector("/spec/jobTemplate/spec/selector"))),
                ]
            }
        }
        "horizontalpodautoscalers" => {
            const {
                &[
                    NAME,
                    text("Reference", Cell::Code(workloads::scale_target)),
                    text("Targets", Cell::Code(workloads::metric_targets)),
                    text("MinPods", Cell::Text("/spec/minReplicas", "<unset>")),
                    text("MaxPods", Cell::Number("/spec/maxReplicas")),
                    text("Replicas", Cell::Number("/status/currentReplicas")),
                    AGE,
                ]
            }
        }
        "poddisruptionbudgets" => {
            const {
                &[
                    NAME,
                    text("Min Available", Cell::Text("/spec/minAvailable", "N/A")),
                    text("Max Unavailable", Cell::Text("/spec/maxUnavailable", "N/A")),
                    number("Allowed Disruptions", "/status/disruptionsAllowed"),
                    AGE,
                ]
            }
        }
        "priorityclasses" => {
            const {
                &[
                    NAME,
                    number("Value", "/value"),
                    flag("Global-Default", "/globalDefault", false),
                    AGE,
                    at("PreemptionPolicy", "/preemptionPolicy"),
                ]
            }
        }
        _ => GENERIC,
    }
}

fn of_network(plural: &str) -> &'static [Column] {
    match plural {
        "endpointslices" => {
            const {
                &[
                    NAME,
                    at("AddressType", "/addressType"),
                    text("Ports", Cell::Code(network::slice_ports)),
                    text("Endpoints", Cell::Code(network::slice_endpoints)),
                    AGE,
                ]
            }
        }
        "ingresses" => {
            const {
                &[
                    NAME,
                    text("Class", Cell::Text("/spec/ingressClassName", "<none>")),
                    text("Hosts", Cell::Code(network::ingress_hosts)),
                    text("Address", Cell::Code(network::load_balancer_addresses)),
                    text("Ports", Cell::Code(network::ingress_ports)),
                    AGE,
                ]
            }
        }
        "ingressclasses" => {
            const {
                &[
                    formatted("Name", "string", "name", Cell::Code(network::ingress_class_name)),
                    at("Controller", "/spec/controller"),
                    text("Parameters", Cell::Code(network::ingress_class_parameters)),
                    AGE,
                ]
            }
        }
        "networkpolicies" => {
            const { &[NAME, text("Pod-Selector", Cell::Selector("/spec/podSelector")), AGE] }
        }
        "servicecidrs" => const { &[NAME, text("CIDRs", Cell::Each("/spec/cidrs", "")), AGE] },
        "ipaddresses" => const { &[NAME, text("ParentRef", Cell::Code(network::ip_parent))] },
        _ => GENERIC,
    }
}

fn of_storage(plural: &str) -> &'static [Column] {
    match plural {
        "persistentvolumes" => {
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
            }
        }
        "persistentvolumeclaims" => {
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
            }
        }
        "storageclasses" => {
            const {
                &[
                    formatted("Name", "string", "name", Cell::Code(storage::class_name)),
                    at("Provisioner", "/provisioner"),
                    text("ReclaimPolicy", Cell::Text("/reclaimPolicy", "Delete")),
                    text("VolumeBindingMode", Cell::Text("/volumeBindingMode", "Immediate")),
                    text("AllowVolumeExpansion", Cell::Flag("/allowVolumeExpansion", false)),
                    AGE,
                ]
            }
        }
        "volumeattributesclasses" => {
            const {
                &[
                    formatted("Name", "string", "name", Cell::Code(storage::class_name)),
                    at("DriverName", "/driverName"),
                    AGE,
                ]
            }
        }
        "volumeattachments" => {
            const {
                &[
                    NAME,
                    formatted("Attacher", "string", "name", Cell::Text("/spec/attacher", "")),
                    at("PV", "/spec/source/persistentVolumeName"),
                    at("Node", "/spec/nodeName"),
                    flag("Attached", "/status/attached", false),
                    AGE,
                ]
            }
        }
        "csinodes" => const { &[NAME, count("Drivers", "/spec/drivers"), AGE] },
        "csidrivers" => {
            const {
                &[
                    NAME,
                    flag("AttachRequired", "/spec/attachRequired", true),
                    flag("PodInfoOnMount", "/spec/podInfoOnMount", false),
                    flag("StorageCapacity", "/spec/storageCapacity", false),
                    text("TokenRequests", Cell::Code(storage::token_audiences)),
                    flag("RequiresRepublish", "/spec/requiresRepublish", false),
                    text("Modes", Cell::Code(storage::driver_modes)),
                    AGE,
                ]
            }
        }
        "csistoragecapacities" => {
            const { &[NAME, at("StorageClassName", "/storageClassName"), at("Capacity", "/capacity")] }
        }
        "deviceclasses" | "resourceclaimtemplates" => const { &[NAME, AGE] },
        "resourceclaims" => {
            const { &[NAME, text("State", Cell::Code(storage::resource_claim_state)), AGE] }
        }
        "resourceslices" => {
            const {
                &[
                    NAME,
                    text("Node", Cell::Code(storage::slice_node)),
                    at("Driver", "/spec/driver"),
                    at("Pool", "/spec/pool/name"),
                    AGE,
                ]
            }
        }
        _ => GENERIC,
    }
}

fn of_access(plural: &str) -> &'static [Column] {
    match plural {
        "rolebindings" | "clusterrolebindings" => {
            const {
                &[
                    NAME,
                    text("Role", Cell::Code(cluster::role)),
                    AGE,
                    wide(text("Users", Cell::Code(cluster::users))),
                    wide(text("Groups", Cell::Code(cluster::groups))),
                    wide(text("ServiceAccounts", Cell::Code(cluster::service_accounts))),
                ]
            }
        }
        "certificatesigningrequests" => {
            const {
                &[
                    NAME,
                    AGE,
                    at("SignerName", "/spec/signerName"),
                    at("Requestor", "/spec/username"),
                    text("RequestedDuration", Cell::Code(cluster::certificate_duration)),
                    text("Condition", Cell::Code(cluster::certificate_condition)),
                ]
            }
        }
        _ => GENERIC,
    }
}

fn of_admission(plural: &str) -> &'static [Column] {
    match plural {
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            const { &[NAME, count("Webhooks", "/webhooks"), AGE] }
        }
        "validatingadmissionpolicies" => {
            const {
                &[
                    NAME,
                    count("Validations", "/spec/validations"),
                    text("ParamKind", Cell::Code(cluster::param_kind)),
                    AGE,
                ]
            }
        }
        "mutatingadmissionpolicies" => {
            const {
                &[
                    NAME,
                    count("Mutations", "/spec/mutations"),
                    text("ParamKind", Cell::Code(cluster::param_kind)),
                    AGE,
                ]
            }
        }
        "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings" => {
            const {
                &[
                    NAME,
                    at("PolicyName", "/spec/policyName"),
                    text("ParamRef", Cell::Code(cluster::param_ref)),
                    AGE,
                ]
            }
        }
        _ => GENERIC,
    }
}

fn of_cluster(group: &str, plural: &str) -> &'static [Column] {
    match (group, plural) {
        ("events.k8s.io", "events") => EVENTS,
        ("node.k8s.io", _) => const { &[NAME, at("Handler", "/handler"), AGE] },
        ("coordination.k8s.io", _) => const { &[NAME, at("Holder", "/spec/holderIdentity"), AGE] },
        ("apiregistration.k8s.io", _) => {
            const {
                &[
                    NAME,
                    text("Service", Cell::Code(cluster::api_service)),
                    text("Available", Cell::Code(cluster::api_available)),
                    AGE,
                ]
            }
        }
        (_, "flowschemas") => {
            const {
                &[
                    NAME,
                    at("PriorityLevel", "/spec/priorityLevelConfiguration/name"),
                    text("MatchingPrecedence", Cell::Number("/spec/matchingPrecedence")),
                    text(
                        "DistinguisherMethod",
                        Cell::Text("/spec/distinguisherMethod/type", "<none>"),
                    ),
                    AGE,
                    text("MissingPL", Cell::Code(cluster::missing_level)),
                ]
            }
        }
        (_, "prioritylevelconfigurations") => {
            const {
                &[
                    NAME,
                    at("Type", "/spec/type"),
                    text(
                        "NominalConcurrencyShares",
                        Cell::Text("/spec/limited/nominalConcurrencyShares", "<none>"),
                    ),
                    text(
                        "Queues",
                        Cell::Text("/spec/limited/limitResponse/queuing/queues", "<none>"),
                    ),
                    text(
                        "HandSize",
                        Cell::Text("/spec/limited/limitResponse/queuing/handSize", "<none>"),
                    ),
                    text(
                        "QueueLengthLimit",
                        Cell::Text(
                            "/spec/limited/limitResponse/queuing/queueLengthLimit",
                            "<none>",
                        ),
                    ),
                    AGE,
                ]
            }
        }
        _ => GENERIC,
    }
}
