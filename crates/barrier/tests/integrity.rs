//! Somebody who can write to the store puts things back, moves and deletes them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_barrier::{Barrier, Changed, Store, StoreError};
use holdfast_storage::{KeyValue, MemoryStorage, Op, Storage, Txn};

use crate::support::{Faulty, open, open_memory, put, read, until};

fn data(storage: &MemoryStorage) -> KeyValue {
    storage.dump().into_iter().find(|item| item.key.starts_with(b"data/")).unwrap()
}

fn lane_of(storage: &MemoryStorage) -> KeyValue {
    storage
        .dump()
        .into_iter()
        .filter(|item| item.key.starts_with(b"lane/"))
        .max_by_key(|item| item.mod_revision)
        .unwrap()
}

async fn meddle(storage: &MemoryStorage, then: Vec<Op>) {
    storage.txn(Txn { then, ..Txn::default() }).await.unwrap();
}

async fn is_refused(barrier: &Barrier, path: &str) {
    until("the read is refused", || async {
        matches!(barrier.get(path).await, Err(StoreError::Corrupt { reason, .. }) if reason.starts_with("integrity"))
    })
    .await;
}

#[tokio::test]
async fn old_ciphertext_put_back_is_not_served() {
    let (barrier, storage) = open_memory().await;
    let other = open(Arc::new(storage.clone()), "two").await;
    put(&barrier, "token", "valid").await.unwrap();
    let old = data(&storage);
    put(&barrier, "token", "revoked").await.unwrap();
    meddle(&storage, vec![Op::put(old.key, old.value)]).await;
    is_refused(&barrier, "token").await;
    is_refused(&other, "token").await;
    assert_eq!((barrier.integrity_violations(), other.integrity_violations()), (1, 1));
    put(&barrier, "token", "again").await.unwrap();
    assert_eq!(read(&barrier, "token").await.unwrap(), "again");
    assert_eq!(read(&other, "token").await.unwrap(), "again");
}

#[tokio::test]
async fn neither_is_it_with_its_old_lane_record() {
    let (barrier, storage) = open_memory().await;
    put(&barrier, "token", "valid").await.unwrap();
    let (old, lane) = (data(&storage), lane_of(&storage));
    for number in 0..4 {
        put(&barrier, "token", &number.to_string()).await.unwrap();
    }
    meddle(&storage, vec![Op::put(old.key, old.value), Op::put(lane.key, lane.value)]).await;
    is_refused(&barrier, "token").await;
    put(&barrier, "other", "1").await.unwrap();
    assert_eq!(read(&barrier, "other").await.unwrap(), "1");
    is_refused(&barrier, "token").await;
}

/// The watch leaves out a change: nothing tells so until the lane that made it is used again.
#[tokio::test]
async fn a_lane_that_jumps_makes_everything_be_read_anew() {
    let (writer, storage) = open_memory().await;
    let way = Faulty::over(storage);
    let reader = open(Arc::new(way.clone()), "two").await;
    put(&writer, "k", "1").await.unwrap();
    assert_eq!(read(&reader, "k").await.unwrap(), "1");
    let mut changes = reader.changes();
    way.lose(1);
    put(&writer, "k", "2").await.unwrap();
    for number in 0..4 {
        put(&writer, "other", &number.to_string()).await.unwrap();
    }
    let anew = async { while !matches!(changes.recv().await.unwrap(), Changed::Everything) {} };
    tokio::time::timeout(Duration::from_secs(20), anew).await.expect("it goes on with what it has");
    assert_eq!(read(&reader, "k").await.unwrap(), "2");
    assert_eq!(reader.integrity_violations(), 0);
}

#[tokio::test]
async fn a_deletion_by_hand_is_not_taken_for_ours() {
    let (barrier, storage) = open_memory().await;
    put(&barrier, "lease", "1").await.unwrap();
    let key: Bytes = data(&storage).key;
    meddle(&storage, vec![Op::delete(key)]).await;
    is_refused(&barrier, "lease").await;
    until("it is counted", || async { barrier.integrity_violations() == 1 }).await;
    is_refused(&barrier, "lease").await;
}

#[tokio::test]
async fn what_replicas_do_is_no_violation() {
    let (one, storage) = open_memory().await;
    let two = open(Arc::new(storage.clone()), "two").await;
    for number in 0..20 {
        put(&one, &format!("k{}", number % 3), "a").await.unwrap();
        put(&two, &format!("k{}", number % 3), "b").await.unwrap();
        let mut txn = holdfast_barrier::Txn::new();
        txn.delete("k1".to_owned()).delete("never".to_owned());
        two.commit(txn).await.unwrap();
    }
    one.rotate().await.unwrap();
    two.seal().await;
    let three = open(Arc::new(storage.clone()), "three").await;
    put(&three, "k1", "c").await.unwrap();
    assert_eq!(read(&one, "k1").await.unwrap(), "c");
    assert_eq!((one.integrity_violations(), three.integrity_violations()), (0, 0));
}
