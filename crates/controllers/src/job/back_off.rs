//! How long a job waits after failures before it tries again.

use coracle_api::{Timestamp, time};

use super::spec::Job;
use super::tally::{ended_at, failures_before, has_failed, ignored_before, index};
use crate::workload::replica::Replica;

/// Seconds after the first failure; each next one in a row doubles them.
const FIRST: i64 = 10;
/// Seconds that are waited at most.
const MOST: i64 = 600;

fn wait(failures: u32) -> i64 {
    match failures.checked_sub(1) {
        None => 0,
        Some(doublings) => FIRST.saturating_mul(2_i64.saturating_pow(doublings)).min(MOST),
    }
}

/// When the next pod may be made, by the failures since the last success among the pods that there
/// are.
pub(super) fn next_try(job: &Job, pods: &[Replica]) -> Option<Timestamp> {
    let succeeded = pods.iter().filter(|pod| pod.phase() == "Succeeded").map(ended_at).max();
    let since = |at: &Timestamp| succeeded.is_none_or(|succeeded| *at > succeeded);
    let failures: Vec<_> =
        pods.iter().filter(|pod| has_failed(job, pod)).map(ended_at).filter(since).collect();
    let count = u32::try_from(failures.len()).unwrap_or(u32::MAX);
    Some(time::after(failures.into_iter().max()?, wait(count)))
}

/// When the next pod of an index may be made.
pub(super) fn next_try_of(job: &Job, pods: &[Replica], of: i64) -> Option<Timestamp> {
    let last = last_failed(job, pods, of)?;
    let before = failures_before(last).saturating_add(ignored_before(last));
    let count = u32::try_from(before.saturating_add(1)).unwrap_or(u32::MAX);
    Some(time::after(ended_at(last), wait(count)))
}

/// The pod of an index that failed last.
pub(super) fn last_failed<'a>(job: &Job, pods: &'a [Replica], of: i64) -> Option<&'a Replica> {
    let failed = pods.iter().filter(|pod| index(job, pod) == Some(of) && has_failed(job, pod));
    failed.max_by_key(|pod| failures_before(pod).saturating_add(ignored_before(pod)))
}
