//! What the pipeline must know of the cluster it serves.

use coracle_api::addresses::Outside;
use ipnet::Ipv4Net;

/// What the pipeline must know of the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where ClusterIPs come from.
    pub services: Ipv4Net,
    /// `cluster.local`
    pub domain: String,
    /// What Services may answer on beside what the cluster gives them.
    pub outside: Outside,
}

impl Default for Cluster {
    fn default() -> Self {
        #[allow(clippy::expect_used, reason = "a constant")]
        let services = Ipv4Net::new([10, 96, 0, 0].into(), 12).expect("12 is a prefix length");
        Self { services, domain: "cluster.local".into(), outside: Outside::default() }
    }
}
