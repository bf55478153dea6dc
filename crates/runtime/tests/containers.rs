//! What a container is: its program, its root, its user, its limits, its log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure is the assertion"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use coracle_runtime::{
    Capabilities, ContainerSpec, ContainerState, Containers, Mount, Resources, RuntimeError,
    SandboxSpec, Seccomp, StartErrorKind, User,
};
use support::{ended, exit_code, run};

#[test]
fn a_program_runs_to_its_exit_code_and_its_log_is_in_the_cri_format() {
    run(async |world| {
        let (container, _) = world
            .run_to_end(world.script("c", "echo one; echo two >&2; printf three; exit 7"))
            .await;
        assert_eq!(exit_code(&container), 7);
        let ContainerState::Exited { signal, oom_killed, started_at, finished_at, .. } =
            container.state
        else {
            panic!("{container:?}")
        };
        assert_eq!((signal, oom_killed), (None, false));
        assert!(started_at <= finished_at);
        let text = fs::read_to_string(world.log_path("c")).unwrap();
        let mut lines: Vec<_> = text.lines().map(|line| line.split_at(30)).collect();
        assert!(
            lines
                .iter()
                .all(|(time, _)| time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok())
        );
        lines.sort_by_key(|(_, rest)| *rest);
        let rest: Vec<_> = lines.iter().map(|(_, rest)| *rest).collect();
        assert_eq!(rest, [" stderr F two", " stdout F one", " stdout P three"]);
    });
}

#[test]
fn a_signal_that_ends_a_program_is_told() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut events = world.shims.events();
        let spec = world.script("c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done");
        world.shims.start_container("p", &spec).await.unwrap();
        support::until("it is up", async || world.log("c") == "up\n").await;
        world.shims.signal("p", "c", 15).await.unwrap();
        assert_eq!(exit_code(&ended(&mut events, "c").await), 3);

        world.shims.start_container("p", &world.command("d", &["sleep", "1000"])).await.unwrap();
        // The first process of a namespace has no default for SIGTERM: it goes on.
        world.shims.signal("p", "d", 15).await.unwrap();
        world.shims.signal("p", "d", 9).await.unwrap();
        let killed = ended(&mut events, "d").await;
        assert!(matches!(
            killed.state,
            ContainerState::Exited { exit_code: 137, signal: Some(9), .. }
        ));
        world.shims.signal("p", "d", 9).await.unwrap();
        world.shims.signal("p", "never-was", 9).await.unwrap();
    });
}

#[test]
fn an_end_that_a_silent_shim_keeps_to_itself_is_told() {
    run(async |world| {
        let sandbox = world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut events = world.shims.events();
        let spec = world.script("c", "sleep 0.5; exit 3");
        world.shims.start_container("p", &spec).await.unwrap();
        support::signal(sandbox.shim_pid, "STOP");
        assert_eq!(exit_code(&ended(&mut events, "c").await), 3);
        support::signal(sandbox.shim_pid, "CONT");
    });
}

#[test]
fn memory_beyond_the_limit_is_an_oom_kill() {
    run(async |world| {
        let mut spec = world.script("c", "head -c 200000000 /dev/zero | grep x; dd if=/dev/zero of=/dev/null bs=300M count=1; exit 9");
        spec.resources = Resources { memory_limit: Some(32 << 20), ..Default::default() };
        let (container, log) = world.run_to_end(spec).await;
        assert!(
            matches!(container.state, ContainerState::Exited { oom_killed: true, .. }),
            "{container:?} {log}"
        );
    });
}

#[test]
fn a_fork_bomb_meets_the_limit_of_processes() {
    run(async |world| {
        let mut spec =
            world.script("c", "for i in $(seq 100); do sleep 1000 & done; echo unreachable");
        spec.resources = Resources { pids_limit: Some(20), ..Default::default() };
        let (container, log) = world.run_to_end(spec).await;
        assert_ne!(exit_code(&container), 0);
        assert!(!log.contains("unreachable") && log.contains("can't fork"), "{log}");
    });
}

