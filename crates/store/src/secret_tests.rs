//! Secrets are not in the file, are there after every crash, and are not given up without their key.

use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::json;

use crate::disk::FileDisk;
use crate::keyring::KeyFile;
use crate::tests::{now, object};
use crate::{Expect, Failure, FaultyDisk, OpenError, Store, Transaction, Write};

const WORD: &str = "correct-horse-battery-staple";

fn put(resource: &str, name: &str) -> Transaction {
    let data = json!({"word": format!("{WORD} of {name}")});
    Transaction::of(vec![Write::put(object(resource, name, data), Expect::Any)])
}

fn holds(store: &Store, name: &str) -> bool {
    let snapshot = store.snapshot();
    let found = snapshot.find("secrets", "default", name);
    found.is_some_and(|found| found.value()["data"]["word"] == format!("{WORD} of {name}"))
}

fn shows(path: &Path, text: &str) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// A store as an engine before this one wrote it.
fn in_clear(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    let store = Store::open_on(FileDisk::new(file).unwrap()).unwrap();
    now(store.commit(put("secrets", "old"))).unwrap();
    store.close();
    drop(store);
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
        let mut meta = transaction.open_table(meta).unwrap();
        meta.insert("format", 1u64.to_le_bytes().as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// Whether every record of a Secret in the file is sealed.
fn is_sealed(path: &Path) -> bool {
    let database = Database::open(path).unwrap();
    let table: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("objects");
    let table = database.begin_read().unwrap().open_table(table).unwrap();
    let all: Vec<u8> = table
        .iter()
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|(place, _)| place.value().0 == "secrets")
        .map(|(_, record)| record.value()[12])
        .collect();
    !all.is_empty() && all.iter().all(|mark| *mark == 1)
}

#[test]
fn the_file_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    now_on_thread(&store, put("secrets", "a"));
    now_on_thread(&store, put("configmaps", "b"));
    store.close();
    assert!(shows(&path, &format!("{WORD} of b")) && !shows(&path, &format!("{WORD} of a")));
    assert!(holds(&Store::open(&path).unwrap(), "a"));
}

/// The committer is a thread of its own here.
fn now_on_thread(store: &Store, transaction: Transaction) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.commit(transaction)).unwrap();
}

#[test]
fn secrets_of_an_older_engine_are_read_back_and_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    in_clear(&path);
    assert!(shows(&path, WORD));
    let store = Store::open(&path).unwrap();
    assert!(holds(&store, "old"));
    store.close();
    drop(store);
    assert!(is_sealed(&path));
    assert!(holds(&Store::open(&path).unwrap(), "old"));
}

#[test]
fn a_lost_or_a_wrong_key_refuses_to_open_until_the_right_one_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let keys = KeyFile::beside(&path);
    let store = Store::open(&path).unwrap();
    now_on_thread(&store, put("secrets", "a"));
    store.close();
    drop(store);
    let right = fs::read(keys.path()).unwrap();
    for wrong in [None, Some(keys.read().unwrap().with_new().unwrap().without_old().to_string())] {
        match &wrong {
            None => fs::remove_file(keys.path()).unwrap(),
            Some(wrong) => fs::write(keys.path(), wrong).unwrap(),
        }
        let refused = Store::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::KeyLost { .. }), "{refused}");
        assert!(refused.to_string().contains("put back the key file"), "{refused}");
        assert_eq!(keys.path().exists(), wrong.is_some());
    }
    fs::write(keys.path(), "nonsense").unwrap();
    assert!(matches!(Store::open(&path).unwrap_err(), OpenError::Io { .. }));
    fs::write(keys.path(), right).unwrap();
    assert!(holds(&Store::open(&path).unwrap(), "a"));
}

#[test]
fn a_rotation_leaves_one_key_and_every_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let keys = KeyFile::beside(&path);
    let store = Store::open(&path).unwrap();
    now_on_thread(&store, put("secrets", "a"));
    let before = keys.read().unwrap().to_string();
    let revision = store.snapshot().revision();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.rotate_key()).unwrap();
    assert_eq!(store.snapshot().revision(), revision);
    let after = keys.read().unwrap();
    assert!(!after.has_old() && after.to_string() != before);
    store.close();
    drop(store);
    assert!(holds(&Store::open(&path).unwrap(), "a"));
    fs::write(keys.path(), before).unwrap();
    assert!(matches!(Store::open(&path).unwrap_err(), OpenError::KeyLost { .. }));
}

/// The machine loses its power, or its disk fills up, at each write of a rotation in turn.
#[test]
fn a_rotation_may_break_off_anywhere() {
    for failure in [Failure::PowerLoss, Failure::Full, Failure::Io] {
        for after in 0..12 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store");
            let disk = FaultyDisk::new(after);
            let store = Store::open_sealed_on(disk.clone(), &path).unwrap();
            for name in ["a", "b", "c"] {
                now(store.commit(put("secrets", name))).unwrap();
            }
            disk.fail_after(after, failure);
            let rotated = now(store.rotate_key());
            if failure != Failure::PowerLoss {
                disk.heal();
                now(store.commit(put("secrets", "d"))).unwrap();
            }
            drop(store);
            disk.power_on();
            let store = Store::open_sealed_on(disk.clone(), &path).unwrap();
            for name in ["a", "b", "c"] {
                assert!(holds(&store, name), "{failure:?} {after} {name} {rotated:?}");
            }
            assert!(!KeyFile::beside(&path).read().unwrap().has_old(), "{failure:?} {after}");
        }
    }
}
