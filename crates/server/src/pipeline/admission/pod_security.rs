//! PodSecurity: what pods of a namespace may ask for, by the namespace's labels
//! (`pod-security.kubernetes.io/enforce`, `warn`). Checks and texts are upstream's.

mod checks;

use std::collections::BTreeMap;

use coracle_api::resources::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, NAMESPACES, PODS, REPLICA_SETS,
    REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use coracle_api::{FieldError, Object, Status, Subresource};
use serde_json::Value;

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::text;
pub(super) use checks::Pod;
use checks::violations;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// As many pods of a namespace as are looked at when it becomes stricter.
const PODS_MAX: usize = 3000;

/// A level, with the checks that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level and the version of its checks, as messages show them. The checks are those of the latest
/// whatever the version: an older one has none that the latest lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standard {
    level: Level,
    version: String,
}

/// What a namespace's labels say.
struct Policy {
    enforce: Standard,
    audit: Standard,
    warn: Standard,
    errors: Vec<FieldError>,
}

impl std::fmt::Display for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        write!(f, "{level}:{}", self.version)
    }
}

impl Policy {
    /// A level that cannot be read is the strictest to pods and none to warnings.
    fn of<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut errors = Vec::new();
        let mut standard = |mode: &str, unreadable: Level| {
            let mut refuse = |name: &str, value: &str, why: &str| {
                let field = format!("metadata.labels[{PREFIX}{name}]");
                errors.push(FieldError::invalid(field, &Value::from(value), why));
            };
            let (said, of_version) = (label(mode), format!("{mode}-version"));
            let level = said.map_or(Level::Privileged, |text| {
                level(text).unwrap_or_else(|| {
                    refuse(mode, text, "must be one of privileged, baseline, restricted");
                    unreadable
                })
            });
            let version = label(&of_version).unwrap_or("latest");
            let is_version = is_version(version);
            if !is_version {
                refuse(&of_version, version, "must be \"latest\" or \"v1.x\"");
            }
            let version = if is_version { version } else { "latest" }.to_owned();
            (Standard { level, version }, said.is_some_and(|text| self::level(text).is_some()))
        };
        let (enforce, is_enforced) = standard("enforce", Level::Restricted);
        let (audit, _) = standard("audit", Level::Privileged);
        let (mut warn, _) = standard("warn", Level::Privileged);
        if label("warn").is_none() && is_enforced && enforce.level > warn.level {
            warn.level = enforce.level;
            if label("warn-version").is_none() {
                warn.version.clone_from(&enforce.version);
            }
        }
        Self { enforce, audit, warn, errors }
    }

    fn of_object(namespace: &Value) -> Self {
        let labels = namespace.pointer("/metadata/labels");
        Self::of(|name| labels?.get(format!("{PREFIX}{name}"))?.as_str())
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn is_version(text: &str) -> bool {
    let minor = text.strip_prefix("v1.").unwrap_or_default();
    let is_number = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    text == "latest" || (is_number && (minor == "0" || !minor.starts_with('0')))
}

/// Refuses a new pod that its namespace does not allow, and warns of pods and templates; refuses
/// labels of a namespace that mean nothing.
pub(super) fn check(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let request = attributes.request;
    let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
    if is_write && request.subresource.is_none() && request.kind.is(NAMESPACES) {
        return check_namespace(attributes, value);
    }
    let written =
        is_write && matches!(request.subresource, None | Some(Subresource::EphemeralContainers));
    let Some(pod) = pod_of(attributes, value).filter(|_| written) else { return Ok(()) };
    let Some(namespace) = attributes.snapshot.find(NAMESPACES, "", &request.namespace) else {
        return Ok(());
    };
    let policy = Policy::of_object(namespace.value());
    let is_pod = request.kind.is(PODS);
    if attributes.is_audited() {
        remember(attributes, &policy, &pod, is_pod);
    }
    let broken = told(&pod, policy.enforce.level);
    if is_pod && !broken.is_empty() {
        let why = format!("violates PodSecurity \"{}\": {broken}", policy.enforce);
        return Err(attributes.forbidden(text(value, "/metadata/name"), why));
    }
    let broken = told(&pod, policy.warn.level);
    if !broken.is_empty() {
        let warning = format!("would violate PodSecurity \"{}\": {broken}", policy.warn);
        attributes.warnings.push(warning);
    }
    Ok(())
}

/// What an audit log is to remember: what is enforced, and what pods only might be told.
fn remember(attributes: &mut Attributes<'_>, policy: &Policy, pod: &Pod<'_>, is_pod: bool) {
    if is_pod {
        attributes.remember(format!("{PREFIX}enforce-policy"), policy.enforce.to_string());
    }
    let broken = told(pod, policy.audit.level);
    if !broken.is_empty() {
        let said = format!("would violate PodSecurity \"{}\": {broken}", policy.audit);
        attributes.remember(format!("{PREFIX}audit-violations"), said);
    }
}

fn check_namespace(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let new = Policy::of_object(value);
    let name = text(value, "/metadata/name");
    let old = attributes.old.map(|old| Policy::of_object(old.value()));
    // What was stored before labels were looked at may stay, and be corrected one by one.
    if !new.errors.is_empty() && old.as_ref().is_none_or(|old| old.errors != new.errors) {
        return Err(Status::invalid(&attributes.request.kind, name, &new.errors));
    }
    if let Some(old) = old
        && (new.enforce.level > old.enforce.level || new.enforce.version != old.enforce.version)
        && new.enforce.level > Level::Privileged
    {
        let pods = attributes.snapshot.list(PODS, Some(name));
        let warnings = existing(name, pods.map(AsRef::as_ref), &new.enforce);
        attributes.warnings.extend(warnings);
    }
    Ok(())
}

/// Warnings about the pods that would not be allowed any more, alike ones together.
fn existing<'a>(
    namespace: &str,
    pods: impl Iterator<Item = &'a Object>,
    standard: &Standard,
) -> Vec<String> {
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for object in pods.take(PODS_MAX) {
        let pod = Pod { metadata: &object.value()["metadata"], spec: &object.value()["spec"] };
        let broken = violations(&pod, standard.level);
        let reasons: Vec<_> = broken.into_iter().map(|(reason, _)| reason).collect();
        if !reasons.is_empty() {
            alike.entry(reasons.join(", ")).or_default().push(&object.metadata().name);
        }
    }
    if alike.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> = alike
        .into_iter()
        .map(|(reasons, names)| {
            let others = match names.len() - 1 {
                0 => String::new(),
                1 => " (and 1 other pod)".to_owned(),
                more => format!(" (and {more} other pods)"),
            };
            format!("{}{others}: {reasons}", names[0])
        })
        .collect();
    lines.sort();
    let first = format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
    );
    [vec![first], lines].concat()
}

