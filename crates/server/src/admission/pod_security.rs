//! PodSecurity: what pods of a namespace may ask for, by the namespace's labels
//! (`pod-security.kubernetes.io/enforce`, `warn`). Checks and texts are upstream's.

use coracle_api::{Status, sysctls::SAFE as SAFE_SYSCTLS};
use serde_json::Value;

use crate::admission::{Attributes, Operation};
use crate::verbs::text;

/// Capabilities that a baseline pod may add: those a container runtime gives by default.
const BASELINE_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const RESTRICTED_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// A level, with the checks that it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// Refuses a new pod that its namespace does not allow, and warns of pods and templates.
pub(super) fn check(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let request = attributes.request;
    let written = matches!(attributes.operation, Operation::Create | Operation::Update)
        && matches!(request.subresource.as_str(), "" | "ephemeralcontainers");
    let Some(pod) = pod_of(attributes, value).filter(|_| written) else { return Ok(()) };
    let Some(namespace) = attributes.snapshot.find("namespaces", "", &request.namespace) else {
        return Ok(());
    };
    let label = |mode: &str| {
        let labels = &namespace.metadata().labels;
        let level = labels.get(&format!("pod-security.kubernetes.io/{mode}"));
        let version = labels.get(&format!("pod-security.kubernetes.io/{mode}-version"));
        (level.map_or("", String::as_str), version.map_or("latest", String::as_str))
    };
    let is_pod = request.kind.plural == "pods";
    let (level, version) = label("enforce");
    let broken = violations(pod, parse(level));
    if is_pod && !broken.is_empty() {
        let why = format!("violates PodSecurity \"{level}:{version}\": {broken}");
        return Err(attributes.forbidden(text(value, "/metadata/name"), why));
    }
    let (level, version) = label("warn");
    let broken = violations(pod, parse(level));
    if !broken.is_empty() {
        let warning = format!("would violate PodSecurity \"{level}:{version}\": {broken}");
        attributes.warnings.push(warning);
    }
    Ok(())
}

fn parse(level: &str) -> Level {
    match level {
        "baseline" => Level::Baseline,
        "restricted" => Level::Restricted,
        _ => Level::Privileged,
    }
}

