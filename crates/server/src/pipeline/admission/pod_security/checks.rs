//! The checks of each level, in upstream's order and words.

use std::collections::BTreeSet;

use coracle_api::sysctls::SAFE as SAFE_SYSCTLS;
use serde_json::Value;

use super::Level;
use crate::pipeline::verbs::text;

/// A pod, or a template of pods.
pub struct Pod<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

/// A reason and its detail, which may be empty.
type Broken = (&'static str, String);

type Check = fn(&Pod<'_>) -> Option<Broken>;

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

/// Those of the lower level come first. A check that has a stricter form at `Restricted` is replaced
/// by that.
const CHECKS: &[(Level, Option<Level>, Check)] = &[
    (Level::Restricted, None, privilege_escalation),
    (Level::Baseline, None, app_armor),
    (Level::Baseline, Some(Level::Restricted), capabilities),
    (Level::Restricted, None, all_capabilities),
    (Level::Baseline, None, host_namespaces),
    (Level::Baseline, Some(Level::Restricted), host_paths),
    (Level::Baseline, None, host_ports),
    (Level::Baseline, None, handlers),
    (Level::Baseline, None, privileged),
    (Level::Baseline, None, proc_mount),
    (Level::Restricted, None, volumes),
    (Level::Restricted, None, non_root),
    (Level::Restricted, None, root_user),
    (Level::Baseline, None, selinux),
    (Level::Baseline, Some(Level::Restricted), seccomp_unconfined),
    (Level::Restricted, None, seccomp),
    (Level::Baseline, None, sysctls),
    (Level::Baseline, None, host_process),
];

/// What of `pod` goes beyond `level`.
pub fn violations(pod: &Pod<'_>, level: Level) -> Vec<Broken> {
    let holds =
        |from: Level, until: Option<Level>| from <= level && until.is_none_or(|it| level < it);
    let of = |at: Level| CHECKS.iter().filter(move |(from, _, _)| *from == at);
    let checks = of(Level::Baseline).chain(of(Level::Restricted));
    let checks = checks.filter(|(from, until, _)| holds(*from, *until));
    checks.filter_map(|(_, _, check)| check(pod)).collect()
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn containers<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> {
    let spec = pod.spec;
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|f| items(spec, f))
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// `container "a"`, `containers "a", "b"`: those for which `is_bad`; `None` when there are none.
fn bad_containers(pod: &Pod<'_>, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
    let bad: Vec<&str> = containers(pod).filter(|c| is_bad(c)).map(|c| text(c, "/name")).collect();
    let word = if bad.len() == 1 { "container" } else { "containers" };
    (!bad.is_empty()).then(|| format!("{word} {}", quoted(bad.into_iter())))
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Broken> {
    let bad = bad_containers(pod, |c| c["securityContext"]["allowPrivilegeEscalation"] != false)?;
    let detail = format!("{bad} must set securityContext.allowPrivilegeEscalation=false");
    Some(("allowPrivilegeEscalation != false", detail))
}

fn added(container: &Value) -> impl Iterator<Item = &str> {
    items(&container["securityContext"]["capabilities"], "add").filter_map(Value::as_str)
}

fn capabilities(pod: &Pod<'_>) -> Option<Broken> {
    let foreign = |name: &&str| !BASELINE_CAPABILITIES.contains(name);
    let bad = bad_containers(pod, |c| added(c).any(|name| foreign(&name)))?;
    let mut names: Vec<&str> = containers(pod).flat_map(added).filter(foreign).collect();
    names.sort_unstable();
    names.dedup();
    let names = quoted(names.into_iter());
    let detail = format!("{bad} must not include {names} in securityContext.capabilities.add");
    Some(("non-default capabilities", detail))
}

fn all_capabilities(pod: &Pod<'_>) -> Option<Broken> {
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

fn host_namespaces(pod: &Pod<'_>) -> Option<Broken> {
    let set =
        ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let set: Vec<String> = set.map(|field| format!("{field}=true")).collect();
    (!set.is_empty()).then(|| ("host namespaces", set.join(", ")))
}

/// `volume "a"`, `volumes "a", "b"`.
fn bad_volumes(pod: &Pod<'_>, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
    let bad: Vec<&str> =
        items(pod.spec, "volumes").filter(|v| is_bad(v)).map(|v| text(v, "/name")).collect();
    let word = if bad.len() == 1 { "volume" } else { "volumes" };
    (!bad.is_empty()).then(|| format!("{word} {}", quoted(bad.into_iter())))
}

fn host_paths(pod: &Pod<'_>) -> Option<Broken> {
    Some(("hostPath volumes", bad_volumes(pod, |volume| volume["hostPath"].is_object())?))
}

fn host_ports(pod: &Pod<'_>) -> Option<Broken> {
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

fn privileged(pod: &Pod<'_>) -> Option<Broken> {
    let bad = bad_containers(pod, |c| c["securityContext"]["privileged"] == true)?;
    Some(("privileged", format!("{bad} must not set securityContext.privileged=true")))
}

fn volumes(pod: &Pod<'_>) -> Option<Broken> {
    let kind = |volume: &Value| {
        let fields = volume.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        fields.into_iter().find(|name| name != "name").unwrap_or_default()
    };
    let is_bad = |volume: &Value| !RESTRICTED_VOLUMES.contains(&kind(volume).as_str());
    let bad = bad_volumes(pod, is_bad)?;
    let kinds: Vec<String> = items(pod.spec, "volumes").filter(|v| is_bad(v)).map(kind).collect();
    let word = if kinds.len() == 1 { "type" } else { "types" };
    let verb = if bad.starts_with("volumes") { "use" } else { "uses" };
    let kinds = quoted(kinds.iter().map(String::as_str));
    Some(("restricted volume types", format!("{bad} {verb} restricted volume {word} {kinds}")))
}

/// Who says something in its `securityContext`: `pod and containers "a", "b"`.
fn setters(pod: &Pod<'_>, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
    let says = |value: &Value| is_bad(&value["securityContext"]);
    let of_pod = says(pod.spec).then(|| "pod".to_owned());
    let who: Vec<String> = of_pod.into_iter().chain(bad_containers(pod, says)).collect();
    (!who.is_empty()).then(|| who.join(" and "))
}

/// All that pod and containers have at `pointer` in their `securityContext`, sorted, once each.
fn values<'a>(pod: &Pod<'a>, pointer: &str) -> BTreeSet<&'a str> {
    let all = containers(pod).chain([pod.spec]);
    let of = |value: &'a Value| value["securityContext"].pointer(pointer)?.as_str();
    all.filter_map(of).collect()
}

fn app_armor(pod: &Pod<'_>) -> Option<Broken> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let is_bad = |ty: &str| !matches!(ty, "RuntimeDefault" | "Localhost");
    let who = setters(pod, |context| {
        context["appArmorProfile"].is_object() && is_bad(text(context, "/appArmorProfile/type"))
    });
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let mut annotated: Vec<String> = annotations
        .filter(|(name, _)| name.starts_with(ANNOTATION))
        .filter_map(|(name, value)| Some((name, value.as_str()?)))
        .filter(|(_, value)| {
            !(value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/"))
        })
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    annotated.sort();
    let of_annotations = match annotated.len() {
        0 => None,
        1 => Some("annotation".to_owned()),
        _ => Some("annotations".to_owned()),
    };
    let who: Vec<String> = who.into_iter().chain(of_annotations).collect();
    let types = values(pod, "/appArmorProfile/type").into_iter().filter(|ty| is_bad(ty));
    let all: Vec<&str> = types.chain(annotated.iter().map(String::as_str)).collect();
    let reason = match all.len() {
        1 => "forbidden AppArmor profile",
        _ => "forbidden AppArmor profiles",
    };
    let (who, all) = (who.join(" and "), quoted(all.into_iter()));
    let detail = format!("{who} must not set AppArmor profile type to {all}");
    (!who.is_empty()).then_some((reason, detail))
}

fn handler_hosts(container: &Value) -> impl Iterator<Item = &str> {
    const HANDLERS: [&str; 5] = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    let handlers = HANDLERS.into_iter().filter_map(|pointer| container.pointer(pointer));
    let hosts = handlers.flat_map(|handler| [&handler["httpGet"], &handler["tcpSocket"]]);
    hosts.map(|action| text(action, "/host")).filter(|host| !host.is_empty())
}

/// The node's own programs listen where a probe could be sent: no host but the pod's.
fn handlers(pod: &Pod<'_>) -> Option<Broken> {
    let bad = bad_containers(pod, |c| handler_hosts(c).next().is_some())?;
    let hosts: BTreeSet<&str> = containers(pod).flat_map(handler_hosts).collect();
    let verb = if bad.starts_with("containers") { "use" } else { "uses" };
    let word = if hosts.len() == 1 { "host" } else { "hosts" };
    let hosts = quoted(hosts.into_iter());
    let detail = format!("{bad} {verb} probe or lifecycle {word} {hosts}");
    Some(("probe or lifecycle host", detail))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Broken> {
    let is_bad = |mount: &str| !matches!(mount, "" | "Default");
    let bad = bad_containers(pod, |c| is_bad(text(c, "/securityContext/procMount")))?;
    let mounts = quoted(values(pod, "/procMount").into_iter().filter(|mount| is_bad(mount)));
    Some(("procMount", format!("{bad} must not set securityContext.procMount to {mounts}")))
}

fn non_root(pod: &Pod<'_>) -> Option<Broken> {
    const REASON: &str = "runAsNonRoot != true";
    if let Some(who) = setters(pod, |context| context["runAsNonRoot"] == false) {
        return Some((REASON, format!("{who} must not set securityContext.runAsNonRoot=false")));
    }
    let of_pod = pod.spec["securityContext"]["runAsNonRoot"] == true;
    let silent = |c: &Value| !of_pod && c["securityContext"]["runAsNonRoot"].is_null();
    let bad = bad_containers(pod, silent)?;
    Some((REASON, format!("pod or {bad} must set securityContext.runAsNonRoot=true")))
}

fn root_user(pod: &Pod<'_>) -> Option<Broken> {
    let who = setters(pod, |context| context["runAsUser"] == 0)?;
    Some(("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

fn selinux(pod: &Pod<'_>) -> Option<Broken> {
    let is_bad = |ty: &str| {
        !matches!(
            ty,
            "" | "container_t" | "container_init_t" | "container_kvm_t" | "container_engine_t"
        )
    };
    let is_set = |context: &Value, field: &str| !text(&context["seLinuxOptions"], field).is_empty();
    let who = setters(pod, |context| {
        is_bad(text(context, "/seLinuxOptions/type"))
            || is_set(context, "/user")
            || is_set(context, "/role")
    })?;
    let types: Vec<&str> =
        values(pod, "/seLinuxOptions/type").into_iter().filter(|ty| is_bad(ty)).collect();
    let word = if types.len() == 1 { "type" } else { "types" };
    let types = (!types.is_empty()).then(|| format!("{word} {}", quoted(types.into_iter())));
    let other = |field: &str| {
        let is_set = setters(pod, |context| is_set(context, field)).is_some();
        is_set.then(|| format!("{} may not be set", &field[1..]))
    };
    let all: Vec<String> = types.into_iter().chain(other("/user")).chain(other("/role")).collect();
    let all = all.join("; ");
    Some(("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {all}")))
}

fn is_confined(ty: &str) -> bool {
    matches!(ty, "RuntimeDefault" | "Localhost")
}

fn seccomp_unconfined(pod: &Pod<'_>) -> Option<Broken> {
    let ty = |context: &Value| text(context, "/seccompProfile/type").to_owned();
    let who = setters(pod, |it| it["seccompProfile"].is_object() && !is_confined(&ty(it)))?;
    let types = values(pod, "/seccompProfile/type").into_iter().filter(|ty| !is_confined(ty));
    let types = quoted(types);
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {types}");
    Some(("seccompProfile", detail))
}

fn seccomp(pod: &Pod<'_>) -> Option<Broken> {
    if let Some(unconfined) = seccomp_unconfined(pod) {
        return Some(unconfined);
    }
    let of_pod = pod.spec["securityContext"]["seccompProfile"].is_object();
    let silent = |c: &Value| !of_pod && !c["securityContext"]["seccompProfile"].is_object();
    let bad = bad_containers(pod, silent)?;
    let detail = format!(
        "pod or {bad} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\""
    );
    Some(("seccompProfile", detail))
}

fn host_process(pod: &Pod<'_>) -> Option<Broken> {
    let who = setters(pod, |context| context["windowsOptions"]["hostProcess"] == true)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(("hostProcess", detail))
}

fn sysctls(pod: &Pod<'_>) -> Option<Broken> {
    let names = items(&pod.spec["securityContext"], "sysctls").map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = names.filter(|name| !SAFE_SYSCTLS.contains(name)).collect();
    (!bad.is_empty()).then(|| ("forbidden sysctls", bad.join(", ")))
}
