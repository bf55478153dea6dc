//! What a pod waits for, by its status and the events about it.

use coracle_api::pod_resources::RESIZE_PENDING;
use coracle_api::pods::{self, AnyPod};
use coracle_api::resources::{EVENTS, PERSISTENT_VOLUME_CLAIMS};
use coracle_api::{Key, Object};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};

use super::{VOLUME_FAILED, image, resources};

use crate::plan::Because;
use crate::scheduler;

/// The reason that the status of a pod gives for its not being ready; `None` when it is.
pub(super) fn reason(snapshot: &Snapshot, object: &Object) -> Option<Because> {
    let pod = object.view::<Pod>().ok()?;
    if pod.phase() == "Failed" && !pods::is_terminating(&pod) {
        return Some(failure(&pod));
    }
    let Some(mut because) = of_status(snapshot, &pod) else { return resize(&pod) };
    // Whoever makes a container says in an event, and not in the status, what it waits for; so
    // does whoever asks a running one whether it is ready.
    let tells = |said: &&str| because.sentence.ends_with(*said);
    let warning = if MAKING.iter().any(tells) {
        latest_warning(snapshot, object, |_| true)
    } else if because.sentence.ends_with(NOT_READY) {
        latest_warning(snapshot, object, |event| event.str_at("/reason") == Some("Unhealthy"))
    } else if because.sentence.contains(KILLED) {
        latest_warning(snapshot, object, |event| event.str_at("/reason") == Some(VOLUME_FAILED))
    } else {
        None
    };
    if let Some(warning) = warning {
        because.sentence = format!("{}: {warning}", because.sentence);
    }
    Some(because)
}

/// What the resize of a pod that is otherwise well waits for.
fn resize(pod: &Pod) -> Option<Because> {
    let told = |name: &str, what: &str| {
        let condition = pods::condition(pod, name).filter(|it| it.status == "True")?;
        let reason = condition.reason.as_deref().filter(|reason| !reason.is_empty())?;
        let message = condition.message.as_deref().unwrap_or_default();
        Some(format!("{what} ({reason}): {message}"))
    };
    if pods::is_terminating(pod) || pod.has_ended() {
        return None;
    }
    let pending = told(RESIZE_PENDING, "it runs with what it had, and its resize is pending");
    let failing = || told("PodResizeInProgress", "its resize is not carried out yet");
    pending.or_else(failing).map(Because::only)
}

/// How a pod failed: in its own words, or by the first of its containers that did.
fn failure(pod: &Pod) -> Because {
    let status = pod.status.as_ref();
    let told = status.into_iter().flat_map(|status| [&status.reason, &status.message]).flatten();
    let told = told.map(String::as_str).collect::<Vec<_>>().join(": ");
    let container = containers(pod).find_map(|(_, status, is_init)| {
        let ended = status.state.as_ref()?.terminated.as_ref()?;
        if ended.exit_code == 0 { None } else { container_reason(status, is_init) }
    });
    let how: Vec<_> = container.into_iter().chain(Some(told).filter(|it| !it.is_empty())).collect();
    Because::only(match how.as_slice() {
        [] => FAILED.to_owned(),
        how => format!("{FAILED}: {}", how.join("; ")),
    })
}

/// What is said of a pod that has failed.
const FAILED: &str = "it has failed";

/// What the status says of a container whose volumes, network or predecessors are not ready.
const MAKING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What is said of a container that was killed; for its volume, perhaps.
const KILLED: &str = "exited with code 137";

/// What is said of a container that runs and may not be used.
const NOT_READY: &str = "is running, but not ready";

/// The message of the newest Warning about `object` that `is_meant`.
fn latest_warning(
    snapshot: &Snapshot,
    object: &Object,
    is_meant: impl Fn(&Object) -> bool,
) -> Option<String> {
    let metadata = object.metadata();
    snapshot
        .list(EVENTS, Some(&metadata.namespace))
        .filter(|event| event.str_at("/involvedObject/uid") == Some(&metadata.uid))
        .filter(|event| event.str_at("/type") == Some("Warning") && is_meant(event))
        .max_by_key(|event| event.revision())
        .and_then(|event| event.str_at("/message").map(str::to_owned))
}

