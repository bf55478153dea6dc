//! The rows themselves: everything that Kubernetes 1.37 serves by default.
//!
//! That is every generally available version. No beta is on by default any more, so left out are:
//! admissionregistration.k8s.io v1beta1 and v1alpha1, certificates.k8s.io v1beta1,
//! coordination.k8s.io v1beta1 and v1alpha2 (LeaseCandidate), internal.apiserver.k8s.io v1alpha1,
//! lifecycle.k8s.io v1alpha1 (EvictionRequest), resource.k8s.io v1beta2, v1beta1 and v1alpha3,
//! scheduling.k8s.io v1beta1 and v1alpha3 (Workload, PodGroup), storagemigration.k8s.io v1beta1.
//! metrics.k8s.io is no part of the API server.
//!
//! `names` says how `metadata.name` is checked, `counted` that `metadata.generation` counts
//! changes, `guarded` that an update must carry a `resourceVersion`, `put_creates` that PUT on a
//! missing name creates.

use std::borrow::Cow;

use super::{convert, texts};
use crate::kind::{Kind, NameRule, Scope, Stored, Subresource, Text, Verb};

const READ_WRITE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
const STREAM: &[Verb] = &[Verb::Create, Verb::Get];
const CREATE: &[Verb] = &[Verb::Create];
const SCALE: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

/// All rows, groups and versions in upstream's order of priority.
pub(super) fn rows() -> Vec<Kind> {
    let groups = [
        version("", "v1", "io.k8s.api.core.v1", core()),
        version(
            "apiregistration.k8s.io",
            "v1",
            "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
            vec![cluster("APIService", "apiservices").extends_api().status().guarded()],
        ),
        version("apps", "v1", "io.k8s.api.apps.v1", apps()),
        version(
            "events.k8s.io",
            "v1",
            "io.k8s.api.events.v1",
            vec![
                namespaced("Event", "events")
                    .short(&["ev"])
                    .put_creates()
                    .select(EVENTS_V1)
                    .stored(convert::events()),
            ],
        ),
        version(
            "authentication.k8s.io",
            "v1",
            "io.k8s.api.authentication.v1",
            vec![
                cluster("SelfSubjectReview", "selfsubjectreviews").review(),
                cluster("TokenReview", "tokenreviews").review(),
            ],
        ),
        version(
            "authorization.k8s.io",
            "v1",
            "io.k8s.api.authorization.v1",
            vec![
                namespaced("LocalSubjectAccessReview", "localsubjectaccessreviews").review(),
                cluster("SelfSubjectAccessReview", "selfsubjectaccessreviews").review(),
                cluster("SelfSubjectRulesReview", "selfsubjectrulesreviews").review(),
                cluster("SubjectAccessReview", "subjectaccessreviews").review(),
            ],
        ),
        version("autoscaling", "v2", "io.k8s.api.autoscaling.v2", vec![autoscaler()]),
        version(
            "autoscaling",
            "v1",
            "io.k8s.api.autoscaling.v1",
            vec![autoscaler().stored(convert::autoscalers())],
        ),
        version("batch", "v1", "io.k8s.api.batch.v1", batch()),
        version("certificates.k8s.io", "v1", "io.k8s.api.certificates.v1", certificates()),
        version("networking.k8s.io", "v1", "io.k8s.api.networking.v1", networking()),
        version(
            "policy",
            "v1",
            "io.k8s.api.policy.v1",
            vec![
                namespaced("PodDisruptionBudget", "poddisruptionbudgets")
                    .short(&["pdb"])
                    .status()
                    .counted()
                    .guarded(),
            ],
        ),
        version("rbac.authorization.k8s.io", "v1", "io.k8s.api.rbac.v1", rbac()),
        version("storage.k8s.io", "v1", "io.k8s.api.storage.v1", storage()),
        version(
            "admissionregistration.k8s.io",
            "v1",
            "io.k8s.api.admissionregistration.v1",
            admission(),
        ),
        version(
            "apiextensions.k8s.io",
            "v1",
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
            vec![
                cluster("CustomResourceDefinition", "customresourcedefinitions")
                    .short(&["crd", "crds"])
                    .extends_api()
                    .status()
                    .counted()
                    .guarded(),
            ],
        ),
        version(
            "scheduling.k8s.io",
            "v1",
            "io.k8s.api.scheduling.v1",
            vec![cluster("PriorityClass", "priorityclasses").short(&["pc"]).counted()],
        ),
        version(
            "coordination.k8s.io",
            "v1",
            "io.k8s.api.coordination.v1",
            vec![namespaced("Lease", "leases").put_creates().guarded()],
        ),
        version(
            "node.k8s.io",
            "v1",
            "io.k8s.api.node.v1",
            vec![cluster("RuntimeClass", "runtimeclasses").put_creates().guarded()],
        ),
        version(
            "discovery.k8s.io",
            "v1",
            "io.k8s.api.discovery.v1",
            vec![namespaced("EndpointSlice", "endpointslices").counted()],
        ),
        version("resource.k8s.io", "v1", "io.k8s.api.resource.v1", resource()),
        version(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "io.k8s.api.flowcontrol.v1",
            vec![
                cluster("FlowSchema", "flowschemas").status().counted().guarded(),
                cluster("PriorityLevelConfiguration", "prioritylevelconfigurations")
                    .status()
                    .counted()
                    .guarded(),
            ],
        ),
        version(
            "storagemigration.k8s.io",
            "v1",
            "io.k8s.api.storagemigration.v1",
            vec![cluster("StorageVersionMigration", "storageversionmigrations").status().guarded()],
        ),
    ];
    groups.into_iter().flatten().collect()
}

