//! Probes and lifecycle hooks.

use super::cursor::{Errors, Field};
use super::parts::port;
use crate::names;

/// What one action of a probe or hook does.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// A liveness or startup probe: one success is success.
pub(super) fn deciding(errors: &mut Errors, probe: &Field<'_>) {
    if !probe.is_set() {
        return;
    }
    any(errors, probe);
    let threshold = probe.child("successThreshold");
    if threshold.int() != 1 {
        errors.invalid(&threshold, "must be 1");
    }
}

/// A readiness probe: it ends nothing.
pub(super) fn readiness(errors: &mut Errors, probe: &Field<'_>) {
    if !probe.is_set() {
        return;
    }
    any(errors, probe);
    let grace = probe.child("terminationGracePeriodSeconds");
    if grace.is_set() {
        errors.invalid(&grace, "must not be set for readinessProbes");
    }
}

fn any(errors: &mut Errors, probe: &Field<'_>) {
    handler(errors, probe, None);
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        errors.non_negative(&probe.child(name));
    }
    let grace = probe.child("terminationGracePeriodSeconds");
    if grace.is_set() && grace.int() <= 0 {
        errors.invalid(&grace, "must be greater than 0");
    }
}

/// Hooks of a container in a pod that is granted `grace` seconds.
pub(super) fn lifecycle(errors: &mut Errors, hooks: &Field<'_>, grace: Option<i64>) {
    for hook in ["postStart", "preStop"] {
        let hook = hooks.child(hook);
        if hook.is_set() {
            handler(errors, &hook, grace);
        }
    }
}

fn handler(errors: &mut Errors, field: &Field<'_>, grace: Option<i64>) {
    let mut found = false;
    for name in HANDLERS {
        let action = field.child(name);
        if !action.is_set() {
            continue;
        }
        if found {
            errors.forbidden(&action, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match name {
            "exec" => errors.require_text(&action.child("command")),
            "httpGet" => http_get(errors, &action),
            "sleep" => sleep(errors, &action, grace),
            _ => port(errors, &action.child("port")),
        }
    }
    if !found {
        errors.required(field, "must specify a handler type");
    }
}

fn http_get(errors: &mut Errors, action: &Field<'_>) {
    errors.require_text(&action.child("path"));
    port(errors, &action.child("port"));
    let scheme = action.child("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme.text()) {
        errors.not_supported(&scheme, &["HTTP", "HTTPS"]);
    }
    let headers = action.child("httpHeaders");
    for header in headers.items() {
        let name = header.child("name");
        for sentence in names::http_header_name(name.text()) {
            errors.invalid_as(&headers, name.value, &sentence);
        }
    }
}

fn sleep(errors: &mut Errors, action: &Field<'_>, grace: Option<i64>) {
    let seconds = action.child("seconds");
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds.int())
    {
        let detail =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid_as(action, seconds.value, &detail);
    }
}