fn of_status(snapshot: &Snapshot, pod: &Pod) -> Option<Because> {
    if pods::is_terminating(pod) {
        return Some(Because::only("is terminating: its containers have their grace period"));
    }
    if pod.has_ended() || pod.is_ready() {
        return None;
    }
    let scheduled = pods::condition(pod, "PodScheduled").filter(|c| c.status == "False");
    if let Some(scheduled) = scheduled {
        return Some(unscheduled(snapshot, pod, scheduled.message.as_deref().unwrap_or_default()));
    }
    let stuck = containers(pod).find_map(|(container, status, is_init)| {
        let said = container_reason(status, is_init)?;
        let advice = is_image_trouble(status).then(|| image::advice(snapshot, pod, container));
        Some(advice.flatten().map_or(said.clone(), |advice| format!("{said} ({advice})")))
    });
    let sentence = stuck.or_else(|| gate(pod)).unwrap_or_else(|| unseen(pod));
    Some(Because::only(sentence))
}

/// Who has not done anything with the pod yet.
fn unseen(pod: &Pod) -> String {
    if let Some(node) = pod.node_name() {
        return format!("node {node} has not reported on it yet");
    }
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    match scheduler.filter(|name| *name != scheduler::CONTROLLER.name) {
        Some(name) => {
            format!("it waits for the scheduler {name:?}, which this cluster does not run")
        }
        None => "no node has been chosen for it yet".to_owned(),
    }
}

/// Why no node is found, with figures, and the claim that is in the way.
fn unscheduled(snapshot: &Snapshot, pod: &Pod, message: &str) -> Because {
    let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
    let gates: Vec<&str> = gates.map(|gate| gate.name.as_str()).collect();
    if !gates.is_empty() {
        let names = gates.join(", ");
        return Because::only(format!(
            "it is not scheduled before its scheduling gates are taken away: {names}"
        ));
    }
    let figures = resources::behind(snapshot, pod, message);
    let sentence = figures.map_or(message.to_owned(), |figures| format!("{message} ({figures})"));
    Because { sentence, whom: unbound_claim(snapshot, pod) }
}

/// The first claim of the pod that is there and not bound.
fn unbound_claim(snapshot: &Snapshot, pod: &Pod) -> Option<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    let names = volumes.iter().filter_map(|volume| pods::claim_name(pod, volume));
    let mut claims =
        names.filter_map(|name| snapshot.find(PERSISTENT_VOLUME_CLAIMS, namespace, &name));
    let unbound = claims.find(|claim| claim.str_at("/status/phase") != Some("Bound"))?;
    Some(unbound.key().clone())
}

/// A readiness gate that nobody has opened.
fn gate(pod: &Pod) -> Option<String> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let is_shut = |name: &str| pods::condition(pod, name).is_none_or(|it| it.status != "True");
    let shut = gates.iter().find(|gate| is_shut(&gate.condition_type))?;
    Some(format!("its containers are ready, but the readiness gate {} is not", shut.condition_type))
}

/// Containers beside their status, init containers first.
fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, &ContainerStatus, bool)> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let init = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let app = spec.into_iter().flat_map(|spec| &spec.containers);
    let all = init.map(|container| (container, true)).chain(app.map(|one| (one, false)));
    all.filter_map(move |(container, is_init)| {
        let status = status?;
        let list =
            if is_init { &status.init_container_statuses } else { &status.container_statuses };
        let status = list.iter().flatten().find(|status| status.name == container.name)?;
        Some((container, status, is_init && container.restart_policy.is_none()))
    })
}

fn is_image_trouble(container: &ContainerStatus) -> bool {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    reason.contains("Image")
}

