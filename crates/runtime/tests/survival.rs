//! What survives whose end, and that nothing is left behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure is the assertion"
)]

mod support;

use std::fs;
use std::time::Duration;

use coracle_runtime::{
    ContainerState, Containers, RuntimeError, RuntimeEvent, SandboxState, Shims,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{ended, exit_code, is_alive, processes_with, run, until, within};

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn a_new_engine_finds_everything_also_what_ended_meanwhile() {
    run(async |world| {
        let mut sandbox = world.sandbox("p");
        sandbox.labels.insert("key".to_owned(), "value".to_owned());
        let made = world.shims.create_sandbox(&sandbox).await.unwrap();
        world.shims.start_container("p", &world.command("long", &["sleep", "1000"])).await.unwrap();
        world.shims.start_container("p", &world.script("short", "exit 3")).await.unwrap();
        world.shims.start_container("p", &world.command("none", &["nothing"])).await.unwrap_err();

        let engine = Shims::new(world.config.clone()).unwrap();
        until("the short one has ended", async || {
            let found = engine.list().await.unwrap();
            found[0]
                .containers
                .iter()
                .any(|c| matches!(c.state, ContainerState::Exited { exit_code: 3, .. }))
        })
        .await;
        let found = engine.list().await.unwrap();
        assert_eq!(found.len(), 1);
        let sandbox = &found[0];
        assert_eq!((sandbox.shim_pid, sandbox.created_at), (made.shim_pid, made.created_at));
        assert_eq!(
            (sandbox.state, &sandbox.labels["key"]),
            (SandboxState::Ready, &"value".to_owned())
        );
        let names: Vec<_> = sandbox.containers.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(names, ["long", "short", "none"]);
        assert!(matches!(sandbox.containers[0].state, ContainerState::Running { .. }));
        assert!(matches!(sandbox.containers[2].state, ContainerState::Failed { .. }));

        // Both engines hear of the next end.
        let mut events = engine.events();
        engine.signal("p", "long", 9).await.unwrap();
        assert_eq!(exit_code(&ended(&mut events, "long").await), 137);
    });
}

#[test]
fn making_a_sandbox_twice_gives_the_same_one() {
    run(async |world| {
        let first = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let second = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        assert_eq!(first, second);
        let error =
            world.shims.start_container("q", &world.command("c", &["true"])).await.unwrap_err();
        assert!(matches!(error, RuntimeError::SandboxNotFound(pod) if pod == "q"));
    });
}

#[test]
fn when_the_shim_is_killed_its_containers_die_and_the_engine_hears_of_it() {
    run(async |world| {
        let sandbox = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let script = "sleep 1000 & sleep 1000 & wait";
        let running = world.shims.start_container("p", &world.script("c", script)).await.unwrap();
        let mut events = world.shims.events();
        world.shims.start_container("p", &world.script("done", "exit 4")).await.unwrap();
        ended(&mut events, "done").await;
        kill_9(sandbox.shim_pid);
        let lost = within(events.recv()).await.unwrap();
        assert_eq!(lost, RuntimeEvent::SandboxLost { pod_uid: "p".to_owned() });
        until("the container is dead", async || !is_alive(running.pid)).await;

        let found = world.shims.list().await.unwrap();
        assert_eq!(found[0].state, SandboxState::Lost);
        let state =
            |id: &str| found[0].containers.iter().find(|c| c.id == id).unwrap().state.clone();
        assert!(matches!(state("c"), ContainerState::Lost { .. }));
        assert!(matches!(state("done"), ContainerState::Exited { exit_code: 4, .. }));
        let error = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap_err();
        assert!(matches!(error, RuntimeError::SandboxLost(_)));
        world.shims.signal("p", "c", 15).await.unwrap();

        world.shims.remove_sandbox("p").await.unwrap();
        world.shims.remove_sandbox("p").await.unwrap();
        world.shims.remove_cgroup_parent().unwrap();
        assert_eq!(world.leftovers(), Vec::<String>::new());
        // And the pod can be made anew.
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
    });
}

#[test]
fn after_a_restart_of_the_machine_nothing_is_taken_for_running() {
    run(async |world| {
        let sandbox = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        world.shims.start_container("p", &world.command("c", &["sleep", "1000"])).await.unwrap();
        kill_9(sandbox.shim_pid);
        until("the shim is dead", async || !is_alive(sandbox.shim_pid)).await;
        // Its number now belongs to somebody else: to this very test.
        let file = world.config.state_dir.join("p/shim.json");
        let text = fs::read_to_string(&file).unwrap();
        let me = std::process::id().to_string();
        fs::write(&file, text.replace(&sandbox.shim_pid.to_string(), &me)).unwrap();
        let engine = Shims::new(world.config.clone()).unwrap();
        let found = engine.list().await.unwrap();
        assert_eq!(found[0].state, SandboxState::Lost);
        assert!(matches!(found[0].containers[0].state, ContainerState::Lost { .. }));
        engine.remove_sandbox("p").await.unwrap();
    });
}

#[test]
fn a_sandbox_that_was_never_finished_is_cleared_away() {
    run(async |world| {
        fs::create_dir(world.config.state_dir.join("half")).unwrap();
        assert_eq!(world.shims.list().await.unwrap(), []);
        assert!(!world.config.state_dir.join("half").exists());
    });
}

#[test]
fn a_sandbox_that_is_given_up_while_it_is_made_leaves_nothing() {
    run(async |world| {
        // An engine's end in every moment of the few milliseconds that it takes.
        for moment in 0..60 {
            let spec = world.sandbox(&format!("p{moment}"));
            let making = tokio::spawn(async move { world.shims.create_sandbox(&spec).await });
            let pause = Duration::from_micros(100 * moment);
            tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await.unwrap();
            making.abort();
            drop(making.await);
            let next = Shims::new(world.config.clone()).unwrap();
            for sandbox in next.list().await.unwrap() {
                next.remove_sandbox(&sandbox.pod_uid).await.unwrap();
            }
        }
        let shims = || processes_with(world.config.state_dir.to_str().unwrap());
        until("no shim is left", async || shims().is_empty()).await;
        assert_eq!(fs::read_dir(&world.config.state_dir).unwrap().count(), 0);
    });
}

#[test]
fn a_failed_sandbox_leaves_nothing_and_says_why() {
    run(async |world| {
        let mut spec = world.sandbox("p");
        spec.sysctls.insert("net.ipv4.no_such".to_owned(), "1".to_owned());
        let error = world.shims.create_sandbox(&spec).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("failed to create pod sandbox: set sysctl net.ipv4.no_such"),
            "{error}"
        );
        world.shims.remove_cgroup_parent().unwrap();
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn removing_a_sandbox_ends_what_does_not_want_to_end() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let script = "trap '' TERM INT HUP; while :; do sleep 1000 & sleep 0.01; done";
        world.shims.start_container("p", &world.script("c", script)).await.unwrap();
        world.shims.signal("p", "c", 15).await.unwrap();
        world.shims.remove_sandbox("p").await.unwrap();
        world.shims.remove_cgroup_parent().unwrap();
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn a_removed_container_leaves_only_its_log() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut events = world.shims.events();
        world.shims.start_container("p", &world.script("c", "echo kept")).await.unwrap();
        ended(&mut events, "c").await;
        world.shims.remove_container("p", "c").await.unwrap();
        world.shims.remove_container("p", "c").await.unwrap();
        // A running one is killed first.
        world.shims.start_container("p", &world.command("d", &["sleep", "1000"])).await.unwrap();
        world.shims.remove_container("p", "d").await.unwrap();
        assert!(world.container("p", "c").await.is_none());
        assert!(world.container("p", "d").await.is_none());
        assert!(!world.config.state_dir.join("p/containers/c").exists());
        assert_eq!(world.log("c"), "kept\n");
        // The same ID may be used again.
        world.shims.start_container("p", &world.command("d", &["sleep", "1000"])).await.unwrap();
        let twice =
            world.shims.start_container("p", &world.command("d", &["true"])).await.unwrap_err();
        assert!(matches!(twice, RuntimeError::ContainerExists(id) if id == "d"));
    });
}

