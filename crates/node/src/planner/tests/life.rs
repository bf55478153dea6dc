//! From nothing to running, and to the end.

use serde_json::json;

use super::world::{World, pod, start_of_time};
use crate::planner::{ImageFor, NodeRoom, Observed, Rejection, admit, lacks, plan, status};

fn one() -> World {
    World::new(json!({"containers": [{"name": "web", "image": "i"}]}))
}

#[test]
fn a_pod_starts_in_order_and_becomes_ready() {
    let mut world = one();
    assert_eq!(world.phase(), "Pending");
    assert_eq!(world.state("web"), "Waiting ContainerCreating");
    assert_eq!(
        world.condition("Ready"),
        "False ContainersNotReady containers with unready status: [web]"
    );
    assert_eq!(world.condition("PodReadyToStartContainers"), "False");
    world.run(1);
    assert_eq!(world.take(), ["mount", "sandbox", "attach", "start web 0"]);
    assert_eq!(world.phase(), "Running");
    for condition in ["Ready", "ContainersReady", "Initialized", "PodScheduled"] {
        assert_eq!(world.condition(condition), "True", "{condition}");
    }
    assert_eq!(world.status().pod_ip.as_deref(), Some("10.244.0.2"));
    assert_eq!(world.container("web").restart_count, 0);
}

#[test]
fn init_containers_go_one_after_the_other() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}],
        "containers": [{"name": "web", "image": "i"}],
    }));
    world.ends.insert("a".into(), (2, 0));
    world.ends.insert("b".into(), (2, 0));
    world.run(1);
    assert_eq!(world.take(), ["mount", "sandbox", "attach", "start a 0"]);
    assert_eq!(world.state("b"), "Waiting PodInitializing");
    assert_eq!(world.state("web"), "Waiting PodInitializing");
    assert_eq!(
        world.condition("Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [a b]"
    );
    world.run(2);
    assert_eq!(world.take(), ["exit a 0", "start b 0"]);
    world.run(2);
    assert_eq!(world.take(), ["exit b 0", "start web 0"]);
    assert_eq!(world.state("a"), "Terminated Completed");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a_failing_init_container_backs_off_or_fails_the_pod() {
    let spec = |policy| {
        json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "a", "image": "i"}],
            "containers": [{"name": "web", "image": "i"}],
        })
    };
    let mut world = World::new(spec("Always"));
    world.ends.insert("a".into(), (1, 7));
    world.run(4);
    assert_eq!(world.state("a"), "Waiting CrashLoopBackOff");
    assert_eq!(world.container("a").restart_count, 1);
    assert_eq!(world.phase(), "Pending");

    let mut world = World::new(spec("Never"));
    world.ends.insert("a".into(), (1, 7));
    world.run(4);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.state("web"), "Waiting PodInitializing");
    assert!(world.take().ends_with(&[
        "exit a 7".into(),
        "remove sandbox".into(),
        "unmount".into()
    ]));
}

#[test]
fn restarts_follow_the_policy() {
    for (policy, code, restarts, phase) in [
        ("Always", 0, true, "Running"),
        ("Always", 1, true, "Running"),
        ("OnFailure", 0, false, "Succeeded"),
        ("OnFailure", 1, true, "Running"),
        ("Never", 0, false, "Succeeded"),
        ("Never", 1, false, "Failed"),
    ] {
        let mut world = World::new(json!({
            "restartPolicy": policy, "containers": [{"name": "web", "image": "i"}],
        }));
        world.ends.insert("web".into(), (5, code));
        world.run(6);
        let restarted = world.done.contains(&"start web 1".to_owned());
        assert_eq!((restarted, world.phase().as_str()), (restarts, phase), "{policy} {code}");
        if !restarts {
            assert!(world.seen.sandbox.is_none(), "{policy} {code}");
        }
    }
}

