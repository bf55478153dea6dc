//! Addresses, routed veth, service maps, cluster DNS, load balancer addresses.
