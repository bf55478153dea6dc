//! The roles that every cluster has, as upstream's `rbac/bootstrappolicy` has them, as data.
//!
//! A rule is one line: verbs, groups (`core` for the core group) and resources, each joined by
//! commas, with the names of objects after `=`; or verbs and paths. Rights of upstream's own components
//! are left out where a component is part of this engine and asks nobody.

use serde_json::{Value, json};

/// All that is done to objects.
const EDIT: &str = "create,delete,deletecollection,patch,update";
const READ: &str = "get,list,watch";

/// A role: its name, what it is aggregated into, what is aggregated into it, and its rules.
struct Row {
    name: &'static str,
    into: &'static [&'static str],
    from: &'static str,
    rules: &'static [(&'static str, &'static str, &'static str)],
}

const fn role(
    name: &'static str,
    rules: &'static [(&'static str, &'static str, &'static str)],
) -> Row {
    Row { name, into: &[], from: "", rules }
}

const CERTIFICATES: &str = "certificates.k8s.io";

/// Groups of the rules that are for paths.
const PATHS: &str = "";

const CLUSTER_ROLES: &[Row] = &[
    role("cluster-admin", &[("*", "*", "*"), ("*", PATHS, "*")]),
    role(
        "system:discovery",
        &[(
            "get",
            PATHS,
            "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
        )],
    ),
    role(
        "system:public-info-viewer",
        &[("get", PATHS, "/healthz,/livez,/readyz,/version,/version/")],
    ),
    role(
        "system:monitoring",
        &[(
            "get",
            PATHS,
            "/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*",
        )],
    ),
    role(
        "system:basic-user",
        &[
            ("create", "authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews"),
            ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:heapster",
        &[(READ, "core", "events,namespaces,nodes,pods"), (READ, "extensions", "deployments")],
    ),
    role("system:kube-dns", &[("list,watch", "core", "endpoints,services")]),
    role(
        "system:kubelet-api-admin",
        &[
            (READ, "core", "nodes"),
            ("proxy", "core", "nodes"),
            ("*", "core", "nodes/log,nodes/metrics,nodes/proxy,nodes/stats"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[("create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    role(
        "system:auth-delegator",
        &[
            ("create", "authentication.k8s.io", "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[(
            "get",
            PATHS,
            "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
        )],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            ("create,delete,get,list,watch", "core", "persistentvolumes"),
            ("get,list,update,watch", "core", "persistentvolumeclaims"),
            (READ, "storage.k8s.io", "storageclasses"),
            ("watch", "core", "events"),
            ("create,get,list,patch,update,watch", "core", "events"),
        ],
    ),
    role(
        "system:node-proxier",
        &[
            (READ, "core", "services,endpoints"),
            ("get,list,watch", "core", "nodes"),
            ("create,patch,update", "core,events.k8s.io", "events"),
            (READ, "discovery.k8s.io", "endpointslices"),
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[("create", CERTIFICATES, "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[("create", CERTIFICATES, "certificatesigningrequests/selfnodeclient")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/kube-apiserver-client")],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/kube-apiserver-client-kubelet")],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/kubelet-serving")],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[("approve", CERTIFICATES, "signers=kubernetes.io/legacy-unknown")],
    ),
    // What nodes may do is narrower than rules can say, and decided apart; this one is for show.
    role("system:node", &[]),
    Row { name: "admin", into: &[], from: "admin", rules: &[] },
    Row { name: "edit", into: &["admin"], from: "edit", rules: &[] },
    Row { name: "view", into: &["edit"], from: "view", rules: &[] },
    // As upstream's metrics-server brings it.
    Row {
        name: "system:aggregated-metrics-reader",
        into: &["admin", "edit", "view"],
        from: "",
        rules: &[(READ, "metrics.k8s.io", "nodes,pods")],
    },
    Row {
        name: "system:aggregate-to-admin",
        into: &["admin"],
        from: "",
        rules: &[
            ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            (
                "create,delete,deletecollection,get,list,patch,update,watch",
                "rbac.authorization.k8s.io",
                "rolebindings,roles",
            ),
        ],
    },
    Row {
        name: "system:aggregate-to-edit",
        into: &["edit"],
        from: "",
        rules: &[
            (
                READ,
                "core",
                "pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy",
            ),
            ("impersonate", "core", "serviceaccounts"),
            (EDIT, "core", "pods,pods/attach,pods/exec,pods/portforward,pods/proxy"),
            ("create", "core", "pods/eviction"),
            (
                EDIT,
                "core",
                "configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy",
            ),
            ("create", "core", "serviceaccounts/token"),
            (
                EDIT,
                "apps",
                "daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale",
            ),
            (EDIT, "autoscaling", "horizontalpodautoscalers"),
            (EDIT, "batch", "cronjobs,jobs"),
            (
                EDIT,
                "extensions",
                "daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale",
            ),
            (EDIT, "policy", "poddisruptionbudgets"),
            (EDIT, "networking.k8s.io", "ingresses,networkpolicies"),
            (
                "create,delete,deletecollection,get,list,patch,update,watch",
                "coordination.k8s.io",
                "leases",
            ),
            (EDIT, "resource.k8s.io", "resourceclaims,resourceclaimtemplates"),
        ],
    },
    Row {
        name: "system:aggregate-to-view",
        into: &["view"],
        from: "",
        rules: &[
            (
                READ,
                "core",
                "configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status",
            ),
            (
                READ,
                "core",
                "bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status",
            ),
            (READ, "core", "namespaces"),
            (READ, "discovery.k8s.io", "endpointslices"),
            (
                READ,
                "apps",
                "controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
            ),
            (READ, "autoscaling", "horizontalpodautoscalers,horizontalpodautoscalers/status"),
            (READ, "batch", "cronjobs,cronjobs/status,jobs,jobs/status"),
            (
                READ,
                "extensions",
                "daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale",
            ),
            (READ, "policy", "poddisruptionbudgets,poddisruptionbudgets/status"),
            (READ, "networking.k8s.io", "ingresses,ingresses/status,networkpolicies"),
            (
                READ,
                "resource.k8s.io",
                "resourceclaims,resourceclaims/status,resourceclaimtemplates",
            ),
        ],
    },
];

/// Bindings of cluster roles to groups.
const BINDINGS: &[(&str, &str, &[&str])] = &[
    ("cluster-admin", "cluster-admin", &["system:masters"]),
    ("kubeadm:cluster-admins", "cluster-admin", &["kubeadm:cluster-admins"]),
    ("system:discovery", "system:discovery", &["system:authenticated"]),
    ("system:basic-user", "system:basic-user", &["system:authenticated"]),
    ("system:monitoring", "system:monitoring", &["system:monitoring"]),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &["system:authenticated", "system:unauthenticated"],
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &["system:serviceaccounts"],
    ),
];

/// Every role and binding that a new cluster gets.
#[must_use]
pub fn all() -> Vec<Value> {
    let roles = CLUSTER_ROLES.iter().map(cluster_role);
    let bindings = BINDINGS.iter().map(|(name, role, groups)| binding(name, role, groups));
    roles.chain(bindings).chain([authentication_reader()]).collect()
}

/// What other API servers read to know whom to trust.
fn authentication_reader() -> Value {
    let mut metadata = metadata("extension-apiserver-authentication-reader");
    metadata["namespace"] = "kube-system".into();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [rule(&(READ, "core", "configmaps=extension-apiserver-authentication"))],
    })
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn aggregation_label(role: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{role}")
}

fn cluster_role(row: &Row) -> Value {
    let mut metadata = metadata(row.name);
    for role in row.into {
        metadata["labels"][aggregation_label(role)] = "true".into();
    }
    let rules: Vec<Value> = if row.from.is_empty() { row.rules } else { &[] }
        .iter()
        .map(rule)
        .chain(aggregated(row.from))
        .collect();
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": metadata,
        "rules": rules,
    });
    if !row.from.is_empty() {
        let selector = json!({"matchLabels": {aggregation_label(row.from): "true"}});
        role["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
    }
    role
}

