//! A store on a disk that fails: what was acknowledged is there, what was refused is not.

use std::collections::BTreeMap;

use coracle_api::Key;
use serde_json::{Value, json};

use crate::tests::{now, object};
use crate::{
    CommitError, DiskError, Expect, Failure, FaultyDisk, OpenError, Snapshot, Store, Transaction,
    Write,
};

/// Objects by name, with what is in them.
type Contents = BTreeMap<String, Value>;

fn contents(snapshot: &Snapshot) -> Contents {
    snapshot
        .list("pods", None)
        .map(|object| (object.key().name.to_string(), object.value()["data"].clone()))
        .collect()
}

/// The `step`-th transaction of a history: a few objects of 200 B to 10 kB that all carry the
/// step, and a deletion now and then.
fn transaction(step: u64) -> Transaction {
    let mut writes = Vec::new();
    for part in 0..1 + step % 3 {
        let name = format!("pod-{}", (step * 7 + part * 5) % 20);
        let padding = "x".repeat(200 + (step * 977 + part * 3571) as usize % 10_000);
        let data = json!({"step": step, "padding": padding});
        writes.push(Write::put(object("pods", &name, data), Expect::Any));
    }
    if step % 4 == 3 {
        let name = format!("pod-{}", step * 11 % 20);
        writes.push(Write::delete(Key::new("pods", "default", name), Expect::Any));
    }
    Transaction::of(writes)
}

/// What the next state would be.
fn applied(snapshot: &Snapshot, step: u64) -> Contents {
    contents(&snapshot.with(&transaction(step).writes).unwrap())
}

/// Runs a history on `disk` until it fails, cuts the power or kills the process, reopens and
/// compares. In words what is wrong, if anything.
fn check(disk: &FaultyDisk, steps: u64, power: bool) -> Result<(), String> {
    let (mut acknowledged, mut in_flight, mut revision) = (Contents::new(), None, 0);
    if let Ok(store) = Store::open_on(disk.clone()) {
        for step in 0..steps {
            let next = applied(&store.snapshot(), step);
            match now(store.commit(transaction(step))) {
                Ok(committed) => (acknowledged, revision) = (next, committed.revision),
                Err(_) => {
                    in_flight = Some(next);
                    break;
                }
            }
            if contents(&store.snapshot()) != acknowledged {
                return Err(format!("step {step}: memory is not what was acknowledged"));
            }
        }
    }
    if power {
        disk.power_on()
    } else {
        disk.restart()
    }
    let store = Store::open_on(disk.clone()).map_err(|error| error.to_string())?;
    let found = contents(&store.snapshot());
    if store.snapshot().revision() < revision {
        return Err(format!("revision {} < {revision}", store.snapshot().revision()));
    }
    // The last transaction was neither acknowledged nor refused before the crash.
    if found != acknowledged && Some(&found) != in_flight.as_ref() {
        return Err(format!("{} objects are not those acknowledged", found.len()));
    }
    now(store.commit(transaction(steps))).map_err(|error| error.to_string())?;
    Ok(())
}

/// A disk with a store, so that the crash hits a history and not its beginning.
fn prepared(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed);
    drop(Store::open_on(disk.clone()).unwrap());
    disk
}

