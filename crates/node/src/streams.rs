//! Logs, exec, attach, port-forward and proxied requests, as the API server asks for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::Status;
use coracle_api::resources::{NODES, PODS};
use coracle_runtime::{AttachSpec, ExecSpec, RuntimeError};
use coracle_server::Duplex;
use coracle_server::{ExecOptions, LogOptions, NodeStreams, Session, TerminalSize};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, oneshot};

use crate::context::Context;
use crate::dial;
use crate::logs;
use crate::planner::find_container;
use crate::pods::{PodId, is_on_host};
use crate::simulated::is_simulated;
use crate::tasks::blocking;

/// How long a connection to a pod's port may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Chunks of a log on their way to a client that reads slowly.
const LOG_CHUNKS: usize = 16;

/// The node, as the server sees it.
pub(crate) struct Streams(pub Arc<Context>);

impl Streams {
    fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>, Status> {
        let snapshot = self.0.client.api.snapshot();
        let object = snapshot.find(PODS, namespace, name);
        let kinds = self.0.client.api.kinds();
        let missing = || match kinds.stored(PODS) {
            Some(kind) => Status::not_found(kind, name),
            None => Status::no_such_path(),
        };
        let pod = object.ok_or_else(missing)?.view::<Pod>().map_err(Status::internal)?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if node.unwrap_or_default().is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let node = node.and_then(|node| snapshot.find(NODES, "", node));
        if let Some(node) = node.filter(|node| is_simulated(node)) {
            let node = &node.metadata().name;
            return Err(Status::bad_request(format!(
                "pod {name} is on {node}, which is simulated: it has no processes, no logs \
                 and no network"
            )));
        }
        Ok(pod)
    }

    /// The container's ID, when it runs.
    fn running(&self, pod: &Pod, options: &ExecOptions) -> Result<(PodId, String), Status> {
        let container = container_name(pod, &options.container)?;
        let id = PodId::of(pod);
        let running = self.0.shown.get(&id.uid).and_then(|shown| {
            let found = shown.containers.get(&container)?.current.clone()?;
            found.running.then_some(found.id)
        });
        running.map(|found| (id, found)).ok_or_else(|| not_running(&container))
    }
}

/// The named container, or the only one; upstream's words otherwise.
fn container_name(pod: &Pod, wanted: &str) -> Result<String, Status> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let names = |list: &[k8s_openapi::api::core::v1::Container]| {
        list.iter().map(|container| container.name.clone()).collect::<Vec<_>>()
    };
    let (app, init) = (names(&spec.containers), names(&spec.init_containers.unwrap_or_default()));
    if !wanted.is_empty() {
        if find_container(pod, wanted).is_some() {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")));
    }
    if let [only] = &app[..]
        && init.is_empty()
    {
        return Ok(only.clone());
    }
    if let [only] = &app[..] {
        // kubectl names it itself; other clients mean it.
        return Ok(only.clone());
    }
    let mut message = format!(
        "a container name must be specified for pod {name}, choose one of: [{}]",
        app.join(" ")
    );
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    Err(Status::bad_request(message))
}

/// Why the container has not started, as its status says.
fn waiting_reason(pod: &Pod, container: &str) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let lists = [
        status.container_statuses,
        status.init_container_statuses,
        status.ephemeral_container_statuses,
    ];
    let found = lists.into_iter().flatten().flatten().find(|status| status.name == container);
    let waiting = found.and_then(|status| status.state?.waiting?.reason);
    waiting.unwrap_or_else(|| "ContainerCreating".to_owned())
}

#[async_trait]
impl NodeStreams for Streams {
    async fn logs(
        &self,
        namespace: &str,
        name: &str,
        options: LogOptions,
    ) -> Result<mpsc::Receiver<Bytes>, Status> {
        let pod = self.pod(namespace, name)?;
        let container = container_name(&pod, &options.container)?;
        let id = PodId::of(&pod);
        let shown = self.0.shown.get(&id.uid).and_then(|it| it.containers.get(&container).cloned());
        let shown = shown.unwrap_or_default();
        let run = if options.previous { shown.previous } else { shown.current };
        let Some(run) = run else {
            let message = match options.previous {
                true => {
                    format!(
                        "previous terminated container \"{container}\" in pod \"{name}\" not found"
                    )
                }
                false => {
                    let reason = waiting_reason(&pod, &container);
                    format!(
                        "container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"
                    )
                }
            };
            return Err(Status::bad_request(message));
        };
        let path = self.0.places.logs(&id).join(&container).join(format!("{}.log", run.attempt));
        let (out, receiver) = mpsc::channel(LOG_CHUNKS);
        let (context, uid) = (Arc::clone(&self.0), id.uid);
        let is_over = move || {
            let now = context.shown.get(&uid);
            let now = now.and_then(|it| it.containers.get(&container)?.current.clone());
            now.is_none_or(|now| now.id != run.id || !now.running)
        };
        self.0.tasks.spawn(async move {
            if let Err(error) = logs::stream(path, options, is_over, out).await {
                tracing::warn!(%error, "a log cannot be read");
            }
        });
        Ok(receiver)
    }

    async fn exec(
        &self,
        namespace: &str,
        name: &str,
        options: ExecOptions,
    ) -> Result<Session, Status> {
        let pod = self.pod(namespace, name)?;
        let (id, container) = self.running(&pod, &options)?;
        let spec = ExecSpec {
            args: options.command.clone(),
            tty: options.tty,
            stdin: options.stdin,
            timeout: None,
        };
        let session = self.0.runtime.exec(&id.uid, &container, &spec).await;
        let session = session.map_err(|error| refused(error, &pod, &options))?;
        Ok(self.session(session, &options))
    }

