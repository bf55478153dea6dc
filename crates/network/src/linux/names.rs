//! What the cluster's interfaces and tables are called.

use std::path::Path;

/// Every host interface of any cluster begins so; the host's rules rely on it.
pub const LINK_PREFIX: &str = "cor-";

/// The node's end of the link to the host.
pub const UPLINK: &str = "host0";

/// A pod's interface, inside the pod.
pub const POD_INTERFACE: &str = "eth0";

/// The table inside the node.
pub const NODE_TABLE: &str = "coracle";

/// An interface name has at most 15 bytes.
const LONGEST: usize = 15;

/// The host's end of the cluster's link: the cluster's name, or a hash of one that is too long
/// or holds what an interface name cannot.
pub fn host_link(cluster: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if cluster.len() <= LONGEST - LINK_PREFIX.len() && cluster.bytes().all(plain) {
        format!("{LINK_PREFIX}{cluster}")
    } else {
        format!("{LINK_PREFIX}{:011x}", hash(cluster) >> 20)
    }
}

/// Whose link it is: where the cluster's network state is. The kernel keeps 255 bytes.
pub fn host_alias(state_dir: &Path) -> String {
    let place = state_dir.display().to_string();
    if place.len() < 240 {
        format!("cluster {place}")
    } else {
        format!("cluster {:x}", hash(&place))
    }
}

/// The cluster's nftables table on the host.
pub fn host_table(cluster: &str) -> String {
    format!("coracle-{cluster}")
}

/// The node's end of a pod's link.
pub fn pod_link(uid: &str) -> String {
    format!("p{:014x}", hash(uid) >> 8)
}

/// FNV-1a: stable across releases, for an engine must find the links of its predecessor.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_an_interface_and_tell_clusters_apart() {
        assert_eq!(host_link("coracle"), "cor-coracle");
        let long = host_link("a-cluster-with-a-long-name");
        assert_eq!(long.len(), LONGEST);
        assert_ne!(long, host_link("a-cluster-with-a-long-name-2"));
        assert_ne!(host_link("a/b"), "cor-a/b");
        assert_eq!(pod_link("a5a2a5a4-0000").len(), LONGEST);
        assert_ne!(pod_link("a"), pod_link("b"));
    }
}