#[test]
fn a_power_loss_at_any_operation_loses_nothing_acknowledged() {
    for seed in 0..160 {
        let disk = prepared(seed);
        disk.fail_after(seed, Failure::PowerLoss);
        check(&disk, 12, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn a_kill_at_any_operation_loses_nothing_acknowledged() {
    for seed in 0..80 {
        let disk = prepared(seed);
        disk.fail_after(seed, Failure::PowerLoss);
        check(&disk, 12, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn a_second_power_loss_while_recovering_loses_nothing_acknowledged() {
    for seed in 0..60 {
        let disk = prepared(seed);
        let store = Store::open_on(disk.clone()).unwrap();
        for step in 0..5 {
            now(store.commit(transaction(step))).unwrap();
        }
        let acknowledged = contents(&store.snapshot());
        let next = applied(&store.snapshot(), 5);
        disk.fail_after(seed % 13, Failure::PowerLoss);
        now(store.commit(transaction(5))).map(drop).unwrap_or_default();
        drop(store);
        disk.power_on();
        disk.fail_after(seed % 7, Failure::PowerLoss);
        drop(Store::open_on(disk.clone()));
        disk.power_on();
        let store = Store::open_on(disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = contents(&store.snapshot());
        assert!(found == acknowledged || found == next, "seed {seed}");
    }
}

/// Whoever trusts the checker above may ask whether it would notice.
#[test]
fn the_checker_finds_a_disk_that_does_not_sync() {
    let caught = (0..40).filter(|seed| {
        let disk = prepared(*seed);
        disk.skip_sync(true);
        disk.fail_after(40 + seed, Failure::PowerLoss);
        check(&disk, 12, true).is_err()
    });
    assert!(caught.count() > 30);
}

#[test]
fn after_a_failure_the_store_is_what_it_was_and_works_again() {
    for (seed, failure) in (0..60).flat_map(|seed| [(seed, Failure::Full), (seed, Failure::Io)]) {
        let disk = prepared(seed);
        let store = Store::open_on(disk.clone()).unwrap();
        for step in 0..4 {
            now(store.commit(transaction(step))).unwrap();
        }
        let before = store.snapshot();
        let mut watch = store.watch(before.revision()).unwrap();
        disk.fail_after(seed % 17, failure);
        let mut step = 4;
        let error = loop {
            match now(store.commit(transaction(step))) {
                Ok(_) => step += 1,
                Err(error) => break error,
            }
        };
        let CommitError::Disk(error) = error else { panic!("{error}") };
        assert_eq!(matches!(error, DiskError::Full), failure == Failure::Full, "{error}");
        let durable = contents(&store.snapshot());
        now(store.commit(transaction(step))).unwrap_err();
        assert_eq!(contents(&store.snapshot()), durable);

        disk.heal();
        now(store.commit(transaction(99))).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let healed = (contents(&store.snapshot()), store.snapshot().revision());
        let mut events = 0;
        while let Some(event) = watch.try_next().unwrap() {
            events += 1;
            assert_eq!(event.revision, before.revision() + events);
        }
        assert_eq!(before.revision() + events, healed.1);
        drop(store);
        disk.power_on();
        let store = Store::open_on(disk).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!((contents(&store.snapshot()), store.snapshot().revision()), healed);
    }
}

/// What a process saw after a failed flush is not what the disk has, and the next process sees it too.
#[test]
fn a_process_that_ends_on_a_failing_disk_leaves_nothing_for_a_power_loss() {
    for seed in 0..240 {
        let disk = prepared(seed);
        let store = Store::open_on(disk.clone()).unwrap();
        let failure = if seed % 2 == 0 { Failure::Io } else { Failure::Full };
        disk.fail_after(20 + seed % 41, failure);
        let broken = (0..12).find(|step| now(store.commit(transaction(*step))).is_err());
        let acknowledged = contents(&store.snapshot());
        let next = applied(&store.snapshot(), broken.unwrap_or(12));
        drop(store);
        disk.restart();
        let store = Store::open_on(disk.clone()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let found = contents(&store.snapshot());
        assert!(found == acknowledged || found == next, "seed {seed}");
        for step in 20..20 + seed % 7 {
            now(store.commit(transaction(step))).unwrap();
        }
        let acknowledged = contents(&store.snapshot());
        let next = applied(&store.snapshot(), 30);
        disk.fail_after(seed % 9, Failure::PowerLoss);
        now(store.commit(transaction(30))).map(drop).unwrap_or_default();
        drop(store);
        disk.power_on();
        let store = Store::open_on(disk).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let found = contents(&store.snapshot());
        assert!(found == acknowledged || found == next, "seed {seed}");
    }
}

/// redb gives space back after the flush that makes a commit durable, and that may fail too.
#[test]
fn a_commit_that_fails_when_it_is_durable_already_is_taken_back() {
    let put = |name: &str, bytes: usize| {
        let data = json!({"padding": "x".repeat(bytes)});
        Write::put(object("pods", name, data), Expect::Any)
    };
    let mut refused = 0;
    for after in 0..30 {
        let disk = prepared(after);
        let store = Store::open_on(disk.clone()).unwrap();
        now(store.commit(Transaction::of([put("large", 1 << 20)]))).unwrap();
        let delete = Write::delete(Key::new("pods", "default", "large"), Expect::Any);
        now(store.commit(Transaction::of([delete]))).unwrap();
        disk.fail_after(after, Failure::Io);
        // Which of these the failure hits, and when, is what `after` tries.
        for step in 0..6 {
            let before = contents(&store.snapshot());
            if now(store.commit(Transaction::of([put("small", step + 1)]))).is_err() {
                refused += 1;
                assert_eq!(contents(&store.snapshot()), before);
                break;
            }
        }
        disk.heal();
        let committed = now(store.commit(Transaction::of([put("last", 1)])));
        let revision = committed.unwrap_or_else(|e| panic!("after {after}: {e}")).revision;
        let healed = contents(&store.snapshot());
        drop(store);
        disk.power_on();
        let store = Store::open_on(disk).unwrap_or_else(|e| panic!("after {after}: {e}"));
        assert_eq!((contents(&store.snapshot()), store.snapshot().revision()), (healed, revision));
    }
    assert!(refused > 10, "{refused}");
}

/// A closed store of a few hundred kilobytes, as bytes.
fn closed_store() -> (Vec<u8>, Contents) {
    let disk = FaultyDisk::new(0);
    let store = Store::open_on(disk.clone()).unwrap();
    for step in 0..30 {
        now(store.commit(transaction(step))).unwrap();
    }
    let contents = contents(&store.snapshot());
    store.close();
    (disk.bytes(), contents)
}

#[test]
fn damage_is_refused_or_harmless_but_never_a_loss() {
    let (bytes, contents_before) = closed_store();
    let mut refused = 0;
    for position in (0..bytes.len()).step_by(4021).chain((0..320).step_by(2)) {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x40;
        let disk = FaultyDisk::holding(bytes.clone(), 0);
        match Store::open_on(disk.clone()) {
            Ok(store) => {
                assert_eq!(contents(&store.snapshot()), contents_before, "byte {position}");
            }
            Err(error) => {
                refused += 1;
                assert!(disk.bytes() == bytes, "byte {position} changed by: {error}");
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_truncated_or_foreign_file_is_refused() {
    let (bytes, _) = closed_store();
    let mut candidates = vec![b"#!/bin/sh\necho no store\n".repeat(400)];
    candidates
        .extend([1, 100, 4096, bytes.len() / 2, bytes.len() - 1].map(|n| bytes[..n].to_vec()));
    for bytes in candidates {
        let length = bytes.len();
        let error = Store::open_on(FaultyDisk::holding(bytes, 0)).unwrap_err();
        assert!(!matches!(error, OpenError::Locked { .. }), "{length}: {error}");
    }
}