fn core() -> Vec<Kind> {
    vec![
        namespaced("Binding", "bindings").verbs(CREATE),
        cluster("ComponentStatus", "componentstatuses")
            .short(&["cs"])
            .verbs(&[Verb::Get, Verb::List])
            .deprecated("v1 ComponentStatus is deprecated in v1.19+"),
        namespaced("ConfigMap", "configmaps").short(&["cm"]),
        namespaced("Endpoints", "endpoints").short(&["ep"]).put_creates().deprecated(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ),
        namespaced("Event", "events").short(&["ev"]).put_creates().select(EVENTS),
        namespaced("LimitRange", "limitranges").short(&["limits"]).put_creates(),
        cluster("Namespace", "namespaces")
            .short(&["ns"])
            .without(Verb::DeleteCollection)
            .sub("finalize", &[Verb::Update])
            .status()
            .names(NameRule::DnsLabel)
            .select(&[("status.phase", "/status/phase")]),
        cluster("Node", "nodes")
            .short(&["no"])
            .sub_of("proxy", ("", "v1", "NodeProxyOptions"), PROXY)
            .status()
            .select(&[("spec.unschedulable", "/spec/unschedulable")]),
        namespaced("PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).status(),
        cluster("PersistentVolume", "persistentvolumes").short(&["pv"]).status(),
        pods(),
        namespaced("PodTemplate", "podtemplates").counted(),
        namespaced("ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .all()
            .scale()
            .status()
            .counted()
            .orphans()
            .select(&[("status.replicas", "/status/replicas")]),
        namespaced("ResourceQuota", "resourcequotas").short(&["quota"]).status(),
        namespaced("Secret", "secrets").select(&[("type", "/type")]),
        namespaced("ServiceAccount", "serviceaccounts").short(&["sa"]).sub_of(
            "token",
            ("authentication.k8s.io", "v1", "TokenRequest"),
            CREATE,
        ),
        namespaced("Service", "services")
            .short(&["svc"])
            .all()
            .sub_of("proxy", ("", "v1", "ServiceProxyOptions"), PROXY)
            .status()
            .put_creates()
            .names(NameRule::Dns1035Label)
            .select(&[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")]),
    ]
}

fn pods() -> Kind {
    namespaced("Pod", "pods")
        .short(&["po"])
        .all()
        .sub_of("attach", ("", "v1", "PodAttachOptions"), STREAM)
        .sub_of("binding", ("", "v1", "Binding"), CREATE)
        .sub("ephemeralcontainers", READ_WRITE)
        .sub_of("eviction", ("policy", "v1", "Eviction"), CREATE)
        .sub_of("exec", ("", "v1", "PodExecOptions"), STREAM)
        .sub("log", &[Verb::Get])
        .sub_of("portforward", ("", "v1", "PodPortForwardOptions"), STREAM)
        .sub_of("proxy", ("", "v1", "PodProxyOptions"), PROXY)
        .sub("resize", READ_WRITE)
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
}

const EVENTS: &[(&str, &str)] = &[
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
    ("type", "/type"),
];

/// The same fields under the names of events.k8s.io; the pointers are into what is stored.
const EVENTS_V1: &[(&str, &str)] = &[
    ("regarding.kind", "/involvedObject/kind"),
    ("regarding.namespace", "/involvedObject/namespace"),
    ("regarding.name", "/involvedObject/name"),
    ("regarding.uid", "/involvedObject/uid"),
    ("regarding.apiVersion", "/involvedObject/apiVersion"),
    ("regarding.resourceVersion", "/involvedObject/resourceVersion"),
    ("regarding.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingController", "/reportingComponent"),
    ("type", "/type"),
];

fn apps() -> Vec<Kind> {
    vec![
        namespaced("ControllerRevision", "controllerrevisions"),
        namespaced("DaemonSet", "daemonsets").short(&["ds"]).all().status().counted(),
        namespaced("Deployment", "deployments").short(&["deploy"]).all().scale().status().counted(),
        namespaced("ReplicaSet", "replicasets")
            .short(&["rs"])
            .all()
            .scale()
            .status()
            .counted()
            .select(&[("status.replicas", "/status/replicas")]),
        namespaced("StatefulSet", "statefulsets")
            .short(&["sts"])
            .all()
            .scale()
            .status()
            .counted()
            .names(NameRule::DnsLabel),
    ]
}

fn autoscaler() -> Kind {
    namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers").short(&["hpa"]).all().status()
}

fn batch() -> Vec<Kind> {
    vec![
        namespaced("CronJob", "cronjobs").short(&["cj"]).all().status().counted(),
        namespaced("Job", "jobs")
            .all()
            .status()
            .counted()
            .orphans()
            .select(&[("status.successful", "/status/succeeded")]),
    ]
}

fn certificates() -> Vec<Kind> {
    vec![
        cluster("CertificateSigningRequest", "certificatesigningrequests")
            .short(&["csr"])
            .sub("approval", READ_WRITE)
            .status()
            .names(NameRule::PathSegment)
            .select(&[("spec.signerName", "/spec/signerName")]),
        cluster("ClusterTrustBundle", "clustertrustbundles")
            .guarded()
            .names(NameRule::PathSegment)
            .select(&[("spec.signerName", "/spec/signerName")]),
        namespaced("PodCertificateRequest", "podcertificaterequests").status().guarded().select(&[
            ("spec.signerName", "/spec/signerName"),
            ("spec.podName", "/spec/podName"),
            ("spec.nodeName", "/spec/nodeName"),
        ]),
    ]
}

fn networking() -> Vec<Kind> {
    vec![
        cluster("IngressClass", "ingressclasses").counted(),
        namespaced("Ingress", "ingresses").short(&["ing"]).status().counted(),
        cluster("IPAddress", "ipaddresses").short(&["ip"]),
        namespaced("NetworkPolicy", "networkpolicies").short(&["netpol"]).counted(),
        cluster("ServiceCIDR", "servicecidrs").status(),
    ]
}

fn rbac() -> Vec<Kind> {
    vec![
        cluster("ClusterRoleBinding", "clusterrolebindings"),
        cluster("ClusterRole", "clusterroles"),
        namespaced("RoleBinding", "rolebindings"),
        namespaced("Role", "roles"),
    ]
    .into_iter()
    .map(|kind| kind.put_creates().names(NameRule::PathSegment))
    .collect()
}

fn storage() -> Vec<Kind> {
    vec![
        cluster("CSIDriver", "csidrivers").guarded(),
        cluster("CSINode", "csinodes").guarded(),
        namespaced("CSIStorageCapacity", "csistoragecapacities").guarded(),
        cluster("StorageClass", "storageclasses").short(&["sc"]),
        cluster("VolumeAttachment", "volumeattachments").status().guarded(),
        cluster("VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]),
    ]
}

fn admission() -> Vec<Kind> {
    vec![
        cluster("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
        cluster("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        cluster("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        cluster("ValidatingAdmissionPolicy", "validatingadmissionpolicies").status(),
        cluster("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        cluster("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ]
    .into_iter()
    .map(|kind| kind.extends_api().counted().guarded())
    .collect()
}

fn resource() -> Vec<Kind> {
    vec![
        cluster("DeviceClass", "deviceclasses").counted(),
        cluster("DeviceTaintRule", "devicetaintrules").status().counted(),
        namespaced("ResourceClaim", "resourceclaims").status(),
        namespaced("ResourceClaimTemplate", "resourceclaimtemplates"),
        cluster("ResourceSlice", "resourceslices")
            .counted()
            .select(&[("spec.nodeName", "/spec/nodeName"), ("spec.driver", "/spec/driver")]),
    ]
}

fn namespaced(kind: &'static str, plural: &'static str) -> Kind {
    Kind::new("", "", kind, plural, Scope::Namespaced)
}

fn cluster(kind: &'static str, plural: &'static str) -> Kind {
    Kind::new("", "", kind, plural, Scope::Cluster)
}

/// Rows of one version of a group, whose definitions are in `package` of the schema.
fn version(
    group: &'static str,
    version: &'static str,
    package: &'static str,
    rows: Vec<Kind>,
) -> Vec<Kind> {
    let place = |mut kind: Kind| {
        kind.group = Text::Borrowed(group);
        kind.version = Text::Borrowed(version);
        kind.schema = format!("{package}.{}", kind.kind).into();
        kind
    };
    rows.into_iter().map(place).collect()
}

/// How the table says what is special about a row.
trait Row: Sized {
    fn edit(self, change: impl FnOnce(&mut Kind)) -> Kind;

    fn short(self, names: &'static [&'static str]) -> Kind {
        self.edit(|kind| kind.short_names = texts(names))
    }

    /// In category `all`.
    fn all(self) -> Kind {
        self.edit(|kind| kind.categories = texts(&["all"]))
    }

    fn extends_api(self) -> Kind {
        self.edit(|kind| kind.categories = texts(&["api-extensions"]))
    }

    fn verbs(self, verbs: &'static [Verb]) -> Kind {
        self.edit(|kind| kind.verbs = Cow::Borrowed(verbs))
    }

    /// A question that is answered and not stored.
    fn review(self) -> Kind {
        self.verbs(CREATE)
    }

    fn without(self, verb: Verb) -> Kind {
        self.edit(|kind| kind.verbs.to_mut().retain(|known| *known != verb))
    }

    fn status(self) -> Kind {
        self.sub("status", READ_WRITE)
    }

    fn scale(self) -> Kind {
        self.sub_of("scale", SCALE, READ_WRITE)
    }

    /// A subresource whose body is the object itself.
    fn sub(self, name: &'static str, verbs: &'static [Verb]) -> Kind {
        let sub =
            Subresource { name: Text::Borrowed(name), body: None, verbs: Cow::Borrowed(verbs) };
        self.edit(|kind| kind.subresources.to_mut().push(sub))
    }

    /// A subresource with a body of another kind: group, version, kind.
    fn sub_of(
        self,
        name: &'static str,
        (group, version, kind): (&'static str, &'static str, &'static str),
        verbs: &'static [Verb],
    ) -> Kind {
        let body = (Text::Borrowed(group), Text::Borrowed(version), Text::Borrowed(kind));
        self.sub(name, verbs).edit(|kind| {
            if let Some(sub) = kind.subresources.to_mut().last_mut() {
                sub.body = Some(body);
            }
        })
    }

    fn stored(self, stored: Stored) -> Kind {
        self.edit(|kind| kind.storage = Some(stored))
    }

    fn names(self, rule: NameRule) -> Kind {
        self.edit(|kind| kind.strategy.name = rule)
    }

    /// Fields by which objects can be selected, and where they stand in what is stored.
    fn select(self, labels: &'static [(&'static str, &'static str)]) -> Kind {
        self.edit(|kind| kind.strategy.field_labels = labels)
    }

    /// `metadata.generation` counts changes.
    fn counted(self) -> Kind {
        self.edit(|kind| kind.strategy.has_generation = true)
    }

    /// An update must carry a `resourceVersion`.
    fn guarded(self) -> Kind {
        self.edit(|kind| kind.strategy.unconditional_update = false)
    }

    /// PUT on a missing name creates.
    fn deprecated(self, why: &'static str) -> Kind {
        self.edit(|kind| kind.deprecation = Some(why.into()))
    }

    fn put_creates(self) -> Kind {
        self.edit(|kind| kind.strategy.create_on_update = true)
    }

    fn orphans(self) -> Kind {
        self.edit(|kind| kind.strategy.orphans_dependents = true)
    }
}

impl Row for Kind {
    fn edit(mut self, change: impl FnOnce(&mut Kind)) -> Kind {
        change(&mut self);
        self
    }
}
