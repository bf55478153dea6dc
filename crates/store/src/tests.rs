//! What every caller sees: transactions, snapshots and watches of a store on a perfect disk.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use coracle_api::{Key, Object};
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::{CommitError, Committed, Expect, OpenError, Snapshot, Store, Transaction, Write};

/// The result of a future that is ready at once, as an inline store's are.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not ready"),
    }
}

pub(crate) fn object(resource: &str, name: &str, data: Value) -> Object {
    let value = json!({"metadata": {"name": name, "namespace": "default"}, "data": data});
    Object::with_resource(resource, value).unwrap()
}

fn pod(name: &str) -> Object {
    object("pods", name, json!(1))
}

fn key(name: &str) -> Key {
    Key::new("pods", "default", name)
}

fn store() -> Store {
    Store::open_on(InMemoryBackend::new()).unwrap()
}

fn commit(store: &Store, writes: Vec<Write>) -> Result<Committed, CommitError> {
    now(store.commit(Transaction::of(writes)))
}

fn names<'a>(objects: impl Iterator<Item = &'a std::sync::Arc<Object>>) -> Vec<String> {
    objects.map(|object| object.key().to_string()).collect()
}

#[test]
fn every_object_of_a_transaction_gets_its_own_revision() {
    let store = store();
    let writes = vec![Write::put(pod("a"), Expect::Absent), Write::put(pod("b"), Expect::Absent)];
    let committed = commit(&store, writes).unwrap();
    assert_eq!(committed.revision, 2);
    assert_eq!(store.snapshot().get(&key("a")).unwrap().revision(), 1);
    assert_eq!(store.snapshot().find("pods", "default", "b").unwrap().revision(), 2);
}

#[test]
fn a_failed_precondition_undoes_the_whole_transaction() {
    let store = store();
    commit(&store, vec![Write::put(pod("a"), Expect::Any)]).unwrap();
    let writes = vec![Write::put(pod("b"), Expect::Any), Write::put(pod("a"), Expect::Absent)];
    let error = commit(&store, writes).unwrap_err();
    assert!(matches!(error, CommitError::Precondition { found: Some(1), .. }), "{error}");
    assert_eq!(store.snapshot().revision(), 1);
    assert!(store.snapshot().get(&key("b")).is_none());
}

#[test]
fn a_requirement_binds_an_object_that_is_only_read() {
    let store = store();
    let transaction = |expect| Transaction {
        writes: vec![Write::put(pod("b"), Expect::Absent)],
        requires: vec![(key("a"), expect)],
    };
    now(store.commit(transaction(Expect::Present))).unwrap_err();
    now(store.commit(transaction(Expect::Absent))).unwrap();
}

#[test]
fn a_deletion_has_a_revision_and_shows_the_last_state() {
    let store = store();
    commit(&store, vec![Write::put(pod("a"), Expect::Any)]).unwrap();
    let mut watch = store.watch(1).unwrap();
    let deleted = commit(&store, vec![Write::delete(key("a"), Expect::Revision(1))]).unwrap();
    assert_eq!(deleted.objects[0].as_ref().unwrap().revision(), 2);
    let event = watch.try_next().unwrap().unwrap();
    assert_eq!((event.revision, event.last.revision()), (2, 2));
    assert_eq!(event.old.as_ref().unwrap().revision(), 1);
    assert!(event.new.is_none());
    let nothing = commit(&store, vec![Write::delete(key("a"), Expect::Any)]).unwrap();
    assert!(nothing.objects[0].is_none());
    assert_eq!(nothing.revision, 2);
}

#[test]
fn a_snapshot_never_changes() {
    let store = store();
    commit(&store, vec![Write::put(pod("a"), Expect::Any)]).unwrap();
    let before = store.snapshot();
    commit(&store, vec![Write::delete(key("a"), Expect::Any)]).unwrap();
    assert_eq!((before.revision(), before.len()), (1, 1));
    assert_eq!((store.snapshot().revision(), store.snapshot().len()), (2, 0));
}

#[test]
fn lists_are_ordered_and_paged_by_namespace_and_name() {
    let at = |resource: &str, namespace: &str, name: &str| {
        let value = json!({"metadata": {"name": name, "namespace": namespace}});
        Object::with_resource(resource, value).unwrap()
    };
    let snapshot = Snapshot::of([
        at("pods", "b", "1"),
        at("pods", "a", "2"),
        at("pods", "a", "1"),
        at("pods.metrics", "a", "3"),
        at("nodes", "", "n"),
    ])
    .unwrap();
    assert_eq!(names(snapshot.list("pods", None)), ["pods a/1", "pods a/2", "pods b/1"]);
    assert_eq!(names(snapshot.list("pods", Some("a"))), ["pods a/1", "pods a/2"]);
    assert_eq!(names(snapshot.list("nodes", None)), ["nodes n"]);
    let page = |namespace, after: Key| names(snapshot.list_after("pods", namespace, &after));
    assert_eq!(page(None, Key::new("pods", "a", "1")), ["pods a/2", "pods b/1"]);
    assert_eq!(page(Some("b"), Key::new("pods", "a", "1")), ["pods b/1"]);
    assert_eq!(page(Some("a"), Key::new("pods", "a", "1x")), ["pods a/2"]);
}