#[test]
fn back_off_doubles_to_five_minutes_and_is_forgiven() {
    let mut world = one();
    world.ends.insert("web".into(), (1, 1));
    world.run(3);
    assert_eq!(world.state("web"), "Waiting CrashLoopBackOff");
    let waiting = world.container("web").state.unwrap().waiting.unwrap();
    assert_eq!(
        waiting.message.unwrap(),
        "back-off 10s restarting failed container=web pod=p_ns(u1)"
    );
    assert_eq!(world.container("web").last_state.unwrap().terminated.unwrap().exit_code, 1);
    let note = "event BackOff Back-off restarting failed container web in pod p_ns(u1)";
    assert!(world.done.contains(&note.to_owned()));
    // Runs of 1 s with 0, 10, 20, 40, 80, 160, 300, 300 s between them.
    world.run(1 + 11 + 21 + 41 + 81 + 161 + 301 + 301);
    let starts = world.done.iter().filter(|line| line.starts_with("start")).count();
    assert_eq!(starts, 9);
    let waiting = world.container("web").state.unwrap().waiting.unwrap().message.unwrap();
    assert!(waiting.starts_with("back-off 5m0s "), "{waiting}");
    world.ends.insert("web".into(), (601, 1));
    world.run(300 + 602);
    assert!(world.done.last().unwrap().starts_with("start web"), "{:?}", world.done.last());
}

#[test]
fn a_deleted_pod_stops_within_its_grace_and_goes_last() {
    let mut world = one();
    world.run(1);
    world.take();
    world.delete(30);
    world.run(0);
    assert_eq!(
        world.take(),
        [
            "event Killing Stopping container web",
            "stop web",
            "exit web 143",
            "remove sandbox",
            "unmount",
            "delete pod"
        ]
    );
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn what_ignores_the_stop_signal_is_killed_when_the_grace_is_over() {
    let mut world = one();
    world.stubborn.push("web".into());
    world.run(1);
    world.delete(30);
    world.take();
    world.run(29);
    assert_eq!(world.take(), ["event Killing Stopping container web", "stop web"]);
    assert_eq!((world.phase().as_str(), world.state("web").as_str()), ("Running", "Running"));
    world.run(2);
    assert!(world.take().starts_with(&["kill web".into(), "exit web 137".into()]));
    assert!(world.deleted);
}

#[test]
fn a_shorter_grace_is_heeded() {
    let mut world = one();
    world.stubborn.push("web".into());
    world.run(1);
    world.delete(600);
    world.run(2);
    world.delete(1);
    world.run(2);
    assert!(world.done.contains(&"kill web".to_owned()));
}

#[test]
fn a_pod_gone_from_the_api_is_cleaned_up_and_not_deleted_again() {
    let mut world = one();
    world.run(1);
    world.take();
    world.seen.gone = true;
    world.run(1);
    assert_eq!(
        world.take(),
        [
            "event Killing Stopping container web",
            "stop web",
            "exit web 143",
            "remove sandbox",
            "unmount"
        ]
    );
    assert!(!world.deleted);
}

#[test]
fn a_deleted_pod_starts_nothing() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "a", "image": "i"}],
        "containers": [{"name": "web", "image": "i"}],
    }));
    world.delete(30);
    world.run(5);
    assert_eq!(world.take(), ["delete pod"]);
}

#[test]
fn an_image_that_cannot_be_pulled_backs_off() {
    let mut world = one();
    world.image_errors.insert("web".into(), "ErrImagePull");
    world.settle();
    assert_eq!(world.state("web"), "Waiting ErrImagePull");
    world.run(5);
    assert_eq!(world.state("web"), "Waiting ImagePullBackOff");
    let message = world.container("web").state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "Back-off pulling image \"i\": ErrImagePull: no");
    assert!(world.done.contains(&"event BackOff Back-off pulling image \"i\"".to_owned()));
    assert_eq!(world.phase(), "Pending");
    world.run(6);
    let pulls = world.done.iter().filter(|line| line.starts_with("pull")).count();
    assert_eq!(pulls, 2);
    world.image_errors.clear();
    world.run(30);
    assert_eq!(world.phase(), "Running");
}

#[test]
fn other_image_states_are_shown_as_they_are() {
    for reason in ["ErrImageNeverPull", "InvalidImageName"] {
        let mut world = one();
        world.image_errors.insert("web".into(), reason);
        world.run(5);
        assert_eq!(world.state("web"), format!("Waiting {reason}"));
    }
}

#[test]
fn a_missing_config_map_keeps_the_container_waiting() {
    let mut world = one();
    world.seen.volumes_mounted();
    world.seen.sandbox_created(1, None, true);
    world.seen.image_ready(&ImageFor::Container("web".to_owned(), 0));
    let message = "configmap \"c\" not found".to_owned();
    world.seen.start_failed("web", "CreateContainerConfigError", message, world.now);
    assert_eq!(world.state("web"), "Waiting CreateContainerConfigError");
    world.settle();
    assert!(world.take().is_empty());
    world.seen.try_again(world.now);
    world.settle();
    assert_eq!(world.take(), ["start web 0"]);
}

