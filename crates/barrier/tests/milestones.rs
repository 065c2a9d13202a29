//! How far the store has come, and what somebody who can write to it makes of that.

use std::sync::Arc;

use holdfast_barrier::StoreError;
use holdfast_base::Milestone;
use holdfast_storage::{KeyValue, MemoryStorage, Op, Storage, Txn};

use crate::support::{open, open_memory, put};

fn record(storage: &MemoryStorage) -> KeyValue {
    storage.dump().into_iter().find(|item| item.key == "milestone").unwrap()
}

async fn overwrite(storage: &MemoryStorage, value: bytes::Bytes) {
    let then = vec![Op::put("milestone", value)];
    storage.txn(Txn { then, ..Txn::default() }).await.unwrap();
}

#[tokio::test]
async fn replicas_count_together_and_over_restarts() {
    let (one, storage) = open_memory().await;
    let two = open(Arc::new(storage.clone()), "two").await;
    let none = Milestone::default();
    assert_eq!(one.milestone().await.unwrap(), none);
    let mut known = none;
    for barrier in [&one, &two, &one] {
        put(barrier, "a", "1").await.unwrap();
        let passed = barrier.pass_milestone(&known).await.unwrap();
        assert_eq!((passed.restores, passed.number), (0, known.number + 1));
        assert!(!passed.is_behind(&known) && known.is_behind(&passed));
        assert_eq!(two.milestone().await.unwrap(), passed);
        known = passed;
    }
    let (a, b) = tokio::join!(one.pass_milestone(&known), two.pass_milestone(&known));
    let mut numbers = [a.unwrap().number, b.unwrap().number];
    numbers.sort_unstable();
    assert_eq!(numbers, [4, 5]);
    one.seal().await;
    assert!(matches!(one.milestone().await, Err(StoreError::Sealed)));
    let three = open(Arc::new(storage), "three").await;
    assert_eq!(three.milestone().await.unwrap().number, 5);
}

#[tokio::test]
async fn whoever_runs_the_store_can_put_back_an_older_one_and_make_none() {
    let (barrier, storage) = open_memory().await;
    barrier.pass_milestone(&Milestone::default()).await.unwrap();
    let old = record(&storage);
    let known = barrier.pass_milestone(&Milestone::default()).await.unwrap();
    let forged = String::from_utf8(record(&storage).value.to_vec()[17..].to_vec()).unwrap().replace(":2", ":9");
    let of_another = [&record(&storage).value[..17], forged.as_bytes()].concat();
    for value in [old.value, of_another.into(), bytes::Bytes::from_static(b"nothing")] {
        overwrite(&storage, value).await;
        let found = barrier.milestone().await.unwrap();
        assert!(found.is_behind(&known) && found.number < 2, "{found:?}");
    }
    // Whoever goes on nevertheless begins a new count.
    let accepted = barrier.pass_milestone(&known).await.unwrap();
    assert_eq!((accepted.restores, accepted.number), (1, 3));
    assert!(!barrier.milestone().await.unwrap().is_behind(&known));
}

/// The newest record brought into an older state of the store is not where it was.
#[tokio::test]
async fn the_newest_record_does_not_make_an_old_store_new() {
    let (barrier, storage) = open_memory().await;
    let known = barrier.pass_milestone(&Milestone::default()).await.unwrap();
    let newest = record(&storage).value;
    overwrite(&storage, newest).await;
    let found = barrier.milestone().await.unwrap();
    assert_eq!(found.number, known.number);
    assert!(found.is_behind(&known));
}
