//! Containers: ports, environment, mounts, resources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, Unique, descending_path, dns_label, quantity};
use super::references::{ENV_FIELDS, field_reference, resource_reference};
use super::{probe, security, volume};
use crate::names;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
/// What containers need to know of their pod.
pub(super) struct Pod<'a> {
    /// Sources of the volumes, by name.
    pub(super) volumes: BTreeMap<&'a str, Field<'a>>,
    /// `spec.terminationGracePeriodSeconds`.
    pub(super) grace: Option<i64>,
    /// `spec.restartPolicy`.
    pub(super) restart_policy: &'a str,
    /// Whether its users are those of the host.
    pub(super) host_users: bool,
}

/// `spec.containers`.
pub(super) fn regular(errors: &mut Errors, list: &Field<'_>, pod: &Pod<'_>) {
    if list.is_empty() {
        errors.required(list, "");
        return;
    }
    let mut names = Unique::new();
    for container in list.items() {
        common(errors, &container, pod);
        names.check(errors, &container.child("name"));
        actions(errors, &container, pod);
        restart_policy(errors, &container);
    }
    host_ports(errors, list.items());
}

/// `spec.initContainers`, some of which go on running beside the others.
pub(super) fn init(errors: &mut Errors, list: &Field<'_>, regular: &Field<'_>, pod: &Pod<'_>) {
    let mut names = Unique::new();
    let mut ignored = Errors::default();
    let regular: Vec<Field<'_>> = regular.items().map(|c| c.child("name")).collect();
    regular.iter().for_each(|name| names.check(&mut ignored, name));
    let containers: Vec<Field<'_>> = list.items().collect();
    let own: Vec<Field<'_>> = containers.iter().map(|c| c.child("name")).collect();
    for (container, name) in containers.iter().zip(&own) {
        common(errors, container, pod);
        let policy = container.child("restartPolicy");
        restart_policy(errors, container);
        if name.is_empty() && !names.has("") {
            // An unnamed container has been reported already.
        } else {
            names.check(errors, name);
        }
        host_ports(errors, std::iter::once(container.clone()));
        if policy.text() == "Always" {
            actions(errors, container, pod);
            continue;
        }
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            let action = container.child(name);
            if action.is_set() {
                errors.forbidden(
                    &action,
                    "may not be set for init containers without restartPolicy=Always",
                );
            }
        }
    }
}

