//! Workers that are told by hand what happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::Object;
use coracle_runtime::{Container, ContainerState, Sandbox, SandboxState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use super::{
    Effect, End, Found, Kept, Message, Moment, MountFailure, Mounting, Operation, Template, Turn,
    Worker,
};

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn at(seconds: i64) -> Timestamp {
    START + SignedDuration::from_secs(seconds)
}

fn moment(seconds: i64) -> Moment {
    let steady = std::time::Duration::from_secs(seconds.try_into().unwrap());
    Moment { clock: at(seconds), steady }
}

/// A pod with a ConfigMap as files, which an earlier engine has begun.
fn worker() -> Worker {
    worker_at(BTreeMap::new())
}

/// The same, with what the sandbox was told to keep.
fn worker_at(annotations: BTreeMap<String, String>) -> Worker {
    worker_of(annotations, &json!([controller()]))
}

fn controller() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u2", "controller": true})
}

fn worker_of(annotations: BTreeMap<String, String>, owners: &Value) -> Worker {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "resourceVersion": "1",
            "ownerReferences": owners},
        "spec": {
            "containers": [{"name": "app", "image": "app:1"}],
            "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
        },
    });
    let object = Arc::new(Object::with_resource("pods", pod).unwrap());
    let view = object.view::<Pod>().unwrap();
    let sandbox = Sandbox {
        pod_uid: "u1".to_owned(),
        namespace: "ns".to_owned(),
        name: "p".to_owned(),
        state: SandboxState::Ready,
        shim_pid: 1,
        network_namespace: "/run/netns".into(),
        created_at: START,
        containers: Vec::new(),
        labels: BTreeMap::new(),
        annotations,
    };
    let found = Found { sandbox: Some(sandbox), ..Found::default() };
    Worker::new(object, view, found, START)
}

/// What begins with a turn.
fn operation(turn: Turn) -> Option<Operation> {
    turn.effects.into_iter().find_map(|effect| match effect {
        Effect::Begin(operation) => Some(operation),
        _ => None,
    })
}

/// How volumes are put in place after `message`; whatever else is begun before breaks off.
fn mounts(worker: &mut Worker, mut message: Option<Message>, seconds: i64) -> Option<Mounting> {
    loop {
        match operation(worker.turn(message.take(), moment(seconds)))? {
            Operation::Mount(mounting) => return Some(mounting),
            _ => message = Some(Message::Ended(End::Broken)),
        }
    }
}

fn mounted(result: Result<Option<Timestamp>, MountFailure>) -> Option<Message> {
    Some(Message::Ended(End::Mounted(result)))
}

fn refused() -> Option<Message> {
    mounted(Err(MountFailure { message: "input/output error".to_owned(), expected: false }))
}

fn settings_change() -> Option<Message> {
    Some(Message::Referred("configmaps".into(), Some("settings".into())))
}

#[test]
fn files_that_could_not_be_written_anew_are_tried_again() {
    let mut worker = worker();
    assert_eq!(mounts(&mut worker, None, 0), Some(Mounting::Anew));
    assert_eq!(mounts(&mut worker, refused(), 0), None);
    assert_eq!(mounts(&mut worker, None, 10), Some(Mounting::Anew));
    assert_eq!(mounts(&mut worker, mounted(Ok(None)), 10), None);

    assert_eq!(mounts(&mut worker, settings_change(), 20), Some(Mounting::Files));
    assert_eq!(mounts(&mut worker, refused(), 20), None);
    assert_eq!(mounts(&mut worker, None, 30), Some(Mounting::Files));
    let broken = Some(Message::Ended(End::Broken));
    assert_eq!(mounts(&mut worker, broken, 30), None);
    assert_eq!(mounts(&mut worker, None, 40), Some(Mounting::Files));
    assert_eq!(mounts(&mut worker, mounted(Ok(None)), 40), None);
    assert_eq!(mounts(&mut worker, None, 1000), None);
}

#[test]
fn a_change_while_files_are_written_has_them_written_once_more() {
    let mut worker = worker();
    assert_eq!(mounts(&mut worker, None, 0), Some(Mounting::Anew));
    assert_eq!(mounts(&mut worker, settings_change(), 0), None);
    assert_eq!(mounts(&mut worker, mounted(Ok(None)), 0), Some(Mounting::Files));
    // What failed is tried at once when what it is made from has changed.
    assert_eq!(mounts(&mut worker, refused(), 0), None);
    assert_eq!(mounts(&mut worker, settings_change(), 0), Some(Mounting::Files));
}

/// Its container is started; others of its template have not lived yet.
fn started(worker: &mut Worker) {
    let mut message = None;
    while writes(worker, message.take()).is_some() {
        // The API refuses, and is asked again later.
        message = Some(Message::Ended(End::StatusWritten(Err(super::WriteFailure::Refused))));
    }
}