/// The spec of the pod, or of the pods that the object makes; unchanged ones are not looked at.
fn pod_of<'a>(attributes: &Attributes<'_>, value: &'a Value) -> Option<&'a Value> {
    let pointer = match (&*attributes.request.kind.group, &*attributes.request.kind.plural) {
        ("", "pods") => "/spec",
        ("", "replicationcontrollers") => "/spec/template/spec",
        ("apps", "deployments" | "statefulsets" | "daemonsets" | "replicasets") => {
            "/spec/template/spec"
        }
        ("batch", "jobs") => "/spec/template/spec",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    let pod = value.pointer(pointer)?;
    let unchanged = attributes.old.is_some_and(|old| old.value().pointer(pointer) == Some(pod));
    (!unchanged).then_some(pod)
}

/// What of `pod` goes beyond `level`: `reason (detail), …`.
fn violations(pod: &Value, level: Level) -> String {
    if level == Level::Privileged {
        return String::new();
    }
    type Check = (Level, fn(&Value) -> Option<(&'static str, String)>);
    const CHECKS: &[Check] = &[
        (Level::Restricted, privilege_escalation),
        (Level::Baseline, capabilities),
        (Level::Restricted, all_capabilities),
        (Level::Baseline, host_namespaces),
        (Level::Baseline, host_paths),
        (Level::Baseline, host_ports),
        (Level::Baseline, privileged),
        (Level::Baseline, proc_mount),
        (Level::Restricted, volumes),
        (Level::Restricted, non_root),
        (Level::Restricted, root_user),
        (Level::Baseline, seccomp_unconfined),
        (Level::Restricted, seccomp),
        (Level::Baseline, sysctls),
    ];
    let broken = CHECKS.iter().filter(|(of, _)| *of <= level).filter_map(|(_, check)| check(pod));
    let shown: Vec<String> = broken
        .map(|(reason, detail)| match detail.is_empty() {
            true => reason.to_owned(),
            false => format!("{reason} ({detail})"),
        })
        .collect();
    shown.join(", ")
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|f| items(pod, f))
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// `container "a"`, `containers "a", "b"`: those for which `is_bad`; `None` when there are none.
fn bad_containers(pod: &Value, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
    let bad: Vec<&str> = containers(pod).filter(|c| is_bad(c)).map(|c| text(c, "/name")).collect();
    let word = if bad.len() == 1 { "container" } else { "containers" };
    (!bad.is_empty()).then(|| format!("{word} {}", quoted(bad.into_iter())))
}

fn privilege_escalation(pod: &Value) -> Option<(&'static str, String)> {
    let bad = bad_containers(pod, |c| c["securityContext"]["allowPrivilegeEscalation"] != false)?;
    let detail = format!("{bad} must set securityContext.allowPrivilegeEscalation=false");
    Some(("allowPrivilegeEscalation != false", detail))
}

fn added(container: &Value) -> impl Iterator<Item = &str> {
    items(&container["securityContext"]["capabilities"], "add").filter_map(Value::as_str)
}

fn capabilities(pod: &Value) -> Option<(&'static str, String)> {
    let foreign = |name: &&str| !BASELINE_CAPABILITIES.contains(name);
    let bad = bad_containers(pod, |c| added(c).any(|name| foreign(&name)))?;
    let mut names: Vec<&str> = containers(pod).flat_map(added).filter(foreign).collect();
    names.sort_unstable();
    names.dedup();
    let names = quoted(names.into_iter());
    let detail = format!("{bad} must not include {names} in securityContext.capabilities.add");
    Some(("non-default capabilities", detail))
}

fn all_capabilities(pod: &Value) -> Option<(&'static str, String)> {
    let drops_all =
        |c: &Value| items(&c["securityContext"]["capabilities"], "drop").any(|name| name == "ALL");
    let keeps = bad_containers(pod, |c| !drops_all(c))
        .map(|bad| format!("{bad} must set securityContext.capabilities.drop=[\"ALL\"]"));
    let foreign = |name: &&str| *name != "NET_BIND_SERVICE";
    let adds = bad_containers(pod, |c| added(c).any(|name| foreign(&name))).map(|bad| {
        let names = quoted(containers(pod).flat_map(added).filter(foreign));
        format!("{bad} must not include {names} in securityContext.capabilities.add")
    });
    let details: Vec<String> = keeps.into_iter().chain(adds).collect();
    (!details.is_empty()).then(|| ("unrestricted capabilities", details.join("; ")))
}

fn host_namespaces(pod: &Value) -> Option<(&'static str, String)> {
    let set = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod[*field] == true);
    let set: Vec<String> = set.map(|field| format!("{field}=true")).collect();
    (!set.is_empty()).then(|| ("host namespaces", set.join(", ")))
}

/// `volume "a"`, `volumes "a", "b"`.
fn bad_volumes(pod: &Value, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
    let bad: Vec<&str> =
        items(pod, "volumes").filter(|v| is_bad(v)).map(|v| text(v, "/name")).collect();
    let word = if bad.len() == 1 { "volume" } else { "volumes" };
    (!bad.is_empty()).then(|| format!("{word} {}", quoted(bad.into_iter())))
}

fn host_paths(pod: &Value) -> Option<(&'static str, String)> {
    Some(("hostPath volumes", bad_volumes(pod, |volume| volume["hostPath"].is_object())?))
}

fn host_ports(pod: &Value) -> Option<(&'static str, String)> {
    let ports = |c: &Value| -> Vec<String> {
        let ports = items(c, "ports").filter_map(|port| port["hostPort"].as_u64());
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let bad = bad_containers(pod, |c| !ports(c).is_empty())?;
    let all: Vec<String> = containers(pod).flat_map(ports).collect();
    let (verb, word) = (
        if bad.starts_with("containers") { "use" } else { "uses" },
        if all.len() == 1 { "hostPort" } else { "hostPorts" },
    );
    Some(("hostPort", format!("{bad} {verb} {word} {}", all.join(", "))))
}

fn privileged(pod: &Value) -> Option<(&'static str, String)> {
    let bad = bad_containers(pod, |c| c["securityContext"]["privileged"] == true)?;
    Some(("privileged", format!("{bad} must not set securityContext.privileged=true")))
}

fn proc_mount(pod: &Value) -> Option<(&'static str, String)> {
    let mount = |c: &Value| text(c, "/securityContext/procMount").to_owned();
    let bad = bad_containers(pod, |c| !matches!(mount(c).as_str(), "" | "Default"))?;
    let detail = format!("{bad} must not set securityContext.procMount to \"Unmasked\"");
    Some(("procMount", detail))
}

fn volumes(pod: &Value) -> Option<(&'static str, String)> {
    let kind = |volume: &Value| {
        let fields = volume.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        fields.into_iter().find(|name| name != "name").unwrap_or_default()
    };
    let is_bad = |volume: &Value| !RESTRICTED_VOLUMES.contains(&kind(volume).as_str());
    let bad = bad_volumes(pod, is_bad)?;
    let kinds: Vec<String> = items(pod, "volumes").filter(|v| is_bad(v)).map(kind).collect();
    let word = if kinds.len() == 1 { "type" } else { "types" };
    let verb = if bad.starts_with("volumes") { "use" } else { "uses" };
    let kinds = quoted(kinds.iter().map(String::as_str));
    Some(("restricted volume types", format!("{bad} {verb} restricted volume {word} {kinds}")))
}

/// A setting that a container has or inherits from its pod.
fn inherited<'a>(pod: &'a Value, container: &'a Value, pointer: &str) -> Option<&'a Value> {
    let of = |value: &'a Value| value["securityContext"].pointer(pointer).filter(|v| !v.is_null());
    of(container).or_else(|| of(pod))
}

fn non_root(pod: &Value) -> Option<(&'static str, String)> {
    let bad =
        bad_containers(pod, |c| inherited(pod, c, "/runAsNonRoot") != Some(&Value::Bool(true)))?;
    let detail = format!("pod or {bad} must set securityContext.runAsNonRoot=true");
    Some(("runAsNonRoot != true", detail))
}

fn root_user(pod: &Value) -> Option<(&'static str, String)> {
    if pod["securityContext"]["runAsUser"] == 0 {
        return Some(("runAsUser=0", "pod must not set runAsUser=0".into()));
    }
    let bad = bad_containers(pod, |c| c["securityContext"]["runAsUser"] == 0)?;
    Some(("runAsUser=0", format!("{bad} must not set runAsUser=0")))
}

fn seccomp_unconfined(pod: &Value) -> Option<(&'static str, String)> {
    let unconfined =
        |value: &Value| text(value, "/securityContext/seccompProfile/type") == "Unconfined";
    let who = match unconfined(pod) {
        true => "pod".to_owned(),
        false => bad_containers(pod, unconfined)?,
    };
    let detail =
        format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\"");
    Some(("seccompProfile", detail))
}

fn seccomp(pod: &Value) -> Option<(&'static str, String)> {
    let profile = |c: &Value| {
        let ty = inherited(pod, c, "/seccompProfile/type").and_then(Value::as_str);
        matches!(ty, Some("RuntimeDefault" | "Localhost"))
    };
    let bad = bad_containers(pod, |c| !profile(c))?;
    let detail = format!(
        "pod or {bad} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\""
    );
    Some(("seccompProfile", detail))
}

fn sysctls(pod: &Value) -> Option<(&'static str, String)> {
    let names = items(&pod["securityContext"], "sysctls").map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = names.filter(|name| !SAFE_SYSCTLS.contains(name)).collect();
    (!bad.is_empty()).then(|| ("forbidden sysctls", bad.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plain_pod_is_baseline_and_says_what_it_lacks_for_restricted() {
        let pod = json!({"containers": [{"name": "main"}]});
        assert_eq!(violations(&pod, Level::Baseline), "");
        assert_eq!(
            violations(&pod, Level::Restricted),
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
            violations(&pod, Level::Baseline),
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
        assert_eq!(violations(&pod, Level::Restricted), "");
    }
}