#[test]
fn a_lost_sandbox_is_made_anew_and_counts_as_a_restart() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "a", "image": "i"}],
        "containers": [{"name": "web", "image": "i"}],
    }));
    world.ends.insert("a".into(), (0, 0));
    world.run(1);
    world.take();
    world.seen.sandbox_died(world.now);
    world.run(1);
    let done = world.take();
    let expected = ["remove sandbox", "sandbox", "attach", "start a 1", "exit a 0", "start web 1"];
    assert_eq!(&done[1..], expected);
    assert_eq!(world.container("web").restart_count, 1);
    let last = world.container("web").last_state.unwrap().terminated.unwrap();
    assert_eq!(last.reason.as_deref(), Some("ContainerStatusUnknown"));
}

#[test]
fn after_a_reboot_pods_run_again_unless_they_must_not() {
    for (policy, phase) in [("Always", "Running"), ("Never", "Failed")] {
        let mut world = World::new(json!({
            "restartPolicy": policy, "containers": [{"name": "web", "image": "i"}],
        }));
        world.run(1);
        let mut after = Observed { accepted_at: Some(world.now), ..Observed::default() };
        after.recover(&world.pod, world.now);
        world.seen = after;
        world.run(1);
        assert_eq!(world.phase(), phase);
        if policy == "Always" {
            assert_eq!(world.container("web").restart_count, 1);
        } else {
            assert_eq!(world.state("web"), "Terminated ContainerStatusUnknown");
        }
    }
}

#[test]
fn a_pod_that_has_ended_stays_ended() {
    let mut world = World::new(json!({
        "restartPolicy": "Never", "containers": [{"name": "web", "image": "i"}],
    }));
    world.ends.insert("web".into(), (1, 0));
    world.run(2);
    world.take();
    world.seen = Observed { accepted_at: Some(world.now), ..Observed::default() };
    world.seen.recover(&world.pod, world.now);
    world.run(10);
    assert_eq!(world.phase(), "Succeeded");
    assert_eq!(world.state("web"), "Terminated Completed");
    assert!(world.take().is_empty());
}

#[test]
fn a_changed_image_restarts_the_container_whatever_its_policy() {
    for policy in ["Always", "Never"] {
        let mut world = World::new(json!({
            "restartPolicy": policy, "containers": [{"name": "web", "image": "i"}],
        }));
        world.run(1);
        world.take();
        world.pod.spec.as_mut().unwrap().containers[0].image = Some("j".into());
        world.run(1);
        assert_eq!(
            world.take(),
            [
                "event Killing Container web definition changed, will be restarted",
                "stop web",
                "exit web 143",
                "start web 1"
            ]
        );
        assert_eq!(world.phase(), "Running");
    }
}

#[test]
fn a_pod_past_its_deadline_fails() {
    let mut world = World::new(json!({
        "activeDeadlineSeconds": 10, "containers": [{"name": "web", "image": "i"}],
    }));
    world.run(1);
    assert_eq!(world.phase(), "Running");
    world.run(10);
    // Time alone ends it: somebody must look, and the worker does so at the deadline.
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.status().reason.as_deref(), Some("DeadlineExceeded"));
    let why =
        "event DeadlineExceeded Pod was active on the node longer than the specified deadline";
    assert!(world.done.iter().any(|done| done == why), "{:?}", world.done);
    world.done.clear();
    world.run(10);
    assert_eq!(world.done, Vec::<String>::new());
}

