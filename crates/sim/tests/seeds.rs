//! What every run of the tests tries; `make sim` tries many more seeds.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]

use coracle_sim::{Bug, Failure, Options, run};

/// Seeds that must hold here.
const SEEDS: u64 = 16;
/// Within so many seeds, each planted bug must be caught: most show in the first twenty.
const CAUGHT_WITHIN: u64 = 200;

#[test]
fn one_seed_is_one_history() {
    let options = Options { steps: 400, ..Options::default() };
    let (first, second) = (run(11, &options), run(11, &options));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_ne!(run(11, &options).unwrap().hash, run(12, &options).unwrap().hash);
}

fn hold(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(failure) = run(seed, &Options::default()) {
            panic!("{failure}");
        }
    }
}

#[test]
fn half_of_the_seeds_hold() {
    hold(0..SEEDS / 2);
}

#[test]
fn the_other_half_holds_too() {
    hold(SEEDS / 2..SEEDS);
}

/// The first failure with the bug in place.
fn caught(bug: Bug) -> Box<Failure> {
    let options = Options { bug: Some(bug), ..Options::default() };
    let failure = (0..CAUGHT_WITHIN).find_map(|seed| run(seed, &options).err());
    failure.unwrap_or_else(|| panic!("{bug:?} went unnoticed for {CAUGHT_WITHIN} seeds"))
}

#[test]
fn an_ignored_precondition_is_caught() {
    let what = caught(Bug::PreconditionIgnored).what;
    let wrong = ["was created", "was deleted", "was replaced", "deletes", "stuck"];
    assert!(wrong.iter().any(|it| what.contains(it)), "{what}");
}

#[test]
fn a_surge_that_is_ignored_is_caught() {
    let what = caught(Bug::SurgeIgnored).what;
    assert!(what.contains("and may have"), "{what}");
}

#[test]
fn a_new_pod_beside_an_old_one_of_a_set_that_is_recreated_is_caught() {
    let what = caught(Bug::OldBesideNew).what;
    assert!(what.contains("of another revision"), "{what}");
}

#[test]
fn a_job_that_counts_twice_after_a_kill_is_caught() {
    let what = caught(Bug::CountedTwice).what;
    let wrong = ["succeeded is", "failed is", "done already"];
    assert!(wrong.iter().any(|it| what.contains(it)), "{what}");
}

#[test]
fn a_cron_job_that_starts_twice_after_a_restart_is_caught() {
    let what = caught(Bug::StartForgotten).what;
    // What decides on another object than the stored one outruns also who suspends it.
    let wrong = ["was started twice", "a CronJob that is suspended"];
    assert!(wrong.iter().any(|it| what.contains(it)), "{what}");
}

#[test]
fn a_dropped_precondition_of_a_later_step_is_caught() {
    let what = caught(Bug::StepPreconditionDropped).what;
    let wrong = ["was created", "was deleted", "was replaced", "deletes", "stuck"];
    assert!(wrong.iter().any(|it| what.contains(it)), "{what}");
}

#[test]
fn a_left_out_order_is_caught() {
    let what = caught(Bug::OrderIgnored).what;
    assert!(what.contains("was not ready") || what.contains("a higher one was there"), "{what}");
}

#[test]
fn a_skipped_flush_is_caught() {
    let what = caught(Bug::FlushSkipped).what;
    let wrong = ["lost", "acknowledged", "store", "cannot open the disk"];
    assert!(wrong.iter().any(|it| what.contains(it)), "{what}");
}

#[test]
fn a_pod_started_beside_an_earlier_one_of_its_name_is_caught() {
    let what = caught(Bug::SideBySide).what;
    assert!(what.contains("run at once"), "{what}");
}

#[test]
fn an_effect_done_twice_after_a_kill_is_caught() {
    let what = caught(Bug::DoneTwice).what;
    assert!(what.contains("runs twice"), "{what}");
}

#[test]
fn a_node_that_is_promised_twice_is_caught() {
    let what = caught(Bug::PromisedTwice).what;
    assert!(what.contains("was promised"), "{what}");
}

#[test]
fn an_index_that_is_not_updated_is_caught() {
    caught(Bug::IndexStale);
}

#[test]
fn a_pod_removed_before_its_containers_is_caught() {
    let what = caught(Bug::ObjectFirst).what;
    assert!(what.contains("was removed while its containers ran"), "{what}");
}

#[test]
fn a_certificate_that_nobody_approved_is_caught() {
    let what = caught(Bug::SignedUnapproved).what;
    assert!(what.contains("was signed"), "{what}");
}

#[test]
fn a_request_that_is_cleaned_away_too_early_is_caught() {
    let what = caught(Bug::CleanedEarly).what;
    assert!(what.contains("too early"), "{what}");
}

#[test]
fn a_webhook_that_is_gone_and_ignored_is_caught() {
    let what = caught(Bug::FailureIgnored).what;
    assert!(what.contains("which is gone: true"), "{what}");
}

#[test]
fn an_autoscaler_that_is_too_fast_is_caught() {
    let what = caught(Bug::PaceForgotten).what;
    assert!(what.contains("may only go from"), "{what}");
}

#[test]
fn an_autoscaler_that_goes_too_far_is_caught() {
    let what = caught(Bug::BoundsIgnored).what;
    assert!(what.contains("no autoscaler allows"), "{what}");
}

#[test]
fn a_pod_that_makes_room_for_its_equal_is_caught() {
    let what = caught(Bug::WaitingFavoured).what;
    assert!(what.contains("made room for one of"), "{what}");
}

#[test]
fn a_place_that_is_kept_and_given_away_is_caught() {
    let what = caught(Bug::PlaceGivenAway).what;
    assert!(what.contains("are taken") || what.contains("too many made room"), "{what}");
}

#[test]
fn a_budget_that_is_broken_in_vain_is_caught() {
    let what = caught(Bug::BudgetsIgnored).what;
    assert!(what.contains("had others that no budget guards"), "{what}");
}