/// The rules of all that is aggregated into `role`, through any number of steps, each once.
fn aggregated(role: &str) -> Vec<Value> {
    let members = CLUSTER_ROLES.iter().filter(|row| row.into.contains(&role));
    let mut rules = Vec::new();
    for rule in members.flat_map(|row| row.rules.iter().map(rule).chain(aggregated(row.from))) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn rule((verbs, groups, targets): &(&str, &str, &str)) -> Value {
    let split = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    if *groups == PATHS {
        return json!({"verbs": split(verbs), "nonResourceURLs": split(targets)});
    }
    let groups: Vec<String> =
        split(groups).into_iter().map(|g| if g == "core" { String::new() } else { g }).collect();
    let (targets, names) = targets.split_once('=').unwrap_or((targets, ""));
    let mut rule = json!({"apiGroups": groups, "resources": split(targets), "verbs": split(verbs)});
    if !names.is_empty() {
        rule["resourceNames"] = split(names).into();
    }
    rule
}

fn binding(name: &str, role: &str, groups: &[&str]) -> Value {
    let subjects: Vec<Value> = groups
        .iter()
        .map(|group| {
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group})
        })
        .collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata(name),
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": role,
        },
        "subjects": subjects,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admins_may_all_that_editors_and_viewers_may() {
        let roles = all();
        let rules = |name: &str| {
            let role = roles
                .iter()
                .find(|role| role["metadata"]["name"] == name && role["kind"] == "ClusterRole");
            role.unwrap()["rules"].as_array().unwrap().clone()
        };
        let admin = rules("admin");
        assert!(rules("system:aggregate-to-view").iter().all(|rule| admin.contains(rule)));
        assert!(rules("edit").iter().all(|rule| admin.contains(rule)));
        assert!(rules("view").len() < rules("edit").len());
        let metrics = rules("system:aggregated-metrics-reader");
        assert_eq!(admin.iter().filter(|rule| metrics.contains(rule)).count(), 1);
    }
}