#[test]
fn a_pod_past_its_deadline_fails_however_its_containers_end() {
    let mut world = World::new(json!({
        "activeDeadlineSeconds": 10, "restartPolicy": "Never",
        "containers": [{"name": "web", "image": "i"}],
    }));
    world.stop_code = 0;
    world.run(20);
    assert_eq!(world.container("web").state.unwrap().terminated.unwrap().exit_code, 0);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.status().reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn what_did_its_work_before_the_deadline_has_succeeded() {
    let mut world = World::new(json!({
        "activeDeadlineSeconds": 10, "restartPolicy": "Never",
        "containers": [{"name": "web", "image": "i"}],
    }));
    world.ends.insert("web".into(), (5, 0));
    world.run(5);
    // Nobody looked until the deadline had passed.
    world.pod.status.as_mut().unwrap().phase = Some("Running".into());
    world.now += jiff::SignedDuration::from_secs(10);
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn what_ends_at_once_is_never_ready() {
    let mut world = one();
    world.ends.insert("web".into(), (0, 1));
    for _ in 0..30 {
        world.run(1);
        assert!(world.condition("Ready").starts_with("False"), "{:?}", world.done);
    }
}

#[test]
fn without_a_probe_a_container_is_ready_when_it_has_lived_a_second() {
    let mut world = one();
    world.run(0);
    assert_eq!(world.state("web"), "Running");
    assert!(world.condition("Ready").starts_with("False"));
    world.run(1);
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn one_of_a_proved_template_is_ready_at_once() {
    let mut world = one();
    world.trusted = true;
    world.run(0);
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn what_does_not_even_die_ends_with_its_sandbox() {
    let mut world = one();
    world.run(1);
    world.take();
    world.stubborn.push("web".into());
    world.mute = true;
    world.delete(5);
    world.run(60);
    let done = world.take();
    let last = done.iter().skip_while(|it| *it != "kill web").collect::<Vec<_>>();
    assert_eq!(last, ["kill web", "remove sandbox", "unmount", "delete pod"]);
}

#[test]
fn nothing_is_asked_of_a_mute_sandbox_twice() {
    let mut world = one();
    world.run(1);
    world.take();
    world.delete(30);
    world.stubborn.push("web".into());
    world.run(1);
    world.seen.sandbox_mute();
    world.run(1);
    let done = world.take();
    assert!(done.ends_with(&["remove sandbox".into(), "unmount".into(), "delete pod".into()]));
}

#[test]
fn volumes_that_an_earlier_engine_left_are_taken_away_first() {
    let mut world = one();
    world.seen.volumes_left = true;
    world.delete(0);
    world.run(1);
    assert_eq!(world.take(), ["unmount", "delete pod"]);
}

#[test]
fn a_sandbox_found_without_network_is_joined_to_it() {
    let mut world = one();
    world.seen.volumes_mounted();
    world.seen.sandbox_created(1, Some([10, 244, 0, 7].into()), false);
    world.run(1);
    assert_eq!(world.take(), ["attach", "start web 0"]);
}

#[test]
fn an_image_that_has_vanished_is_looked_for_again() {
    let mut world = one();
    world.run(0);
    world.seen.exited(
        "web",
        None,
        crate::planner::Exit {
            code: 1,
            signal: None,
            at: world.now,
            reason: "Error".into(),
            message: String::new(),
        },
    );
    world.seen.image_ready(&ImageFor::Container("web".to_owned(), 1));
    world.seen.start_failed("web", "CreateContainerError", "image not found".into(), world.now);
    assert_eq!(world.seen.containers["web"].image.ready_for, None);
}

#[test]
fn a_clock_that_is_put_back_holds_nothing_up() {
    let mut world = one();
    world.ends.insert("web".into(), (0, 1));
    world.run(15);
    let hour = jiff::SignedDuration::from_hours(1);
    world.now -= hour;
    world.seen.clock_moved(-hour);
    world.take();
    world.run(60);
    assert!(world.take().iter().any(|done| done.starts_with("start web")));
}

#[test]
fn a_pod_whose_host_port_is_taken_is_rejected() {
    let spec = json!({"containers": [{"name": "a", "image": "i",
        "ports": [{"containerPort": 80, "hostPort": 21017}]}]});
    let mine = pod(spec);
    let node = NodeRoom { pods: 110, ..NodeRoom::default() };
    assert_eq!(admit(&mine, &node), Ok(()));
    let rejection = admit(&mine, &NodeRoom { ports_taken: true, ..node }).unwrap_err();
    let seen = Observed { rejection: Some(rejection), ..Observed::default() };
    let status = status(&mine, &seen, start_of_time());
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("NodePorts"));
    assert_eq!(
        status.message.as_deref(),
        Some(
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        )
    );
    assert!(plan(&mine, &seen, start_of_time()).is_empty());
}

/// It may be the machine's: a pod that sets `vm.swappiness` sets it for everybody.
#[test]
fn a_pod_that_sets_a_parameter_of_the_machine_is_rejected() {
    let with = |name: &str| {
        let sysctls = json!([{"name": "net.ipv4.tcp_syncookies", "value": "1"},
            {"name": name, "value": "1"}]);
        pod(json!({"containers": [], "securityContext": {"sysctls": sysctls}}))
    };
    let node = NodeRoom { pods: 110, ..NodeRoom::default() };
    for safe in ["kernel.shm_rmid_forced", "kernel/shm_rmid_forced"] {
        assert_eq!(admit(&with(safe), &node), Ok(()));
    }
    for unsafe_one in ["vm.swappiness", "vm/swappiness"] {
        let Rejection { reason, message } = admit(&with(unsafe_one), &node).unwrap_err();
        assert_eq!(reason, "SysctlForbidden");
        assert_eq!(message, "forbidden sysctl: \"vm.swappiness\" not allowlisted");
    }
}

#[test]
fn nodes_take_no_more_pods_than_they_can() {
    let mine = pod(json!({"containers": []}));
    let node = NodeRoom { pods: 1, others: 1, ..NodeRoom::default() };
    let Err(Rejection { reason, .. }) = admit(&mine, &node) else { panic!("admitted") };
    assert_eq!(reason, "OutOfpods");
}

#[test]
fn nodes_take_no_more_than_they_have() {
    let amounts = |all: serde_json::Value| coracle_api::pod_resources::amounts(&all).collect();
    let there = amounts(json!({"cpu": "2", "memory": "1Gi", "pods": "110", "example.com/a": "1"}));
    let used = amounts(json!({"cpu": "1500m", "pods": "200"}));
    let lacking = |wanted: serde_json::Value| {
        let lacks = lacks(&amounts(wanted), &used, &there).into_iter();
        let mine = pod(json!({"containers": []}));
        let node = NodeRoom { pods: 110, lacks: lacks.collect(), ..NodeRoom::default() };
        admit(&mine, &node).map_err(|rejection| (rejection.reason, rejection.message))
    };
    assert_eq!(lacking(json!({"cpu": "500m", "memory": "1Gi", "pods": "1"})), Ok(()));
    let message = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, \
                   capacity: 2000";
    let wanted = json!({"example.com/a": "2", "cpu": "1"});
    assert_eq!(lacking(wanted), Err(("OutOfcpu".to_owned(), message.to_owned())));
    let (reason, _) = lacking(json!({"example.com/a": "2"})).unwrap_err();
    assert_eq!(reason, "OutOfexample.com/a");
    assert_eq!(lacking(json!({"example.com/unknown": "2"})), Ok(()));
}

#[test]
fn a_pod_whose_first_status_comes_late_was_still_never_ready() {
    let mut world = one();
    world.pod.status = None;
    let accepted = world.now;
    let late = accepted + jiff::SignedDuration::from_secs(5);
    let status = status(&world.pod, &world.seen, late);
    let ready = status.conditions.iter().flatten().find(|it| it.type_ == "Ready").unwrap();
    let since = ready.last_transition_time.as_ref().map(|time| time.0);
    assert_eq!(since, Some(accepted));
    assert_eq!(since, status.start_time.map(|time| time.0));
}

/// Whoever reads the status can tell such a pod from one that never was Ready.
#[test]
fn a_pod_that_was_ready_for_a_moment_is_not_ready_since_after_its_start() {
    let mut world = one();
    let started = world.now;
    world.trusted = true;
    world.settle();
    assert!(world.condition("Ready").starts_with("True"));
    world.seen.sandbox_died(started);
    let status = status(&world.pod, &world.seen, started);
    let ready = status.conditions.iter().flatten().find(|it| it.type_ == "Ready").unwrap();
    let since = ready.last_transition_time.as_ref().map(|time| time.0);
    let later = started + jiff::SignedDuration::from_secs(1);
    assert_eq!((ready.status.as_str(), since), ("False", Some(later)));
}

#[test]
fn a_pod_waits_for_what_is_left_of_an_earlier_one_of_its_name() {
    let mut world = one();
    world.seen.predecessor = true;
    world.run(60);
    assert!(world.done.is_empty(), "{:?}", world.done);
    assert_eq!(world.state("web"), "Waiting ContainerCreating");
    let statuses = world.pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
    let waiting = statuses[0].state.as_ref().unwrap().waiting.as_ref().unwrap();
    let why = "an earlier pod p is still ending on this node";
    assert_eq!(waiting.message.as_deref(), Some(why));
    world.seen.predecessor = false;
    world.run(60);
    assert_eq!(world.phase(), "Running");
}