#[test]
fn dependents_and_uids_follow_every_write() {
    let owned = |uid: &str, owners: &[&str]| {
        let owners: Vec<_> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        let metadata = json!({"name": "a", "namespace": "default", "uid": uid,
            "ownerReferences": owners});
        Object::with_resource("pods", json!({"metadata": metadata})).unwrap()
    };
    let store = store();
    commit(&store, vec![Write::put(owned("1", &["x", "y"]), Expect::Any)]).unwrap();
    assert_eq!(names(store.snapshot().dependents("x")), ["pods default/a"]);
    assert_eq!(store.snapshot().by_uid("1").unwrap().key(), &key("a"));
    commit(&store, vec![Write::put(owned("2", &["y"]), Expect::Any)]).unwrap();
    assert_eq!(store.snapshot().dependents("x").count(), 0);
    assert_eq!(store.snapshot().dependents("y").count(), 1);
    assert!(!store.snapshot().contains_uid("1"));
    commit(&store, vec![Write::delete(key("a"), Expect::Any)]).unwrap();
    assert_eq!(store.snapshot().dependents("y").count(), 0);
    assert!(!store.snapshot().contains_uid("2"));
}

#[test]
fn provisional_writes_are_checked_and_not_stored() {
    let store = store();
    let snapshot = store.snapshot();
    let after = snapshot.with(&[Write::put(pod("a"), Expect::Absent)]).unwrap();
    assert_eq!((after.len(), snapshot.len(), store.snapshot().len()), (1, 0, 0));
    after.with(&[Write::put(pod("a"), Expect::Absent)]).unwrap_err();
}

#[test]
fn a_watch_of_one_resource_skips_the_others_but_knows_how_far_it_is() {
    let store = store();
    let mut watch = store.watch_resource("pods", 0).unwrap();
    commit(&store, vec![Write::put(pod("a"), Expect::Any)]).unwrap();
    commit(&store, vec![Write::put(object("nodes", "n", json!(1)), Expect::Any)]).unwrap();
    assert_eq!(watch.try_next().unwrap().unwrap().key, key("a"));
    assert_eq!(watch.revision(), 1);
    assert!(watch.try_next().unwrap().is_none());
    assert_eq!(watch.revision(), 2);
}

#[test]
fn a_watch_waits_for_the_next_event() {
    let store = store();
    let mut watch = store.watch_resource("pods", 0).unwrap();
    let mut next = Box::pin(watch.next());
    let mut context = Context::from_waker(Waker::noop());
    assert!(next.as_mut().poll(&mut context).is_pending());
    commit(&store, vec![Write::put(pod("a"), Expect::Any)]).unwrap();
    assert!(
        matches!(next.as_mut().poll(&mut context), Poll::Ready(Ok(event)) if event.revision == 1)
    );
}

#[test]
fn what_the_log_forgot_cannot_be_resumed() {
    let store = store();
    let mut slow = store.watch(0).unwrap();
    for _ in 0..3 {
        commit(&store, vec![Write::put(pod("a"), Expect::Any)]).unwrap();
    }
    store.compact(2);
    assert_eq!(slow.try_next().unwrap_err().oldest, 2);
    assert_eq!(store.watch(1).err().unwrap().oldest, 2);
    assert_eq!(store.watch(2).unwrap().try_next().unwrap().unwrap().revision, 3);
}

#[test]
fn a_store_comes_back_from_its_file_and_resumes_watches_only_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::open(&path).unwrap();
    let transaction = Transaction::of([Write::put(pod("a"), Expect::Absent)]);
    runtime.block_on(store.commit(transaction)).unwrap();
    runtime.block_on(store.meta_put("uid", b"u")).unwrap();
    let held = Store::open(&path).unwrap_err();
    let pid = std::process::id().to_string();
    assert!(matches!(&held, OpenError::Locked { holder, .. } if holder.contains(&pid)), "{held}");
    drop(store);

    let store = Store::open(&path).unwrap();
    assert_eq!(store.snapshot().get(&key("a")).unwrap().revision(), 1);
    assert_eq!(store.meta_get("uid").unwrap(), b"u");
    assert_eq!(store.watch(0).err().unwrap().oldest, 1);
    store.watch(1).unwrap();
    store.close();
    let closed = runtime.block_on(store.commit(Transaction::default()));
    assert!(matches!(closed, Err(CommitError::Closed)));
}

#[test]
fn a_damaged_file_is_refused_by_name_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    for content in [Vec::new(), b"not a store".repeat(1000)] {
        std::fs::write(&path, &content).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(Store::open(&path).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new("meta");
    let newer = 3_u64.to_le_bytes();
    transaction.open_table(table).unwrap().insert("format", newer.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 3, .. }), "{error}");
}

#[test]
fn a_record_that_does_not_match_its_checksum_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::open(&path).unwrap();
    runtime.block_on(store.commit(Transaction::of([Write::put(pod("a"), Expect::Any)]))).unwrap();
    drop(store);
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<(&str, &str, &str), &[u8]>::new("objects");
    let record = [0; 40];
    let place = ("pods", "default", "a");
    transaction.open_table(table).unwrap().insert(place, record.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(error.contains("the record of pods default/a is damaged"), "{error}");
}