    async fn attach(
        &self,
        namespace: &str,
        name: &str,
        options: ExecOptions,
    ) -> Result<Session, Status> {
        let pod = self.pod(namespace, name)?;
        let (id, container) = self.running(&pod, &options)?;
        let ExecOptions { stdin, stdout, stderr, .. } = options;
        let spec = AttachSpec { stdin, stdout, stderr };
        let session = self.0.runtime.attach(&id.uid, &container, &spec).await;
        let session = session.map_err(|error| refused(error, &pod, &options))?;
        Ok(self.session(session, &options))
    }

    async fn connect(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<Box<dyn Duplex>, Status> {
        let pod = self.pod(namespace, name)?;
        let id = PodId::of(&pod);
        let netns = self.0.shown.get(&id.uid).and_then(|shown| shown.netns);
        let netns = netns.ok_or_else(|| {
            let why = "unable to upgrade connection: pod not running";
            Status::internal(format!("{why}; current phase is {}", phase(&pod)))
        })?;
        let kernel = Arc::clone(&self.0.kernel);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = blocking(move || kernel.connect_in(&netns, address, CONNECT)).await;
        let stream = stream.map_err(|error| {
            let why = format!("failed to connect to localhost:{port} inside the pod: {error}");
            Status::failure(500, "InternalError", why)
        })?;
        stream.set_nonblocking(true).map_err(Status::internal)?;
        let stream = tokio::net::TcpStream::from_std(stream).map_err(Status::internal)?;
        Ok(Box::new(stream))
    }

    async fn door(&self, node: &str, path: &str) -> Result<(&'static str, Bytes), Status> {
        if node != self.0.config.name {
            let message =
                format!("node {node} has no machine here, and no kubelet that would answer");
            return Err(Status::failure(503, "ServiceUnavailable", message));
        }
        self.0.door(path).await
    }

    async fn reach(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
        tls: bool,
    ) -> Result<Box<dyn Duplex>, Status> {
        let pod = self.pod(namespace, name)?;
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        // A status says what somebody wrote into it.
        let (pods, node) = (self.0.pod_cidr, self.0.link.node_ip);
        let ip = ip.filter(|ip: &Ipv4Addr| pods.contains(ip) || is_on_host(&pod) && *ip == node);
        let ip = ip.ok_or_else(|| Status::bad_request("address not allowed"))?;
        let address = SocketAddr::from((ip, port));
        let refused = |why| {
            let why = format!("error trying to reach service: {why}");
            Status::failure(503, "ServiceUnavailable", why)
        };
        // As a kubelet's own traffic: no policy keeps a pod from its node.
        let node = dial::from_node(&self.0.kernel);
        let stream = dial::tcp_by(&node, address, CONNECT).await.map_err(refused)?;
        Ok(match tls {
            true => Box::new(dial::tls(address, stream).await.map_err(refused)?),
            false => Box::new(stream),
        })
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown")
}

fn not_running(container: &str) -> Status {
    Status::internal(format!("unable to upgrade connection: container not found (\"{container}\")"))
}

/// A command that is not there ends like one that failed: kubectl shows the sentence. A container
/// or pod that ended meanwhile is like one that never was.
fn refused(error: RuntimeError, pod: &Pod, options: &ExecOptions) -> Status {
    match error {
        RuntimeError::Start(error) => Status::internal(error),
        RuntimeError::ContainerNotFound(_)
        | RuntimeError::ContainerNotRunning(_)
        | RuntimeError::SandboxNotFound(_)
        | RuntimeError::SandboxLost(_) => match container_name(pod, &options.container) {
            Ok(container) => not_running(&container),
            Err(status) => status,
        },
        error => Status::internal(error),
    }
}

impl Streams {
    /// The runtime's session, with the channels that the server knows.
    fn session(&self, session: coracle_runtime::Session, options: &ExecOptions) -> Session {
        let (mut exit, receiver) = oneshot::channel();
        let ended = session.exit;
        self.0.tasks.spawn(async move {
            tokio::select! {
                end = ended => {
                    let end = match end {
                        Ok(end) => end.map_err(|error| error.to_string()),
                        Err(_) => Err("the shim is gone".to_owned()),
                    };
                    // The client may have left meanwhile.
                    exit.send(end).unwrap_or_default();
                }
                // Dropping the runtime's side ends a command that nobody waits for.
                () = exit.closed() => {}
            }
        });
        let resize = session.resize.map(|resize| {
            let (sender, mut sizes) = mpsc::channel::<TerminalSize>(4);
            self.0.tasks.spawn(async move {
                while let Some(TerminalSize { width, height }) = sizes.recv().await {
                    let size = coracle_runtime::TerminalSize { columns: width, rows: height };
                    if resize.send(size).is_err() {
                        break;
                    }
                }
            });
            sender
        });
        Session {
            stdin: session.stdin.filter(|_| options.stdin),
            stdout: session.stdout.filter(|_| options.stdout),
            stderr: session.stderr.filter(|_| options.stderr && !options.tty),
            resize,
            exit: receiver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_are_chosen_or_asked_for() {
        let pod = |containers: &[&str], init: &[&str]| -> Pod {
            let list =
                |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec":
                {"containers": list(containers), "initContainers": list(init)}}))
            .unwrap()
        };
        let name = |pod: Pod, wanted: &str| container_name(&pod, wanted).map_err(|it| it.message);
        assert_eq!(name(pod(&["a"], &[]), ""), Ok("a".into()));
        assert_eq!(name(pod(&["a"], &["i"]), "i"), Ok("i".into()));
        assert_eq!(
            name(pod(&["a", "b"], &["i"]), ""),
            Err("a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]".into())
        );
        assert_eq!(name(pod(&["a"], &[]), "c"), Err("container c is not valid for pod p".into()));
    }
}
