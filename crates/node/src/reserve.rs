//! What pods may take of the machine, all together: never the whole of it.

use std::fs;

use coracle_runtime::Resources;

/// Left to the machine and the engine, of memory: a tenth, but not less and not more than this.
const MEMORY: (i64, i64) = (128 << 20, 1 << 30);

/// Left of the numbers for processes: a tenth, and at least this many.
const PROCESSES: i64 = 1024;

/// The machine's memory in bytes; 0 when it does not tell.
pub(crate) fn memory_of_machine() -> i64 {
    meminfo("MemTotal:")
}

/// What pods may have of so many bytes.
pub(crate) fn memory_for_pods(total: i64) -> i64 {
    (total - (total / 10).clamp(MEMORY.0, MEMORY.1)).max(total / 2)
}

/// Limits of the control group of all pods on this machine.
#[must_use]
pub fn limits_of_all_pods() -> Resources {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<i64>().ok();
    let most = number("/proc/sys/kernel/pid_max").into_iter();
    limits(memory_of_machine(), most.chain(number("/proc/sys/kernel/threads-max")).min())
}

fn limits(memory: i64, processes: Option<i64>) -> Resources {
    let memory_limit = u64::try_from(memory_for_pods(memory)).ok().filter(|bytes| *bytes > 0);
    let for_pods = |most: i64| (most - (most / 10).max(PROCESSES)).max(most / 2);
    Resources { memory_limit, pids_limit: processes.map(for_pods), ..Resources::default() }
}

/// Bytes of a line of `/proc/meminfo`.
pub(crate) fn meminfo(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_keeps_a_reserve_whatever_its_size() {
        let gib = 1 << 30;
        assert_eq!(memory_for_pods(24 * gib), 23 * gib);
        assert_eq!(memory_for_pods(4 * gib), 4 * gib - 4 * gib / 10);
        assert_eq!(memory_for_pods(gib), gib - (128 << 20));
        assert_eq!(memory_for_pods(200 << 20), 100 << 20, "and pods at least a half");
        assert_eq!(limits(gib, Some(32_768)).pids_limit, Some(32_768 - 3276));
        assert_eq!(limits(0, None), Resources::default());
    }
}