/// A container's own policy, and the rules by which some of its ends are answered otherwise.
fn restart_policy(errors: &mut Errors, container: &Field<'_>) {
    let (policy, rules) = (container.child("restartPolicy"), container.child("restartPolicyRules"));
    errors.one_of_if_set(&policy, &["Always", "Never", "OnFailure"]);
    if !policy.is_set() && !rules.is_empty() {
        errors.required(&policy, "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > RESTART_RULES_MAX {
        errors.too_many(&rules, RESTART_RULES_MAX);
    }
    for rule in rules.items() {
        errors.one_of(&rule.child("action"), &["Restart", "RestartAllContainers"]);
        let codes = rule.child("exitCodes");
        if !codes.is_set() {
            errors.required(&codes, "must be specified");
            continue;
        }
        errors.one_of(&codes.child("operator"), &["In", "NotIn"]);
        let values = codes.child("values");
        if values.len() > EXIT_CODES_MAX {
            errors.too_many(&values, EXIT_CODES_MAX);
        }
    }
}

/// `spec.ephemeralContainers`, which serve to look, not to work.
pub(super) fn ephemeral(errors: &mut Errors, spec: &Field<'_>, pod: &Pod<'_>) {
    const DENIED: [&str; 7] = [
        "ports",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "resizePolicy",
        "restartPolicy",
    ];
    let names = |list: &str| spec.child(list).items().map(|c| c.child("name")).collect::<Vec<_>>();
    let others: Vec<Field<'_>> =
        names("containers").into_iter().chain(names("initContainers")).collect();
    let mut seen: BTreeSet<&str> = others.iter().map(Field::text).collect();
    for container in spec.child("ephemeralContainers").items() {
        common(errors, &container, pod);
        untrimmed_image(errors, &container);
        let name = container.child("name");
        if !seen.insert(name.text()) {
            errors.duplicate(&name);
        }
        let target = container.child("targetContainerName");
        if !target.is_empty() && !others.iter().any(|other| other.text() == target.text()) {
            errors.not_found(&target);
        }
        let resources = container.child("resources");
        let denied = DENIED.iter().map(|name| container.child(name)).chain([resources]);
        for field in denied.filter(|field| !field.is_empty()) {
            errors.forbidden(&field, "cannot be set for an Ephemeral Container");
        }
        for mount in container.child("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"].map(|name| mount.child(name)) {
                if !field.is_empty() {
                    errors.forbidden(&field, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// Pods alone are strict about spaces around the image's name.
pub(super) fn untrimmed_image(errors: &mut Errors, container: &Field<'_>) {
    let image = container.child("image");
    if image.text().trim() != image.text() {
        errors.invalid(&image, "must not have leading or trailing whitespace");
    }
}

fn actions(errors: &mut Errors, container: &Field<'_>, pod: &Pod<'_>) {
    probe::lifecycle(errors, &container.child("lifecycle"), pod.grace);
    probe::deciding(errors, &container.child("livenessProbe"));
    probe::readiness(errors, &container.child("readinessProbe"));
    probe::deciding(errors, &container.child("startupProbe"));
}

fn common(errors: &mut Errors, container: &Field<'_>, pod: &Pod<'_>) {
    let name = container.child("name");
    if name.is_empty() {
        errors.required(&name, "");
    } else {
        dns_label(errors, &name);
    }
    errors.require_text(&container.child("image"));
    errors.one_of(&container.child("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    ports(errors, &container.child("ports"));
    environment(errors, &container.child("env"));
    environment_sources(errors, &container.child("envFrom"));
    mounts(errors, container, pod);
    devices(errors, container, pod);
    errors.one_of(&container.child("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    resources(errors, &container.child("resources"));
    resize_policy(errors, &container.child("resizePolicy"), pod.restart_policy);
    security::container(errors, &container.child("securityContext"), pod.host_users);
}

fn ports(errors: &mut Errors, list: &Field<'_>) {
    let mut names = Unique::new();
    for port in list.items() {
        let name = port.child("name");
        if !name.is_empty() {
            let sentences = names::port_name(name.text());
            if sentences.is_empty() {
                names.check(errors, &name);
            }
            errors.all_invalid(&name, sentences);
        }
        let number = port.child("containerPort");
        if number.int() == 0 {
            errors.required(&number, "");
        } else {
            errors.all_invalid(&number, names::port_number(number.int()));
        }
        let host = port.child("hostPort");
        if host.int() != 0 {
            errors.all_invalid(&host, names::port_number(host.int()));
        }
        errors.one_of(&port.child("protocol"), &PROTOCOLS);
    }
}

fn host_ports<'a>(errors: &mut Errors, containers: impl Iterator<Item = Field<'a>>) {
    let mut taken = BTreeSet::new();
    for container in containers {
        for port in container.child("ports").items() {
            let host = port.child("hostPort");
            if host.int() != 0 {
                let (protocol, ip) = (port.child("protocol"), port.child("hostIP"));
                let key = format!("{}/{}/{}", protocol.text(), ip.text(), host.int());
                if !taken.insert(key.clone()) {
                    errors.duplicate_as(&host.path, &key);
                }
            }
        }
    }
}

fn environment(errors: &mut Errors, list: &Field<'_>) {
    for variable in list.items() {
        let name = variable.child("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.all_invalid(&name, names::env_var_name(name.text()));
        }
        let source = variable.child("valueFrom");
        if source.is_set() {
            variable_source(errors, &source, !variable.child("value").is_empty());
        }
    }
}

fn variable_source(errors: &mut Errors, source: &Field<'_>, has_value: bool) {
    let mut count = 0;
    for name in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let reference = source.child(name);
        if !reference.is_set() {
            continue;
        }
        count += 1;
        match name {
            "fieldRef" => field_reference(errors, &reference, &ENV_FIELDS),
            "resourceFieldRef" => resource_reference(errors, &reference, false),
            "fileKeyRef" => {}
            _ => key_reference(errors, &reference),
        }
    }
    let detail = match (count, has_value) {
        (0, _) => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        }
        (_, true) => "may not be specified when `value` is not empty",
        (1, false) => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid_as(source, &Value::from(""), detail);
}

fn key_reference(errors: &mut Errors, reference: &Field<'_>) {
    parts::dns_subdomain(errors, &reference.child("name"));
    let key = reference.child("key");
    if key.is_empty() {
        errors.required(&key, "");
    } else {
        errors.all_invalid(&key, names::config_map_key(key.text()));
    }
}

fn environment_sources(errors: &mut Errors, list: &Field<'_>) {
    for source in list.items() {
        let prefix = source.child("prefix");
        if !prefix.is_empty() {
            errors.all_invalid(&prefix, names::env_var_name(prefix.text()));
        }
        let mut count = 0;
        for reference in ["configMapRef", "secretRef"].map(|name| source.child(name)) {
            if reference.is_set() {
                count += 1;
                let name = reference.child("name");
                if name.is_empty() {
                    errors.required(&name, "");
                } else {
                    parts::dns_subdomain(errors, &name);
                }
            }
        }
        match count {
            0 => errors.invalid_as(
                list,
                &"".into(),
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            1 => {}
            _ => errors.invalid_as(
                list,
                &"".into(),
                "may not have more than one field specified at a time",
            ),
        }
    }
}

fn mounts(errors: &mut Errors, container: &Field<'_>, pod: &Pod<'_>) {
    let list = container.child("volumeMounts");
    let devices: Vec<Field<'_>> = container.child("volumeDevices").items().collect();
    let mut paths = BTreeSet::new();
    for mount in list.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        errors.require_text(&name);
        let volume = pod.volumes.get(name.text());
        if volume.is_none() {
            errors.not_found(&name);
        }
        errors.require_text(&path);
        if !paths.insert(path.text()) {
            errors.invalid(&path, "must be unique");
        }
        if devices.iter().any(|device| device.child("name").text() == name.text()) {
            errors.invalid(&name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.child("devicePath").text() == path.text()) {
            errors.invalid(&path, "must not already exist as a path in volumeDevices");
        }
        let (sub, expression) = (mount.child("subPath"), mount.child("subPathExpr"));
        // Upstream names the list here, not the item.
        descending_path(errors, &Field::at(sub.value, &format!("{}.subPath", list.path)));
        if !expression.is_empty() && !sub.is_empty() {
            errors.invalid(&expression, "subPathExpr and subPath are mutually exclusive");
        }
        let path = format!("{}.subPathExpr", list.path);
        descending_path(errors, &Field::at(expression.value, &path));
        propagation(errors, &mount, container, &list);
        recursive_read_only(errors, &mount, &list);
    }
}

fn recursive_read_only(errors: &mut Errors, mount: &Field<'_>, list: &Field<'_>) {
    let mode = mount.child("recursiveReadOnly");
    if !mode.is_set() {
        return;
    }
    let at_list = Field::at(mode.value, &format!("{}.recursiveReadOnly", list.path));
    if !matches!(mode.text(), "Enabled" | "IfPossible") {
        return errors.one_of_if_set(&at_list, &["Disabled", "Enabled", "IfPossible"]);
    }
    if !mount.child("readOnly").is_true() {
        errors.forbidden(&at_list, "may only be specified when readOnly is true");
    }
    if !matches!(mount.child("mountPropagation").text(), "" | "None") {
        let detail = "may only be specified when mountPropagation is None or not specified";
        errors.forbidden(&at_list, detail);
    }
}

fn propagation(errors: &mut Errors, mount: &Field<'_>, container: &Field<'_>, list: &Field<'_>) {
    let mode = mount.child("mountPropagation");
    let at_list = Field::at(mode.value, &format!("{}.mountPropagation", list.path));
    errors.one_of_if_set(&at_list, &["Bidirectional", "HostToContainer", "None"]);
    let privileged = container.descend(&["securityContext", "privileged"]).is_true();
    if mode.text() == "Bidirectional" && !privileged {
        errors.forbidden(
            &at_list,
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
}

fn devices(errors: &mut Errors, container: &Field<'_>, pod: &Pod<'_>) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in container.child("volumeDevices").items() {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        errors.require_text(&name);
        if !names.insert(name.text()) {
            errors.invalid(&name, "must be unique");
        }
        match pod.volumes.get(name.text()) {
            None => errors.not_found(&name),
            Some(source) if !volume::is_claim(source) => errors.invalid(
                &name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            Some(_) => {}
        }
        errors.require_text(&path);
        if !paths.insert(path.text()) {
            errors.invalid(&path, "must be unique");
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.invalid(&path, "can not contain backsteps ('..')");
        }
    }
}

/// `resources` of a container or of a pod.
pub(super) fn resources(errors: &mut Errors, resources: &Field<'_>) {
    let (limits, requests) = (resources.child("limits"), resources.child("requests"));
    for (name, limit) in limits.members() {
        amount(errors, name, &limit);
    }
    let named = || limits.members().chain(requests.members()).map(|(name, _)| name);
    let has_pages = named().any(|name| name.starts_with("hugepages-"));
    let has_others = named().any(|name| ["cpu", "memory"].contains(&name));
    for (name, request) in requests.members() {
        amount(errors, name, &request);
        let limit = limits.key(name);
        let (wanted, most) = (quantity(&request), quantity(&limit));
        if !limit.is_set() {
            if !is_overcommittable(name) {
                let detail = "Limit must be set for non overcommitable resources";
                errors.required(&limits, detail);
            }
        } else if !is_overcommittable(name) && wanted != most {
            let detail = format!("must be equal to {name} limit of {most}");
            errors.invalid_as(&requests, &wanted.to_string().into(), &detail);
        } else if wanted > most {
            let detail = format!("must be less than or equal to {name} limit of {most}");
            errors.invalid_as(&requests, &wanted.to_string().into(), &detail);
        }
    }
    if has_pages && !has_others {
        errors.forbidden(resources, "HugePages require cpu or memory");
    }
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_overcommittable(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// Whether a quota can bound a resource of this name that no container can ask for.
fn is_of_quotas(name: &str) -> bool {
    const COUNTED: [&str; 11] = [
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
        "requests.storage",
        "storage",
    ];
    let (_, bound) = name.split_once('.').unwrap_or_default();
    COUNTED.contains(&name)
        || ((name.starts_with("requests.") || name.starts_with("limits."))
            && (["cpu", "memory", "ephemeral-storage"].contains(&bound)
                || bound.starts_with("hugepages-")))
}

fn amount(errors: &mut Errors, name: &str, field: &Field<'_>) {
    let shown = Value::from(name);
    for sentence in names::qualified_name(name) {
        errors.invalid_as(field, &shown, &sentence);
    }
    let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name);
    if !name.contains('/') && !standard && !name.starts_with("hugepages-") {
        if !is_of_quotas(name) {
            let sentence = "must be a standard resource type or fully qualified";
            errors.invalid_as(field, &shown, sentence);
        }
        errors.invalid_as(field, &shown, "must be a standard resource for containers");
    } else if !is_native(name) && name.starts_with("requests.") {
        errors.invalid_as(field, &shown, "doesn't follow extended resource name standard");
    }
    parts::non_negative_quantity(errors, field);
    if !is_native(name) && quantity(field).milli_value() % 1000 != 0 {
        errors.invalid(field, "must be an integer");
    }
}

fn resize_policy(errors: &mut Errors, list: &Field<'_>, restart_policy: &str) {
    let mut seen = BTreeSet::new();
    for policy in list.items() {
        let (name, restart) = (policy.child("resourceName"), policy.child("restartPolicy"));
        if !seen.insert(name.text()) {
            errors.duplicate_as(&policy.path, name.text());
        }
        errors.one_of(&Field::at(name.value, &list.path), &["cpu", "memory"]);
        let restart = Field::at(restart.value, &list.path);
        errors.one_of(&restart, &["NotRequired", "RestartContainer"]);
        if restart_policy == "Never" && restart.text() != "NotRequired" {
            errors.invalid(&restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}
