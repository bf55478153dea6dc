//! The files that every container gets: hosts, host name, resolver.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Pod;

use super::is_on_host;

/// Longest host name.
const HOSTNAME_MAX: usize = 63;

/// What the cluster's DNS is.
#[derive(Clone, Debug)]
pub(crate) struct ClusterDns {
    pub address: Ipv4Addr,
    pub domain: String,
}

/// The pod's host name, short.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let own = spec.and_then(|spec| spec.hostname_override.as_ref().or(spec.hostname.as_ref()));
    let name = own.or(pod.metadata.name.as_ref()).cloned().unwrap_or_default();
    name.chars().take(HOSTNAME_MAX).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

/// `HOST.SUBDOMAIN.NAMESPACE.svc.DOMAIN`, when the pod is in a subdomain.
pub(crate) fn fqdn(pod: &Pod, domain: &str) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|it| !it.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref()?;
    Some(format!("{}.{subdomain}.{namespace}.svc.{domain}", hostname(pod)))
}

/// What `hostname` prints in the pod: on the host's network, the name of the `machine`.
pub(crate) fn shown_hostname(pod: &Pod, domain: &str, machine: &str) -> String {
    if is_on_host(pod) {
        return machine.trim_end().to_owned();
    }
    let as_fqdn = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    fqdn(pod, domain).filter(|_| as_fqdn).unwrap_or_else(|| hostname(pod))
}

/// `/etc/hosts`: on the host's network, the `host`'s own.
pub(crate) fn hosts(pod: &Pod, ip: Ipv4Addr, domain: &str, host: &str) -> String {
    let mut text = match is_on_host(pod) {
        true => format!("# Kubernetes-managed hosts file (host network).\n{host}"),
        false => pod_hosts(pod, ip, domain),
    };
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref());
    let aliases = aliases.unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

fn pod_hosts(pod: &Pod, ip: Ipv4Addr, domain: &str) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        fe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\n\
        fe00::2\tip6-allrouters\n"
        .to_owned();
    let short = hostname(pod);
    match fqdn(pod, domain) {
        Some(full) => text.push_str(&format!("{ip}\t{full}\t{short}\n")),
        None => text.push_str(&format!("{ip}\t{short}\n")),
    }
    text
}

/// The lines of a resolver file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => parsed.servers.extend(words.next().map(str::to_owned)),
                Some("search") => parsed.searches = words.map(str::to_owned).collect(),
                Some("options") => parsed.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        parsed
    }

    fn print(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// `/etc/resolv.conf`, from the pod's DNS policy, the cluster's DNS and the `host`'s file.
pub(crate) fn resolv_conf(pod: &Pod, dns: &ClusterDns, host: &str) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let mut resolver = match policy {
        "None" => Resolver::default(),
        "ClusterFirst" if is_on_host(pod) => Resolver::parse(host),
        "ClusterFirst" | "ClusterFirstWithHostNet" => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let domain = &dns.domain;
            let own =
                [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            let hosts = Resolver::parse(host).searches;
            Resolver {
                servers: vec![dns.address.to_string()],
                searches: own.into_iter().chain(hosts).collect(),
                options: vec!["ndots:5".to_owned()],
            }
        }
        _ => Resolver::parse(host),
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        add(&mut resolver.servers, config.nameservers.as_deref());
        add(&mut resolver.searches, config.searches.as_deref());
        for option in config.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            let line = match option.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            };
            resolver.options.retain(|known| known.split(':').next() != Some(name));
            resolver.options.push(line);
        }
    }
    resolver.print()
}

fn add(list: &mut Vec<String>, more: Option<&[String]>) {
    for item in more.into_iter().flatten() {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}
