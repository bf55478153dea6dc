//! Commands in a container, and connections to its program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure is the assertion"
)]

mod support;

use std::time::Duration;

use coracle_runtime::{
    AttachSpec, Containers, ExecSpec, Resources, RuntimeError, StartErrorKind, TerminalSize, User,
};
use support::{World, ended, exit_code, finish, run, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn sleeper(world: &World) {
    world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
    world.shims.start_container("p", &world.command("c", &["sleep", "1000"])).await.unwrap();
}

fn command(args: &[&str]) -> ExecSpec {
    ExecSpec { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..Default::default() }
}

#[test]
fn a_command_has_its_output_and_its_exit_code() {
    run(async |world| {
        sleeper(world).await;
        let (code, output) = world.exec("c", &["sh", "-c", "echo out; echo err >&2; exit 5"]).await;
        assert_eq!((code.unwrap(), output.as_str()), (5, "out\nerr\n"));
        let (code, _) = world.exec("c", &["sh", "-c", "kill -9 $$"]).await;
        assert_eq!(code.unwrap(), 137);
    });
}

#[test]
fn a_command_is_in_the_container_with_its_rights() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut spec = world.command("c", &["sleep", "1000"]);
        spec.user = User { uid: 1000, gid: 1000, additional_gids: vec![7] };
        spec.env = vec!["GREETING=hello".to_owned()];
        spec.cwd = "/tmp".to_owned();
        spec.resources = Resources { pids_limit: Some(50), ..Default::default() };
        world.shims.start_container("p", &spec).await.unwrap();
        let script = "id -u; id -G; echo $GREETING; pwd; hostname; cat /proc/1/comm; \
                      grep -E 'CapBnd|Seccomp:' /proc/self/status; unshare -U true 2>/dev/null || echo refused";
        let (_, output) = world.exec("c", &["sh", "-c", script]).await;
        let wanted = "1000\n1000 7\nhello\n/tmp\np\nsleep\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\nrefused\n";
        assert_eq!(output, wanted);
    });
}

#[test]
fn a_commands_input_ends_when_it_is_dropped() {
    run(async |world| {
        sleeper(world).await;
        let spec = ExecSpec { stdin: true, ..command(&["wc", "-c"]) };
        let mut session = world.shims.exec("p", "c", &spec).await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        let data = vec![b'x'; 300_000];
        within(stdin.write_all(&data)).await.unwrap();
        drop(stdin);
        assert_eq!(finish(session).await.1, "300000\n");
    });
}

#[test]
fn a_terminal_has_a_size_that_can_be_changed() {
    run(async |world| {
        sleeper(world).await;
        let script =
            "tty; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.01; done";
        let spec = ExecSpec { tty: true, stdin: true, ..command(&["sh", "-c", script]) };
        let mut session = world.shims.exec("p", "c", &spec).await.unwrap();
        assert!(session.stderr.is_none());
        let mut stdout = session.stdout.take().unwrap();
        let (mut text, mut resized) = (String::new(), false);
        let mut chunk = [0; 1000];
        loop {
            let length = within(stdout.read(&mut chunk)).await.unwrap();
            if length == 0 {
                break;
            }
            text.push_str(str::from_utf8(&chunk[..length]).unwrap());
            if text.contains("ready") && !resized {
                let size = TerminalSize { columns: 99, rows: 33 };
                session.resize.as_ref().unwrap().send(size).unwrap();
                resized = true;
            }
        }
        assert_eq!(text, "/dev/pts/0\r\nready\r\n33 99\r\n");
        assert_eq!(within(session.exit).await.unwrap().unwrap(), 4);
    });
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_its_children() {
    run(async |world| {
        sleeper(world).await;
        let spec = ExecSpec {
            timeout: Some(Duration::from_millis(100)),
            ..command(&["sh", "-c", "sleep 4711 & sleep 4712; true"])
        };
        let session = world.shims.exec("p", "c", &spec).await.unwrap();
        assert!(matches!(finish(session).await.0, Err(RuntimeError::Timeout)));
        let (_, processes) = world.exec("c", &["ps"]).await;
        assert!(!processes.contains("471"), "{processes}");
    });
}

#[test]
fn a_command_nobody_waits_for_is_killed() {
    run(async |world| {
        sleeper(world).await;
        drop(world.shims.exec("p", "c", &command(&["sleep", "4711"])).await.unwrap());
        let is_gone = async || !world.exec("c", &["ps"]).await.1.contains("4711");
        until("the command is gone", is_gone).await;
    });
}

#[test]
fn commands_that_cannot_run_say_why() {
    run(async |world| {
        sleeper(world).await;
        let (error, _) = world.exec("c", &["foo"]).await;
        let RuntimeError::Start(error) = error.unwrap_err() else { panic!() };
        assert_eq!(error.kind, StartErrorKind::CommandNotFound);
        assert_eq!(error.message, "exec: \"foo\": executable file not found in $PATH");
        let (error, _) = world.exec("d", &["true"]).await;
        assert!(matches!(error, Err(RuntimeError::ContainerNotFound(id)) if id == "d"));
        let mut events = world.shims.events();
        world.shims.signal("p", "c", 9).await.unwrap();
        ended(&mut events, "c").await;
        let (error, _) = world.exec("c", &["true"]).await;
        assert!(matches!(error, Err(RuntimeError::ContainerNotRunning(id)) if id == "c"));
    });
}

#[test]
fn nothing_that_a_container_makes_of_its_files_holds_its_shim() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let script = "rm /etc/passwd /dev/ptmx; mknod /etc/passwd p; mknod /dev/ptmx p; echo made; sleep 1000";
        world.shims.start_container("p", &world.script("c", script)).await.unwrap();
        support::until("it is made", async || world.log("c") == "made\n").await;
        let (code, text) = world.exec("c", &["sh", "-c", "echo $HOME"]).await;
        assert_eq!((code.unwrap(), text.as_str()), (0, "/\n"));
        let terminal = ExecSpec { tty: true, ..command(&["true"]) };
        let error = world.shims.exec("p", "c", &terminal).await.unwrap_err();
        assert!(error.to_string().contains("take the streams"), "{error}");
        let (code, _) = world.exec("c", &["true"]).await;
        assert_eq!(code.unwrap(), 0);
    });
}