#[test]
fn limits_of_a_pod_hold_for_all_its_containers_together() {
    run(async |world| {
        let mut sandbox = world.sandbox("p");
        sandbox.resources = Resources { pids_limit: Some(10), ..Default::default() };
        world.shims.create_sandbox(&sandbox).await.unwrap();
        let mut events = world.shims.events();
        let spec = world.script("c", "for i in $(seq 50); do sleep 1000 & done");
        world.shims.start_container("p", &spec).await.unwrap();
        assert_ne!(exit_code(&ended(&mut events, "c").await), 0);
    });
}

#[test]
fn all_pods_together_take_no_more_than_their_share_of_the_machine() {
    run(async |world| {
        let limits =
            Resources { pids_limit: Some(12), memory_limit: Some(64 << 20), ..Default::default() };
        // Twice: the next engine finds the group made, and may have other limits.
        let larger = Resources { memory_limit: Some(80 << 20), ..limits };
        let shims = [limits, larger].map(|limits| {
            coracle_runtime::Shims::new(coracle_runtime::Config { limits, ..world.config.clone() })
                .unwrap()
        });
        let shims = &shims[1];
        let mut events = shims.events();
        for pod in ["p", "q"] {
            shims.create_sandbox(&world.sandbox(pod)).await.unwrap();
        }
        let hog = world.script("a", "for i in $(seq 8); do sleep 1000 & done; echo up; wait");
        shims.start_container("p", &hog).await.unwrap();
        support::until("it has its processes", async || world.log("a") == "up\n").await;
        // Neither has a limit of its own; the other pod's processes count.
        let spec = world.script("b", "for i in $(seq 8); do sleep 1000 & done; echo unreachable");
        shims.start_container("q", &spec).await.unwrap();
        assert_ne!(exit_code(&ended(&mut events, "b").await), 0);
        assert!(!world.log("b").contains("unreachable"), "{}", world.log("b"));
        let spec = world.script("c", "dd if=/dev/zero of=/dev/null bs=300M count=1");
        shims.start_container("q", &spec).await.unwrap();
        assert_ne!(exit_code(&ended(&mut events, "c").await), 0);
    });
}

#[test]
fn the_root_is_the_images_and_changes_stay_with_the_container() {
    run(async |world| {
        let output = world
            .output_of("echo x > /etc/new; cat /etc/new; pwd; hostname; echo $HOSTNAME; echo $$")
            .await;
        assert_eq!(output, "x\n/\np\np\n1\n");
        assert!(!world.path("image/etc/new").exists());
    });
}

#[test]
fn a_read_only_root_is_not_written_to_but_volumes_are() {
    run(async |world| {
        let volume = world.path("volume");
        fs::create_dir(&volume).unwrap();
        let mut spec = world.script(
            "c",
            "touch /etc/x || echo refused; touch /v/ok && echo fine; touch /r/x || echo read-only",
        );
        spec.readonly_rootfs = true;
        let mount = |target: &str, readonly| Mount {
            source: volume.clone(),
            target: target.into(),
            readonly,
            ..Default::default()
        };
        spec.mounts = vec![mount("/v", false), mount("/r", true)];
        let (_, log) = world.run_to_end(spec).await;
        assert!(
            log.contains("refused\n") && log.contains("fine\n") && log.contains("read-only\n"),
            "{log}"
        );
        assert!(volume.join("ok").exists());
    });
}

#[test]
fn a_program_runs_as_the_user_and_groups_it_is_given() {
    run(async |world| {
        let mut spec = world.script("c", "id; echo $HOME; echo hello > /dev/stdout; grep -E 'CapEff|NoNewPrivs' /proc/self/status");
        spec.user = User { uid: 1000, gid: 2000, additional_gids: vec![3000, 4000] };
        spec.no_new_privileges = true;
        let (_, log) = world.run_to_end(spec).await;
        let wanted = "uid=1000(app) gid=2000 groups=2000,3000,4000\n/home/app\nhello\n\
                      CapEff:\t0000000000000000\nNoNewPrivs:\t1\n";
        assert_eq!(log, wanted);
    });
}

