//! The two seams of the machine, over [`Runtime`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_network::{
    ClusterLink, Ipv4Net, Kernel, NetworkError, PodLink, PolicyTable, ServiceMap,
};
use coracle_runtime::{
    AttachSpec, Container, ContainerSpec, Containers, EventReceiver, ExecSpec, Reading, Resources,
    RuntimeError, Sandbox, SandboxSpec, Session, Used,
};
use tokio::sync::mpsc;

use crate::runtime::Runtime;

/// A handle on the machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine(Arc<Mutex<Runtime>>);

impl Machine {
    pub fn new(runtime: Runtime) -> Self {
        Self(Arc::new(Mutex::new(runtime)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Runtime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine, if the pod's shim is there and answers.
    fn answering(&self, uid: &str) -> Result<MutexGuard<'_, Runtime>, RuntimeError> {
        let runtime = self.lock();
        match runtime.sandboxes.get(uid) {
            None => Err(RuntimeError::SandboxNotFound(uid.to_owned())),
            Some(sandbox) if !sandbox.alive => Err(RuntimeError::SandboxLost(uid.to_owned())),
            Some(sandbox) if sandbox.mute => {
                let source = io::Error::from(io::ErrorKind::TimedOut);
                Err(RuntimeError::Talk { pod_uid: uid.to_owned(), source })
            }
            Some(_) => Ok(runtime),
        }
    }
}

#[async_trait::async_trait]
impl Containers for Machine {
    async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError> {
        let mut runtime = self.lock();
        let mute = runtime.sandboxes.iter().filter(|(_, sandbox)| sandbox.mute);
        let mute: Vec<_> = mute.map(|(uid, _)| uid.clone()).collect();
        // As the real one does: what does not answer is killed.
        for uid in mute {
            runtime.lose(&uid);
        }
        Ok(runtime.sandboxes.values().map(|sandbox| sandbox.listed()).collect())
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox, RuntimeError> {
        match self.answering(&spec.pod_uid) {
            Err(RuntimeError::SandboxNotFound(_)) => {}
            Err(error) => return Err(error),
            Ok(runtime) => return Ok(runtime.sandboxes[&spec.pod_uid].listed()),
        }
        let mut runtime = self.lock();
        if runtime.chaos && runtime.random.one_in(30) {
            return Err(RuntimeError::CreateSandbox("no room".to_owned()));
        }
        Ok(runtime.create(spec))
    }

    async fn start_container(
        &self,
        pod_uid: &str,
        spec: &ContainerSpec,
    ) -> Result<Container, RuntimeError> {
        let mut runtime = self.answering(pod_uid)?;
        let image = spec.args.first().cloned().unwrap_or_default();
        let lost = || RuntimeError::SandboxLost(pod_uid.to_owned());
        runtime.start(pod_uid, spec, &image).ok_or_else(lost)
    }

    async fn resize(
        &self,
        pod_uid: &str,
        container_id: Option<&str>,
        resources: &Resources,
    ) -> Result<(), RuntimeError> {
        let mut runtime = self.lock();
        if runtime.chaos && runtime.random.one_in(6) {
            let source = io::Error::from(io::ErrorKind::ResourceBusy);
            return Err(RuntimeError::Resize { cgroup: pod_uid.to_owned(), source });
        }
        runtime.resize(pod_uid, container_id, resources);
        Ok(())
    }

    async fn signal(&self, pod_uid: &str, id: &str, signal: i32) -> Result<(), RuntimeError> {
        match self.answering(pod_uid) {
            Ok(mut runtime) => runtime.signal(pod_uid, id, signal),
            Err(RuntimeError::SandboxNotFound(_) | RuntimeError::SandboxLost(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn remove_container(&self, pod_uid: &str, id: &str) -> Result<(), RuntimeError> {
        let mut runtime = self.answering(pod_uid)?;
        if let Some(sandbox) = runtime.sandboxes.get_mut(pod_uid) {
            sandbox.containers.retain(|container| container.state.id != id);
        }
        Ok(())
    }

    async fn remove_sandbox(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let mut runtime = self.lock();
        if runtime.chaos && runtime.random.one_in(30) {
            let source = io::Error::from(io::ErrorKind::ResourceBusy);
            return Err(RuntimeError::Clean { what: "mounts".to_owned(), source });
        }
        runtime.remove(pod_uid);
        Ok(())
    }

    async fn exec(&self, uid: &str, _: &str, _: &ExecSpec) -> Result<Session, RuntimeError> {
        Err(RuntimeError::InvalidSpec(format!("nobody runs commands in {uid} here")))
    }

    async fn attach(&self, uid: &str, _: &str, _: &AttachSpec) -> Result<Session, RuntimeError> {
        Err(RuntimeError::InvalidSpec(format!("nobody attaches to {uid} here")))
    }

    async fn usage(&self, containers: Vec<(String, String)>) -> Reading {
        // Nothing runs here that could use anything.
        let used = Some(Used::default());
        Reading { all: used, containers: vec![used; containers.len()] }
    }

    fn written(&self, _: &str, _: &str) -> Option<PathBuf> {
        None
    }

    fn events(&self) -> EventReceiver {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().subscribers.push(sender);
        receiver
    }
}

fn unheard() -> io::Error {
    io::Error::from(io::ErrorKind::Unsupported)
}

impl Kernel for Machine {
    fn up(&self) -> Result<ClusterLink, NetworkError> {
        let range = Ipv4Net::new_assert(Ipv4Addr::new(10, 95, 0, 0), 24);
        Ok(ClusterLink {
            host_ip: Ipv4Addr::new(10, 244, 255, 1),
            node_ip: Ipv4Addr::new(10, 244, 255, 2),
            lb_range: range,
            mtu: 1500,
            netns: "/run/node".into(),
        })
    }

    fn down(&self) -> Result<(), NetworkError> {
        Ok(())
    }

    fn attach_pod(&self, pod: &PodLink) -> Result<(), NetworkError> {
        let mut runtime = self.lock();
        let is_there = runtime.sandboxes.get(&pod.uid).is_some_and(|sandbox| sandbox.alive);
        if !is_there || (runtime.chaos && runtime.random.one_in(30)) {
            let path = pod.netns.clone();
            return Err(NetworkError::Namespace { operation: "enter", path, source: unheard() });
        }
        runtime.links.insert(pod.uid.clone(), pod.ip);
        Ok(())
    }

    fn detach_pod(&self, pod_uid: &str) -> Result<(), NetworkError> {
        self.lock().links.remove(pod_uid);
        Ok(())
    }

    fn apply(&self, _: &ServiceMap, _: &PolicyTable) -> Result<(), NetworkError> {
        Ok(())
    }

    fn listen_tcp(&self, address: SocketAddr) -> Result<TcpListener, NetworkError> {
        Err(NetworkError::Listen { address, source: unheard() })
    }

    fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, NetworkError> {
        Err(NetworkError::Listen { address, source: unheard() })
    }

    fn connect_tcp(&self, address: SocketAddr, _: Duration) -> Result<TcpStream, NetworkError> {
        Err(NetworkError::Connect { address, source: unheard() })
    }

    fn connect_in(
        &self,
        _: &Path,
        address: SocketAddr,
        _: Duration,
    ) -> Result<TcpStream, NetworkError> {
        Err(NetworkError::Connect { address, source: unheard() })
    }
}