#[test]
fn many_commands_at_once_each_get_their_own_answer() {
    run(async |world| {
        sleeper(world).await;
        let commands = (0..20).map(|number| async move {
            let script = format!("echo {number}; exit {number}");
            let (code, output) = world.exec("c", &["sh", "-c", &script]).await;
            assert_eq!((code.unwrap(), output), (number, format!("{number}\n")));
        });
        let tasks: Vec<_> = commands.map(tokio::spawn).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn an_attached_client_sees_what_is_written_and_the_log_does_too() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut spec =
            world.script("c", "while read line; do echo \"got $line\"; done; echo bye >&2; exit 6");
        (spec.stdin, spec.stdin_once) = (true, true);
        world.shims.start_container("p", &spec).await.unwrap();
        let all = AttachSpec { stdin: true, stdout: true, stderr: true };
        let mut session = world.shims.attach("p", "c", &all).await.unwrap();
        let watcher = AttachSpec { stdout: true, ..Default::default() };
        let other = world.shims.attach("p", "c", &watcher).await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        within(stdin.write_all(b"one\n")).await.unwrap();
        let mut stdout = session.stdout.take().unwrap();
        let mut text = [0; 8];
        within(stdout.read_exact(&mut text)).await.unwrap();
        assert_eq!(&text, b"got one\n");
        // Leaving ends the input, because the container reads it once.
        drop((stdin, stdout, session));
        let (code, output) = finish(other).await;
        assert_eq!((code.unwrap(), output.as_str()), (6, "got one\n"));
        assert_eq!(world.log("c"), "got one\nbye\n");
    });
}

#[test]
fn a_container_with_a_terminal_can_be_attached_to() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut events = world.shims.events();
        let mut spec = world.script("c", "read line; echo \"got $line\"; stty size");
        (spec.stdin, spec.tty) = (true, true);
        world.shims.start_container("p", &spec).await.unwrap();
        let all = AttachSpec { stdin: true, stdout: true, stderr: true };
        let mut session = world.shims.attach("p", "c", &all).await.unwrap();
        session.resize.as_ref().unwrap().send(TerminalSize { columns: 70, rows: 20 }).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut stdin = session.stdin.take().unwrap();
        within(stdin.write_all(b"one\n")).await.unwrap();
        let (code, output) = finish(session).await;
        assert_eq!(code.unwrap(), 0);
        assert_eq!(output, "one\r\ngot one\r\n20 70\r\n");
        assert_eq!(exit_code(&ended(&mut events, "c").await), 0);
        assert_eq!(world.log("c"), output.replace("\r\n", "\n"));
    });
}

#[test]
fn a_client_that_does_not_read_harms_only_itself() {
    run(async |world| {
        world.shims.create_sandbox(&world.sandbox("p")).await.unwrap();
        let mut events = world.shims.events();
        let spec = world.script("c", "sleep 0.3; yes $(seq 30) | head -c 5000000; echo done");
        world.shims.start_container("p", &spec).await.unwrap();
        let watcher = AttachSpec { stdout: true, ..Default::default() };
        let idle = world.shims.attach("p", "c", &watcher).await.unwrap();
        assert_eq!(exit_code(&ended(&mut events, "c").await), 0);
        assert!(world.log("c").ends_with("done\n"));
        drop(idle);
    });
}
