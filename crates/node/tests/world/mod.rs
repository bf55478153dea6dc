//! A cluster without its edge: store, API, controllers, scheduler, network and containers are the
//! real ones, on a machine of their own (network and mounts are private to the test's thread).
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure is the assertion"
)]

use std::fs;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use coracle_api::{Object, Status, Timestamp, Verb};
use coracle_controllers::CONTROLLERS;
use coracle_driver::{EventRecorder, Loop};
use coracle_network::{Kernel, LinuxKernel, NetworkConfig};
use coracle_node::{Node, NodeConfig};
use coracle_runtime::{Containers, Shims};
use coracle_server::{
    Api, Body, Cluster, ExecOptions, Kinds, LogOptions, NodeStreams, Options, Pki, Request, Source,
    System, User,
};
use coracle_store::Store;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
pub const IMAGE: &str = "busybox:test";

pub struct World {
    dir: tempfile::TempDir,
    pub api: Api,
    pub kernel: Arc<dyn Kernel>,
    pub shims: Arc<Shims>,
    network: NetworkConfig,
    events: EventRecorder,
    node: std::sync::Mutex<Option<Arc<Node>>>,
    clock: Arc<Clock>,
}

/// The machine's clock, which a test may put forward by so many seconds.
#[derive(Default)]
struct Clock(AtomicI64);

impl Source for Clock {
    fn now(&self) -> Timestamp {
        let ahead = jiff::SignedDuration::from_secs(self.0.load(Ordering::Relaxed));
        System.now().checked_add(ahead).unwrap()
    }

    fn seed(&self) -> [u8; 32] {
        System.seed()
    }
}

/// Set in the process that has a machine of its own.
const INSIDE: &str = "CORACLE_TEST_PRIVATE_HOST";

/// Runs a test in a world of its own, then cleans up and looks whether anything is left.
///
/// The test's program is run anew as on a host of its own, for this test alone: its processes
/// must all see the same private network and mounts, which ends with them.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(&'static World) -> F) {
    if std::env::var_os(INSIDE).is_none() {
        return run_on_private_host();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world: &'static World = Box::leak(Box::new(runtime.block_on(World::new())));
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(within(test(world)))));
    runtime.block_on(world.clean());
    let left = world.mounts();
    fs::remove_dir_all(world.dir.path()).unwrap();
    if let Err(failure) = outcome {
        resume_unwind(failure);
    }
    assert_eq!(left, Vec::<String>::new(), "left behind");
}