#[test]
fn containers_of_a_pod_share_network_name_and_messages_but_not_processes() {
    run(async |world| {
        let sandbox = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let spec = world.script("a", "touch /dev/shm/from-a; sleep 1000");
        let a = world.shims.start_container("p", &spec).await.unwrap();
        let b = world
            .shims
            .start_container("p", &world.command("b", &["sleep", "1000"]))
            .await
            .unwrap();
        let namespace =
            |pid: i32, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        for name in ["net", "ipc", "uts"] {
            assert_eq!(namespace(a.pid, name), namespace(b.pid, name));
            assert_ne!(namespace(a.pid, name), namespace(std::process::id() as i32, name));
        }
        assert_ne!(namespace(a.pid, "pid"), namespace(b.pid, "pid"));
        assert_eq!(fs::read_link(&sandbox.network_namespace).unwrap(), namespace(a.pid, "net"));
        until("the file is there", async || {
            world.exec("b", &["ls", "/dev/shm"]).await.1 == "from-a\n"
        })
        .await;
    });
}

#[test]
fn processes_can_be_shared() {
    run(async |world| {
        let mut spec = world.sandbox("p");
        spec.share_process_namespace = true;
        world.shims.create_sandbox(&spec).await.unwrap();
        let mut events = world.shims.events();
        world.shims.start_container("p", &world.command("a", &["sleep", "4711"])).await.unwrap();
        world.shims.start_container("p", &world.script("b", "sleep 4712 & wait")).await.unwrap();
        let (_, processes) = world.exec("a", &["ps"]).await;
        assert!(processes.contains("4711") && processes.contains("4712"), "{processes}");
        let (_, all) = world.exec("a", &["sh", "-c", "cat /proc/*/cmdline /proc/*/environ"]).await;
        assert!(all.contains("4711"), "{all}");
        assert!(!all.contains(world.config.state_dir.to_str().unwrap()), "{all}");
        world.shims.signal("p", "b", 9).await.unwrap();
        assert_eq!(exit_code(&ended(&mut events, "b").await), 137);
        // Its children went with it, the other container did not.
        let (_, processes) = world.exec("a", &["ps"]).await;
        assert!(processes.contains("4711") && !processes.contains("4712"), "{processes}");
    });
}