#[test]
fn capabilities_are_the_default_ones_changed_as_asked() {
    run(async |world| {
        let script =
            "grep -E 'CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp:' /proc/self/status";
        let (_, log) = world.run_to_end(world.script("c", script)).await;
        let default = "00000000a80425fb";
        let wanted = format!(
            "CapInh:\t0000000000000000\nCapPrm:\t{default}\nCapEff:\t{default}\nCapBnd:\t{default}\n\
             CapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n"
        );
        assert_eq!(log, wanted);

        let mut spec = world.script("d", script);
        let (add, drop) = (vec!["NET_BIND_SERVICE".to_owned()], vec!["ALL".to_owned()]);
        spec.capabilities = Capabilities { add, drop };
        let mut events = world.shims.events();
        world.shims.start_container("p", &spec).await.unwrap();
        ended(&mut events, "d").await;
        assert!(
            world.log("d").contains("CapEff:\t0000000000000400\nCapBnd:\t0000000000000400"),
            "{}",
            world.log("d")
        );
    });
}

#[test]
fn the_default_profile_refuses_namespaces_and_mounts() {
    run(async |world| {
        let script = "exec 2>&1; unshare -U true; mount -t tmpfs t /tmp; unshare -n true; chroot / true && echo chroot";
        let (_, log) = world.run_to_end(world.script("c", script)).await;
        assert_eq!(
            log.matches("Operation not permitted").count()
                + log.matches("permission denied").count(),
            3,
            "{log}"
        );
        assert!(log.ends_with("chroot\n"), "{log}");

        // Without the profile only the capabilities count, and a user namespace needs none.
        let mut spec =
            world.script("d", "unshare -U true && echo allowed; grep Seccomp: /proc/self/status");
        spec.seccomp = Seccomp::Unconfined;
        let mut events = world.shims.events();
        world.shims.start_container("p", &spec).await.unwrap();
        ended(&mut events, "d").await;
        assert_eq!(world.log("d"), "allowed\nSeccomp:\t0\n");
    });
}

#[test]
fn a_profile_of_ones_own_is_used() {
    run(async |world| {
        let profile = world.path("profile.json");
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#;
        fs::write(&profile, text).unwrap();
        for no_new_privileges in [false, true] {
            let id = format!("c-{no_new_privileges}");
            let mut spec = world.script(&id, "mkdir /tmp/x 2>&1; unshare -U true && echo allowed");
            spec.seccomp = Seccomp::Local(profile.clone());
            spec.no_new_privileges = no_new_privileges;
            let (_, log) = world.run_to_end(spec).await;
            assert_eq!(log.lines().last(), Some("allowed"), "{log}");
            assert!(log.contains("No space left"), "{log}");
        }
        let mut spec = world.script("c", "true");
        spec.seccomp = Seccomp::Local(world.path("none.json"));
        let error = world.shims.start_container("p", &spec).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Shim { .. }), "{error}");
    });
}

#[test]
fn a_privileged_container_has_everything() {
    run(async |world| {
        let mut spec = world.script("c", "mount -t tmpfs t /tmp && echo mounted; grep Seccomp: /proc/self/status; ls /dev/null /dev/full");
        spec.privileged = true;
        let (_, log) = world.run_to_end(spec).await;
        assert_eq!(log, "mounted\nSeccomp:\t0\n/dev/full\n/dev/null\n");
    });
}

#[test]
fn the_machine_is_masked() {
    run(async |world| {
        let script = "exec 2>&1; wc -c < /proc/interrupts; echo x > /proc/sys/kernel/domainname || echo refused; \
                      mknod /tmp/disk b 254 0 && head -c1 /tmp/disk || echo no disk; ls /dev/shm | wc -l; touch /dev/shm/x && echo shm";
        let log = world.output_of(script).await;
        assert!(
            log.contains("0\n") && log.contains("refused\n") && log.contains("no disk\n"),
            "{log}"
        );
        assert!(log.ends_with("0\nshm\n"), "{log}");
    });
}

