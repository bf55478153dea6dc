//! A runtime with a small image, which leaves nothing behind whatever becomes of the test.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure is the assertion"
)]

use std::fs;
use std::future::Future;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coracle_runtime::{
    Config, Container, ContainerSpec, ContainerState, Containers, EventReceiver, ExecSpec, Rootfs,
    RuntimeError, RuntimeEvent, SandboxSpec, Session, Shims,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tokio::io::AsyncReadExt;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    dir: tempfile::TempDir,
    pub config: Config,
    pub shims: Shims,
}

/// Runs a test in a world of its own, then cleans up and looks whether anything is left.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(&'static World) -> F) {
    leave_the_machines_mounts();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Lives as long as the test's process, which is short: so that tasks can refer to it.
    let world: &'static World = Box::leak(Box::new(runtime.block_on(async { World::new() })));
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(within(test(world)))));
    runtime.block_on(world.clean());
    let left = world.leftovers();
    fs::remove_dir_all(world.dir.path()).unwrap();
    if let Err(failure) = outcome {
        resume_unwind(failure);
    }
    assert_eq!(left, Vec::<String>::new(), "left behind");
}

/// Gives this thread, and those that it starts, a mount table of their own: nothing that a test
/// mounts or unmounts is seen by the machine.
fn leave_the_machines_mounts() {
    let namespace = || fs::read_link("/proc/thread-self/ns/mnt").unwrap();
    let machines = namespace();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    assert_ne!(namespace(), machines);
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
}

impl World {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        make_image(&dir.path().join("image"));
        let config = Config {
            state_dir: dir.path().join("pods"),
            shim_exe: Some(shim_program()),
            cgroup_parent: format!("/coracle-test-{}-{number}", std::process::id()),
            limits: coracle_runtime::Resources::default(),
        };
        let shims = Shims::new(config.clone()).unwrap();
        Self { dir, config, shims }
    }

    async fn clean(&self) {
        for sandbox in self.shims.list().await.unwrap() {
            self.shims.remove_sandbox(&sandbox.pod_uid).await.unwrap();
        }
        self.shims.remove_cgroup_parent().unwrap();
    }

    /// Mounts, groups, processes and directories of this world.
    pub fn leftovers(&self) -> Vec<String> {
        let dir = self.config.state_dir.to_str().unwrap();
        let mut left = Vec::new();
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        left.extend(table.lines().filter(|line| line.contains(dir)).map(str::to_owned));
        let group = self.config.cgroup_parent.trim_start_matches('/');
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let path = hierarchy.path().join(group);
            left.extend(path.exists().then(|| path.display().to_string()));
        }
        left.extend(processes_with(dir));
        left.extend(fs::read_dir(dir).unwrap().flatten().map(|e| e.path().display().to_string()));
        left
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn sandbox(&self, uid: &str) -> SandboxSpec {
        SandboxSpec {
            pod_uid: uid.to_owned(),
            namespace: "default".to_owned(),
            name: uid.to_owned(),
            hostname: uid.to_owned(),
            log_directory: self.path("logs"),
            ..Default::default()
        }
    }

    /// A container that runs a shell script.
    pub fn script(&self, id: &str, script: &str) -> ContainerSpec {
        self.command(id, &["/bin/sh", "-c", script])
    }

    pub fn command(&self, id: &str, args: &[&str]) -> ContainerSpec {
        ContainerSpec {
            id: id.to_owned(),
            name: id.to_owned(),
            rootfs: Rootfs { layers: vec![self.path("image")] },
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            log_path: self.log_path(id),
            ..Default::default()
        }
    }

    pub fn log_path(&self, id: &str) -> PathBuf {
        self.path("logs").join(id).join("0.log")
    }

    /// The container's output, without times and tags.
    pub fn log(&self, id: &str) -> String {
        let text = fs::read_to_string(self.log_path(id)).unwrap();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned() + "\n").collect()
    }

    /// Makes pod `p`, runs the container in it to its end, and returns its end and its output.
    pub async fn run_to_end(&self, spec: ContainerSpec) -> (Container, String) {
        self.shims.create_sandbox(&self.sandbox("p")).await.unwrap();
        let mut events = self.shims.events();
        self.shims.start_container("p", &spec).await.unwrap();
        let ended = ended(&mut events, &spec.id).await;
        (ended, self.log(&spec.id))
    }

    /// Runs a script to its end and returns what it wrote.
    pub async fn output_of(&self, script: &str) -> String {
        self.run_to_end(self.script("c", script)).await.1
    }

    pub async fn container(&self, pod: &str, id: &str) -> Option<Container> {
        let sandboxes = self.shims.list().await.unwrap();
        let sandbox = sandboxes.into_iter().find(|sandbox| sandbox.pod_uid == pod)?;
        sandbox.containers.into_iter().find(|container| container.id == id)
    }

    /// Runs a command in a container of pod `p` to its end.
    pub async fn exec(&self, id: &str, args: &[&str]) -> (Result<i32, RuntimeError>, String) {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let spec = ExecSpec { args, ..Default::default() };
        let session = match self.shims.exec("p", id, &spec).await {
            Ok(session) => session,
            Err(error) => return (Err(error), String::new()),
        };
        finish(session).await
    }
}

/// Reads a session to its end: its output and errors together.
pub async fn finish(mut session: Session) -> (Result<i32, RuntimeError>, String) {
    drop(session.stdin.take());
    let mut text = String::new();
    for stream in [&mut session.stdout, &mut session.stderr].into_iter().flatten() {
        within(stream.read_to_string(&mut text)).await.unwrap();
    }
    (within(session.exit).await.unwrap(), text)
}

/// Waits for a container's end.
pub async fn ended(events: &mut EventReceiver, id: &str) -> Container {
    loop {
        match within(events.recv()).await.unwrap() {
            RuntimeEvent::ContainerExited { container, .. } if container.id == id => {
                return container;
            }
            _ => {}
        }
    }
}

pub fn exit_code(container: &Container) -> i32 {
    match container.state {
        ContainerState::Exited { exit_code, .. } => exit_code,
        ref other => panic!("not exited: {other:?}"),
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

/// Waits until something is so.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Command lines, and environments, of processes that mention `text`.
pub fn processes_with(text: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let read = |entry: fs::DirEntry| {
        let of = |name| fs::read(entry.path().join(name)).unwrap_or_default();
        let bytes = [of("cmdline"), of("environ")].concat();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    processes.map(read).filter(|line| line.contains(text)).collect()
}

pub fn signal(pid: i32, signal: &str) {
    let signal: nix::sys::signal::Signal = format!("SIG{signal}").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn shim_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/shim");
    assert!(program.exists(), "missing {program:?}: cargo build --examples");
    program
}

/// Busybox, its commands, and a few files to try things on.
fn make_image(image: &Path) {
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.exists(), "missing {busybox:?}: scripts/apt-install busybox-static");
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev", "work"] {
        fs::create_dir_all(image.join(dir)).unwrap();
    }
    fs::copy(busybox, image.join("bin/busybox")).unwrap();
    let commands = "sh cat echo sleep id ls mkdir mount unshare touch head yes true false stty tty \
                    chmod hostname grep kill env pwd dd nproc chroot ps mknod stat wc seq readlink";
    for name in commands.split_whitespace() {
        symlink("busybox", image.join("bin").join(name)).unwrap();
    }
    fs::write(
        image.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
    )
    .unwrap();
    fs::write(image.join("bin/plain"), "not a program\n").unwrap();
}
