//! Ranges of ports.

use coracle_api::warnings::POLICY_RULE_MAX;

use crate::services::Protocol;

/// Ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortRange {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    /// One port.
    pub fn one(protocol: Protocol, port: u16) -> Self {
        Self { protocol, first: port, last: port }
    }
}

/// The same ports in as few ranges as can be.
pub(super) fn merged(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut found: Vec<PortRange> = Vec::new();
    for range in ranges {
        let touches = |before: &PortRange| {
            before.protocol == range.protocol
                && u32::from(range.first) <= u32::from(before.last) + 1
        };
        match found.last_mut().filter(|before| touches(before)) {
            Some(before) => before.last = before.last.max(range.last),
            None => found.push(range),
        }
    }
    found.truncate(POLICY_RULE_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_touch_are_one_range() {
        let range = |protocol, first, last| PortRange { protocol, first, last };
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let ranges = vec![
            range(udp, 80, 80),
            range(tcp, 90, 95),
            range(tcp, 80, 85),
            range(tcp, 86, 89),
            range(tcp, 92, 93),
            range(tcp, 65_535, 65_535),
        ];
        assert_eq!(
            merged(ranges),
            [range(tcp, 80, 95), range(tcp, 65_535, 65_535), range(udp, 80, 80)]
        );
    }
}
