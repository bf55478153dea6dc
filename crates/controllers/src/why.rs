//! What an object's own status says it waits for.

use coracle_api::Object;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use crate::plan::Because;
use crate::pods;

/// The reason that the status of `object` gives for its not being ready; `None` when it is, or
/// when its kind says nothing of the sort.
pub fn status_reason(snapshot: &Snapshot, object: &Object) -> Option<Because> {
    if *object.key().resource != *"pods" {
        return None;
    }
    let pod = object.view::<Pod>().ok()?;
    let sentence = pod_reason(&pod)?;
    // Whoever makes a container says in an event, and not in the status, what it waits for.
    let is_being_made = MAKING.iter().any(|reason| sentence.ends_with(reason));
    let warning = latest_warning(snapshot, object).filter(|_| is_being_made);
    Some(Because::only(warning.map_or(sentence.clone(), |why| format!("{sentence}: {why}"))))
}

/// What the status says of a container whose volumes, network or predecessors are not ready.
const MAKING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The message of the newest Warning about `object`.
fn latest_warning(snapshot: &Snapshot, object: &Object) -> Option<String> {
    let metadata = object.metadata();
    snapshot
        .list("events", Some(&metadata.namespace))
        .filter(|event| event.str_at("/involvedObject/uid") == Some(&metadata.uid))
        .filter(|event| event.str_at("/type") == Some("Warning"))
        .max_by_key(|event| event.revision())
        .and_then(|event| event.str_at("/message").map(str::to_owned))
}

fn pod_reason(pod: &Pod) -> Option<String> {
    if pods::is_terminating(pod) {
        return Some("is terminating: its containers have their grace period".to_owned());
    }
    if pods::has_ended(pod) || pods::is_ready(pod) {
        return None;
    }
    let scheduled = pods::condition(pod, "PodScheduled").filter(|c| c.status == "False");
    if let Some(scheduled) = scheduled {
        return Some(scheduled.message.clone().unwrap_or_default());
    }
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let stuck = init.chain(status.container_statuses.iter().flatten()).find_map(container_reason);
    stuck.or_else(|| {
        let node = pods::node_name(pod)?;
        Some(format!("node {node} has not reported on it yet"))
    })
}

fn container_reason(container: &ContainerStatus) -> Option<String> {
    let name = &container.name;
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message = waiting.message.as_ref().map(|text| format!(": {text}"));
        let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        let last = last.map(|last| format!("; the last time it {}", end_of(last)));
        let (message, last) = (message.unwrap_or_default(), last.unwrap_or_default());
        return Some(format!("container {name}: {reason}{message}{last}"));
    }
    if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code != 0) {
        return Some(format!("container {name} {}", end_of(ended)));
    }
    let runs = state.running.is_some() && !container.ready;
    runs.then(|| format!("container {name} is running, but not ready"))
}

/// How a run of a container ended, as what follows its name. `Error` and `Completed` say no more
/// than the code does.
fn end_of(ended: &ContainerStateTerminated) -> String {
    let message = ended.message.as_deref().map(str::trim_end).filter(|text| !text.is_empty());
    let message = message.map(|text| format!(": {text}"));
    let message = message.unwrap_or_default();
    match ended.reason.as_deref() {
        Some("StartError") => format!("could not be started{message}"),
        Some(reason) if !matches!(reason, "Error" | "Completed") => {
            format!("exited with code {} ({reason}){message}", ended.exit_code)
        }
        _ => format!("exited with code {}{message}", ended.exit_code),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::world::World;

    fn reason(status: Value) -> Option<String> {
        let value = json!({
            "metadata": {"name": "web-0", "namespace": "default"},
            "spec": {"containers": [], "nodeName": "node-1"},
            "status": status,
        });
        let pod = Object::with_resource("pods", value).unwrap();
        status_reason(&World::new().store.snapshot(), &pod).map(|because| because.sentence)
    }

    #[test]
    fn a_pod_tells_what_holds_it_up() {
        let container_after = |state: Value, last: Value| {
            json!({"containerStatuses": [{
                "name": "web", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": state, "lastState": last,
            }]})
        };
        let container = |state: Value| container_after(state, json!({}));
        let pulling = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let said = |status| reason(status).unwrap();
        assert_eq!(said(container(pulling)), "container web: ErrImagePull: not found");
        assert_eq!(said(container(running)), "container web is running, but not ready");
        let failed = |reason: &str, message: &str| json!({"terminated": {"exitCode": 128, "reason": reason, "message": message}});
        let missing = failed("StartError", "exec: \"nope\": not found");
        let said_of_it = "could not be started: exec: \"nope\": not found";
        assert_eq!(said(container(missing.clone())), format!("container web {said_of_it}"));
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        assert_eq!(
            said(container_after(waits.clone(), missing)),
            format!("container web: CrashLoopBackOff: back-off 10s; the last time it {said_of_it}")
        );
        assert_eq!(
            said(container_after(waits, failed("Error", "disk full\n"))),
            "container web: CrashLoopBackOff: back-off 10s; the last time it exited with code 128: \
             disk full"
        );
        assert_eq!(
            said(container(failed("OOMKilled", ""))),
            "container web exited with code 128 (OOMKilled)"
        );
        assert_eq!(said(json!({})), "node node-1 has not reported on it yet");
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(reason(ready), None);
    }

    #[test]
    fn a_container_that_is_being_made_tells_what_the_events_say() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "default"},
            "spec": {"containers": [], "nodeName": "node-1"},
        }));
        world.edit("pods", "web-0", |pod| {
            pod["status"] = json!({"containerStatuses": [{
                "name": "web", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ContainerCreating"}},
            }]});
        });
        let uid =
            world.store.snapshot().find("pods", "default", "web-0").unwrap().metadata().uid.clone();
        world.create(json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "web-0.1", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "web-0", "uid": uid},
            "type": "Warning", "reason": "FailedMount", "message": "configmap \"a\" not found",
        }));
        let snapshot = world.store.snapshot();
        let pod = snapshot.find("pods", "default", "web-0").unwrap();
        assert_eq!(
            status_reason(&snapshot, pod).unwrap().sentence,
            "container web: ContainerCreating: configmap \"a\" not found"
        );
    }
}
