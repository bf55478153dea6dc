//! Security contexts of pods and containers.

use super::cursor::{Errors, Field};
use super::parts::descending_path;
use crate::names;

/// `spec.securityContext` of a pod with `spec`.
pub(super) fn pod(errors: &mut Errors, context: &Field<'_>, spec: &Field<'_>) {
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(errors, &context.child(name));
    }
    context.child("supplementalGroups").items().for_each(|group| id(errors, &group));
    let share = spec.child("shareProcessNamespace");
    if share.is_true() && spec.child("hostPID").is_true() {
        let share = Field::at(share.value, &format!("{}.shareProcessNamespace", context.path));
        errors.invalid(&share, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(errors, &context.child("sysctls"), spec);
    errors.one_of_if_set(&context.child("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]);
    errors.one_of_if_set(&context.child("supplementalGroupsPolicy"), &["Merge", "Strict"]);
    errors.one_of_if_set(&context.child("seLinuxChangePolicy"), &["MountOption", "Recursive"]);
    profiles(errors, context);
}

/// `securityContext` of a container.
pub(super) fn container(errors: &mut Errors, context: &Field<'_>, host_users: bool) {
    for name in ["runAsUser", "runAsGroup"] {
        id(errors, &context.child(name));
    }
    let mount = context.child("procMount");
    errors.one_of_if_set(&mount, &["Default", "Unmasked"]);
    if mount.text() == "Unmasked" && host_users {
        errors.invalid(&mount, "`hostUsers` must be false to use `Unmasked`");
    }
    profiles(errors, context);
    let escalation = context.child("allowPrivilegeEscalation");
    if escalation.is_set() && !escalation.is_true() {
        if context.child("privileged").is_true() {
            errors.invalid(
                context,
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = context.descend(&["capabilities", "add"]);
        if added.items().any(|capability| capability.text() == "CAP_SYS_ADMIN") {
            errors.invalid(
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}

fn id(errors: &mut Errors, field: &Field<'_>) {
    let max = i64::from(i32::MAX);
    if field.is_set() && !(0..=max).contains(&field.int()) {
        errors.invalid(field, names::not_between(0, max));
    }
}

fn profiles(errors: &mut Errors, context: &Field<'_>) {
    for (name, what) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = context.child(name);
        if !profile.is_set() {
            continue;
        }
        let (ty, local) = (profile.child("type"), profile.child("localhostProfile"));
        if ty.is_empty() {
            errors.required(&ty, &format!("type is required when {name} is set"));
        } else {
            errors.one_of_if_set(&ty, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
        if ty.text() != "Localhost" {
            if local.is_set() {
                errors.invalid(&local, format!("can only be set when {what} type is Localhost"));
            }
        } else if local.is_empty() {
            errors.required(&local, &format!("must be set when {what} type is Localhost"));
        } else if what == "seccomp" {
            descending_path(errors, &local);
        }
    }
}

fn sysctls(errors: &mut Errors, list: &Field<'_>, spec: &Field<'_>) {
    let mut seen = std::collections::BTreeSet::new();
    for sysctl in list.items() {
        let name = sysctl.child("name");
        let text = name.text().replace('/', ".");
        if name.is_empty() {
            errors.required(&name, "");
        } else if !is_sysctl(&text) {
            errors.invalid(
                &name,
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !seen.insert(name.text()) {
            errors.duplicate(&name);
        }
        if text.starts_with("net.") && spec.child("hostNetwork").is_true() {
            errors.invalid(&name, "may not be specified when 'hostNetwork' is true");
        }
        let ipc = text.starts_with("kernel.shm")
            || text.starts_with("kernel.msg")
            || text == "kernel.sem"
            || text.starts_with("fs.mqueue.");
        if ipc && spec.child("hostIPC").is_true() {
            errors.invalid(&name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge =
        |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(|segment| {
            let bytes = segment.as_bytes();
            edge(bytes.first().copied())
                && edge(bytes.last().copied())
                && bytes.iter().all(|b| edge(Some(*b)) || matches!(b, b'-' | b'_'))
        })
}