/// What holds a container up. An init container must end; others must run and be ready.
fn container_reason(container: &ContainerStatus, is_init: bool) -> Option<String> {
    let name = &container.name;
    let state = container.state.as_ref()?;
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let last = last.map(|last| format!("; the last time it {}", end_of(last))).unwrap_or_default();
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message = waiting.message.as_ref().map(|text| format!(": {text}"));
        return Some(format!("container {name}: {reason}{}{last}", message.unwrap_or_default()));
    }
    if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code != 0) {
        return Some(format!("container {name} {}", end_of(ended)));
    }
    state.running.as_ref()?;
    if is_init {
        return Some(format!("init container {name} runs, and the next start when it has ended"));
    }
    let restarts = match container.restart_count {
        0 => String::new(),
        times => format!(" was restarted {times} times{last}; it"),
    };
    (!container.ready).then(|| format!("container {name}{restarts} {NOT_READY}"))
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
    use coracle_api::Object;
    use serde_json::{Value, json};

    use crate::world::World;
    use crate::{VOLUME_FAILED, status_reason};

    fn reason(status: Value) -> Option<String> {
        let spec = json!({"containers": [{"name": "web", "image": "web:2"}], "nodeName": "node-1"});
        reason_in(&World::new(), spec, status)
    }

    fn reason_in(world: &World, spec: Value, status: Value) -> Option<String> {
        let metadata = json!({"name": "web-0", "namespace": "default"});
        let value = json!({"metadata": metadata, "spec": spec, "status": status});
        let pod = Object::with_resource("pods", value).unwrap();
        status_reason(&world.store.snapshot(), &pod).map(|because| because.sentence)
    }

    fn status(name: &str, state: Value) -> Value {
        json!({
            "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state,
        })
    }

    #[test]
    fn an_image_that_is_there_under_another_tag_or_policy_is_named() {
        let mut world = World::new();
        world.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}));
        world.edit("nodes", "node-1", |node| {
            let names =
                json!([{"names": ["docker.io/library/web:1", "docker.io/library/app:latest"]}]);
            node["status"] = json!({"images": names});
        });
        let waits = json!({"waiting": {"reason": "ErrImagePull", "message": "no"}});
        let statuses = json!({"containerStatuses": [status("web", waits)]});
        let said = |container: Value, secrets: Value| {
            let spec = json!({
                "nodeName": "node-1", "containers": [container], "imagePullSecrets": secrets,
            });
            reason_in(&world, spec, statuses.clone()).unwrap()
        };
        let other_tag = said(json!({"name": "web", "image": "web:2"}), json!([]));
        assert!(
            other_tag.ends_with("(the node has docker.io/library/web:1: is the tag another one?)")
        );
        let app = json!({"name": "web", "image": "app", "imagePullPolicy": "Always"});
        assert!(said(app.clone(), json!([])).contains("imagePullPolicy is Always"));
        let secret = said(app, json!([{"name": "key"}]));
        assert!(secret.ends_with("(the pull secret \"key\" does not exist)"), "{secret}");
    }

    #[test]
    fn a_resize_that_waits_is_named_though_the_pod_is_well() {
        let said = |kind: &str, why: Option<&str>| {
            let ready = json!({"type": "Ready", "status": "True"});
            let condition =
                json!({"type": kind, "status": "True", "reason": why, "message": "no room"});
            reason(json!({"phase": "Running", "conditions": [ready, condition]}))
        };
        assert_eq!(
            said("PodResizePending", Some("Deferred")).unwrap(),
            "it runs with what it had, and its resize is pending (Deferred): no room"
        );
        assert_eq!(
            said("PodResizeInProgress", Some("Error")).unwrap(),
            "its resize is not carried out yet (Error): no room"
        );
        assert_eq!(said("PodResizeInProgress", None), None);
    }

    #[test]
    fn an_init_container_is_waited_for_until_it_ends() {
        let spec = json!({
            "nodeName": "node-1", "containers": [{"name": "web"}], "initContainers": [{"name": "first"}],
        });
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let statuses = json!({"initContainerStatuses": [status("first", running)]});
        assert_eq!(
            reason_in(&World::new(), spec, statuses).unwrap(),
            "init container first runs, and the next start when it has ended"
        );
    }

    #[test]
    fn a_probe_that_fails_and_restarts_are_told() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "web-0.1", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "web-0", "uid": ""},
            "type": "Warning", "reason": "Unhealthy",
            "message": "Readiness probe failed: HTTP probe failed with statuscode: 404",
        }));
        let spec = json!({"nodeName": "node-1", "containers": [{"name": "web"}]});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let mut web = status("web", running);
        web["restartCount"] = json!(2);
        web["lastState"] = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
        assert_eq!(
            reason_in(&world, spec, json!({"containerStatuses": [web]})).unwrap(),
            "container web was restarted 2 times; the last time it exited with code 137; it is \
             running, but not ready: Readiness probe failed: HTTP probe failed with statuscode: 404"
        );
    }

    #[test]
    fn a_pod_without_a_node_tells_figures_and_the_claim_in_the_way() {
        let mut world = World::new();
        world.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}));
        world.edit("nodes", "node-1", |node| {
            node["status"] = json!({"allocatable": {"cpu": "2", "memory": "1Gi"}});
        });
        world.create(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default"}, "spec": {},
        }));
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "default"},
            "spec": {
                "containers": [{"name": "web", "resources": {"requests": {"cpu": "4"}}}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            },
            "status": {"conditions": [{
                "type": "PodScheduled", "status": "False",
                "message": "0/1 nodes are available: 1 Insufficient cpu.",
            }]},
        });
        // A volume of the pod's own is a claim too.
        let mut with_own = pod.clone();
        with_own["spec"]["volumes"] = json!([{"name": "own", "ephemeral": {}}]);
        world.create(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "web-0-own", "namespace": "default"}, "spec": {},
        }));
        let with_own = Object::with_resource("pods", with_own).unwrap();
        let because = status_reason(&world.store.snapshot(), &with_own).unwrap();
        assert_eq!(&*because.whom.unwrap().name, "web-0-own");
        let pod = Object::with_resource("pods", pod).unwrap();
        let because = status_reason(&world.store.snapshot(), &pod).unwrap();
        assert_eq!(
            because.sentence,
            "0/1 nodes are available: 1 Insufficient cpu. (it asks for cpu 4, and node-1 has 2 of \
             2 left)"
        );
        assert_eq!(&*because.whom.unwrap().name, "data");
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
    fn what_the_status_leaves_out_is_told_by_the_events() {
        let making = json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        let killed = json!({
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "Error"}},
        });
        for (status, reason, message, told) in [
            (
                making,
                "FailedMount",
                "configmap \"a\" not found",
                "container web: ContainerCreating: configmap \"a\" not found",
            ),
            (
                killed.clone(),
                VOLUME_FAILED,
                "Volume \"data\" refuses writes",
                "container web: CrashLoopBackOff; the last time it exited with code 137: Volume \"data\" \
                 refuses writes",
            ),
            (
                killed,
                "FailedMount",
                "long ago",
                "container web: CrashLoopBackOff; the last time it exited with code 137",
            ),
        ] {
            let mut world = World::new();
            world.create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "web-0", "namespace": "default"},
                "spec": {"containers": [{"name": "web", "image": "web"}], "nodeName": "node-1"},
            }));
            world.edit("pods", "web-0", |pod| {
                let mut all = json!({
                    "name": "web", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                });
                all.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
                pod["status"] = json!({"containerStatuses": [all]});
            });
            let uid = world.get("pods", "web-0").metadata().uid.clone();
            world.create(json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": "web-0.1", "namespace": "default"},
                "involvedObject": {"kind": "Pod", "name": "web-0", "uid": uid},
                "type": "Warning", "reason": reason, "message": message,
            }));
            let pod = world.get("pods", "web-0");
            let because = status_reason(&world.store.snapshot(), &pod).unwrap();
            assert_eq!(because.sentence, told);
        }
    }
}
