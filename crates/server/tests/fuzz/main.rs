//! Fuzzers: what may be written into schemas, expressions, patches and the answers of conversion
//! webhooks is made up for a while, mostly right and never quite, and played to the API.
//!
//! `FUZZ_SECONDS` says how long each goes on, `FUZZ_SEED` which single case is played: that which a
//! failure names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a failed unwrap is the assertion")]

mod choices;
mod conversions;
mod definitions;
mod expressions;
mod harness;
mod patches;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use choices::Choices;

/// How long a fuzzer goes on when nobody says.
const SECONDS: u64 = 20;
/// What takes longer takes for ever.
const HANGS: Duration = Duration::from_secs(120);

/// Plays cases, each with another seed, until the time is over.
fn play(name: &str, case: impl Fn(&mut Choices)) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("FUZZ_SEED") {
        return case(&mut Choices::new(seed));
    }
    let end = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(SECONDS));
    let first = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let first = u64::try_from(first).unwrap() << 20;
    let (now, is_over) = (Mutex::new((first, Instant::now())), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| watch(name, &now, &is_over));
        for seed in (first..).take_while(|_| Instant::now() < end) {
            *now.lock().unwrap() = (seed, Instant::now());
            let played = catch_unwind(AssertUnwindSafe(|| case(&mut Choices::new(seed))));
            if let Err(panic) = played {
                is_over.store(true, Ordering::Relaxed);
                eprintln!("{name}: FUZZ_SEED={seed} plays this case again");
                resume_unwind(panic);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let (last, _) = *now.lock().unwrap();
        eprintln!("{name}: {} cases", last - first + 1);
    });
}

/// A case that never ends would say nothing of itself.
fn watch(name: &str, now: &Mutex<(u64, Instant)>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
        let (seed, since) = *now.lock().unwrap();
        if since.elapsed() > HANGS {
            eprintln!("{name}: FUZZ_SEED={seed} does not end");
            std::process::abort();
        }
    }
}

#[test]
fn definitions_and_their_objects() {
    play("definitions", definitions::case);
}

#[test]
fn expressions_and_their_values() {
    play("expressions", expressions::case);
}

#[test]
fn patches_of_objects() {
    play("patches", patches::case);
}

#[test]
fn answers_of_conversion_webhooks() {
    play("conversions", conversions::case);
}
