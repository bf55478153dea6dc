//! Carrying steps out.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use coracle_network::PodLink;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{Message, Worker};
use crate::planner::{Note, ProbeKind, Step};
use crate::pods::container::{kept, sandbox_spec};
use crate::pods::{files, is_on_host, runtime_class};
use crate::stop::stop_signal;
use crate::tasks::blocking;
use crate::volumes::mounter::{MountError, MountedVolumes, Mounter, unmount_all};
use crate::volumes::{VolumeError, failed};
use crate::{dial, probe};

/// Names of the pod's files, and where containers find them.
pub(super) const POD_FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

const SIGKILL: i32 = 9;

/// How a [`Mounter`] is used.
type Mount = fn(Mounter<'_>, &Pod, &mut MountedVolumes) -> Result<(), MountError>;

/// A volume that is not in place.
pub(super) struct Failure {
    pub message: String,
    /// It will be, most probably, and in a moment.
    expected: bool,
}

impl Worker {
    pub(super) async fn act(&mut self, step: Step) {
        match step {
            Step::MountVolumes => self.mount_volumes().await,
            Step::CreateSandbox { number } => self.create_sandbox(number).await,
            Step::EnsureImage { container, attempt } => self.ensure_image(&container, attempt),
            Step::StartContainer { container, attempt, backoff_seconds, .. } => {
                self.start_container(&container, attempt, backoff_seconds).await;
            }
            Step::Probe { container, kind } => self.probe(&container, kind),
            Step::StopContainer { container, id, deadline } => {
                self.stop_container(&container, &id, deadline).await;
            }
            Step::KillContainer { container, id } => {
                self.signal(&container, &id, SIGKILL).await;
                self.seen.killed(&container, self.context.client.now());
            }
            Step::RemoveSandbox => self.remove_sandbox().await,
            Step::UnmountVolumes => self.unmount_volumes().await,
            Step::DeletePod { .. } | Step::Note(_) | Step::LookAgain(_) => {}
        }
    }

    async fn mount_volumes(&mut self) {
        let now = self.context.client.now();
        match self.mount_all().await {
            Ok(()) => self.seen.volumes_mounted(),
            Err(failure) => {
                // A claim is bound while its first pod is on its way; only a second look says
                // that something is wrong.
                let first = self.seen.volumes_failure.is_none();
                if !(first && failure.expected) {
                    self.note(Note::warning("FailedMount", failure.message.as_str()));
                }
                self.seen.volumes_failed(failure.message, now);
            }
        }
    }

    /// Puts in place what an earlier engine or the machine's end took; what runs does not suffer
    /// when it fails.
    pub(super) async fn mount_anew(&mut self) {
        self.mount_quietly(|mounter, pod, mounted| {
            Mounter { is_running: true, ..mounter }.mount(pod, mounted)
        })
        .await;
    }

    /// Writes the files anew that are made from objects.
    pub(super) async fn write_files_anew(&mut self) {
        self.mount_quietly(|mounter, pod, mounted| mounter.refresh(pod, mounted)).await;
    }

    async fn mount_quietly(&mut self, mount: Mount) {
        if let Err(failure) = self.mount_with(mount).await {
            self.note(Note::warning("FailedMount", failure.message));
        }
    }

    pub(super) async fn mount_all(&mut self) -> Result<(), Failure> {
        self.mount_with(|mounter, pod, mounted| mounter.mount(pod, mounted)).await
    }

    async fn mount_with(&mut self, mount: Mount) -> Result<(), Failure> {
        let denied = |message| Failure { message, expected: false };
        self.ask_for_tokens().await.map_err(denied)?;
        let (context, pod) = (self.context.clone(), self.pod.clone());
        let tokens: BTreeMap<_, _> =
            self.tokens.iter().map(|(key, token)| (key.clone(), token.value.clone())).collect();
        let (mounted, done) = blocking(move || {
            let snapshot = context.client.api.snapshot();
            let mounter = Mounter {
                places: &context.places,
                snapshot: &snapshot,
                allocatable: &context.allocatable,
                tokens: &tokens,
                is_running: false,
            };
            let mut mounted = MountedVolumes::new();
            let done = mount(mounter, &pod, &mut mounted).map_err(|error| Failure {
                message: error.to_string(),
                expected: matches!(error.source, VolumeError::Unbound(_)),
            });
            (mounted, done)
        })
        .await;
        self.volumes.extend(mounted);
        done
    }

    async fn create_sandbox(&mut self, number: u32) {
        let now = self.context.client.now();
        match self.try_sandbox(number).await {
            Ok(ip) => self.seen.sandbox_created(number, ip),
            Err(why) => {
                let message = format!("Failed to create pod sandbox: {why}");
                self.note(Note::warning("FailedCreatePodSandBox", message));
                self.seen.sandbox_failed(why, now);
            }
        }
    }

    async fn try_sandbox(&mut self, number: u32) -> Result<Option<Ipv4Addr>, String> {
        let context = self.context.clone();
        runtime_class::check(&self.pod, &context.client.api.snapshot())?;
        let on_host = is_on_host(&self.pod);
        let ip = match on_host {
            true => context.link.node_ip,
            false => context
                .addresses
                .take(&self.id.uid, context.pod_cidr)
                .ok_or("no pod address is free")?,
        };
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let hostname = files::shown_hostname(&self.pod, &context.dns.domain, &machine);
        self.write_files(ip, &hostname).map_err(|error| error.to_string())?;
        let annotations = BTreeMap::from([
            (kept::IP.to_owned(), ip.to_string()),
            (kept::SANDBOX.to_owned(), number.to_string()),
        ]);
        let logs = context.places.logs(&self.id);
        let netns = &context.link.netns;
        let spec = sandbox_spec(&self.pod, hostname, netns, &logs, annotations);
        let sandbox =
            context.runtime.create_sandbox(&spec).await.map_err(|error| error.to_string())?;
        if !on_host {
            let (uid, netns) = (self.id.uid.clone(), sandbox.network_namespace.clone());
            let kernel = context.kernel.clone();
            let attached = blocking(move || kernel.attach_pod(&PodLink { uid, netns, ip })).await;
            if let Err(error) = attached {
                context
                    .runtime
                    .remove_sandbox(&self.id.uid)
                    .await
                    .map_err(|error| error.to_string())?;
                return Err(error.to_string());
            }
        }
        self.sandbox = Some(sandbox);
        Ok(Some(ip))
    }

    fn write_files(&self, ip: Ipv4Addr, hostname: &str) -> Result<(), VolumeError> {
        let directory = self.context.places.files(&self.id.uid)?;
        let of_host = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let dns = &self.context.dns;
        let resolver = files::resolv_conf(&self.pod, dns, &of_host("/etc/resolv.conf"));
        let hosts = files::hosts(&self.pod, ip, &dns.domain, &of_host("/etc/hosts"));
        let hostname = format!("{hostname}\n");
        for ((name, _), text) in POD_FILES.iter().zip([hosts, hostname, resolver]) {
            let file = directory.join(name);
            fs::write(&file, text).map_err(failed("write", &file))?;
        }
        Ok(())
    }

    async fn signal(&self, container: &str, id: &str, signal: i32) {
        if let Err(error) = self.context.runtime.signal(&self.id.uid, id, signal).await {
            tracing::warn!(pod = %self.object.key(), container, signal, %error, "no signal");
        }
    }

    async fn stop_container(&mut self, name: &str, id: &str, deadline: Timestamp) {
        let container = self.spec_of(name).map(|(_, container)| container).unwrap_or_default();
        self.signal(name, id, stop_signal(&container, &self.context.images)).await;
        self.seen.stopping(name, deadline);
    }

    fn probe(&mut self, name: &str, kind: ProbeKind) {
        let Some((_, container)) = self.spec_of(name) else { return };
        let instance = self.seen.containers.get(name).and_then(|seen| seen.current.as_ref());
        let (Some(instance), Some(probe)) = (instance, kind.of(&container).cloned()) else {
            return;
        };
        let target = probe::Target {
            pod_uid: self.id.uid.clone(),
            container_id: instance.id.clone(),
            pod_ip: self.seen.sandbox.as_ref().and_then(|sandbox| sandbox.ip),
            container,
            dial: dial::from_node(&self.context.kernel),
        };
        let (runtime, outbox) = (self.context.runtime.clone(), self.outbox.clone());
        let (container, id) = (name.to_owned(), instance.id.clone());
        self.seen.probe_started(name, kind, self.context.client.now());
        self.context.tasks.spawn(async move {
            let outcome = probe::run(&*runtime, &target, &probe).await;
            // The pod may be gone by now.
            outbox.send(Message::Probed { container, kind, id, outcome }).unwrap_or_default();
        });
    }

    async fn remove_sandbox(&mut self) {
        let now = self.context.client.now();
        let (uid, kernel) = (self.id.uid.clone(), self.context.kernel.clone());
        let detached = blocking(move || kernel.detach_pod(&uid)).await;
        if let Err(error) = detached {
            tracing::warn!(pod = %self.object.key(), %error, "the pod's link is not removed");
        }
        match self.context.runtime.remove_sandbox(&self.id.uid).await {
            Ok(()) => {
                self.sandbox = None;
                self.context.addresses.give_back(&self.id.uid);
                self.seen.sandbox_removed(now);
            }
            Err(error) => {
                tracing::warn!(pod = %self.object.key(), %error, "the sandbox is not removed");
                tokio::time::sleep(super::API_AGAIN).await;
            }
        }
    }

    async fn unmount_volumes(&mut self) {
        let (context, uid) = (self.context.clone(), self.id.uid.clone());
        let done = blocking(move || unmount_all(&context.places, &uid)).await;
        match done {
            Ok(()) => {
                self.volumes.clear();
                self.tokens.clear();
                self.seen.volumes_ready = false;
                self.seen.volumes_failure = None;
            }
            Err(error) => {
                tracing::warn!(pod = %self.object.key(), %error, "a volume is not taken away");
                tokio::time::sleep(super::API_AGAIN).await;
            }
        }
    }

    /// Tells logs, exec and attach what there is.
    pub(super) fn show(&self) {
        self.context.show(&self.id, &self.seen, self.sandbox.as_ref());
    }
}
