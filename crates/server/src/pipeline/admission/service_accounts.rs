//! ServiceAccount: every pod runs as one, and gets its token in a volume.

use coracle_api::resources::{PODS, SERVICE_ACCOUNTS};
use coracle_api::{Object, Status};
use serde_json::{Value, json};

use crate::pipeline::admission::pods::each_container;
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::{map_at, metadata, text};
use crate::pipeline::write::WriteEnv;

/// Where programs look for the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the name of the volume begins with.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Lifetime of the token: an hour and a bit, so that clients that round it up are not late.
const TOKEN_SECONDS: i64 = 3607;

/// Gives a new pod its service account, the account's pull secrets, and its token.
pub(super) fn mutate(
    attributes: &mut Attributes<'_>,
    pod: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    if !attributes.is(Operation::Create, PODS) {
        return Ok(());
    }
    if is_mirror(pod) {
        return check_mirror(attributes, pod);
    }
    let spec = map_at(pod, "spec");
    let name = match spec.get("serviceAccountName").and_then(Value::as_str) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "default".to_owned(),
    };
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.clone().into());
    let namespace = &attributes.request.namespace;
    let Some(account) = attributes.snapshot.find(SERVICE_ACCOUNTS, namespace, &name) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        );
        return Err(attributes.forbidden(&shown_name(pod), why));
    };
    if wants_token(pod, account) {
        mount_token(pod, env);
    }
    pull_secrets(pod, account);
    Ok(())
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some()
}

/// A mirror of what a node runs by itself has no account, and nothing that an account gives.
fn check_mirror(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let name = shown_name(pod);
    let refuse =
        |what: &str| Err(attributes.forbidden(&name, format!("a mirror pod may not {what}")));
    let spec = &pod["spec"];
    if !text(spec, "/serviceAccountName").is_empty() {
        return refuse("reference service accounts");
    }
    let volumes = || spec["volumes"].as_array().into_iter().flatten();
    let sources =
        || volumes().flat_map(|it| it["projected"]["sources"].as_array().into_iter().flatten());
    let mut has_secrets = volumes().any(|volume| !volume["secret"].is_null())
        || sources().any(|source| !source["secret"].is_null());
    if sources().any(|source| !source["serviceAccountToken"].is_null()) {
        return refuse("use ServiceAccountToken volume projections");
    }
    each_container(pod, |container| {
        let all = container["env"].as_array().into_iter().flatten();
        has_secrets |= all.into_iter().any(|env| !env["valueFrom"]["secretKeyRef"].is_null());
        let all = container["envFrom"].as_array().into_iter().flatten();
        has_secrets |= all.into_iter().any(|env| !env["secretRef"].is_null());
    });
    if has_secrets { refuse("reference secrets") } else { Ok(()) }
}

fn shown_name(pod: &mut Value) -> String {
    let name = metadata(pod).get("name").or(None).and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn wants_token(pod: &Value, account: &Object) -> bool {
    let of_pod = pod["spec"]["automountServiceAccountToken"].as_bool();
    of_pod.or(account.value()["automountServiceAccountToken"].as_bool()).unwrap_or(true)
}

fn pull_secrets(pod: &mut Value, account: &Object) {
    let has_own = pod["spec"]["imagePullSecrets"].as_array().is_some_and(|all| !all.is_empty());
    let secrets = &account.value()["imagePullSecrets"];
    if !has_own && secrets.as_array().is_some_and(|all| !all.is_empty()) {
        map_at(pod, "spec").insert("imagePullSecrets".into(), secrets.clone());
    }
}

/// Adds the volume once, and mounts it in every container that has nothing else there.
fn mount_token(pod: &mut Value, env: &mut WriteEnv<'_>) {
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let there = volumes
        .iter()
        .find_map(|volume| volume["name"].as_str().filter(|name| name.starts_with(VOLUME_PREFIX)));
    let (name, is_new) = match there {
        Some(name) => (name.to_owned(), false),
        None => (format!("{VOLUME_PREFIX}{}", env.entropy.suffix()), true),
    };
    let mut mounted = false;
    each_container(pod, |container| {
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        if mounts.into_iter().any(|mount| text(mount, "/mountPath") == MOUNT_PATH) {
            return;
        }
        mounted = true;
        let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
        push(container, "volumeMounts", mount);
    });
    if mounted && is_new {
        push(&mut pod["spec"], "volumes", volume(&name));
    }
}

fn push(value: &mut Value, field: &str, item: Value) {
    match value[field].as_array_mut() {
        Some(items) => items.push(item),
        None => value[field] = json!([item]),
    }
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}