#[test]
fn programs_that_cannot_start_say_why_in_upstreams_words() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let cases: [(&[&str], StartErrorKind, &str); 4] = [
            (
                &["foo"],
                StartErrorKind::CommandNotFound,
                "exec: \"foo\": executable file not found in $PATH",
            ),
            (
                &["/bin/foo"],
                StartErrorKind::CommandNotFound,
                "exec: \"/bin/foo\": stat /bin/foo: no such file or directory",
            ),
            (
                &["/bin/plain"],
                StartErrorKind::PermissionDenied,
                "exec: \"/bin/plain\": permission denied",
            ),
            (&["/etc"], StartErrorKind::PermissionDenied, "exec: \"/etc\": is a directory"),
        ];
        for (number, (args, kind, message)) in cases.into_iter().enumerate() {
            let id = format!("c{number}");
            let error =
                world.shims.start_container("p", &world.command(&id, args)).await.unwrap_err();
            let RuntimeError::Start(error) = error else { panic!("{error}") };
            assert_eq!((error.kind, error.message.as_str()), (kind, message));
            let listed = world.container("p", &id).await.unwrap();
            assert!(matches!(listed.state, ContainerState::Failed { .. }), "{listed:?}");
            world.shims.remove_container("p", &id).await.unwrap();
        }
        let mut spec = world.script("cwd", "pwd");
        spec.cwd = "relative".to_owned();
        let error = world.shims.start_container("p", &spec).await.unwrap_err();
        assert!(
            matches!(error, RuntimeError::Start(error) if error.kind == StartErrorKind::WorkingDirectory)
        );
        let mut spec = world.script("mount", "true");
        spec.mounts =
            vec![Mount { source: "/no/such".into(), target: "/x".into(), ..Default::default() }];
        let error = world.shims.start_container("p", &spec).await.unwrap_err();
        assert!(
            matches!(&error, RuntimeError::Start(error) if error.kind == StartErrorKind::Mount),
            "{error}"
        );
    });
}

#[test]
fn a_program_only_its_owner_may_run_runs() {
    run(async |world| {
        fs::create_dir(world.path("image/own")).unwrap();
        let program = world.path("image/own/echo");
        fs::copy("/bin/busybox", &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let (_, log) = world.run_to_end(world.command("c", &["/own/echo", "ran"])).await;
        assert_eq!(log, "ran\n");
    });
}

#[test]
fn the_engines_own_binary_cannot_be_written_through_a_container() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        // What a container whose program is /proc/self/exe runs is the shim's file.
        let shim = world.shims.list().await.unwrap()[0].shim_pid;
        let exe = nix::sys::statvfs::statvfs(format!("/proc/{shim}/exe").as_str()).unwrap();
        assert!(exe.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY));
    });
}

#[test]
fn a_file_that_is_no_program_starts_and_fails_as_upstream() {
    run(async |world| {
        let plain = world.path("image/bin/plain");
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
        let (container, log) = world.run_to_end(world.command("c", &["/bin/plain"])).await;
        assert_eq!(exit_code(&container), 255);
        assert_eq!(log, "exec /bin/plain: exec format error\n");
    });
}

#[test]
fn a_missing_working_directory_is_made_where_it_belongs() {
    run(async |world| {
        let volume = world.path("volume");
        fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        for (id, cwd) in [("root", "/a/b"), ("volume", "/v/c/d")] {
            let mut spec = world.script(id, "pwd; echo x > file");
            spec.cwd = cwd.to_owned();
            spec.mounts =
                vec![Mount { source: volume.clone(), target: "/v".into(), ..Default::default() }];
            let (_, log) = world.run_to_end(spec).await;
            assert_eq!(log, format!("{cwd}\n"));
        }
        assert!(volume.join("c/d/file").exists());
    });
}

