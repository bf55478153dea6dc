//! Names of the resources that are compiled in, as `RESOURCE.GROUP`: the identity of a kind whatever
//! its version, and the `resource` of a [`Key`](crate::Key). No other file spells one of them.

#![allow(missing_docs, reason = "a name means the resource that it spells")]

pub const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";
pub const BINDINGS: &str = "bindings";
pub const CERTIFICATE_SIGNING_REQUESTS: &str = "certificatesigningrequests.certificates.k8s.io";
pub const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
pub const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
pub const CLUSTER_TRUST_BUNDLES: &str = "clustertrustbundles.certificates.k8s.io";
pub const COMPONENT_STATUSES: &str = "componentstatuses";
pub const CONFIG_MAPS: &str = "configmaps";
pub const CONTROLLER_REVISIONS: &str = "controllerrevisions.apps";
pub const CRON_JOBS: &str = "cronjobs.batch";
pub const CSI_DRIVERS: &str = "csidrivers.storage.k8s.io";
pub const CSI_NODES: &str = "csinodes.storage.k8s.io";
pub const CSI_STORAGE_CAPACITIES: &str = "csistoragecapacities.storage.k8s.io";
pub const CUSTOM_RESOURCE_DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
pub const DAEMON_SETS: &str = "daemonsets.apps";
pub const DEPLOYMENTS: &str = "deployments.apps";
pub const DEVICE_CLASSES: &str = "deviceclasses.resource.k8s.io";
pub const DEVICE_TAINT_RULES: &str = "devicetaintrules.resource.k8s.io";
pub const ENDPOINTS: &str = "endpoints";
pub const ENDPOINT_SLICES: &str = "endpointslices.discovery.k8s.io";
pub const EVENTS: &str = "events";
pub const FLOW_SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
pub const HORIZONTAL_POD_AUTOSCALERS: &str = "horizontalpodautoscalers.autoscaling";
pub const INGRESSES: &str = "ingresses.networking.k8s.io";
pub const INGRESS_CLASSES: &str = "ingressclasses.networking.k8s.io";
pub const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";
pub const JOBS: &str = "jobs.batch";
pub const LEASES: &str = "leases.coordination.k8s.io";
pub const LIMIT_RANGES: &str = "limitranges";
pub const LOCAL_SUBJECT_ACCESS_REVIEWS: &str = "localsubjectaccessreviews.authorization.k8s.io";
pub const MUTATING_ADMISSION_POLICIES: &str =
    "mutatingadmissionpolicies.admissionregistration.k8s.io";
pub const MUTATING_ADMISSION_POLICY_BINDINGS: &str =
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io";
pub const MUTATING_WEBHOOK_CONFIGURATIONS: &str =
    "mutatingwebhookconfigurations.admissionregistration.k8s.io";
pub const NAMESPACES: &str = "namespaces";
pub const NETWORK_POLICIES: &str = "networkpolicies.networking.k8s.io";
pub const NEW_EVENTS: &str = "events.events.k8s.io";
pub const NODES: &str = "nodes";
pub const NODE_METRICS: &str = "nodes.metrics.k8s.io";
pub const PERSISTENT_VOLUMES: &str = "persistentvolumes";
pub const PERSISTENT_VOLUME_CLAIMS: &str = "persistentvolumeclaims";
pub const PODS: &str = "pods";
pub const POD_CERTIFICATE_REQUESTS: &str = "podcertificaterequests.certificates.k8s.io";
pub const POD_DISRUPTION_BUDGETS: &str = "poddisruptionbudgets.policy";
pub const POD_METRICS: &str = "pods.metrics.k8s.io";
pub const POD_TEMPLATES: &str = "podtemplates";
pub const PRIORITY_CLASSES: &str = "priorityclasses.scheduling.k8s.io";
pub const PRIORITY_LEVEL_CONFIGURATIONS: &str =
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";
pub const REPLICATION_CONTROLLERS: &str = "replicationcontrollers";
pub const REPLICA_SETS: &str = "replicasets.apps";
pub const RESOURCE_CLAIMS: &str = "resourceclaims.resource.k8s.io";
pub const RESOURCE_CLAIM_TEMPLATES: &str = "resourceclaimtemplates.resource.k8s.io";
pub const RESOURCE_QUOTAS: &str = "resourcequotas";
pub const RESOURCE_SLICES: &str = "resourceslices.resource.k8s.io";
pub const ROLES: &str = "roles.rbac.authorization.k8s.io";
pub const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
pub const RUNTIME_CLASSES: &str = "runtimeclasses.node.k8s.io";
pub const SECRETS: &str = "secrets";
pub const SELF_SUBJECT_ACCESS_REVIEWS: &str = "selfsubjectaccessreviews.authorization.k8s.io";
pub const SELF_SUBJECT_REVIEWS: &str = "selfsubjectreviews.authentication.k8s.io";
pub const SELF_SUBJECT_RULES_REVIEWS: &str = "selfsubjectrulesreviews.authorization.k8s.io";
pub const SERVICES: &str = "services";
pub const SERVICE_ACCOUNTS: &str = "serviceaccounts";
pub const SERVICE_CIDRS: &str = "servicecidrs.networking.k8s.io";
pub const STATEFUL_SETS: &str = "statefulsets.apps";
pub const STORAGE_CLASSES: &str = "storageclasses.storage.k8s.io";
pub const STORAGE_VERSION_MIGRATIONS: &str = "storageversionmigrations.storagemigration.k8s.io";
pub const SUBJECT_ACCESS_REVIEWS: &str = "subjectaccessreviews.authorization.k8s.io";
pub const TOKEN_REVIEWS: &str = "tokenreviews.authentication.k8s.io";
pub const VALIDATING_ADMISSION_POLICIES: &str =
    "validatingadmissionpolicies.admissionregistration.k8s.io";
pub const VALIDATING_ADMISSION_POLICY_BINDINGS: &str =
    "validatingadmissionpolicybindings.admissionregistration.k8s.io";
pub const VALIDATING_WEBHOOK_CONFIGURATIONS: &str =
    "validatingwebhookconfigurations.admissionregistration.k8s.io";
pub const VOLUME_ATTACHMENTS: &str = "volumeattachments.storage.k8s.io";
pub const VOLUME_ATTRIBUTES_CLASSES: &str = "volumeattributesclasses.storage.k8s.io";