/// The spec and metadata of the pod, or of the pods that the object makes; unchanged ones are not
/// looked at.
pub(super) fn pod_of<'a>(attributes: &Attributes<'_>, value: &'a Value) -> Option<Pod<'a>> {
    let pointer = match &*attributes.request.kind.group_resource() {
        PODS => "",
        REPLICATION_CONTROLLERS
        | DEPLOYMENTS
        | STATEFUL_SETS
        | DAEMON_SETS
        | REPLICA_SETS
        | JOBS => "/spec/template",
        CRON_JOBS => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    let template = value.pointer(pointer)?;
    let spec = template.get("spec")?;
    let unchanged = |old: &Object| old.value().pointer(&format!("{pointer}/spec")) == Some(spec);
    let pod = Pod { metadata: &template["metadata"], spec };
    (!attributes.old.is_some_and(unchanged)).then_some(pod)
}

/// What of `pod` goes beyond `level`: `reason (detail), …`.
fn told(pod: &Pod<'_>, level: Level) -> String {
    let shown: Vec<String> = violations(pod, level)
        .into_iter()
        .map(|(reason, detail)| match detail.is_empty() {
            true => reason.to_owned(),
            false => format!("{reason} ({detail})"),
        })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(spec: &Value) -> Pod<'_> {
        Pod { metadata: &Value::Null, spec }
    }

    #[test]
    fn a_plain_pod_is_baseline_and_says_what_it_lacks_for_restricted() {
        let pod = json!({"containers": [{"name": "main"}]});
        assert_eq!(told(&of(&pod), Level::Baseline), "");
        assert_eq!(
            told(&of(&pod), Level::Restricted),
            "allowPrivilegeEscalation != false (container \"main\" must set \
             securityContext.allowPrivilegeEscalation=false), unrestricted capabilities \
             (container \"main\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or container \"main\" must set \
             securityContext.runAsNonRoot=true), seccompProfile (pod or container \"main\" must \
             set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
    }

    #[test]
    fn what_reaches_the_host_is_not_baseline() {
        let pod = json!({
            "hostNetwork": true,
            "containers": [
                {"name": "a", "securityContext": {"privileged": true}},
                {"name": "b", "ports": [{"hostPort": 80}],
                 "securityContext": {"capabilities": {"add": ["NET_ADMIN", "KILL"]}}},
            ],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        });
        assert_eq!(
            told(&of(&pod), Level::Baseline),
            "non-default capabilities (container \"b\" must not include \"NET_ADMIN\" in \
             securityContext.capabilities.add), host namespaces (hostNetwork=true), hostPath \
             volumes (volume \"v\"), hostPort (container \"b\" uses hostPort 80), privileged \
             (container \"a\" must not set securityContext.privileged=true)"
        );
    }

    #[test]
    fn a_pod_that_asks_for_nothing_is_restricted() {
        let context = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        });
        let pod = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "main", "securityContext": context}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        });
        assert_eq!(told(&of(&pod), Level::Restricted), "");
    }

    #[test]
    fn what_reaches_beyond_the_container_by_other_roads_is_not_baseline() {
        let metadata = json!({"annotations":
            {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}});
        let spec = json!({
            "securityContext": {"appArmorProfile": {"type": "Unconfined"},
                "seLinuxOptions": {"type": "spc_t", "user": "u"}},
            "containers": [{"name": "a",
                "securityContext": {"windowsOptions": {"hostProcess": true},
                    "seLinuxOptions": {"role": "r"}},
                "readinessProbe": {"httpGet": {"host": "127.0.0.1", "port": 1}},
                "lifecycle": {"preStop": {"httpGet": {"host": "10.0.0.1", "port": 1}}}}],
        });
        let pod = Pod { metadata: &metadata, spec: &spec };
        assert_eq!(
            told(&pod, Level::Baseline),
            "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \
             \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/a=\\\"unconfined\\\"\"), \
             probe or lifecycle host (container \"a\" uses probe or lifecycle hosts \"10.0.0.1\", \
             \"127.0.0.1\"), seLinuxOptions (pod and container \"a\" set forbidden \
             securityContext.seLinuxOptions: type \"spc_t\"; user may not be set; role may not be \
             set), hostProcess (container \"a\" must not set \
             securityContext.windowsOptions.hostProcess=true)"
        );
        assert_eq!(told(&pod, Level::Privileged), "");
    }

    #[test]
    fn a_restricted_check_replaces_the_weaker_one_and_names_who_says_no() {
        let spec = json!({
            "securityContext": {"runAsNonRoot": false, "seccompProfile": {"type": "Unconfined"}},
            "containers": [{"name": "a", "securityContext": {"runAsNonRoot": false,
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        });
        assert_eq!(
            told(&of(&spec), Level::Restricted),
            "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\"), \
             runAsNonRoot != true (pod and container \"a\" must not set \
             securityContext.runAsNonRoot=false), seccompProfile (pod must not set \
             securityContext.seccompProfile.type to \"Unconfined\")"
        );
    }

    fn policy(labels: &Value) -> Policy {
        Policy::of(|name| labels[name].as_str())
    }

    #[test]
    fn a_misspelt_level_is_the_strictest_and_is_refused_where_it_is_written() {
        let found = policy(&json!({"enforce": "Restricted", "enforce-version": "1.30"}));
        assert_eq!(found.enforce.to_string(), "restricted:latest");
        let texts: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"Restricted\": \
                 must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: \
                 \"1.30\": must be \"latest\" or \"v1.x\"",
            ]
        );
        assert_eq!(policy(&json!({"warn": "x"})).warn.level, Level::Privileged);
        assert_eq!(policy(&json!({"audit": "x"})).errors.len(), 1);
    }

    #[test]
    fn who_enforces_also_warns() {
        let found = policy(&json!({"enforce": "baseline", "enforce-version": "v1.30"}));
        assert_eq!(found.warn.to_string(), "baseline:v1.30");
        let found = policy(&json!({"enforce": "restricted", "warn": "privileged"}));
        assert_eq!(found.warn.level, Level::Privileged);
        assert!(["v1.0", "latest"].iter().all(|it| is_version(it)));
        assert!(!["v1.", "v1.01", "v2.0", ""].iter().any(|it| is_version(it)));
    }

    #[test]
    fn a_stricter_namespace_warns_of_its_pods() {
        let pod = |name: &str, spec: Value| {
            let value = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
            Object::with_resource("pods", value).unwrap()
        };
        let host = || json!({"hostNetwork": true, "containers": [{"name": "c"}]});
        let pods = [pod("a", host()), pod("b", host()), pod("c", json!({"containers": []}))];
        let standard = policy(&json!({"enforce": "baseline"})).enforce;
        assert_eq!(
            existing("n", pods.iter(), &standard),
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \
                 \"baseline:latest\"",
                "a (and 1 other pod): host namespaces",
            ]
        );
    }
}