#[test]
fn a_log_cannot_fill_the_disk() {
    run(async |world| {
        let mut spec = world.script("c", "yes 0123456789 | head -c 3000000; echo last");
        spec.log_max_size = Some(100_000);
        world.run_to_end(spec).await;
        let files = fs::read_dir(world.path("logs/c")).unwrap().flatten();
        let sizes: Vec<u64> = files.map(|entry| entry.metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        // One read of output may be written whole, each of its short lines with its time.
        assert!(sizes.iter().all(|size| *size < 1_000_000), "{sizes:?}");
        assert!(world.log("c").ends_with("last\n"));
    });
}

#[test]
fn layers_lie_over_each_other() {
    run(async |world| {
        for (layer, text) in [("low", "low"), ("high", "high")] {
            fs::create_dir_all(world.path(layer).join("data")).unwrap();
            fs::write(world.path(layer).join("data/both"), text).unwrap();
            fs::write(world.path(layer).join(format!("data/{layer}")), text).unwrap();
        }
        let mut spec = world.script("c", "cat /data/both /data/low");
        spec.rootfs.layers = vec![world.path("high"), world.path("low"), world.path("image")];
        let (_, log) = world.run_to_end(spec).await;
        assert_eq!(log, "highlow\n");
    });
}

#[test]
fn volumes_are_mounted_where_the_images_links_lead() {
    run(async |world| {
        fs::create_dir(world.path("volume")).unwrap();
        fs::write(world.path("volume/token"), "secret").unwrap();
        fs::write(world.path("hosts"), "127.0.0.1 localhost").unwrap();
        fs::create_dir(world.path("image/var")).unwrap();
        fs::create_dir(world.path("image/run")).unwrap();
        std::os::unix::fs::symlink("/run", world.path("image/var/run")).unwrap();
        let mut spec = world.script("c", "cat /run/secrets/kubernetes.io/token /etc/hosts");
        let mount = |source, target: &str| Mount {
            source: world.path(source),
            target: target.into(),
            readonly: true,
            ..Default::default()
        };
        spec.mounts =
            vec![mount("volume", "/var/run/secrets/kubernetes.io"), mount("hosts", "/etc/hosts")];
        let (_, log) = world.run_to_end(spec).await;
        assert_eq!(log, "secret127.0.0.1 localhost\n");
        assert!(!world.path("image/etc/hosts").exists());
    });
}

#[test]
fn a_volume_lies_over_nothing_of_proc_but_the_machines_figures() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut events = world.shims.events();
        let (volume, figures) = (world.path("volume"), world.path("figures"));
        fs::create_dir(&volume).unwrap();
        fs::write(&figures, "cpu 4711\n").unwrap();
        std::os::unix::fs::symlink("/proc/sys", world.path("image/link")).unwrap();
        for (id, source, target, refused) in [
            ("a", &volume, "/proc/sys", Some("it is inside /proc")),
            ("b", &volume, "/link/kernel", Some("it is inside /proc")),
            ("c", &figures, "/proc/self/attr/exec", Some("it is inside /proc")),
            ("d", &volume, "/proc", Some("it is not of type proc")),
            ("e", &figures, "/proc/stat", None),
        ] {
            let mut spec = world.script(id, "cat /proc/stat");
            let (source, target) = (source.clone(), target.into());
            spec.mounts = vec![Mount { source, target, ..Default::default() }];
            let started = world.shims.start_container("p", &spec).await;
            match refused {
                Some(why) => assert!(started.unwrap_err().to_string().contains(why), "{id}"),
                None => {
                    started.unwrap();
                    assert_eq!(exit_code(&ended(&mut events, id).await), 0);
                    assert_eq!(world.log(id), "cpu 4711\n");
                }
            }
        }
    });
}

#[test]
fn a_volume_within_a_volume_is_seen_in_whatever_order_they_come() {
    run(async |world| {
        for name in ["outer", "inner"] {
            fs::create_dir(world.path(name)).unwrap();
            fs::write(world.path(name).join("name"), name).unwrap();
        }
        let mut spec = world.script("c", "cat /v/name /v/a/b/name");
        let mount = |source, target: &str| Mount {
            source: world.path(source),
            target: target.into(),
            ..Default::default()
        };
        spec.mounts = vec![mount("inner", "/v/a/b"), mount("outer", "/v")];
        let (_, log) = world.run_to_end(spec).await;
        assert_eq!(log, "outerinner\n");
    });
}

