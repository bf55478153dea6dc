//! A pod's namespaces, and the files that all its containers get.

use std::fs;
use std::net::Ipv4Addr;

use coracle_runtime::{Resources, SandboxSpec};

use super::{Hands, machine};
use crate::pods::container::sandbox_spec;
use crate::pods::{files, is_on_host, runtime_class};
use crate::volumes::{VolumeError, failed};
use crate::worker::{Kept, SandboxFailure};

/// Names of the pod's files, and where containers find them.
pub(super) const POD_FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

impl Hands {
    pub(super) async fn create_sandbox(
        &self,
        number: u32,
        group: Resources,
    ) -> Result<coracle_runtime::Sandbox, SandboxFailure> {
        let (context, pod) = (&self.context, &self.pod);
        let refused = SandboxFailure::Refused;
        runtime_class::check(pod, &context.client.api.snapshot()).map_err(refused)?;
        let ip = match is_on_host(pod) {
            true => Some(context.link.node_ip),
            false => context.addresses.take(&self.id.uid, context.pod_cidr),
        };
        let ip = ip.ok_or_else(|| refused("no pod address is free".to_owned()))?;
        self.write_files(ip).map_err(|error| refused(error.to_string()))?;
        let kept = Kept::of_sandbox(number, ip);
        let logs = context.places.logs(&self.id);
        let spec = sandbox_spec(pod, self.hostname(), &context.link.netns, &logs, kept);
        let spec = SandboxSpec { resources: group, ..spec };
        machine::create(&*context.runtime, &spec).await
    }

    fn hostname(&self) -> String {
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        files::shown_hostname(&self.pod, &self.context.dns.domain, &machine)
    }

    /// The files that all containers of the pod get.
    pub(super) fn write_files(&self, ip: Ipv4Addr) -> Result<(), VolumeError> {
        let directory = self.context.places.files(&self.id.uid)?;
        let of_host = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let dns = &self.context.dns;
        let resolver = files::resolv_conf(&self.pod, dns, &of_host("/etc/resolv.conf"));
        let hosts = files::hosts(&self.pod, ip, &dns.domain, &of_host("/etc/hosts"));
        let hostname = format!("{}\n", self.hostname());
        for ((name, _), text) in POD_FILES.iter().zip([hosts, hostname, resolver]) {
            let file = directory.join(name);
            fs::write(&file, text).map_err(failed("write", &file))?;
        }
        Ok(())
    }
}
