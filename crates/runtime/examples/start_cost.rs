//! What a pod's start costs here, beside the bare cost of the same kernel work in the same run.
//!
//! `cargo run --release -p coracle-runtime --example start_cost -- IMAGE_DIR PROGRAM [RUNS]`, as
//! root. The bare start is clone with the same namespaces, overlay, pivot and exec, without
//! control groups, filters and masks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that fails has nothing to say"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coracle_runtime::{
    Config, ContainerSpec, Containers, ExecSpec, Rootfs, SandboxSpec, Seccomp, Shims,
};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Starts are apart, as a user's are: back to back they hide what the kernel does lazily.
const GAP: Duration = Duration::from_millis(100);

fn main() {
    // Nothing that is mounted here is seen by the machine; all later threads inherit it.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(measure());
}

async fn measure() {
    let mut arguments = std::env::args().skip(1);
    let image = PathBuf::from(arguments.next().expect("an image directory"));
    let program = arguments.next().expect("a program in the image that sleeps");
    let runs: usize = arguments.next().map_or(30, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let shim = std::env::current_exe().unwrap().with_file_name("shim");
    let config = Config {
        state_dir: dir.path().join("pods"),
        shim_exe: Some(shim),
        cgroup_parent: format!("/coracle-cost-{}", std::process::id()),
        limits: coracle_runtime::Resources::default(),
    };
    let shims = Shims::new(config).unwrap();

    report("bare", &mut (0..runs).map(|_| bare(dir.path(), &image)).collect::<Vec<_>>());
    let (mut sandboxes, mut pods, mut execs) = (Vec::new(), Vec::new(), Vec::new());
    let mut starts: [Vec<Duration>; 2] = Default::default();
    for run in 0..runs {
        std::thread::sleep(GAP);
        let uid = format!("pod-{run}");
        let logs = dir.path().join("logs");
        let sandbox =
            SandboxSpec { pod_uid: uid.clone(), log_directory: logs.clone(), ..Default::default() };
        let begun = Instant::now();
        shims.create_sandbox(&sandbox).await.unwrap();
        sandboxes.push(begun.elapsed());
        for (kind, seccomp) in
            [Seccomp::RuntimeDefault, Seccomp::Unconfined].into_iter().enumerate()
        {
            let id = format!("c{kind}");
            let spec = ContainerSpec {
                id: id.clone(),
                name: id.clone(),
                rootfs: Rootfs { layers: vec![image.clone()] },
                args: vec![program.clone(), "1000".to_owned()],
                log_path: logs.join(&id),
                seccomp,
                ..Default::default()
            };
            if kind > 0 {
                std::thread::sleep(GAP);
            }
            let again = Instant::now();
            shims.start_container(&uid, &spec).await.unwrap();
            starts[kind].push(again.elapsed());
            if kind == 0 {
                pods.push(begun.elapsed());
            }
        }
        let spec = ExecSpec { args: vec![program.clone(), "0".to_owned()], ..Default::default() };
        let begun = Instant::now();
        shims.exec(&uid, "c0", &spec).await.unwrap().exit.await.unwrap().unwrap();
        execs.push(begun.elapsed());
        if run == 0 {
            let sandbox = &shims.list().await.unwrap()[0];
            println!("shim memory:\n{}", memory(sandbox.shim_pid));
        }
        shims.remove_sandbox(&uid).await.unwrap();
    }
    shims.remove_cgroup_parent().unwrap();
    report("sandbox", &mut sandboxes);
    report("pod: sandbox and its first container", &mut pods);
    let [with, without] = &mut starts;
    report("first container, default profile", with);
    report("later container, unconfined", without);
    report("exec to exit", &mut execs);
}

/// The same kernel work by util-linux's `unshare`, which does nothing else.
fn bare(dir: &Path, image: &Path) -> Duration {
    for name in ["bare/upper", "bare/work", "bare/root"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    std::thread::sleep(GAP);
    let (bare, image) = (dir.join("bare"), image.display());
    let script = format!(
        "mount -t overlay overlay -o lowerdir={image},upperdir={0}/upper,workdir={0}/work {0}/root && \
         cd {0}/root && exec chroot . /bin/true",
        bare.display()
    );
    let begun = Instant::now();
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "/bin/busybox", "sh", "-c"])
        .arg(script)
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    begun.elapsed()
}

fn memory(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let wanted = ["Rss:", "Pss:", "Private_Clean:", "Private_Dirty:"];
    let lines = text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    lines.map(|line| format!("  {line}\n")).collect()
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let (median, late) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    println!(
        "{name}: median {:.2} ms, p95 {:.2} ms",
        median.as_secs_f64() * 1e3,
        late.as_secs_f64() * 1e3
    );
}