#[test]
fn host_namespaces_are_the_hosts() {
    run(async |world| {
        let mut spec = world.sandbox("p");
        (spec.host_network, spec.host_pid, spec.host_ipc) = (true, true, true);
        world.shims.create_sandbox(&spec).await.unwrap();
        let mut events = world.shims.events();
        let running = world
            .shims
            .start_container("p", &world.script("c", "sleep 4713 & wait"))
            .await
            .unwrap();
        for name in ["net", "ipc", "uts", "pid"] {
            let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
            assert_eq!(namespace(running.pid as u32), namespace(std::process::id()), "{name}");
        }
        world.shims.signal("p", "c", 9).await.unwrap();
        ended(&mut events, "c").await;
        assert_eq!(support::processes_with("sleep 4713"), Vec::<String>::new());
    });
}

#[test]
fn kernel_parameters_are_the_pods_own() {
    run(async |world| {
        let mut spec = world.sandbox("p");
        spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned());
        world.shims.create_sandbox(&spec).await.unwrap();
        let mut events = world.shims.events();
        let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
        world.shims.start_container("p", &world.script("c", script)).await.unwrap();
        ended(&mut events, "c").await;
        assert_eq!(world.log("c"), "7\n");
    });
}

#[test]
fn a_shim_keeps_nothing_of_the_engine() {
    run(async |world| {
        let sandbox = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let entries = fs::read_dir(format!("/proc/{}/fd", sandbox.shim_pid)).unwrap().flatten();
        let open: Vec<_> = entries.map(|e| fs::read_link(e.path()).unwrap()).collect();
        // Standard descriptors, listener, signals, and the engine's connection.
        assert_eq!(open.len(), 6, "{open:?}");
        let status = fs::read_to_string(format!("/proc/{}/status", sandbox.shim_pid)).unwrap();
        assert!(status.contains("Threads:\t1\n"));
        let stat = fs::read_to_string(format!("/proc/{}/stat", sandbox.shim_pid)).unwrap();
        let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
        assert_eq!(session, sandbox.shim_pid.to_string());
    });
}

#[test]
fn a_shim_that_is_only_just_starting_is_waited_for() {
    run(async |world| {
        let sandbox = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        // Hide the socket for a moment, as if it had not been made yet.
        let socket = world.config.state_dir.join("p/shim.sock");
        let hidden = world.config.state_dir.join("p/hidden");
        fs::rename(&socket, &hidden).unwrap();
        let engine = Shims::new(world.config.clone()).unwrap();
        let listing = tokio::spawn(async move { engine.list().await });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        fs::rename(&hidden, &socket).unwrap();
        assert_eq!(within(listing).await.unwrap().unwrap(), [sandbox]);
    });
}