fn run_on_private_host() {
    let thread = std::thread::current();
    let private = "mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "sh", "-c", private, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", thread.name().unwrap(), "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

impl World {
    async fn new() -> Self {
        let number = std::process::id();
        let dir = tempfile::tempdir().unwrap();
        let name = format!("test{number}");
        let network = NetworkConfig::new(&name, "node-1", dir.path().join("network"));
        let kernel: Arc<dyn Kernel> = Arc::new(LinuxKernel::new(network.clone()).unwrap());
        let shims = Shims::new(coracle_runtime::Config {
            state_dir: dir.path().join("run"),
            shim_exe: Some(shim_program()),
            cgroup_parent: format!("/coracle-node-test-{number}"),
            limits: coracle_runtime::Resources::default(),
        });
        let store = Store::open_on(InMemoryBackend::new()).unwrap();
        let clock = Arc::new(Clock::default());
        let source = Arc::clone(&clock) as Arc<dyn Source>;
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), source);
        let pki = Pki::open(&dir.path().join("pki"), Timestamp::now()).unwrap();
        api.set_tokens(Arc::new(pki.tokens().unwrap()));
        let world = Self {
            api,
            kernel,
            shims: Arc::new(shims.unwrap()),
            network,
            events: EventRecorder::default(),
            node: std::sync::Mutex::default(),
            clock,
            dir,
        };
        world.begin(pki.authority()).await;
        world.start_node().await;
        world.load_image();
        world
    }

    async fn begin(&self, authority: &str) {
        let link = self.kernel.up().unwrap();
        let config = coracle_controllers::Config {
            ca_bundle: authority.to_owned(),
            front_proxy_ca: authority.to_owned(),
            api_address: link.host_ip,
            api_port: self.network.api_port,
            dns_address: self.network.dns_ip(),
            services: self.network.service_cidr,
            load_balancers: link.lb_range,
            largest_volume: 16 << 40,
            gates: Default::default(),
        };
        coracle_driver::bootstrap(&self.api, &config).await.unwrap();
        let driver = Loop::new(CONTROLLERS, config, self.events.clone());
        let (api, events) = (self.api.clone(), self.events.clone());
        tokio::spawn(async move {
            coracle_driver::run(driver, api, events, std::future::pending()).await;
        });
    }

    /// Starts the node's part, as a new engine does.
    pub async fn start_node(&self) {
        let config = NodeConfig {
            name: "node-1".into(),
            data_dir: self.dir.path().to_owned(),
            network: self.network.clone(),
            max_pods: 110,
            simulated_nodes: None,
            pulling: Default::default(),
        };
        let (api, events) = (self.api.clone(), self.events.clone());
        let runtime = Arc::clone(&self.shims) as Arc<dyn Containers>;
        let node = Node::start(config, api, events, runtime, Arc::clone(&self.kernel)).await;
        let node = node.unwrap();
        within(node.ready()).await;
        *self.node.lock().unwrap() = Some(Arc::new(node));
    }

    /// Puts the clock forward. What waits for a time already does not notice.
    pub fn put_forward(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Ends the node's part as a stopped engine does: pods go on.
    pub async fn stop_node(&self) {
        let node = self.node.lock().unwrap().take().unwrap();
        node.shutdown().await;
    }

    pub fn node(&self) -> Arc<Node> {
        self.node.lock().unwrap().clone().unwrap()
    }

    async fn clean(&self) {
        let node = self.node.lock().unwrap().take();
        if let Some(node) = node {
            node.shutdown().await;
        }
        for sandbox in self.shims.list().await.unwrap() {
            self.shims.remove_sandbox(&sandbox.pod_uid).await.unwrap();
        }
        self.shims.remove_cgroup_parent().unwrap();
        coracle_node::clean_up(self.dir.path()).unwrap();
        self.kernel.down().unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let dir = self.dir.path().to_str().unwrap();
        table.lines().filter(|line| line.contains(dir)).map(str::to_owned).collect()
    }

    fn load_image(&self) {
        let archive = self.path("image.tar");
        fs::write(&archive, busybox_image()).unwrap();
        self.node().images().load(&archive, &mut |_| ()).unwrap();
    }

    fn request(&self, verb: Verb, resource: &str, name: &str) -> Request {
        let kind = self.api.kinds().stored(resource).unwrap().clone();
        let namespace = if kind.is_namespaced() { "default" } else { "" };
        Request {
            user: User { name: "test".into(), ..User::default() },
            verb,
            kind,
            namespace: namespace.into(),
            name: name.into(),
            subresource: None,
            options: Options::default(),
            body: Body::Empty,
        }
    }

    pub async fn create(&self, resource: &str, body: Value) {
        let request = self.request(Verb::Create, resource, "");
        self.api.call(Request { body: Body::Object(body), ..request }).await.unwrap();
    }

    pub async fn delete(&self, resource: &str, name: &str, options: Value) -> Result<(), Status> {
        let request = self.request(Verb::Delete, resource, name);
        self.api.call(Request { body: Body::Object(options), ..request }).await.map(drop)
    }

    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let snapshot = self.api.snapshot();
        let kind = self.api.kinds().stored(resource).unwrap().clone();
        let namespace = if kind.is_namespaced() { "default" } else { "" };
        snapshot.find(resource, namespace, name).map(|object: &Arc<Object>| object.value().clone())
    }

    /// The version of an object that there is now, held by nobody for the test's sake.
    pub fn version(&self, resource: &str, name: &str) -> Weak<Object> {
        let snapshot = self.api.snapshot();
        snapshot.find(resource, "default", name).map(Arc::downgrade).unwrap_or_default()
    }

    /// The watch log forgets all events.
    pub fn forget_events(&self) {
        self.api.store().compact(self.api.snapshot().revision());
    }

    pub fn pod(&self, name: &str) -> Value {
        self.get("pods", name).unwrap_or_default()
    }

    /// Creates a pod with one container `c`.
    pub async fn create_pod(&self, name: &str, container: Value) {
        self.create_pod_with(name, container, json!({})).await;
    }

    pub async fn create_pod_with(&self, name: &str, container: Value, spec: Value) {
        let mut full = json!({"name": "c", "image": IMAGE});
        full.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let mut all = json!({"containers": [full], "terminationGracePeriodSeconds": 1});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.create("pods", json!({"metadata": {"name": name}, "spec": all})).await;
    }

    /// Waits until something is so of an object.
    pub async fn until(&self, resource: &str, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE / 2;
        loop {
            let value = self.get(resource, name).unwrap_or_default();
            if is_so(&value) {
                return value;
            }
            if tokio::time::Instant::now() > deadline {
                let events: Vec<_> = self.events().into_iter().rev().take(12).collect();
                panic!("never: {resource} {name}: {:#}\n{events:#?}", value["status"]);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_ready(&self, name: &str) -> Value {
        self.until("pods", name, |pod| condition(pod, "Ready") == "True").await
    }

    pub async fn until_gone(&self, resource: &str, name: &str) {
        self.until(resource, name, Value::is_null).await;
    }

    /// `OBJECT REASON MESSAGE`.
    pub fn events(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let snapshot = self.api.snapshot();
        let events = snapshot.list("events", None).map(|event| {
            let value = event.value();
            let name = text(&value["involvedObject"]["name"]);
            format!("{name} {} {}", text(&value["reason"]), text(&value["message"]))
        });
        events.collect()
    }

    pub async fn until_event(&self, wanted: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE / 2;
        while !self.events().iter().any(|event| event == wanted) {
            let events = self.events();
            assert!(tokio::time::Instant::now() < deadline, "no {wanted:?} in {events:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn streams(&self) -> Arc<dyn NodeStreams> {
        self.node().streams()
    }

    /// Runs a shell script in the pod's container: exit code and output.
    pub async fn exec(&self, pod: &str, script: &str) -> (i32, String) {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let options = ExecOptions { command, stdout: true, stderr: true, ..ExecOptions::default() };
        let mut session = self.streams().exec("default", pod, options).await.unwrap();
        let mut text = String::new();
        for stream in [&mut session.stdout, &mut session.stderr].into_iter().flatten() {
            within(stream.read_to_string(&mut text)).await.unwrap();
        }
        (within(session.exit).await.unwrap().unwrap(), text)
    }

    pub async fn logs(&self, pod: &str, options: LogOptions) -> Result<String, Status> {
        let mut chunks = self.streams().logs("default", pod, options).await?;
        let mut all = Vec::new();
        while let Some(chunk) = within(chunks.recv()).await {
            all.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8(all).unwrap())
    }
}

pub fn condition<'a>(pod: &'a Value, name: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == name);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

fn shim_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/shim");
    assert!(program.exists(), "missing {program:?}: cargo build --examples");
    program
}

/// What `docker save` would write of a busybox image.
fn busybox_image() -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let busybox = fs::read("/bin/busybox").expect("scripts/apt-install busybox-static");
    let mut layer = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, kind: tar::EntryType, content: &[u8], link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mtime(1);
        match kind {
            tar::EntryType::Symlink => layer.append_link(&mut header, path, link).unwrap(),
            _ => layer.append_data(&mut header, path, content).unwrap(),
        }
    };
    use tar::EntryType::{Directory, Regular, Symlink};
    for path in ["bin/", "etc/", "tmp/", "www/", "proc/", "sys/", "dev/"] {
        add(path, 0o755, Directory, b"", "");
    }
    add("bin/busybox", 0o755, Regular, &busybox, "");
    let commands = "sh cat echo sleep id ls mkdir mount touch env hostname httpd nslookup dd df \
                    rm wc true false trap kill nc stat";
    for command in commands.split_whitespace() {
        add(&format!("bin/{command}"), 0o777, Symlink, b"", "busybox");
    }
    add("etc/passwd", 0o644, Regular, b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n", "");
    add("www/index.html", 0o644, Regular, b"hello", "");
    let layer = layer.into_inner().unwrap();
    let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}})
    .to_string();
    let manifest =
        json!([{"Config": "c.json", "RepoTags": [IMAGE], "Layers": ["l.tar"]}]).to_string();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("l.tar", layer.as_slice()),
        ("c.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }
    archive.into_inner().unwrap()
}