#[test]
fn limits_too_small_to_start_within_harm_nobody_else() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        world
            .shims
            .start_container("p", &world.command("other", &["sleep", "1000"]))
            .await
            .unwrap();
        let resources = Resources { memory_limit: Some(64 << 10), ..Default::default() };
        let spec = ContainerSpec { resources, ..world.command("memory", &["sleep", "1000"]) };
        let started = world.shims.start_container("p", &spec).await;
        assert!(matches!(started, Err(RuntimeError::Start(_))), "{started:?}");
        world.shims.remove_container("p", "memory").await.unwrap();
        let resources = Resources { pids_limit: Some(1), ..Default::default() };
        let spec = ContainerSpec { resources, ..world.script("alone", "sleep 1000; echo end") };
        world.shims.start_container("p", &spec).await.unwrap();
        support::until("it may not fork", async || world.log("alone").contains("fork")).await;
        assert_eq!(world.exec("other", &["echo", "well"]).await.1, "well\n");
    });
}

#[test]
fn limits_change_while_a_container_runs() {
    run(async |world| {
        let limits = |memory: u64, quota: i64, shares: u64| Resources {
            memory_limit: Some(memory << 20),
            cpu_quota: Some(quota),
            cpu_period: Some(100_000),
            cpu_shares: Some(shares),
            pids_limit: None,
        };
        let small = limits(32, 20_000, 204);
        world
            .shims
            .create_sandbox(&SandboxSpec { resources: small, ..world.sandbox("p") })
            .await
            .unwrap();
        let spec = ContainerSpec { resources: small, ..world.command("c", &["sleep", "1000"]) };
        world.shims.start_container("p", &spec).await.unwrap();
        let seen = async || {
            let script = "cd /sys/fs/cgroup; if [ -e cgroup.procs ]; \
                then cat cpu.weight cpu.max memory.max; else \
                cat cpu/cpu.shares cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes; fi";
            let text = world.exec("c", &["sh", "-c", script]).await.1;
            text.split_whitespace()
                .filter(|it| *it != "100000")
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let is_unified = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap();
        let told = |memory: u64, quota: i64, shares: u64| {
            let weight = 1 + (shares - 2) * 9999 / 262_142;
            let shares = if is_unified { weight } else { shares };
            vec![shares.to_string(), quota.to_string(), (memory << 20).to_string()]
        };
        assert_eq!(seen().await, told(32, 20_000, 204));
        let large = limits(64, 50_000, 512);
        // A pod grows before its containers do, and shrinks after them.
        for (group, to) in [(None, large), (Some("c"), large), (Some("c"), small), (None, small)] {
            world.shims.resize("p", group, &to).await.unwrap();
            if to == large && group.is_some() {
                assert_eq!(seen().await, told(64, 50_000, 512));
            }
        }
        assert_eq!(seen().await, told(32, 20_000, 204));
        // What is not said stays.
        let shares = Resources { cpu_shares: Some(100), ..Resources::default() };
        world.shims.resize("p", Some("c"), &shares).await.unwrap();
        assert_eq!(seen().await, told(32, 20_000, 100));
        for (pod, container) in [("p", "gone"), ("q", "c"), ("..", "c"), ("p", "../..")] {
            let refused = world.shims.resize(pod, Some(container), &shares).await;
            assert!(refused.is_err(), "{pod} {container}");
        }
    });
}

#[test]
fn an_image_of_many_layers_is_mounted() {
    run(async |world| {
        let layers: Vec<_> =
            (0..100).map(|number| world.path(&format!("layer-{number}"))).collect();
        for (number, layer) in layers.iter().enumerate() {
            fs::create_dir_all(layer.join("data")).unwrap();
            fs::write(layer.join(format!("data/{number}")), "").unwrap();
        }
        let mut spec = world.script("c", "ls /data | wc -l");
        spec.rootfs.layers = [layers, vec![world.path("image")]].concat();
        assert_eq!(world.run_to_end(spec).await.1, "100\n");
    });
}