/// The status that is to be written in the end; whatever is begun before succeeds.
fn writes(worker: &mut Worker, mut message: Option<Message>) -> Option<PodStatus> {
    while let Some(next) = operation(worker.turn(message.take(), moment(0))) {
        message = Some(Message::Ended(match next {
            Operation::Mount(_) => End::Mounted(Ok(None)),
            Operation::AttachNetwork { .. } => End::Attached(Ok(())),
            Operation::FindImage { .. } => End::ImageFound(Ok(true)),
            Operation::Start(start) => End::Started(
                Ok(Container {
                    id: "c".to_owned(),
                    name: start.container,
                    attempt: 0,
                    pid: 1,
                    state: ContainerState::Running { started_at: START },
                    log_path: "/log".into(),
                    labels: BTreeMap::new(),
                    annotations: Kept::of_container((0, 0), "app:1", "sha256:1"),
                }),
                false,
            ),
            // What no status tells of is written anew.
            Operation::Resize(_) => End::Resized(Ok(())),
            Operation::WriteStatus(_, status) => return Some(*status),
            next => panic!("nobody expects {next:?}"),
        }));
    }
    None
}

/// Whether the container would be shown as Ready.
fn is_ready(worker: &Worker, now: Timestamp) -> bool {
    let shown = crate::planner::status(worker.pod(), worker.seen(), now);
    shown.container_statuses.unwrap()[0].ready
}

/// A clock that is set does not make a container live longer than it does.
#[test]
fn a_clock_that_jumps_proves_nothing() {
    for jump in [3600, 0, -3600] {
        let mut worker = worker_at(Kept::of_sandbox(1, [10, 244, 0, 2].into()));
        started(&mut worker);
        assert!(worker.seen().containers["app"].current.is_some());
        let at = |milliseconds: i64| Moment {
            clock: at(jump) + SignedDuration::from_millis(milliseconds),
            steady: std::time::Duration::from_millis(milliseconds.try_into().unwrap()),
        };
        for (milliseconds, ready) in [(400, false), (900, false), (1100, true)] {
            let moment = at(milliseconds);
            worker.turn(None, moment);
            assert_eq!(is_ready(&worker, moment.clock), ready, "{jump} {milliseconds}");
        }
    }
}

/// Nobody goes on because of a pod that nobody has made; its controller does.
#[test]
fn a_pod_is_believed_until_it_is_adopted() {
    let mut worker = worker_of(Kept::of_sandbox(1, [10, 244, 0, 2].into()), &json!([]));
    started(&mut worker);
    assert!(is_ready(&worker, at(0)));
    let adopted = adopted(&worker);
    worker.turn(Some(Message::Changed(adopted)), moment(0));
    assert!(!is_ready(&worker, at(0)));
    worker.turn(None, moment(2));
    assert!(is_ready(&worker, at(2)));
}

/// The same, when the answer to a write that came too late tells of it first.
#[test]
fn a_write_that_was_outrun_by_an_adoption_is_not_believed() {
    let mut worker = worker_of(Kept::of_sandbox(1, [10, 244, 0, 2].into()), &json!([]));
    let mut status = writes(&mut worker, None).unwrap();
    while !status.container_statuses.as_ref().unwrap()[0].ready {
        let mut pod = serde_json::to_value(&**worker.pod()).unwrap();
        pod["status"] = serde_json::to_value(status).unwrap();
        let written = Arc::new(Object::with_resource("pods", pod).unwrap());
        status =
            writes(&mut worker, Some(Message::Ended(End::StatusWritten(Ok(written))))).unwrap();
    }
    assert!(is_ready(&worker, at(0)));
    let outrun = super::WriteFailure::Outrun(Some(adopted(&worker)));
    worker.turn(Some(Message::Ended(End::StatusWritten(Err(outrun)))), moment(0));
    assert!(!is_ready(&worker, at(0)));
    worker.turn(None, moment(2));
    assert!(is_ready(&worker, at(2)));
}

/// The worker's pod, adopted.
fn adopted(worker: &Worker) -> Arc<Object> {
    let mut pod = serde_json::to_value(&**worker.pod()).unwrap();
    pod["metadata"]["resourceVersion"] = json!("2");
    pod["metadata"]["ownerReferences"] = json!([controller()]);
    Arc::new(Object::with_resource("pods", pod).unwrap())
}

/// All pods of a roll-out start together: the first that has lived speaks for the others at once.
#[test]
fn a_container_is_believed_when_another_of_its_template_has_lived() {
    let mut worker = worker_at(Kept::of_sandbox(1, [10, 244, 0, 2].into()));
    started(&mut worker);
    let other = Template::of(worker.pod(), "sidecar");
    worker.turn(Some(Message::Proved(other)), moment(0));
    assert!(!is_ready(&worker, at(0)));
    let own = Template::of(worker.pod(), "app");
    worker.turn(Some(Message::Proved(own)), moment(0));
    assert!(is_ready(&worker, at(0)));
}
